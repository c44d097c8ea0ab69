//! A world whose clock moves only when told, whose chance comes from the seed, and in which armed points strike.
//!
//! A killed process is a panic that starts at the point, after the disk was copied as it was at that instant; from then on
//! every point panics, so that nothing more is done in the dead process's name. The harness lets the subject go, puts the
//! copy in place, and opens again.

use super::chance::Chance;
use super::disk;
use super::fault::{Effect, Fault, POINTS};
use evermark_core::maintenance::space::Volume;
use evermark_core::world::World;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where simulated time starts, microseconds since 1970: 2100-01-01. Later than any clock that sets a file's ctime, so that no
/// decision depends on the day a run is made.
pub const START_US: i64 = 4_102_444_800_000_000;

/// A hang ends by itself after this long, in case nobody lifts it.
const HANG_MAX: Duration = Duration::from_secs(120);

/// The payload of the panic that ends a killed process.
pub struct Killed;

/// Time, chance and faults of one run.
pub struct SimWorld {
    root: PathBuf,
    /// Where the disk is copied to when the process is killed.
    aside: PathBuf,
    state: Mutex<State>,
    lifted: Condvar,
}

struct State {
    wall_us: i64,
    monotonic: Duration,
    chance: Chance,
    faults: Vec<Armed>,
    dead: Option<&'static str>,
    /// Strikes since [`SimWorld::take_strikes`].
    strikes: Vec<(&'static str, Effect)>,
    passed: BTreeMap<&'static str, u64>,
    /// The most bytes the index had at any point since [`SimWorld::take_peak`].
    peak_bytes: u64,
    hanging: u32,
    /// What the volume has left, where it is short of space.
    free_bytes: Option<u64>,
}

struct Armed {
    fault: Fault,
    passes: u32,
    struck: u32,
}

impl Armed {
    /// Counts a pass and tells whether the fault strikes at it.
    fn strikes(&mut self, point: &str) -> bool {
        if !self.fault.at.holds(point) {
            return false;
        }
        self.passes += 1;
        let due = self.passes > self.fault.skip
            && (self.passes - self.fault.skip - 1).is_multiple_of(self.fault.every.max(1))
            && self.fault.times.is_none_or(|times| self.struck < times);
        self.struck += u32::from(due);
        due
    }
}

impl SimWorld {
    /// Makes the world of a root. `aside` is a folder on the same file system, for copies.
    pub fn new(seed: u64, root: &Path, aside: &Path) -> Self {
        Self {
            root: root.to_owned(),
            aside: aside.to_owned(),
            state: Mutex::new(State {
                wall_us: START_US,
                monotonic: Duration::from_secs(1),
                chance: Chance::new(seed ^ 0x5eed),
                faults: Vec::new(),
                dead: None,
                strikes: Vec::new(),
                passed: BTreeMap::new(),
                peak_bytes: 0,
                hanging: 0,
                free_bytes: None,
            }),
            lifted: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass, on both clocks.
    pub fn pass_time(&self, time: Duration) {
        let mut state = self.state();
        state.monotonic += time;
        state.wall_us += i64::try_from(time.as_micros()).unwrap_or(0);
    }

    /// Moves the wall clock alone, either way.
    pub fn jump(&self, micros: i64) {
        self.state().wall_us += micros;
    }

    pub fn arm(&self, fault: Fault) {
        self.state().faults.push(Armed { fault, passes: 0, struck: 0 });
    }

    /// Makes the volume look as if it had so much left. Nothing fails by that.
    pub fn set_free(&self, free_bytes: u64) {
        self.state().free_bytes = Some(free_bytes);
    }

    pub fn is_short(&self) -> bool {
        self.state().free_bytes.is_some()
    }

    /// Ends all faults; what hangs goes on, and there is space again.
    pub fn lift(&self) {
        {
            let mut state = self.state();
            state.faults.clear();
            state.free_bytes = None;
        }
        self.lifted.notify_all();
    }

    /// Tells whether a fault could strike.
    pub fn is_troubled(&self) -> bool {
        let state = self.state();
        state.faults.iter().any(|armed| armed.fault.times.is_none_or(|times| armed.struck < times))
    }

    /// Returns what has struck since the last call.
    pub fn take_strikes(&self) -> Vec<(&'static str, Effect)> {
        std::mem::take(&mut self.state().strikes)
    }

    /// Returns the most bytes the index had at a point since the last call.
    pub fn take_peak(&self) -> u64 {
        std::mem::take(&mut self.state().peak_bytes)
    }

    /// Counts passes by point since the last call.
    pub fn take_passed(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.state().passed)
    }

    /// Tells how many operations hang right now.
    pub fn hanging(&self) -> u32 {
        self.state().hanging
    }

    /// Returns the point at which the process was killed, if it was.
    pub fn killed_at(&self) -> Option<&'static str> {
        self.state().dead
    }

    /// Puts the disk back to how it was when the process was killed, and lets a new process begin. All faults are over.
    pub fn revive(&self) -> io::Result<()> {
        self.lift();
        disk::replace(&self.root, &self.aside)?;
        self.state().dead = None;
        Ok(())
    }

    fn die(&self, state: &mut State, point: &'static str) {
        // The first to be killed decides; a copy that fails leaves the disk as the unwinding leaves it.
        if let Err(error) = disk::copy(&self.root, &self.aside) {
            drop(std::fs::remove_dir_all(&self.aside));
            state.strikes.push((point, Effect::Errno(error.raw_os_error().unwrap_or(0))));
        }
        state.dead = Some(point);
    }
}

/// Ends what the dead process was doing. While it unwinds already, an error must do.
fn end() -> io::Result<()> {
    if std::thread::panicking() {
        return Err(io::Error::other("the process was killed"));
    }
    std::panic::resume_unwind(Box::new(Killed))
}

impl World for SimWorld {
    fn now_us(&self) -> i64 {
        self.state().wall_us
    }

    fn monotonic(&self) -> Duration {
        self.state().monotonic
    }

    fn random(&self) -> [u8; 16] {
        let mut state = self.state();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&state.chance.bits().to_le_bytes());
        bytes[8..].copy_from_slice(&state.chance.bits().to_le_bytes());
        bytes
    }

    fn volume(&self, _: &Path, _: Volume) -> Volume {
        const TOTAL: u64 = 1 << 40;
        let free_bytes = self.state().free_bytes.unwrap_or(TOTAL / 2);
        Volume { free_bytes, total_bytes: TOTAL, free_inodes: 1 << 30, total_inodes: 1 << 31, is_read_only: false }
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        let mut state = self.state();
        if state.dead.is_some() {
            drop(state);
            return end();
        }
        *state.passed.entry(point).or_default() += 1;
        // The others pass before or after nothing of the index was written.
        if point.starts_with("lance.") || point.starts_with("rebuild.") {
            state.peak_bytes = state.peak_bytes.max(disk::index_bytes(&self.root));
        }
        // Every fault counts its passes, whichever strikes.
        let struck: Vec<Effect> =
            state.faults.iter_mut().filter_map(|armed| armed.strikes(point).then_some(armed.fault.effect)).collect();
        let Some(effect) = struck.first().copied() else { return Ok(()) };
        state.strikes.push((point, effect));
        match effect {
            Effect::Errno(number) => Err(io::Error::from_raw_os_error(number)),
            Effect::Crash => {
                self.die(&mut state, point);
                drop(state);
                end()
            }
            Effect::Panic => {
                drop(state);
                std::panic::resume_unwind(Box::new("armed by the simulation".to_owned()))
            }
            Effect::Hang => {
                state.hanging += 1;
                let hangs = |state: &mut State| {
                    state.dead.is_none() && state.faults.iter().any(|armed| armed.fault.effect == Effect::Hang)
                };
                let (mut state, _) =
                    self.lifted.wait_timeout_while(state, HANG_MAX, hangs).unwrap_or_else(PoisonError::into_inner);
                state.hanging -= 1;
                let dead = state.dead.is_some();
                drop(state);
                if dead { end() } else { Ok(()) }
            }
        }
    }
}

/// Returns the points of `passed` that no fault can be armed at.
pub fn unknown_points(passed: &BTreeMap<&'static str, u64>) -> Vec<&'static str> {
    passed.keys().copied().filter(|point| POINTS.iter().all(|(known, _)| known != point)).collect()
}

#[cfg(test)]
mod tests;
