//! The index at its plainest: all rows in a map, every question answered by looking at each row.
//!
//! It serves small vaults, and it is the oracle other indexes are compared with, so it prefers being obviously right:
//! nothing is kept but the rows, nothing is computed before it is asked for. It is never durable: it stands for an index
//! that is rebuilt from the Markdown.

#[cfg(test)]
mod tests;

use crate::bm25::{Corpus, K1};
use crate::error::ErrorKind;
use crate::id::{Kind, MemoryKey, Owner};
use crate::index::{Ask, Evidence, Hit, Index, IndexError, IndexInfo, Indexable, Listing, Order, Question, Recall};
use crate::memory::{Digest32, Memory};
use crate::vector;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A brute-force index in memory.
#[derive(Debug, Default)]
pub struct ExactIndex {
    dimension: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<MemoryKey, Indexable>,
    /// Keys written or removed since the last flush.
    pending: BTreeSet<MemoryKey>,
}

impl ExactIndex {
    /// Makes an empty index. `dimension` is the width of its vectors; without one it takes none.
    pub fn new(dimension: Option<usize>) -> Self {
        Self { dimension, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No call can leave the map half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_width(&self, vector: &[f32]) -> Result<(), IndexError> {
        match self.dimension {
            Some(dimension) if dimension == vector.len() => Ok(()),
            Some(dimension) => {
                let message = format!("vector has {} components, the index has {dimension}", vector.len());
                Err(IndexError::new(ErrorKind::Invalid, message))
            }
            None => Err(IndexError::new(ErrorKind::Invalid, "the index holds no vectors")),
        }
    }
}

impl State {
    fn rows_of<'a>(&'a self, owner: &Owner, kind: Kind) -> impl Iterator<Item = &'a Indexable> + use<'a> {
        let first = MemoryKey { owner: owner.clone(), kind, id: String::new() };
        let owner = owner.clone();
        self.rows.range(first..).take_while(move |(key, _)| key.owner == owner && key.kind == kind).map(|(_, row)| row)
    }
}

/// What BM25 needs to know of an owner's rows of one kind.
struct Statistics<'a> {
    corpus: Corpus,
    /// Each term with its weight and idf.
    terms: BTreeMap<&'a str, (f64, f64)>,
}

impl<'a> Statistics<'a> {
    fn of(state: &State, ask: &Ask<'_>, wanted: &BTreeMap<&'a str, f32>) -> Self {
        let mut corpus = Corpus::default();
        let mut holding: BTreeMap<&str, u64> = BTreeMap::new();
        for row in state.rows_of(ask.owner, ask.kind).filter(|row| row.memory.deprecated_by.is_none()) {
            corpus.add(row.tokens.split_whitespace().count() as u64);
            let distinct: HashSet<&str> = row.tokens.split_whitespace().collect();
            for term in wanted.keys().filter(|term| distinct.contains(*term)) {
                *holding.entry(term).or_default() += 1;
            }
        }
        let idf = |term: &str| corpus.idf(holding.get(term).copied().unwrap_or_default());
        let wanted = wanted.iter().filter(|(term, _)| !term.is_empty());
        let terms = wanted.map(|(&term, &weight)| (term, (f64::from(weight), idf(term)))).collect();
        Self { corpus, terms }
    }

    fn words(&self, row: &Indexable) -> f64 {
        let n_terms = row.tokens.split_whitespace().count() as u64;
        let mut score = 0.0;
        for (term, (weight, idf)) in &self.terms {
            let count = row.tokens.split_whitespace().filter(|token| token == term).count();
            if count > 0 {
                score += weight * self.corpus.weight(*idf, u32::try_from(count).unwrap_or(u32::MAX), n_terms);
            }
        }
        score
    }

    fn words_max(&self) -> f64 {
        if self.corpus.n_rows == 0 {
            return 0.0;
        }
        self.terms.values().map(|(weight, idf)| weight * idf * (K1 + 1.0)).sum()
    }
}

/// Tells whether the ask sees a row of its owner and kind.
fn sees(ask: &Ask<'_>, memory: &Memory) -> bool {
    let in_list = |list: Option<&[String]>, value: Option<&String>| {
        list.is_none_or(|list| value.is_some_and(|value| list.contains(value)))
    };
    (ask.deprecated || memory.deprecated_by.is_none())
        && in_list(ask.parents, memory.parent_id.as_ref())
        && in_list(ask.ids, Some(&memory.id))
        && ask.filter.matches(memory)
}

/// Puts the best first, ties by id, and keeps `limit`.
fn best(mut hits: Vec<Hit>, limit: usize) -> Vec<Hit> {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    hits.truncate(limit);
    hits
}

fn hit(memory: &Memory, score: f32) -> Hit {
    Hit { id: memory.id.clone(), parent_id: memory.parent_id.clone(), score }
}

/// Orders a listing: by time, rows without one last either way, ties by id.
fn by_time(order: Order, a: &Memory, b: &Memory) -> Ordering {
    let times = match (a.timestamp_us, b.timestamp_us) {
        (Some(a), Some(b)) if order.descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    times.then_with(|| a.id.cmp(&b.id))
}

impl Index for ExactIndex {
    fn upsert(&self, rows: Vec<Indexable>) -> Result<(), IndexError> {
        for row in &rows {
            row.vector.as_deref().map_or(Ok(()), |vector| self.check_width(vector))?;
        }
        let mut state = self.state();
        for row in rows {
            let key = row.memory.key();
            state.rows.insert(key.clone(), row);
            state.pending.insert(key);
        }
        Ok(())
    }

    fn remove(&self, keys: &[MemoryKey]) -> Result<(), IndexError> {
        let mut state = self.state();
        for key in keys {
            if state.rows.remove(key).is_some() {
                state.pending.insert(key.clone());
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.state().pending.clear();
        Ok(())
    }

    fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Result<Vec<Hit>, IndexError> {
        let state = self.state();
        let wanted: BTreeMap<&str, f32> = terms.iter().map(|term| (term.as_str(), 1.0)).collect();
        let statistics = Statistics::of(&state, ask, &wanted);
        let mut hits = Vec::new();
        for row in state.rows_of(ask.owner, ask.kind).filter(|row| sees(ask, &row.memory)) {
            let score = statistics.words(row);
            if score > 0.0 {
                hits.push(hit(&row.memory, score as f32));
            }
        }
        Ok(best(hits, ask.limit))
    }

    fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Result<Recall, IndexError> {
        question.vector.map_or(Ok(()), |vector| self.check_width(vector))?;
        let state = self.state();
        let wanted: BTreeMap<&str, f32> =
            question.terms.iter().map(|wanted| (wanted.term.as_str(), wanted.weight)).collect();
        let statistics = Statistics::of(&state, ask, &wanted);
        let cosine_of = |row: &Indexable| {
            let asked = question.vector.filter(|vector| vector::unit(vector).is_some())?;
            let found = row.vector.as_deref().filter(|found| vector::unit(found).is_some())?;
            Some(vector::cosine(found, asked))
        };
        let mut recall = Recall { words_max: statistics.words_max() as f32, ..Recall::default() };
        let mut sum = 0.0;
        for row in state.rows_of(ask.owner, ask.kind) {
            let cosine = cosine_of(row);
            if row.memory.deprecated_by.is_none()
                && ask.is_open()
                && let Some(cosine) = cosine
            {
                sum += f64::from(cosine);
                recall.n_vectors += 1;
            }
            let words = statistics.words(row) as f32;
            if sees(ask, &row.memory) && (words > 0.0 || cosine.is_some()) {
                let (id, parent_id) = (row.memory.id.clone(), row.memory.parent_id.clone());
                let timestamp_us = row.memory.timestamp_us;
                recall.rows.push(Evidence { id, parent_id, timestamp_us, words, cosine });
            }
        }
        if recall.n_vectors > 0 {
            recall.mean_cosine = (sum / recall.n_vectors as f64) as f32;
        }
        let strength = |row: &Evidence| row.words + question.cosine_weight * row.cosine.unwrap_or_default();
        recall.rows.sort_by(|a, b| strength(b).total_cmp(&strength(a)).then_with(|| a.id.cmp(&b.id)));
        recall.rows.truncate(ask.limit);
        Ok(recall)
    }

    fn holding(&self, owner: &Owner, kind: Kind, terms: &[String]) -> Result<Option<Vec<u64>>, IndexError> {
        let state = self.state();
        let rows: Vec<HashSet<&str>> = (state.rows_of(owner, kind))
            .filter(|row| row.memory.deprecated_by.is_none())
            .map(|row| row.tokens.split_whitespace().collect())
            .collect();
        let count = |term: &String| rows.iter().filter(|row| row.contains(term.as_str())).count() as u64;
        Ok(Some(terms.iter().map(count).collect()))
    }

    fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError> {
        self.check_width(vector)?;
        let state = self.state();
        let mut hits = Vec::new();
        if vector::unit(vector).is_some() {
            for row in state.rows_of(ask.owner, ask.kind).filter(|row| sees(ask, &row.memory)) {
                if let Some(found) = row.vector.as_deref().filter(|found| vector::unit(found).is_some()) {
                    hits.push(hit(&row.memory, vector::cosine(found, vector)));
                }
            }
        }
        Ok(best(hits, ask.limit))
    }

    fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        let state = self.state();
        let key = |id: &String| MemoryKey { owner: owner.clone(), kind, id: id.clone() };
        Ok(ids.iter().filter_map(|id| state.rows.get(&key(id))).map(|row| row.memory.clone()).collect())
    }

    fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError> {
        let state = self.state();
        let mut seen: Vec<&Memory> =
            state.rows_of(ask.owner, ask.kind).map(|row| &row.memory).filter(|memory| sees(ask, memory)).collect();
        seen.sort_by(|a, b| by_time(order, a, b));
        let memories = seen.iter().skip(offset).take(ask.limit).map(|&memory| memory.clone()).collect();
        Ok(Listing { memories, total: seen.len() })
    }

    fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        // Copied out first, so that `visit` may call the index.
        let rows: Vec<_> = {
            let state = self.state();
            state.rows.iter().map(|(key, row)| (key.clone(), row.memory.path.clone(), row.memory.digest())).collect()
        };
        for (key, path, digest) in rows {
            visit(key, &path, digest);
        }
        Ok(())
    }

    fn info(&self) -> Result<IndexInfo, IndexError> {
        let state = self.state();
        let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
        for key in state.rows.keys() {
            *counts.entry(key.kind).or_default() += 1;
        }
        Ok(IndexInfo {
            rows: counts.into_iter().collect(),
            pending: state.pending.len() as u64,
            dimension: self.dimension,
            ..IndexInfo::default()
        })
    }
}
