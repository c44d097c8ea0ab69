//! Whether the index takes writes now. While it does not, jobs wait as they are: nothing is claimed, and nothing fails.
//!
//! Writes pause when the volume is nearly full or cannot be written, when the hard cap leaves no room, and after a write that
//! failed, until that very write has gone through. While they pause, free space is looked at every second or two, which
//! writes nothing; what failed is tried again when there is room, when bytes have been freed, or after ever longer waits.

use crate::beat::millis;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::health::with_causes;
use crate::indexer::Unflushed;
use crate::maintenance::{Pause, Why, Writes};
use evermark_core::error::ErrorKind;
use evermark_core::maintenance::space::{Level, Volume};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is looked whether writes may go on.
pub(crate) const LOOK: Duration = Duration::from_millis(1500);
/// The first wait before a failed write is tried again, and the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Room that the hard cap must leave for removals to be written, and for the next small write.
const CAP_RESERVE: u64 = 512 << 10;

/// The state of the gate.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pause: Option<Standing>,
    /// Free bytes when a write was refused: more of them, and it is tried again.
    refused_at: Option<u64>,
    retry_at: Duration,
    wait: Duration,
    /// What the write that did not fit the cap needs.
    wanted_bytes: u64,
    /// When one file may be tried again under a cap that left no room for one.
    cap_retry_at: Duration,
    /// Files that may be taken at once, after more of them did not fit the cap together.
    files_max: Option<usize>,
}

struct Standing {
    why: Why,
    message: String,
    since: Duration,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    /// Only removals: they make room.
    Removals,
    /// Nothing, for so long.
    Closed(Duration),
}

impl Gate {
    /// Notes that bytes of the index were freed: what was refused is tried again at once.
    pub(crate) fn space_was_freed(&self) {
        self.state.lock().expect(POISON).retry_at = Duration::ZERO;
    }

    /// Returns how many files may be taken at once.
    pub(crate) fn files_max(&self, usual: usize) -> usize {
        self.state.lock().expect(POISON).files_max.map_or(usual, |files| files.min(usual))
    }

    /// Notes that what was taken fitted: twice as much may be tried next.
    pub(crate) fn fitted(&self, usual: usize) {
        let mut state = self.state.lock().expect(POISON);
        state.files_max = state.files_max.map(|files| files.saturating_mul(2)).filter(|files| *files < usual);
    }

    pub(crate) fn writes(&self, now: Duration) -> Writes {
        match &self.state.lock().expect(POISON).pause {
            None => Writes::Going,
            Some(standing) => Writes::Paused(Pause {
                why: standing.why,
                message: standing.message.clone(),
                since_ms: millis(now.saturating_sub(standing.since)),
            }),
        }
    }

    fn close(&self, why: Why, message: String, now: Duration) -> bool {
        let mut state = self.state.lock().expect(POISON);
        let since = state.pause.as_ref().filter(|standing| standing.why == why).map(|standing| standing.since);
        let is_new = since.is_none();
        if is_new {
            tracing::warn!(why = why.name(), message, "the index takes no writes");
        }
        state.pause = Some(Standing { why, message, since: since.unwrap_or(now) });
        is_new
    }

    fn open(&self) {
        let mut state = self.state.lock().expect(POISON);
        if let Some(standing) = state.pause.take() {
            tracing::info!(why = standing.why.name(), "the index takes writes again");
        }
        *state = State::default();
    }

    pub(crate) fn is_capped(&self) -> bool {
        self.is_for(&[Why::CapReached])
    }

    fn is_for(&self, whys: &[Why]) -> bool {
        self.state.lock().expect(POISON).pause.as_ref().is_some_and(|standing| whys.contains(&standing.why))
    }
}

impl Inner {
    /// Decides whether the index may be written, trying again what was refused where that is due. Call it as the writer.
    pub(crate) fn passage(&self, unflushed: &mut Unflushed) -> Result<Passage, Error> {
        let now = self.world.monotonic();
        let gate = &self.upkeep.gate;
        let volume = self.index_volume();
        if let Some(volume) = volume
            && self.settings.upkeep.watermarks.level(&volume) == Level::Out
        {
            let (why, message) = out_of_space(&volume);
            if gate.close(why, message, now) {
                self.upkeep.is_wanted.store(true, Ordering::Release);
                self.tasks.beat.ring();
            }
            return Ok(Passage::Closed(LOOK));
        }
        if gate.is_for(&[Why::SpaceOut, Why::ReadOnly]) {
            gate.open();
        }
        if unflushed.is_refused {
            let due = {
                let state = gate.state.lock().expect(POISON);
                let grown = match (state.refused_at, volume) {
                    (Some(then), Some(volume)) => volume.free_bytes > then.saturating_add(1 << 20),
                    _ => false,
                };
                now >= state.retry_at || grown
            };
            // Under a cap, what is removed makes room for what was refused.
            let closed = || if gate.is_capped() { Passage::Removals } else { Passage::Closed(LOOK) };
            if !due {
                return Ok(closed());
            }
            if unflushed.is_empty() {
                // It was refused before it was taken on: it is taken on once more, and the pause ends when that goes well.
                unflushed.is_refused = false;
            } else if !self.flush_or_pause(unflushed)? {
                return Ok(closed());
            }
        }
        self.passage_under_cap(now)
    }

    /// Looks whether the hard cap leaves room.
    fn passage_under_cap(&self, now: Duration) -> Result<Passage, Error> {
        let gate = &self.upkeep.gate;
        let Some(room) = self.cap_room()? else { return Ok(Passage::Open) };
        let (wanted, is_due) = {
            let state = gate.state.lock().expect(POISON);
            (state.wanted_bytes.max(CAP_RESERVE), state.wanted_bytes > 0 && now >= state.cap_retry_at)
        };
        if is_due && room > CAP_RESERVE {
            // What did not fit may be gone, or smaller: one file is tried now and then.
            return Ok(Passage::Open);
        }
        if room > wanted {
            if gate.is_for(&[Why::CapReached]) {
                gate.open();
            }
            return Ok(Passage::Open);
        }
        self.close_for_cap(room, now);
        Ok(Passage::Removals)
    }

    fn close_for_cap(&self, room: u64, now: Duration) {
        let cap = self.settings.upkeep.budget.cap_bytes.unwrap_or(u64::MAX);
        let message = format!(
            "the index has reached `index.bytes_max` of {cap} bytes ({room} are left): new memories are kept as Markdown and are \
             not searchable yet"
        );
        if self.upkeep.gate.close(Why::CapReached, message, now) {
            self.upkeep.is_wanted.store(true, Ordering::Release);
            self.tasks.beat.ring();
        }
    }

    /// Returns what the hard cap leaves for the live generation; `None` when there is no cap.
    fn cap_room(&self) -> Result<Option<u64>, Error> {
        let Some(cap) = self.generation_budget(1).cap_bytes else { return Ok(None) };
        let info = self.live().index.info()?;
        Ok(Some(cap.saturating_sub(info.allocated_bytes)))
    }

    /// Tells whether rows of so many bytes, of so many files, fit under the hard cap beside those that wait already. If not,
    /// fewer files are taken next; when a single one does not fit although nothing else waits, writes pause.
    pub(crate) fn fits_cap(&self, waiting_bytes: u64, more: u64, n_files: usize) -> Result<bool, Error> {
        let Some(room) = self.cap_room()? else { return Ok(true) };
        let wanted = waiting_bytes.saturating_add(more).saturating_add(CAP_RESERVE);
        if room > wanted {
            return Ok(true);
        }
        let now = self.world.monotonic();
        {
            let mut state = self.upkeep.gate.state.lock().expect(POISON);
            state.files_max = Some((n_files / 2).max(1));
            if n_files > 1 || waiting_bytes > 0 {
                return Ok(false);
            }
            state.wanted_bytes = wanted;
            state.cap_retry_at = now + RETRY_MAX;
        }
        self.close_for_cap(room, now);
        Ok(false)
    }

    /// Flushes. When that is not possible now, writes pause, what was written stays searchable, and its jobs wait: `false`.
    pub(crate) fn flush_or_pause(&self, unflushed: &mut Unflushed) -> Result<bool, Error> {
        match self.flush_held(unflushed) {
            Ok(()) => Ok(true),
            Err(error) if error.kind().is_transient() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes that nothing waits to be written, so that nothing is refused.
    pub(crate) fn note_idle(&self) {
        if self.upkeep.gate.is_for(&[Why::Refused, Why::Failing, Why::CapReached]) {
            self.upkeep.gate.open();
        }
    }

    /// Notes how a flush, or taking rows on, went.
    pub(crate) fn note_flush(&self, result: &Result<(), Error>) {
        let now = self.world.monotonic();
        let gate = &self.upkeep.gate;
        let Err(error) = result else {
            if gate.is_for(&[Why::Refused, Why::Failing]) {
                gate.open();
            }
            return;
        };
        let kind = error.kind();
        if !kind.is_transient() {
            return;
        }
        {
            let mut state = gate.state.lock().expect(POISON);
            state.wait = if state.wait.is_zero() { RETRY_MIN } else { (state.wait * 2).min(RETRY_MAX) };
            state.retry_at = now + state.wait;
            state.refused_at = self.index_volume().map(|volume| volume.free_bytes);
        }
        // With room on the disk it is the cap that refuses, and what is in reserve would not help.
        let is_capped = self.settings.upkeep.budget.cap_bytes.is_some() && self.level() == Level::Ample;
        let why = match kind {
            ErrorKind::NoSpace if is_capped => Why::CapReached,
            ErrorKind::NoSpace => Why::Refused,
            _ => Why::Failing,
        };
        gate.close(why, with_causes(error), now);
        if why == Why::Refused {
            self.space_was_refused();
        }
    }

    /// Returns why the index takes no writes, as an error for whoever asked for them to be done now.
    pub(crate) fn paused(&self) -> Option<Error> {
        match self.upkeep.gate.writes(self.world.monotonic()) {
            Writes::Going => None,
            Writes::Paused(Pause { why: Why::Failing, message, .. }) => {
                Some(Error::Busy(format!("the index takes no writes now: {message}")))
            }
            Writes::Paused(Pause { message, .. }) => Some(Error::Paused(message)),
        }
    }
}

fn out_of_space(volume: &Volume) -> (Why, String) {
    if volume.is_read_only {
        return (Why::ReadOnly, "the index's file system is mounted read-only".to_owned());
    }
    let inodes = match volume.total_inodes {
        0 => String::new(),
        total => format!(" and {} of {total} inodes", volume.free_inodes),
    };
    let message = format!(
        "{} of {} bytes{inodes} are free on the index's volume: too little to write to the index",
        volume.free_bytes, volume.total_bytes
    );
    (Why::SpaceOut, message)
}
