//! What is indexed and not durable yet, and how it becomes durable: one commit of the index, then the ledger is told.

use super::{Claim, Inner, Retry};
use crate::beat::millis;
use crate::error::Error;
use evermark_core::id::MemoryKey;
use evermark_store::ledger::catalog::{Entry, FileRecord};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Rows that are visible but not yet durable, and the jobs they belong to.
#[derive(Default)]
pub(crate) struct Unflushed {
    pub(super) done: Vec<Applied>,
    /// Files whose rows are durable, and which the ledger has not been told of yet.
    pub(super) flushed: Vec<Applied>,
    /// What each file of these two lists holds by its newest reading: nothing, where it is gone. The ledger does not know yet.
    pub(super) held: HashMap<String, Arc<[Entry]>>,
    pub(super) rows: usize,
    /// About how many bytes those rows take.
    pub(super) bytes: u64,
    /// The last flush failed: nothing more is taken on before one succeeds.
    pub(crate) is_refused: bool,
    /// The last round took urgent files alone.
    pub(super) was_urgent: bool,
    /// When the index was last flushed, on the monotonic clock.
    pub(super) flushed_at: Duration,
    pub(crate) rows_upserted: u64,
    pub(crate) rows_removed: u64,
    pub(crate) files_indexed: u64,
    pub(crate) files_removed: u64,
}

/// A file whose rows are in the index.
pub(super) struct Applied {
    pub(super) claim: Claim,
    /// What the file holds now; `None` when it is gone, and its rows with it.
    pub(super) record: Option<FileRecord>,
    pub(super) retry: Option<Retry>,
}

/// Counts since the engine was opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) rows_upserted: u64,
    pub(crate) rows_removed: u64,
    pub(crate) files_indexed: u64,
    pub(crate) files_removed: u64,
}

impl Unflushed {
    /// Forgets rows that cannot be made durable; their jobs come back when their leases end.
    pub(crate) fn abandon(&mut self) {
        self.done.clear();
        self.flushed.clear();
        self.held.clear();
        self.rows = 0;
        self.bytes = 0;
        self.is_refused = false;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.flushed.is_empty()
    }

    /// Takes on a file whose rows are in the index, or out of it.
    pub(super) fn push(&mut self, applied: Applied) {
        let held = applied.record.as_ref().map(|record| Arc::clone(&record.entries)).unwrap_or_default();
        self.held.insert(applied.claim.path.clone(), held);
        self.done.push(applied);
    }

    /// Tells whether a file that the ledger says holds this memory may hold it still.
    pub(super) fn may_hold(&self, path: &str, key: &MemoryKey) -> bool {
        self.held.get(path).is_none_or(|held| holds(held, key))
    }

    /// Tells whether a file other than `path` was found to hold this memory.
    pub(super) fn is_held_by_other(&self, path: &str, key: &MemoryKey) -> bool {
        self.held.iter().any(|(holder, held)| holder != path && holds(held, key))
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally {
            rows_upserted: self.rows_upserted,
            rows_removed: self.rows_removed,
            files_indexed: self.files_indexed,
            files_removed: self.files_removed,
        }
    }
}

/// Tells whether a file's entries, in the order of their keys, hold this one.
fn holds(entries: &[Entry], key: &MemoryKey) -> bool {
    entries.binary_search_by(|entry| entry.key.cmp(key)).is_ok()
}

impl Inner {
    /// Makes everything indexed so far durable.
    pub(crate) fn flush_now(&self) -> Result<(), Error> {
        let mut unflushed = self.writer()?;
        self.flush_held(&mut unflushed)
    }

    /// Commits the index, then records in the ledger what the files hold. What fails is kept, and done by the next call.
    pub(crate) fn flush_held(&self, unflushed: &mut Unflushed) -> Result<(), Error> {
        if unflushed.is_empty() {
            return Ok(());
        }
        let flushed = self.flush_index(unflushed).and_then(|()| self.record_flushed(unflushed));
        unflushed.is_refused = flushed.is_err();
        self.note_flush(&flushed);
        flushed
    }

    fn flush_index(&self, unflushed: &mut Unflushed) -> Result<(), Error> {
        if unflushed.done.is_empty() {
            return Ok(());
        }
        let live = self.live();
        self.noticing_damage(live.index.flush().map_err(Error::from))?;
        unflushed.rows = 0;
        unflushed.bytes = 0;
        let done = std::mem::take(&mut unflushed.done);
        self.note_durable(done, unflushed)
    }

    /// Notes that the rows of these files are durable.
    fn note_durable(&self, done: Vec<Applied>, unflushed: &mut Unflushed) -> Result<(), Error> {
        unflushed.flushed_at = self.world.monotonic();
        self.upkeep.commits.fetch_add(1, Ordering::AcqRel);
        self.upkeep.committed_ms.store(millis(unflushed.flushed_at), Ordering::Release);
        unflushed.flushed.extend(done);
        self.tasks.beat.ring();
        self.reach("index.flushed")
    }

    /// Tells the ledger what the files hold whose rows are durable. Telling it twice changes nothing.
    fn record_flushed(&self, unflushed: &mut Unflushed) -> Result<(), Error> {
        let ledger = self.ledger();
        let (mut records, mut gone, mut complete, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let newest: HashMap<&str, usize> =
            unflushed.flushed.iter().enumerate().map(|(n, applied)| (applied.claim.path.as_str(), n)).collect();
        for (n, Applied { claim, record, retry }) in unflushed.flushed.iter().enumerate() {
            match record {
                // A file that was read twice is what it was the second time.
                _ if newest.get(claim.path.as_str()) != Some(&n) => {}
                Some(record) => records.push(record),
                None => gone.push(claim.path.clone()),
            }
            match retry {
                Some(retry) => again.push((claim, retry)),
                None => complete.push(claim.clone()),
            }
        }
        ledger.forget(&gone)?;
        ledger.record(&records)?;
        ledger.complete(&complete)?;
        for (claim, retry) in again {
            ledger.fail(claim, retry.class, &retry.message, retry.after)?;
        }
        unflushed.flushed.clear();
        let left: HashSet<&str> = unflushed.done.iter().map(|applied| applied.claim.path.as_str()).collect();
        unflushed.held.retain(|path, _| left.contains(path.as_str()));
        self.reach("index.recorded")
    }

    /// Takes files on while what gathered before becomes durable. What goes wrong with one does not touch the other.
    pub(super) fn apply_while_flushing(&self, claims: Vec<Claim>, unflushed: &mut Unflushed) -> Result<(), Error> {
        let earlier = std::mem::take(&mut unflushed.done);
        let (rows, bytes) = (unflushed.rows, unflushed.bytes);
        let live = self.live();
        let (flushed, applied) = std::thread::scope(|scope| {
            let flush = scope.spawn(|| live.index.flush());
            let applied = self.apply(claims, unflushed);
            (flush.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), applied)
        });
        let flushed = match self.noticing_damage(flushed.map_err(Error::from)) {
            Ok(()) => {
                unflushed.rows = unflushed.rows.saturating_sub(rows);
                unflushed.bytes = unflushed.bytes.saturating_sub(bytes);
                self.note_durable(earlier, unflushed).and_then(|()| self.record_flushed(unflushed))
            }
            Err(error) => {
                let later = std::mem::replace(&mut unflushed.done, earlier);
                unflushed.done.extend(later);
                Err(error)
            }
        };
        unflushed.is_refused = flushed.is_err();
        self.note_flush(&flushed);
        match flushed {
            // Writes pause; what was taken on is searchable, and its jobs wait.
            Err(error) if error.kind().is_transient() => applied,
            flushed => applied.and(flushed),
        }
    }
}
