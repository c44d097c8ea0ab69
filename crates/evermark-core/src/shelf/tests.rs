//! What a shelf alone promises. That it answers as the exact index does is checked in evermark-sim, on long random lives.

use super::best::Best;
use super::names::{NONE, Names, fingerprint};
use super::postings::Postings;
use super::vectors::{Stored, Vectors, pack};
use super::*;
use crate::exact::ExactIndex;
use crate::filter::Filter;
use crate::id::Scope;
use crate::index::Index;
use crate::memory::Body;
use crate::vector::cosine;
use proptest::collection::vec;
use proptest::prelude::*;

fn owner() -> Owner {
    Owner::user(Scope::default(), "ana")
}

fn fact(id: &str, tokens: &str, vector: Option<Vec<f32>>) -> Indexable {
    Indexable {
        memory: Memory {
            owner: owner(),
            id: id.to_owned(),
            entry_id: id.to_owned(),
            path: "users/ana/day.md".to_owned(),
            session_id: Some("s".to_owned()),
            timestamp_us: Some(1),
            parent_type: Some("episode".to_owned()),
            parent_id: Some(format!("ep_{}", id.len())),
            sender_ids: vec!["ana".to_owned()],
            message_ids: vec!["m_1".to_owned()],
            deprecated_by: None,
            body: Body::AtomicFact { fact: tokens.to_owned(), context: None },
        },
        tokens: tokens.to_owned(),
        vector,
    }
}

fn shelf_row(row: &Indexable) -> ShelfRow<'_> {
    ShelfRow::of(row)
}

fn shelf_of(rows: &[Indexable], payloads: Payloads) -> Shelf {
    Shelf::build(owner(), Some(4), payloads, rows.iter().map(shelf_row)).expect("valid rows")
}

fn ask<'a>(owner: &'a Owner, filter: &'a Filter, limit: usize) -> Ask<'a> {
    Ask { owner, kind: Kind::AtomicFact, filter, parents: None, ids: None, deprecated: false, limit }
}

#[test]
fn without_payloads_rows_are_named() {
    let rows = [fact("a", "x", None), fact("bb", "x y", None)];
    let (owner, filter) = (owner(), Filter::everything());
    let (lean, full) = (shelf_of(&rows, Payloads::LeaveOut), shelf_of(&rows, Payloads::Keep));
    let (ask, order) = (ask(&owner, &filter, 9), Order { descending: false });
    assert_eq!(lean.page(&ask, order, 0), full.page(&ask, order, 0));
    assert_eq!(lean.page(&ask, order, 1), Page { ids: vec!["bb".to_owned()], total: 2 });
    assert_eq!(lean.matching(&ask, &["y".to_owned()])[0].id, "bb");
    for error in [
        lean.fetch(Kind::AtomicFact, &["a".to_owned()]).expect_err("no payloads"),
        lean.list(&ask, order, 0).expect_err("no payloads"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    assert_eq!(full.fetch(Kind::AtomicFact, &["bb".to_owned()]).expect("kept"), [rows[1].memory.clone()]);
    assert!(lean.contains(Kind::AtomicFact, "a") && !lean.contains(Kind::Episode, "a"));
    assert!(lean.bytes() < full.bytes());
}

#[test]
fn another_owner_finds_nothing() {
    let shelf = shelf_of(&[fact("a", "x", Some(vec![1.0; 4]))], Payloads::Keep);
    let (other, filter) = (Owner::user(Scope::default(), "bo"), Filter::everything());
    let ask = ask(&other, &filter, 9);
    assert!(shelf.matching(&ask, &["x".to_owned()]).is_empty());
    assert!(shelf.nearest(&ask, &[1.0; 4]).expect("width").is_empty());
    assert_eq!(shelf.page(&ask, Order { descending: false }, 0).total, 0);
}

#[test]
fn widths_are_checked() {
    let mut shelf = Shelf::new(owner(), Some(4), Payloads::Keep);
    let wrong = fact("b", "x", Some(vec![1.0; 3]));
    let error = shelf.upsert([&fact("a", "x", None), &wrong].map(shelf_row)).expect_err("too narrow");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(shelf.contains(Kind::AtomicFact, "a") && !shelf.contains(Kind::AtomicFact, "b"));
    assert!(shelf.scores_of(Kind::AtomicFact, &[], &[1.0]).is_err());
    let mut blind = Shelf::new(owner(), None, Payloads::Keep);
    assert!(blind.upsert([shelf_row(&wrong)]).is_err());
    assert!(blind.upsert([shelf_row(&fact("a", "x", None))]).is_ok());
    blind.settle();
    assert_eq!(blind.rows().collect::<Vec<_>>(), [(Kind::AtomicFact, 1)]);
}

#[test]
fn a_shelf_knows_its_size_and_gives_back() {
    let rows: Vec<_> = (0..2000).map(|n| fact(&format!("f{n:05}"), &format!("x w{n}"), Some(vec![1.0; 4]))).collect();
    let mut shelf = shelf_of(&rows, Payloads::Keep);
    let full = shelf.bytes();
    let parts = shelf.bytes_by_part();
    assert!(parts.columns + parts.payloads + parts.postings + parts.vectors <= full);
    assert!(parts.vectors >= 2000 * 4 * 2 && full < 2000 * 400, "{parts:?}");
    // The same rows again: the dead ones may not pile up.
    for _ in 0..5 {
        shelf.upsert(rows.iter().map(shelf_row)).expect("valid rows");
    }
    assert!(shelf.bytes() < full * 2, "{} {full}", shelf.bytes());
    shelf.settle();
    assert_eq!(shelf.bytes(), full);
    for row in &rows[10..] {
        assert!(shelf.remove(Kind::AtomicFact, &row.memory.id));
    }
    assert!(!shelf.remove(Kind::AtomicFact, "f00010"));
    shelf.settle();
    assert!(shelf.bytes() < full / 20);
    for row in &rows[..10] {
        shelf.remove(Kind::AtomicFact, &row.memory.id);
    }
    shelf.settle();
    assert!(shelf.bytes() < 1000);
}

#[test]
fn names_are_stored_once() {
    let mut names = Names::default();
    assert_eq!(names.find(b"x"), None);
    for round in 0..2 {
        for n in 0..500_u32 {
            assert_eq!(names.intern(format!("n{n}").as_bytes()), Some(n), "{round}");
        }
    }
    assert_eq!((names.len(), names.get(7), names.find(b"n499")), (500, &b"n7"[..], Some(499)));
    assert_eq!(names.intern(b""), Some(500));
    assert_eq!((names.get(500), names.get(0)), (&b""[..], &b"n0"[..]));
}

#[test]
fn postings_are_merged_and_renumbered() {
    let mut postings = Postings::default();
    postings.add(0, &[5, 5, 9]);
    postings.add(1, &[5]);
    assert_eq!(postings.recent(&[9, 5]), [(1, 0, 2), (0, 0, 1), (1, 1, 1)]);
    assert_eq!(postings.of(5), (&[][..], &[][..]));
    postings.merge();
    postings.add(2, &[1, 5, 9]);
    postings.merge();
    assert_eq!(postings.of(5), (&[0, 1, 2][..], &[2, 1, 1][..]));
    assert_eq!(postings.of(9), (&[0, 2][..], &[1, 1][..]));
    postings.rebuild(|row| row.checked_sub(1));
    assert_eq!(postings.of(5), (&[0, 1][..], &[1, 1][..]));
    assert_eq!(postings.of(9), (&[1][..], &[1][..]));
    assert!(postings.recent(&[5]).is_empty());
    postings.rebuild(|_| None);
    assert_eq!(postings.of(1), (&[][..], &[][..]));
}

#[test]
fn many_postings_are_merged_as_few_are() {
    // Words of a language: some in nearly every row, most in few; their fingerprints are spread evenly.
    let term = |n: u32| fingerprint(&n.to_le_bytes());
    let terms = |row: u32| {
        let mut terms: Vec<u64> = (1..20).map(|n| term(row.wrapping_mul(n * n) % (7 << n.min(9)))).collect();
        terms.sort_unstable();
        terms
    };
    let (mut at_once, mut bit_by_bit) = (Postings::default(), Postings::default());
    for row in 0..600 {
        at_once.add(row, &terms(row));
        bit_by_bit.add(row, &terms(row));
        bit_by_bit.merge();
    }
    assert!(at_once.tail().len() > 4096, "{}", at_once.tail().len());
    at_once.merge();
    for row in 0..600 {
        for term in terms(row) {
            assert_eq!(at_once.of(term), bit_by_bit.of(term));
            assert!(at_once.of(term).0.contains(&row));
        }
    }
    assert_eq!(at_once.bytes(), bit_by_bit.bytes());
}

#[test]
fn vectors_lose_rows_without_moving_the_others() {
    let mut vectors = Vectors::new(2);
    let mut add = |row, vector: &[f32]| vectors.put(row, &Stored::of(vector)?);
    assert_eq!(add(0, &[1.0, 0.0]), Some(0));
    for nowhere in [[0.0, 0.0], [f32::NAN, 1.0], [1.0, f32::INFINITY]] {
        assert_eq!(add(1, &nowhere), None, "{nowhere:?}");
    }
    assert_eq!(add(2, &[0.0, -3e-42]), Some(1));
    let mut places = vec![NONE; 2];
    vectors.rebuild(|row| (row == 2).then_some(1), |row, place| places[row as usize] = place);
    assert_eq!(places, [NONE, 0]);
    assert_eq!(vectors.fine(&[0], &pack(&[0.0, 1.0]).expect("a direction")), [-1.0]);
}

proptest! {
    #[test]
    fn packed_cosines_are_close(
        (a, b) in (1_usize..600).prop_flat_map(|width| (vec(-1.0_f32..1.0, width), vec(-1e3_f32..1e3, width)))
    ) {
        let mut vectors = Vectors::new(a.len());
        if let (Some(stored), Some(packed)) = (Stored::of(&a), pack(&b)) {
            let place = vectors.put(0, &stored).expect("room");
            let found = vectors.fine(&[place], &packed)[0];
            prop_assert!((found - cosine(&a, &b)).abs() < 1e-4, "{} {}", found, cosine(&a, &b));
            let coarse = vectors.cosines(&packed);
            prop_assert!((coarse[0] - found).abs() < 0.5 / 127.0 * (a.len() as f32).sqrt(), "{coarse:?} {found}");
        }
    }

    #[test]
    fn the_best_are_those_a_sort_puts_first(scores in vec(0_u8..20, 0..60), limit in 0_usize..70) {
        let tie = |a: u32, b: u32| a.cmp(&b);
        let mut best = Best::new(limit, scores.len(), &tie);
        for (row, &score) in scores.iter().enumerate() {
            best.offer(f32::from(score), row as u32);
        }
        let mut sorted: Vec<_> = scores.iter().enumerate().map(|(row, &score)| (f32::from(score), row as u32)).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        sorted.truncate(limit);
        let mut again = Best::new(limit, scores.len(), &tie);
        scores.iter().zip(0..).for_each(|(&score, row)| again.offer(f32::from(score), row));
        let mut rows = again.rows();
        rows.sort_unstable();
        let mut wanted: Vec<u32> = sorted.iter().map(|&(_, row)| row).collect();
        wanted.sort_unstable();
        prop_assert_eq!(rows, wanted);
        prop_assert_eq!(best.sorted(), sorted);
    }

    #[test]
    fn a_shelf_answers_as_the_exact_index(
        rows in vec(("[a-f]", vec("[u-z]", 0..6), proptest::option::of(vec(-1.0_f32..1.0, 4)), any::<bool>()), 0..40),
        removed in vec("[a-f]", 0..4),
        terms in vec("[u-z]", 0..4),
        vector in vec(-1.0_f32..1.0, 4),
        limit in 0_usize..8,
    ) {
        let exact = ExactIndex::new(Some(4));
        let mut shelf = Shelf::new(owner(), Some(4), Payloads::Keep);
        for (id, words, vector, deprecated) in rows {
            let mut row = fact(&id, &words.join(" "), vector);
            row.memory.deprecated_by = deprecated.then(|| "z".to_owned());
            shelf.upsert([shelf_row(&row)]).expect("valid row");
            exact.upsert(vec![row]).expect("valid row");
        }
        for id in removed {
            shelf.remove(Kind::AtomicFact, &id);
            exact.remove(&[MemoryKey { owner: owner(), kind: Kind::AtomicFact, id }]).expect("open");
        }
        let (owner, filter) = (owner(), Filter::everything());
        let ask = ask(&owner, &filter, limit);
        let near = |a: &[Hit], b: &[Hit]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a.score - b.score).abs() < 1e-4)
        };
        prop_assert!(near(&shelf.matching(&ask, &terms), &exact.matching(&ask, &terms).expect("open")));
        prop_assert!(near(&shelf.nearest(&ask, &vector).expect("width"), &exact.nearest(&ask, &vector).expect("width")));
        let order = Order { descending: true };
        prop_assert_eq!(shelf.list(&ask, order, 1).expect("kept"), exact.list(&ask, order, 1).expect("open"));
    }
}
