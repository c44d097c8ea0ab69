//! Long work on a root and how it reports: one JSON object a line.

use super::FailureDetail;
use super::status::Problem;
use crate::check::{Fields, Given, Invalid};
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
