//! The index as an operator sees it: bytes and their bound, steps and their failures, the disk, the loops.

use evermark_core::index::{IndexInfo, Quarantined};
use evermark_engine::maintenance::{
    BudgetStatus, Descriptors, LoopStatus, Maintenance, StepStatus, TableFootprint, VolumeStatus, Writes,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What the index holds and weighs, and how its upkeep does. Bytes are bytes of disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexInfo)]
pub struct IndexItem {
    /// Whether it answered when this was made; figures of rows and views are 0 and mean nothing otherwise.
    pub answers: bool,
    /// Rows by kind, unflushed ones included.
    pub rows: BTreeMap<String, u64>,
    /// Rows accepted but not yet durable.
    pub pending: u64,
    /// Width of the vectors; `null` when there are none.
    pub dimension: Option<usize>,
    pub versions: u64,
    pub fragments: u64,
    /// Everything below the index's folder, deleted files that are still open included: what the bound is about.
    pub allocated_bytes: u64,
    /// What the newest version refers to, in tables and ledger.
    pub live_bytes: u64,
    /// The part of `live_bytes` that merging would give back.
    pub dead_bytes: u64,
    /// Superseded, until reclaimed; and superseded, until a reader lets go.
    pub orphan_bytes: u64,
    pub held_bytes: u64,
    pub deleted_open_bytes: u64,
    /// Below the folder and none of the parts that are listed.
    pub other_bytes: u64,
    /// Bytes held in memory for owners in use, and their limit.
    pub view_bytes: u64,
    pub view_bytes_max: u64,
    pub budget: BudgetItem,
    pub tables: Vec<TableItem>,
    /// The sum of `tables`.
    pub total: TableItem,
    pub ledger: LedgerItem,
    pub ballast: BallastItem,
    pub markdown_bytes: u64,
    pub markdown_files: u64,
    /// `allocated_bytes` without the ballast, per byte of Markdown; `null` without Markdown.
    pub index_to_markdown_ratio: Option<f64>,
    /// All steps, in the order in which a round takes them.
    pub steps: Vec<StepItem>,
    /// Rounds so far.
    pub beats: u64,
    pub last_beat_age_ms: Option<u64>,
    /// The volume of the index, then that of the Markdown where it is another one.
    pub volumes: Vec<VolumeItem>,
    /// Why the index takes no writes; `null` while it does.
    pub paused: Option<PauseItem>,
    pub descriptors: DescriptorsItem,
    /// Damaged pieces that were taken out; their rows are written again from the Markdown.
    pub quarantine: Vec<QuarantineItem>,
    /// How often rows left the index by damage.
    pub losses: u64,
    /// Whether some of those have still to be written again.
    pub repair_pending: bool,
    pub loops: Vec<LoopItem>,
    /// How old what is shown of the index, and of the ledger, is; `null` when it is of now.
    pub index_age_ms: Option<u64>,
    pub ledger_age_ms: Option<u64>,
}

/// `bound_bytes` = `ratio` × `live_bytes` + `slack_bytes`, and never more than `cap_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexBudget)]
pub struct BudgetItem {
    pub ratio: f64,
    pub slack_bytes: u64,
    pub cap_bytes: Option<u64>,
    pub live_bytes: u64,
    pub bound_bytes: u64,
    /// What may still be written; 0 at and above the bound.
    pub headroom_bytes: u64,
    /// Rounds in a row that ended above the bound.
    pub over_bound_rounds: u32,
}

impl From<BudgetStatus> for BudgetItem {
    fn from(budget: BudgetStatus) -> Self {
        Self {
            ratio: budget.ratio,
            slack_bytes: budget.slack_bytes,
            cap_bytes: budget.cap_bytes,
            live_bytes: budget.live_bytes,
            bound_bytes: budget.bound_bytes,
            headroom_bytes: budget.headroom_bytes,
            over_bound_rounds: budget.over_bound_rounds,
        }
    }
}

/// What one table weighs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexTable)]
pub struct TableItem {
    pub name: String,
    pub generation: String,
    pub rows: u64,
    pub allocated_bytes: u64,
    pub live_bytes: u64,
    pub dead_bytes: u64,
    pub orphan_bytes: u64,
    pub held_bytes: u64,
    pub versions: u64,
    pub fragments: u64,
    /// Always 0: searches run on views that hold every row.
    pub unindexed_rows: u64,
    /// Rows accepted and searchable, and not yet durable.
    pub pending_rows: u64,
    pub bound_bytes: Option<u64>,
    pub readers: u64,
    pub oldest_reader_ms: Option<u64>,
}

impl From<TableFootprint> for TableItem {
    fn from(table: TableFootprint) -> Self {
        Self {
            name: table.name,
            generation: table.generation,
            rows: table.rows,
            allocated_bytes: table.allocated_bytes,
            live_bytes: table.live_bytes,
            dead_bytes: table.dead_bytes,
            orphan_bytes: table.orphan_bytes,
            held_bytes: table.held_bytes,
            versions: table.versions,
            fragments: table.fragments,
            unindexed_rows: table.unindexed_rows,
            pending_rows: table.pending_rows,
            bound_bytes: table.bound_bytes,
            readers: table.readers,
            oldest_reader_ms: table.oldest_reader_ms,
        }
    }
}

/// What the ledger (SQLite) weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexLedger)]
pub struct LedgerItem {
    pub allocated_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub wal_bytes: u64,
}

/// The file in reserve, released when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexBallast)]
pub struct BallastItem {
    pub bytes: u64,
    /// 0 when none is wanted.
    pub wanted_bytes: u64,
    pub released_times: u64,
}

/// How one step of upkeep does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexStep)]
pub struct StepItem {
    /// `release`, `janitor`, `reclaim`, `compact`, `ledger`, `repair`, `ballast`, `measure`, `rebuild`.
    pub step: String,
    pub runs: u64,
    pub failures: u64,
    /// Failures since the last success.
    pub streak: u64,
    pub last_success_age_ms: Option<u64>,
    pub last_error: Option<StepErrorItem>,
    /// How long it has been running, while it runs.
    pub running_ms: Option<u64>,
    /// It has not answered within its limit and was left alone.
    pub is_hung: bool,
    pub panics: u64,
    pub freed_bytes: u64,
    pub written_bytes: u64,
}

/// Why a step failed last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexStepError)]
pub struct StepErrorItem {
    /// `invalid`, `not_found`, `conflict`, `unavailable`, `no_space`, `corrupt`, `internal`.
    pub class: String,
    /// Empty in `/health` for callers without the token.
    pub message: String,
    pub age_ms: u64,
}

impl From<StepStatus> for StepItem {
    fn from(step: StepStatus) -> Self {
        let error = step.last_error.map(|error| StepErrorItem {
            class: error.kind.name().to_owned(),
            message: error.message,
            age_ms: error.age_ms,
        });
        Self {
            step: step.step.name().to_owned(),
            runs: step.runs,
            failures: step.failures,
            streak: step.streak,
            last_success_age_ms: step.last_success_age_ms,
            last_error: error,
            running_ms: step.running_ms,
            is_hung: step.is_hung,
            panics: step.panics,
            freed_bytes: step.freed_bytes,
            written_bytes: step.written_bytes,
        }
    }
}

/// What one volume has left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexVolume)]
pub struct VolumeItem {
    /// `index` or `markdown`.
    pub role: String,
    /// Empty in `/health` for callers without the token.
    pub path: String,
    /// `ample`; `low`: nothing is rewritten; `out`: the index takes no writes.
    pub level: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub free_inodes: u64,
    /// 0 where there is no fixed number of them.
    pub total_inodes: u64,
    pub is_read_only: bool,
    pub low_bytes: u64,
    pub out_bytes: u64,
    pub low_inodes: u64,
    pub out_inodes: u64,
    /// It would not say; the figures mean nothing.
    pub is_unknown: bool,
}

impl VolumeItem {
    fn of(role: &str, volume: VolumeStatus) -> Self {
        Self {
            role: role.to_owned(),
            path: volume.path,
            level: volume.level.name().to_owned(),
            free_bytes: volume.free_bytes,
            total_bytes: volume.total_bytes,
            free_inodes: volume.free_inodes,
            total_inodes: volume.total_inodes,
            is_read_only: volume.is_read_only,
            low_bytes: volume.low_bytes,
            out_bytes: volume.out_bytes,
            low_inodes: volume.low_inodes,
            out_inodes: volume.out_inodes,
            is_unknown: volume.is_unknown,
        }
    }
}

/// Why the index takes no writes. Jobs wait; nothing of them fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexPause)]
pub struct PauseItem {
    /// `space_out`, `read_only`, `index_cap_reached`, `refused`, `failing`.
    pub why: String,
    /// Empty in `/health` for callers without the token.
    pub message: String,
    pub since_ms: u64,
}

/// File descriptors of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Descriptors)]
pub struct DescriptorsItem {
    /// `null` where the system does not tell.
    pub used: Option<u64>,
    pub limit: Option<u64>,
}

impl From<Descriptors> for DescriptorsItem {
    fn from(descriptors: Descriptors) -> Self {
        Self { used: descriptors.used, limit: descriptors.limit }
    }
}

/// A damaged piece that was taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Quarantined)]
pub struct QuarantineItem {
    /// The file, relative to the index's folder. Names none of the memories.
    pub name: String,
    /// Empty in `/health` for callers without the token.
    pub reason: String,
    pub rows: u64,
    pub bytes: u64,
    /// Microseconds since 1970.
    pub at_us: i64,
}

impl From<Quarantined> for QuarantineItem {
    fn from(piece: Quarantined) -> Self {
        Self { name: piece.name, reason: piece.reason, rows: piece.rows, bytes: piece.bytes, at_us: piece.at_us }
    }
}

/// How one background loop does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Loop)]
pub struct LoopItem {
    pub name: String,
    /// How long its present round has taken; `null` while it waits for the next.
    pub ticking_ms: Option<u64>,
    pub is_stuck: bool,
    /// How often it panicked and was started again.
    pub restarts: u64,
}

impl From<LoopStatus> for LoopItem {
    fn from(status: LoopStatus) -> Self {
        Self {
            name: status.name.to_owned(),
            ticking_ms: status.ticking_ms,
            is_stuck: status.is_stuck,
            restarts: status.restarts,
        }
    }
}

impl IndexItem {
    /// Returns what is known: `info` of an index that answers, `upkeep` in any case.
    pub fn of(info: Option<IndexInfo>, upkeep: Maintenance) -> Self {
        let answers = info.is_some();
        let info = info.unwrap_or_default();
        let index = VolumeItem::of("index", upkeep.space.index);
        let markdown = upkeep.space.root.map(|volume| VolumeItem::of("markdown", volume));
        Self {
            answers,
            rows: info.rows.into_iter().map(|(kind, rows)| (kind.name().to_owned(), rows)).collect(),
            pending: info.pending,
            dimension: info.dimension,
            versions: upkeep.total.versions,
            fragments: upkeep.total.fragments,
            allocated_bytes: upkeep.allocated_bytes,
            live_bytes: upkeep.budget.live_bytes,
            dead_bytes: upkeep.total.dead_bytes,
            orphan_bytes: upkeep.total.orphan_bytes,
            held_bytes: upkeep.total.held_bytes,
            deleted_open_bytes: upkeep.deleted_open_bytes,
            other_bytes: upkeep.other_bytes,
            view_bytes: info.view_bytes,
            view_bytes_max: info.view_bytes_max,
            budget: upkeep.budget.into(),
            tables: upkeep.tables.into_iter().map(TableItem::from).collect(),
            total: upkeep.total.into(),
            ledger: LedgerItem {
                allocated_bytes: upkeep.ledger.allocated_bytes,
                used_bytes: upkeep.ledger.used_bytes,
                free_bytes: upkeep.ledger.free_bytes,
                wal_bytes: upkeep.ledger.wal_bytes,
            },
            ballast: BallastItem {
                bytes: upkeep.ballast.bytes,
                wanted_bytes: upkeep.ballast.wanted_bytes,
                released_times: upkeep.ballast.released_times,
            },
            markdown_bytes: upkeep.markdown_bytes,
            markdown_files: upkeep.markdown_files,
            index_to_markdown_ratio: upkeep.index_to_markdown_ratio,
            steps: upkeep.steps.into_iter().map(StepItem::from).collect(),
            beats: upkeep.beats,
            last_beat_age_ms: upkeep.last_beat_age_ms,
            volumes: [index].into_iter().chain(markdown).collect(),
            paused: match upkeep.writes {
                Writes::Going => None,
                Writes::Paused(pause) => Some(PauseItem {
                    why: pause.why.name().to_owned(),
                    message: pause.message,
                    since_ms: pause.since_ms,
                }),
            },
            descriptors: upkeep.descriptors.into(),
            quarantine: upkeep.quarantine.into_iter().map(QuarantineItem::from).collect(),
            losses: upkeep.losses,
            repair_pending: upkeep.repair_pending,
            loops: upkeep.loops.into_iter().map(LoopItem::from).collect(),
            index_age_ms: upkeep.index_age_ms,
            ledger_age_ms: upkeep.ledger_age_ms,
        }
    }

    /// Leaves out sentences and paths: they may name files, and not everybody may read them.
    pub(crate) fn redact(&mut self) {
        self.steps.iter_mut().filter_map(|step| step.last_error.as_mut()).for_each(|error| error.message.clear());
        self.volumes.iter_mut().for_each(|volume| volume.path.clear());
        self.paused.iter_mut().for_each(|pause| pause.message.clear());
        self.quarantine.iter_mut().for_each(|piece| piece.reason.clear());
    }

    /// Returns the step of this name.
    pub fn step(&self, name: &str) -> Option<&StepItem> {
        self.steps.iter().find(|step| step.step == name)
    }
}
