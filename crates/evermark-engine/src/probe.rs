//! Looking at something that may not answer: the last answer stands in, with its age.
//!
//! A status must come at once, also while the ledger is locked or the index hangs. So what may block is asked in a thread of its
//! own, at most one at a time, and waited for only so long. Who comes while somebody else is asking waits for that answer.

use crate::engine::POISON;
use crate::error::Error;
use crate::health::with_causes;
use evermark_core::world::World;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The answers of one thing that is asked again and again.
pub(crate) struct Probe<T> {
    state: Mutex<State<T>>,
    /// Rung when an asking has ended.
    answered: Condvar,
}

struct State<T> {
    last: Option<(T, Duration)>,
    /// Since when somebody asks and has no answer yet.
    asking_since: Option<Duration>,
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { last: None, asking_since: None }), answered: Condvar::new() }
    }
}

/// What is known.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    /// `None` when there never was an answer.
    pub(crate) value: Option<T>,
    /// How old it is; `None` when it is of now.
    pub(crate) age: Option<Duration>,
    /// Why there is no answer of now.
    pub(crate) problem: Option<String>,
}

impl<T: Clone + Send + 'static> Probe<T> {
    /// Returns what is known without asking.
    pub(crate) fn last(&self, now: Duration) -> Seen<T> {
        self.state.lock().expect(POISON).stale(now, "not asked".to_owned())
    }

    /// Asks, and waits for the answer at most this long.
    pub(crate) fn ask(
        self: &Arc<Self>,
        world: &Arc<dyn World>,
        limit: Duration,
        look: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Seen<T> {
        {
            let began = world.monotonic();
            let mut state = self.state.lock().expect(POISON);
            if let Some(since) = state.asking_since {
                let left = limit.saturating_sub(began.saturating_sub(since));
                let wait = self.answered.wait_timeout_while(state, left, |state| state.asking_since.is_some());
                state = wait.expect(POISON).0;
                // An answer that came after we did is as good as one of our own.
                if let Some((value, _)) = state.last.as_ref().filter(|(_, at)| *at >= began) {
                    return Seen { value: Some(value.clone()), age: None, problem: None };
                }
                if state.asking_since.is_some() {
                    let problem = "it has not answered the question before this one";
                    return state.stale(world.monotonic(), problem.to_owned());
                }
            }
            state.asking_since = Some(world.monotonic());
        }
        let (answer, answered) = sync_channel(1);
        let (probe, clock) = (Arc::clone(self), Arc::clone(world));
        let spawned = std::thread::Builder::new().name("ev-probe".to_owned()).spawn(move || {
            // Whatever happens in there, the next one may ask again.
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
            let looked = looked.unwrap_or_else(|_| Err(Error::Busy("looking at it panicked".to_owned())));
            let mut state = probe.state.lock().expect(POISON);
            state.asking_since = None;
            if let Ok(value) = &looked {
                state.last = Some((value.clone(), clock.monotonic()));
            }
            drop(state);
            probe.answered.notify_all();
            // Nobody may be waiting any more.
            drop(answer.send(looked));
        });
        if let Err(error) = spawned {
            let mut state = self.state.lock().expect(POISON);
            state.asking_since = None;
            self.answered.notify_all();
            return state.stale(world.monotonic(), format!("no thread to ask it: {error}"));
        }
        match answered.recv_timeout(limit) {
            Ok(Ok(value)) => Seen { value: Some(value), age: None, problem: None },
            Ok(Err(error)) => self.state.lock().expect(POISON).stale(world.monotonic(), with_causes(&error)),
            Err(_) => {
                let problem = format!("no answer within {} ms", limit.as_millis());
                self.state.lock().expect(POISON).stale(world.monotonic(), problem)
            }
        }
    }
}

impl<T: Clone> State<T> {
    fn stale(&self, now: Duration, problem: String) -> Seen<T> {
        let value = self.last.as_ref().map(|(value, _)| value.clone());
        let age = self.last.as_ref().map(|(_, at)| now.saturating_sub(*at));
        Seen { value, age, problem: Some(problem) }
    }
}

#[cfg(test)]
mod tests;
