//! From an answer's memories to the messages they were made of.

use evermark_engine::search::SearchAnswer;
use std::collections::HashSet;

/// Returns the messages an answer points to, best first, each once.
///
/// The facts of all episodes are one list, by score; a fact stands for the messages it was made of. An episode without facts
/// stands for all of its messages, in order, with its own score.
pub(crate) fn messages(answer: &SearchAnswer) -> Vec<&str> {
    let mut found = Vec::new();
    for hit in &answer.episodes {
        if hit.facts.is_empty() {
            found.push((hit.episode.score, &hit.episode.memory.message_ids));
        }
        found.extend(hit.facts.iter().map(|fact| (fact.score, &fact.memory.message_ids)));
    }
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut seen = HashSet::new();
    found.into_iter().flat_map(|(_, ids)| ids).map(String::as_str).filter(|id| seen.insert(*id)).collect()
}
