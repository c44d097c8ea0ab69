//! `GET /health`: EverOS's keys, our verdict.

use super::status::{IndexItem, QueueItem, ReasonItem, StatusData, VerdictName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How the daemon is doing. The status code is always 200; read `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = HealthResponse)]
pub struct Health {
    pub status: VerdictName,
    pub version: String,
    pub capabilities: Capabilities,
    /// What needs a provider that is not configured, by EverOS's names.
    pub disabled_features: Vec<String>,
    pub cascade: Option<CascadeHealth>,
    pub memorize_queue: Option<QueueHealth>,
    /// What is wrong. Ours.
    pub reasons: Vec<ReasonItem>,
    /// More about the root; `null` when it did not answer in time. Ours.
    pub evermark: Option<RootHealth>,
}

/// What is there to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HealthCapabilities)]
pub struct Capabilities {
    pub llm: bool,
    pub embed: bool,
    pub rerank: bool,
    pub multimodal_llm: bool,
    pub parser: bool,
}

/// The way from files to the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CascadeHealthBlock)]
pub struct CascadeHealth {
    pub healthy: bool,
    /// Codes of what is wrong.
    pub reasons: Vec<String>,
    /// Files waiting to be indexed.
    pub pending: u64,
    /// Files that cannot be read as they are.
    pub failed_permanent: u64,
    /// Files that failed and are tried again.
    pub failed_retryable: u64,
    /// Always 0: there is no queue here that drains as a whole.
    pub drain_consecutive_failures: u64,
    /// Always 0: nothing here is beyond recovery while its file exists.
    pub unrecoverable_total: u64,
    /// Always 0; failures of upkeep are in `reasons`.
    pub optimize_failure_streak: u64,
    /// Always 0; see `evermark.index` for what the index weighs.
    pub prune_stale_seconds: f64,
    /// Rows by table, by EverOS's names. Live, not a snapshot.
    pub index_rows: BTreeMap<String, u64>,
    pub index_emptied: bool,
}

/// The way from messages to files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MemorizeQueueHealthBlock)]
pub struct QueueHealth {
    pub healthy: bool,
    /// Codes of what is wrong.
    pub reasons: Vec<String>,
    pub loop_alive: bool,
    /// Whether new messages are taken.
    pub accepting: bool,
    /// Messages accepted and not yet extracted.
    pub pending: u64,
    /// Always `null`: an open session is not late.
    pub oldest_pending_age_s: Option<f64>,
    /// Always 0: an accepted message cannot fail for good.
    pub failed: u64,
    pub loop_restarts: u64,
    #[schema(format = DateTime)]
    pub last_loop_error_at: Option<String>,
}

/// More about the root. Names no files: this is shown to callers without the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RootHealth {
    pub root_id: String,
    pub generation: String,
    pub rebuilding: bool,
    pub uptime_ms: u64,
    pub files: u64,
    pub findings_total: u64,
    pub queue: QueueItem,
    pub index: Option<IndexItem>,
    /// State of the embedding provider's breaker: `closed`, `open`, `half_open`, `none`.
    pub embedding: String,
    pub inbox_messages: u64,
    pub inbox_sessions: u64,
    pub watcher: String,
    pub last_sweep_age_ms: Option<u64>,
}

/// Tables by EverOS's names, with ours.
const TABLES: [(&str, &str); 7] = [
    ("episode", "episode"),
    ("atomic_fact", "atomic_fact"),
    ("foresight", "foresight"),
    ("agent_case", "agent_case"),
    ("agent_skill", "agent_skill"),
    ("user_profile", "profile"),
    ("knowledge_topic", "knowledge_topic"),
];

/// Whom health is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Somebody who may read the memories anyway.
    Trusted,
    /// Anybody: sentences that may name files are left out.
    Anybody,
}

impl Health {
    /// Returns what `status` comes to. `accepting` is false while the daemon closes.
    pub fn of(status: StatusData, version: &str, accepting: bool, audience: Audience) -> Self {
        let embed = status.embedding.model.is_some();
        let mut disabled: Vec<&str> = Vec::new();
        if !embed {
            disabled.extend(["vector_search", "hybrid_search"]);
        }
        // These want a language model, a reranker or a parser, which we do not have yet.
        disabled.extend(["reflection", "skill_extraction", "agentic_search", "knowledge", "multimodal_upload"]);

        let healthy = status.verdict != VerdictName::Failing;
        let codes: Vec<String> = status.reasons.iter().map(|reason| reason.code.clone()).collect();
        let rows = status.index.as_ref().map(|index| &index.rows);
        let index_rows = TABLES
            .iter()
            .map(|(table, kind)| ((*table).to_owned(), rows.and_then(|rows| rows.get(*kind)).copied().unwrap_or(0)))
            .collect();
        let mut reasons = status.reasons;
        let mut queue = status.queue;
        if audience == Audience::Anybody {
            reasons.iter_mut().for_each(|reason| (reason.message, reason.hint) = (None, None));
            queue.errors.iter_mut().for_each(|error| error.message.clear());
        }
        let watcher = match (audience, status.watcher.split_once(':')) {
            (Audience::Anybody, Some((state, _))) => state.to_owned(),
            (Audience::Anybody, None) | (Audience::Trusted, _) => status.watcher,
        };
        Self {
            status: status.verdict,
            version: version.to_owned(),
            capabilities: Capabilities { embed, ..Capabilities::NONE },
            disabled_features: disabled.into_iter().map(str::to_owned).collect(),
            cascade: Some(CascadeHealth {
                healthy,
                reasons: codes.clone(),
                pending: queue.pending,
                failed_permanent: queue.parked,
                failed_retryable: queue.failing,
                drain_consecutive_failures: 0,
                unrecoverable_total: 0,
                optimize_failure_streak: 0,
                prune_stale_seconds: 0.0,
                index_rows,
                index_emptied: false,
            }),
            memorize_queue: Some(QueueHealth {
                healthy,
                reasons: if healthy { Vec::new() } else { codes },
                loop_alive: healthy,
                accepting,
                pending: status.inbox_messages,
                oldest_pending_age_s: None,
                failed: 0,
                loop_restarts: 0,
                last_loop_error_at: None,
            }),
            reasons,
            evermark: Some(RootHealth {
                root_id: status.root_id,
                generation: status.generation,
                rebuilding: status.rebuilding,
                uptime_ms: status.uptime_ms,
                files: status.files,
                findings_total: status.findings_total,
                queue,
                index: status.index,
                embedding: status.embedding.state,
                inbox_messages: status.inbox_messages,
                inbox_sessions: status.inbox_sessions,
                watcher,
                last_sweep_age_ms: status.last_sweep_age_ms,
            }),
        }
    }

    /// Returns what can be said when the root does not say anything.
    pub fn silent(code: &str, message: String, version: &str, audience: Audience) -> Self {
        let message = Some(message).filter(|_| audience == Audience::Trusted);
        Self {
            status: VerdictName::Failing,
            version: version.to_owned(),
            capabilities: Capabilities::NONE,
            disabled_features: Vec::new(),
            cascade: None,
            memorize_queue: None,
            reasons: vec![ReasonItem { verdict: VerdictName::Failing, code: code.to_owned(), message, hint: None }],
            evermark: None,
        }
    }
}

impl Capabilities {
    const NONE: Self = Self { llm: false, embed: false, rerank: false, multimodal_llm: false, parser: false };
}

#[cfg(test)]
mod tests;
