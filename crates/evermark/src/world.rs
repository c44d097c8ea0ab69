//! The program's world: the real one, and hooks that let tests and measurements make it fail where it hurts.
//!
//! Every walk passes named points (`world.reach("…")`). Two variables arm them:
//!
//! - [`CRASH_AT`]: `point` or `point:n` kills the process, as `kill -9` does, when it passes the point for the n-th time.
//! - [`FAULT_AT`]: faults separated by commas, each `point[:from[-to]][=what]`. The point then fails from its `from`-th
//!   passing (else the first) up to and with its `to`-th (else for ever). `what` is the error that the operating system
//!   seems to have given, `ENOSPC`, `EDQUOT`, `EFBIG`, `EMFILE`, `ENFILE`, `EROFS`, `EACCES` or `EIO` (so without `what`),
//!   or `hang`, which never comes back, or `panic`.
//!
//! `lance.merged=ENOSPC` fails every merge of the index's pieces, `index.claimed:2-4=panic` panics three times and no more.

use anyhow::{Context, bail, ensure};
use evermark_core::world::{RealWorld, World};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const CRASH_AT: &str = "EVERMARK_CRASH_AT";
pub(crate) const FAULT_AT: &str = "EVERMARK_FAULT_AT";

/// Returns the world to live in; the arguments are the values of [`CRASH_AT`] and [`FAULT_AT`].
pub(crate) fn world(crash_at: Option<&str>, fault_at: Option<&str>) -> anyhow::Result<Arc<dyn World>> {
    let mut faults = Vec::new();
    if let Some(wish) = crash_at {
        faults.push(Fault::crash(wish).with_context(|| format!("{CRASH_AT}={wish}"))?);
    }
    for wish in fault_at.into_iter().flat_map(|wishes| wishes.split(',')).filter(|wish| !wish.trim().is_empty()) {
        faults.push(Fault::read(wish.trim()).with_context(|| format!("{FAULT_AT}: `{wish}`"))?);
    }
    if faults.is_empty() {
        return Ok(Arc::new(RealWorld::new()));
    }
    Ok(Arc::new(FaultyWorld { real: RealWorld::new(), faults }))
}

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The process is killed.
    Death,
    Error(Errno),
    Hang,
    Panic,
}

/// One armed point.
struct Fault {
    point: String,
    /// The passings that fail, counted from 1.
    from: u64,
    to: u64,
    outcome: Outcome,
    passed: AtomicU64,
}

impl Fault {
    /// Reads a value of [`CRASH_AT`].
    fn crash(wish: &str) -> anyhow::Result<Self> {
        let (point, nth) = split_times(wish)?;
        let nth = nth.map_or(Ok(1), count)?;
        Self::new(point, nth, nth, Outcome::Death)
    }

    /// Reads one fault of [`FAULT_AT`].
    fn read(wish: &str) -> anyhow::Result<Self> {
        let (place, what) = wish.split_once('=').unwrap_or((wish, "EIO"));
        let (point, times) = split_times(place)?;
        let (from, to) = match times.map(|times| times.split_once('-').ok_or(times)) {
            None => (1, u64::MAX),
            Some(Ok((from, to))) => (count(from)?, count(to)?),
            Some(Err(from)) => (count(from)?, u64::MAX),
        };
        let outcome = match what {
            "EIO" => Outcome::Error(Errno::IO),
            "ENOSPC" => Outcome::Error(Errno::NOSPC),
            "EDQUOT" => Outcome::Error(Errno::DQUOT),
            "EFBIG" => Outcome::Error(Errno::FBIG),
            "EMFILE" => Outcome::Error(Errno::MFILE),
            "ENFILE" => Outcome::Error(Errno::NFILE),
            "EROFS" => Outcome::Error(Errno::ROFS),
            "EACCES" => Outcome::Error(Errno::ACCESS),
            "hang" => Outcome::Hang,
            "panic" => Outcome::Panic,
            _ => bail!("`{what}` is neither an error known here nor `hang` nor `panic`"),
        };
        Self::new(point, from, to, outcome)
    }

    fn new(point: &str, from: u64, to: u64, outcome: Outcome) -> anyhow::Result<Self> {
        ensure!(!point.is_empty(), "the point has no name");
        ensure!(from <= to, "no passing is from {from} to {to}");
        Ok(Self { point: point.to_owned(), from, to, outcome, passed: AtomicU64::new(0) })
    }

    /// Counts a passing of `point` and tells whether it is one that fails.
    fn strikes(&self, point: &str) -> bool {
        point == self.point && (self.from..=self.to).contains(&(self.passed.fetch_add(1, Ordering::SeqCst) + 1))
    }
}

fn split_times(place: &str) -> anyhow::Result<(&str, Option<&str>)> {
    match place.rsplit_once(':') {
        Some((_, "")) => bail!("a number is missing after the colon"),
        Some((point, times)) => Ok((point, Some(times))),
        None => Ok((place, None)),
    }
}

fn count(text: &str) -> anyhow::Result<u64> {
    let number = text.parse().with_context(|| format!("`{text}` is no number"))?;
    ensure!(number > 0, "passings are counted from 1");
    Ok(number)
}

/// The real world, but for armed points.
struct FaultyWorld {
    real: RealWorld,
    faults: Vec<Fault>,
}

impl World for FaultyWorld {
    fn now_us(&self) -> i64 {
        self.real.now_us()
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn random(&self) -> [u8; 16] {
        self.real.random()
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        // Every fault counts, whichever of them strikes.
        let mut outcome = None;
        for fault in &self.faults {
            if fault.strikes(point) {
                outcome = outcome.or(Some(fault.outcome));
            }
        }
        match outcome {
            None => Ok(()),
            Some(Outcome::Error(errno)) => Err(errno.into()),
            Some(Outcome::Panic) => panic!("{FAULT_AT} asks for a panic at `{point}`"),
            Some(Outcome::Hang) => park_for_ever(),
            Some(Outcome::Death) => {
                kill_process(getpid(), Signal::KILL)?;
                // The signal ends every thread, this one included, at some moment after the call: nothing may happen until
                // then.
                park_for_ever()
            }
        }
    }
}

fn park_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
