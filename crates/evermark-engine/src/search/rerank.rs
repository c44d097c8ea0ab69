//! `hybrid` with a judge on top: a reranker (`rerank`), or a language model that orders an agent's memories (`enable_llm_rerank`).

use super::judged::{Judging, Stage};
use super::prompts::{self, Note};
use super::*;

/// Candidates that a judge reads, at least; more when more are wanted.
pub(super) const READ: usize = 50;

/// Skills that the language model scores below this are left out. Source: contract B.4.
const SKILL_SCORE_MIN: f32 = 0.4;
/// Skills looked through for those that came from the cases found.
const SKILLS_LISTED: usize = 512;
/// Attempts to get a ranking that can be read.
const ATTEMPTS: u32 = 2;

impl Search<'_> {
    /// Returns how many of a kind an answer holds by `hybrid`.
    fn limit_of_hybrid(&self, kind: Kind) -> usize {
        match (kind, self.request.top_k) {
            (_, Some(top_k)) => top_k,
            (Kind::Episode, None) => self.limit,
            (_, None) => TOP_K_AGENT,
        }
    }

    /// `hybrid`, its best read by the reranker. `top_k` counts episodes here, not facts: the reranker reads episodes.
    pub(super) fn reranked(&self, answer: &mut SearchAnswer, degraded: &mut Vec<Degraded>) -> Result<(), Error> {
        let mut judging = Judging::new(self, degraded);
        let found = judging.recall(&self.request.query, READ.max(self.limit))?;
        judging.rerank(&found, 1);
        let order = judging.by_score(found);
        judging.finish(&order, |kind| self.limit_of_hybrid(kind), answer);
        Ok(())
    }

    /// An agent's `hybrid`, ordered by the language model: cases first, then skills, those among them that came from the best
    /// cases.
    pub(super) fn llm_ranked(&self, answer: &mut SearchAnswer, degraded: &mut Vec<Degraded>) -> Result<(), Error> {
        let mut judging = Judging::new(self, degraded);
        let found = judging.recall(&self.request.query, READ.max(self.limit))?;
        let of_kind = |judging: &Judging<'_, '_>, kind: Kind| -> Vec<usize> {
            found.iter().copied().filter(|&at| judging.candidates[at].memory().kind() == kind).take(READ).collect()
        };
        let cases = of_kind(&judging, Kind::AgentCase);
        let (cases, _) = self.ranked(&mut judging, cases);
        let mut skills = of_kind(&judging, Kind::AgentSkill);
        let sources: Vec<String> = cases
            .iter()
            .take(self.limit_of_hybrid(Kind::AgentCase))
            .map(|&at| judging.candidates[at].memory().entry_id.clone())
            .collect();
        let known = skills.len();
        for skill in self.skills_from(&sources)? {
            let at = judging.add_memory(skill);
            if !skills.contains(&at) {
                skills.push(at);
            }
        }
        let (skills, is_ranked) = self.ranked(&mut judging, skills.clone());
        let skills: Vec<usize> = match is_ranked {
            true => {
                let is_useful =
                    |at: &usize| judging.candidates[*at].judged.llm.is_some_and(|score| score >= SKILL_SCORE_MIN);
                skills.into_iter().filter(is_useful).collect()
            }
            // What only came along with a case has no place of its own.
            false => skills.into_iter().take(known).collect(),
        };
        let order: Vec<usize> = cases.into_iter().chain(skills).collect();
        judging.finish(&order, |kind| self.limit_of_hybrid(kind), answer);
        Ok(())
    }

    /// Has the language model order candidates of one kind; tells whether it did. One that it does not name comes last.
    fn ranked(&self, judging: &mut Judging<'_, '_>, which: Vec<usize>) -> (Vec<usize>, bool) {
        let Some(llm) = self.inner.judges.llm.clone().filter(|_| !which.is_empty()) else { return (which, false) };
        let note = |(number, &at): (usize, &usize)| {
            let candidate = &judging.candidates[at];
            Note { number, memory: candidate.memory(), text: candidate.text() }
        };
        let notes: Vec<Note<'_>> = (1..).zip(&which).map(note).collect();
        let numbers: Vec<usize> = (1..=which.len()).collect();
        let request = prompts::ranking(&self.request.query, &notes, &self.inner.settings.timezone);
        let stage = Stage {
            name: "llm_rerank",
            what: "the language model ordered them",
            instead: "the order is that of words and meaning",
            timeout: self.inner.settings.judges.limit,
        };
        let read = |text: &str| prompts::read_ranking(text, &numbers);
        let Some(ranked) = judging.ask(llm.as_ref(), stage, &request, ATTEMPTS, read) else { return (which, false) };
        which.iter().for_each(|&at| judging.candidates[at].judged.llm = Some(0.0));
        for (number, score) in ranked {
            judging.candidates[which[number - 1]].judged.llm = Some(score);
        }
        let mut order = which;
        let score = |at: usize| judging.candidates[at].judged.llm.unwrap_or_default();
        order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
        (order, true)
    }

    /// Returns the skills that were made from these cases. EverOS compares ids of two kinds here and finds none.
    fn skills_from(&self, cases: &[String]) -> Result<Vec<Memory>, Error> {
        if cases.is_empty() {
            return Ok(Vec::new());
        }
        let ask = self.ask(Kind::AgentSkill, SKILLS_LISTED);
        let listed = self.index.list(&ask, Order { descending: false }, 0)?;
        let is_from = |skill: &Memory| match &skill.body {
            evermark_core::memory::Body::AgentSkill { source_case_ids, .. } => {
                source_case_ids.iter().any(|id| cases.contains(id))
            }
            _ => false,
        };
        Ok(listed.memories.into_iter().filter(is_from).take(READ).collect())
    }
}
