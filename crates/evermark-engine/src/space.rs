//! Room on the disk, as the engine sees it: how much there is, what the index takes of it, and what its budget is.
//!
//! The bound holds for everything below `.index/evermark`: `ratio × live + slack`, and the cap. Its slack has parts that are
//! handed out here: the ballast, the ledger's, and the rest, which the live generation keeps to on every write.

use crate::engine::Inner;
use crate::error::Error;
use crate::maintenance::{Ballast, BudgetStatus, LedgerFootprint, Space, VolumeStatus};
use evermark_core::error::ErrorKind;
use evermark_core::index::{Due, IndexInfo};
use evermark_core::maintenance::Budget;
use evermark_core::maintenance::plan::{Policy, Weight, assess};
use evermark_core::maintenance::space::{Level, Volume};
use evermark_store::ledger::size::Size;
use evermark_store::space::{Footprint, deleted_open_bytes, footprint, share_volume, volume};
use std::sync::atomic::Ordering;

const MIB: u64 = 1 << 20;

/// The ledger's part of the slack: its log and its free pages.
const LEDGER_SHARE: u64 = 16 * MIB;
/// Smaller reserves are of no use.
const BALLAST_MIN: u64 = MIB;

/// What the index said of itself.
#[derive(Clone, Debug)]
pub(crate) struct IndexSeen {
    pub(crate) info: IndexInfo,
    pub(crate) due: Option<Due>,
    pub(crate) losses: u64,
}

impl IndexSeen {
    pub(crate) fn weight(&self) -> Weight {
        Weight {
            allocated_bytes: self.info.allocated_bytes,
            live_bytes: self.info.live_bytes,
            dead_bytes: self.info.dead_bytes,
            orphan_bytes: self.info.orphan_bytes,
            held_bytes: self.info.held_bytes,
            versions: self.info.versions,
        }
    }
}

/// Everything below the index's folder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) total_bytes: u64,
    pub(crate) deleted_open_bytes: u64,
}

impl Inner {
    /// Returns the numbers that upkeep goes by, with a ballast that suits them.
    pub(crate) fn upkeep_policy(&self) -> Policy {
        let policy = self.settings.upkeep;
        let fits = policy.budget.cap_bytes.map_or(u64::MAX, |cap| cap / 16).min(policy.budget.slack_bytes / 3);
        let ballast_bytes = policy.ballast_bytes.min(fits);
        Policy { ballast_bytes: if ballast_bytes < BALLAST_MIN { 0 } else { ballast_bytes }, ..policy }
    }

    /// Returns what the index's volume has left; `None` when it does not say.
    pub(crate) fn index_volume(&self) -> Option<Volume> {
        // Until the folder is there, the root is where it will be.
        let dir = self.layout.index_dir();
        volume(self.world.as_ref(), &dir).or_else(|_| volume(self.world.as_ref(), self.layout.root())).ok()
    }

    pub(crate) fn level(&self) -> Level {
        self.index_volume().map_or(Level::Ample, |volume| self.settings.upkeep.watermarks.level(&volume))
    }

    /// Weighs everything below the index's folder. What its parts say of themselves is believed where it is more.
    pub(crate) fn whole(&self, index: Option<&IndexSeen>) -> Whole {
        let dir = self.layout.index_dir();
        let deleted_open_bytes = deleted_open_bytes(&dir);
        let Footprint { bytes, .. } = footprint(&dir);
        let parts =
            index.map_or(0, |seen| seen.info.allocated_bytes) + self.ledger().size_bytes() + self.ballast().bytes();
        Whole { total_bytes: bytes.saturating_add(deleted_open_bytes).max(parts), deleted_open_bytes }
    }

    /// Asks the index what it weighs, without waiting for ever.
    pub(crate) fn look_at_index(&self) -> crate::probe::Seen<IndexSeen> {
        let live = self.live();
        self.upkeep.index.ask(&self.world, self.settings.status_limit, move || {
            let (info, due, losses) = (live.index.info()?, live.index.due()?, live.index.losses());
            Ok(IndexSeen { info, due, losses })
        })
    }

    /// Asks the ledger what it takes, without waiting for ever.
    pub(crate) fn look_at_ledger_size(&self) -> crate::probe::Seen<Size> {
        let ledger = self.ledger();
        self.upkeep.ledger_size.ask(&self.world, self.settings.status_limit, move || Ok(ledger.size()?))
    }

    /// Hands the live generation its part of the budget. Cheap; to be called whenever one of the parts has changed.
    pub(crate) fn keep_budget(&self) {
        self.live().index.set_budget(self.generation_budget(1));
    }

    /// Returns what one of so many generations may come to.
    pub(crate) fn generation_budget(&self, generations: u64) -> Budget {
        let policy = self.upkeep_policy();
        let ledger = LEDGER_SHARE.min(policy.budget.slack_bytes / 12);
        let slack = policy.budget.slack_bytes.saturating_sub(policy.ballast_bytes).saturating_sub(ledger);
        let beside = self.ledger().size_bytes().saturating_add(self.ballast().bytes());
        Budget {
            ratio: 1.0,
            slack_bytes: slack / generations,
            // Two generations have to share what is below it.
            cap_bytes: policy.budget.cap_bytes.map(|cap| cap.saturating_sub(beside) / generations),
        }
    }

    /// Returns what counts as live: what the newest version refers to, and the ledger's used pages.
    pub(crate) fn live_bytes(index: Option<&IndexSeen>, ledger: Option<&Size>) -> u64 {
        let index = index.map_or(0, |seen| seen.info.live_bytes);
        index.saturating_add(ledger.map_or(0, |size| size.used_bytes))
    }

    pub(crate) fn budget_status(&self, total_bytes: u64, live_bytes: u64) -> BudgetStatus {
        let Budget { ratio, slack_bytes, cap_bytes } = self.settings.upkeep.budget;
        let assessment = assess(total_bytes, live_bytes, &self.settings.upkeep.budget);
        BudgetStatus {
            ratio,
            slack_bytes,
            cap_bytes,
            live_bytes,
            bound_bytes: assessment.bound_bytes,
            headroom_bytes: assessment.headroom_bytes,
            over_bound_rounds: self.upkeep.over_bound_rounds.load(Ordering::Acquire),
        }
    }

    pub(crate) fn ballast_status(&self) -> Ballast {
        Ballast {
            bytes: self.ballast().bytes(),
            wanted_bytes: self.upkeep_policy().ballast_bytes,
            released_times: self.upkeep.released.load(Ordering::Acquire),
        }
    }

    pub(crate) fn space_status(&self) -> Space {
        let (root, dir) = (self.layout.root(), self.layout.index_dir());
        let other = dir.exists() && !share_volume(root, &dir);
        Space { index: self.volume_status(&dir), root: other.then(|| self.volume_status(root)) }
    }

    fn volume_status(&self, path: &std::path::Path) -> VolumeStatus {
        let known = volume(self.world.as_ref(), path).or_else(|_| volume(self.world.as_ref(), self.layout.root()));
        let (is_unknown, volume) = (known.is_err(), known.unwrap_or_default());
        let marks = self.settings.upkeep.watermarks;
        VolumeStatus {
            path: path.display().to_string(),
            level: if is_unknown { Level::Ample } else { marks.level(&volume) },
            free_bytes: volume.free_bytes,
            total_bytes: volume.total_bytes,
            free_inodes: volume.free_inodes,
            total_inodes: volume.total_inodes,
            is_read_only: volume.is_read_only,
            low_bytes: marks.low.bytes_of(&volume),
            out_bytes: marks.out.bytes_of(&volume),
            low_inodes: marks.low.inodes_of(&volume),
            out_inodes: marks.out.inodes_of(&volume),
            is_unknown,
        }
    }

    /// Notes that something found no space: what is in reserve is given up, and upkeep reclaims at once.
    pub(crate) fn space_was_refused(&self) {
        self.upkeep.space_was_refused.store(true, Ordering::Release);
        if let Err(error) = self.release_ballast() {
            tracing::warn!(%error, "the reserve could not be given up");
        }
        self.tasks.beat.ring();
    }

    pub(crate) fn ballast(&self) -> evermark_store::space::Ballast {
        evermark_store::space::Ballast::at(self.layout.ballast_file())
    }

    pub(crate) fn release_ballast(&self) -> Result<u64, Error> {
        let bytes = self.ballast().release()?;
        if bytes > 0 {
            self.upkeep.released.fetch_add(1, Ordering::AcqRel);
            tracing::warn!(bytes, "the disk is short of space: the reserve was given up");
        }
        Ok(bytes)
    }

    /// Turns a failure for want of space into one that says what to free. `needed_bytes` is what was to be written.
    pub(crate) fn explaining_space<T>(&self, result: Result<T, Error>, needed_bytes: u64) -> Result<T, Error> {
        match result {
            Err(error) if error.kind() == ErrorKind::NoSpace && !matches!(error, Error::Full { .. }) => {
                let message = self.what_to_free(needed_bytes);
                self.space_was_refused();
                Err(Error::Full { message, source: Box::new(error) })
            }
            other => other,
        }
    }

    /// Returns a sentence about what is full and what could be freed.
    pub(crate) fn what_to_free(&self, needed_bytes: u64) -> String {
        let root = self.layout.root();
        let mut text = match volume(self.world.as_ref(), root) {
            Ok(volume) => {
                let inodes = if volume.total_inodes > 0 {
                    format!(" and {} of {} inodes", volume.free_inodes, volume.total_inodes)
                } else {
                    String::new()
                };
                format!(
                    "there is no room on the volume of {}: {} of {} bytes{inodes} are free, and about {needed_bytes} bytes are needed",
                    root.display(),
                    volume.free_bytes,
                    volume.total_bytes,
                )
            }
            Err(_) => {
                format!("there is no room on the volume of {}: about {needed_bytes} bytes are needed", root.display())
            }
        };
        let ballast = self.ballast().bytes();
        if ballast > 0 {
            text.push_str(&format!("; {ballast} bytes in reserve are being given up, so try again in a moment"));
        }
        // The last answer will do: nobody waits for a sentence.
        let index = self.look_at_index().value.map(|seen| seen.weight());
        let reclaimable = index.map_or(0, |weight| weight.orphan_bytes.saturating_add(weight.dead_bytes));
        if reclaimable > 0 {
            text.push_str(&format!("; `evermark index prune` and `compact` can give back up to {reclaimable} bytes"));
        }
        text.push_str("; free some space there and send the request again");
        text
    }
}

/// Returns what is shown of a ledger's size.
pub(crate) fn ledger_footprint(size: Option<&Size>) -> LedgerFootprint {
    size.map_or_else(LedgerFootprint::default, |size| LedgerFootprint {
        allocated_bytes: size.allocated_bytes,
        used_bytes: size.used_bytes,
        free_bytes: size.free_bytes,
        wal_bytes: size.wal_bytes,
    })
}
