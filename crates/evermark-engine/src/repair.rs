//! Making good what damage took: rows that the index lost unasked are written again from the Markdown.
//!
//! The index counts its losses, durably. The ledger notes how many of them have been made good, for which generation; as long
//! as the two differ, also after a crash, everything the ledger knows is compared with what the index holds. What is missing
//! or other than recorded is doubted in the ledger and its file enqueued: the ordinary indexer does the rest, with vectors
//! from the cache.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::indexer::entry_digest_of;
use crate::live::Live;
use crate::steps::{Alive, Done};
use evermark_core::id::{Kind, MemoryKey};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Seen;
use evermark_store::jobs::{Fingerprint, NewJob, Priority, Reason};
use evermark_store::ledger::Ledger;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// The ledger's note of what has been made good: `<generation>:<losses>`.
const NOTE: &str = "losses_mended";

/// Files whose jobs and doubts are noted at once.
const FILES_AT_ONCE: usize = 256;

impl Inner {
    /// Tells whether rows have left the live generation by damage and are not all written again.
    pub(crate) fn has_losses(&self) -> bool {
        self.upkeep.rows_are_missing.load(Ordering::Acquire)
            || self.live().index.losses() > self.upkeep.losses_mended.load(Ordering::Acquire)
    }

    /// Compares the index with what the ledger says of it, and has what is missing or other written again.
    pub(crate) fn repair(&self, alive: &Alive) -> Result<Done, Error> {
        let live = self.live();
        // Counted before anything is looked at: what is lost meanwhile is the next repair's.
        let losses = live.index.losses();
        // Compared as the only writer, with nothing on its way.
        let mut unflushed = self.indexing.lock().expect(POISON);
        self.flush_held(&mut unflushed)?;
        let mut rows: HashMap<MemoryKey, (String, Digest32)> = HashMap::new();
        live.index.scan(&mut |key, path, digest| {
            rows.insert(key, (path.to_owned(), digest));
        })?;
        alive.touch();
        let ledger = self.ledger();
        let (mut doubted, mut n_doubted) = (Vec::new(), 0);
        let mut paths = Vec::new();
        ledger.files("", &mut |row| paths.push(row.path))?;
        for path in paths {
            let before = doubted.len();
            for entry in ledger.entries(&path)? {
                if !self.is_as_recorded(&ledger, &live, &path, &entry.key, entry.digest, &rows)? {
                    doubted.push((path.clone(), entry.key.kind, entry.key.id));
                }
            }
            n_doubted += doubted.len() - before;
            if doubted.len() >= FILES_AT_ONCE {
                self.write_again(&ledger, &std::mem::take(&mut doubted))?;
            }
            alive.touch();
        }
        self.write_again(&ledger, &doubted)?;
        ledger.set_note(NOTE, Some(&format!("{}:{losses}", live.generation)))?;
        self.upkeep.losses_mended.store(losses, Ordering::Release);
        self.upkeep.rows_are_missing.store(false, Ordering::Release);
        drop(unflushed);
        // An older version that took the place of a damaged one holds rows that were removed since.
        self.strays_possible.store(true, Ordering::Release);
        self.tasks.indexer.ring();
        tracing::warn!(rows = n_doubted, losses, "rows that damage took are written again from the Markdown");
        Ok(Done::default())
    }

    /// Tells whether the index holds an entry as the ledger recorded it.
    fn is_as_recorded(
        &self,
        ledger: &Ledger,
        live: &Live,
        path: &str,
        key: &MemoryKey,
        recorded: Digest32,
        rows: &HashMap<MemoryKey, (String, Digest32)>,
    ) -> Result<bool, Error> {
        let Some((from, digest)) = rows.get(key) else { return Ok(false) };
        let variants = [true, false].map(|has_vectors| entry_digest_of(*digest, live, has_vectors));
        if variants.contains(&recorded) {
            return Ok(true);
        }
        // Copies of one memory in several files share a row, which is one of them.
        Ok(from != path && ledger.locate(key)?.iter().any(|holder| holder == from))
    }

    fn write_again(&self, ledger: &Ledger, doubted: &[(String, Kind, String)]) -> Result<(), Error> {
        // The jobs come first: doubts alone would wait for the next edit of each file, jobs alone change nothing.
        ledger.doubt(doubted)?;
        let mut jobs = Vec::new();
        let mut last = None;
        for (path, _, _) in doubted {
            if last == Some(path) {
                continue;
            }
            last = Some(path);
            if let Seen::Present(_) = self.vault.look(path) {
                // A fingerprint of its own, so that a job that was parked or is there for the same content runs again.
                let fingerprint = Fingerprint::Digest(Digest32::of(self.world.now_us().to_string().as_bytes()));
                jobs.push(NewJob {
                    path: path.clone(),
                    reason: Reason::Rebuild,
                    priority: Priority::Background,
                    fingerprint,
                });
            }
        }
        ledger.enqueue(&jobs)?;
        Ok(())
    }

    /// Wakes the beat for what a search has found damaged: it may not look by itself for an hour.
    pub(crate) fn tell_of_losses(&self) {
        let losses = self.live().index.losses();
        if self.upkeep.losses_told.swap(losses, Ordering::AcqRel) != losses {
            self.tasks.beat.ring();
        }
    }

    /// Reads from the ledger what has been made good of the live generation's losses, after opening both.
    pub(crate) fn recall_losses(&self, n_entries: u64) -> Result<(), Error> {
        let live = self.live();
        let note = self.ledger().note(NOTE)?;
        let mended = note.as_deref().and_then(|note| note.rsplit_once(':')).and_then(|(generation, losses)| {
            (generation == live.generation.to_string()).then(|| losses.parse::<u64>().ok())?
        });
        self.upkeep.losses_mended.store(mended.unwrap_or(0), Ordering::Release);
        // A loss that nobody could count shows in the numbers: an index put back from a copy, an older version.
        let (rows, ledger) = (live.rows()?, self.ledger());
        // As many rows as entries: nothing was copied, and nothing lost. Only what differs is worth the slow count.
        let recorded = if n_entries == rows { rows } else { ledger.distinct_entries()? };
        // A process that died at work may have written rows, or removed some, without telling the ledger.
        let is_doubtful = rows < recorded || self.ledger().died_working();
        self.upkeep.rows_are_missing.store(is_doubtful, Ordering::Release);
        if rows > recorded {
            self.strays_possible.store(true, Ordering::Release);
        }
        Ok(())
    }
}
