//! A circuit breaker: after several failures in a row a provider is left alone for a while, and asked with one request
//! before it is trusted again. Pure: the caller gives the time. It also keeps the figures that health shows.
//!
//! closed ──(`failures_max` in a row)──> open ──(time is up)──> half open ──(one request succeeds)──> closed
//!                                        ^──────────────(it fails: twice as long)──────────┘

use evermark_core::provider::ProviderError;
use std::time::Duration;

/// When the breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open the first time; doubles each time the trial request fails.
    pub open_for: Duration,
    pub open_for_max: Duration,
}

impl BreakerSettings {
    /// Five failures are more than one request's retries; five seconds are felt as a blip; five minutes bound how long a
    /// provider that came back goes unnoticed.
    pub const USUAL: Self =
        Self { failures_max: 5, open_for: Duration::from_secs(5), open_for_max: Duration::from_secs(300) };
}

/// Whether requests are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

impl State {
    /// Returns the name used in health and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What health shows of a provider. Times are ages, so that they need no common clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub state: State,
    /// How long it has been in this state.
    pub state_for: Duration,
    /// When the next trial is due; `None` unless open.
    pub retry_in: Option<Duration>,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    pub last_error: Option<LastError>,
    /// How long ago a request last succeeded.
    pub last_success_ago: Option<Duration>,
    /// Requests sent, failed ones included.
    pub calls: u64,
    pub failures: u64,
    /// Texts that came back as vectors.
    pub texts: u64,
    /// Time spent waiting for answers, summed over requests.
    pub spent_ms: u64,
}

/// The most recent failure; kept after recovery, `ago` tells whether it still matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub class: &'static str,
    pub message: String,
    pub ago: Duration,
}

/// The machine. Times are those of one monotonic clock.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    since: Duration,
    open_until: Duration,
    /// How long the next opening lasts.
    open_for: Duration,
    trial_at: Duration,
    failures_in_a_row: u32,
    last_error: Option<(Duration, &'static str, String)>,
    last_success: Option<Duration>,
    calls: u64,
    failures: u64,
    texts: u64,
    spent: Duration,
}

impl Breaker {
    pub fn new(settings: BreakerSettings, now: Duration) -> Self {
        Self {
            settings,
            state: State::Closed,
            since: now,
            open_until: now,
            open_for: settings.open_for,
            trial_at: now,
            failures_in_a_row: 0,
            last_error: None,
            last_success: None,
            calls: 0,
            failures: 0,
            texts: 0,
            spent: Duration::ZERO,
        }
    }

    /// Lets a request through, or returns how long to leave the provider alone.
    ///
    /// Every request let through must be reported by [`Self::succeeded`], [`Self::refused`] or [`Self::failed`]; a trial
    /// whose report never comes is given up after the time the breaker was open.
    pub fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(wait) = self.shut_for(now) {
            return Err(wait);
        }
        match self.state {
            State::Closed => {}
            State::Open => {
                self.enter(State::HalfOpen, now);
                self.trial_at = now;
            }
            State::HalfOpen => self.trial_at = now,
        }
        Ok(())
    }

    /// Returns how long nothing is let through, or `None` when [`Self::admit`] would let a request through.
    pub fn shut_for(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open => self.open_until.checked_sub(now),
            // Somebody else's trial is on its way.
            State::HalfOpen => {
                (self.trial_at + self.open_for).checked_sub(now).map(|wait| wait.min(self.settings.open_for))
            }
        }
        .filter(|wait| !wait.is_zero())
    }

    /// Reports an answer with this many vectors.
    pub fn succeeded(&mut self, now: Duration, took: Duration, texts: usize) {
        self.texts += texts as u64;
        self.answered(now, took);
        self.last_success = Some(now);
    }

    /// Reports that the provider works but did not take the request.
    pub fn refused(&mut self, now: Duration, took: Duration, error: &ProviderError) {
        self.failures += 1;
        self.last_error = Some((now, error.class, error.message.clone()));
        self.answered(now, took);
    }

    fn answered(&mut self, now: Duration, took: Duration) {
        self.calls += 1;
        self.spent += took;
        self.failures_in_a_row = 0;
        self.open_for = self.settings.open_for;
        if self.state != State::Closed {
            self.enter(State::Closed, now);
        }
    }

    /// Reports a failure of the provider.
    pub fn failed(&mut self, now: Duration, took: Duration, error: &ProviderError) {
        self.calls += 1;
        self.failures += 1;
        self.spent += took;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.last_error = Some((now, error.class, error.message.clone()));
        match self.state {
            State::Closed if self.failures_in_a_row >= self.settings.failures_max => self.open(now, error),
            State::HalfOpen => {
                self.open_for = (self.open_for * 2).min(self.settings.open_for_max);
                self.open(now, error);
            }
            // Requests already on their way when it opened say nothing new.
            State::Closed | State::Open => {}
        }
    }

    fn open(&mut self, now: Duration, error: &ProviderError) {
        let asked = error.retry_after.unwrap_or_default().min(self.settings.open_for_max);
        self.open_until = now + self.open_for.max(asked);
        self.enter(State::Open, now);
    }

    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.since = now;
    }

    pub fn status(&self, now: Duration) -> Status {
        Status {
            state: self.state,
            state_for: now.saturating_sub(self.since),
            retry_in: (self.state == State::Open).then(|| self.open_until.saturating_sub(now)),
            failures_in_a_row: self.failures_in_a_row,
            last_error: self.last_error.as_ref().map(|(at, class, message)| LastError {
                class,
                message: message.clone(),
                ago: now.saturating_sub(*at),
            }),
            last_success_ago: self.last_success.map(|at| now.saturating_sub(at)),
            calls: self.calls,
            failures: self.failures,
            texts: self.texts,
            spent_ms: u64::try_from(self.spent.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests;
