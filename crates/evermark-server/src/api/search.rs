//! `POST /memory/search`.

use super::add::RoleName;
use super::memory::{AgentCaseItem, AgentSkillItem, EpisodeItem, FactItem, MemoryItem, ProfileItem, content};
use super::{add, default_scope};
use crate::check::{Fields, Given, Invalid};
use crate::stamp;
use evermark_core::id::{Owner, Scope};
use evermark_core::ranking::Stages;
use evermark_engine::search::{Degraded, Explain, Method, Round, SearchAnswer, SearchRequest, Unprocessed, WhyNot};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use utoipa::ToSchema;

/// A question about one owner's memories. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchRequest)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// Whose memories: exactly one of this and `agent_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub agent_id: Option<String>,
    #[serde(default = "default_scope")]
    #[schema(default = "default")]
    pub app_id: String,
    #[serde(default = "default_scope")]
    #[schema(default = "default")]
    pub project_id: String,
    #[schema(min_length = 1)]
    pub query: String,
    /// Without it, and for `hybrid`: by words and meaning with an embedding model, by words without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(default = "hybrid")]
    pub method: Option<MethodName>,
    /// 1 to 100, or -1 for as many as the method gives.
    #[serde(default = "any")]
    #[schema(minimum = -1, maximum = 100, default = -1)]
    pub top_k: i64,
    /// Floor of cosine similarity; never filters what was found by words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub radius: Option<f64>,
    /// Floor of the final score, the chance that a memory answers; `hybrid`, `agentic` and `llm_multiround`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub min_score: Option<f64>,
    /// Also return the user's profile.
    #[serde(default)]
    #[schema(default = false)]
    pub include_profile: bool,
    /// `hybrid` for an agent: the language model orders what is found. Means nothing for users.
    #[serde(default)]
    #[schema(default = false)]
    pub enable_llm_rerank: bool,
    /// `hybrid`: the reranker reads what is found; `top_k` counts episodes then. Ours.
    #[serde(default)]
    #[schema(default = false)]
    pub rerank: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FilterNode>)]
    pub filters: Option<Value>,
    /// Also say what each score is made of. Ours.
    #[serde(default)]
    #[schema(default = false)]
    pub explain: bool,
    /// The id of a memory that is missed: the answer says why it is not in it. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub why_not: Option<String>,
    /// Milliseconds the search may take; what does not fit is left out and named in `degraded`. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600_000)]
    pub deadline_ms: Option<i64>,
}

/// A filter, as the document shows it; requests carry it as it was sent, and the engine reads it.
///
/// All keys of a node must hold: `AND` and `OR` combine nodes, any other key is a field (`session_id`, `timestamp`,
/// `sender_id`, `parent_type`, `parent_id`) with a value, or with `{op: value}` of `eq ne gt gte lt lte in`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilterNode {
    #[serde(rename = "AND", default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub and: Option<Vec<FilterNode>>,
    #[serde(rename = "OR", default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub or: Option<Vec<FilterNode>>,
    #[serde(flatten)]
    pub clauses: serde_json::Map<String, Value>,
}

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchMethod)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    Keyword,
    Vector,
    Hybrid,
    Agentic,
    LlmMultiround,
}

const METHODS: [(&str, MethodName); 5] = [
    ("keyword", MethodName::Keyword),
    ("vector", MethodName::Vector),
    ("hybrid", MethodName::Hybrid),
    ("agentic", MethodName::Agentic),
    ("llm_multiround", MethodName::LlmMultiround),
];

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Keyword => Self::Keyword,
            MethodName::Vector => Self::Vector,
            MethodName::Hybrid => Self::Hybrid,
            MethodName::Agentic => Self::Agentic,
            MethodName::LlmMultiround => Self::LlmMultiround,
        }
    }
}

impl From<Method> for MethodName {
    fn from(method: Method) -> Self {
        match method {
            Method::Keyword => Self::Keyword,
            Method::Vector => Self::Vector,
            Method::Hybrid => Self::Hybrid,
            Method::Agentic => Self::Agentic,
            Method::LlmMultiround => Self::LlmMultiround,
        }
    }
}

/// Longest deadline of a search: beyond it, none is as good.
const DEADLINE_MS_MAX: i64 = 600_000;

fn any() -> i64 {
    -1
}

impl SearchBody {
    /// Returns the question that `body` is.
    pub fn read(body: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(body, "")?;
        let (user_id, agent_id) = owners(&fields)?;
        let read = Self {
            user_id,
            agent_id,
            app_id: fields.field("app_id").or(default_scope(), Given::string)?,
            project_id: fields.field("project_id").or(default_scope(), Given::string)?,
            query: fields.field("query").required()?.non_empty()?,
            method: fields.field("method").or(None, |method| method.choice(&METHODS).map(Some))?,
            top_k: fields.field("top_k").or(any(), Given::integer)?,
            radius: fields.field("radius").optional(Given::share)?,
            min_score: fields.field("min_score").optional(Given::share)?,
            include_profile: fields.field("include_profile").or(false, Given::boolean)?,
            enable_llm_rerank: fields.field("enable_llm_rerank").or(false, Given::boolean)?,
            rerank: fields.field("rerank").or(false, Given::boolean)?,
            filters: fields.field("filters").optional(filter)?,
            explain: fields.field("explain").or(false, Given::boolean)?,
            why_not: fields.field("why_not").optional(Given::non_empty)?,
            deadline_ms: fields.field("deadline_ms").optional(Given::integer)?,
        };
        fields.only(&[
            "user_id",
            "agent_id",
            "app_id",
            "project_id",
            "query",
            "method",
            "top_k",
            "radius",
            "min_score",
            "include_profile",
            "enable_llm_rerank",
            "rerank",
            "filters",
            "explain",
            "why_not",
            "deadline_ms",
        ])?;
        one_owner(&fields, &read.user_id, &read.agent_id)?;
        if read.top_k != -1 && !(1..=100).contains(&read.top_k) {
            return Err(fields.wrong("top_k must be -1 or in 1..100"));
        }
        if read.deadline_ms.is_some_and(|ms| !(1..=DEADLINE_MS_MAX).contains(&ms)) {
            return Err(fields.wrong("deadline_ms must be in 1..600000"));
        }
        Ok(read)
    }
}

pub(super) fn owners(fields: &Fields<'_>) -> Result<(Option<String>, Option<String>), Invalid> {
    Ok((fields.field("user_id").optional(Given::non_empty)?, fields.field("agent_id").optional(Given::non_empty)?))
}

pub(super) fn one_owner(
    fields: &Fields<'_>,
    user_id: &Option<String>,
    agent_id: &Option<String>,
) -> Result<(), Invalid> {
    if user_id.is_some() == agent_id.is_some() {
        return Err(fields.wrong("exactly one of user_id / agent_id must be provided"));
    }
    Ok(())
}

/// Checks a filter's shape (objects and lists); what its fields mean is the engine's to say.
///
/// Recursion is safe: the JSON reader refuses more than 128 levels.
pub(super) fn filter(node: Given<'_>) -> Result<Value, Invalid> {
    let value = node.value;
    let fields = node.fields()?;
    for key in ["AND", "OR"] {
        fields.field(key).optional(|nodes| nodes.list()?.into_iter().try_for_each(|node| filter(node).map(drop)))?;
    }
    Ok(value.clone())
}

pub(super) fn owner(app_id: String, project_id: String, user_id: Option<String>, agent_id: Option<String>) -> Owner {
    let scope = Scope::new(app_id, project_id);
    match (user_id, agent_id) {
        (None, Some(agent)) => Owner::agent(scope, agent),
        (user, _) => Owner::user(scope, user.unwrap_or_default()),
    }
}

impl From<SearchBody> for SearchRequest {
    fn from(body: SearchBody) -> Self {
        Self {
            owner: owner(body.app_id, body.project_id, body.user_id, body.agent_id),
            query: body.query,
            method: body.method.map(Method::from),
            top_k: usize::try_from(body.top_k).ok(),
            radius: body.radius.map(|radius| radius as f32),
            min_score: body.min_score.map(|score| score as f32),
            include_profile: body.include_profile,
            enable_llm_rerank: body.enable_llm_rerank,
            rerank: body.rerank,
            filters: body.filters,
            explain: body.explain,
            why_not: body.why_not,
            deadline: body.deadline_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            stages: Stages::ALL,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchData {
    pub episodes: Vec<SearchEpisode>,
    pub profiles: Vec<SearchProfile>,
    pub agent_cases: Vec<SearchAgentCase>,
    pub agent_skills: Vec<SearchAgentSkill>,
    /// Messages of the session named by a plain `filters.session_id` that are not extracted yet, oldest first.
    pub unprocessed_messages: Vec<UnprocessedItem>,
    /// The method that was used in the end. Ours.
    pub method: Option<MethodName>,
    /// What was skipped, and why. Ours.
    pub degraded: Vec<DegradedItem>,
    /// Why the memory that `why_not` names is not among these; only when that was asked. Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<WhyNotItem>,
    /// What was asked in each round, and what the language model said; only with `explain`, and where there are rounds. Ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<RoundItem>,
}

/// One round of questions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchRound)]
pub struct RoundItem {
    /// What was searched for.
    pub questions: Vec<String>,
    /// Memories that no round before had found.
    pub new: usize,
    /// Whether the language model took what was found for enough; null when it did not say.
    pub is_sufficient: Option<bool>,
    /// Why, in its words; at most 500 characters.
    pub reasoning: Option<String>,
    /// What it missed, in its words.
    pub missing: Vec<String>,
    /// Ids of the memories that it chose.
    pub core: Vec<String>,
}

impl From<Round> for RoundItem {
    fn from(round: Round) -> Self {
        Self {
            questions: round.questions,
            new: round.n_new,
            is_sufficient: round.is_sufficient,
            reasoning: round.reasoning,
            missing: round.missing,
            core: round.core,
        }
    }
}

/// What a score is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScoreExplanation)]
pub struct ExplainItem {
    /// BM25 of its own text; null where words were not looked at.
    pub bm25: Option<f32>,
    /// Cosine of its own vector, -1 to 1; null where there is none, or meaning was not looked at.
    pub cosine: Option<f32>,
    /// Only for `hybrid` and what is built on it: the parts of the sum it orders by.
    pub parts: Option<PartsItem>,
    /// What the reranker and the language model say; only where they were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<JudgedItem>,
}

/// What judges say of one hit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScoreJudged)]
pub struct JudgedItem {
    /// The chance by `hybrid`, of the question that found it best.
    pub chance: f32,
    /// The reranker's score.
    pub rerank: Option<f32>,
    /// The language model's score.
    pub llm: Option<f32>,
    /// The round that found it first, from 0.
    pub round: usize,
    /// Whether the language model chose it.
    pub core: bool,
}

/// The parts of the sum that `hybrid` orders by, in units of BM25.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScoreParts)]
pub struct PartsItem {
    /// Its own words.
    pub words: f32,
    /// Its own meaning: how far its cosine lies above that of unrelated memories, weighted.
    pub meaning: f32,
    /// From the facts said right before and after.
    pub neighbours: f32,
    /// From the strongest facts of the same episode.
    pub siblings: f32,
    /// From the episode as a whole.
    pub episode: f32,
    /// From a date that the question names, or a phrase that it quotes.
    pub precise: f32,
    pub total: f32,
}

impl From<Explain> for ExplainItem {
    fn from(explain: Explain) -> Self {
        let parts = explain.parts.map(|parts| PartsItem {
            words: parts.words,
            meaning: parts.meaning,
            neighbours: parts.neighbours,
            siblings: parts.siblings,
            episode: parts.episode,
            precise: parts.precise,
            total: parts.total,
        });
        let judged = explain.judged.map(|judged| JudgedItem {
            chance: judged.chance,
            rerank: judged.rerank,
            llm: judged.llm,
            round: judged.round,
            core: judged.is_core,
        });
        Self { bm25: explain.words, cosine: explain.cosine, parts, judged }
    }
}

/// Why a memory is not in an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = WhyNot)]
pub struct WhyNotItem {
    pub id: String,
    /// `returned`, `unknown`, `not_indexed`, `replaced`, `filtered`, `no_match`, `radius`, `min_score`, `top_k`, `judged`.
    pub code: String,
    /// A sentence for a person.
    pub reason: String,
    pub score: Option<f32>,
    /// Its place, 1-based, in its list (a fact's: among all facts), if the request had no floors and the largest `top_k`.
    pub place: Option<usize>,
    pub explain: Option<ExplainItem>,
}

impl From<WhyNot> for WhyNotItem {
    fn from(why: WhyNot) -> Self {
        Self {
            id: why.id,
            code: why.code.to_owned(),
            reason: why.reason,
            score: why.score,
            place: why.place,
            explain: why.explain.map(ExplainItem::from),
        }
    }
}

/// An episode found, with the facts that speak for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchEpisodeItem)]
pub struct SearchEpisode {
    #[serde(flatten)]
    pub item: EpisodeItem,
    pub score: f32,
    pub atomic_facts: Vec<FactItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<ExplainItem>,
}

/// A profile; it is not ranked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchProfileItem)]
pub struct SearchProfile {
    #[serde(flatten)]
    pub item: ProfileItem,
    pub score: Option<f32>,
}

/// A case found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchAgentCaseItem)]
pub struct SearchAgentCase {
    #[serde(flatten)]
    pub item: AgentCaseItem,
    pub score: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<ExplainItem>,
}

/// A skill found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = SearchAgentSkillItem)]
pub struct SearchAgentSkill {
    #[serde(flatten)]
    pub item: AgentSkillItem,
    pub score: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<ExplainItem>,
}

/// A message accepted but not yet extracted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UnprocessedMessageDTO)]
pub struct UnprocessedItem {
    pub id: String,
    pub app_id: String,
    pub project_id: String,
    pub session_id: String,
    pub sender_id: String,
    pub sender_name: Option<String>,
    pub role: RoleName,
    /// Text, or the list of parts.
    #[schema(value_type = add::Content)]
    pub content: Value,
    #[schema(format = DateTime)]
    pub timestamp: String,
    #[schema(value_type = Option<Vec<Object>>)]
    pub tool_calls: Option<Value>,
    pub tool_call_id: Option<String>,
}

/// Something that was skipped, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Degraded)]
pub struct DegradedItem {
    /// `vector`, `index`, `context`, `recall`, `rerank`, `sufficiency`, `queries`, `decider`, `llm_rerank`.
    pub stage: String,
    /// `no_model`, `rebuilding`, `deadline`, `timeout`, …
    pub code: String,
    /// A sentence for a person.
    pub reason: String,
}

impl From<Degraded> for DegradedItem {
    fn from(degraded: Degraded) -> Self {
        Self { stage: degraded.stage.to_owned(), code: degraded.code.to_owned(), reason: degraded.reason }
    }
}

impl SearchData {
    /// Returns the engine's answer as the wire shows it, its times in `zone`.
    pub fn of(answer: SearchAnswer, zone: &TimeZone) -> Self {
        let mut data = Self {
            unprocessed_messages: answer
                .unprocessed
                .into_iter()
                .map(|message| UnprocessedItem::of(message, zone))
                .collect(),
            method: answer.method.map(MethodName::from),
            degraded: answer.degraded.into_iter().map(DegradedItem::from).collect(),
            why_not: answer.why_not.map(WhyNotItem::from),
            rounds: answer.rounds.into_iter().map(RoundItem::from).collect(),
            ..Self::default()
        };
        for hit in answer.episodes {
            if let Some(MemoryItem::Episode(item)) = MemoryItem::of(hit.episode.memory, zone) {
                let facts = hit.facts.into_iter().filter_map(|fact| {
                    let explain = fact.explain.map(ExplainItem::from);
                    FactItem::of(fact.memory, fact.score).map(|item| FactItem { explain, ..item })
                });
                let atomic_facts = facts.collect();
                let (score, explain) = (hit.episode.score, hit.episode.explain.map(ExplainItem::from));
                data.episodes.push(SearchEpisode { item, score, atomic_facts, explain });
            }
        }
        for profile in answer.profiles {
            if let Some(MemoryItem::Profile(item)) = MemoryItem::of(profile, zone) {
                data.profiles.push(SearchProfile { item, score: None });
            }
        }
        for hit in answer.agent_cases {
            if let Some(MemoryItem::AgentCase(item)) = MemoryItem::of(hit.memory, zone) {
                let explain = hit.explain.map(ExplainItem::from);
                data.agent_cases.push(SearchAgentCase { item, score: hit.score, explain });
            }
        }
        for hit in answer.agent_skills {
            if let Some(MemoryItem::AgentSkill(item)) = MemoryItem::of(hit.memory, zone) {
                let explain = hit.explain.map(ExplainItem::from);
                data.agent_skills.push(SearchAgentSkill { item, score: hit.score, explain });
            }
        }
        data
    }
}

impl UnprocessedItem {
    fn of(unprocessed: Unprocessed, zone: &TimeZone) -> Self {
        let message = unprocessed.message;
        Self {
            id: message.id,
            app_id: unprocessed.scope.app,
            project_id: unprocessed.scope.project,
            session_id: unprocessed.session_id,
            sender_id: message.sender_id,
            sender_name: message.sender_name,
            role: message.role.into(),
            content: content(message.items),
            timestamp: stamp::payload(message.timestamp_ms.saturating_mul(1000), zone),
            tool_calls: message.tool_calls,
            tool_call_id: message.tool_call_id,
        }
    }
}
