use crate::ledger::{Desk, stamp};
use crate::world::NOW_US;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use evermark_store::jobs::{Claim, Fingerprint, JobStats, NewJob, Outcome, Priority, Reason};
use std::io;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(60);

fn job(path: &str, version: u64) -> NewJob {
    NewJob {
        path: path.to_owned(),
        reason: Reason::Changed,
        priority: Priority::Background,
        fingerprint: Fingerprint::Stamp(stamp(version)),
    }
}

fn enqueue(desk: &Desk, path: &str, version: u64) -> bool {
    desk.ledger.enqueue(&[job(path, version)]).unwrap() == [true]
}

fn claim_all(desk: &Desk) -> Vec<Claim> {
    desk.ledger.claim(100, LEASE).unwrap()
}

fn claim_one(desk: &Desk) -> Claim {
    let mut all = claim_all(desk);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn complete(desk: &Desk, claim: &Claim) -> Outcome {
    desk.ledger.complete(std::slice::from_ref(claim)).unwrap()[0]
}

#[test]
fn a_job_is_done_once() {
    let desk = Desk::new();
    assert_eq!(desk.ledger.next_due().unwrap(), None);
    assert!(enqueue(&desk, "a", 1));
    assert!(!enqueue(&desk, "a", 1), "the same again is no news");
    assert_eq!(desk.ledger.next_due().unwrap(), Some(Duration::ZERO));
    let claim = claim_one(&desk);
    assert_eq!((claim.path.as_str(), claim.reason, claim.attempt), ("a", Reason::Changed, 1));
    assert!(claim.is_for(Fingerprint::Stamp(stamp(1))) && !claim.is_for(Fingerprint::Gone));
    assert!(claim_all(&desk).is_empty());
    assert_eq!(desk.ledger.next_due().unwrap(), Some(LEASE));
    assert_eq!(complete(&desk, &claim), Outcome::Accepted);
    assert_eq!(complete(&desk, &claim), Outcome::LeaseLost);
    assert_eq!(desk.ledger.job_stats().unwrap(), JobStats::default());
}

#[test]
fn a_source_that_could_not_be_looked_at_is_not_one_that_is_gone() {
    let desk = Desk::new();
    let of = |reason, fingerprint| NewJob { reason, fingerprint, ..job("a", 0) };
    desk.ledger.enqueue(&[of(Reason::Changed, Fingerprint::Unknown)]).unwrap();
    assert_eq!(desk.ledger.enqueue(&[of(Reason::Changed, Fingerprint::Unknown)]).unwrap(), [false]);
    assert_eq!(desk.ledger.enqueue(&[of(Reason::Gone, Fingerprint::Gone)]).unwrap(), [true]);
    assert_eq!(claim_one(&desk).reason, Reason::Gone);
}

#[test]
fn what_is_parked_in_a_folder_is_told_apart_from_its_neighbours() {
    let desk = Desk::new();
    for path in ["a/b/1.md", "a/b/c/2.md", "a/b-c/3.md", "a/b0/4.md", "a/open.md"] {
        enqueue(&desk, path, 1);
    }
    for claim in claim_all(&desk).into_iter().filter(|claim| claim.path != "a/open.md") {
        desk.ledger.park(&claim, "unreadable").unwrap();
    }
    assert_eq!(desk.ledger.parked_under("a/b").unwrap(), ["a/b/1.md", "a/b/c/2.md"]);
    assert_eq!(desk.ledger.parked_under("a").unwrap().len(), 4);
    assert_eq!(desk.ledger.parked_under("").unwrap().len(), 4);
}

#[test]
fn the_urgent_come_first_then_the_oldest() {
    let desk = Desk::new();
    for path in ["b", "a", "c"] {
        enqueue(&desk, path, 1);
        desk.world.pass(Duration::from_secs(1));
    }
    desk.ledger.enqueue(&[NewJob { priority: Priority::Interactive, ..job("z", 1) }]).unwrap();
    let paths: Vec<_> = desk.ledger.claim(3, LEASE).unwrap().into_iter().map(|claim| claim.path).collect();
    assert_eq!(paths, ["z", "b", "a"]);
    assert_eq!(claim_one(&desk).path, "c");
}

#[test]
fn the_newest_edit_does_not_wait_for_all_before_it() {
    let desk = Desk::new();
    let urgent = |path: &str| NewJob { priority: Priority::Interactive, ..job(path, 1) };
    for n in 0..100 {
        desk.ledger.enqueue(&[urgent(&format!("old{n:03}"))]).unwrap();
        desk.world.pass(Duration::from_millis(1));
    }
    enqueue(&desk, "backlog", 1);
    desk.ledger.enqueue(&[urgent("edit")]).unwrap();
    let paths: Vec<_> = desk.ledger.claim(8, LEASE).unwrap().into_iter().map(|claim| claim.path).collect();
    assert_eq!(paths, ["old000", "old001", "old002", "old003", "old004", "old005", "old099", "edit"]);
    // Nothing is claimed twice, and everything is in the end.
    let mut n_claimed = paths.len();
    loop {
        let claims = desk.ledger.claim(8, LEASE).unwrap();
        assert!(claims.len() <= 8);
        n_claimed += claims.len();
        if claims.is_empty() {
            break;
        }
    }
    assert_eq!(n_claimed, 102);
}

#[test]
fn a_run_for_an_older_source_cannot_finish_the_newer_job() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    let old = claim_one(&desk);
    enqueue(&desk, "a", 2);
    assert!(claim_all(&desk).is_empty(), "not two runs at once");
    assert_eq!(complete(&desk, &old), Outcome::Superseded);
    let new = claim_one(&desk);
    assert!(new.is_for(Fingerprint::Stamp(stamp(2))));
    assert_eq!(complete(&desk, &old), Outcome::LeaseLost);
    for outcome in [
        desk.ledger.fail(&old, "x", "x", None).unwrap(),
        desk.ledger.park(&old, "x").unwrap(),
        desk.ledger.release(&[old]).unwrap()[0],
    ] {
        assert_eq!(outcome, Outcome::LeaseLost);
    }
    assert_eq!(complete(&desk, &new), Outcome::Accepted);
}

#[test]
fn neither_failing_nor_parking_sticks_to_a_newer_source() {
    let desk = Desk::new();
    for (version, fail) in [(1, true), (3, false)] {
        enqueue(&desk, "a", version);
        let old = claim_one(&desk);
        enqueue(&desk, "a", version + 1);
        let outcome = if fail { desk.ledger.fail(&old, "io", "broken", None) } else { desk.ledger.park(&old, "bad") };
        assert_eq!(outcome.unwrap(), Outcome::Superseded);
        let job = desk.ledger.job("a").unwrap().unwrap();
        assert_eq!((job.error_class, job.attempts, job.next_at_us), (None, 0, NOW_US));
    }
}

#[test]
fn a_lease_that_ends_frees_the_job_in_the_same_process() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    let stuck = claim_one(&desk);
    desk.world.pass(LEASE - Duration::from_micros(1));
    assert!(claim_all(&desk).is_empty());
    desk.world.pass(Duration::from_micros(1));
    let again = claim_one(&desk);
    assert_eq!(again.attempt, 2);
    assert_eq!(desk.ledger.job_stats().unwrap().by_class, [("lease_ended".to_owned(), 1)]);
    assert_eq!(complete(&desk, &stuck), Outcome::LeaseLost);
    assert_eq!(complete(&desk, &again), Outcome::Accepted);
}

#[test]
fn leases_end_with_their_process() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    let dead = claim_one(&desk);
    let (desk, _) = desk.reopen();
    let again = claim_one(&desk);
    assert_eq!(complete(&desk, &dead), Outcome::LeaseLost);
    assert_eq!(complete(&desk, &again), Outcome::Accepted);
}

#[test]
fn all_leases_end_when_the_one_who_works_is_lost() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    let lost = claim_one(&desk);
    desk.ledger.release_all().unwrap();
    let again = claim_one(&desk);
    assert_eq!(complete(&desk, &lost), Outcome::LeaseLost);
    assert_eq!(complete(&desk, &again), Outcome::Accepted);
}

#[test]
fn a_failure_is_tried_again_for_ever_and_ever_more_slowly() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    let mut waits = Vec::new();
    for attempt in 1..=200 {
        let claim = claim_one(&desk);
        assert_eq!(claim.attempt, attempt);
        assert_eq!(desk.ledger.fail(&claim, "unavailable", "the provider is down", None).unwrap(), Outcome::Accepted);
        assert!(claim_all(&desk).is_empty());
        let wait = desk.ledger.next_due().unwrap().unwrap();
        waits.push(wait);
        desk.world.pass(wait);
    }
    assert!(waits[0] >= Duration::from_millis(500) && waits[0] <= Duration::from_secs(1), "{waits:?}");
    assert!(waits[3] >= Duration::from_secs(4) && waits[3] <= Duration::from_secs(8), "{waits:?}");
    assert!(waits.iter().skip(20).all(|wait| *wait >= Duration::from_secs(150) && *wait <= Duration::from_secs(300)));
    let stats = desk.ledger.job_stats().unwrap();
    assert_eq!((stats.open, stats.due, stats.failing, stats.leased), (1, 1, 1, 0));
    let age = waits.iter().sum::<Duration>();
    assert_eq!((stats.oldest, stats.failing_for), (Some(age), Some(age)));
    assert_eq!(stats.by_class, [("unavailable".to_owned(), 1)]);
    let failing = desk.ledger.failing_jobs(10).unwrap();
    assert_eq!(failing[0].error.as_deref(), Some("the provider is down"));
    assert_eq!(failing[0].attempts, 200);
    assert_eq!(complete(&desk, &claim_one(&desk)), Outcome::Accepted);
}

#[test]
fn the_other_sides_wish_and_our_haste_are_heeded() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    let minute = Duration::from_secs(60);
    desk.ledger.fail(&claim_one(&desk), "rate_limit", "slow down", Some(minute)).unwrap();
    assert_eq!(desk.ledger.next_due().unwrap(), Some(minute));
    assert_eq!(desk.ledger.hasten(Some("no_space")).unwrap(), 0);
    assert_eq!(desk.ledger.hasten(Some("rate_limit")).unwrap(), 1);
    desk.ledger.fail(&claim_one(&desk), "rate_limit", "slow down", Some(minute)).unwrap();
    assert_eq!(desk.ledger.hasten(None).unwrap(), 1);
    assert_eq!(claim_one(&desk).attempt, 3);
}

#[test]
fn what_cannot_be_understood_waits_until_it_changes() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    desk.ledger.park(&claim_one(&desk), "an entry has no timestamp").unwrap();
    desk.world.pass(Duration::from_secs(86_400));
    assert!(claim_all(&desk).is_empty());
    assert_eq!(desk.ledger.next_due().unwrap(), None);
    assert!(!enqueue(&desk, "a", 1));
    assert_eq!(desk.ledger.hasten(None).unwrap(), 0);
    let stats = desk.ledger.job_stats().unwrap();
    assert_eq!((stats.open, stats.parked, stats.failing, stats.oldest), (0, 1, 0, None));
    assert_eq!(desk.ledger.parked_jobs(10).unwrap()[0].error.as_deref(), Some("an entry has no timestamp"));
    assert_eq!(desk.ledger.parked_under("").unwrap(), ["a"]);
    assert_eq!(desk.ledger.parked_under("a").unwrap(), [] as [&str; 0]);

    assert_eq!(
        desk.ledger.enqueue(&[NewJob { fingerprint: Fingerprint::Digest(Digest32::of(b"x")), ..job("a", 0) }]).unwrap(),
        [true]
    );
    assert_eq!(desk.ledger.job_stats().unwrap().oldest, Some(Duration::ZERO));
    let claim = claim_one(&desk);
    assert_eq!(claim.attempt, 1);
    assert_eq!(complete(&desk, &claim), Outcome::Accepted);
}

#[test]
fn a_released_job_was_never_tried() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    assert_eq!(desk.ledger.release(&[claim_one(&desk)]).unwrap(), [Outcome::Accepted]);
    assert_eq!(claim_one(&desk).attempt, 1);
}

#[test]
fn clocks_that_jump_stop_nothing() {
    let year = Duration::from_secs(365 * 86_400);
    let desk = Desk::new();
    enqueue(&desk, "failed", 1);
    enqueue(&desk, "leased", 1);
    let claims = claim_all(&desk);
    desk.ledger.fail(&claims[0], "x", "x", None).unwrap();
    desk.world.set_now_us(NOW_US - i64::try_from(year.as_micros()).unwrap());
    assert_eq!(desk.ledger.next_due().unwrap(), Some(Duration::ZERO));
    assert_eq!(claim_all(&desk).len(), 2);
}

#[test]
fn a_failing_ledger_changes_nothing() {
    let desk = Desk::new();
    desk.world.arm("jobs.enqueue", 0, io::ErrorKind::StorageFull);
    assert_eq!(desk.ledger.enqueue(&[job("a", 1)]).unwrap_err().kind(), ErrorKind::NoSpace);
    enqueue(&desk, "a", 1);
    let claim = claim_one(&desk);
    // The result cannot be noted: the row is not stuck, the lease ends.
    desk.world.arm("jobs.outcome", 0, io::ErrorKind::StorageFull);
    desk.ledger.complete(std::slice::from_ref(&claim)).unwrap_err();
    desk.world.pass(LEASE);
    assert_eq!(claim_one(&desk).attempt, 2);
}

#[test]
fn a_job_that_was_never_tried_does_not_wait_for_a_clock_that_went_back() {
    let desk = Desk::new();
    enqueue(&desk, "a", 1);
    assert_eq!(claim_all(&desk).len(), 1);
    enqueue(&desk, "b", 1);
    // So little that the lease of the other is still believed.
    desk.world.set_now_us(NOW_US - 60_000_000);
    assert_eq!(claim_one(&desk).path, "b");
    // Ahead only while this one is enqueued.
    desk.world.set_now_us(NOW_US);
    enqueue(&desk, "c", 1);
    desk.world.set_now_us(NOW_US - 50_000_000);
    assert_eq!(claim_one(&desk).path, "c");
}
