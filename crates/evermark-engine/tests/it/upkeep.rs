//! The beat: what frees comes first, a step that fails or hangs keeps no other, and an idle root is left alone.

use crate::kit::{Kit, add, flush, search, subjects};
use crate::script::{Fault, Latch};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexInfo;
use evermark_core::maintenance::plan::{Policy, Step};
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_engine::maintenance::StepStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn remember(engine: &Engine, n: i64) {
    let session = format!("s{n}");
    add(engine, &session, &[(n * 10_000, "mira", User, &format!("The lantern {n} hangs in the shed."))]);
    flush(engine, &session);
    // Committed, too.
    engine.quiesce().expect("synced");
}

fn step(engine: &Engine, step: Step) -> StepStatus {
    let status = engine.status().expect("status");
    status.maintenance.steps.into_iter().find(|status| status.step == step).expect("all steps are there")
}

fn codes(engine: &Engine) -> Vec<&'static str> {
    engine.status().expect("status").reasons.into_iter().map(|reason| reason.code).collect()
}

#[test]
fn a_merge_that_fails_keeps_nothing_from_being_reclaimed() {
    for fault in [Fault::Fails(ErrorKind::Internal), Fault::Panics] {
        let kit = Kit::new();
        let engine = kit.open();
        kit.shelves.script.set("compact", fault);
        for n in 1..=4 {
            kit.world.pass(Duration::from_secs(600));
            kit.shelves.script.set_due(3);
            kit.shelves.script.reclaimable.store(1000, Ordering::SeqCst);
            remember(&engine, n);
            engine.upkeep().expect("a round is made");
        }
        let (reclaim, compact, measure) =
            (step(&engine, Step::Reclaim), step(&engine, Step::Compact), step(&engine, Step::Measure));
        assert_eq!((reclaim.runs, reclaim.failures, reclaim.freed_bytes), (4, 0, 4000));
        assert_eq!((compact.runs, compact.failures, compact.streak), (4, 4, 4));
        assert_eq!((measure.runs, measure.failures), (4, 0));
        assert!(codes(&engine).contains(&"compact_failing"), "{:?}", codes(&engine));
        assert_eq!(subjects(&search(&engine, "mira", "lantern")).len(), 4);
        // And it clears when it works again.
        kit.shelves.script.clear("compact");
        kit.world.pass(Duration::from_secs(600));
        remember(&engine, 5);
        engine.upkeep().expect("a round is made");
        assert_eq!(step(&engine, Step::Compact).streak, 0);
        assert_eq!(codes(&engine), Vec::<&str>::new());
    }
}

#[test]
fn a_reclaim_that_fails_keeps_nothing_else() {
    let kit = Kit::new();
    let engine = kit.open();
    kit.shelves.script.set("reclaim", Fault::Fails(ErrorKind::Unavailable));
    kit.shelves.script.set_due(3);
    remember(&engine, 1);
    engine.upkeep().expect("a round is made");
    assert_eq!(step(&engine, Step::Reclaim).streak, 1);
    assert_eq!((step(&engine, Step::Compact).runs, step(&engine, Step::Measure).failures), (1, 0));
    assert!(codes(&engine).contains(&"reclaim_failing"));
}

#[test]
fn a_step_that_hangs_is_left_alone_and_not_started_again_before_it_has_ended() {
    let mut kit = Kit::new();
    kit.settings.step_limit = Duration::from_millis(50);
    let engine = kit.open();
    let latch = Arc::new(Latch::default());
    kit.shelves.script.set("compact", Fault::Hangs(Arc::clone(&latch)));
    for n in 1..=3 {
        kit.shelves.script.set_due(3);
        remember(&engine, n);
        engine.upkeep().expect("a round is made");
    }
    let compact = step(&engine, Step::Compact);
    assert_eq!((kit.shelves.script.calls("compact"), compact.runs, compact.is_hung), (1, 1, true));
    assert!(compact.running_ms.is_some());
    assert_eq!(step(&engine, Step::Reclaim).runs, 3);
    assert!(codes(&engine).contains(&"step_hung"), "{:?}", codes(&engine));
    let held = engine.plan().held;
    assert!(held.iter().any(|held| held.step == Step::Compact && held.reason.contains("hangs")), "{held:?}");
    // It ends after all, and goes on as ever.
    latch.open();
    while step(&engine, Step::Compact).running_ms.is_some() {
        std::thread::yield_now();
    }
    kit.shelves.script.set_due(3);
    remember(&engine, 4);
    engine.upkeep().expect("a round is made");
    let compact = step(&engine, Step::Compact);
    assert_eq!((compact.is_hung, compact.runs), (false, 2));
    assert!(!codes(&engine).contains(&"step_hung"));
}

#[test]
fn what_fails_is_not_tried_for_ever_while_nothing_changes() {
    let kit = Kit::new();
    let engine = kit.open();
    remember(&engine, 1);
    kit.shelves.script.set_due(3);
    kit.shelves.script.set("compact", Fault::Fails(ErrorKind::Internal));
    for _ in 0..50 {
        engine.upkeep().expect("a round is made");
        kit.world.pass(Duration::from_secs(3600));
    }
    assert_eq!(kit.shelves.script.calls("compact"), 3, "a day and more, and nothing changed");
    let flushes = kit.shelves.flushes();
    engine.upkeep().expect("a round is made");
    assert_eq!(kit.shelves.flushes(), flushes);
    remember(&engine, 2);
    engine.upkeep().expect("a round is made");
    assert_eq!(kit.shelves.script.calls("compact"), 4, "a commit is a change");
}

#[test]
fn a_failure_waits_before_it_is_tried_again() {
    let kit = Kit::new();
    let engine = kit.open();
    kit.shelves.script.set("reclaim", Fault::Fails(ErrorKind::Unavailable));
    remember(&engine, 1);
    engine.upkeep().expect("a round is made");
    remember(&engine, 2);
    engine.upkeep().expect("a round is made");
    assert_eq!(kit.shelves.script.calls("reclaim"), 1, "not within the same second");
    kit.world.pass(Duration::from_secs(2));
    engine.upkeep().expect("a round is made");
    assert_eq!(kit.shelves.script.calls("reclaim"), 2);
    kit.world.pass(Duration::from_secs(1));
    engine.upkeep().expect("a round is made");
    assert_eq!(kit.shelves.script.calls("reclaim"), 2, "the second wait is longer");
}

#[test]
fn an_idle_root_is_left_alone() {
    let kit = Kit::new();
    let engine = kit.open();
    remember(&engine, 1);
    engine.upkeep().expect("a round is made");
    let (reclaims, measures) = (kit.shelves.script.calls("reclaim"), step(&engine, Step::Measure).runs);
    for _ in 0..10 {
        kit.world.pass(Duration::from_secs(3600));
        engine.upkeep().expect("a round is made");
    }
    assert_eq!((kit.shelves.script.calls("reclaim"), step(&engine, Step::Measure).runs), (reclaims, measures));
    assert_eq!(engine.plan().steps, []);
}

#[test]
fn a_plan_changes_nothing() {
    let kit = Kit::new();
    let engine = kit.open();
    kit.shelves.script.set_due(3);
    let plan = engine.plan();
    assert!(plan.has(Step::Janitor) && plan.has(Step::Reclaim) && plan.has(Step::Compact), "{plan:?}");
    assert_eq!((kit.shelves.script.calls("reclaim"), kit.shelves.script.calls("compact")), (0, 0));
    assert_eq!(engine.plan(), plan);
}

#[test]
fn the_reserve_is_made_where_there_is_room_given_up_when_there_is_none_and_made_again() {
    let mut kit = Kit::new();
    kit.settings.upkeep = Policy { ballast_bytes: 2 * MIB, ..Policy::default() };
    kit.world.set_free(50 * GIB);
    let engine = kit.open();
    let ballast = kit.path(".index/evermark/ballast");
    engine.upkeep().expect("a round is made");
    assert_eq!(std::fs::metadata(&ballast).expect("it is there").len(), 2 * MIB);
    kit.world.set_free(MIB);
    engine.upkeep().expect("a round is made");
    assert!(!ballast.exists());
    let status = engine.status().expect("status").maintenance;
    assert_eq!((status.ballast.bytes, status.ballast.wanted_bytes, status.ballast.released_times), (0, 2 * MIB, 1));
    assert!(codes(&engine).contains(&"ballast_missing"), "{:?}", codes(&engine));
    kit.world.set_free(50 * GIB);
    engine.upkeep().expect("a round is made");
    assert!(ballast.exists());
    assert_eq!(codes(&engine), Vec::<&str>::new());
}

#[test]
fn two_rounds_above_the_bound_make_a_new_generation_and_only_one() {
    let kit = Kit::new();
    let engine = kit.open();
    remember(&engine, 1);
    engine.upkeep().expect("a round is made");
    let before = engine.status().expect("status").generation;
    kit.shelves.script.weigh(IndexInfo {
        allocated_bytes: 900 * MIB,
        live_bytes: 10 * MIB,
        bound_bytes: Some(122 * MIB),
        versions: 900,
        ..IndexInfo::default()
    });
    remember(&engine, 2);
    engine.upkeep().expect("a round is made");
    assert_eq!(engine.status().expect("status").generation, before);
    assert!(codes(&engine).contains(&"index_over_bound"), "{:?}", codes(&engine));
    remember(&engine, 3);
    engine.upkeep().expect("a round is made");
    assert_eq!(engine.status().expect("status").generation, before, "the second one only ends above it");
    remember(&engine, 4);
    engine.upkeep().expect("a round is made");
    let after = engine.status().expect("status").generation;
    assert_ne!(after, before);
    // The new one weighs the same, for all this script knows: it is not made again and again.
    for n in 5..10 {
        remember(&engine, n);
        engine.upkeep().expect("a round is made");
    }
    assert_eq!(engine.status().expect("status").generation, after);
    assert_eq!(subjects(&search(&engine, "mira", "lantern")).len(), 9);
}

#[test]
fn pieces_that_pile_up_while_merging_fails_make_a_new_generation() {
    let kit = Kit::new();
    kit.world.set_free(50 * GIB);
    let engine = kit.open();
    kit.shelves.script.set("compact", Fault::Fails(ErrorKind::Unavailable));
    kit.shelves.script.set_due(32);
    let mut n = 0;
    let mut round = |fragments: u64| {
        let (live_bytes, bound_bytes) = (50 * MIB, Some(300 * MIB));
        let weight =
            IndexInfo { allocated_bytes: live_bytes, live_bytes, bound_bytes, fragments, ..IndexInfo::default() };
        kit.shelves.script.weigh(weight);
        n += 1;
        remember(&engine, n);
        kit.world.pass(Duration::from_secs(300));
        engine.upkeep().expect("a round is made");
        engine.status().expect("status").generation
    };
    let first = round(900);
    for fragments in [950, 1000, 1023] {
        assert_eq!(round(fragments), first, "{fragments} pieces");
    }
    let second = round(1100);
    assert_ne!(second, first);
    // Not for the same reason again at once, and not at all when merging works.
    assert_eq!(round(20), second);
    kit.shelves.script.clear("compact");
    round(30);
    assert_eq!(round(2000), second, "many pieces alone are no reason");
    assert_eq!(subjects(&search(&engine, "mira", "lantern")).len(), 8);
}

#[test]
fn a_rebuild_shares_the_budget_between_the_two_generations() {
    let kit = Kit::new();
    let engine = kit.open();
    remember(&engine, 1);
    let whole = kit.shelves.script.budgets().last().copied().expect("a budget is set when it is opened");
    assert_eq!((whole.ratio, whole.cap_bytes), (1.0, None));
    assert_eq!(whole.slack_bytes, (192 - 16) * MIB, "without a reserve, all but the ledger's share");
    let n_before = kit.shelves.script.budgets().len();
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    let budgets = kit.shelves.script.budgets();
    let during: Vec<u64> = budgets[n_before..].iter().map(|budget| budget.slack_bytes).collect();
    assert_eq!(during, [88 * MIB, 88 * MIB, 176 * MIB]);
}

#[test]
fn pruning_works_while_merging_is_broken_and_a_dry_run_changes_nothing() {
    let kit = Kit::new();
    let engine = kit.open();
    remember(&engine, 1);
    kit.shelves.script.set("compact", Fault::Fails(ErrorKind::Corrupt));
    kit.shelves.script.reclaimable.store(7000, Ordering::SeqCst);
    let dry = engine.prune(true, &mut |_| {}).expect("looked");
    assert_eq!((dry.dry_run, kit.shelves.script.calls("reclaim")), (true, 0));
    let report = engine.prune(false, &mut |_| {}).expect("pruned");
    assert_eq!((report.failures.len(), kit.shelves.script.calls("reclaim")), (0, 1));
    assert!(report.freed_bytes >= 7000, "{report:?}");
    let report = engine.compact(false, &mut |_| {}).expect("it says what failed");
    assert_eq!((report.groups, report.failures.len(), report.failures[0].step), (0, 1, Step::Compact));
    kit.shelves.script.clear("compact");
    kit.shelves.script.set_due(5);
    let report = engine.compact(false, &mut |_| {}).expect("compacted");
    assert_eq!((report.groups, report.pieces, report.failures.len()), (1, 5, 0));
}
