//! One memory as search and get show it.

use crate::stamp;
use evermark_core::id::Track;
use evermark_core::memory::{Body, Memory};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The file and entry a memory was read from. Ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// Markdown file, relative to the root.
    pub path: String,
    /// The entry within it; `null` when the memory fills the file.
    pub entry: Option<String>,
}

impl Source {
    fn of(memory: &Memory) -> Self {
        Self { path: memory.path.clone(), entry: Some(memory.entry_id.clone()).filter(|entry| !entry.is_empty()) }
    }
}

/// An episode: what happened in one stretch of talk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EpisodeItem {
    /// `<owner>_<entry>`.
    pub id: String,
    pub user_id: Option<String>,
    pub app_id: String,
    pub project_id: String,
    /// `null` for episodes that were merged or written by hand.
    pub session_id: Option<String>,
    /// `null` for an episode written by hand without a time.
    #[schema(format = DateTime)]
    pub timestamp: Option<String>,
    pub sender_ids: Vec<String>,
    pub summary: String,
    pub subject: String,
    pub episode: String,
    #[serde(rename = "type")]
    pub kind: ConversationType,
    pub source: Source,
    /// The messages it was made from, where known. Ours.
    pub message_ids: Vec<String>,
}

/// The one type of episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ConversationType {
    Conversation,
}

/// A statement, one thing that holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchAtomicFactItem)]
pub struct FactItem {
    pub id: String,
    pub content: String,
    /// What it answers: the questions asked right before. Ours.
    pub context: Option<String>,
    pub score: f32,
    pub source: Source,
    /// The messages it was made from, where known. Ours.
    pub message_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<super::search::ExplainItem>,
}

/// What is known of a user as a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProfileItem {
    /// The user.
    pub id: String,
    pub user_id: Option<String>,
    pub app_id: String,
    pub project_id: String,
    pub profile_data: ProfileData,
    pub source: Source,
}

/// The content of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProfileData {
    pub summary: String,
    #[schema(value_type = Vec<Object>)]
    pub explicit_info: Value,
    #[schema(value_type = Vec<Object>)]
    pub implicit_traits: Value,
    pub profile_timestamp_ms: i64,
}

/// How an agent solved one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentCaseItem {
    /// `<agent>_<entry>`.
    pub id: String,
    pub agent_id: String,
    pub app_id: String,
    pub project_id: String,
    /// `null` for a case written by hand.
    pub session_id: Option<String>,
    pub task_intent: String,
    pub approach: String,
    pub quality_score: f64,
    pub key_insight: Option<String>,
    #[schema(format = DateTime)]
    pub timestamp: Option<String>,
    pub source: Source,
    /// The messages it was made from, where known. Ours.
    pub message_ids: Vec<String>,
}

/// What an agent can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentSkillItem {
    /// `<agent>_<name>`.
    pub id: String,
    pub agent_id: String,
    pub app_id: String,
    pub project_id: String,
    pub name: String,
    pub description: String,
    pub content: String,
    pub confidence: f64,
    pub maturity_score: f64,
    pub source_case_ids: Vec<String>,
    pub source: Source,
    /// The messages it was made from, where known. Ours.
    pub message_ids: Vec<String>,
}

/// A memory in the shape of its kind, or `None` from [`MemoryItem::of`] for kinds that these routes do not show.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryItem {
    Episode(EpisodeItem),
    Profile(ProfileItem),
    AgentCase(AgentCaseItem),
    AgentSkill(AgentSkillItem),
}

impl MemoryItem {
    /// Returns `memory` as the wire shows it, its times in `zone`.
    pub fn of(memory: Memory, zone: &TimeZone) -> Option<Self> {
        let source = Source::of(&memory);
        let timestamp = memory.timestamp_us.map(|micros| stamp::payload(micros, zone));
        let user_id = (memory.owner.track == Track::User).then(|| memory.owner.id.clone());
        let (app_id, project_id) = (memory.owner.scope.app, memory.owner.scope.project);
        Some(match memory.body {
            Body::Episode { subject, summary, content } => Self::Episode(EpisodeItem {
                id: memory.id,
                user_id,
                app_id,
                project_id,
                session_id: memory.session_id,
                timestamp,
                sender_ids: memory.sender_ids,
                summary: summary.unwrap_or_default(),
                subject: subject.unwrap_or_default(),
                episode: content,
                kind: ConversationType::Conversation,
                source,
                message_ids: memory.message_ids,
            }),
            Body::Profile { summary, explicit_info, implicit_traits, profile_timestamp_ms } => {
                Self::Profile(ProfileItem {
                    id: memory.id,
                    user_id,
                    app_id,
                    project_id,
                    profile_data: ProfileData { summary, explicit_info, implicit_traits, profile_timestamp_ms },
                    source,
                })
            }
            Body::AgentCase { task_intent, approach, key_insight, quality_score } => Self::AgentCase(AgentCaseItem {
                id: memory.id,
                agent_id: memory.owner.id,
                app_id,
                project_id,
                session_id: memory.session_id,
                task_intent,
                approach,
                quality_score,
                key_insight,
                timestamp,
                source,
                message_ids: memory.message_ids,
            }),
            Body::AgentSkill { name, description, content, confidence, maturity_score, source_case_ids, .. } => {
                Self::AgentSkill(AgentSkillItem {
                    id: memory.id,
                    agent_id: memory.owner.id,
                    app_id,
                    project_id,
                    name,
                    description,
                    content,
                    confidence,
                    maturity_score,
                    source_case_ids,
                    source,
                    message_ids: memory.message_ids,
                })
            }
            Body::AtomicFact { .. }
            | Body::Foresight { .. }
            | Body::KnowledgeDocument { .. }
            | Body::KnowledgeTopic { .. } => return None,
        })
    }
}

impl FactItem {
    /// Returns `memory` as a fact with its score, or `None` when it is something else.
    pub fn of(memory: Memory, score: f32) -> Option<Self> {
        let source = Source::of(&memory);
        match memory.body {
            Body::AtomicFact { fact, context } => {
                let (id, message_ids) = (memory.id, memory.message_ids);
                Some(Self { id, content: fact, context, score, source, message_ids, explain: None })
            }
            _ => None,
        }
    }
}

/// Returns a message's parts as the wire shows them: text when that is all there is, else the list.
pub(crate) fn content(items: Vec<evermark_core::memory::ContentItem>) -> Value {
    match items.as_slice() {
        [only] if only.raw.get("type").and_then(Value::as_str).unwrap_or("text") == "text" => {
            json!(only.text.clone().unwrap_or_default())
        }
        _ => items.into_iter().map(|item| item.raw).collect(),
    }
}
