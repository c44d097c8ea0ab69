//! Keeping derived data small: the index's own upkeep after commits, and the embedding cache's collection now and then.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::tasks::Tick;
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
        let done = self.live().index.upkeep()?;
        self.upkept_at.store(flushes, Ordering::Release);
        tracing::debug!(?done, "upkeep");
        Ok(idle)
    }

    /// Tells whether a whole sweep has been made and nothing waits to be indexed.
    fn caught_up(&self) -> Result<bool, Error> {
        let swept = self.reconciling.lock().expect(POISON).age(self.world.monotonic()).is_some();
        let stats = self.ledger().job_stats()?;
        Ok(swept && stats.due == 0 && stats.leased == 0)
    }
}
