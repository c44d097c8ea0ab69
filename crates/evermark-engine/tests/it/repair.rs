//! What damage takes out of the index is written again from the Markdown, once, also after a crash, and costs no call.

use crate::kit::{Kit, add, flush, search, subjects};
use crate::script::Fault;
use evermark_core::error::ErrorKind;
use evermark_core::id::MemoryKey;
use evermark_core::index::Index;
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_models::openai;
use evermark_models::provider::Provider;
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::sync::atomic::Ordering;

const GIB: u64 = 1 << 30;

fn kit() -> (Kit, StubEmbeddings) {
    let mut kit = Kit::new();
    let stub = StubEmbeddings::start(8);
    kit.provider = Some(Provider::OpenAi(Box::new(openai::Settings::new(stub.base_url(), "stub", 8))));
    (kit, stub)
}

fn filled(kit: &Kit) -> Engine {
    let engine = kit.open();
    for n in 0..6 {
        let session = format!("s{n}");
        add(&engine, &session, &[(n * 10_000, "mira", User, &format!("The lantern {n} hangs in the shed."))]);
        flush(&engine, &session);
    }
    engine
}

/// Takes every second row out, as damage does: unasked.
fn lose_half(kit: &Kit, engine: &Engine) -> usize {
    let generation = engine.status().expect("status").generation;
    let rows = kit.shelves.rows_in(&kit.path(&format!(".index/evermark/{generation}")));
    let mut keys: Vec<MemoryKey> = Vec::new();
    rows.scan(&mut |key, _, _| keys.push(key)).expect("scanned");
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let lost: Vec<MemoryKey> = keys.into_iter().step_by(2).collect();
    rows.remove(&lost).expect("removed");
    lost.len()
}

fn assert_whole(engine: &Engine) {
    let verified = engine.verify(&mut |_| {}).expect("verified");
    assert!(verified.is_clean() && verified.rows == 12, "{verified:?}");
    assert_eq!(subjects(&search(engine, "mira", "lantern")).len(), 6);
}

#[test]
fn lost_rows_are_written_again_and_cost_nothing() {
    let (kit, stub) = kit();
    let engine = filled(&kit);
    let paid = stub.texts();
    assert_eq!(lose_half(&kit, &engine), 6);
    kit.shelves.script.losses.store(1, Ordering::SeqCst);
    let codes = |engine: &Engine| -> Vec<_> {
        engine.status().expect("status").reasons.into_iter().map(|reason| reason.code).collect()
    };
    assert!(codes(&engine).contains(&"quarantine"), "{:?}", codes(&engine));
    engine.upkeep().expect("a round is made");
    engine.quiesce().expect("synced");
    assert_whole(&engine);
    assert_eq!(stub.texts(), paid);
    assert!(!codes(&engine).contains(&"quarantine"));
    // Once.
    let flushes = kit.shelves.flushes();
    engine.upkeep().expect("a round is made");
    engine.quiesce().expect("synced");
    assert_eq!(kit.shelves.flushes(), flushes);
}

#[test]
fn a_loss_is_remembered_when_the_process_dies_before_it_is_made_good() {
    for point in ["ledger.open", "jobs.enqueue", "index.claimed", "index.flushed"] {
        let (kit, stub) = kit();
        let engine = filled(&kit);
        let paid = stub.texts();
        lose_half(&kit, &engine);
        kit.shelves.script.losses.store(1, Ordering::SeqCst);
        kit.world.arm(point, 1);
        engine.upkeep().ok();
        engine.quiesce().ok();
        drop(engine);
        kit.world.disarm();
        let engine = kit.open();
        engine.upkeep().expect("a round is made");
        engine.quiesce().expect("synced");
        assert_whole(&engine);
        assert_eq!(stub.texts(), paid, "{point}");
    }
}

#[test]
fn an_index_with_fewer_rows_than_recorded_is_noticed_when_it_is_opened() {
    let (kit, stub) = kit();
    let engine = filled(&kit);
    let paid = stub.texts();
    lose_half(&kit, &engine);
    drop(engine);
    let engine = kit.open();
    engine.upkeep().expect("a round is made");
    engine.quiesce().expect("synced");
    assert_whole(&engine);
    assert_eq!(stub.texts(), paid);
}

#[test]
fn inspecting_makes_good_what_it_finds() {
    let (kit, _stub) = kit();
    let engine = filled(&kit);
    lose_half(&kit, &engine);
    kit.shelves.script.losses.store(3, Ordering::SeqCst);
    engine.inspect(&mut |_| {}).expect("inspected");
    engine.quiesce().expect("synced");
    assert_whole(&engine);
}

#[test]
fn without_room_beside_it_a_damaged_index_is_made_anew_in_its_place() {
    let (kit, stub) = kit();
    kit.world.set_free(50 * GIB);
    let engine = filled(&kit);
    let (paid, before) = (stub.texts(), engine.status().expect("status").generation);
    kit.world.set_free(200 << 20);
    kit.shelves.script.set("upsert", Fault::Fails(ErrorKind::Corrupt));
    add(&engine, "more", &[(90_000, "mira", User, "The wheelbarrow squeaks.")]);
    flush(&engine, "more");
    kit.shelves.script.clear("upsert");
    engine.upkeep().expect("a round is made");
    let status = engine.status().expect("status");
    assert_ne!(status.generation, before);
    assert!(!kit.path(&format!(".index/evermark/{before}")).exists());
    assert!(status.reasons.iter().any(|reason| reason.code == "index_filling"), "{:?}", status.reasons);
    let answer = search(&engine, "mira", "lantern");
    assert!(answer.degraded.iter().any(|degraded| degraded.code == "rebuilding"), "{:?}", answer.degraded);
    engine.quiesce().expect("synced");
    engine.upkeep().expect("a round is made");
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "lantern").degraded, []);
    // The last message's two texts are new.
    assert!(stub.texts() <= paid + 2, "{} after {paid}", stub.texts());
}

#[test]
fn dying_while_it_is_made_anew_in_its_place_loses_nothing() {
    for point in ["rebuild.emptied", "durable.temp_written", "durable.renamed"] {
        let (kit, stub) = kit();
        kit.world.set_free(50 * GIB);
        let engine = filled(&kit);
        let paid = stub.texts();
        kit.world.set_free(200 << 20);
        kit.world.arm(point, 1);
        engine.rebuild(&mut |_| {}).expect_err("it dies");
        drop(engine);
        kit.world.disarm();
        let engine = kit.open();
        engine.quiesce().expect("synced");
        engine.upkeep().expect("a round is made");
        assert_whole(&engine);
        assert_eq!(stub.texts(), paid, "{point}");
        let generations = std::fs::read_dir(kit.path(".index/evermark")).expect("listed").flatten();
        let n_generations = generations.filter(|entry| entry.file_name().to_string_lossy().starts_with("gen-")).count();
        assert_eq!(n_generations, 1, "{point}");
    }
}

#[test]
fn a_swap_is_made_or_not_made_whatever_fails_in_it() {
    for (point, is_made) in [("durable.temp_written", false), ("durable.renamed", true)] {
        let (kit, stub) = kit();
        let engine = filled(&kit);
        engine.quiesce().expect("synced");
        let before = engine.status().expect("status").generation;
        // The first file that is written is the new generation's own.
        kit.world.arm(point, 2);
        assert_eq!(engine.rebuild(&mut |_| {}).is_ok(), is_made, "{point}");
        assert!(!kit.world.is_armed(point));
        assert_eq!(engine.status().expect("status").generation != before, is_made, "{point}");
        add(&engine, "later", &[(90_000, "mira", User, "The wheelbarrow squeaks.")]);
        flush(&engine, "later");
        engine.quiesce().expect("synced");
        engine.close().expect("closed");
        drop(engine);
        let paid = stub.texts();
        let engine = kit.open();
        // What the ledger says is indexed is in the generation that was opened.
        let synced = engine.sync(false, &mut |_| {}).expect("synced");
        assert_eq!(synced.files_indexed, 0, "{point}");
        assert!(engine.verify(&mut |_| {}).expect("verified").is_clean(), "{point}");
        assert_eq!(subjects(&search(&engine, "mira", "wheelbarrow")).len(), 1, "{point}");
        assert_eq!(stub.texts(), paid, "{point}");
    }
}

#[test]
fn a_generation_that_found_no_room_beside_the_old_one_takes_its_place() {
    let (kit, stub) = kit();
    let engine = filled(&kit);
    let (paid, before) = (stub.texts(), engine.status().expect("status").generation);
    kit.shelves.script.set("upsert", Fault::Fails(ErrorKind::Corrupt));
    kit.write(
        "default_app/default_project/users/ann/.atomic_facts/atomic_fact-2026-01-02.md",
        "---\ntype: atomic_fact_daily\nuser_id: ann\n---\n<!-- entry:af_1 -->\n## af_1\n\n\
         **timestamp**: 2026-01-02T03:04:05+00:00\n\n### Fact\nThe heron wades.\n<!-- /entry:af_1 -->\n",
    );
    engine.quiesce().expect_err("the index is damaged");
    // There is plenty of room by all the numbers, and yet no write finds any.
    kit.shelves.script.set("upsert", Fault::Fails(ErrorKind::NoSpace));
    engine.upkeep().expect("a round is made");
    assert_eq!(engine.status().expect("status").generation, before);
    kit.shelves.script.clear("upsert");
    kit.world.pass(std::time::Duration::from_secs(5));
    engine.upkeep().expect("a round is made");
    assert!(engine.status().expect("status").reasons.iter().any(|reason| reason.code == "index_filling"));
    engine.quiesce().expect("synced");
    engine.upkeep().expect("a round is made");
    let verified = engine.verify(&mut |_| {}).expect("verified");
    assert!(verified.is_clean() && verified.rows == 13, "{verified:?}");
    assert_eq!(stub.texts(), paid + 1);
}
