//! Who reads which version, so that its files stay, and for how long.
//!
//! A reader takes a hold on the version it reads and lets go when it is done. Holds keep files from being reclaimed, so they
//! are bounded: when they keep too many bytes, or one lasts too long, the oldest are ended. An ended reader notices at its
//! next batch and answers an error that may be tried again; if it does not let go within [`GRACE`], its files go all the same.

use crate::table::Snapshot;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long an ended reader's files stay: longer than a batch takes.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

const RUNNING: u64 = u64::MAX;

const ENDED: &str =
    "this read took so long that it kept old files of the index from being removed: it was ended, try it again";

/// Tells whether this is what a reader says that was ended: the same read of a newer version may do.
pub(crate) fn was_ended(error: &IndexError) -> bool {
    error.kind == ErrorKind::Unavailable && error.message == ENDED
}

/// One reader's hold on one version.
pub(crate) struct Hold {
    pub(crate) snapshot: Snapshot,
    /// On the monotonic clock.
    pub(crate) since: Duration,
    /// When it was ended, in milliseconds of that clock.
    ended_ms: AtomicU64,
}

impl Hold {
    /// Errors: [`ErrorKind::Unavailable`] when the reader was ended.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        if self.ended_ms.load(Ordering::Acquire) == RUNNING {
            return Ok(());
        }
        Err(IndexError::new(ErrorKind::Unavailable, ENDED))
    }

    /// Returns `error`, unless this reader was ended: its files may be gone then, which is no damage.
    pub(crate) fn blame(&self, error: IndexError) -> IndexError {
        self.check().err().unwrap_or(error)
    }

    pub(crate) fn end(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(RUNNING - 1);
        // The first end counts.
        self.ended_ms.compare_exchange(RUNNING, now, Ordering::AcqRel, Ordering::Acquire).ok();
    }

    /// Tells whether it was ended so long ago that nobody waits for it any more.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        let ended = self.ended_ms.load(Ordering::Acquire);
        ended != RUNNING && now >= Duration::from_millis(ended) + GRACE
    }
}

#[derive(Default)]
pub(crate) struct Readers {
    holds: Mutex<Vec<Weak<Hold>>>,
}

impl Readers {
    pub(crate) fn hold(&self, snapshot: Snapshot, now: Duration) -> Arc<Hold> {
        let hold = Arc::new(Hold { snapshot, since: now, ended_ms: AtomicU64::new(RUNNING) });
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|hold| hold.strong_count() > 0);
        holds.push(Arc::downgrade(&hold));
        hold
    }

    /// Returns all that have not let go, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Hold>> {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.iter().filter_map(Weak::upgrade).collect()
    }
}
