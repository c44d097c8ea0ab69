//! Background loops: arm the wake-up, tick, then wait. A loop that panics is counted, shown, and started again.

use crate::beat::millis;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::maintenance::LoopStatus;
use crate::steps::panic_text;
use evermark_core::error::ErrorKind;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a tick came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Did something; there may be more.
    Worked,
    /// Nothing to do before this long, or a wake-up.
    Idle(Duration),
}

/// A bell: a ring wakes the waiter, and is not lost when nobody waits yet.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock().expect(POISON) = true;
        self.changed.notify_all();
    }

    /// Waits for a ring, at most this long.
    pub(crate) fn wait(&self, timeout: Duration) {
        let rung = self.rung.lock().expect(POISON);
        let (mut rung, _) = self.changed.wait_timeout_while(rung, timeout, |rung| !*rung).expect(POISON);
        *rung = false;
    }
}

/// The loops of one engine.
#[derive(Default)]
pub(crate) struct Tasks {
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) indexer: Bell,
    /// Rung by the watcher too.
    pub(crate) reconcile: Arc<Bell>,
    pub(crate) remember: Bell,
    pub(crate) beat: Bell,
    pub(crate) pulses: Pulses,
    /// Rung when a file's rows have become searchable.
    pub(crate) applied: Bell,
}

type BellOf = fn(&Inner) -> &Bell;
type TickOf = fn(&Arc<Inner>) -> Result<Tick, Error>;

/// The loops by name, as status shows them.
pub(crate) const LOOPS: [&str; 4] = ["indexer", "reconcile", "remember", "beat"];

/// When each loop's present round began, and how often it was started again.
#[derive(Default)]
pub(crate) struct Pulses {
    all: Mutex<BTreeMap<&'static str, Pulse>>,
}

#[derive(Clone, Copy, Default)]
struct Pulse {
    ticking_since: Option<Duration>,
    restarts: u64,
}

impl Pulses {
    fn note(&self, name: &'static str, note: impl FnOnce(&mut Pulse)) {
        note(self.all.lock().expect(POISON).entry(name).or_default());
    }

    /// Returns the loops that were started. One whose round is longer than `limit` is stuck.
    pub(crate) fn status(&self, now: Duration, limit: Duration) -> Vec<LoopStatus> {
        let all = self.all.lock().expect(POISON);
        let of = |name: &'static str| {
            let pulse = all.get(name)?;
            let ticking = pulse.ticking_since.map(|since| now.saturating_sub(since));
            Some(LoopStatus {
                name,
                ticking_ms: ticking.map(millis),
                is_stuck: ticking.is_some_and(|ticking| ticking > limit),
                restarts: pulse.restarts,
            })
        };
        LOOPS.into_iter().filter_map(of).collect()
    }
}

/// Longest wait after a tick that failed; the wait doubles from a tenth of a second.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

impl Tasks {
    pub(crate) fn start(inner: &Arc<Inner>) -> Result<(), Error> {
        let loops: [(&str, BellOf, TickOf); 4] = [
            ("indexer", |inner| &inner.tasks.indexer, |inner| inner.indexer_tick()),
            ("reconcile", |inner| &inner.tasks.reconcile, |inner| inner.reconcile_tick()),
            ("remember", |inner| &inner.tasks.remember, |inner| inner.remember_tick()),
            ("beat", |inner| &inner.tasks.beat, |inner| inner.beat_tick()),
        ];
        let mut threads = inner.tasks.threads.lock().expect(POISON);
        for (name, bell, tick) in loops {
            let inner = Arc::clone(inner);
            let thread = std::thread::Builder::new()
                .name(format!("ev-{name}"))
                .spawn(move || run(&inner, name, bell, tick))
                .map_err(|error| Error::Busy(format!("cannot start the {name} thread: {error}")))?;
            threads.push(thread);
        }
        Ok(())
    }

    /// Wakes every loop, so that it sees that the engine is closing, and waits for them.
    pub(crate) fn join(&self) {
        for bell in [&self.indexer, self.reconcile.as_ref(), &self.remember, &self.beat] {
            bell.ring();
        }
        let threads: Vec<_> = self.threads.lock().expect(POISON).drain(..).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a background thread ended in a panic");
            }
        }
    }
}

/// How much more willing than others these loops are to wait for a processor (`nice`): enough that a search is not held up by a
/// vault being indexed, not so much that they come to nothing beside many searches.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

fn run(inner: &Arc<Inner>, name: &'static str, bell: BellOf, tick: TickOf) {
    // Where that is per thread, as on Linux, it holds for this one and those that it starts. It is no more than a wish.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, name, "a background loop keeps its priority");
    }
    let pulses = &inner.tasks.pulses;
    let mut backoff = Duration::from_millis(100);
    while !inner.is_closing() {
        pulses.note(name, |pulse| pulse.ticking_since = Some(inner.world.monotonic()));
        let ticked = catch_unwind(AssertUnwindSafe(|| tick(inner)));
        pulses.note(name, |pulse| pulse.ticking_since = None);
        match ticked {
            Ok(Ok(Tick::Worked)) => {
                inner.ailments.recovered(name);
                backoff = Duration::from_millis(100);
            }
            Ok(Ok(Tick::Idle(wait))) => {
                inner.ailments.recovered(name);
                backoff = Duration::from_millis(100);
                bell(inner).wait(wait);
            }
            Ok(Err(error)) => {
                inner.ailments.failed(name, error.kind(), &error, inner.world.now_us());
                if error.kind() == ErrorKind::NoSpace {
                    inner.space_was_refused();
                }
                bell(inner).wait(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            Err(panic) => {
                inner.ailments.panicked(name, &panic_text(panic.as_ref()), inner.world.now_us());
                pulses.note(name, |pulse| pulse.restarts += 1);
                bell(inner).wait(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

impl Inner {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}
