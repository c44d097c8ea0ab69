//! Taking steps of upkeep: each in a thread of its own, watched, counted, and never started while it still runs.
//!
//! A step that does not show a sign of life for its limit is left alone and reported; it may still end, and only then is it
//! taken again. One that panics is caught and counted. One that fails waits before it is tried again, ever longer, and what
//! writes is not tried for ever while nothing has changed: an idle disk must not see writes because something is broken.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::health::with_causes;
use crate::maintenance::{StepError, StepFailure, StepStatus};
use evermark_core::error::ErrorKind;
use evermark_core::maintenance::plan::Step;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The first wait after a failure, and the longest; each further one doubles it.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Failures in a row after which a step that writes waits for something to change.
const IDLE_TRIES_MAX: u64 = 3;

/// What a step did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) freed_bytes: u64,
    pub(crate) written_bytes: u64,
    /// There is more of the same to do.
    pub(crate) has_more: bool,
}

/// A sign of life: whoever watches waits on.
#[derive(Clone, Default)]
pub(crate) struct Alive(Arc<AtomicU64>);

impl Alive {
    pub(crate) fn touch(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Record {
    runs: u64,
    failures: u64,
    streak: u64,
    panics: u64,
    last_success: Option<Duration>,
    last_error: Option<(ErrorKind, String, Duration)>,
    running_since: Option<Duration>,
    is_hung: bool,
    retry_at: Duration,
    /// Commits there were when it failed last.
    failed_at_commits: u64,
    freed_bytes: u64,
    written_bytes: u64,
}

/// How all steps do.
#[derive(Default)]
pub(crate) struct Steps {
    records: Mutex<BTreeMap<Step, Record>>,
    ended: Condvar,
}

/// Tells whether a step writes files before it frees any.
fn writes(step: Step) -> bool {
    match step {
        Step::Compact | Step::Rebuild | Step::Ballast | Step::Repair => true,
        Step::Release | Step::Janitor | Step::Reclaim | Step::Ledger | Step::Measure => false,
    }
}

impl Steps {
    /// Returns the steps that must not be taken now, and why.
    pub(crate) fn waiting(&self, now: Duration, commits: u64) -> Vec<(Step, String)> {
        let records = self.records.lock().expect(POISON);
        let mut waiting = Vec::new();
        for (step, record) in records.iter() {
            if let Some(since) = record.running_since {
                let for_s = now.saturating_sub(since).as_secs();
                let what = if record.is_hung { "it hangs" } else { "it is running" };
                waiting.push((*step, format!("{what}, for {for_s} s: it is not started again until it has ended")));
            } else if record.streak > 0 && record.gives_up(*step, commits) {
                waiting.push((*step, format!("it failed {} times: it waits until something changes", record.streak)));
            } else if record.retry_at > now {
                let wait_s = (record.retry_at - now).as_secs_f64().ceil();
                waiting.push((*step, format!("it failed {} times: it is tried again in {wait_s} s", record.streak)));
            }
        }
        waiting
    }

    /// Returns when a step that failed may be tried again without anything having changed.
    pub(crate) fn next_retry(&self, now: Duration, commits: u64) -> Option<Duration> {
        let records = self.records.lock().expect(POISON);
        let due = records.iter().filter(|(step, record)| {
            record.streak > 0 && record.running_since.is_none() && !record.gives_up(**step, commits)
        });
        due.map(|(_, record)| record.retry_at.saturating_sub(now)).min()
    }

    /// Lets everything be tried at once: somebody asks for it, or there is space again.
    pub(crate) fn hasten(&self) {
        for record in self.records.lock().expect(POISON).values_mut() {
            record.retry_at = Duration::ZERO;
            record.failed_at_commits = u64::MAX;
        }
    }

    /// Returns the steps that failed when they were taken last.
    pub(crate) fn failed(&self) -> Vec<Step> {
        let records = self.records.lock().expect(POISON);
        records.iter().filter(|(_, record)| record.streak > 0).map(|(step, _)| *step).collect()
    }

    /// Lets what frees space be tried at once.
    pub(crate) fn hasten_freeing(&self) {
        for (step, record) in self.records.lock().expect(POISON).iter_mut() {
            if !writes(*step) {
                record.retry_at = Duration::ZERO;
            }
        }
    }

    /// Returns why a step failed when it was taken last, if it did.
    pub(crate) fn last_failed_for(&self, step: Step) -> Option<ErrorKind> {
        let records = self.records.lock().expect(POISON);
        let record = records.get(&step).filter(|record| record.streak > 0)?;
        record.last_error.as_ref().map(|(kind, _, _)| *kind)
    }

    /// Ends the streak of steps for which there is nothing left to do: what they failed at was done another way.
    pub(crate) fn forgive(&self, is_over: impl Fn(Step) -> bool) {
        for (step, record) in self.records.lock().expect(POISON).iter_mut() {
            if record.running_since.is_none() && is_over(*step) {
                record.streak = 0;
                record.retry_at = Duration::ZERO;
            }
        }
    }

    pub(crate) fn streak(&self, step: Step) -> u64 {
        self.records.lock().expect(POISON).get(&step).map_or(0, |record| record.streak)
    }

    pub(crate) fn status(&self, now: Duration) -> Vec<StepStatus> {
        let records = self.records.lock().expect(POISON);
        let none = Record::default();
        let of = |step: Step| {
            let record = records.get(&step).unwrap_or(&none);
            StepStatus {
                step,
                runs: record.runs,
                failures: record.failures,
                streak: record.streak,
                last_success_age_ms: record.last_success.map(|at| millis(now.saturating_sub(at))),
                last_error: record.last_error.as_ref().map(|(kind, message, at)| StepError {
                    kind: *kind,
                    message: message.clone(),
                    age_ms: millis(now.saturating_sub(*at)),
                }),
                running_ms: record.running_since.map(|at| millis(now.saturating_sub(at))),
                is_hung: record.is_hung,
                panics: record.panics,
                freed_bytes: record.freed_bytes,
                written_bytes: record.written_bytes,
            }
        };
        Step::ALL.into_iter().map(of).collect()
    }

    /// Waits until a step runs no more, or hangs; at most this long.
    fn wait_for(&self, step: Step, limit: Duration) {
        let records = self.records.lock().expect(POISON);
        let runs = |records: &mut BTreeMap<Step, Record>| {
            records.get(&step).is_some_and(|record| record.running_since.is_some() && !record.is_hung)
        };
        drop(self.ended.wait_timeout_while(records, limit, runs).expect(POISON));
    }

    /// Notes that a step begins; `false` when it still runs.
    fn begin(&self, step: Step, now: Duration) -> bool {
        let mut records = self.records.lock().expect(POISON);
        let record = records.entry(step).or_default();
        if record.running_since.is_some() {
            return false;
        }
        record.runs += 1;
        record.running_since = Some(now);
        record.is_hung = false;
        true
    }

    fn hangs(&self, step: Step) {
        if let Some(record) = self.records.lock().expect(POISON).get_mut(&step)
            && record.running_since.is_some()
        {
            record.is_hung = true;
        }
        self.ended.notify_all();
    }

    fn end(&self, step: Step, ended: &Result<Done, StepFailure>, panicked: bool, now: Duration, commits: u64) {
        let mut records = self.records.lock().expect(POISON);
        self.ended.notify_all();
        let record = records.entry(step).or_default();
        record.running_since = None;
        record.is_hung = false;
        match ended {
            Ok(done) => {
                record.streak = 0;
                record.last_success = Some(now);
                record.retry_at = Duration::ZERO;
                record.freed_bytes += done.freed_bytes;
                record.written_bytes += done.written_bytes;
            }
            Err(failure) => {
                record.failures += 1;
                record.streak += 1;
                record.panics += u64::from(panicked);
                let doublings = u32::try_from(record.streak - 1).unwrap_or(u32::MAX).min(16);
                record.retry_at = now + RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX);
                record.failed_at_commits = commits;
                record.last_error = Some((failure.kind, failure.message.clone(), now));
            }
        }
    }
}

impl Record {
    fn gives_up(&self, step: Step, commits: u64) -> bool {
        // What is not possible now may be in a while without anything here having changed: a provider, descriptors.
        let may_pass = matches!(self.last_error, Some((ErrorKind::Unavailable, _, _)));
        writes(step) && !may_pass && self.streak >= IDLE_TRIES_MAX && self.failed_at_commits == commits
    }
}

impl Inner {
    /// Takes a step and returns what it did, or why it failed. Comes back at the latest when it has shown no sign of life
    /// for its limit.
    pub(crate) fn take_step(
        self: &Arc<Self>,
        step: Step,
        work: impl FnOnce(&Arc<Self>, &Alive) -> Result<Done, Error> + Send + 'static,
    ) -> Result<Done, StepFailure> {
        let begun = self.upkeep.steps.begin(step, self.world.monotonic());
        self.take_begun(begun, step, work)
    }

    /// As [`Self::take_step`], after whoever takes the same step at this moment.
    pub(crate) fn take_step_in_turn(
        self: &Arc<Self>,
        step: Step,
        work: impl FnOnce(&Arc<Self>, &Alive) -> Result<Done, Error> + Send + 'static,
    ) -> Result<Done, StepFailure> {
        let steps = &self.upkeep.steps;
        let mut begun = steps.begin(step, self.world.monotonic());
        for _ in 1..TURNS_MAX {
            if begun {
                break;
            }
            steps.wait_for(step, self.settings.step_limit);
            begun = steps.begin(step, self.world.monotonic());
        }
        self.take_begun(begun, step, work)
    }

    fn take_begun(
        self: &Arc<Self>,
        begun: bool,
        step: Step,
        work: impl FnOnce(&Arc<Self>, &Alive) -> Result<Done, Error> + Send + 'static,
    ) -> Result<Done, StepFailure> {
        let limit = if self.is_closing() { CLOSING_LIMIT } else { self.settings.step_limit };
        let failure = |kind, message| StepFailure { step, kind, message };
        if !begun {
            return Err(failure(ErrorKind::Unavailable, "it still runs from before".to_owned()));
        }
        let (answer, answered) = sync_channel(1);
        let (inner, alive) = (Arc::clone(self), Alive::default());
        let signs = alive.clone();
        let spawned = std::thread::Builder::new().name(format!("ev-{}", step.name())).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&inner, &alive)));
            let panicked = outcome.is_err();
            let ended = match outcome {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(error)) => Err(StepFailure { step, kind: error.kind(), message: with_causes(&error) }),
                Err(panic) => Err(StepFailure {
                    step,
                    kind: ErrorKind::Internal,
                    message: format!("it panicked: {}", panic_text(panic.as_ref())),
                }),
            };
            let (now, commits) = (inner.world.monotonic(), inner.commits());
            inner.upkeep.steps.end(step, &ended, panicked, now, commits);
            drop(inner);
            // Whoever waited may have given up.
            drop(answer.send(ended));
        });
        if let Err(error) = spawned {
            let ended = Err(failure(ErrorKind::Unavailable, format!("no thread to run in: {error}")));
            self.upkeep.steps.end(step, &ended, false, self.world.monotonic(), self.commits());
            return ended;
        }
        let mut seen = signs.count();
        loop {
            match answered.recv_timeout(limit) {
                Ok(ended) => {
                    if let Err(StepFailure { kind, message, .. }) = &ended {
                        tracing::warn!(step = step.name(), kind = kind.name(), error = %message, "a step of upkeep failed");
                    }
                    return ended;
                }
                Err(RecvTimeoutError::Timeout) if signs.count() != seen => seen = signs.count(),
                Err(RecvTimeoutError::Timeout) => {
                    self.upkeep.steps.hangs(step);
                    let message = format!("no sign of life for {} ms: it is left alone", limit.as_millis());
                    tracing::error!(step = step.name(), "a step of upkeep hangs and was left alone");
                    return Err(failure(ErrorKind::Unavailable, message));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failure(ErrorKind::Internal, "its thread ended without an answer".to_owned()));
                }
            }
        }
    }
}

/// How often somebody else may be quicker to take a step before that is an answer.
const TURNS_MAX: usize = 8;

/// How long a step may be silent when everybody waits for the process to end.
const CLOSING_LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
