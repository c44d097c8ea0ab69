//! Building a new generation: beside the live one, swapped while searches go on, or in its place where there is no room.
//!
//! Beside: the two share the budget until the swap. In place: an empty generation is made and made current first, the old one
//! goes, and the ordinary sweep fills the new one; searches answer what is there and say so. A crash anywhere leaves one whole
//! generation, full or being filled; vectors come from the cache.

use crate::beat::millis;
use crate::embedding::Embedding;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::indexer::in_chunks;
use crate::live::Live;
use crate::open::remove_other_generations;
use crate::status::{ProgressMark, RebuildReport};
use evermark_core::id::MemoryKey;
use evermark_core::index::Indexable;
use evermark_core::maintenance::plan::Rebuild;
use evermark_core::memory::{Digest32, Memory};
use evermark_store::ledger::Binding;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Says, for as long as it lives, that a rebuild is running.
struct Running<'a>(&'a Inner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.rebuilding.store(false, Ordering::Release);
    }
}

/// Every commit leaves a version behind, and pieces to be merged. Merging that fails may be why there is a new generation:
/// it must not be why there is none.
fn tidy(next: &Live) -> Result<(), Error> {
    next.index.reclaim()?;
    if let Err(error) = next.index.upkeep() {
        tracing::warn!(%error, "pieces of the new generation are merged later");
    }
    Ok(())
}

impl Inner {
    /// Rebuilds beside the live generation where there is room for both, else in its place.
    pub(crate) fn rebuild(self: &Arc<Self>, progress: &mut dyn FnMut(ProgressMark)) -> Result<RebuildReport, Error> {
        match self.how_to_rebuild() {
            Some(Rebuild::Beside) => self.rebuild_as(Rebuild::Beside, progress),
            Some(Rebuild::InPlace) => {
                tracing::warn!("there is no room for a second generation: the index is made anew in its place");
                let before = self.indexing.lock().expect(POISON).tally();
                let mut report = self.rebuild_as(Rebuild::InPlace, progress)?;
                self.sync(false, progress)?;
                let after = self.indexing.lock().expect(POISON).tally();
                report.files = after.files_indexed - before.files_indexed;
                report.rows = after.rows_upserted - before.rows_upserted;
                Ok(report)
            }
            None => {
                Err(Error::Paused(self.what_to_free(self.look_at_index().value.map_or(0, |seen| seen.info.live_bytes))))
            }
        }
    }

    pub(crate) fn rebuild_as(
        &self,
        how: Rebuild,
        progress: &mut dyn FnMut(ProgressMark),
    ) -> Result<RebuildReport, Error> {
        {
            let _guard = self.upkeep.generations.lock().expect(POISON);
            if self.rebuilding.swap(true, Ordering::AcqRel) {
                return Err(Error::Busy("a rebuild is running already".into()));
            }
        }
        // Also when this thread panics: nobody else may build before it is put down.
        let _running = Running(self);
        let result = match how {
            Rebuild::Beside => {
                // Until the swap, the live generation makes do with half of what is left.
                self.live().index.set_budget(self.generation_budget(2));
                self.rebuild_alone(progress)
            }
            Rebuild::InPlace => self.rebuild_in_place(),
        };
        if result.is_err() {
            // Half a generation is worth nothing; what was embedded for it is in the cache.
            remove_other_generations(&self.layout, &self.live());
        }
        self.keep_budget();
        result
    }

    /// Makes an empty generation the live one, and has everything swept into it.
    fn rebuild_in_place(&self) -> Result<RebuildReport, Error> {
        let started = self.world.monotonic();
        let model = self.embedder.as_ref().map(Embedding::model);
        self.layout.prepare()?;
        let mut unflushed = self.indexing.lock().expect(POISON);
        let next = Arc::new(Live::create(&self.layout, self.world.as_ref(), self.indexes.as_ref(), model)?);
        self.reach("rebuild.emptied")?;
        // From here on the ledger knows nothing; whoever opens the root after a crash sees that, and sweeps.
        self.ledger().clear()?;
        self.bind(&next)?;
        self.layout.swing(self.world.as_ref(), next.generation)?;
        unflushed.abandon();
        *self.live.write().expect(POISON) = Arc::clone(&next);
        self.rebuild_wanted.store(false, Ordering::Release);
        self.upkeep.is_filling.store(true, Ordering::Release);
        self.upkeep.losses_mended.store(next.index.losses(), Ordering::Release);
        self.upkeep.rows_are_missing.store(false, Ordering::Release);
        drop(unflushed);
        remove_other_generations(&self.layout, &next);
        {
            let mut sweeps = self.reconciling.lock().expect(POISON);
            sweeps.forget();
            self.publish(&sweeps);
        }
        self.tasks.reconcile.ring();
        Ok(RebuildReport {
            generation: next.generation.to_string(),
            took_ms: millis(self.world.monotonic() - started),
            ..RebuildReport::default()
        })
    }

    fn rebuild_alone(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<RebuildReport, Error> {
        let started = self.world.monotonic();
        let embedded_before = self.texts_sent();
        let model = self.embedder.as_ref().map(Embedding::model);
        self.layout.prepare()?;
        let next = Live::create(&self.layout, self.world.as_ref(), self.indexes.as_ref(), model)?;
        next.index.set_budget(self.generation_budget(2));
        let mut report = RebuildReport { generation: next.generation.to_string(), ..RebuildReport::default() };
        let paths = self.scan_memories()?;
        let total = paths.len() as u64;
        let mut copied: HashMap<String, Digest32> = HashMap::new();
        let mut unflushed = 0;
        // The long part: nothing is locked, edits and searches go on with the old generation.
        for (done, path) in paths.iter().enumerate() {
            if self.is_closing() {
                return Err(Error::Busy("the daemon is shutting down; the rebuild will start anew".into()));
            }
            progress(ProgressMark { done: done as u64, total });
            let Ok(Some((digest, reading))) = self.read_memories(path) else { continue };
            report.files += 1;
            copied.insert(path.clone(), digest);
            for chunk in in_chunks(reading.memories, self.settings.flush_rows_max) {
                let rows = self.whole_rows(chunk, &next)?;
                report.rows += rows.len() as u64;
                unflushed += rows.len();
                next.index.upsert(rows)?;
                if unflushed >= self.settings.flush_rows_max {
                    next.index.flush()?;
                    tidy(&next)?;
                    unflushed = 0;
                }
            }
            self.reach("rebuild.file")?;
        }
        next.index.flush()?;
        tidy(&next)?;
        // The short part, as the only writer: what was edited meanwhile is brought over, then the swap.
        let mut unflushed = self.indexing.lock().expect(POISON);
        if let Err(error) = self.flush_held(&mut unflushed) {
            // The old generation takes no more writes. What it did not get was not recorded either, so it counts as changed.
            tracing::warn!(%error, "the old generation could not be completed");
            unflushed.abandon();
        }
        report.rows += self.bring_over(&next, &copied)?;
        report.rows += self.keep_last_good(&next)?;
        let next = Arc::new(next);
        self.reach("rebuild.swap")?;
        self.bind(&next)?;
        if let Err(error) = self.layout.swing(self.world.as_ref(), next.generation) {
            // Nothing but the binding has changed. While it is wrong, whoever opens the root reads every file again.
            self.bind(&self.live())?;
            return Err(error.into());
        }
        *self.live.write().expect(POISON) = Arc::clone(&next);
        self.rebuild_wanted.store(false, Ordering::Release);
        self.upkeep.losses_mended.store(next.index.losses(), Ordering::Release);
        self.upkeep.rows_are_missing.store(false, Ordering::Release);
        drop(unflushed);
        remove_other_generations(&self.layout, &next);
        // What was copied from files that the ledger knew otherwise may be gone before they are looked at.
        self.strays_possible.store(true, Ordering::Release);
        {
            let mut sweeps = self.reconciling.lock().expect(POISON);
            sweeps.forget();
            self.publish(&sweeps);
        }
        self.tasks.reconcile.ring();
        progress(ProgressMark { done: total, total });
        report.texts_embedded = self.texts_sent() - embedded_before;
        report.took_ms = millis(self.world.monotonic() - started);
        Ok(report)
    }

    /// Notes that what the ledger says is indexed is indexed in this generation.
    fn bind(&self, live: &Live) -> Result<(), Error> {
        let binding = Binding { root_id: self.identity.root_id.clone(), generation: live.generation.to_string() };
        Ok(self.ledger().bind(&binding)?)
    }

    /// Makes a new generation hold exactly what the ledger says the files hold now, given what was copied from which
    /// content. Call it as the only writer. Returns how many rows it wrote.
    fn bring_over(&self, next: &Live, copied: &HashMap<String, Digest32>) -> Result<u64, Error> {
        let ledger = self.ledger();
        let mut stale: HashSet<String> = copied.keys().cloned().collect();
        let mut changed = Vec::new();
        ledger.files("", &mut |row| {
            if copied.get(&row.path) == Some(&row.known.digest) {
                stale.remove(&row.path);
            } else {
                changed.push(row.path.clone());
            }
        })?;
        stale.extend(changed.iter().cloned());
        if stale.is_empty() {
            return Ok(0);
        }
        let mut extra: HashSet<MemoryKey> = HashSet::new();
        next.index.scan(&mut |key, path, _| {
            if stale.contains(path) {
                extra.insert(key);
            }
        })?;
        let mut written = 0;
        for path in &changed {
            let Ok(Some((_, reading))) = self.read_memories(path) else { continue };
            for memory in &reading.memories {
                extra.remove(&memory.key());
            }
            let rows = self.whole_rows(reading.memories, next)?;
            written += rows.len() as u64;
            next.index.upsert(rows)?;
        }
        let extra: Vec<MemoryKey> = extra.into_iter().collect();
        next.index.remove(&extra)?;
        next.index.flush()?;
        Ok(written)
    }

    /// Takes rows over whose entries cannot be read any more in their files: the last good row is all there is of them. What the
    /// old generation cannot give either, the ledger forgets with its file, which is then read as a new one. Call it as the
    /// only writer. Returns how many rows it wrote.
    fn keep_last_good(&self, next: &Live) -> Result<u64, Error> {
        let mut held: HashSet<MemoryKey> = HashSet::new();
        next.index.scan(&mut |key, _, _| {
            held.insert(key);
        })?;
        let ledger = self.ledger();
        let mut paths = Vec::new();
        ledger.files("", &mut |row| paths.push(row.path))?;
        let old = self.live();
        let (mut rows, mut forgotten) = (Vec::new(), Vec::new());
        for path in paths {
            let missing = ledger.entries(&path)?.into_iter().map(|entry| entry.key).filter(|key| !held.contains(key));
            for key in missing {
                let found = old.index.fetch(&key.owner, key.kind, std::slice::from_ref(&key.id)).unwrap_or_default();
                match found.into_iter().next() {
                    Some(memory) if memory.path == path => rows.push(memory),
                    Some(_) | None => forgotten.push(path.clone()),
                }
            }
        }
        forgotten.dedup();
        ledger.forget(&forgotten)?;
        let rows = self.whole_rows(rows, next)?;
        let n_rows = rows.len() as u64;
        next.index.upsert(rows)?;
        next.index.flush()?;
        Ok(n_rows)
    }

    /// Makes rows with all their vectors, or none: a new generation must not be poorer than the old one. What was embedded
    /// stays in the cache, so that the next attempt goes on where this one stopped.
    fn whole_rows(&self, memories: Vec<Memory>, next: &Live) -> Result<Vec<Indexable>, Error> {
        match self.indexables(memories, next) {
            (rows, None) => Ok(rows),
            (_, Some(refused)) => Err(Error::Busy(format!("the rebuild stopped: {}", refused.retry.message))),
        }
    }

    /// Removes rows that no file holds: left over when the ledger was lost but the index was kept, or copied from a file that
    /// went before anybody noted what it held.
    pub(crate) fn purge_strays(&self) -> Result<u64, Error> {
        // Looked for while others write: with a million rows that takes a while. Those that are found are looked at again as the
        // only writer, with nothing on its way.
        let suspects = self.suspected_strays()?;
        if suspects.is_empty() {
            return Ok(0);
        }
        let mut unflushed = self.writer()?;
        self.flush_held(&mut unflushed)?;
        let (ledger, live) = (self.ledger(), self.live());
        let mut strays = Vec::new();
        for key in suspects {
            let Some(row) = live.index.fetch(&key.owner, key.kind, std::slice::from_ref(&key.id))?.pop() else {
                continue;
            };
            if !ledger.entries(&row.path)?.iter().any(|entry| entry.key == key) {
                strays.push(key);
            }
        }
        for key in &strays {
            if !ledger.locate(key)?.is_empty() {
                // Another file holds it, and its row was this one's version.
                self.upkeep.rows_are_missing.store(true, Ordering::Release);
                break;
            }
        }
        if !strays.is_empty() {
            live.index.remove(&strays)?;
            live.index.flush()?;
        }
        drop(unflushed);
        Ok(strays.len() as u64)
    }

    /// Returns rows that no file seems to hold.
    fn suspected_strays(&self) -> Result<Vec<MemoryKey>, Error> {
        let ledger = self.ledger();
        let mut paths = Vec::new();
        ledger.files("", &mut |row| paths.push(row.path))?;
        // Known by fingerprint: a million keys would take hundreds of megabytes. Two that share one hide a stray, with a chance
        // of 2^-64 a pair.
        let fingerprints = BuildHasherDefault::<DefaultHasher>::default();
        let mut held = HashSet::new();
        for path in &paths {
            held.extend(ledger.entries(path)?.iter().map(|entry| fingerprints.hash_one((path.as_str(), &entry.key))));
        }
        let mut suspects = Vec::new();
        self.live().index.scan(&mut |key, path, _| {
            if !held.contains(&fingerprints.hash_one((path, &key))) {
                suspects.push(key);
            }
        })?;
        Ok(suspects)
    }
}
