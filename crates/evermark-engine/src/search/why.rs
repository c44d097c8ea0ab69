//! Why a memory that is missed is not in an answer.

use super::*;

/// Why a memory is not in an answer, or where in it.
#[derive(Clone, Debug, PartialEq)]
pub struct WhyNot {
    pub id: String,
    /// `returned`, `unknown`, `not_indexed`, `replaced`, `filtered`, `no_match`, `radius`, `min_score`, `top_k`, `judged`.
    pub code: &'static str,
    /// A sentence for a person.
    pub reason: String,
    /// Its score by the method used, where it has one.
    pub score: Option<f32>,
    /// Its place, 1-based, in its list (a fact's: among all facts) of the first hundred that could have been returned.
    pub place: Option<usize>,
    pub explain: Option<Explain>,
}

impl Search<'_> {
    pub(super) fn why_not(&self, id: &str, method: Method, answer: &SearchAnswer) -> Result<WhyNot, Error> {
        let because =
            |code, reason: String| WhyNot { id: id.to_owned(), code, reason, score: None, place: None, explain: None };
        if let Some((place, found)) = position(answer, id) {
            let reason = format!("it was returned, at place {place}");
            let (score, explain) = (Some(found.score), found.explain);
            return Ok(WhyNot { score, explain, place: Some(place), ..because("returned", reason) });
        }
        let Some((kind, memory)) = self.look_up(id)? else { return self.not_there(id, &because) };
        if let Some(by) = &memory.deprecated_by {
            return Ok(because("replaced", format!("it was replaced by `{by}`")));
        }
        if !self.filter.matches(&memory) {
            return Ok(because("filtered", "the request's filter leaves it out".to_owned()));
        }
        // Judges are asked once, not again for this: recall tells where the memory would be before they read it.
        let judged = self.is_judged(method);
        let method = if judged { Method::Hybrid } else { method };
        // The same question without its floors, to see where the memory would be.
        let open = SearchRequest {
            top_k: Some(TOP_K_MAX),
            radius: None,
            min_score: None,
            why_not: None,
            rerank: false,
            enable_llm_rerank: false,
            explain: true,
            ..self.request.clone()
        };
        let wide = Search {
            inner: self.inner,
            index: self.index,
            request: &open,
            filter: self.filter.clone(),
            terms: self.terms.clone(),
            vector: self.vector.clone(),
            limit: TOP_K_MAX,
            radius: None,
            until: None,
        };
        let mut all = SearchAnswer::default();
        wide.run(method, &mut all, &mut Vec::new())?;
        let Some((place, found)) = position(&all, id) else {
            let is_touched = wide.touches(kind, id)?;
            return Ok(match (is_touched, kind, method) {
                (_, Kind::AtomicFact, Method::Keyword) => because(
                    "no_match",
                    "keyword search ranks episodes; this fact's episode is not among them".to_owned(),
                ),
                (false, _, _) => because(
                    "no_match",
                    "it shares no word with the question and has no meaning that could be compared".to_owned(),
                ),
                (true, _, _) => because("top_k", format!("at least {TOP_K_MAX} memories fit better")),
            });
        };
        let (score, explain) = (found.score, found.explain);
        if judged {
            let reason = format!(
                "hybrid alone would have it at place {place}, with a score of {score:.3}; it was not read, or fits less well than what was returned"
            );
            return Ok(WhyNot { score: Some(score), place: Some(place), explain, ..because("judged", reason) });
        }
        let (code, reason) = match (self.request.min_score, self.radius) {
            (Some(floor), _) if score < floor && method == Method::Hybrid => {
                ("min_score", format!("its score is {score:.3}, below the `min_score` of {floor}"))
            }
            (_, Some(radius)) if explain.and_then(|parts| parts.cosine).is_some_and(|cosine| cosine < radius) => {
                ("radius", format!("its cosine is below the radius of {radius}"))
            }
            _ => ("top_k", format!("it would be at place {place}, with a score of {score:.3}")),
        };
        Ok(WhyNot { score: Some(score), place: Some(place), explain, ..because(code, reason) })
    }

    /// Tells whether a judge had a say in the answer.
    fn is_judged(&self, method: Method) -> bool {
        match method {
            Method::Keyword | Method::Vector => false,
            Method::Hybrid => self.request.rerank || self.inner.is_llm_ranked(self.request, method),
            Method::Agentic | Method::LlmMultiround => true,
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        match self.request.owner.track {
            Track::User => &[Kind::Episode, Kind::AtomicFact],
            Track::Agent => &[Kind::AgentCase, Kind::AgentSkill],
            Track::Knowledge => &[],
        }
    }

    fn look_up(&self, id: &str) -> Result<Option<(Kind, Memory)>, Error> {
        for kind in self.kinds() {
            if let Some(memory) = self.fetch(*kind, vec![id.to_owned()])?.remove(id) {
                return Ok(Some((*kind, memory)));
            }
        }
        Ok(None)
    }

    /// Tells why no row has this id.
    fn not_there(&self, id: &str, because: &dyn Fn(&'static str, String) -> WhyNot) -> Result<WhyNot, Error> {
        for kind in self.kinds() {
            let key = MemoryKey { owner: self.request.owner.clone(), kind: *kind, id: id.to_owned() };
            if let Some(path) = self.inner.ledger().locate(&key)?.first() {
                return Ok(because("not_indexed", format!("{path} holds it, but it is not in the index yet")));
            }
        }
        let waiting = self.inner.ledger().job_stats()?.open;
        let more = if waiting > 0 { format!("; {waiting} files still wait to be indexed") } else { String::new() };
        Ok(because("unknown", format!("this owner has no searchable memory of that id{more}")))
    }

    /// Tells whether words or meaning speak for a row at all.
    fn touches(&self, kind: Kind, id: &str) -> Result<bool, Error> {
        let ids = [id.to_owned()];
        let terms: Vec<Wanted> = self.terms.iter().map(|term| Wanted { term: term.clone(), weight: 1.0 }).collect();
        let ask = Ask { ids: Some(&ids), ..self.ask(kind, 1) };
        let vector = self.vector.as_deref();
        let recall = self.index.recall(&ask, &Question { terms: &terms, vector, cosine_weight: COSINE_WEIGHT })?;
        Ok(!recall.rows.is_empty())
    }
}

/// Returns where in an answer a memory is, 1-based: an episode, a case or a skill in its list, a fact among all facts.
fn position<'a>(answer: &'a SearchAnswer, id: &str) -> Option<(usize, &'a Scored)> {
    let mut facts: Vec<&Scored> = answer.episodes.iter().flat_map(|hit| &hit.facts).collect();
    facts.sort_by(|a, b| b.score.total_cmp(&a.score));
    let lists: [Vec<&Scored>; 4] = [
        answer.episodes.iter().map(|hit| &hit.episode).collect(),
        facts,
        answer.agent_cases.iter().collect(),
        answer.agent_skills.iter().collect(),
    ];
    let found = |list: &Vec<&'a Scored>| {
        let at = list.iter().position(|scored| scored.memory.id == id)?;
        Some((at + 1, list[at]))
    };
    lists.iter().find_map(found)
}
