//! Questions to the rows of one kind.

use super::best::Best;
use super::bits::Bits;
use super::names::{NONE, fingerprint};
use super::rack::Rack;
use super::vectors::{Packed, pack};
use crate::bm25::K1;
use crate::filter::Filter;
use crate::index::{Ask, Evidence, Hit, Order, Question, Recall};
use std::cmp::Ordering;

/// Which rows an ask sees.
struct Sight<'a> {
    rack: &'a Rack,
    filter: &'a Filter,
    deprecated: bool,
}

impl<'a> Sight<'a> {
    fn of(rack: &'a Rack, ask: &Ask<'a>) -> Self {
        Self { rack, filter: ask.filter, deprecated: ask.deprecated }
    }

    /// Checks all but the filter, and the ids and parents asked for: see [`Self::few`].
    fn admits(&self, row: u32) -> bool {
        self.rack.live.has(row) && (self.deprecated || !self.rack.deprecated.has(row))
    }

    fn passes(&self, row: u32) -> bool {
        self.filter.is_everything() || self.filter.matches(&self.rack.view(row))
    }

    /// Returns the admitted rows, ascending, when ids or parents are asked for: they are few.
    fn few(&self, ask: &Ask<'_>) -> Option<Vec<u32>> {
        let rack = self.rack;
        let parents = ask.parents.map(|ids| {
            let mut numbers = Bits::with_room(rack.names.len());
            ids.iter().filter_map(|id| rack.names.find(id.as_bytes())).for_each(|number| numbers.set(number, true));
            numbers
        });
        let has_parent = |parents: &Bits, parent: u32| parent != NONE && parents.has(parent);
        let mut rows: Vec<u32> = match (ask.ids, &parents) {
            (None, None) => return None,
            (Some(ids), _) => {
                let mut rows: Vec<u32> = ids.iter().filter_map(|id| rack.row(id)).collect();
                rows.sort_unstable();
                rows.dedup();
                rows
            }
            (None, Some(parents)) => (rack.parent.iter().zip(0..))
                .filter(|&(&parent, _)| has_parent(parents, parent))
                .map(|(_, row)| row)
                .collect(),
        };
        rows.retain(|&row| {
            self.admits(row) && parents.as_ref().is_none_or(|parents| has_parent(parents, rack.parent[row as usize]))
        });
        Some(rows)
    }
}

/// A term that is asked for, with the rows that hold it and what it is worth.
struct Term<'a> {
    rows: &'a [u32],
    counts: &'a [u16],
    /// What came since, as (row, count).
    late: Vec<(u32, u16)>,
    gain: f32,
}

impl Rack {
    pub(super) fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Vec<Hit> {
        let asked = distinct(terms.iter().map(|term| (term.as_str(), 1.0)));
        if asked.is_empty() || self.n_live == 0 {
            return Vec::new();
        }
        let terms = self.terms(&asked);
        let sight = Sight::of(self, ask);
        let tie = |a: u32, b: u32| self.id_bytes(a).cmp(self.id_bytes(b));
        let mut best = Best::new(ask.limit, self.n_live, &tie);
        let mut offer = |row: u32, score: f32| {
            if score > 0.0 && best.wants(score) && sight.admits(row) && sight.passes(row) {
                best.offer(score, row);
            }
        };
        match sight.few(ask) {
            Some(rows) => {
                let scores = self.words_of(&terms, &rows);
                rows.into_iter().zip(scores).for_each(|(row, score)| offer(row, score));
            }
            None => (0..).zip(self.words(&terms)).for_each(|(row, score)| offer(row, score)),
        }
        self.hits(best.sorted())
    }

    /// Looks terms up.
    fn terms(&self, asked: &[(u64, f32)]) -> Vec<Term<'_>> {
        let fingerprints: Vec<u64> = asked.iter().map(|&(term, _)| term).collect();
        let recent = self.postings.recent(&fingerprints);
        let term = |(at, &(term, weight)): (usize, &(u64, f32))| {
            let (rows, counts) = self.postings.of(term);
            let late: Vec<(u32, u16)> =
                recent.iter().filter(|&&(of, _, _)| of == at).map(|&(_, row, count)| (row, count)).collect();
            let n_holding = self.n_holding(rows, late.iter().map(|&(row, _)| row));
            Term { rows, counts, late, gain: weight * (self.corpus.idf(n_holding) * (K1 + 1.0)) as f32 }
        };
        asked.iter().enumerate().map(term).collect()
    }

    /// Returns the BM25 of every row.
    fn words(&self, terms: &[Term<'_>]) -> Vec<f32> {
        let mut scores = vec![0.0_f32; self.n_rows()];
        let (base, slope) = length_factors(self);
        for term in terms {
            let late = term.late.iter().copied();
            for (row, count) in term.rows.iter().copied().zip(term.counts.iter().copied()).chain(late) {
                let norm = base + slope * self.n_terms[row as usize] as f32;
                scores[row as usize] += term.gain * saturated(count, norm);
            }
        }
        scores
    }

    /// Returns the BM25 of some rows, which are ascending.
    fn words_of(&self, terms: &[Term<'_>], rows: &[u32]) -> Vec<f32> {
        let (base, slope) = length_factors(self);
        let mut scores = vec![0.0_f32; rows.len()];
        for term in terms {
            let mut from = 0;
            for (&row, score) in rows.iter().zip(&mut scores) {
                from += term.rows[from..].partition_point(|&holding| holding < row);
                let early = (term.rows.get(from) == Some(&row)).then(|| term.counts[from]);
                let late = || term.late.iter().find(|&&(holding, _)| holding == row).map(|&(_, count)| count);
                if let Some(count) = early.or_else(late) {
                    *score += term.gain * saturated(count, base + slope * self.n_terms[row as usize] as f32);
                }
            }
        }
        scores
    }

    /// Returns how many of the rows with a term count: those that live and were not replaced.
    fn n_holding(&self, rows: &[u32], late: impl Iterator<Item = u32>) -> u64 {
        // Nothing need be looked up when all rows count.
        let all_count = self.n_live == self.n_rows() && self.n_deprecated == 0;
        let counts = |row: u32| all_count || (self.live.has(row) && !self.deprecated.has(row));
        let n_rows = if all_count { rows.len() } else { rows.iter().filter(|&&row| counts(row)).count() };
        (n_rows + late.filter(|&row| counts(row)).count()) as u64
    }

    pub(super) fn holding(&self, terms: &[String]) -> Vec<u64> {
        let asked: Vec<u64> = terms.iter().map(|term| fingerprint(term.as_bytes())).collect();
        // Sorted: what is asked here can be hundreds of spellings.
        let mut sorted = asked.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let mut late: Vec<Vec<u32>> = vec![Vec::new(); sorted.len()];
        for posting in self.postings.tail() {
            if let Ok(at) = sorted.binary_search(&posting.term) {
                late[at].push(posting.row);
            }
        }
        let held = |term: u64| {
            let late = sorted.binary_search(&term).map_or(&[][..], |at| late[at].as_slice());
            self.n_holding(self.postings.of(term).0, late.iter().copied())
        };
        asked.into_iter().map(held).collect()
    }

    pub(super) fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Recall {
        let asked = distinct(question.terms.iter().map(|wanted| (wanted.term.as_str(), wanted.weight)));
        let terms = self.terms(&asked);
        let words_max = if self.corpus.n_rows == 0 { 0.0 } else { terms.iter().map(|term| term.gain).sum() };
        let mut recall = Recall { words_max, ..Recall::default() };
        let packed = question.vector.and_then(pack);
        let sight = Sight::of(self, ask);
        let tie = |a: u32, b: u32| self.id_bytes(a).cmp(self.id_bytes(b));
        let mut best = Best::new(pool(ask.limit), self.n_live, &tie);
        let mut offer = |row: u32, words: f32, cosine: Option<f32>| {
            let strength = words + question.cosine_weight * cosine.unwrap_or_default();
            let is_seen = words > 0.0 || cosine.is_some();
            if is_seen && best.wants(strength) && sight.admits(row) && sight.passes(row) {
                best.offer(strength, row);
            }
        };
        let evidence = |row: u32, words: f32, cosine: Option<f32>| {
            let view = self.view(row);
            let (id, parent_id) = (view.id().to_owned(), view.parent_id().map(str::to_owned));
            Evidence { id, parent_id, timestamp_us: view.time_us(), words, cosine }
        };
        if let Some(rows) = sight.few(ask) {
            let words = self.words_of(&terms, &rows);
            let cosines = self.cosines(&rows, packed.as_ref());
            rows.iter().zip(&words).zip(&cosines).for_each(|((&row, &words), &cosine)| offer(row, words, cosine));
            let at = |row: u32| rows.binary_search(&row).unwrap_or_default();
            let of = |(_, row)| evidence(row, words[at(row)], cosines[at(row)]);
            recall.rows = best.sorted().into_iter().take(ask.limit).map(of).collect();
            return recall;
        }
        let words = self.words(&terms);
        let cosines = packed.as_ref().map_or_else(Vec::new, |packed| self.vectors.cosines(packed));
        for (&row, &cosine) in self.vectors.rows().iter().zip(&cosines) {
            offer(row, words[row as usize], Some(cosine));
        }
        if cosines.len() < self.n_rows() {
            let is_blind = |row: u32| cosines.is_empty() || self.place[row as usize] == NONE;
            (0..).zip(&words).filter(|&(row, _)| is_blind(row)).for_each(|(row, &words)| offer(row, words, None));
        }
        if ask.is_open() && !cosines.is_empty() {
            (recall.mean_cosine, recall.n_vectors) = self.mean(&cosines);
        }
        // The pass over all was coarse: those that came near are looked at again.
        let rows = best.rows();
        let fine = |(row, cosine): (u32, Option<f32>)| {
            let words = words[row as usize];
            (words + question.cosine_weight * cosine.unwrap_or_default(), row, words, cosine)
        };
        let cosines = self.cosines(&rows, packed.as_ref());
        let mut found: Vec<_> = rows.into_iter().zip(cosines).map(fine).collect();
        found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| tie(a.1, b.1)));
        found.truncate(ask.limit);
        recall.rows = found.into_iter().map(|(_, row, words, cosine)| evidence(row, words, cosine)).collect();
        recall
    }

    /// Returns the mean of the cosines, by place, of the rows that count, and how many these are.
    fn mean(&self, cosines: &[f32]) -> (f32, u64) {
        let all_count = self.n_live == self.n_rows() && self.n_deprecated == 0;
        let counts = |row: u32| all_count || (self.live.has(row) && !self.deprecated.has(row));
        let (mut sum, mut n) = (0.0_f64, 0_u64);
        for (&row, &cosine) in self.vectors.rows().iter().zip(cosines) {
            if counts(row) {
                sum += f64::from(cosine);
                n += 1;
            }
        }
        (if n > 0 { (sum / n as f64) as f32 } else { 0.0 }, n)
    }

    /// Returns the fine cosines of some rows, `None` for those without a vector.
    fn cosines(&self, rows: &[u32], packed: Option<&Packed>) -> Vec<Option<f32>> {
        let Some(packed) = packed else { return vec![None; rows.len()] };
        let is_there = |place: &u32| *place != NONE;
        let places: Vec<u32> = rows.iter().map(|&row| self.place[row as usize]).filter(is_there).collect();
        let mut fine = self.vectors.fine(&places, packed).into_iter();
        rows.iter().map(|&row| if is_there(&self.place[row as usize]) { fine.next() } else { None }).collect()
    }

    pub(super) fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Vec<Hit> {
        let Some(packed) = pack(vector) else { return Vec::new() };
        let sight = Sight::of(self, ask);
        let tie = |a: u32, b: u32| self.id_bytes(a).cmp(self.id_bytes(b));
        let mut best = Best::new(pool(ask.limit), self.n_live, &tie);
        let mut offer = |row: u32, score: f32| {
            if best.wants(score) && sight.admits(row) && sight.passes(row) {
                best.offer(score, row);
            }
        };
        match sight.few(ask) {
            Some(rows) => {
                let cosines = self.cosines(&rows, Some(&packed));
                rows.into_iter().zip(cosines).for_each(|(row, cosine)| {
                    cosine.into_iter().for_each(|cosine| offer(row, cosine));
                });
            }
            None => {
                let cosines = self.vectors.cosines(&packed);
                self.vectors.rows().iter().zip(cosines).for_each(|(&row, cosine)| offer(row, cosine));
            }
        }
        // The pass over all was coarse: those that came near are looked at again.
        let rows = best.rows();
        let cosines = self.cosines(&rows, Some(&packed));
        let mut found: Vec<(f32, u32)> =
            cosines.into_iter().zip(rows).filter_map(|(cosine, row)| Some((cosine?, row))).collect();
        found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| tie(a.1, b.1)));
        found.truncate(ask.limit);
        self.hits(found)
    }

    /// Returns each id's cosine; `None` for an id that is not there or has no vector.
    pub(super) fn scores_of(&self, ids: &[String], vector: &[f32]) -> Vec<Option<f32>> {
        let packed = pack(vector);
        let score = |id: &String| self.cosines(&[self.row(id)?], packed.as_ref()).pop().flatten();
        ids.iter().map(score).collect()
    }

    /// Returns a page of what the ask sees, in order, and how many rows it sees.
    pub(super) fn page(&self, ask: &Ask<'_>, order: Order, offset: usize) -> (Vec<u32>, usize) {
        let sight = Sight::of(self, ask);
        let mut rows = match sight.few(ask) {
            Some(rows) => rows,
            None => self.rows().filter(|&row| sight.admits(row)).collect(),
        };
        rows.retain(|&row| sight.passes(row));
        let total = rows.len();
        let end = offset.saturating_add(ask.limit).min(total);
        let by = |a: &u32, b: &u32| self.by_time(order, *a, *b);
        if end < total && end > 0 {
            rows.select_nth_unstable_by(end - 1, by);
        }
        rows.truncate(end);
        rows.sort_unstable_by(by);
        (rows.split_off(offset.min(rows.len())), total)
    }

    fn by_time(&self, order: Order, a: u32, b: u32) -> Ordering {
        let times = match (self.view(a).time_us(), self.view(b).time_us()) {
            (Some(a), Some(b)) if order.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        times.then_with(|| self.id_bytes(a).cmp(self.id_bytes(b)))
    }

    fn hits(&self, found: Vec<(f32, u32)>) -> Vec<Hit> {
        let hit = |(score, row)| {
            let view = self.view(row);
            Hit { id: view.id().to_owned(), parent_id: view.parent_id().map(str::to_owned), score }
        };
        found.into_iter().map(hit).collect()
    }
}

/// Returns how many rows of a coarse pass are looked at again, of which so many are wanted: what rounding can move across the
/// line is a few rows on either side of it.
fn pool(limit: usize) -> usize {
    limit.saturating_add(limit / 8).saturating_add(64)
}

/// Returns the fingerprints of the terms with their weights, each once, in a fixed order.
fn distinct<'a>(terms: impl Iterator<Item = (&'a str, f32)>) -> Vec<(u64, f32)> {
    let mut asked: Vec<(u64, f32)> = terms
        .filter(|(term, _)| !term.is_empty())
        .map(|(term, weight)| (fingerprint(term.as_bytes()), weight))
        .collect();
    asked.sort_unstable_by_key(|&(term, _)| term);
    asked.dedup_by_key(|&mut (term, _)| term);
    asked
}

/// Returns BM25's length norm as `base + slope · terms`.
fn length_factors(rack: &Rack) -> (f32, f32) {
    let base = rack.corpus.length_norm(0);
    let slope = rack.corpus.length_norm(1) - base;
    (base as f32, slope as f32)
}

/// Returns what a term's count in a row comes to, from 0 to 1: more of the same says less and less.
fn saturated(count: u16, norm: f32) -> f32 {
    let count = f32::from(count);
    count / (count + norm)
}
