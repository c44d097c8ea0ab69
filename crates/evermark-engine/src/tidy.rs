//! Clearing away what belongs to nothing: generations that are not live, rows and embeddings that nobody refers to.

use crate::embedding::Embedding;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::steps::Done;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use evermark_store::durable;
use evermark_store::space::footprint;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Embeddings are collected when there are this many times as many as texts that could use them, and so many more.
const COLLECT_RATIO: u64 = 2;
const COLLECT_SPARE: u64 = 1000;
/// ... and at most this often: it reads every file.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);

/// A damaged ledger that was moved aside is kept for whoever wants to look at it, while it is no larger than this.
const ASIDE_BYTES_MAX: u64 = 16 << 20;

impl Inner {
    /// Counts generations that are not live, and damaged ledgers too large to be kept.
    pub(crate) fn debris(&self) -> u64 {
        if self.rebuilding.load(Ordering::Acquire) {
            return 0;
        }
        let live = self.live().generation;
        let generations = self.layout.generations().unwrap_or_default();
        let others = generations.into_iter().filter(|generation| *generation != live).count();
        others as u64 + self.large_asides().len() as u64
    }

    /// Removes what [`Self::debris`] counts.
    pub(crate) fn clear_debris(&self) -> Result<Done, Error> {
        let dir = self.layout.index_dir();
        let before = footprint(&dir).bytes;
        {
            // Nobody begins a rebuild meanwhile: its generation is not the live one either.
            let _guard = self.upkeep.generations.lock().expect(POISON);
            if !self.rebuilding.load(Ordering::Acquire) {
                crate::open::remove_other_generations(&self.layout, &self.live());
            }
        }
        for aside in self.large_asides() {
            durable::remove(&aside)?;
        }
        Ok(Done { freed_bytes: before.saturating_sub(footprint(&dir).bytes), ..Done::default() })
    }

    fn large_asides(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.layout.index_dir()) else { return Vec::new() };
        let is_aside = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("ledger.db.corrupt-") && evermark_store::space::file_bytes(path) > ASIDE_BYTES_MAX
        };
        entries.flatten().map(|entry| entry.path()).filter(is_aside).collect()
    }

    /// Removes rows that no file holds, once every file has been looked at after the ledger was lost.
    pub(crate) fn purge_strays_when_caught_up(&self) -> Result<(), Error> {
        let wanted = self.strays_possible.load(Ordering::Acquire) || self.upkeep.is_filling.load(Ordering::Acquire);
        if !wanted || !self.caught_up()? {
            return Ok(());
        }
        self.upkeep.is_filling.store(false, Ordering::Release);
        // Taken back first: whoever doubts meanwhile is heard by the next round.
        if self.strays_possible.swap(false, Ordering::AcqRel) {
            match self.purge_strays() {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "rows that no file holds were removed from the index"),
                Err(error) => {
                    self.strays_possible.store(true, Ordering::Release);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Drops embeddings that no memory refers to, when they have become many. Reads every file first: with one of them
    /// unreadable, nothing is dropped.
    pub(crate) fn collect_embeddings(&self) -> Result<(), Error> {
        let Some(shelf) = self.embedder.as_ref().and_then(Embedding::shelf) else { return Ok(()) };
        let now = self.world.monotonic();
        if self.collected_at.lock().expect(POISON).is_some_and(|at| now < at + COLLECT_INTERVAL) {
            return Ok(());
        }
        if shelf.stats().entries < self.ledger().n_entries()? * COLLECT_RATIO + COLLECT_SPARE {
            return Ok(());
        }
        *self.collected_at.lock().expect(POISON) = Some(now);
        // What is embedded from here on is kept, whatever the files said before.
        shelf.begin_collect();
        let mut live = HashSet::new();
        for path in self.scan_memories()? {
            match self.read_memories(&path) {
                Ok(Some((_, reading))) => {
                    let texts = reading.memories.iter().filter_map(|memory| memory.body.embed_text());
                    live.extend(texts.map(|text| Digest32::of(text.as_bytes())));
                }
                Ok(None) => {}
                Err(problem) => {
                    tracing::info!(path = problem.path, "unused embeddings are kept while a file cannot be read");
                    return Ok(());
                }
            }
        }
        match shelf.collect(&|key| live.contains(key)) {
            Ok(collected) => tracing::info!(?collected, "embeddings that nothing refers to were dropped"),
            Err(error) => tracing::warn!(%error, "embeddings that nothing refers to could not be dropped"),
        }
        Ok(())
    }

    pub(crate) fn has_other_model(&self) -> bool {
        // Without a provider the vectors that are there stay: it may be back tomorrow.
        self.embedder.as_ref().map(Embedding::model).is_some_and(|model| !self.live().has_vectors_of(model))
    }

    /// Has the index rebuilt when a result says that it is damaged.
    pub(crate) fn noticing_damage<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Index(error)) = &result
            && error.kind() == ErrorKind::Corrupt
        {
            tracing::warn!(%error, "the index is damaged: it will be rebuilt from the Markdown");
            self.rebuild_wanted.store(true, Ordering::Release);
            self.tasks.beat.ring();
        }
        result
    }

    /// Tells whether a whole sweep has been made and nothing waits to be indexed.
    fn caught_up(&self) -> Result<bool, Error> {
        // Not the sweeps' own lock: a sweep may take long, or hang, and upkeep must not wait for it.
        let swept = self.swept.lock().expect(POISON).at.is_some();
        let stats = self.ledger().job_stats()?;
        Ok(swept && stats.due == 0 && stats.leased == 0)
    }
}
