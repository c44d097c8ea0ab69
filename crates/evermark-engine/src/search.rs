//! Searching.

use evermark_core::id::{Owner, Scope};
use evermark_core::memory::{Memory, Message};
use serde_json::Value;

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Keyword,
    Vector,
    Hybrid,
    Agentic,
    LlmMultiround,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::Vector => "vector",
            Self::Hybrid => "hybrid",
            Self::Agentic => "agentic",
            Self::LlmMultiround => "llm_multiround",
        }
    }
}

/// A question.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    pub owner: Owner,
    pub query: String,
    /// `None`: whatever works best here (hybrid with a model, keyword without).
    pub method: Option<Method>,
    /// `None` is the wire's -1: as many as the method's cap allows.
    pub top_k: Option<usize>,
    pub radius: Option<f32>,
    pub min_score: Option<f32>,
    pub include_profile: bool,
    pub enable_llm_rerank: bool,
    /// The wire's filter object, uncompiled.
    pub filters: Option<Value>,
}

/// A memory found, and how well it fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub memory: Memory,
    pub score: f32,
}

/// An episode found, with the facts that support it.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeHit {
    pub episode: Scored,
    pub facts: Vec<Scored>,
}

/// Something that was skipped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// `vector`, `index`, `rerank`, …
    pub stage: &'static str,
    /// Machine-readable class: `no_model`, `provider_down`, `rebuilding`, …
    pub code: &'static str,
    /// A sentence for a person.
    pub reason: String,
}

/// A message accepted but not yet extracted.
#[derive(Clone, Debug, PartialEq)]
pub struct Unprocessed {
    pub scope: Scope,
    pub session_id: String,
    pub message: Message,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchAnswer {
    pub episodes: Vec<EpisodeHit>,
    pub profiles: Vec<Memory>,
    pub agent_cases: Vec<Scored>,
    pub agent_skills: Vec<Scored>,
    pub unprocessed: Vec<Unprocessed>,
    pub degraded: Vec<Degraded>,
    /// The method that was used in the end.
    pub method: Option<Method>,
}
