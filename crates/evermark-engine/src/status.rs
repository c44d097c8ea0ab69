//! What the engine says of itself: health, counts, reports of long work.

use evermark_core::id::Kind;
use evermark_core::index::IndexInfo;

/// The overall verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    Degraded,
    Failing,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// One thing that is wrong, in words a person can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub verdict: Verdict,
    /// Stable, machine-readable: `watcher_down`, `mass_delete_held`, `provider_down`, `index_rebuilding`, …
    pub code: &'static str,
    pub message: String,
    /// The command that mends it, where there is one.
    pub hint: Option<String>,
}

/// One problem of one file or entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    pub path: String,
    pub entry: Option<String>,
    pub code: String,
    pub message: String,
}

/// Queue of files waiting to be indexed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    pub pending: u64,
    pub leased: u64,
    pub failing: u64,
    pub parked: u64,
    pub oldest_age_ms: Option<u64>,
    /// Failures by class, with the newest message.
    pub errors: Vec<(String, u64, String)>,
}

/// How the embedding provider does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    pub model: Option<String>,
    pub dimension: Option<usize>,
    /// `closed`, `open`, `half_open`, or `none` without a provider.
    pub state: String,
    pub calls: u64,
    pub texts: u64,
    pub failures: u64,
    pub last_error: Option<String>,
    pub cache_entries: u64,
    pub cache_bytes: u64,
}

/// Everything `status` and `/health` show.
#[derive(Clone, Debug)]
pub struct Status {
    pub verdict: Verdict,
    pub reasons: Vec<Reason>,
    pub root: String,
    pub root_id: String,
    pub generation: String,
    pub rebuilding: bool,
    pub uptime_ms: u64,
    pub files: u64,
    pub entries: Vec<(Kind, u64)>,
    pub findings: Vec<FileProblem>,
    pub findings_total: u64,
    pub queue: Queue,
    pub index: Option<IndexInfo>,
    pub embedding: Embedding,
    /// Messages accepted but not extracted, and the sessions they belong to.
    pub inbox_messages: u64,
    pub inbox_sessions: u64,
    /// `watching`, `degraded: <why>` or `off`.
    pub watcher: String,
    pub last_sweep_age_ms: Option<u64>,
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    pub files_seen: u64,
    pub files_indexed: u64,
    pub files_removed: u64,
    pub rows_upserted: u64,
    pub rows_removed: u64,
    pub texts_embedded: u64,
    pub problems: Vec<FileProblem>,
    /// Why removals are being held back, when the mass-delete guard stopped them.
    pub held: Option<String>,
}

/// How index and Markdown differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub files: u64,
    pub memories: u64,
    pub rows: u64,
    /// `kind id (path)` of each.
    pub missing: Vec<String>,
    pub extra: Vec<String>,
    pub different: Vec<String>,
    pub problems: Vec<FileProblem>,
}

impl VerifyReport {
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.different.is_empty()
    }
}

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    pub generation: String,
    pub files: u64,
    pub rows: u64,
    pub texts_embedded: u64,
    pub took_ms: u64,
}

/// How far long work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressMark {
    pub done: u64,
    pub total: u64,
}
