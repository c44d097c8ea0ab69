//! Views: loaded at first use, in step with every change, bounded, and never the reason for another answer.

use crate::support::{WIDTH, fact, key, matching, nearest, open, options, user};
use evermark_core::exact::ExactIndex;
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, Owner};
use evermark_core::index::{Ask, Index, Indexable, Order};
use evermark_core::world::RealWorld;
use evermark_lance::{LanceIndex, Options};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn open_with(dir: &Path, view_bytes_max: usize) -> LanceIndex {
    let options = Options { view_bytes_max, ..options() };
    LanceIndex::open(dir, options, Arc::new(RealWorld::new())).expect("an index")
}

fn rows(owner: &Owner, n: usize, random: &mut fastrand::Rng) -> Vec<Indexable> {
    const WORDS: [&str; 8] = ["tea", "coffee", "cocoa", "milk", "water", "juice", "wine", "soup"];
    (0..n)
        .map(|id| {
            let text: Vec<&str> = (0..random.usize(1..9)).map(|_| WORDS[random.usize(..8)]).collect();
            let mut row = fact(owner, &format!("{id:04}"), &text.join(" "));
            row.memory.deprecated_by = (random.u8(..) < 30).then(|| "x".to_owned());
            row.memory.parent_id = (random.bool()).then(|| format!("p{}", id % 5));
            row.memory.timestamp_us = (random.u8(..) > 20).then(|| random.i64(0..1000));
            row.vector = row.vector.filter(|_| random.u8(..) > 20);
            row
        })
        .collect()
}

/// Asks everything of both and compares.
fn check_same(index: &dyn Index, oracle: &dyn Index, owner: &Owner, when: &str) {
    let filter = Filter::default();
    let parents = ["p1".to_owned(), "p2".to_owned()];
    for (parents, deprecated, limit) in [(None, false, 10), (Some(parents.as_slice()), true, 7), (None, true, 10_000)] {
        let ask = Ask { owner, kind: Kind::AtomicFact, filter: &filter, parents, ids: None, deprecated, limit };
        for terms in [vec!["tea"], vec!["wine", "soup", "tea"], vec!["nothing"]] {
            let terms: Vec<String> = terms.into_iter().map(str::to_owned).collect();
            let (found, wanted) = (index.matching(&ask, &terms).unwrap(), oracle.matching(&ask, &terms).unwrap());
            assert_eq!(found.len(), wanted.len(), "{when}: {terms:?}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((found.score - wanted.score).abs() < 1e-3, "{when}: {found:?} {wanted:?}");
            }
        }
        let vector: Vec<f32> = (0..WIDTH).map(|at| at as f32 - 3.0).collect();
        let (found, wanted) = (index.nearest(&ask, &vector).unwrap(), oracle.nearest(&ask, &vector).unwrap());
        assert_eq!(found.len(), wanted.len(), "{when}");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found.score - wanted.score).abs() < 1e-3, "{when}: {found:?} {wanted:?}");
        }
        for descending in [false, true] {
            let order = Order { descending };
            assert_eq!(index.list(&ask, order, 3).unwrap(), oracle.list(&ask, order, 3).unwrap(), "{when}");
        }
    }
}

#[test]
fn answers_are_the_oracles_with_views_that_fit_that_barely_fit_and_that_do_not() {
    let mut random = fastrand::Rng::with_seed(5);
    for view_bytes_max in [64 << 20, 150_000, 100_000, 10_000, 0] {
        let dir = tempfile::tempdir().unwrap();
        let index = open_with(dir.path(), view_bytes_max);
        let oracle = ExactIndex::new(Some(WIDTH));
        let owners = [user("amy"), user("bob"), user("cat")];
        for round in 0..4 {
            for owner in &owners {
                let rows = rows(owner, 400, &mut random);
                index.upsert(rows.clone()).unwrap();
                oracle.upsert(rows.clone()).unwrap();
                let gone: Vec<_> = (0..40).map(|_| key(owner, &format!("{:04}", random.u32(0..400)))).collect();
                index.remove(&gone).unwrap();
                oracle.remove(&gone).unwrap();
            }
            let when = format!("{view_bytes_max} bytes, round {round}");
            for owner in &owners {
                check_same(&index, &oracle, owner, &when);
                let info = index.info().unwrap();
                assert!(info.view_bytes <= view_bytes_max as u64, "{when}: {info:?}");
            }
            match round {
                0 => index.flush().unwrap(),
                1 => {
                    index.flush().unwrap();
                    index.upkeep().unwrap();
                }
                _ => {}
            }
            for owner in &owners {
                check_same(&index, &oracle, owner, &when);
            }
        }
    }
}

#[test]
fn a_write_is_seen_by_the_next_search_whether_the_view_was_loaded_before_or_after() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let amy = user("amy");
    index.upsert(vec![fact(&amy, "1", "tea")]).unwrap();
    assert_eq!(matching(&index, &amy, "tea", 10).len(), 1);
    index.upsert(vec![fact(&amy, "2", "tea cocoa")]).unwrap();
    assert_eq!(matching(&index, &amy, "tea", 10).len(), 2);
    index.flush().unwrap();
    index.remove(&[key(&amy, "1")]).unwrap();
    assert_eq!(matching(&index, &amy, "tea", 10)[0].id, "2");
    let row = fact(&amy, "2", "wine");
    index.upsert(vec![row.clone()]).unwrap();
    assert!(matching(&index, &amy, "tea", 10).is_empty());
    assert_eq!(nearest(&index, &amy, row.vector.as_ref().unwrap(), 1)[0].id, "2");
    assert_eq!(index.fetch(&amy, Kind::AtomicFact, &["2".to_owned()]).unwrap(), [row.memory]);
}

#[test]
fn the_view_used_longest_ago_goes_first_and_idle_ones_go_at_upkeep() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let owners: Vec<Owner> = (0..4).map(|at| user(&format!("u{at}"))).collect();
    let all: Vec<Vec<Indexable>> = owners.iter().map(|owner| rows(owner, 500, &mut random)).collect();
    let one = {
        let index = open(dir.path());
        all.iter().for_each(|rows| index.upsert(rows.clone()).unwrap());
        index.flush().unwrap();
        matching(&index, &owners[0], "tea", 1);
        index.info().unwrap().view_bytes as usize
    };
    let index = open_with(dir.path(), one * 5 / 2);
    for owner in [0, 1, 0, 2, 0, 3, 0] {
        assert!(!matching(&index, &owners[owner], "tea", 1).is_empty());
        assert!(index.info().unwrap().view_bytes as usize <= one * 5 / 2);
    }
    index.upkeep().unwrap();
    assert!(index.info().unwrap().view_bytes > 0, "ten minutes have not passed");
    let options = Options { view_idle_max: Duration::ZERO, ..options() };
    drop(index);
    let index = LanceIndex::open(dir.path(), options, Arc::new(RealWorld::new())).unwrap();
    matching(&index, &owners[0], "tea", 1);
    assert!(index.info().unwrap().view_bytes > 0);
    index.upkeep().unwrap();
    assert_eq!(index.info().unwrap().view_bytes, 0);
}

#[test]
fn searches_writes_flushes_and_upkeep_at_the_same_time_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let index = open_with(dir.path(), 400_000);
    let owners: Vec<Owner> = (0..3).map(|at| user(&format!("u{at}"))).collect();
    std::thread::scope(|scope| {
        for owner in &owners {
            let index = &index;
            scope.spawn(move || {
                for n in 0..150 {
                    index.upsert(vec![fact(owner, &format!("{n:04}"), "tea")]).unwrap();
                    assert_eq!(
                        matching(index, owner, "tea", 1000).len(),
                        n + 1,
                        "a search sees its own thread's writes"
                    );
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..60 {
                index.flush().unwrap();
                index.upkeep().unwrap();
            }
        });
        for owner in &owners {
            let index = &index;
            scope.spawn(move || {
                let mut before = 0;
                for _ in 0..300 {
                    let now = matching(index, owner, "tea", 1000).len();
                    assert!(now >= before, "{before} rows, then {now}");
                    before = now;
                }
            });
        }
    });
    for owner in &owners {
        assert_eq!(matching(&index, owner, "tea", 1000).len(), 150);
    }
    index.flush().unwrap();
    index.upkeep().unwrap();
    drop(index);
    let index = open(dir.path());
    for owner in &owners {
        assert_eq!(matching(&index, owner, "tea", 1000).len(), 150);
    }
}
