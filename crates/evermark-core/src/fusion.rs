//! From several rankings of the same memories to one: rank fusion, calibrated scores, facts against episodes.
//!
//! Pure functions over [`Hit`]s, best first. The constants are EverOS's (contract B.4, B.5), so that an adopted root
//! answers as before.

mod hierarchy;

#[cfg(test)]
mod tests;

pub use hierarchy::{Hierarchy, Ranked, hierarchy};

use crate::index::Hit;
use std::collections::HashMap;

/// How flat rank fusion is: 1/(60 + rank). Source: Cormack, Clarke and Büttcher 2009; contract B.5.
const RRF_K: f64 = 60.0;

/// Weight of a cosine, weight of a BM25 score, intercept: a logistic regression fitted by EverOS. Source: contract B.5.
const LOGISTIC: (f64, f64, f64) = (6.274_731_516_750_93, 0.093_951_834_083_100_23, -4.858_095_765_012_703);

/// Weight of the cosine beside the keyword score, and the BM25 score that counts half. Source: contract B.4.
const ANCHOR: (f64, f64) = (0.7, 5.0);

/// Fuses rankings by rank: a hit scores the sum of 1/(60 + rank) over the lists that hold it.
///
/// Best first; ties in the order hits first appear, the first list first.
pub fn rrf<L: AsRef<[Hit]>>(lists: &[L]) -> Vec<Hit> {
    let mut fused: Vec<(Hit, f64)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for list in lists {
        let mut rank = RRF_K;
        for hit in list.as_ref() {
            rank += 1.0;
            let place = *places.entry(hit.id.as_str()).or_insert_with(|| {
                fused.push((hit.clone(), 0.0));
                fused.len() - 1
            });
            fused[place].1 += 1.0 / rank;
        }
    }
    best_first(fused)
}

/// Returns the hits of both lists, each once, in order of appearance, with the score they have there.
pub fn union(first: &[Hit], second: &[Hit]) -> Vec<Hit> {
    let mut seen: std::collections::HashSet<&str> = std::collections::HashSet::new();
    first.iter().chain(second).filter(|hit| seen.insert(&hit.id)).cloned().collect()
}

/// Returns the chance that a memory answers, 0 to 1, from its cosine and its BM25 score; a missing one is 0.
pub fn logistic(cosine: f32, bm25: f32) -> f32 {
    let (for_cosine, for_bm25, intercept) = LOGISTIC;
    let logit = for_cosine * f64::from(cosine) + for_bm25 * f64::from(bm25) + intercept;
    narrow(1.0 / (1.0 + (-logit).exp()))
}

/// Blends cosine and keyword scores: 0.7·cos + 0.3·b/(b + 5), best first.
///
/// A hit that one list lacks gets that list's lowest score. When only one list has hits, they pass unchanged. Ties in
/// order of appearance, `dense` first.
pub fn vector_anchored(sparse: &[Hit], dense: &[Hit]) -> Vec<Hit> {
    if sparse.is_empty() || dense.is_empty() {
        return union(dense, sparse);
    }
    let (weight, half) = ANCHOR;
    let keyword = |score: f32| if score > 0.0 { f64::from(score) / (f64::from(score) + half) } else { 0.0 };
    let by_id = |hits: &[Hit]| -> HashMap<String, f32> { hits.iter().map(|hit| (hit.id.clone(), hit.score)).collect() };
    let lowest = |hits: &[Hit]| hits.iter().map(|hit| hit.score).fold(f32::INFINITY, f32::min);
    let (sparse_scores, dense_scores) = (by_id(sparse), by_id(dense));
    let (sparse_floor, dense_floor) = (lowest(sparse), lowest(dense));
    let blend = |hit: Hit| {
        let cosine = dense_scores.get(&hit.id).copied().unwrap_or(dense_floor);
        let bm25 = sparse_scores.get(&hit.id).copied().unwrap_or(sparse_floor);
        let score = weight * f64::from(cosine) + (1.0 - weight) * keyword(bm25);
        (hit, score)
    };
    best_first(union(dense, sparse).into_iter().map(blend).collect())
}

/// Returns one hit per parent, with the score of its best child: `id` is the parent's, best first.
///
/// Hits without a parent are left out; ties in order of appearance.
pub fn max_by_parent(children: &[Hit]) -> Vec<Hit> {
    let mut parents: Vec<Hit> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for child in children {
        let Some(parent) = child.parent_id.as_deref().filter(|parent| !parent.is_empty()) else { continue };
        let place = *places.entry(parent).or_insert_with(|| {
            parents.push(Hit { id: parent.to_owned(), parent_id: None, score: child.score });
            parents.len() - 1
        });
        parents[place].score = parents[place].score.max(child.score);
    }
    parents.sort_by(|a, b| b.score.total_cmp(&a.score));
    parents
}

/// Sorts by a score kept in full precision; stable.
fn best_first(mut hits: Vec<(Hit, f64)>) -> Vec<Hit> {
    hits.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    hits.into_iter().map(|(hit, score)| Hit { score: narrow(score), ..hit }).collect()
}

fn narrow(score: f64) -> f32 {
    score as f32
}
