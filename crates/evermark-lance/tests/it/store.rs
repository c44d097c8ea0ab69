//! Upsert, remove, flush, fetch, scan: what is accepted is visible, what is flushed is durable.

use crate::support::{contents, fact, key, open, options, user};
use evermark_core::error::ErrorKind;
use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::index::{Index, Indexable};
use evermark_core::memory::{Body, Memory};
use evermark_core::world::RealWorld;
use evermark_lance::LanceIndex;
use serde_json::json;
use std::sync::Arc;

#[test]
fn an_accepted_row_is_visible_and_a_flushed_one_survives() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let (one, two) = (fact(&amy, "1", "tea"), fact(&amy, "2", "coffee"));
    {
        let index = open(dir.path());
        index.upsert(vec![one.clone()]).unwrap();
        assert_eq!(index.fetch(&amy, Kind::AtomicFact, &["1".to_owned()]).unwrap(), std::slice::from_ref(&one.memory));
        index.flush().unwrap();
        index.upsert(vec![two]).unwrap();
        assert_eq!(contents(&index).len(), 2);
        assert_eq!(index.info().unwrap().pending, 1);
    }
    let index = open(dir.path());
    assert_eq!(contents(&index).len(), 1, "the row that was not flushed is gone, the other is there");
    assert_eq!(index.fetch(&amy, Kind::AtomicFact, &["2".to_owned(), "1".to_owned()]).unwrap(), [one.memory]);
}

#[test]
fn a_key_is_there_once_however_often_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let index = open(dir.path());
    for round in 0..5 {
        index.upsert(vec![fact(&amy, "1", &format!("tea {round}")), fact(&amy, "2", "coffee")]).unwrap();
        index.upsert(vec![fact(&amy, "1", &format!("cocoa {round}"))]).unwrap();
        index.flush().unwrap();
    }
    drop(index);
    let index = open(dir.path());
    let rows = contents(&index);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[&key(&amy, "1")], fact(&amy, "1", "cocoa 4").memory.digest());
    assert_eq!(index.info().unwrap().rows, [(Kind::AtomicFact, 2)]);
}

#[test]
fn a_removed_row_stays_removed() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let index = open(dir.path());
    let rows: Vec<Indexable> = (0..100).map(|id| fact(&amy, &id.to_string(), "tea")).collect();
    index.upsert(rows.clone()).unwrap();
    index.flush().unwrap();
    index.remove(&[key(&amy, "7"), key(&amy, "never there")]).unwrap();
    assert_eq!(contents(&index).len(), 99);
    assert!(index.fetch(&amy, Kind::AtomicFact, &["7".to_owned()]).unwrap().is_empty());
    index.flush().unwrap();
    assert_eq!(contents(&index).len(), 99);
    // All of a fragment's rows: the fragment goes with them.
    index.remove(&(0..100).map(|id| key(&amy, &id.to_string())).collect::<Vec<_>>()).unwrap();
    index.flush().unwrap();
    drop(index);
    let index = open(dir.path());
    assert!(contents(&index).is_empty());
    assert_eq!(index.info().unwrap().fragments, 0);
    index.upsert(rows[7..8].to_vec()).unwrap();
    index.flush().unwrap();
    assert_eq!(contents(&index).len(), 1);
}

#[test]
fn owners_kinds_and_scopes_with_the_same_id_do_not_collide() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let owners = [
        user("amy"),
        Owner::agent(Scope::default(), "amy"),
        Owner::user(Scope::new("default", "other"), "amy"),
        Owner::user(Scope::new("other", "default"), "amy"),
    ];
    let rows: Vec<Indexable> = owners.iter().map(|owner| fact(owner, "1", "tea")).collect();
    index.upsert(rows.clone()).unwrap();
    index.flush().unwrap();
    index.remove(&[key(&owners[0], "1")]).unwrap();
    index.flush().unwrap();
    assert_eq!(contents(&index).len(), 3);
    for (owner, row) in owners.iter().zip(&rows).skip(1) {
        assert_eq!(index.fetch(owner, Kind::AtomicFact, &["1".to_owned()]).unwrap(), std::slice::from_ref(&row.memory));
        assert!(index.fetch(owner, Kind::Episode, &["1".to_owned()]).unwrap().is_empty());
    }
}

/// One of each kind, with every optional field set and with none.
fn every_body() -> Vec<Body> {
    vec![
        Body::Episode {
            subject: Some("S".into()), summary: Some("sum".into()), content: "c\n\"q\" 中文 \u{0}".into()
        },
        Body::Episode { subject: None, summary: None, content: String::new() },
        Body::AtomicFact { fact: "f".into(), context: None },
        Body::Foresight {
            foresight: "f".into(),
            evidence: "e".into(),
            start_time: Some("2026-01-01".into()),
            end_time: None,
            duration_days: Some(-3),
        },
        Body::Profile {
            summary: "s".into(),
            explicit_info: json!([{"category": "a", "n": [1, null, true, "x"]}]),
            implicit_traits: json!(null),
            profile_timestamp_ms: i64::MAX,
        },
        Body::AgentCase { task_intent: "t".into(), approach: "a".into(), key_insight: None, quality_score: 0.1 + 0.2 },
        Body::AgentCase {
            task_intent: "t".into(),
            approach: "a".into(),
            key_insight: Some("k".into()),
            quality_score: f64::INFINITY,
        },
        Body::AgentSkill {
            name: "n".into(),
            description: "d".into(),
            content: "c".into(),
            confidence: 0.1,
            maturity_score: 1.0 / 3.0,
            source_case_ids: vec!["a".into(), String::new()],
            cluster_id: Some("c".into()),
        },
        Body::KnowledgeDocument {
            category_id: "c".into(),
            title: "t".into(),
            summary: "s".into(),
            source_name: None,
            source_type: Some("url".into()),
        },
        Body::KnowledgeTopic {
            doc_id: "d".into(),
            category_id: "c".into(),
            topic_index: 3,
            topic_name: "n".into(),
            topic_path: "p".into(),
            summary: "s".into(),
            depth: 2,
            parent_node_id: Some("p".into()),
            children_node_ids: vec!["x".into()],
            content_labels: vec![],
            content: "c".into(),
        },
    ]
}

#[test]
fn every_kind_of_memory_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let memories: Vec<Memory> = every_body()
        .into_iter()
        .enumerate()
        .map(|(at, body)| {
            let full = at % 2 == 0;
            let option = |text: &str| full.then(|| text.to_owned());
            Memory {
                owner: amy.clone(),
                id: format!("id {at}/\u{1F600}"),
                entry_id: option("e").unwrap_or_default(),
                path: "a/b.md".to_owned(),
                session_id: option("s"),
                timestamp_us: full.then_some(-1),
                parent_type: option("episode"),
                parent_id: option("p"),
                sender_ids: if full { vec!["x".into(), "y".into()] } else { vec![] },
                message_ids: if full { vec![] } else { vec!["m".into()] },
                deprecated_by: option("d"),
                body,
            }
        })
        .collect();
    let row = |memory: &Memory| Indexable { memory: memory.clone(), tokens: "t".to_owned(), vector: None };
    open(dir.path()).upsert(vec![]).unwrap();
    {
        let index = open(dir.path());
        index.upsert(memories.iter().map(row).collect()).unwrap();
        index.flush().unwrap();
    }
    let index = open(dir.path());
    for memory in &memories {
        assert_eq!(
            index.fetch(&amy, memory.kind(), std::slice::from_ref(&memory.id)).unwrap(),
            std::slice::from_ref(memory)
        );
    }
    let digests = contents(&index);
    assert!(memories.iter().all(|memory| digests[&memory.key()] == memory.digest()));
}

#[test]
fn an_index_without_vectors_works_and_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let without = evermark_lance::Options { dimension: None, ..options() };
    let index = LanceIndex::open(dir.path(), without, Arc::new(RealWorld::new())).unwrap();
    let row = Indexable { vector: None, ..fact(&amy, "1", "tea") };
    index.upsert(vec![row.clone()]).unwrap();
    index.flush().unwrap();
    assert_eq!(index.fetch(&amy, Kind::AtomicFact, &["1".to_owned()]).unwrap(), [row.memory]);
    let refused = index.upsert(vec![fact(&amy, "2", "coffee")]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(contents(&index).len(), 1);
}

#[test]
fn too_many_waiting_rows_are_flushed_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let few = evermark_lance::Options { pending_rows_max: 10, ..options() };
    let index = LanceIndex::open(dir.path(), few, Arc::new(RealWorld::new())).unwrap();
    for id in 0..35 {
        index.upsert(vec![fact(&amy, &id.to_string(), "tea")]).unwrap();
        assert!(index.info().unwrap().pending <= 10);
    }
    drop(index);
    assert_eq!(contents(&open(dir.path())).len(), 30);
}
