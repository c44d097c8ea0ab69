//! What the root says of itself: `GET /evermark/status`, `status --json`.

use super::index::IndexItem;
use evermark_engine::status::{Embedding, FileProblem, Judge, Queue, Reason, Status, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How the whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[schema(as = Verdict)]
#[serde(rename_all = "snake_case")]
pub enum VerdictName {
    Ok,
    Degraded,
    Failing,
}

impl From<Verdict> for VerdictName {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Ok,
            Verdict::Degraded => Self::Degraded,
            Verdict::Failing => Self::Failing,
        }
    }
}

impl VerdictName {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Reason)]
pub struct ReasonItem {
    pub verdict: VerdictName,
    /// Stable, for programs: `watcher_down`, `mass_delete_held`, `provider_down`, …
    pub code: String,
    /// A sentence for a person; `null` in `/health` for callers without the token.
    pub message: Option<String>,
    /// The command that mends it, where there is one.
    pub hint: Option<String>,
}

impl From<Reason> for ReasonItem {
    fn from(reason: Reason) -> Self {
        Self {
            verdict: reason.verdict.into(),
            code: reason.code.to_owned(),
            message: Some(reason.message),
            hint: reason.hint,
        }
    }
}

/// One problem of one file or entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Relative to the root.
    pub path: String,
    pub entry: Option<String>,
    pub code: String,
    pub message: String,
}

impl From<FileProblem> for Problem {
    fn from(problem: FileProblem) -> Self {
        Self { path: problem.path, entry: problem.entry, code: problem.code, message: problem.message }
    }
}

/// Files that wait to be indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueItem {
    pub pending: u64,
    /// Being worked on now.
    pub leased: u64,
    /// Failed, and tried again later.
    pub failing: u64,
    /// Cannot be read as they are; editing one queues it again.
    pub parked: u64,
    pub oldest_age_ms: Option<u64>,
    pub errors: Vec<QueueError>,
}

/// Failures of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueError {
    pub class: String,
    pub count: u64,
    /// The newest one's message.
    pub message: String,
}

impl From<Queue> for QueueItem {
    fn from(queue: Queue) -> Self {
        let errors = queue.errors.into_iter().map(|(class, count, message)| QueueError { class, count, message });
        Self {
            pending: queue.pending,
            leased: queue.leased,
            failing: queue.failing,
            parked: queue.parked,
            oldest_age_ms: queue.oldest_age_ms,
            errors: errors.collect(),
        }
    }
}

/// How the embedding provider does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Embedding)]
pub struct EmbeddingItem {
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

impl From<Embedding> for EmbeddingItem {
    fn from(embedding: Embedding) -> Self {
        Self {
            model: embedding.model,
            dimension: embedding.dimension,
            state: embedding.state,
            calls: embedding.calls,
            texts: embedding.texts,
            failures: embedding.failures,
            last_error: embedding.last_error,
            cache_entries: embedding.cache_entries,
            cache_bytes: embedding.cache_bytes,
        }
    }
}

/// How the reranker or the language model does. Neither is asked unless a search is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Judge)]
pub struct JudgeItem {
    pub model: Option<String>,
    /// `closed`, `open`, `half_open`, or `none` without one.
    pub state: String,
    /// Requests, failed ones included.
    pub calls: u64,
    pub failures: u64,
    /// Answers of a language model, or memories read by a reranker.
    pub items: u64,
    /// Tokens, as far as the provider says.
    pub tokens_in: u64,
    pub tokens_out: u64,
    pub last_error: Option<String>,
}

impl JudgeItem {
    /// Tells whether there is one.
    pub fn is_there(&self) -> bool {
        self.model.is_some()
    }
}

impl From<Judge> for JudgeItem {
    fn from(judge: Judge) -> Self {
        Self {
            model: judge.model,
            state: judge.state,
            calls: judge.calls,
            failures: judge.failures,
            items: judge.items,
            tokens_in: judge.tokens_in,
            tokens_out: judge.tokens_out,
            last_error: judge.last_error,
        }
    }
}

/// Everything the root says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Status)]
pub struct StatusData {
    pub verdict: VerdictName,
    pub reasons: Vec<ReasonItem>,
    pub root: String,
    pub root_id: String,
    pub generation: String,
    pub rebuilding: bool,
    pub uptime_ms: u64,
    pub files: u64,
    /// Entries by kind.
    pub entries: BTreeMap<String, u64>,
    /// Problems of files, the first ones.
    pub findings: Vec<Problem>,
    pub findings_total: u64,
    pub queue: QueueItem,
    pub index: Option<IndexItem>,
    pub embedding: EmbeddingItem,
    #[serde(default)]
    pub rerank: JudgeItem,
    #[serde(default)]
    pub llm: JudgeItem,
    /// Messages accepted but not extracted, and the sessions they belong to.
    pub inbox_messages: u64,
    pub inbox_sessions: u64,
    /// `watching`, `degraded: <why>` or `off`.
    pub watcher: String,
    pub last_sweep_age_ms: Option<u64>,
    /// How long ago all this was said, when the root says nothing now; `null` when it is of now.
    pub age_ms: Option<u64>,
}

impl From<Status> for StatusData {
    fn from(status: Status) -> Self {
        Self {
            verdict: status.verdict.into(),
            reasons: status.reasons.into_iter().map(ReasonItem::from).collect(),
            root: status.root,
            root_id: status.root_id,
            generation: status.generation,
            rebuilding: status.rebuilding,
            uptime_ms: status.uptime_ms,
            files: status.files,
            entries: status.entries.into_iter().map(|(kind, count)| (kind.name().to_owned(), count)).collect(),
            findings: status.findings.into_iter().map(Problem::from).collect(),
            findings_total: status.findings_total,
            queue: status.queue.into(),
            index: Some(IndexItem::of(status.index, status.maintenance)),
            embedding: status.embedding.into(),
            rerank: status.rerank.into(),
            llm: status.llm.into(),
            inbox_messages: status.inbox_messages,
            inbox_sessions: status.inbox_sessions,
            watcher: status.watcher,
            last_sweep_age_ms: status.last_sweep_age_ms,
            age_ms: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
