//! What searches that ask judges have in common: candidates from `hybrid`, the time left, and what is done about a judge that
//! fails.
//!
//! Invariant: a stage that fails, or for which no time is left, is left out and named; what was found before it is the answer.

use super::prompts;
use super::*;
use evermark_core::chat::{ChatModel, ChatRequest};
use evermark_core::provider::ProviderError;

/// Questions to a language model that one search may ask, retries for answers that cannot be understood included.
const LLM_CALLS_MAX: u32 = 16;

/// Places of the `hybrid` ranking behind each episode that is wanted: facts share them. A talk of twenty messages fills as many; with
/// four, fifty episodes of LoCoMo came to two dozen.
const PLACES_PER_EPISODE: usize = 12;

/// Facts kept of an episode, the best ones.
const FACTS_KEPT: usize = 5;

/// What happened in one round of questions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// What was searched for.
    pub questions: Vec<String>,
    /// Memories that no round before had found.
    pub n_new: usize,
    /// Whether the language model took what was found for enough; `None` when it did not say.
    pub is_sufficient: Option<bool>,
    /// Why, in its words; cut.
    pub reasoning: Option<String>,
    /// What it missed, in its words; cut.
    pub missing: Vec<String>,
    /// Ids of the memories that it chose.
    pub core: Vec<String>,
}

/// What judges say of one hit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// The chance by `hybrid`; of the question that found it best.
    pub chance: f32,
    /// The reranker's score.
    pub rerank: Option<f32>,
    /// The language model's score.
    pub llm: Option<f32>,
    /// The round that found it first, from 0.
    pub round: usize,
    /// Whether the language model chose it.
    pub is_core: bool,
}

/// A memory that is considered.
pub(super) struct Candidate {
    pub(super) hit: EpisodeHit,
    pub(super) judged: Judged,
}

impl Candidate {
    pub(super) fn memory(&self) -> &Memory {
        &self.hit.episode.memory
    }

    /// Returns its score: the best judge's that spoke.
    pub(super) fn score(&self) -> f32 {
        self.judged.rerank.unwrap_or(self.judged.chance)
    }

    pub(super) fn text(&self) -> String {
        prompts::text_of(self.memory(), self.hit.facts.iter().map(|fact| &fact.memory))
    }
}

impl Inner {
    /// Refuses what asks for a judge that is not configured. One that is, and fails, fails nothing.
    pub(super) fn check_judges(&self, request: &SearchRequest, asked: Method) -> Result<(), Error> {
        let needs = |is_there: bool, feature, provider| match is_there {
            true => Ok(()),
            false => Err(Error::NotConfigured { feature, provider }),
        };
        let judges = &self.judges;
        match asked {
            Method::Keyword | Method::Vector if request.rerank => {
                let method = asked.name();
                Err(Error::Invalid(format!("rerank goes with the method hybrid, which is not {method}")))
            }
            Method::Keyword | Method::Vector => Ok(()),
            Method::Hybrid if request.rerank => needs(judges.reranker.is_some(), "hybrid with rerank", "rerank"),
            Method::Hybrid if self.is_llm_ranked(request, asked) => {
                needs(judges.llm.is_some(), "hybrid with enable_llm_rerank", "llm")
            }
            Method::Hybrid => Ok(()),
            Method::Agentic => {
                needs(judges.reranker.is_some(), "agentic_search", "rerank")?;
                needs(judges.llm.is_some(), "agentic_search", "llm")
            }
            Method::LlmMultiround => needs(judges.decider().is_some(), "llm_multiround", "llm"),
        }
    }

    /// Tells whether `enable_llm_rerank` means anything: it is for agents alone.
    pub(super) fn is_llm_ranked(&self, request: &SearchRequest, asked: Method) -> bool {
        request.enable_llm_rerank && asked == Method::Hybrid && request.owner.track == Track::Agent
    }
}

/// A search with judges under way.
pub(super) struct Judging<'a, 'b> {
    pub(super) search: &'a Search<'b>,
    pub(super) degraded: &'a mut Vec<Degraded>,
    pub(super) candidates: Vec<Candidate>,
    by_id: HashMap<String, usize>,
    pub(super) rounds: Vec<Round>,
    /// On the monotonic clock.
    until: Duration,
    calls_left: u32,
}

impl<'a, 'b> Judging<'a, 'b> {
    pub(super) fn new(search: &'a Search<'b>, degraded: &'a mut Vec<Degraded>) -> Self {
        let inner = search.inner;
        let until = inner.world.monotonic().saturating_add(inner.settings.judges.limit);
        Self {
            until: search.until.map_or(until, |asked| asked.min(until)),
            search,
            degraded,
            candidates: Vec::new(),
            by_id: HashMap::new(),
            rounds: Vec::new(),
            calls_left: LLM_CALLS_MAX,
        }
    }

    /// Returns the time that is left, `None` when it is over.
    fn left(&self) -> Option<Duration> {
        let left = self.until.saturating_sub(self.search.inner.world.monotonic());
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn degrade(&mut self, stage: &'static str, code: &'static str, reason: impl Into<String>) {
        if !self.degraded.iter().any(|known| known.stage == stage && known.code == code) {
            self.degraded.push(Degraded { stage, code, reason: reason.into() });
        }
    }

    fn late(&mut self, stage: &'static str, what: &str) {
        self.degrade(stage, "deadline", format!("the time allowed was over before {what}"));
    }

    /// Names a stage that failed. One that took all of its time, until `until`, did not fail: it did not fit.
    fn failed(&mut self, stage: &'static str, until: Duration, error: &ProviderError, instead: &str) {
        let is_late = error.class == ProviderError::TIMEOUT && self.search.inner.world.monotonic() >= until;
        let code = if is_late { "deadline" } else { error.class };
        self.degrade(stage, code, format!("{error}; {instead}"));
    }

    /// Finds candidates by `hybrid`, and returns those of this question, best first. Later questions find nothing once the time
    /// is over.
    pub(super) fn recall(&mut self, question: &str, n: usize) -> Result<Vec<usize>, Error> {
        let search = self.search;
        let round = self.rounds.len();
        let is_first = round == 0;
        let left = self.left();
        if left.is_none() && !is_first {
            self.late("recall", "further questions were looked for");
            return Ok(Vec::new());
        }
        let limit = match search.request.owner.track {
            Track::User => n * PLACES_PER_EPISODE,
            Track::Agent | Track::Knowledge => n,
        };
        let request = SearchRequest {
            query: question.to_owned(),
            method: Some(Method::Hybrid),
            top_k: search.request.top_k.map(|_| limit),
            min_score: None,
            why_not: None,
            rerank: false,
            enable_llm_rerank: false,
            deadline: left,
            ..search.request.clone()
        };
        let vector = match is_first {
            true => search.vector.clone(),
            false => search.inner.vector_for(&request, Method::Hybrid, self.degraded)?,
        };
        let one = Search {
            inner: search.inner,
            index: search.index,
            request: &request,
            filter: search.filter.clone(),
            terms: text::query_terms(question),
            vector,
            limit,
            radius: search.radius,
            until: search.until,
        };
        let mut hits = match search.request.owner.track {
            Track::User => one.fused_episodes(self.degraded)?,
            Track::Agent => {
                let mut rows = one.fused_rows(Kind::AgentCase)?;
                rows.extend(one.fused_rows(Kind::AgentSkill)?);
                rows.sort_by(|a, b| b.score.total_cmp(&a.score));
                rows.into_iter().map(|row| EpisodeHit { episode: row, facts: Vec::new() }).collect()
            }
            Track::Knowledge => Vec::new(),
        };
        if search.request.owner.track == Track::User {
            hits.truncate(n);
        }
        Ok(hits.into_iter().map(|hit| self.add(hit, round)).collect())
    }

    /// Adds a hit to the candidates, or what it says to the one that it already is.
    fn add(&mut self, mut hit: EpisodeHit, round: usize) -> usize {
        let chance = hit.episode.score;
        if let Some(&at) = self.by_id.get(&hit.episode.memory.id) {
            let known = &mut self.candidates[at];
            known.judged.chance = known.judged.chance.max(chance);
            let new = |fact: &Scored| known.hit.facts.iter().all(|old| old.memory.id != fact.memory.id);
            let new: Vec<Scored> = hit.facts.into_iter().filter(new).collect();
            known.hit.facts.extend(new);
            known.hit.facts.sort_by(|a, b| b.score.total_cmp(&a.score));
            known.hit.facts.truncate(FACTS_KEPT);
            return at;
        }
        hit.facts.truncate(FACTS_KEPT);
        let at = self.candidates.len();
        self.by_id.insert(hit.episode.memory.id.clone(), at);
        self.candidates.push(Candidate { hit, judged: Judged { chance, round, ..Judged::default() } });
        at
    }

    /// Adds a memory that no question found.
    pub(super) fn add_memory(&mut self, memory: Memory) -> usize {
        let explain = self.search.request.explain.then(Explain::default);
        let episode = Scored { memory, score: 0.0, explain };
        self.add(EpisodeHit { episode, facts: Vec::new() }, self.rounds.len())
    }

    /// Has the reranker read those of these candidates that it has not read; tells whether all have its score now. Of the time
    /// that is left it has one of so many `parts`, so that what follows has some too.
    pub(super) fn rerank(&mut self, which: &[usize], parts: u32) -> bool {
        let Some(reranker) = self.search.inner.judges.reranker.clone() else { return false };
        let unread: Vec<usize> =
            which.iter().copied().filter(|&at| self.candidates[at].judged.rerank.is_none()).collect();
        if unread.is_empty() {
            return true;
        }
        let Some(left) = self.left() else {
            self.late("rerank", "memories were reranked");
            return false;
        };
        let chars = reranker.document_chars();
        let texts: Vec<String> =
            unread.iter().map(|&at| prompts::cut(&self.candidates[at].text(), chars).to_owned()).collect();
        let limit = left / parts.max(1);
        let until = self.search.inner.world.monotonic().saturating_add(limit);
        match reranker.rerank(&self.search.request.query, &texts, limit) {
            Ok(scores) if scores.len() == unread.len() => {
                unread.iter().zip(scores).for_each(|(&at, score)| self.candidates[at].judged.rerank = Some(score));
                true
            }
            Ok(scores) => {
                let reason = format!("the reranker gave {} scores for {} memories", scores.len(), unread.len());
                self.degrade("rerank", ProviderError::BAD_ANSWER, reason);
                false
            }
            Err(error) => {
                self.failed("rerank", until, &error, "the order is that of words and meaning");
                false
            }
        }
    }

    /// Asks a language model until what it writes can be read, at most `attempts` times.
    pub(super) fn ask<T>(
        &mut self,
        model: &dyn ChatModel,
        stage: Stage,
        request: &ChatRequest,
        attempts: u32,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        for _ in 0..attempts {
            if self.calls_left == 0 {
                let reason = format!("{LLM_CALLS_MAX} questions to the language model are enough for one search");
                self.degrade(stage.name, "too_many_calls", format!("{reason}; {}", stage.instead));
                return None;
            }
            let Some(left) = self.left() else {
                self.late(stage.name, stage.what);
                return None;
            };
            self.calls_left -= 1;
            match model.chat(request, left.min(stage.timeout)) {
                Ok(text) => {
                    if let Some(read) = read(&text) {
                        return Some(read);
                    }
                }
                Err(error) => {
                    self.failed(stage.name, self.until, &error, stage.instead);
                    return None;
                }
            }
        }
        let reason =
            format!("what the language model `{}` wrote is not what was asked for; {}", model.model(), stage.instead);
        self.degrade(stage.name, ProviderError::BAD_ANSWER, reason);
        None
    }

    /// Returns these candidates, best score first.
    pub(super) fn by_score(&self, mut which: Vec<usize>) -> Vec<usize> {
        which.sort_by(|&a, &b| self.candidates[b].score().total_cmp(&self.candidates[a].score()));
        which
    }

    /// Puts candidates into the answer in this order, as many of each kind as it may hold.
    pub(super) fn finish(mut self, order: &[usize], limit: impl Fn(Kind) -> usize, answer: &mut SearchAnswer) {
        let floor = self.search.request.min_score;
        let mut candidates: Vec<Option<Candidate>> = self.candidates.drain(..).map(Some).collect();
        for &at in order {
            let Some(Candidate { hit, judged }) = candidates[at].take() else { continue };
            let score = judged.llm.or(judged.rerank).unwrap_or(judged.chance);
            if floor.is_some_and(|floor| score < floor) {
                continue;
            }
            let EpisodeHit { mut episode, facts } = hit;
            let kind = episode.memory.kind();
            episode.score = score;
            episode.explain = episode.explain.map(|explain| Explain { judged: Some(judged), ..explain });
            match kind {
                Kind::AgentCase if answer.agent_cases.len() < limit(kind) => answer.agent_cases.push(episode),
                Kind::AgentSkill if answer.agent_skills.len() < limit(kind) => answer.agent_skills.push(episode),
                Kind::Episode if answer.episodes.len() < limit(kind) => {
                    answer.episodes.push(EpisodeHit { episode, facts });
                }
                _ => {}
            }
        }
        if self.search.request.explain {
            let shown = |question: String| prompts::cut(&question, prompts::QUESTION_CHARS_MAX).to_owned();
            for round in &mut self.rounds {
                round.questions = std::mem::take(&mut round.questions).into_iter().map(shown).collect();
            }
            answer.rounds = self.rounds;
        }
    }
}

/// A stage of a language model, as its failure is told.
#[derive(Clone, Copy)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    /// What it would have done: "the time allowed was over before …".
    pub(super) what: &'static str,
    /// What is done without it.
    pub(super) instead: &'static str,
    pub(super) timeout: Duration,
}
