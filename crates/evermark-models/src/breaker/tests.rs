use super::*;
use evermark_core::error::ErrorKind;

const SETTINGS: BreakerSettings =
    BreakerSettings { failures_max: 3, open_for: Duration::from_secs(10), open_for_max: Duration::from_secs(40) };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn error(retry_after: Option<u64>) -> ProviderError {
    ProviderError {
        kind: ErrorKind::Unavailable,
        class: "server_error",
        message: "down".to_owned(),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

#[derive(Clone, Copy)]
enum Event {
    /// Asks to pass; the seconds it is told to wait, or `None` when let through.
    Admit(Option<u64>),
    Good,
    Refused,
    Bad,
    BadFor(u64),
}
use Event::{Admit, Bad, BadFor, Good, Refused};

/// Walks through events at given seconds and compares the state after each.
fn check(steps: &[(u64, Event, State)]) -> Breaker {
    let mut breaker = Breaker::new(SETTINGS, at(0));
    for (n, (second, event, expected)) in steps.iter().enumerate() {
        let now = at(*second);
        match event {
            Admit(wait) => assert_eq!(breaker.admit(now).err(), wait.map(at), "step {n}"),
            Good => breaker.succeeded(now, at(1), 4),
            Refused => breaker.refused(now, at(1), &error(None)),
            Bad => breaker.failed(now, at(1), &error(None)),
            BadFor(seconds) => breaker.failed(now, at(1), &error(Some(*seconds))),
        }
        assert_eq!(breaker.status(now).state, *expected, "step {n}");
    }
    breaker
}

#[test]
fn opens_after_failures_in_a_row_only() {
    use State::{Closed, Open};
    check(&[(0, Bad, Closed), (0, Bad, Closed), (0, Good, Closed), (1, Bad, Closed), (1, Bad, Closed), (1, Bad, Open)]);
    check(&[(0, Bad, Closed), (0, Bad, Closed), (0, Refused, Closed), (1, Bad, Closed), (1, Bad, Closed)]);
}

#[test]
fn one_trial_closes_it_again() {
    use State::{Closed, HalfOpen, Open};
    let breaker = check(&[
        (0, Bad, Closed),
        (0, Bad, Closed),
        (0, Bad, Open),
        (1, Admit(Some(9)), Open),
        (9, Admit(Some(1)), Open),
        (10, Admit(None), HalfOpen),
        (11, Admit(Some(9)), HalfOpen),
        (12, Good, Closed),
        (12, Admit(None), Closed),
        (12, Admit(None), Closed),
    ]);
    let status = breaker.status(at(20));
    assert_eq!((status.calls, status.failures, status.texts, status.spent_ms), (4, 3, 4, 4000));
    assert_eq!((status.state_for, status.last_success_ago), (at(8), Some(at(8))));
    let last = status.last_error.expect("the failure is remembered");
    assert_eq!((last.class, last.ago), ("server_error", at(20)));
}

#[test]
fn failed_trials_double_the_wait_up_to_a_limit() {
    use State::{Closed, HalfOpen, Open};
    check(&[
        (0, Bad, Closed),
        (0, Bad, Closed),
        (0, Bad, Open),
        (10, Admit(None), HalfOpen),
        (10, Bad, Open),
        (11, Admit(Some(19)), Open),
        (30, Admit(None), HalfOpen),
        (30, Bad, Open),
        (30, Admit(Some(40)), Open),
        (70, Admit(None), HalfOpen),
        (70, Bad, Open),
        (70, Admit(Some(40)), Open),
        (110, Admit(None), HalfOpen),
        (110, Good, Closed),
        // The next opening starts from the first wait.
        (111, Bad, Closed),
        (111, Bad, Closed),
        (111, Bad, Open),
        (111, Admit(Some(10)), Open),
    ]);
}

#[test]
fn the_provider_may_ask_for_longer() {
    use State::{Closed, Open};
    check(&[(0, Bad, Closed), (0, Bad, Closed), (0, BadFor(25), Open), (0, Admit(Some(25)), Open)]);
    // But not for ever.
    check(&[(0, Bad, Closed), (0, Bad, Closed), (0, BadFor(9999), Open), (0, Admit(Some(40)), Open)]);
}

#[test]
fn a_trial_that_never_reports_is_given_up() {
    use State::{Closed, HalfOpen, Open};
    check(&[
        (0, Bad, Closed),
        (0, Bad, Closed),
        (0, Bad, Open),
        (10, Admit(None), HalfOpen),
        (19, Admit(Some(1)), HalfOpen),
        (20, Admit(None), HalfOpen),
        (20, Admit(Some(10)), HalfOpen),
    ]);
}

#[test]
fn late_answers_of_an_open_breaker_count() {
    use State::{Closed, Open};
    check(&[(0, Bad, Closed), (0, Bad, Closed), (0, Bad, Open), (1, Bad, Open), (2, Good, Closed)]);
}
