//! What the threads of a run share: when it began, when it is over, what happened, and the process it is about.

use crate::client::Client;
use crate::clock;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer may take before it counts as none.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Something that happened, for the picture and the report.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) at: Duration,
    pub(super) what: Happening,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    Killed,
    /// The daemon answers again, so long after it was started.
    Back(Duration),
    DiskFull,
    DiskFreed,
    EditsOver,
    /// Health went over to these.
    Health {
        verdict: String,
        codes: Vec<String>,
    },
}

/// Where the process is that is measured; nothing of it while it is down.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    pub(super) pid: Option<u32>,
    pub(super) url: Option<String>,
}

/// What a run is at. Each thread lives up to some phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Editing,
    /// Edits and faults are over; it is looked at what came of them.
    Checking,
    Over,
}

/// One run.
pub(super) struct Run {
    began: Instant,
    phase: Mutex<Phase>,
    changed: Condvar,
    events: Mutex<Vec<Event>>,
    reach: Mutex<Reach>,
    pub(super) root: PathBuf,
    pub(super) index: PathBuf,
}

impl Run {
    pub(super) fn new(root: PathBuf, index: PathBuf) -> Self {
        Self {
            began: clock::now(),
            phase: Mutex::new(Phase::Editing),
            changed: Condvar::new(),
            events: Mutex::default(),
            reach: Mutex::default(),
            root,
            index,
        }
    }

    /// Returns how long it has been going on.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until `at`. Returns false, and at once, when the run is past `last`.
    pub(super) fn wait_until(&self, at: Duration, last: Phase) -> bool {
        let mut phase = held(&self.phase);
        loop {
            let left = at.saturating_sub(self.now());
            if *phase > last || left.is_zero() {
                return *phase <= last;
            }
            phase = self.changed.wait_timeout(phase, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a time. Returns false, and at once, when the run is past `last`.
    pub(super) fn wait(&self, time: Duration, last: Phase) -> bool {
        self.wait_until(self.now() + time, last)
    }

    /// Goes on to a later phase.
    pub(super) fn advance(&self, to: Phase) {
        let mut phase = held(&self.phase);
        *phase = (*phase).max(to);
        self.changed.notify_all();
    }

    pub(super) fn is_past(&self, last: Phase) -> bool {
        *held(&self.phase) > last
    }

    pub(super) fn note(&self, what: Happening) {
        let at = self.now();
        held(&self.events).push(Event { at, what });
    }

    pub(super) fn events(&self) -> Vec<Event> {
        held(&self.events).clone()
    }

    pub(super) fn reach(&self) -> Reach {
        held(&self.reach).clone()
    }

    pub(super) fn set_reach(&self, reach: Reach) {
        *held(&self.reach) = reach;
    }

    /// Returns a way to speak to the process, when it can be spoken to.
    pub(super) fn client(&self) -> Option<Client> {
        self.reach().url.map(|url| Client::patient(&url, ANSWER))
    }
}

/// A thread that panicked leaves what it held as it was: every value here is whole at any moment.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
