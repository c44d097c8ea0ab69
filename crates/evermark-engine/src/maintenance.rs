//! What the engine says of its upkeep: bytes and their bound, steps and their failures, the disk, the loops.
//!
//! Shown as the `index` block of `/health`, in metrics, and by `evermark index status`. Bytes are bytes of disk: allocated
//! blocks, deleted files that are still open included. Ages count from the moment the status was made.

use evermark_core::error::ErrorKind;
use evermark_core::index::Quarantined;
use evermark_core::maintenance::plan::Step;
use evermark_core::maintenance::space::Level;

/// Everything about upkeep.
#[derive(Clone, Debug, PartialEq)]
pub struct Maintenance {
    /// One per table of the live generation, then those of a generation that is being built.
    pub tables: Vec<TableFootprint>,
    /// The sum of `tables`.
    pub total: TableFootprint,
    pub ledger: LedgerFootprint,
    pub ballast: Ballast,
    /// Below the index's folder and none of the above: `CURRENT`, temporaries, a damaged ledger that was moved aside.
    pub other_bytes: u64,
    /// Everything below the index's folder, deleted files that this process still holds open included.
    pub allocated_bytes: u64,
    pub deleted_open_bytes: u64,
    pub budget: BudgetStatus,
    /// What the Markdown takes, as of the last sweep.
    pub markdown_bytes: u64,
    pub markdown_files: u64,
    /// `allocated_bytes` without the ballast, per byte of Markdown; `None` while there is no Markdown.
    pub index_to_markdown_ratio: Option<f64>,
    /// All steps, in the order in which a round takes them.
    pub steps: Vec<StepStatus>,
    /// Rounds so far, and how long ago the last one ended.
    pub beats: u64,
    pub last_beat_age_ms: Option<u64>,
    pub space: Space,
    pub writes: Writes,
    pub descriptors: Descriptors,
    /// Pieces that were damaged and taken out, newest last; at most the index's own limit of them.
    pub quarantine: Vec<Quarantined>,
    /// How often rows left the index by damage, and whether they have all been written again.
    pub losses: u64,
    pub repair_pending: bool,
    pub loops: Vec<LoopStatus>,
    /// How old what is shown of the ledger is; `None` when it is of now.
    pub ledger_age_ms: Option<u64>,
    /// How old what is shown of the index is; `None` when it is of now.
    pub index_age_ms: Option<u64>,
}

/// What one table weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFootprint {
    pub name: String,
    /// The generation it belongs to.
    pub generation: String,
    pub rows: u64,
    pub allocated_bytes: u64,
    /// What the newest version refers to, and the part of it that merging would give back.
    pub live_bytes: u64,
    pub dead_bytes: u64,
    /// Superseded, until reclaimed; and superseded, until a reader lets go.
    pub orphan_bytes: u64,
    pub held_bytes: u64,
    pub versions: u64,
    pub fragments: u64,
    /// Rows that no search structure covers: always 0 here, as searches run on views that hold every row.
    pub unindexed_rows: u64,
    /// Rows accepted and searchable, and not yet on the disk.
    pub pending_rows: u64,
    /// What this table may come to now.
    pub bound_bytes: Option<u64>,
    pub readers: u64,
    pub oldest_reader_ms: Option<u64>,
}

/// What the ledger weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerFootprint {
    pub allocated_bytes: u64,
    /// Pages that hold something.
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub wal_bytes: u64,
}

/// The file in reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ballast {
    pub bytes: u64,
    /// What it should have; 0 when none is wanted.
    pub wanted_bytes: u64,
    pub released_times: u64,
}

/// The bound, and how far away it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BudgetStatus {
    pub ratio: f64,
    pub slack_bytes: u64,
    pub cap_bytes: Option<u64>,
    /// What counts as live: the larger generation, and the ledger's used pages.
    pub live_bytes: u64,
    pub bound_bytes: u64,
    /// 0 at and above the bound.
    pub headroom_bytes: u64,
    /// Rounds in a row that ended above the bound.
    pub over_bound_rounds: u32,
}

/// How one step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepStatus {
    pub step: Step,
    pub runs: u64,
    pub failures: u64,
    /// Failures since the last success.
    pub streak: u64,
    pub last_success_age_ms: Option<u64>,
    pub last_error: Option<StepError>,
    /// How long it has been running, while it runs.
    pub running_ms: Option<u64>,
    /// It has not answered within its limit: it is left alone, and not started again until it has ended.
    pub is_hung: bool,
    pub panics: u64,
    /// What all its runs did: bytes freed, or written, as the step has it.
    pub freed_bytes: u64,
    pub written_bytes: u64,
}

/// Why a step failed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    pub kind: ErrorKind,
    pub message: String,
    pub age_ms: u64,
}

/// What the disk has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The volume of the index.
    pub index: VolumeStatus,
    /// The volume of the Markdown, where it is another one.
    pub root: Option<VolumeStatus>,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStatus {
    pub path: String,
    pub level: Level,
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub free_inodes: u64,
    /// 0 where there is no fixed number of them.
    pub total_inodes: u64,
    pub is_read_only: bool,
    /// Below these, nothing is rewritten; and the index takes no writes.
    pub low_bytes: u64,
    pub out_bytes: u64,
    pub low_inodes: u64,
    pub out_inodes: u64,
    /// It would not say; everything else here is 0 and means nothing.
    pub is_unknown: bool,
}

/// Whether the index takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    Going,
    Paused(Pause),
}

/// Why the index takes none. Jobs wait; nothing of them fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub why: Why,
    pub message: String,
    pub since_ms: u64,
}

/// The sorts of pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The volume is nearly full, or cannot be written.
    SpaceOut,
    ReadOnly,
    /// `index.bytes_max` is reached by what is live.
    CapReached,
    /// A write was refused for want of space.
    Refused,
    /// A write failed, or one hangs: nothing more is taken on until it is through.
    Failing,
}

impl Why {
    /// Returns the name used in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpaceOut => "space_out",
            Self::ReadOnly => "read_only",
            Self::CapReached => "index_cap_reached",
            Self::Refused => "refused",
            Self::Failing => "failing",
        }
    }
}

/// File descriptors of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// `None` where the system does not tell.
    pub used: Option<u64>,
    pub limit: Option<u64>,
}

/// How one background loop does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopStatus {
    pub name: &'static str,
    /// How long its present round has taken; `None` while it waits for the next.
    pub ticking_ms: Option<u64>,
    pub is_stuck: bool,
    /// How often it panicked and was started again.
    pub restarts: u64,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    pub dry_run: bool,
    pub versions: u64,
    pub files: u64,
    pub freed_bytes: u64,
    /// What everything below the index's folder came to, before and after.
    pub before_bytes: u64,
    pub after_bytes: u64,
    /// Parts that failed; the others were done all the same.
    pub failures: Vec<StepFailure>,
}

/// What merging did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    pub dry_run: bool,
    /// Groups merged, and the pieces in them.
    pub groups: u64,
    pub pieces: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub quarantined: u64,
    pub freed_bytes: u64,
    pub before_bytes: u64,
    pub after_bytes: u64,
    /// Why there is more to merge than was merged, if so.
    pub held: Option<String>,
    pub failures: Vec<StepFailure>,
}

/// A part of a verb that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    pub step: Step,
    pub kind: ErrorKind,
    pub message: String,
}
