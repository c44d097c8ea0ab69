//! Searching: keyword (BM25), vector (cosine) and hybrid, over one owner's memories.
//!
//! What cannot be done is skipped and named in [`SearchAnswer::degraded`]; only a request that asks for exactly the
//! missing thing fails.

use crate::engine::Inner;
use crate::error::Error;
use evermark_core::error::ErrorKind;
use evermark_core::filter::Filter;
use evermark_core::fusion;
use evermark_core::id::{Kind, Owner, Scope, Track};
use evermark_core::index::{Ask, Hit, Index, IndexError};
use evermark_core::memory::{Memory, Message};
use evermark_core::text;
use serde_json::Value;
use std::collections::HashMap;

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

/// One search under way.
struct Search<'a> {
    index: &'a dyn Index,
    request: &'a SearchRequest,
    filter: Filter,
    terms: Vec<String>,
    vector: Option<Vec<f32>>,
    limit: usize,
    /// How many candidates each leg recalls.
    recall: usize,
    radius: Option<f32>,
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
        let mut degraded = self.standing_degradations();
        let (method, vector) = self.method_for(request, asked, &mut degraded)?;
        let cap = match request.owner.track {
            Track::User => TOP_K_MAX,
            Track::Agent | Track::Knowledge => TOP_K_AGENT,
        };
        let live = self.live();
        let search = Search {
            index: live.index.as_ref(),
            request,
            filter,
            terms: text::query_terms(&request.query),
            vector,
            limit: request.top_k.unwrap_or(cap),
            recall: request.top_k.map_or(cap, |top_k| top_k * 2),
            radius: request.radius.or(request.top_k.is_none().then_some(RADIUS_IMPLIED)),
        };
        let mut answer = SearchAnswer { degraded, method: Some(method), ..SearchAnswer::default() };
        match request.owner.track {
            Track::User => answer.episodes = search.episodes(method)?,
            Track::Agent => {
                answer.agent_cases = search.cases(method)?;
                answer.agent_skills = search.skills(method)?;
            }
            Track::Knowledge => {}
        }
        if request.include_profile && request.owner.track == Track::User {
            answer.profiles =
                search.index.fetch(&request.owner, Kind::Profile, std::slice::from_ref(&request.owner.id))?;
        }
        if let Some(session_id) = request.filters.as_ref().and_then(Filter::top_level_session) {
            answer.unprocessed = self.unprocessed(&request.owner.scope, session_id)?;
        }
        Ok(answer)
    }

    /// Decides how to search, and embeds the query when that needs it.
    fn method_for(
        &self,
        request: &SearchRequest,
        asked: Method,
        degraded: &mut Vec<Degraded>,
    ) -> Result<(Method, Option<Vec<f32>>), Error> {
        match asked {
            Method::Keyword => return Ok((Method::Keyword, None)),
            Method::Agentic => return Err(Error::NotConfigured { feature: "agentic_search", provider: "llm" }),
            Method::LlmMultiround => return Err(Error::NotConfigured { feature: "llm_multiround", provider: "llm" }),
            Method::Vector | Method::Hybrid => {}
        }
        let Some(embedder) = &self.embedder else {
            if asked == Method::Vector {
                return Err(Error::NotConfigured { feature: "vector", provider: "embedding" });
            }
            degraded.push(Degraded {
                stage: "vector",
                code: "no_model",
                reason: "no embedding model is configured, so the answer comes from keywords alone".into(),
            });
            return Ok((Method::Keyword, None));
        };
        if !self.live().has_vectors_of(embedder.model()) {
            if asked == Method::Vector {
                let reason = "vectors of the configured model are still being built";
                return Err(IndexError::new(ErrorKind::Unavailable, reason).into());
            }
            degraded.push(Degraded {
                stage: "vector",
                code: "building",
                reason: "vectors of the configured model are still being built; the answer comes from keywords alone"
                    .into(),
            });
            return Ok((Method::Keyword, None));
        }
        match embedder.query(&request.query, self.settings.query_embed_timeout) {
            Ok(vector) => Ok((asked, Some(vector))),
            Err(error) if asked == Method::Vector => Err(error.into()),
            Err(error) => {
                degraded.push(Degraded {
                    stage: "vector",
                    code: error.class,
                    reason: format!("{error}; the answer comes from keywords alone"),
                });
                Ok((Method::Keyword, None))
            }
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

    fn episodes(&self, method: Method) -> Result<Vec<EpisodeHit>, Error> {
        match method {
            Method::Vector => self.episodes_by_meaning(),
            Method::Hybrid => self.episodes_by_both(),
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
        let mut best = fusion::max_by_parent(&facts);
        best.truncate(self.limit);
        let prefix = format!("{}_", self.request.owner.id);
        let ids: Vec<Hit> = best
            .into_iter()
            .map(|hit| Hit { id: format!("{prefix}{}", hit.id), parent_id: None, score: hit.score })
            .collect();
        let mut found = self.with_episodes(&ids)?;
        if found.is_empty() {
            let hits = self.dense(Kind::Episode, self.limit)?;
            found = self.with_episodes(&hits)?;
        }
        found.retain(|hit| self.radius.is_none_or(|radius| hit.episode.score >= radius));
        self.attach_facts(&mut found)?;
        Ok(found)
    }

    fn episodes_by_both(&self) -> Result<Vec<EpisodeHit>, Error> {
        let sparse = self.keyword(Kind::Episode, self.recall)?;
        let dense = self.dense(Kind::Episode, self.recall)?;
        let candidates: Vec<Hit> = fusion::union(&sparse, &dense);
        let episodes = self.fetch(Kind::Episode, candidates.iter().map(|hit| hit.id.clone()).collect())?;
        let parents = episodes
            .values()
            .flat_map(|episode| std::iter::once(episode.entry_id.clone()).chain(episode.parent_id.clone()));
        let parents: Vec<String> = parents.collect();
        let facts = self.facts_under(&parents)?;
        let ranked = fusion::hierarchy(&fusion::Hierarchy {
            sparse: &sparse,
            dense: &dense,
            parents_of: &|id| {
                episodes.get(id).map_or_else(Vec::new, |episode| {
                    std::iter::once(episode.entry_id.clone()).chain(episode.parent_id.clone()).collect()
                })
            },
            facts: &facts,
            top_k: self.limit,
            min_score: self.request.min_score,
        });
        let fact_ids = ranked.iter().flat_map(|hit| hit.facts.iter().map(|fact| fact.id.clone())).collect();
        let mut fact_memories = self.fetch(Kind::AtomicFact, fact_ids)?;
        let mut found = Vec::new();
        for hit in ranked {
            let Some(memory) = episodes.get(&hit.id) else { continue };
            let facts = hit
                .facts
                .iter()
                .filter_map(|fact| fact_memories.remove(&fact.id).map(|memory| Scored { memory, score: fact.score }))
                .collect();
            found.push(EpisodeHit { episode: Scored { memory: memory.clone(), score: hit.score }, facts });
        }
        self.attach_facts(&mut found)?;
        Ok(found)
    }

    /// Cosine of the facts below these parents, best first.
    fn facts_under(&self, parents: &[String]) -> Result<Vec<Hit>, Error> {
        let Some(vector) = &self.vector else { return Ok(Vec::new()) };
        if parents.is_empty() {
            return Ok(Vec::new());
        }
        let limit = (self.limit * 2).max(20) * parents.len();
        let ask = Ask { parents: Some(parents), ..self.ask(Kind::AtomicFact, limit) };
        let mut hits = self.index.nearest(&ask, vector)?;
        clamp(&mut hits);
        Ok(hits)
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
                by_parent.entry(parent).or_default().push(Scored { memory, score: hit.score });
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

    fn cases(&self, method: Method) -> Result<Vec<Scored>, Error> {
        let hits = match method {
            Method::Vector => self.dense(Kind::AgentCase, self.limit)?,
            Method::Hybrid => {
                let sparse = self.keyword(Kind::AgentCase, self.recall)?;
                let dense = self.dense(Kind::AgentCase, self.recall)?;
                fusion::vector_anchored(&sparse, &dense)
            }
            Method::Keyword | Method::Agentic | Method::LlmMultiround => self.keyword(Kind::AgentCase, self.limit)?,
        };
        self.scored(Kind::AgentCase, &hits[..hits.len().min(self.limit)])
    }

    fn skills(&self, method: Method) -> Result<Vec<Scored>, Error> {
        let hits = match method {
            Method::Vector => self.dense(Kind::AgentSkill, self.limit)?,
            Method::Hybrid => {
                let sparse = self.keyword(Kind::AgentSkill, self.recall)?;
                let dense = self.dense(Kind::AgentSkill, self.recall)?;
                fusion::rrf(&[&sparse, &dense])
            }
            Method::Keyword | Method::Agentic | Method::LlmMultiround => self.keyword(Kind::AgentSkill, self.limit)?,
        };
        self.scored(Kind::AgentSkill, &hits[..hits.len().min(self.limit)])
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
            .filter_map(|hit| memories.remove(&hit.id).map(|memory| Scored { memory, score: hit.score }))
            .filter(|scored| self.filter.matches(&scored.memory) && scored.memory.deprecated_by.is_none())
            .collect())
    }
}

fn clamp(hits: &mut [Hit]) {
    for hit in hits {
        hit.score = hit.score.clamp(0.0, 1.0);
    }
}
