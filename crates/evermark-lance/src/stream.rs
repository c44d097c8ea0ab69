//! Searching an owner whose view does not fit: the same answers, row by row from the table.

use crate::rows::{self, Columns};
use crate::store::{OwnerRows, Store};
use arrow_array::RecordBatch;
use evermark_core::bm25::{Corpus, K1};
use evermark_core::filter::Filter;
use evermark_core::id::Kind;
use evermark_core::index::{Ask, Evidence, Hit, IndexError, Indexable, Listing, Order, Question as Asked, Recall};
use evermark_core::memory::Memory;
use evermark_core::vector;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// Hits kept beyond the limit before the worst are dropped.
const SLACK: usize = 4096;

/// An [`Ask`] that can move into the room.
struct Question {
    kind: Kind,
    filter: Filter,
    parents: Option<HashSet<String>>,
    ids: Option<HashSet<String>>,
    deprecated: bool,
    limit: usize,
}

impl Question {
    fn of(ask: &Ask<'_>) -> Self {
        let set = |list: Option<&[String]>| list.map(|list| list.iter().cloned().collect());
        Self {
            kind: ask.kind,
            filter: ask.filter.clone(),
            parents: set(ask.parents),
            ids: set(ask.ids),
            deprecated: ask.deprecated,
            limit: ask.limit,
        }
    }

    fn sees(&self, memory: &Memory) -> bool {
        memory.kind() == self.kind
            && (self.deprecated || memory.deprecated_by.is_none())
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&memory.id))
            && self
                .parents
                .as_ref()
                .is_none_or(|parents| memory.parent_id.as_ref().is_some_and(|id| parents.contains(id)))
            && self.filter.matches(memory)
    }
}

/// One row, wherever it comes from.
struct Row<'a> {
    memory: &'a Memory,
    tokens: &'a str,
    vector: Option<&'a [f32]>,
}

/// Calls `look` with every row of the owner: first those on disk, then those that wait.
fn each<T: Send + 'static>(
    store: &Store,
    rows: &OwnerRows,
    into: T,
    look: impl Fn(&mut T, Row<'_>) + Send + Sync + 'static,
) -> Result<T, IndexError> {
    let look = Arc::new(look);
    let inside = Arc::clone(&look);
    let mut into = store.read_owner(rows, &rows::VIEW_COLUMNS, into, Ok, move |into, batch: RecordBatch| {
        let columns = Columns::of(&batch);
        let (memories, tokens, vectors) = (rows::memories(&batch)?, columns.strings("tokens")?, columns.vectors()?);
        for (row, memory) in memories.iter().enumerate() {
            inside(into, Row { memory, tokens: tokens.value(row), vector: vectors.get(row) });
        }
        Ok(())
    })?;
    for row in &rows.waiting {
        let Indexable { memory, tokens, vector } = row.as_ref();
        look(&mut into, Row { memory, tokens, vector: vector.as_deref() });
    }
    Ok(into)
}

/// As [`evermark_core::index::Index::matching`].
pub(crate) fn matching(store: &Store, ask: &Ask<'_>, terms: &[String]) -> Result<Vec<Hit>, IndexError> {
    let mut terms: Vec<String> = terms.iter().filter(|term| !term.is_empty()).cloned().collect();
    terms.sort_unstable();
    terms.dedup();
    if terms.is_empty() {
        return Ok(Vec::new());
    }
    let rows = store.owner_rows(ask.owner, || {})?;
    let terms = Arc::new(terms);
    let (corpus, holding) = statistics(store, &rows, ask.kind, &terms)?;
    let idf: Vec<f64> = holding.iter().map(|holding| corpus.idf(*holding)).collect();
    let question = Question::of(ask);
    let limit = question.limit;
    let hits = each(store, &rows, Vec::new(), move |hits, row| {
        if row.memory.kind() != question.kind {
            return;
        }
        let (n_terms, counts) = count(row.tokens, &terms);
        let score: f64 = (idf.iter().zip(counts))
            .filter(|(_, count)| *count > 0)
            .map(|(idf, count)| corpus.weight(*idf, count, n_terms))
            .sum();
        if score > 0.0 && question.sees(row.memory) {
            keep(hits, row.memory, score as f32, question.limit);
        }
    })?;
    Ok(best(hits, limit))
}

/// As [`evermark_core::index::Index::nearest`].
pub(crate) fn nearest(store: &Store, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError> {
    if vector::unit(vector).is_none() {
        return Ok(Vec::new());
    }
    let rows = store.owner_rows(ask.owner, || {})?;
    let question = Question::of(ask);
    let limit = question.limit;
    let asked = vector.to_vec();
    let hits = each(store, &rows, Vec::new(), move |hits, row| {
        if let Some(found) = row.vector.filter(|found| vector::unit(found).is_some())
            && question.sees(row.memory)
        {
            keep(hits, row.memory, vector::cosine(found, &asked), question.limit);
        }
    })?;
    Ok(best(hits, limit))
}

/// As [`evermark_core::index::Index::recall`].
pub(crate) fn recall(store: &Store, ask: &Ask<'_>, asked: &Asked<'_>) -> Result<Recall, IndexError> {
    let mut wanted: Vec<(String, f32)> = (asked.terms.iter())
        .filter(|wanted| !wanted.term.is_empty())
        .map(|wanted| (wanted.term.clone(), wanted.weight))
        .collect();
    wanted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    wanted.dedup_by(|(a, _), (b, _)| a == b);
    let (terms, weights): (Vec<String>, Vec<f32>) = wanted.into_iter().unzip();
    let rows = store.owner_rows(ask.owner, || {})?;
    let terms = Arc::new(terms);
    let (corpus, holding) = statistics(store, &rows, ask.kind, &terms)?;
    let gains: Vec<(f64, f64)> =
        holding.iter().zip(weights).map(|(holding, weight)| (corpus.idf(*holding), f64::from(weight))).collect();
    let most: f64 = gains.iter().map(|(idf, weight)| idf * weight * (K1 + 1.0)).sum();
    let words_max = if corpus.n_rows == 0 { 0.0 } else { most as f32 };
    let vector = asked.vector.filter(|vector| vector::unit(vector).is_some()).map(<[f32]>::to_vec);
    let question = Question::of(ask);
    let (limit, weight, is_open) = (question.limit, asked.cosine_weight, ask.is_open());
    let strength = move |row: &Evidence| row.words + weight * row.cosine.unwrap_or_default();
    let order = move |a: &Evidence, b: &Evidence| strength(b).total_cmp(&strength(a)).then_with(|| a.id.cmp(&b.id));
    let nothing = (Vec::new(), 0.0_f64, 0_u64);
    let (mut found, sum, n_vectors) = each(store, &rows, nothing, move |(found, sum, n_vectors), row| {
        if row.memory.kind() != question.kind {
            return;
        }
        let (n_terms, counts) = count(row.tokens, &terms);
        let words: f64 = (gains.iter().zip(counts))
            .filter(|(_, count)| *count > 0)
            .map(|((idf, weight), count)| weight * corpus.weight(*idf, count, n_terms))
            .sum();
        let own = row.vector.filter(|own| vector::unit(own).is_some());
        let cosine = vector.as_deref().and_then(|asked| Some(vector::cosine(own?, asked)));
        if row.memory.deprecated_by.is_none()
            && is_open
            && let Some(cosine) = cosine
        {
            *sum += f64::from(cosine);
            *n_vectors += 1;
        }
        if (words > 0.0 || cosine.is_some()) && question.sees(row.memory) {
            let (id, parent_id) = (row.memory.id.clone(), row.memory.parent_id.clone());
            let timestamp_us = row.memory.timestamp_us;
            found.push(Evidence { id, parent_id, timestamp_us, words: words as f32, cosine });
            if found.len() >= question.limit.saturating_mul(2).max(SLACK) {
                found.sort_unstable_by(order);
                found.truncate(question.limit);
            }
        }
    })?;
    found.sort_unstable_by(order);
    found.truncate(limit);
    let mean_cosine = if n_vectors > 0 { (sum / n_vectors as f64) as f32 } else { 0.0 };
    Ok(Recall { rows: found, words_max, mean_cosine, n_vectors })
}

/// Returns what BM25 needs to know: the corpus, and how many rows hold each term.
fn statistics(
    store: &Store,
    rows: &OwnerRows,
    kind: Kind,
    terms: &Arc<Vec<String>>,
) -> Result<(Corpus, Vec<u64>), IndexError> {
    let asked = Arc::clone(terms);
    let nothing = (Corpus::default(), vec![0_u64; terms.len()]);
    each(store, rows, nothing, move |(corpus, holding), row| {
        if row.memory.kind() == kind && row.memory.deprecated_by.is_none() {
            let (n_terms, counts) = count(row.tokens, &asked);
            corpus.add(n_terms);
            holding.iter_mut().zip(counts).for_each(|(holding, count)| *holding += u64::from(count > 0));
        }
    })
}

/// As [`evermark_core::index::Index::list`].
pub(crate) fn list(store: &Store, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError> {
    let rows = store.owner_rows(ask.owner, || {})?;
    let question = Question::of(ask);
    let mut seen: Vec<(Option<i64>, String)> = each(store, &rows, Vec::new(), move |seen, row| {
        if question.sees(row.memory) {
            seen.push((row.memory.timestamp_us, row.memory.id.clone()));
        }
    })?;
    seen.sort_unstable_by(|(a, left), (b, right)| {
        let times = match (a, b) {
            (Some(a), Some(b)) if order.descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        times.then_with(|| left.cmp(right))
    });
    let total = seen.len();
    let ids: Vec<String> = seen.into_iter().skip(offset).take(ask.limit).map(|(_, id)| id).collect();
    Ok(Listing { memories: store.fetch(ask.owner, ask.kind, &ids)?, total })
}

/// Returns how many terms there are, and how often each of `terms`.
fn count(tokens: &str, terms: &[String]) -> (u64, Vec<u32>) {
    let mut counts = vec![0; terms.len()];
    let mut n_terms = 0;
    for token in tokens.split_whitespace() {
        n_terms += 1;
        if let Ok(at) = terms.binary_search_by(|term| term.as_str().cmp(token)) {
            counts[at] += 1;
        }
    }
    (n_terms, counts)
}

fn keep(hits: &mut Vec<Hit>, memory: &Memory, score: f32, limit: usize) {
    hits.push(Hit { id: memory.id.clone(), parent_id: memory.parent_id.clone(), score });
    if hits.len() >= limit.saturating_mul(2).saturating_add(SLACK) {
        *hits = best(std::mem::take(hits), limit);
    }
}

fn best(mut hits: Vec<Hit>, limit: usize) -> Vec<Hit> {
    hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    hits.truncate(limit);
    hits
}
