//! A flush that fails at any named point loses nothing and doubles nothing; the next one finishes the job.

use crate::support::{FaultWorld, contents, fact, key, open, open_in, user};
use evermark_core::error::ErrorKind;
use evermark_core::id::Kind;
use evermark_core::index::{Index, Indexable};
use std::io;

const POINTS: [&str; 2] = ["lance.appended", "lance.committed"];

#[test]
fn a_failed_flush_keeps_the_rows_and_the_next_one_writes_them() {
    for point in POINTS {
        let dir = tempfile::tempdir().unwrap();
        let amy = user("amy");
        let world = FaultWorld::new();
        let index = open_in(dir.path(), world.clone()).unwrap();
        let first: Vec<Indexable> = (0..10).map(|id| fact(&amy, &id.to_string(), "tea")).collect();
        index.upsert(first.clone()).unwrap();
        index.flush().unwrap();
        index.upsert(vec![fact(&amy, "3", "coffee"), fact(&amy, "10", "cocoa")]).unwrap();
        index.remove(&[key(&amy, "4")]).unwrap();
        // For good: removals are tried by themselves when there is no room.
        world.arm_always(point, io::ErrorKind::StorageFull);
        let error = index.flush().unwrap_err();
        world.disarm();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{point}: {error}");
        let expected = |index: &dyn Index, when: &str| {
            let rows = contents(index);
            assert_eq!(rows.len(), 10, "{point}, {when}");
            assert_eq!(rows[&key(&amy, "3")], fact(&amy, "3", "coffee").memory.digest(), "{point}, {when}");
            assert!(!rows.contains_key(&key(&amy, "4")), "{point}, {when}");
            let found = index.fetch(&amy, Kind::AtomicFact, &["10".to_owned(), "4".to_owned()]).unwrap();
            assert_eq!(found, [fact(&amy, "10", "cocoa").memory], "{point}, {when}");
        };
        expected(&index, "after the failure");
        index.flush().unwrap();
        expected(&index, "after the next flush");
        index.upkeep().unwrap();
        expected(&index, "after upkeep");
        drop(index);
        expected(&open(dir.path()), "after reopening");
    }
}

#[test]
fn a_failed_compaction_leaves_the_rows_where_they_were() {
    for point in ["lance.reclaiming", "lance.merged", "lance.committed"] {
        let dir = tempfile::tempdir().unwrap();
        let amy = user("amy");
        let world = FaultWorld::new();
        let index = open_in(dir.path(), world.clone()).unwrap();
        for id in 0..20 {
            index.upsert(vec![fact(&amy, &id.to_string(), "tea")]).unwrap();
            index.flush().unwrap();
        }
        let before = contents(&index);
        world.arm(point, io::ErrorKind::StorageFull);
        assert_eq!(index.upkeep().unwrap_err().kind(), ErrorKind::NoSpace, "{point}");
        assert_eq!(contents(&index), before, "{point}");
        index.upkeep().unwrap();
        assert_eq!(contents(&index), before, "{point}");
        assert_eq!(index.info().unwrap().versions, 1, "{point}");
        index.upsert(vec![fact(&amy, "3", "coffee")]).unwrap();
        index.flush().unwrap();
        drop(index);
        let after = contents(&open(dir.path()));
        assert_eq!(after.len(), 20, "{point}");
        assert_eq!(after[&key(&amy, "3")], fact(&amy, "3", "coffee").memory.digest(), "{point}");
    }
}

#[test]
fn a_thousand_merges_that_fail_at_their_end_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let world = FaultWorld::new();
    let index = open_in(dir.path(), world.clone()).unwrap();
    for id in 0..20 {
        index.upsert(vec![fact(&amy, &id.to_string(), "tea")]).unwrap();
        index.flush().unwrap();
    }
    let before = contents(&index);
    let mut largest = 0;
    for round in 0..1000 {
        // All of its output is written, and the commit is what fails.
        world.arm("lance.merged", io::ErrorKind::Other);
        index.upkeep().unwrap_err();
        let bytes = index.info().unwrap().allocated_bytes;
        if round < 3 {
            largest = largest.max(bytes);
        }
        assert!(bytes <= largest + (64 << 10), "round {round}: {bytes} bytes, {largest} at first");
    }
    assert_eq!(contents(&index), before);
    index.upkeep().unwrap();
    let info = index.info().unwrap();
    assert!(info.allocated_bytes <= info.live_bytes + (64 << 10), "{info:?}");
    drop(index);
    assert_eq!(contents(&open(dir.path())), before);
}
