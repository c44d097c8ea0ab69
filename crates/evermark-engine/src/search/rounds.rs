//! `llm_multiround`: a language model reads what each round found, picks what is needed, and says what to look for next.
//!
//! Round 0 is the question itself, later rounds the model's own; each question brings one block of `hybrid`'s best. It ends when
//! the model asks no more, when further rounds bring nothing that it needs, or after `max_rounds`. The order is not that of
//! scores: what the model picked comes first, then the best of each question, then the rest.

use super::judged::{Judging, Round, Stage};
use super::prompts::{self, Note};
use super::*;

impl Search<'_> {
    pub(super) fn multiround(&self, answer: &mut SearchAnswer, degraded: &mut Vec<Degraded>) -> Result<(), Error> {
        let settings = &self.inner.settings.judges.decider;
        let mut judging = Judging::new(self, degraded);
        // What each question found, best first, and what the model picked.
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut core: Vec<usize> = Vec::new();
        let mut asked: Vec<String> = Vec::new();
        let mut questions = vec![self.request.query.clone()];
        let mut n_idle = 0;
        for round in 0..settings.max_rounds.max(1) {
            let known = judging.candidates.len();
            let n = if round == 0 { settings.seed_topk } else { settings.subq_topk };
            for question in &questions {
                let block = judging.recall(question, n)?;
                blocks.push(block);
            }
            asked.append(&mut questions.clone());
            let n_new = judging.candidates.len() - known;
            judging.rounds.push(Round { questions: std::mem::take(&mut questions), n_new, ..Round::default() });
            if judging.candidates.is_empty() {
                break;
            }
            if n_new == 0 && round > 0 {
                // Nothing that was not already decided about.
                break;
            }
            let mut shown = core.clone();
            shown.extend(known..judging.candidates.len());
            let Some(decision) = self.decide(&mut judging, &shown, &asked) else {
                if core.is_empty() {
                    core = self.by_chance(&judging, (0..judging.candidates.len()).collect());
                    core.truncate(settings.fallback_core);
                }
                break;
            };
            let before = core.len();
            for number in decision.core {
                if !core.contains(&(number - 1)) {
                    core.push(number - 1);
                }
            }
            let ids: Vec<String> =
                core[before..].iter().map(|&at| judging.candidates[at].memory().id.clone()).collect();
            if let Some(last) = judging.rounds.last_mut() {
                last.core = ids;
                last.is_sufficient = Some(decision.questions.is_empty());
            }
            n_idle = if core.len() == before { n_idle + 1 } else { 0 };
            if decision.questions.is_empty() || (round > 0 && n_idle >= settings.no_new_core_patience) {
                break;
            }
            questions = decision.questions;
        }
        core.iter().for_each(|&at| judging.candidates[at].judged.is_core = true);
        let order = self.assembled(&judging, core.clone(), &blocks);
        let n_core = |kind: Kind| core.iter().filter(|&&at| judging.candidates[at].memory().kind() == kind).count();
        let n_cores = [Kind::Episode, Kind::AgentCase, Kind::AgentSkill].map(|kind| (kind, n_core(kind)));
        let overflow = |kind: Kind| match settings.core_overflow {
            true => n_cores.iter().find(|(known, _)| *known == kind).map_or(0, |(_, n)| *n),
            false => 0,
        };
        let usual = |kind: Kind| match (kind, self.request.top_k) {
            (_, Some(top_k)) => top_k,
            (Kind::Episode, None) => TOP_K_MAX,
            (_, None) => TOP_K_AGENT,
        };
        judging.finish(&order, |kind| usual(kind).max(overflow(kind)), answer);
        Ok(())
    }

    /// Asks which of these are needed and what to look for next. Memories are numbered through all rounds, from 1.
    fn decide(&self, judging: &mut Judging<'_, '_>, shown: &[usize], asked: &[String]) -> Option<prompts::Decision> {
        let settings = &self.inner.settings.judges.decider;
        let decider = self.inner.judges.decider().cloned()?;
        let note = |&at: &usize| {
            let candidate = &judging.candidates[at];
            Note { number: at + 1, memory: candidate.memory(), text: candidate.text() }
        };
        let notes: Vec<Note<'_>> = shown.iter().map(note).collect();
        let numbers: Vec<usize> = shown.iter().map(|at| at + 1).collect();
        let request = prompts::decision(
            &self.request.query,
            asked,
            &notes,
            &self.inner.settings.timezone,
            settings.full_text,
            settings.max_subqueries,
            settings.max_tokens,
        );
        let stage = Stage {
            name: "decider",
            what: "the language model chose among what was found",
            instead: "what was found so far is the answer",
            timeout: settings.timeout,
        };
        let read = |text: &str| prompts::read_decision(text, &numbers, asked, settings.max_subqueries);
        let attempts = settings.retries.saturating_add(1);
        judging.ask(decider.as_ref(), stage, &request, attempts, read)
    }

    fn by_chance(&self, judging: &Judging<'_, '_>, mut which: Vec<usize>) -> Vec<usize> {
        let chance = |at: usize| judging.candidates[at].judged.chance;
        which.sort_by(|&a, &b| chance(b).total_cmp(&chance(a)).then(a.cmp(&b)));
        which
    }

    /// Returns all candidates in the order of the answer.
    fn assembled(&self, judging: &Judging<'_, '_>, core: Vec<usize>, blocks: &[Vec<usize>]) -> Vec<usize> {
        let guaranteed = self.inner.settings.judges.decider.per_subquery_guarantee;
        let mut order = self.by_chance(judging, core);
        let first_ones = blocks.iter().flat_map(|block| block.iter().copied().take(guaranteed));
        let rest = self.by_chance(judging, (0..judging.candidates.len()).collect());
        let mut known = vec![false; judging.candidates.len()];
        order.iter().for_each(|&at| known[at] = true);
        for at in first_ones.chain(rest) {
            if !std::mem::replace(&mut known[at], true) {
                order.push(at);
            }
        }
        order
    }
}
