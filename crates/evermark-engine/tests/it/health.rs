//! What is wrong is said, in time, and a status comes even when what it asks does not answer.

#![expect(clippy::disallowed_methods, reason = "a test writes what no program of ours would")]

use crate::kit::{Kit, add, flush};
use crate::script::{Fault, Latch};
use evermark_core::error::ErrorKind;
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_engine::status::Verdict;
use std::sync::Arc;
use std::time::Duration;

fn codes(engine: &Engine) -> Vec<&'static str> {
    engine.status().expect("status").reasons.into_iter().map(|reason| reason.code).collect()
}

#[test]
fn an_index_that_does_not_answer_is_said_with_what_was_known_of_it() {
    let mut kit = Kit::new();
    kit.settings.status_limit = Duration::from_millis(50);
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The lantern hangs in the shed.")]);
    flush(&engine, "s");
    assert_eq!(engine.status().expect("status").verdict, Verdict::Ok);
    let latch = Arc::new(Latch::default());
    kit.shelves.script.set("info", Fault::Hangs(Arc::clone(&latch)));
    for _ in 0..3 {
        let status = engine.status().expect("a status comes all the same");
        assert_eq!(status.verdict, Verdict::Failing);
        assert_eq!(status.maintenance.total.rows, 2, "what it said last");
        assert!(status.maintenance.index_age_ms.is_some());
        assert!(status.reasons.iter().any(|reason| reason.code == "index_unreadable"), "{:?}", status.reasons);
    }
    latch.open();
    kit.shelves.script.clear("info");
    while codes(&engine).contains(&"index_unreadable") {
        std::thread::yield_now();
    }
    assert_eq!(engine.status().expect("status").verdict, Verdict::Ok);
}

#[test]
fn after_a_rebuild_the_last_sweep_is_still_the_last_one() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The lantern hangs in the shed.")]);
    flush(&engine, "s");
    assert_eq!(engine.status().expect("status").last_sweep_age_ms, None);
    engine.quiesce().expect("synced");
    kit.world.pass(Duration::from_secs(7));
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    let age_ms = engine.status().expect("status").last_sweep_age_ms.expect("swept");
    assert!((7_000..60_000).contains(&age_ms), "{age_ms}");
}

#[test]
fn an_index_that_never_answered_is_no_healthy_one() {
    let kit = Kit::new();
    let engine = kit.open();
    kit.shelves.script.set("info", Fault::Fails(ErrorKind::Unavailable));
    let status = engine.status().expect("a status comes all the same");
    assert_eq!((status.verdict, status.maintenance.index_age_ms.is_none()), (Verdict::Failing, status.index.is_none()));
}

#[test]
fn a_loop_that_is_stuck_in_a_round_is_named() {
    let mut kit = Kit::new();
    kit.settings.loop_limit = Duration::from_secs(1);
    let engine = kit.open();
    let latch = Arc::new(Latch::default());
    kit.shelves.script.set("upsert", Fault::Hangs(Arc::clone(&latch)));
    engine.start().expect("started");
    add(&engine, "s", &[(0, "mira", User, "The lantern hangs in the shed.")]);
    engine
        .flush(evermark_engine::add::FlushRequest { wait_indexed: None, ..crate::kit::flush_of("s") })
        .expect("it is stored");
    while kit.shelves.script.calls("upsert") == 0 {
        std::thread::yield_now();
    }
    kit.world.pass(Duration::from_secs(2));
    let status = engine.status().expect("a status comes all the same");
    let stuck: Vec<_> = status.maintenance.loops.iter().filter(|one| one.is_stuck).map(|one| one.name).collect();
    assert!(stuck.contains(&"indexer"), "{:?}", status.maintenance.loops);
    assert!(status.reasons.iter().any(|reason| reason.code == "loop_stuck"), "{:?}", status.reasons);
    latch.open();
    while codes(&engine).contains(&"loop_stuck") {
        std::thread::yield_now();
    }
    engine.close().expect("closed");
}

#[test]
fn a_sweep_that_does_not_come_is_missed() {
    let mut kit = Kit::new();
    kit.settings.sweep_interval = Duration::from_secs(10);
    let engine = kit.open();
    kit.world.break_at("jobs.enqueue", 28);
    kit.write(
        "default_app/default_project/users/ann/.atomic_facts/atomic_fact-2026-01-02.md",
        "---\ntype: atomic_fact_daily\nuser_id: ann\n---\n<!-- entry:af_1 -->\n## af_1\n\n\
         **timestamp**: 2026-01-02T03:04:05+00:00\n\n### Fact\nThe heron wades.\n<!-- /entry:af_1 -->\n",
    );
    engine.start().expect("started");
    while !codes(&engine).contains(&"no_space") {
        std::thread::yield_now();
    }
    kit.world.pass(Duration::from_secs(100));
    assert!(codes(&engine).contains(&"sweep_overdue"), "{:?}", codes(&engine));
    kit.world.mend();
    while !codes(&engine).is_empty() {
        std::thread::yield_now();
    }
    engine.close().expect("closed");
}

#[test]
fn parked_files_are_counted() {
    let kit = Kit::new();
    let engine = kit.open();
    let path = "default_app/default_project/users/ann/.atomic_facts/atomic_fact-2026-01-02.md";
    kit.write(path, "");
    std::fs::write(kit.path(path), [0xFF, 0xFE, 0x00, 0xC3]).expect("written");
    engine.quiesce().expect("synced");
    assert_eq!(engine.status().expect("status").queue.parked, 1);
    assert!(codes(&engine).contains(&"files_parked") && codes(&engine).contains(&"findings"), "{:?}", codes(&engine));
}
