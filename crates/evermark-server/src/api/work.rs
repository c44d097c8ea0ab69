//! Long work on a root and how it reports: one JSON object a line.

use super::FailureDetail;
use super::status::Problem;
use crate::api::index::QuarantineItem;
use crate::check::{Fields, Given, Invalid};
use evermark_core::index::Inspection;
use evermark_core::maintenance::plan::{Plan, Planned, Rebuild};
use evermark_engine::maintenance::{CompactReport, PruneReport, StepFailure};
use evermark_engine::status::{RebuildReport, SyncReport, VerifyReport};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One line of the answer to long work. `progress` and `alive` come first and may be ignored; one of the others is last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum WorkEvent<R> {
    /// How far it is.
    Progress { done: u64, total: u64 },
    /// Nothing new; the work goes on.
    Alive,
    /// It is done.
    Done { report: R },
    /// It failed, or the daemon closes; `status` is what the answer's status code would have been.
    Failed { status: u16, error: FailureDetail },
}

/// What a sync may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncBody {
    /// Let removals proceed that the guard against mass deletion holds back, once.
    #[serde(default)]
    #[schema(default = false)]
    pub allow_mass_delete: bool,
}

impl SyncBody {
    /// Returns the request that `body` is. Unknown keys are refused.
    pub fn read(body: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(body, "")?;
        let allow_mass_delete = fields.field("allow_mass_delete").or(false, Given::boolean)?;
        fields.only(&["allow_mass_delete"])?;
        Ok(Self { allow_mass_delete })
    }
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SyncReport)]
pub struct SyncData {
    pub files_seen: u64,
    pub files_indexed: u64,
    pub files_removed: u64,
    pub rows_upserted: u64,
    pub rows_removed: u64,
    pub texts_embedded: u64,
    pub problems: Vec<Problem>,
    /// Why removals are held back, when they are.
    pub held: Option<String>,
}

impl From<SyncReport> for SyncData {
    fn from(report: SyncReport) -> Self {
        Self {
            files_seen: report.files_seen,
            files_indexed: report.files_indexed,
            files_removed: report.files_removed,
            rows_upserted: report.rows_upserted,
            rows_removed: report.rows_removed,
            texts_embedded: report.texts_embedded,
            problems: report.problems.into_iter().map(Problem::from).collect(),
            held: report.held,
        }
    }
}

/// How index and Markdown differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = VerifyReport)]
pub struct VerifyData {
    /// Whether there is no difference.
    pub clean: bool,
    pub files: u64,
    pub memories: u64,
    pub rows: u64,
    /// `kind id (path)` of each.
    pub missing: Vec<String>,
    pub extra: Vec<String>,
    pub different: Vec<String>,
    pub problems: Vec<Problem>,
}

impl From<VerifyReport> for VerifyData {
    fn from(report: VerifyReport) -> Self {
        Self {
            clean: report.is_clean(),
            files: report.files,
            memories: report.memories,
            rows: report.rows,
            missing: report.missing,
            extra: report.extra,
            different: report.different,
            problems: report.problems.into_iter().map(Problem::from).collect(),
        }
    }
}

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RebuildReport)]
pub struct RebuildData {
    pub generation: String,
    pub files: u64,
    pub rows: u64,
    pub texts_embedded: u64,
    pub took_ms: u64,
}

impl From<RebuildReport> for RebuildData {
    fn from(report: RebuildReport) -> Self {
        Self {
            generation: report.generation,
            files: report.files,
            rows: report.rows,
            texts_embedded: report.texts_embedded,
            took_ms: report.took_ms,
        }
    }
}

/// Whether work is done, or only told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunBody {
    /// Say what would be done, and change nothing.
    #[serde(default)]
    #[schema(default = false)]
    pub dry_run: bool,
}

impl DryRunBody {
    /// Reads a body. Unknown keys are refused.
    pub fn read(body: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(body, "")?;
        let dry_run = fields.field("dry_run").or(false, Given::boolean)?;
        fields.only(&["dry_run"])?;
        Ok(Self { dry_run })
    }
}

/// What the next round of upkeep would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = IndexPlan)]
pub struct PlanData {
    /// How much room there is: `ample`, `low`, `out`.
    pub level: String,
    /// In the order in which they would be taken.
    pub steps: Vec<PlannedItem>,
    /// What is due and would not be done now.
    pub held: Vec<PlannedItem>,
    /// How a new generation would be made, when `rebuild` is among the steps: `beside`, `in_place`.
    pub rebuild: Option<String>,
}

/// A step, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PlannedStep)]
pub struct PlannedItem {
    pub step: String,
    pub reason: String,
}

impl From<Planned> for PlannedItem {
    fn from(planned: Planned) -> Self {
        Self { step: planned.step.name().to_owned(), reason: planned.reason }
    }
}

impl From<Plan> for PlanData {
    fn from(plan: Plan) -> Self {
        let how = |rebuild| match rebuild {
            Rebuild::Beside => "beside".to_owned(),
            Rebuild::InPlace => "in_place".to_owned(),
        };
        Self {
            level: plan.level.name().to_owned(),
            steps: plan.steps.into_iter().map(PlannedItem::from).collect(),
            held: plan.held.into_iter().map(PlannedItem::from).collect(),
            rebuild: plan.rebuild.map(how),
        }
    }
}

/// A part of work that failed; the others were done all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = StepFailure)]
pub struct FailureItem {
    pub step: String,
    /// `invalid`, `not_found`, `conflict`, `unavailable`, `no_space`, `corrupt`, `internal`.
    pub class: String,
    pub message: String,
}

impl From<StepFailure> for FailureItem {
    fn from(failure: StepFailure) -> Self {
        Self { step: failure.step.name().to_owned(), class: failure.kind.name().to_owned(), message: failure.message }
    }
}

/// What pruning did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PruneReport)]
pub struct PruneData {
    pub dry_run: bool,
    pub versions: u64,
    pub files: u64,
    pub freed_bytes: u64,
    /// Everything below the index's folder, before and after.
    pub before_bytes: u64,
    pub after_bytes: u64,
    pub failures: Vec<FailureItem>,
}

impl From<PruneReport> for PruneData {
    fn from(report: PruneReport) -> Self {
        Self {
            dry_run: report.dry_run,
            versions: report.versions,
            files: report.files,
            freed_bytes: report.freed_bytes,
            before_bytes: report.before_bytes,
            after_bytes: report.after_bytes,
            failures: report.failures.into_iter().map(FailureItem::from).collect(),
        }
    }
}

/// What merging did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CompactReport)]
pub struct CompactData {
    pub dry_run: bool,
    /// Groups merged, and the pieces in them.
    pub groups: u64,
    pub pieces: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Pieces that could not be read and were taken out.
    pub quarantined: u64,
    pub freed_bytes: u64,
    pub before_bytes: u64,
    pub after_bytes: u64,
    /// Why there is more to merge than was merged, if so.
    pub held: Option<String>,
    pub failures: Vec<FailureItem>,
}

impl From<CompactReport> for CompactData {
    fn from(report: CompactReport) -> Self {
        Self {
            dry_run: report.dry_run,
            groups: report.groups,
            pieces: report.pieces,
            read_bytes: report.read_bytes,
            written_bytes: report.written_bytes,
            quarantined: report.quarantined,
            freed_bytes: report.freed_bytes,
            before_bytes: report.before_bytes,
            after_bytes: report.after_bytes,
            held: report.held,
            failures: report.failures.into_iter().map(FailureItem::from).collect(),
        }
    }
}

/// What reading every piece of the index in full came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InspectReport)]
pub struct InspectData {
    pub pieces: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Those that could not be read. They were taken out, and their rows written again from the Markdown.
    pub quarantined: Vec<QuarantineItem>,
}

impl From<Inspection> for InspectData {
    fn from(inspection: Inspection) -> Self {
        Self {
            pieces: inspection.pieces,
            rows: inspection.rows,
            bytes: inspection.bytes,
            quarantined: inspection.quarantined.into_iter().map(QuarantineItem::from).collect(),
        }
    }
}
