//! `agentic`: what `hybrid` finds is reranked; a language model says whether that is enough, and what else to look for if not.
//!
//! Flow: recall → rerank → is it sufficient? → up to three further questions → recall each → merge → rerank → cut. At most two
//! questions to the language model, each asked again once when its answer cannot be read. EverOS answers with nothing when
//! there are no clusters, and with ten at most when the model is content: neither is done here.

use super::judged::{Judging, Round, Stage};
use super::prompts::{self, Note, Verdict};
use super::rerank::READ;
use super::*;

/// Memories that the language model is shown. Source: contract B.7, as the constants below.
const SHOWN: usize = 10;
const QUESTIONS_MAX: usize = 3;
/// What each further question brings, and all of them together.
const FOUND_EACH: usize = 50;
const ADDED_MAX: usize = 40;
/// What a rank is counted from when the further questions' finds are merged.
const RRF_K: f32 = 60.0;
const ATTEMPTS: u32 = 2;

impl Search<'_> {
    pub(super) fn agentic(&self, answer: &mut SearchAnswer, degraded: &mut Vec<Degraded>) -> Result<(), Error> {
        let mut judging = Judging::new(self, degraded);
        let limit = |kind: Kind| match (kind, self.request.top_k) {
            (_, Some(top_k)) => top_k,
            (Kind::AgentSkill, None) => TOP_K_AGENT,
            (_, None) => TOP_K_MAX,
        };
        let query = &self.request.query;
        let first = judging.recall(query, READ.max(self.limit))?;
        // The language model is to have some time too.
        let is_read = judging.rerank(&first, 2);
        let mut order = judging.by_score(first);
        judging.rounds.push(Round { questions: vec![query.clone()], n_new: order.len(), ..Round::default() });
        if let Some(verdict) = self.verdict(&mut judging, &order)
            && !verdict.is_sufficient
        {
            let added = self.look_further(&mut judging, &order, &verdict)?;
            // Scores of one list are of one kind: what the reranker did not come to has no place among what it read.
            if !is_read || judging.rerank(&added, 1) {
                order.extend(added);
                order = judging.by_score(order);
            }
        }
        judging.finish(&order, limit, answer);
        Ok(())
    }

    /// Asks whether the best of what was found is enough. Nothing found is not enough, and nobody has to be asked.
    fn verdict(&self, judging: &mut Judging<'_, '_>, order: &[usize]) -> Option<Verdict> {
        if order.is_empty() {
            return Some(Verdict::default());
        }
        let llm = self.inner.judges.llm.clone()?;
        let request = prompts::sufficiency(&self.request.query, &notes(judging, order), &self.inner.settings.timezone);
        let stage = Stage {
            name: "sufficiency",
            what: "the language model judged what was found",
            instead: "the answer is what the question itself found",
            timeout: self.inner.settings.judges.limit,
        };
        let verdict = judging.ask(llm.as_ref(), stage, &request, ATTEMPTS, prompts::read_sufficiency)?;
        if let Some(round) = judging.rounds.last_mut() {
            round.is_sufficient = Some(verdict.is_sufficient);
            round.reasoning.clone_from(&verdict.reasoning);
            round.missing.clone_from(&verdict.missing);
        }
        Some(verdict)
    }

    /// Has the language model ask further, and returns what that found and the question itself did not.
    fn look_further(
        &self,
        judging: &mut Judging<'_, '_>,
        order: &[usize],
        verdict: &Verdict,
    ) -> Result<Vec<usize>, Error> {
        let Some(llm) = self.inner.judges.llm.clone() else { return Ok(Vec::new()) };
        let asked = [self.request.query.clone()];
        let shown = notes(judging, order);
        let request = prompts::further_questions(&asked[0], &shown, verdict, &self.inner.settings.timezone);
        let stage = Stage {
            name: "queries",
            what: "the language model asked further",
            instead: "the answer is what the question itself found",
            timeout: self.inner.settings.judges.limit,
        };
        let read = |text: &str| prompts::read_questions(text, &asked, QUESTIONS_MAX);
        let Some((questions, reasoning)) = judging.ask(llm.as_ref(), stage, &request, ATTEMPTS, read) else {
            return Ok(Vec::new());
        };
        let known = judging.candidates.len();
        let mut ranks: HashMap<usize, f32> = HashMap::new();
        for question in &questions {
            let found = judging.recall(question, FOUND_EACH)?;
            for (rank, at) in (1..).zip(found.into_iter().filter(|&at| at >= known)) {
                *ranks.entry(at).or_default() += 1.0 / (RRF_K + rank as f32);
            }
        }
        let mut added: Vec<(usize, f32)> = ranks.into_iter().collect();
        added.sort_by(|(a, left), (b, right)| right.total_cmp(left).then(a.cmp(b)));
        added.truncate(ADDED_MAX);
        judging.rounds.push(Round { questions, reasoning, n_new: added.len(), ..Round::default() });
        Ok(added.into_iter().map(|(at, _)| at).collect())
    }
}

/// Returns the best candidates as they are shown.
fn notes<'c>(judging: &'c Judging<'_, '_>, order: &[usize]) -> Vec<Note<'c>> {
    let note = |(number, &at): (usize, &usize)| {
        let candidate = &judging.candidates[at];
        Note { number, memory: candidate.memory(), text: candidate.text() }
    };
    (1..).zip(order.iter().take(SHOWN)).map(note).collect()
}
