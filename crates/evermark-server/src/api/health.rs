//! `GET /health`: EverOS's keys, our verdict.

use super::index::IndexItem;
use super::status::{QueueItem, ReasonItem, StatusData, VerdictName};
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
    /// Failures in a row of the step of upkeep that fails longest.
    pub optimize_failure_streak: u64,
    /// Seconds since what nobody needs was last reclaimed; 0 while there is nothing to reclaim.
    pub prune_stale_seconds: f64,
    /// Rows by table, by EverOS's names. Live, not a snapshot.
    pub index_rows: BTreeMap<String, u64>,
    /// Whether the index answers and holds nothing, while files hold memories.
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
    /// How long ago all this was said, when the root says nothing now; `null` when it is of now.
    pub age_ms: Option<u64>,
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
        // Nothing here reflects, extracts skills or parses yet, whatever is configured.
        disabled.extend(["reflection", "skill_extraction"]);
        let (llm, rerank) = (status.llm.is_there(), status.rerank.is_there());
        if !llm || !rerank {
            disabled.push("agentic_search");
        }
        disabled.extend(["knowledge", "multimodal_upload"]);

        let healthy = status.verdict != VerdictName::Failing;
        let codes: Vec<String> = status.reasons.iter().map(|reason| reason.code.clone()).collect();
        let rows = status.index.as_ref().map(|index| &index.rows);
        let index_rows = TABLES
            .iter()
            .map(|(table, kind)| ((*table).to_owned(), rows.and_then(|rows| rows.get(*kind)).copied().unwrap_or(0)))
            .collect();
        let upkeep = UpkeepFigures::of(&status);
        let mut reasons = status.reasons;
        let mut queue = status.queue;
        let mut index = status.index;
        if audience == Audience::Anybody {
            reasons.iter_mut().for_each(|reason| (reason.message, reason.hint) = (None, None));
            queue.errors.iter_mut().for_each(|error| error.message.clear());
            index.iter_mut().for_each(IndexItem::redact);
        }
        let watcher = match (audience, status.watcher.split_once(':')) {
            (Audience::Anybody, Some((state, _))) => state.to_owned(),
            (Audience::Anybody, None) | (Audience::Trusted, _) => status.watcher,
        };
        Self {
            status: status.verdict,
            version: version.to_owned(),
            capabilities: Capabilities { embed, llm, rerank, ..Capabilities::NONE },
            disabled_features: disabled.into_iter().map(str::to_owned).collect(),
            cascade: Some(CascadeHealth {
                healthy,
                reasons: codes.clone(),
                pending: queue.pending,
                failed_permanent: queue.parked,
                failed_retryable: queue.failing,
                drain_consecutive_failures: 0,
                unrecoverable_total: 0,
                optimize_failure_streak: upkeep.failure_streak,
                prune_stale_seconds: upkeep.prune_stale_seconds,
                index_rows,
                index_emptied: upkeep.is_emptied,
            }),
            memorize_queue: Some(QueueHealth {
                healthy,
                reasons: if healthy { Vec::new() } else { codes },
                loop_alive: upkeep.remember_is_alive,
                accepting,
                pending: status.inbox_messages,
                oldest_pending_age_s: None,
                failed: 0,
                loop_restarts: upkeep.remember_restarts,
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
                index,
                embedding: status.embedding.state,
                inbox_messages: status.inbox_messages,
                inbox_sessions: status.inbox_sessions,
                watcher,
                last_sweep_age_ms: status.last_sweep_age_ms,
                age_ms: status.age_ms,
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

/// What EverOS's own keys say of upkeep.
struct UpkeepFigures {
    failure_streak: u64,
    prune_stale_seconds: f64,
    is_emptied: bool,
    remember_is_alive: bool,
    remember_restarts: u64,
}

impl UpkeepFigures {
    fn of(status: &StatusData) -> Self {
        let none = IndexItem::default();
        let index = status.index.as_ref().unwrap_or(&none);
        let entries: u64 = status.entries.values().sum();
        let remember = index.loops.iter().find(|one| one.name == "remember");
        let waits = index.orphan_bytes > 0;
        let since = index.step("reclaim").and_then(|step| step.last_success_age_ms).unwrap_or(status.uptime_ms);
        Self {
            failure_streak: index.steps.iter().map(|step| step.streak).max().unwrap_or(0),
            prune_stale_seconds: if waits { since as f64 / 1000.0 } else { 0.0 },
            is_emptied: index.answers && entries > 0 && index.rows.values().sum::<u64>() == 0,
            remember_is_alive: remember.is_none_or(|one| !one.is_stuck),
            remember_restarts: remember.map_or(0, |one| one.restarts),
        }
    }
}

impl Capabilities {
    const NONE: Self = Self { llm: false, embed: false, rerank: false, multimodal_llm: false, parser: false };
}

#[cfg(test)]
mod tests;
