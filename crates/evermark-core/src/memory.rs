//! A memory as the program sees it, whichever file it came from.

use crate::codec;
use crate::id::{Kind, MemoryKey, Owner};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    pub owner: Owner,
    /// Unique within owner and kind: `<owner>_<entry>`, `<agent>_<name>`, the owner (profile), doc or node id.
    pub id: String,
    /// The entry within its file; empty for kinds that fill a file.
    pub entry_id: String,
    /// Source file, relative to the root, `/` between parts.
    pub path: String,
    pub session_id: Option<String>,
    /// When it happened, microseconds since 1970 (UTC); `None` where the kind has no time.
    pub timestamp_us: Option<i64>,
    pub parent_type: Option<String>,
    pub parent_id: Option<String>,
    pub sender_ids: Vec<String>,
    /// The messages it was made from, where known.
    pub message_ids: Vec<String>,
    /// The entry that replaced this one.
    pub deprecated_by: Option<String>,
    pub body: Body,
}

/// What a memory says, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Episode {
        subject: Option<String>,
        summary: Option<String>,
        content: String,
    },
    AtomicFact {
        fact: String,
        /// What it answers: the questions asked right before, as `<speaker>: <questions>`. Read by searches, part of no claim.
        context: Option<String>,
    },
    Foresight {
        foresight: String,
        evidence: String,
        start_time: Option<String>,
        end_time: Option<String>,
        duration_days: Option<i64>,
    },
    Profile {
        summary: String,
        explicit_info: Value,
        implicit_traits: Value,
        profile_timestamp_ms: i64,
    },
    AgentCase {
        task_intent: String,
        approach: String,
        key_insight: Option<String>,
        quality_score: f64,
    },
    AgentSkill {
        name: String,
        description: String,
        content: String,
        confidence: f64,
        maturity_score: f64,
        source_case_ids: Vec<String>,
        cluster_id: Option<String>,
    },
    KnowledgeDocument {
        category_id: String,
        title: String,
        summary: String,
        source_name: Option<String>,
        source_type: Option<String>,
    },
    KnowledgeTopic {
        doc_id: String,
        category_id: String,
        topic_index: i64,
        topic_name: String,
        topic_path: String,
        summary: String,
        depth: i64,
        parent_node_id: Option<String>,
        children_node_ids: Vec<String>,
        content_labels: Vec<String>,
        content: String,
    },
}

impl Body {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Episode { .. } => Kind::Episode,
            Self::AtomicFact { .. } => Kind::AtomicFact,
            Self::Foresight { .. } => Kind::Foresight,
            Self::Profile { .. } => Kind::Profile,
            Self::AgentCase { .. } => Kind::AgentCase,
            Self::AgentSkill { .. } => Kind::AgentSkill,
            Self::KnowledgeDocument { .. } => Kind::KnowledgeDocument,
            Self::KnowledgeTopic { .. } => Kind::KnowledgeTopic,
        }
    }

    /// Returns the text that keyword search reads.
    pub fn search_text(&self) -> String {
        match self {
            Self::Episode { subject, content, .. } => join(&[content, subject.as_deref().unwrap_or_default()]),
            Self::AtomicFact { fact, context } => in_context(context.as_deref(), fact),
            Self::Foresight { foresight, evidence, .. } => join(&[foresight, evidence]),
            Self::Profile { summary, .. } => summary.clone(),
            Self::AgentCase { task_intent, approach, .. } => join(&[task_intent, approach]),
            Self::AgentSkill { name, description, content, .. } => join(&[name, description, content]),
            Self::KnowledgeDocument { title, summary, .. } => join(&[title, summary]),
            Self::KnowledgeTopic { topic_name, summary, content, .. } => join(&[topic_name, summary, content]),
        }
    }

    /// Returns the text that is embedded, or `None` for kinds that are not searched by meaning.
    pub fn embed_text(&self) -> Option<String> {
        match self {
            Self::Episode { content, .. } => Some(content.clone()),
            Self::AtomicFact { fact, context } => Some(in_context(context.as_deref(), fact)),
            Self::Foresight { foresight, .. } => Some(foresight.clone()),
            Self::AgentCase { task_intent, .. } => Some(task_intent.clone()),
            Self::AgentSkill { name, description, .. } => Some(format!("{name}\n{description}")),
            Self::KnowledgeTopic { summary, .. } => Some(summary.clone()),
            Self::Profile { .. } | Self::KnowledgeDocument { .. } => None,
        }
        .filter(|text| !text.trim().is_empty())
    }
}

/// Returns a fact as searches read it: an answer is found by the words of its question.
fn in_context(context: Option<&str>, fact: &str) -> String {
    join(&[context.unwrap_or_default(), fact])
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

impl Memory {
    pub fn kind(&self) -> Kind {
        self.body.kind()
    }

    pub fn key(&self) -> MemoryKey {
        MemoryKey { owner: self.owner.clone(), kind: self.kind(), id: self.id.clone() }
    }

    /// Returns a digest of everything the index stores about this memory: it changes when, and only when, the row must.
    pub fn digest(&self) -> Digest32 {
        Digest32::of(&codec::encode(self))
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest32(pub [u8; 32]);

impl Digest32 {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

/// One message of a conversation, as it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `m_<session>_<timestamp as sent>_<index in batch>`.
    pub id: String,
    pub sender_id: String,
    pub sender_name: Option<String>,
    pub role: Role,
    pub timestamp_ms: i64,
    pub items: Vec<ContentItem>,
    /// The request's `tool_calls`, as sent.
    pub tool_calls: Option<Value>,
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Returns the text items, one per line.
    pub fn text(&self) -> String {
        self.items.iter().filter_map(|item| item.text.as_deref()).collect::<Vec<_>>().join("\n")
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    Tool,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Assistant, Self::Tool].into_iter().find(|role| role.name() == name)
    }
}

/// One part of a message. `raw` is the item as sent, kept whole; `text` is what can be read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ContentItem {
    pub text: Option<String>,
    pub raw: Value,
}
