//! When there is no room: jobs wait and nothing fails, what is found stays found, and everything goes on by itself.

use crate::kit::{Kit, add, search, subjects, try_add};
use crate::script::{Fault, Latch};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexInfo;
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_engine::maintenance::{Why, Writes};
use evermark_models::openai;
use evermark_models::provider::Provider;
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const ENOSPC: i32 = 28;

fn fact(kit: &Kit, user: &str, text: &str) -> String {
    let path = format!("default_app/default_project/users/{user}/.atomic_facts/atomic_fact-2026-01-02.md");
    kit.write(
        &path,
        &format!(
            "---\ntype: atomic_fact_daily\nuser_id: {user}\n---\n<!-- entry:af_1 -->\n## af_1\n\n\
             **timestamp**: 2026-01-02T03:04:05+00:00\n\n### Fact\n{text}\n<!-- /entry:af_1 -->\n"
        ),
    );
    path
}

fn rows(engine: &Engine) -> u64 {
    engine.status().expect("status").maintenance.total.rows
}

fn why(engine: &Engine) -> Option<Why> {
    match engine.status().expect("status").maintenance.writes {
        Writes::Going => None,
        Writes::Paused(pause) => Some(pause.why),
    }
}

fn codes(engine: &Engine) -> Vec<&'static str> {
    engine.status().expect("status").reasons.into_iter().map(|reason| reason.code).collect()
}

#[test]
fn below_the_second_mark_jobs_wait_and_then_go_on() {
    let kit = Kit::new();
    kit.world.set_free(50 * GIB);
    let engine = kit.open();
    fact(&kit, "ann", "The heron wades.");
    engine.quiesce().expect("synced");
    kit.world.set_free(MIB);
    fact(&kit, "ben", "The otter dives.");
    assert_eq!(engine.quiesce().expect_err("it cannot be done now").kind(), ErrorKind::NoSpace);
    assert_eq!((rows(&engine), why(&engine)), (1, Some(Why::SpaceOut)));
    let status = engine.status().expect("status");
    assert_eq!((status.queue.pending, status.queue.failing, status.queue.leased), (1, 0, 0));
    assert!(codes(&engine).contains(&"space_out"), "{:?}", codes(&engine));
    // Truth is still written, and searches answer what is there and say what is missing.
    let receipt = add(&engine, "s", &[(0, "ann", User, "The kettle whistles.")]);
    assert_eq!(receipt.stored, 1);
    let answer = search(&engine, "ann", "heron");
    assert!(answer.degraded.iter().any(|degraded| degraded.code == "paused"), "{:?}", answer.degraded);
    kit.world.set_free(50 * GIB);
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (2, None));
    assert!(!codes(&engine).contains(&"space_out"));
}

#[test]
fn a_volume_mounted_read_only_is_said_and_ends_by_itself() {
    let kit = Kit::new();
    kit.world.set_free(50 * GIB);
    let engine = kit.open();
    kit.world.set_read_only(true);
    fact(&kit, "ann", "The heron wades.");
    engine.quiesce().expect_err("it cannot be done now");
    assert_eq!((why(&engine), codes(&engine).contains(&"read_only")), (Some(Why::ReadOnly), true));
    kit.world.set_read_only(false);
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (1, None));
}

#[test]
fn a_flush_that_finds_no_space_keeps_its_rows_and_is_tried_again() {
    let mut kit = Kit::new();
    let stub = StubEmbeddings::start(8);
    kit.provider = Some(Provider::OpenAi(Box::new(openai::Settings::new(stub.base_url(), "stub", 8))));
    let engine = kit.open();
    kit.shelves.script.set("flush", Fault::Fails(ErrorKind::NoSpace));
    for n in 0..5 {
        fact(&kit, &format!("user{n}"), &format!("The heron {n} wades."));
    }
    for _ in 0..4 {
        assert_eq!(engine.quiesce().expect_err("it cannot be done now").kind(), ErrorKind::NoSpace);
        // Long after the leases have ended.
        kit.world.pass(Duration::from_secs(600));
    }
    let status = engine.status().expect("status");
    assert_eq!((rows(&engine), status.queue.failing, status.queue.parked), (5, 0, 0), "{:?}", status.queue);
    assert_eq!(why(&engine), Some(Why::Refused));
    assert_eq!(stub.texts(), 5);
    kit.shelves.script.clear("flush");
    engine.quiesce().expect("synced");
    let status = engine.status().expect("status");
    assert_eq!((status.queue.pending, status.files, why(&engine)), (0, 5, None));
    assert_eq!(stub.texts(), 5, "nothing is paid for twice");
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
}

/// Files one by one, each flushed while the next is read.
fn one_by_one() -> Kit {
    let mut kit = Kit::new();
    kit.settings.files_per_tick = 1;
    kit.settings.flush_rows_max = 1;
    kit
}

#[test]
fn what_gathered_becomes_durable_while_more_is_read() {
    let kit = one_by_one();
    let engine = kit.open();
    let paths: Vec<String> =
        (0..4).map(|n| fact(&kit, &format!("user{n}"), &format!("The heron {n} wades."))).collect();
    let latch = Arc::new(Latch::default());
    kit.shelves.script.set("flush", Fault::Hangs(Arc::clone(&latch)));
    std::thread::scope(|scope| {
        let synced = scope.spawn(|| engine.quiesce());
        // The second file is in although the first one's flush hangs.
        kit.shelves.script.wait_for("upsert", 2);
        assert_eq!(kit.shelves.flushes(), 0);
        latch.open();
        synced.join().expect("no panic").expect("synced");
    });
    let status = engine.status().expect("status");
    assert_eq!((rows(&engine), status.files, status.queue.pending, status.queue.leased), (4, 4, 0, 0));
    // What the ledger was told in between is what it needs to take one away again.
    std::fs::remove_file(kit.path(&paths[1])).expect("removed");
    for _ in 0..3 {
        kit.world.pass(Duration::from_secs(60));
        engine.quiesce().expect("synced");
    }
    assert_eq!(rows(&engine), 3);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
}

#[test]
fn a_flush_that_fails_while_more_is_read_loses_neither() {
    for kind in [ErrorKind::NoSpace, ErrorKind::Unavailable, ErrorKind::Internal] {
        let kit = one_by_one();
        let engine = kit.open();
        kit.shelves.script.set("flush", Fault::Fails(kind));
        for n in 0..4 {
            fact(&kit, &format!("user{n}"), &format!("The heron {n} wades."));
        }
        for _ in 0..3 {
            assert_eq!(engine.quiesce().expect_err("it cannot be done now").kind(), kind);
            kit.world.pass(Duration::from_secs(600));
        }
        assert_eq!(kit.shelves.flushes(), 0);
        kit.shelves.script.clear("flush");
        kit.world.pass(Duration::from_secs(600));
        engine.quiesce().expect("synced");
        let status = engine.status().expect("status");
        assert_eq!((rows(&engine), status.files, status.queue.pending), (4, 4, 0), "{kind:?}");
        assert!(engine.verify(&mut |_| {}).expect("verified").is_clean(), "{kind:?}");
    }
}

#[test]
fn results_that_the_ledger_could_not_take_are_told_to_it_later() {
    for point in ["ledger.record", "jobs.outcome", "ledger.forget"] {
        let mut kit = Kit::new();
        let stub = StubEmbeddings::start(8);
        kit.provider = Some(Provider::OpenAi(Box::new(openai::Settings::new(stub.base_url(), "stub", 8))));
        let engine = kit.open();
        fact(&kit, "ann", "The heron wades.");
        kit.world.break_at(point, ENOSPC);
        engine.quiesce().expect_err("the ledger takes nothing");
        kit.world.pass(Duration::from_secs(60));
        engine.quiesce().expect_err("the ledger takes nothing");
        kit.world.mend();
        kit.world.pass(Duration::from_secs(61));
        engine.quiesce().expect("synced");
        let status = engine.status().expect("status");
        assert_eq!((status.queue.pending, status.queue.leased, status.files), (0, 0, 1), "{point}");
        assert_eq!((stub.texts(), kit.shelves.flushes()), (1, 1), "{point}: written and paid for once");
    }
}

#[test]
fn jobs_whose_rows_the_index_would_not_take_are_given_back() {
    let kit = Kit::new();
    let engine = kit.open();
    kit.shelves.script.set("upsert", Fault::Fails(ErrorKind::Unavailable));
    fact(&kit, "ann", "The heron wades.");
    engine.quiesce().expect_err("it cannot be done now");
    let status = engine.status().expect("status");
    assert_eq!((status.queue.pending, status.queue.leased, status.queue.failing), (1, 0, 0));
    kit.shelves.script.clear("upsert");
    engine.quiesce().expect("synced at once, without waiting for a lease");
    assert_eq!(rows(&engine), 1);
}

#[test]
fn an_add_on_a_full_disk_says_what_to_free() {
    let mut kit = Kit::new();
    kit.settings.upkeep.ballast_bytes = 2 * MIB;
    kit.world.set_free(50 * GIB);
    let engine = kit.open();
    engine.upkeep().expect("a round is made");
    kit.world.break_at("durable.temp_written", ENOSPC);
    kit.world.set_free(0);
    let error = try_add(&engine, "s", &[(0, "ann", User, "The kettle whistles.")]).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    let text = error.to_string();
    for part in ["0 of 107374182400 bytes", "900000 of 1000000 inodes", "2097152 bytes in reserve", "free some space"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!kit.path(".index/evermark/ballast").exists(), "the reserve was given up");
    kit.world.mend();
    kit.world.set_free(50 * GIB);
    assert_eq!(add(&engine, "s", &[(0, "ann", User, "The kettle whistles.")]).stored, 1);
}

#[test]
fn the_cap_stops_new_rows_and_not_removals_and_raising_it_goes_on() {
    let mut kit = Kit::new();
    kit.settings.upkeep.budget.cap_bytes = Some(20 * MIB);
    let engine = kit.open();
    let path = fact(&kit, "ann", "The heron wades.");
    fact(&kit, "cid", "The crane stands.");
    engine.quiesce().expect("synced");
    let full = |allocated_bytes| IndexInfo { allocated_bytes, live_bytes: allocated_bytes, ..IndexInfo::default() };
    kit.shelves.script.weigh(full(20 * MIB));
    fact(&kit, "ben", "The otter dives.");
    assert_eq!(engine.quiesce().expect_err("the cap is reached").kind(), ErrorKind::NoSpace);
    assert_eq!((rows(&engine), why(&engine)), (2, Some(Why::CapReached)));
    let status = engine.status().expect("status");
    assert_eq!((status.queue.failing, status.maintenance.ballast.wanted_bytes), (0, 0));
    assert!(codes(&engine).contains(&"index_cap_reached"), "{:?}", codes(&engine));
    // What is removed leaves the index, and that is what makes room.
    std::fs::remove_file(kit.path(&path)).expect("removed");
    engine.quiesce().expect_err("the cap is still reached");
    assert_eq!(rows(&engine), 1);
    assert_eq!(subjects(&search(&engine, "ann", "heron")).len(), 0);
    kit.shelves.script.weigh(full(10 * MIB));
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (2, None));
}

#[test]
fn a_root_opens_on_a_full_disk_by_giving_up_what_nobody_needs() {
    let mut kit = Kit::new();
    kit.settings.upkeep.ballast_bytes = 2 * MIB;
    let engine = kit.open();
    fact(&kit, "ann", "The heron wades.");
    engine.quiesce().expect("synced");
    engine.upkeep().expect("a round is made");
    drop(engine);
    let ballast = kit.path(".index/evermark/ballast");
    assert!(ballast.exists());
    // Nobody says that space is short, but opening the ledger finds none; once the reserve is gone it does.
    kit.world.break_times("ledger.open", ENOSPC, 1);
    let reclaims = kit.shelves.script.calls("reclaim");
    let engine = kit.open();
    assert_eq!((ballast.exists(), kit.shelves.script.calls("reclaim")), (false, reclaims + 1));
    assert_eq!(rows(&engine), 1);
    engine.upkeep().expect("a round is made");
    assert!(ballast.exists());
    drop(engine);
    // And where the volume says so, it does not come to that.
    kit.world.set_free(MIB);
    let engine = kit.open();
    assert!(!ballast.exists());
    assert_eq!(subjects(&search(&engine, "ann", "heron")).len(), 0, "facts have no subjects");
    assert_eq!(rows(&engine), 1);
}

#[test]
fn an_index_that_answers_is_not_given_up_for_another_model_while_space_is_low() {
    let mut kit = Kit::new();
    let engine = kit.open();
    fact(&kit, "ann", "The heron wades.");
    engine.quiesce().expect("synced");
    drop(engine);
    kit.embedder = Some(std::sync::Arc::new(evermark_core::embed::HashEmbedder::new(16)));
    kit.world.set_free(200 * MIB);
    let engine = kit.open();
    let before = engine.status().expect("status").generation;
    engine.sync(false, &mut |_| {}).expect("synced");
    engine.upkeep().expect("a round is made");
    assert_eq!(engine.status().expect("status").generation, before);
    let held = engine.plan().held;
    assert!(held.iter().any(|held| held.reason.contains("another model")), "{held:?}");
    kit.world.set_free(50 * GIB);
    engine.upkeep().expect("a round is made");
    assert_ne!(engine.status().expect("status").generation, before);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
}

#[test]
fn rows_that_find_no_room_are_not_offered_again_and_again() {
    let kit = Kit::new();
    let engine = kit.open();
    kit.shelves.script.set("upsert", Fault::Fails(ErrorKind::NoSpace));
    fact(&kit, "ann", "The heron wades.");
    for _ in 0..5 {
        assert_eq!(engine.quiesce().expect_err("it cannot be done now").kind(), ErrorKind::NoSpace);
    }
    assert_eq!((kit.shelves.script.calls("upsert"), why(&engine)), (1, Some(Why::Refused)));
    kit.world.pass(Duration::from_secs(2));
    engine.quiesce().expect_err("it cannot be done now");
    kit.world.pass(Duration::from_secs(1));
    engine.quiesce().expect_err("it cannot be done now");
    assert_eq!(kit.shelves.script.calls("upsert"), 2, "the second wait is longer");
    let status = engine.status().expect("status");
    assert_eq!((status.queue.pending, status.queue.failing, status.queue.leased), (1, 0, 0));
    kit.shelves.script.clear("upsert");
    kit.world.pass(Duration::from_secs(2));
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (1, None));
}

#[test]
fn under_a_cap_removals_go_before_what_was_refused() {
    let mut kit = Kit::new();
    kit.settings.upkeep.budget.cap_bytes = Some(20 * MIB);
    let engine = kit.open();
    let path = fact(&kit, "ann", "The heron wades.");
    engine.quiesce().expect("synced");
    // By the numbers there is room, and the index knows better.
    kit.shelves.script.set("flush", Fault::Fails(ErrorKind::NoSpace));
    fact(&kit, "ben", "The otter dives.");
    engine.quiesce().expect_err("the cap is reached");
    assert_eq!(why(&engine), Some(Why::CapReached));
    std::fs::remove_file(kit.path(&path)).expect("removed");
    engine.quiesce().expect_err("the cap is still reached");
    assert_eq!(subjects(&search(&engine, "ann", "heron")).len(), 0);
    assert_eq!(rows(&engine), 1, "the removal was carried out, and what was refused is found");
    kit.shelves.script.clear("flush");
    kit.world.pass(Duration::from_secs(120));
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (1, None));
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
}

#[test]
fn a_backlog_larger_than_the_cap_leaves_room_for_goes_in_as_far_as_it_fits() {
    let mut kit = Kit::new();
    kit.settings.upkeep.budget.cap_bytes = Some(20 * MIB);
    let engine = kit.open();
    // Room for two or three of these at a time.
    let allocated_bytes = 18 * MIB;
    kit.shelves.script.weigh(IndexInfo { allocated_bytes, live_bytes: allocated_bytes, ..IndexInfo::default() });
    for user in 0..8 {
        fact(&kit, &format!("user{user}"), &format!("The heron wades. {}", "reed ".repeat(12_000)));
    }
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (8, None));
    // One that does not fit by itself waits; when it is gone, nothing waits for it any more.
    let path = fact(&kit, "ann", &format!("The otter dives. {}", "reed ".repeat(80_000)));
    engine.quiesce().expect_err("it does not fit");
    assert_eq!((rows(&engine), why(&engine)), (8, Some(Why::CapReached)));
    std::fs::remove_file(kit.path(&path)).expect("removed");
    kit.world.pass(Duration::from_secs(120));
    engine.quiesce().expect("synced");
    assert_eq!((rows(&engine), why(&engine)), (8, None));
}
