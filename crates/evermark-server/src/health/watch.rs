//! The last word of the root on itself, so that health answers in time whatever is stuck.
//!
//! One thread at a time asks the engine, however many callers there are: a root that hangs holds that one thread and no more.
//! A caller gets an answer that was asked for after it came, or, when that takes too long, the last one there was, with its
//! age and a reason that says so.

use crate::api::StatusData;
use crate::api::status::{ReasonItem, VerdictName};
use crate::respond::Refusal;
use crate::router::App;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a caller waits for a fresh answer when there is an older one. Probes commonly give up after a few seconds.
const FRESH: Duration = Duration::from_millis(2500);
/// ... and when there is none.
const FIRST: Duration = Duration::from_secs(8);
/// An answer of a root that has been silent this long says little of now.
const SILENT_TOO_LONG: Duration = Duration::from_secs(60);

/// What is known of the root.
pub(crate) struct Watch {
    known: Arc<Mutex<Known>>,
    /// The number of the last question that was answered, in whatever way.
    answered: Arc<watch::Sender<u64>>,
    fresh: Duration,
    first: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new(FRESH, FIRST)
    }
}

#[derive(Default)]
struct Known {
    /// Questions asked, and answered: while they differ, one is on its way.
    asked: u64,
    answered: u64,
    /// The last status there was, the question it answers, and when it came.
    status: Option<(StatusData, u64, Duration)>,
    /// Why the last question that failed did.
    refusal: Option<Refusal>,
}

impl Watch {
    fn new(fresh: Duration, first: Duration) -> Self {
        Self { known: Arc::default(), answered: Arc::new(watch::Sender::new(0)), fresh, first }
    }

    pub(crate) async fn look(&self, app: &App) -> Result<StatusData, Refusal> {
        let (clock, asked) = (app.clone(), app.clone());
        let question = move || asked.engine().status().map(StatusData::from).map_err(|error| asked.refuse(error));
        self.ask(move || clock.world().monotonic(), question).await
    }

    /// Returns an answer to `question` that was given after now, or the last one there was.
    async fn ask(
        &self,
        clock: impl Fn() -> Duration + Clone + Send + 'static,
        question: impl Fn() -> Result<StatusData, Refusal> + Clone + Send + 'static,
    ) -> Result<StatusData, Refusal> {
        let mut answered = self.answered.subscribe();
        let (wanted, limit) = {
            let known = lock(&self.known);
            // One that is on its way was asked before this caller came.
            (known.asked + 1, if known.status.is_some() { self.fresh } else { self.first })
        };
        let asking = async {
            loop {
                self.begin(wanted, clock.clone(), question.clone());
                if *answered.borrow_and_update() >= wanted || answered.changed().await.is_err() {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(limit, asking).await.is_ok();
        let known = lock(&self.known);
        let refusal = known.refusal.clone().filter(|_| in_time).unwrap_or_else(|| {
            Refusal::unavailable(format!("the root gave no answer within {} ms", limit.as_millis()))
        });
        match &known.status {
            Some((status, number, _)) if *number >= wanted => Ok(status.clone()),
            Some((status, _, at)) => Ok(aged(status.clone(), clock().saturating_sub(*at), &refusal.message)),
            None => Err(refusal),
        }
    }

    /// Asks, unless a question is on its way or the wanted one has been asked.
    fn begin(
        &self,
        wanted: u64,
        clock: impl Fn() -> Duration + Send + 'static,
        question: impl Fn() -> Result<StatusData, Refusal> + Send + 'static,
    ) {
        let number = {
            let mut known = lock(&self.known);
            if known.asked > known.answered || known.asked >= wanted {
                return;
            }
            known.asked += 1;
            known.asked
        };
        let asking = Asking { known: Arc::clone(&self.known), answered: Arc::clone(&self.answered), number };
        tokio::task::spawn_blocking(move || {
            let answer = question();
            let mut known = lock(&asking.known);
            match answer {
                Ok(status) => known.status = Some((status, number, clock())),
                Err(refusal) => known.refusal = Some(refusal),
            }
        });
    }
}

/// A question on its way. It ends when this is dropped, even when what answers it panics.
struct Asking {
    known: Arc<Mutex<Known>>,
    answered: Arc<watch::Sender<u64>>,
    number: u64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.known).answered = self.number;
        self.answered.send_replace(self.number);
    }
}

/// Returns a status that was true `age` ago, saying so.
fn aged(mut status: StatusData, age: Duration, why: &str) -> StatusData {
    let verdict = if age > SILENT_TOO_LONG { VerdictName::Failing } else { VerdictName::Degraded };
    status.verdict = status.verdict.max(verdict);
    status.age_ms = Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let reason = ReasonItem {
        verdict,
        code: "status_stale".to_owned(),
        message: Some(format!("{why}; this is what it said {} s ago", age.as_secs())),
        hint: Some("see the log for what hangs, mostly a disk; if it does not end, restart the daemon".to_owned()),
    };
    status.reasons.insert(0, reason);
    status
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // A panic while an answer was kept leaves the one before.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
