//! Searching one owner's memories: by words (`keyword`), by meaning (`vector`), or by both and what stands around a hit
//! (`hybrid`, in `search/fused.rs`). Three more ways ask judges, and only these do: `hybrid` with a judge on top (`rerank`), `agentic`, and
//! `llm_multiround` (`rounds`); `judged` is what they share, `prompts` what a language model is asked.
//!
//! What cannot be done is skipped and named in [`SearchAnswer::degraded`]; only a request that asks for exactly the
//! missing thing fails.

mod agentic;
mod fused;
mod judged;
mod prompts;
mod rerank;
mod rounds;
mod why;

pub use judged::{Judged, Round};
pub use why::WhyNot;

use crate::engine::Inner;
use crate::error::Error;
use evermark_core::error::ErrorKind;
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope, Track};
use evermark_core::index::{Ask, Evidence, Hit, Index, IndexError, Order, Question, Recall, Wanted};
use evermark_core::memory::{Memory, Message};
use evermark_core::ranking::{self, COSINE_WEIGHT, Parts, Stages};
use evermark_core::text;
use evermark_models::provider::MODEL_MISSING;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

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
    /// Have the reranker read what `hybrid` found.
    pub rerank: bool,
    /// Have the language model order what `hybrid` found of an agent's memories.
    pub enable_llm_rerank: bool,
    /// The wire's filter object, uncompiled.
    pub filters: Option<Value>,
    /// Whether hits say what their score is made of.
    pub explain: bool,
    /// A memory that is missed: the answer says why it is not in it.
    pub why_not: Option<String>,
    /// How long the search may take. What does not fit is left out and named; the answer comes late rather than empty.
    pub deadline: Option<Duration>,
    /// Parts of the hybrid ranking at work.
    pub stages: Stages,
}

impl SearchRequest {
    /// Makes a question with everything else as it is when nothing is asked for.
    pub fn new(owner: Owner, query: impl Into<String>) -> Self {
        Self {
            owner,
            query: query.into(),
            method: None,
            top_k: None,
            radius: None,
            min_score: None,
            include_profile: false,
            rerank: false,
            enable_llm_rerank: false,
            filters: None,
            explain: false,
            why_not: None,
            deadline: None,
            stages: Stages::ALL,
        }
    }
}

/// A memory found, and how well it fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub memory: Memory,
    /// `keyword`: BM25. `vector`: cosine, 0 to 1. All others: the chance that it answers, 0 to 1, as `hybrid` or a judge says.
    pub score: f32,
    /// What the score is made of, when that was asked for.
    pub explain: Option<Explain>,
}

/// What a score is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Explain {
    /// BM25 of its own text; `None` when words were not looked at.
    pub words: Option<f32>,
    /// Cosine of its own vector; `None` when it has none, or meaning was not looked at.
    pub cosine: Option<f32>,
    /// The sum that `hybrid` orders by.
    pub parts: Option<Parts>,
    /// What judges say, where they were asked.
    pub judged: Option<Judged>,
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
    /// `vector`, `index`, `context`, `recall`, `rerank`, `sufficiency`, `queries`, `decider`, `llm_rerank`.
    pub stage: &'static str,
    /// Machine-readable class: `no_model`, `unreadable`, `rebuilding`, `deadline`, or that of a provider's failure.
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
    /// Why the memory named in the request is not among these.
    pub why_not: Option<WhyNot>,
    /// What was asked in each round, when that was to be explained and the method has rounds.
    pub rounds: Vec<Round>,
}

/// Most results a request may ask for, and what -1 stands for with episodes.
pub const TOP_K_MAX: usize = 100;
/// What -1 stands for with an agent's cases and skills.
const TOP_K_AGENT: usize = 10;
/// Floor on cosine that -1 implies for dense recall.
const RADIUS_IMPLIED: f32 = 0.5;
/// Facts looked at per result wanted, and at most, when episodes are ranked by their facts.
const FACTS_PER_RESULT: usize = 20;
const FACTS_MAX: usize = 2000;
/// Facts shown under an episode.
const FACTS_SHOWN: usize = 3;

/// What a row that holds another spelling of a word gains, and how many spellings of one word are tried.
const RESPELLED_WEIGHT: f32 = 0.6;
const RESPELLED_MAX: usize = 3;

/// One search under way.
struct Search<'a> {
    inner: &'a Inner,
    index: &'a dyn Index,
    request: &'a SearchRequest,
    filter: Filter,
    terms: Vec<String>,
    vector: Option<Vec<f32>>,
    limit: usize,
    radius: Option<f32>,
    /// On the monotonic clock.
    until: Option<Duration>,
}

impl Inner {
    pub(crate) fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, Error> {
        if request.query.is_empty() {
            return Err(Error::Invalid("query must not be empty".into()));
        }
        let filter = match &request.filters {
            Some(value) => Filter::parse(value, &self.settings.timezone)?,
            None => Filter::everything(),
        };
        for kind in kinds_of(request.owner.track) {
            filter.check_kind(*kind)?;
        }
        let asked = request.method.unwrap_or(Method::Hybrid);
        self.check_judges(request, asked)?;
        let until = request.deadline.map(|deadline| self.world.monotonic().saturating_add(deadline));
        let mut degraded = self.standing_degradations();
        let vector = self.vector_for(request, asked, &mut degraded)?;
        // Who asks in a script that the model cannot read asked for no less than an answer.
        let asked = if asked == Method::Vector && vector.is_none() { Method::Keyword } else { asked };
        let cap = match request.owner.track {
            Track::User => TOP_K_MAX,
            Track::Agent | Track::Knowledge => TOP_K_AGENT,
        };
        let live = self.live();
        let search = Search {
            inner: self,
            index: live.index.as_ref(),
            request,
            filter,
            terms: text::query_terms(&request.query),
            vector,
            limit: request.top_k.unwrap_or(cap),
            radius: request.radius.or((request.top_k.is_none() && asked == Method::Vector).then_some(RADIUS_IMPLIED)),
            until,
        };
        let mut answer = SearchAnswer { method: Some(asked), ..SearchAnswer::default() };
        search.run(asked, &mut answer, &mut degraded)?;
        if let Some(id) = &request.why_not {
            answer.why_not = Some(search.why_not(id, asked, &answer)?);
        }
        // Several recalls may miss the same thing.
        let mut known: Vec<(&str, &str)> = Vec::new();
        degraded.retain(|one| {
            !known.contains(&(one.stage, one.code)) && {
                known.push((one.stage, one.code));
                true
            }
        });
        answer.degraded = degraded;
        if request.include_profile && request.owner.track == Track::User {
            answer.profiles =
                live.index.fetch(&request.owner, Kind::Profile, std::slice::from_ref(&request.owner.id))?;
        }
        if let Some(session_id) = request.filters.as_ref().and_then(Filter::top_level_session) {
            answer.unprocessed = self.unprocessed(&request.owner.scope, session_id)?;
        }
        Ok(answer)
    }

    /// Embeds the query, when the method needs that and it can be done.
    fn vector_for(
        &self,
        request: &SearchRequest,
        asked: Method,
        degraded: &mut Vec<Degraded>,
    ) -> Result<Option<Vec<f32>>, Error> {
        match asked {
            Method::Keyword => return Ok(None),
            Method::Vector | Method::Hybrid | Method::Agentic | Method::LlmMultiround => {}
        }
        let mut without = |code: &'static str, reason: String| {
            degraded.push(Degraded { stage: "vector", code, reason });
            Ok(None)
        };
        if let Some(absent) = &self.absent {
            if asked == Method::Vector {
                return Err(IndexError::new(ErrorKind::Unavailable, absent.reason.clone()).into());
            }
            return without(MODEL_MISSING, format!("{}; the answer comes from words alone", absent.reason));
        }
        let Some(embedder) = &self.embedder else {
            if asked == Method::Vector {
                return Err(Error::NotConfigured { feature: "vector", provider: "embedding" });
            }
            return without(
                "no_model",
                "no embedding model is configured, so the answer comes from words alone".into(),
            );
        };
        if !self.live().has_vectors_of(embedder.model()) {
            if asked == Method::Vector {
                let reason = "vectors of the configured model are still being built";
                return Err(IndexError::new(ErrorKind::Unavailable, reason).into());
            }
            let reason = "vectors of the configured model are still being built; the answer comes from words alone";
            return without("building", reason.into());
        }
        let limit = self.settings.query_embed_timeout;
        match embedder.query(&request.query, request.deadline.map_or(limit, |deadline| deadline.min(limit))) {
            Ok(vector) => Ok(Some(vector)),
            Err(error) if asked == Method::Vector && !error.is_unreadable() => Err(error.into()),
            Err(error) => without(error.class, format!("{error}; the answer comes from words alone")),
        }
    }
}

fn kinds_of(track: Track) -> &'static [Kind] {
    match track {
        Track::User => &[Kind::Episode],
        Track::Agent => &[Kind::AgentCase, Kind::AgentSkill],
        Track::Knowledge => &[Kind::KnowledgeTopic],
    }
}

impl Search<'_> {
    fn run(&self, method: Method, answer: &mut SearchAnswer, degraded: &mut Vec<Degraded>) -> Result<(), Error> {
        match method {
            Method::Agentic => return self.agentic(answer, degraded),
            Method::LlmMultiround => return self.multiround(answer, degraded),
            Method::Hybrid if self.request.rerank => return self.reranked(answer, degraded),
            Method::Hybrid if self.inner.is_llm_ranked(self.request, method) => {
                return self.llm_ranked(answer, degraded);
            }
            Method::Keyword | Method::Vector | Method::Hybrid => {}
        }
        match self.request.owner.track {
            Track::User => answer.episodes = self.episodes(method, degraded)?,
            Track::Agent => {
                answer.agent_cases = self.rows(Kind::AgentCase, method)?;
                answer.agent_skills = self.rows(Kind::AgentSkill, method)?;
            }
            Track::Knowledge => {}
        }
        Ok(())
    }

    fn ask(&self, kind: Kind, limit: usize) -> Ask<'_> {
        Ask {
            owner: &self.request.owner,
            kind,
            filter: &self.filter,
            parents: None,
            ids: None,
            deprecated: false,
            limit,
        }
    }

    fn keyword(&self, kind: Kind, limit: usize) -> Result<Vec<Hit>, Error> {
        if self.terms.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.index.matching(&self.ask(kind, limit), &self.terms)?)
    }

    /// Dense recall: cosine clamped to [0, 1], at least `radius`.
    fn dense(&self, kind: Kind, limit: usize) -> Result<Vec<Hit>, Error> {
        let Some(vector) = &self.vector else { return Ok(Vec::new()) };
        let mut hits = self.index.nearest(&self.ask(kind, limit), vector)?;
        clamp(&mut hits);
        hits.retain(|hit| self.radius.is_none_or(|radius| hit.score >= radius));
        Ok(hits)
    }

    fn episodes(&self, method: Method, degraded: &mut Vec<Degraded>) -> Result<Vec<EpisodeHit>, Error> {
        match method {
            Method::Vector => self.episodes_by_meaning(),
            Method::Hybrid => self.fused_episodes(degraded),
            Method::Keyword | Method::Agentic | Method::LlmMultiround => {
                let hits = self.keyword(Kind::Episode, self.limit)?;
                let mut found = self.with_episodes(&hits)?;
                self.attach_facts(&mut found)?;
                Ok(found)
            }
        }
    }

    /// Ranks episodes by their best fact; by their own vector when no fact is near.
    fn episodes_by_meaning(&self) -> Result<Vec<EpisodeHit>, Error> {
        let Some(vector) = &self.vector else { return Ok(Vec::new()) };
        let pool = (self.limit * FACTS_PER_RESULT).min(FACTS_MAX);
        let mut facts = self.index.nearest(&self.ask(Kind::AtomicFact, pool), vector)?;
        clamp(&mut facts);
        let mut best = ranking::max_by_parent(facts.iter().map(|hit| (hit.parent_id.as_deref(), hit.score)));
        best.truncate(self.limit);
        let hit = |(entry, score): (String, f32)| Hit { id: self.row_id(&entry), parent_id: None, score };
        let ids: Vec<Hit> = best.into_iter().map(hit).collect();
        let mut found = self.with_episodes(&ids)?;
        if found.is_empty() {
            let hits = self.dense(Kind::Episode, self.limit)?;
            found = self.with_episodes(&hits)?;
        }
        found.retain(|hit| self.radius.is_none_or(|radius| hit.episode.score >= radius));
        self.attach_facts(&mut found)?;
        Ok(found)
    }

    /// Gives episodes that have none the facts that speak to the query, a few each.
    fn attach_facts(&self, found: &mut [EpisodeHit]) -> Result<(), Error> {
        let parents: Vec<String> =
            found.iter().filter(|hit| hit.facts.is_empty()).map(|hit| hit.episode.memory.entry_id.clone()).collect();
        if parents.is_empty() {
            return Ok(());
        }
        let everything = Filter::everything();
        let ask = Ask {
            owner: &self.request.owner,
            kind: Kind::AtomicFact,
            filter: &everything,
            parents: Some(&parents),
            ids: None,
            deprecated: false,
            limit: parents.len() * FACTS_SHOWN * 4,
        };
        let mut hits = match &self.vector {
            Some(vector) => self.index.nearest(&ask, vector)?,
            None if self.terms.is_empty() => Vec::new(),
            None => self.index.matching(&ask, &self.terms)?,
        };
        if self.vector.is_some() {
            clamp(&mut hits);
        }
        let mut shown: HashMap<String, usize> = HashMap::new();
        hits.retain(|hit| {
            let count = shown.entry(hit.parent_id.clone().unwrap_or_default()).or_default();
            *count += 1;
            *count <= FACTS_SHOWN
        });
        let mut memories = self.fetch(Kind::AtomicFact, hits.iter().map(|hit| hit.id.clone()).collect())?;
        let mut by_parent: HashMap<String, Vec<Scored>> = HashMap::new();
        for hit in hits {
            if let (Some(parent), Some(memory)) = (hit.parent_id, memories.remove(&hit.id)) {
                let explain = self.explained(hit.score);
                by_parent.entry(parent).or_default().push(Scored { memory, score: hit.score, explain });
            }
        }
        for hit in found.iter_mut().filter(|hit| hit.facts.is_empty()) {
            hit.facts = by_parent.remove(&hit.episode.memory.entry_id).unwrap_or_default();
        }
        Ok(())
    }

    fn with_episodes(&self, hits: &[Hit]) -> Result<Vec<EpisodeHit>, Error> {
        let scored = self.scored(Kind::Episode, hits)?;
        Ok(scored.into_iter().map(|episode| EpisodeHit { episode, facts: Vec::new() }).collect())
    }

    /// An agent's cases or skills.
    fn rows(&self, kind: Kind, method: Method) -> Result<Vec<Scored>, Error> {
        match method {
            Method::Vector => self.scored(kind, &self.dense(kind, self.limit)?),
            Method::Hybrid => self.fused_rows(kind),
            Method::Keyword | Method::Agentic | Method::LlmMultiround => {
                self.scored(kind, &self.keyword(kind, self.limit)?)
            }
        }
    }

    /// Returns the id of an entry's row.
    fn row_id(&self, entry: &str) -> String {
        format!("{}_{entry}", self.request.owner.id)
    }

    /// Returns what the score of a single leg is made of.
    fn explained(&self, score: f32) -> Option<Explain> {
        let by_words = self.vector.is_none();
        self.request.explain.then(|| Explain {
            words: by_words.then_some(score),
            cosine: (!by_words).then_some(score),
            parts: None,
            judged: None,
        })
    }

    fn fetch(&self, kind: Kind, ids: Vec<String>) -> Result<HashMap<String, Memory>, Error> {
        let memories = self.index.fetch(&self.request.owner, kind, &ids)?;
        Ok(memories.into_iter().map(|memory| (memory.id.clone(), memory)).collect())
    }

    fn scored(&self, kind: Kind, hits: &[Hit]) -> Result<Vec<Scored>, Error> {
        let mut memories = self.fetch(kind, hits.iter().map(|hit| hit.id.clone()).collect())?;
        // A filter on the parent search does not bind the facts' episodes: check again what is returned.
        Ok(hits
            .iter()
            .filter_map(|hit| {
                let explain = self.explained(hit.score);
                memories.remove(&hit.id).map(|memory| Scored { memory, score: hit.score, explain })
            })
            .filter(|scored| self.filter.matches(&scored.memory) && scored.memory.deprecated_by.is_none())
            .collect())
    }
}

fn clamp(hits: &mut [Hit]) {
    for hit in hits {
        hit.score = hit.score.clamp(0.0, 1.0);
    }
}
