use super::*;
use crate::filter::Filter;
use crate::id::Scope;
use crate::memory::Body;

fn fact(id: &str, tokens: &str, vector: Option<Vec<f32>>) -> Indexable {
    Indexable {
        memory: Memory {
            owner: owner(),
            id: id.to_owned(),
            entry_id: id.to_owned(),
            path: "f.md".to_owned(),
            session_id: None,
            timestamp_us: None,
            parent_type: None,
            parent_id: None,
            sender_ids: Vec::new(),
            message_ids: Vec::new(),
            deprecated_by: None,
            body: Body::AtomicFact { fact: tokens.to_owned(), context: None },
        },
        tokens: tokens.to_owned(),
        vector,
    }
}

fn owner() -> Owner {
    Owner::user(Scope::default(), "u")
}

fn ask<'a>(owner: &'a Owner, filter: &'a Filter) -> Ask<'a> {
    Ask { owner, kind: Kind::AtomicFact, filter, parents: None, ids: None, deprecated: false, limit: 10 }
}

#[test]
fn keyword_scores_by_hand() {
    let index = ExactIndex::new(None);
    index
        .upsert(vec![
            fact("a", "hot pot", None),
            fact("b", "cold soup dish", None),
            fact("c", "hot hot spring bath", None),
        ])
        .expect("valid");
    let (owner, filter) = (owner(), Filter::everything());
    let hits = index.matching(&ask(&owner, &filter), &["hot".into(), "hot".into(), "pot".into()]).expect("open");
    let ids: Vec<_> = hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!(ids, ["a", "c"]);
    let (hot, pot) = (1.6_f64.ln(), (1.0 + 2.5 / 1.5_f64).ln());
    assert!((f64::from(hits[0].score) - (hot + pot) * 2.2 / 1.9).abs() < 1e-6);
    assert!((f64::from(hits[1].score) - hot * 4.4 / 3.5).abs() < 1e-6);
}

#[test]
fn vectors_that_point_nowhere_are_not_found() {
    let index = ExactIndex::new(Some(2));
    index.upsert(vec![fact("a", "x", Some(vec![0.0, 0.0])), fact("b", "x", Some(vec![2.0, 0.0]))]).expect("valid");
    let (owner, filter) = (owner(), Filter::everything());
    let hits = index.nearest(&ask(&owner, &filter), &[1.0, 1.0]).expect("open");
    assert_eq!(hits.len(), 1);
    assert!((hits[0].score - 0.5_f32.sqrt()).abs() < 1e-6);
    assert!(index.nearest(&ask(&owner, &filter), &[0.0, 0.0]).expect("open").is_empty());
    assert_eq!(index.nearest(&ask(&owner, &filter), &[1.0]).expect_err("width").kind(), ErrorKind::Invalid);
}
