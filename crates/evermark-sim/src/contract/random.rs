//! One random life, lived by an index and by the exact one.

use super::sample::filter;
use super::{Subject, assert_ranks};
use evermark_core::exact::ExactIndex;
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use evermark_core::index::{Ask, Evidence, Hit, Index, Indexable, Order, Question, Recall, Wanted};
use evermark_core::memory::{Body, Memory};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const KINDS: [Kind; 3] = [Kind::AtomicFact, Kind::Episode, Kind::AgentCase];

/// Lives `n_steps` random steps and compares all answers after each. The same seed lives the same life.
///
/// A step writes, replaces, removes, flushes, keeps up or reopens; ids, parents and words are few, so that everything
/// happens to the same rows again and again.
pub fn random(subject: &Subject<'_>, seed: u64, n_steps: usize) {
    let mut rng = Rng::with_seed(seed);
    let exact = ExactIndex::new(Some(subject.dimension));
    let mut index = (subject.make)();
    for step in 0..n_steps {
        let context = format!("seed {seed}, step {step}");
        match rng.u8(0..20) {
            0..10 => {
                let n_rows = if rng.u8(0..8) == 0 { rng.usize(50..200) } else { rng.usize(1..12) };
                let rows: Vec<Indexable> = (0..n_rows).map(|_| any_row(&mut rng, subject.dimension)).collect();
                index.upsert(rows.clone()).expect("upsert");
                exact.upsert(rows.clone()).expect("upsert");
            }
            10..15 => {
                let keys: Vec<MemoryKey> = (0..rng.usize(1..30)).map(|_| any_row(&mut rng, 1).memory.key()).collect();
                index.remove(&keys).expect("remove");
                exact.remove(&keys).expect("remove");
            }
            15..17 => index.flush().expect("flush"),
            17..19 => drop(index.upkeep().expect("upkeep")),
            _ => {
                if let Some(reopen) = subject.reopen {
                    index.flush().expect("flush");
                    index = reopen(index);
                }
            }
        }
        compare(&*index, &exact, &mut rng, subject.dimension, &context);
    }
}

fn compare(index: &dyn Index, exact: &ExactIndex, rng: &mut Rng, dimension: usize, context: &str) {
    for _ in 0..4 {
        let owner = any_owner(rng);
        let filter = any_filter(rng);
        let parents: Vec<String> = (0..rng.usize(0..5)).map(|_| any_parent(rng)).collect();
        let ids: Vec<String> = (0..rng.usize(0..20)).map(|_| any_id(rng)).collect();
        let ask = Ask {
            owner: &owner,
            kind: KINDS[rng.usize(0..KINDS.len())],
            filter: &filter,
            parents: (rng.u8(0..4) == 0).then_some(&parents),
            ids: (rng.u8(0..6) == 0).then_some(&ids),
            deprecated: rng.bool(),
            limit: [0, 1, 3, 10, 1000, usize::MAX][rng.usize(0..6)],
        };
        let context = format!("{context}, {ask:?}");
        let whole = Ask { limit: usize::MAX, ..ask.clone() };

        let terms: Vec<String> = (0..rng.usize(0..6)).map(|_| any_word(rng)).collect();
        let found = index.matching(&ask, &terms).expect("matching");
        assert_ranks(
            &found,
            &exact.matching(&whole, &terms).expect("exact"),
            ask.limit,
            &format!("{context} {terms:?}"),
        );

        let vector = any_vector(rng, dimension);
        let found = index.nearest(&ask, &vector).expect("nearest");
        assert_ranks(&found, &exact.nearest(&whole, &vector).expect("exact"), ask.limit, &context);

        let wanted: Vec<Wanted> = terms
            .iter()
            .enumerate()
            .filter(|(at, term)| !terms[..*at].contains(term))
            .map(|(at, term)| Wanted { term: term.clone(), weight: [1.0, 0.5][at % 2] })
            .collect();
        let question = Question { terms: &wanted, vector: rng.bool().then_some(&vector), cosine_weight: 2.0 };
        compare_recall(
            &index.recall(&ask, &question).expect("recall"),
            &exact.recall(&whole, &question).expect("exact"),
            question.cosine_weight,
            ask.limit,
            &format!("{context} {wanted:?}"),
        );
        if let Some(holding) = index.holding(&owner, ask.kind, &terms).expect("holding") {
            assert_eq!(Some(holding), exact.holding(&owner, ask.kind, &terms).expect("exact"), "{context} {terms:?}");
        }

        let (order, offset) = (Order { descending: rng.bool() }, rng.usize(0..4));
        let found = index.list(&ask, order, offset).expect("list");
        assert_eq!(found, exact.list(&ask, order, offset).expect("exact"), "{context}");

        let found = index.fetch(&owner, ask.kind, &ids).expect("fetch");
        assert_eq!(found, exact.fetch(&owner, ask.kind, &ids).expect("exact"), "{context}");
    }
    let scanned = |index: &dyn Index| {
        let mut rows = BTreeMap::new();
        index.scan(&mut |key, path, digest| drop(rows.insert(key, (path.to_owned(), digest)))).expect("scan");
        rows
    };
    assert_eq!(scanned(index), scanned(exact), "{context}");
    let counts = |index: &dyn Index| -> BTreeMap<Kind, u64> {
        index.info().expect("info").rows.into_iter().filter(|&(_, n_rows)| n_rows > 0).collect()
    };
    assert_eq!(counts(index), counts(exact), "{context}");
}

fn compare_recall(found: &Recall, exact: &Recall, cosine_weight: f32, limit: usize, context: &str) {
    let near = |a: f32, b: f32| (a - b).abs() < super::TOLERANCE * b.abs().max(1.0);
    let ranks = |recall: &Recall| -> Vec<Hit> {
        let hit = |row: &Evidence| {
            let score = row.words + cosine_weight * row.cosine.unwrap_or_default();
            Hit { id: row.id.clone(), parent_id: row.parent_id.clone(), score }
        };
        recall.rows.iter().map(hit).collect()
    };
    assert_ranks(&ranks(found), &ranks(exact), limit, context);
    for row in &found.rows {
        let own = exact.rows.iter().find(|own| own.id == row.id).expect("ranked by both");
        assert!(near(row.words, own.words), "{context}: {row:?} {own:?}");
        assert_eq!(row.cosine.is_some(), own.cosine.is_some(), "{context}: {row:?} {own:?}");
        assert!(near(row.cosine.unwrap_or_default(), own.cosine.unwrap_or_default()), "{context}: {row:?} {own:?}");
    }
    assert!(near(found.words_max, exact.words_max), "{context}: {} {}", found.words_max, exact.words_max);
    // Only a scale is measured by it: it may come from a coarse pass.
    let is_near = (found.mean_cosine - exact.mean_cosine).abs() < 5e-3;
    assert!(is_near, "{context}: {} {}", found.mean_cosine, exact.mean_cosine);
    assert_eq!(found.n_vectors, exact.n_vectors, "{context}");
}

fn any_owner(rng: &mut Rng) -> Owner {
    match rng.u8(0..4) {
        0 => Owner::user(Scope::new("clinic", "zh"), "ana"),
        1 => Owner::agent(Scope::default(), "ana"),
        _ => Owner::user(Scope::default(), "ana"),
    }
}

fn any_id(rng: &mut Rng) -> String {
    format!("ana_{}", rng.u8(0..120))
}

fn any_parent(rng: &mut Rng) -> String {
    format!("ep_{}", rng.u8(0..8))
}

fn any_word(rng: &mut Rng) -> String {
    // Few words often, many seldom.
    let most = [4, 20, 200][rng.usize(0..3)];
    format!("w{}", rng.u8(0..most))
}

/// A third of the vectors point into few directions, so that there are ties.
fn any_vector(rng: &mut Rng, dimension: usize) -> Vec<f32> {
    let coarse = rng.u8(0..3) == 0;
    let scale = if rng.bool() { 1.0 } else { 1000.0 };
    let mut component = || if coarse { f32::from(rng.i8(-1..=1)) } else { rng.f32() * 2.0 - 1.0 } * scale;
    (0..dimension).map(|_| component()).collect()
}

fn any_row(rng: &mut Rng, dimension: usize) -> Indexable {
    let words: Vec<String> = (0..rng.usize(0..12)).map(|_| any_word(rng)).collect();
    let tokens = words.join(" ");
    let body = match KINDS[rng.usize(0..KINDS.len())] {
        Kind::Episode => Body::Episode { subject: words.first().cloned(), summary: None, content: tokens.clone() },
        Kind::AgentCase => Body::AgentCase {
            task_intent: tokens.clone(),
            approach: String::new(),
            key_insight: None,
            quality_score: rng.f64(),
        },
        _ => Body::AtomicFact { fact: tokens.clone(), context: None },
    };
    let id = any_id(rng);
    let some = |rng: &mut Rng| rng.u8(0..4) != 0;
    let memory = Memory {
        owner: any_owner(rng),
        entry_id: id.trim_start_matches("ana_").to_owned(),
        path: format!("day-{}.md", rng.u8(0..5)),
        id,
        session_id: some(rng).then(|| format!("s{}", rng.u8(0..3))),
        timestamp_us: some(rng).then(|| i64::from(rng.u8(0..50)) * 1_000_000),
        parent_type: some(rng).then(|| "episode".to_owned()),
        parent_id: some(rng).then(|| any_parent(rng)),
        sender_ids: (0..rng.usize(0..3)).map(|_| format!("u{}", rng.u8(0..4))).collect(),
        message_ids: (0..rng.usize(0..3)).map(|n| format!("m_s_{n}")).collect(),
        deprecated_by: (rng.u8(0..6) == 0).then(|| any_id(rng)),
        body,
    };
    let vector = (rng.u8(0..5) != 0).then(|| any_vector(rng, dimension));
    Indexable { memory, tokens, vector }
}

fn any_filter(rng: &mut Rng) -> Filter {
    let clause = |rng: &mut Rng| -> Value {
        match rng.u8(0..6) {
            0 => json!({"session_id": format!("s{}", rng.u8(0..4))}),
            1 => json!({"session_id": {"ne": "s1"}}),
            2 => json!({"timestamp": {"gte": rng.u8(0..30), "lt": rng.u8(20..60)}}),
            3 => json!({"parent_id": {"in": [any_parent(rng), any_parent(rng)]}}),
            4 => json!({"sender_id": format!("u{}", rng.u8(0..5))}),
            _ => json!({"parent_type": {"lte": "episode"}}),
        }
    };
    match rng.u8(0..6) {
        0..3 => Filter::everything(),
        3 => filter(clause(rng)),
        4 => filter(json!({"OR": [clause(rng), clause(rng)]})),
        _ => filter(json!({"AND": [clause(rng), {"OR": [clause(rng), clause(rng)]}]})),
    }
}
