use super::super::space::{Level, Volume};
use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn volume(free_bytes: u64) -> Volume {
    Volume { free_bytes, total_bytes: 100 * GIB, free_inodes: 900_000, total_inodes: 1_000_000, is_read_only: false }
}

/// A root at rest: the ballast is there, nothing is due.
fn at_rest() -> Observation {
    Observation {
        volume: Some(volume(50 * GIB)),
        index: Some(Weight { allocated_bytes: 10 * MIB, live_bytes: 10 * MIB, versions: 1, ..Weight::default() }),
        total_bytes: 75 * MIB,
        live_bytes: 11 * MIB,
        ballast_bytes: 64 * MIB,
        descriptors_used: 20,
        descriptors_max: Some(1024),
        ..Observation::default()
    }
}

fn steps(seen: &Observation) -> Vec<Step> {
    plan(seen, &Policy::default()).steps.into_iter().map(|planned| planned.step).collect()
}

fn held(seen: &Observation) -> Vec<Step> {
    plan(seen, &Policy::default()).held.into_iter().map(|planned| planned.step).collect()
}

#[test]
fn at_rest_nothing_is_done() {
    let plan = plan(&at_rest(), &Policy::default());
    assert_eq!((plan.level, plan.steps, plan.held, plan.rebuild), (Level::Ample, vec![], vec![], None));
}

#[test]
fn what_frees_comes_before_what_needs_and_measuring_after_both() {
    let everything = Observation {
        is_first: true,
        commits: 8,
        due: Some((12, MIB)),
        ledger_wal_bytes: 8 * MIB,
        has_losses: true,
        ballast_bytes: 0,
        over_bound_rounds: 2,
        ..at_rest()
    };
    use Step::{Ballast, Compact, Janitor, Ledger, Measure, Rebuild, Reclaim, Repair};
    assert_eq!(steps(&everything), [Janitor, Reclaim, Compact, Ledger, Repair, Ballast, Measure, Rebuild]);
}

#[test]
fn each_thing_seen_asks_for_its_step() {
    use Step::{Ballast, Compact, Janitor, Ledger, Measure, Reclaim, Repair};
    let check = |seen: Observation, expected: &[Step]| assert_eq!(steps(&seen), expected, "{seen:?}");
    check(Observation { is_first: true, ..at_rest() }, &[Janitor, Reclaim, Measure]);
    check(Observation { commits: 1, ..at_rest() }, &[Reclaim, Measure]);
    check(Observation { due: Some((2, 9)), ..at_rest() }, &[Compact, Measure]);
    check(Observation { debris: 1, ..at_rest() }, &[Janitor, Measure]);
    check(Observation { ledger_wal_bytes: 3 * MIB, ledger_free_bytes: 2 * MIB, ..at_rest() }, &[Ledger, Measure]);
    check(Observation { has_losses: true, ..at_rest() }, &[Repair, Measure]);
    check(Observation { ballast_bytes: 0, ..at_rest() }, &[Ballast, Measure]);
    let orphans = Some(Weight { orphan_bytes: 1, ..Weight::default() });
    check(Observation { index: orphans, ..at_rest() }, &[Reclaim, Measure]);
    check(Observation { index: None, ..at_rest() }, &[Reclaim, Measure]);
    check(Observation { failed: vec![Reclaim], ..at_rest() }, &[Reclaim, Measure]);
    check(Observation { failed: vec![Compact], ..at_rest() }, &[]);
}

#[test]
fn below_the_first_mark_nothing_is_rewritten() {
    let low = Observation {
        volume: Some(volume(200 * MIB)),
        commits: 8,
        due: Some((12, MIB)),
        has_losses: true,
        ballast_bytes: 0,
        cause: Some(Cause::OtherModel),
        ..at_rest()
    };
    assert_eq!(steps(&low), [Step::Janitor, Step::Reclaim, Step::Repair, Step::Measure]);
    assert_eq!(held(&low), [Step::Compact, Step::Rebuild]);
}

#[test]
fn below_the_second_mark_only_what_frees_is_done() {
    let out = Observation {
        volume: Some(volume(10 * MIB)),
        commits: 8,
        due: Some((12, MIB)),
        has_losses: true,
        ledger_wal_bytes: 8 * MIB,
        ..at_rest()
    };
    assert_eq!(steps(&out), [Step::Release, Step::Janitor, Step::Reclaim, Step::Measure]);
    assert_eq!(held(&out), [Step::Compact, Step::Ledger, Step::Repair]);
}

#[test]
fn a_refused_write_releases_the_ballast_and_it_is_not_made_again_in_the_same_round() {
    let refused = Observation { space_was_refused: true, ..at_rest() };
    assert_eq!(steps(&refused), [Step::Release, Step::Janitor, Step::Reclaim, Step::Measure]);
    assert_eq!(
        steps(&Observation { ballast_bytes: 0, space_was_refused: true, ..at_rest() }),
        [Step::Janitor, Step::Reclaim, Step::Measure]
    );
}

#[test]
fn many_descriptors_in_use_hold_merging_only() {
    let many = Observation { commits: 1, due: Some((12, MIB)), descriptors_used: 800, ..at_rest() };
    assert_eq!((steps(&many), held(&many)), (vec![Step::Reclaim, Step::Measure], vec![Step::Compact]));
}

#[test]
fn a_step_that_waits_holds_no_other() {
    let waiting = vec![(Step::Compact, "it failed a moment ago".to_owned())];
    let seen = Observation { commits: 1, due: Some((12, MIB)), waiting, ..at_rest() };
    assert_eq!((steps(&seen), held(&seen)), (vec![Step::Reclaim, Step::Measure], vec![Step::Compact]));
    // And nothing is held that is not due.
    let waiting = vec![(Step::Compact, "it failed a moment ago".to_owned())];
    assert_eq!(held(&Observation { waiting, ..at_rest() }), []);
}

#[test]
fn a_generation_is_replaced_beside_the_old_one_where_there_is_room() {
    let check = |seen: &Observation, expected| assert_eq!(plan(seen, &Policy::default()).rebuild, expected, "{seen:?}");
    let over = Observation { over_bound_rounds: 2, ..at_rest() };
    check(&Observation { over_bound_rounds: 1, ..at_rest() }, None);
    check(&over, Some(Rebuild::Beside));
    check(&Observation { cause: Some(Cause::Damaged), ..at_rest() }, Some(Rebuild::Beside));
    check(&Observation { cause: Some(Cause::OtherModel), ..at_rest() }, Some(Rebuild::Beside));
    check(&Observation { cause: Some(Cause::Unmerged), ..at_rest() }, Some(Rebuild::Beside));
    // Too little on the disk, or within the bound: what answers still is not given up for another model, or for its shape.
    check(&Observation { volume: Some(volume(100 * MIB)), ..over.clone() }, Some(Rebuild::InPlace));
    check(&Observation { total_bytes: 900 * MIB, ..over.clone() }, Some(Rebuild::InPlace));
    check(&Observation { beside_found_no_room: true, ..over.clone() }, Some(Rebuild::InPlace));
    for cause in [Cause::OtherModel, Cause::Unmerged] {
        check(&Observation { volume: Some(volume(100 * MIB)), cause: Some(cause), ..at_rest() }, None);
    }
    // Not even in its place.
    check(&Observation { volume: Some(volume(MIB)), ..over.clone() }, None);
    let frees = Some(Weight { allocated_bytes: 400 * MIB, live_bytes: 10 * MIB, ..Weight::default() });
    check(&Observation { volume: Some(volume(MIB)), index: frees, ..over.clone() }, Some(Rebuild::InPlace));
    let read_only = Volume { is_read_only: true, ..volume(50 * GIB) };
    check(&Observation { volume: Some(read_only), ..over }, None);
}

#[test]
fn what_stands_above_the_bound_has_no_headroom() {
    let budget = Policy::default().budget;
    let assessment = assess(100 * MIB, 10 * MIB, &budget);
    assert_eq!((assessment.bound_bytes, assessment.is_over, assessment.headroom_bytes), (212 * MIB, false, 112 * MIB));
    let assessment = assess(213 * MIB, 10 * MIB, &budget);
    assert_eq!((assessment.is_over, assessment.headroom_bytes), (true, 0));
}
