//! Small memories to check with.

use evermark_core::filter::Filter;
use evermark_core::id::{MemoryKey, Owner, Scope};
use evermark_core::index::Indexable;
use evermark_core::memory::{Body, Memory};
use serde_json::{Value, json};

pub(super) fn owner() -> Owner {
    Owner::user(Scope::default(), "ana")
}

pub(super) fn filter(value: Value) -> Filter {
    Filter::parse(&value, &jiff::tz::TimeZone::UTC).expect("a valid filter")
}

/// Returns a fact that says its tokens.
pub(super) fn fact(id: &str, tokens: &str) -> Indexable {
    row(owner(), id, tokens, Body::AtomicFact { fact: tokens.to_owned(), context: None })
}

pub(super) fn episode(id: &str, tokens: &str) -> Indexable {
    row(owner(), id, tokens, Body::Episode { subject: None, summary: None, content: tokens.to_owned() })
}

pub(super) fn row(owner: Owner, id: &str, tokens: &str, body: Body) -> Indexable {
    Indexable {
        memory: Memory {
            owner,
            id: id.to_owned(),
            entry_id: id.to_owned(),
            path: format!("users/{id}.md"),
            session_id: None,
            timestamp_us: None,
            parent_type: None,
            parent_id: None,
            sender_ids: Vec::new(),
            message_ids: Vec::new(),
            deprecated_by: None,
            body,
        },
        tokens: tokens.to_owned(),
        vector: None,
    }
}

/// Returns the row with a vector that begins so and ends in zeros.
pub(super) fn pointing(mut row: Indexable, dimension: usize, beginning: &[f32]) -> Indexable {
    row.vector = Some(vector(dimension, beginning));
    row
}

pub(super) fn vector(dimension: usize, beginning: &[f32]) -> Vec<f32> {
    let mut vector = beginning.to_vec();
    vector.resize(dimension, 0.0);
    vector
}

pub(super) fn key(row: &Indexable) -> MemoryKey {
    row.memory.key()
}

/// Returns one memory of every kind, with texts that trip up careless encodings.
pub(super) fn one_of_each_kind() -> Vec<Indexable> {
    let odd = "it's \"odd\" \\ % _ ; -- \n\r\t\u{0}\u{1f600}é中文\u{feff}".to_owned();
    let bodies = [
        Body::Episode { subject: Some(odd.clone()), summary: Some(String::new()), content: odd.clone() },
        Body::AtomicFact { fact: odd.clone(), context: None },
        Body::Foresight {
            foresight: odd.clone(),
            evidence: String::new(),
            start_time: Some("2025-01-01".to_owned()),
            end_time: None,
            duration_days: Some(-3),
        },
        Body::Profile {
            summary: odd.clone(),
            explicit_info: json!([{"b": 1, "a": [0.1, -0.0, 1e300, null, true], "big": u64::MAX, "small": i64::MIN}]),
            implicit_traits: json!({}),
            profile_timestamp_ms: -1,
        },
        Body::AgentCase {
            task_intent: odd.clone(),
            approach: "do".to_owned(),
            key_insight: Some(String::new()),
            quality_score: 0.1 + 0.2,
        },
        Body::AgentSkill {
            name: "n".to_owned(),
            description: odd.clone(),
            content: odd.clone(),
            confidence: 1.0 / 3.0,
            maturity_score: 0.0,
            source_case_ids: vec![String::new(), odd.clone()],
            cluster_id: None,
        },
        Body::KnowledgeDocument {
            category_id: "c".to_owned(),
            title: odd.clone(),
            summary: odd.clone(),
            source_name: None,
            source_type: Some("pdf".to_owned()),
        },
        Body::KnowledgeTopic {
            doc_id: "d".to_owned(),
            category_id: "c".to_owned(),
            topic_index: 3,
            topic_name: odd.clone(),
            topic_path: "a > b".to_owned(),
            summary: odd.clone(),
            depth: 2,
            parent_node_id: Some("d_1".to_owned()),
            children_node_ids: vec!["d_3".to_owned()],
            content_labels: Vec::new(),
            content: odd.clone(),
        },
    ];
    let mut rows: Vec<Indexable> =
        bodies.into_iter().map(|body| row(owner(), &format!("o'{}", body.kind()), "odd 中文 it's", body)).collect();
    for row in &mut rows {
        row.memory.entry_id = String::new();
        row.memory.session_id = Some(String::new());
        row.memory.timestamp_us = Some(-1);
        row.memory.parent_type = Some("o'dd".to_owned());
        row.memory.sender_ids = vec!["a,b".to_owned(), String::new(), "ö".to_owned()];
        row.memory.message_ids = vec!["m_1".to_owned(), "m_2".to_owned()];
    }
    rows
}
