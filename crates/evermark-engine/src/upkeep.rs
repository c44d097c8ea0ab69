//! Keeping derived data small: the index's own upkeep after commits, and the embedding cache's collection now and then.

use crate::embedding::Embedding;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::tasks::Tick;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Commits between rounds of upkeep. Each leaves a version of a few kilobytes behind until then.
const COMMITS_PER_ROUND: u64 = 8;

/// Embeddings are collected when there are this many times as many as texts that could use them, and so many more.
const COLLECT_RATIO: u64 = 2;
const COLLECT_SPARE: u64 = 1000;
/// ... and at most this often: it reads every file.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);

impl Inner {
    /// Reclaims and compacts when enough has been committed since the last time. Does nothing, and writes nothing, otherwise.
    pub(crate) fn upkeep_tick(&self) -> Result<Tick, Error> {
        let idle = Tick::Idle(Duration::from_secs(3600));
        if self.rebuilding.load(Ordering::Acquire) {
            return Ok(Tick::Idle(Duration::from_secs(5)));
        }
        if self.needs_rebuild() {
            let report = self.rebuild(&mut |_| {})?;
            tracing::info!(?report, "a new generation of the index is live");
            return Ok(Tick::Worked);
        }
        if self.strays_possible.load(Ordering::Acquire) && self.caught_up()? {
            let removed = self.purge_strays()?;
            if removed > 0 {
                tracing::info!(removed, "rows that no file holds were removed from the index");
            }
            self.strays_possible.store(false, Ordering::Release);
        }
        self.collect_embeddings()?;
        let flushes = self.indexing.lock().expect(POISON).flushes;
        if flushes < self.upkept_at.load(Ordering::Acquire) + COMMITS_PER_ROUND {
            return Ok(idle);
        }
        let done = self.noticing_damage(self.live().index.upkeep().map_err(Error::from))?;
        self.upkept_at.store(flushes, Ordering::Release);
        tracing::debug!(?done, "upkeep");
        Ok(idle)
    }

    /// Reclaims what this process left behind, so that a root used only by short commands stays small too.
    pub(crate) fn upkeep_at_close(&self) -> Result<(), Error> {
        let flushes = self.indexing.lock().expect(POISON).flushes;
        if flushes > self.upkept_at.swap(flushes, Ordering::AcqRel) {
            self.live().index.upkeep()?;
        }
        Ok(())
    }

    /// Drops embeddings that no memory refers to, when they have become many. Reads every file first: with one of them
    /// unreadable, nothing is dropped.
    fn collect_embeddings(&self) -> Result<(), Error> {
        let Some(shelf) = self.embedder.as_ref().and_then(Embedding::shelf) else { return Ok(()) };
        let now = self.world.monotonic();
        if self.collected_at.lock().expect(POISON).is_some_and(|at| now < at + COLLECT_INTERVAL) {
            return Ok(());
        }
        let entries: u64 = self.ledger().counts()?.entries_by.iter().map(|(_, n)| n).sum();
        if shelf.stats().entries < entries * COLLECT_RATIO + COLLECT_SPARE {
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

    /// Tells whether the live generation is damaged, or its vectors are not those of the configured model.
    pub(crate) fn needs_rebuild(&self) -> bool {
        // Without a provider the vectors that are there stay: it may be back tomorrow.
        let other_model =
            self.embedder.as_ref().map(Embedding::model).is_some_and(|model| !self.live().has_vectors_of(model));
        self.rebuild_wanted.load(Ordering::Acquire) || other_model
    }

    /// Has the index rebuilt when a result says that it is damaged.
    pub(crate) fn noticing_damage<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Index(error)) = &result
            && error.kind() == ErrorKind::Corrupt
        {
            tracing::warn!(%error, "the index is damaged: it will be rebuilt from the Markdown");
            self.rebuild_wanted.store(true, Ordering::Release);
            self.tasks.upkeep.ring();
        }
        result
    }

    /// Tells whether a whole sweep has been made and nothing waits to be indexed.
    fn caught_up(&self) -> Result<bool, Error> {
        let swept = self.reconciling.lock().expect(POISON).age(self.world.monotonic()).is_some();
        let stats = self.ledger().job_stats()?;
        Ok(swept && stats.due == 0 && stats.leased == 0)
    }
}
