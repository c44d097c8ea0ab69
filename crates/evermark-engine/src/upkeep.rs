//! Keeping derived data small: the index's own upkeep after commits, and the embedding cache's collection now and then.

use crate::embedding::Embedding;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::tasks::Tick;
use evermark_core::error::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Commits between rounds of upkeep. Each leaves a version of a few kilobytes behind until then.
const COMMITS_PER_ROUND: u64 = 8;

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
        let flushes = self.indexing.lock().expect(POISON).flushes;
        if flushes < self.upkept_at.load(Ordering::Acquire) + COMMITS_PER_ROUND {
            return Ok(idle);
        }
        let done = self.noticing_damage(self.live().index.upkeep().map_err(Error::from))?;
        self.upkept_at.store(flushes, Ordering::Release);
        tracing::debug!(?done, "upkeep");
        Ok(idle)
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
