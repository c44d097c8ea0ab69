//! Which files wait to be indexed, and waiting for them.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::tasks::Tick;
use evermark_core::reconcile::Seen;
use evermark_store::jobs::{Fingerprint, NewJob, Priority, Reason};
use std::time::Duration;

impl Inner {
    /// Has a file compared with the index, before any backlog: somebody may wait for it.
    pub(crate) fn enqueue(&self, path: &str) -> Result<(), Error> {
        self.enqueue_all(&[Self::job_of(path, self.vault.look(path), Priority::Interactive)])
    }

    /// Returns the job of comparing a file with the index that was found like this.
    pub(crate) fn job_of(path: &str, seen: Seen, priority: Priority) -> NewJob {
        let (reason, fingerprint) = match seen {
            Seen::Present(stamp) => (Reason::Changed, Fingerprint::Stamp(stamp)),
            Seen::Absent { parent_listed: true } => (Reason::Gone, Fingerprint::Gone),
            // Not a file one can look at: the indexer will say what it is.
            Seen::Absent { parent_listed: false } | Seen::Unknown => (Reason::Changed, Fingerprint::Unknown),
        };
        NewJob { path: path.to_owned(), reason, priority, fingerprint }
    }

    pub(crate) fn enqueue_all(&self, jobs: &[NewJob]) -> Result<(), Error> {
        // Under this lock whoever claims the job finds it counted. A job that is there already for this very content is
        // counted already, or parked and nobody's to wait for.
        let mut pending = self.pending.lock().expect(POISON);
        let are_news = self.ledger().enqueue(jobs)?;
        for (job, _) in jobs.iter().zip(are_news).filter(|(_, is_news)| *is_news) {
            *pending.entry(job.path.clone()).or_default() += 1;
        }
        drop(pending);
        self.tasks.indexer.ring();
        Ok(())
    }

    /// As [`Self::enqueue`], for a file that was written a moment ago: if this fails, the sweep finds the file.
    pub(crate) fn enqueue_written(&self, path: &str) -> Result<(), Error> {
        if let Err(error) = self.enqueue(path) {
            tracing::warn!(path, %error, "the file is written but not enqueued; the next sweep will find it");
        }
        self.reach("add.enqueued")
    }

    /// Tells whether everything written to these files before the call can be searched.
    pub(crate) fn is_indexed(&self, paths: &[String]) -> bool {
        let pending = self.pending.lock().expect(POISON);
        paths.iter().all(|path| !pending.contains_key(path))
    }

    /// Helps indexing until these files can be searched, at most this long. Tells whether they can.
    pub(crate) fn wait_indexed(&self, paths: &[String], limit: Duration) -> Result<bool, Error> {
        let deadline = self.world.monotonic() + limit;
        loop {
            if self.is_indexed(paths) {
                return Ok(true);
            }
            if self.world.monotonic() >= deadline {
                return Ok(false);
            }
            let tick = match self.indexer_tick() {
                Ok(tick) => tick,
                // What was asked for is stored; that indexing it fails is not its sender's fault, and shown by the status.
                Err(error) => {
                    tracing::warn!(%error, "what was stored could not be indexed at once");
                    return Ok(self.is_indexed(paths));
                }
            };
            match tick {
                Tick::Worked => {}
                // What is left failed and waits for its next try, or the indexer's own thread has it.
                Tick::Idle(wait) => {
                    let rest = deadline.saturating_sub(self.world.monotonic());
                    self.tasks.applied.wait(wait.min(rest).min(Duration::from_millis(50)));
                }
            }
        }
    }

    /// Notes that what a file held when its job was claimed can be searched.
    pub(crate) fn applied(&self, path: &str, ticket: Option<u64>) {
        let mut pending = self.pending.lock().expect(POISON);
        if pending.get(path).copied() == ticket {
            pending.remove(path);
        }
        drop(pending);
        self.tasks.applied.ring();
    }
}
