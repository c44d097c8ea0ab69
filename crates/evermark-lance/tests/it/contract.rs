//! The contract of every index, lived on disk: views that fit, that barely fit, and that do not.

use crate::support::{WIDTH, options};
use evermark_core::index::Index;
use evermark_core::world::RealWorld;
use evermark_lance::{LanceIndex, Options};
use evermark_sim::contract::{Subject, random, suite};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

fn with_subject(options: Options, run: impl FnOnce(&Subject<'_>)) {
    let root = tempfile::tempdir().unwrap();
    let n_made = Cell::new(0);
    let dir = RefCell::new(root.path().to_owned());
    let open = || -> Box<dyn Index> {
        Box::new(LanceIndex::open(&dir.borrow(), options, Arc::new(RealWorld::new())).expect("an index"))
    };
    let make = || {
        n_made.set(n_made.get() + 1);
        *dir.borrow_mut() = root.path().join(n_made.get().to_string());
        open()
    };
    let reopen = |index: Box<dyn Index>| {
        drop(index);
        open()
    };
    run(&Subject { make: &make, reopen: Some(&reopen), dimension: WIDTH });
}

#[test]
fn lance_keeps_the_contract() {
    with_subject(options(), suite);
}

#[test]
fn lance_keeps_the_contract_without_room_for_views() {
    with_subject(Options { view_bytes_max: 0, ..options() }, suite);
}

#[test]
fn random_lives_answer_as_the_oracle_does() {
    for seed in 0..6 {
        with_subject(options(), |subject| random(subject, seed, 60));
    }
}

#[test]
fn random_lives_answer_as_the_oracle_does_when_memory_is_short() {
    for seed in 10..14 {
        // Between nothing and a few of the owners, payloads kept or not.
        let view_bytes_max = [0, 20_000, 40_000, 80_000][seed as usize % 4];
        let short = Options { view_bytes_max, pending_rows_max: 50, ..options() };
        with_subject(short, |subject| random(subject, seed, 40));
    }
}
