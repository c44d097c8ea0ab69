//! Questions to the rows of one kind.

use super::best::Best;
use super::bits::Bits;
use super::names::{NONE, fingerprint};
use super::rack::Rack;
use super::vectors::pack;
use crate::bm25::K1;
use crate::filter::Filter;
use crate::index::{Ask, Evidence, Hit, Order, Question, Recall};
use std::cmp::Ordering;

/// Which rows an ask sees, with names looked up once.
struct Sight<'a> {
    rack: &'a Rack,
    filter: &'a Filter,
    deprecated: bool,
    /// Numbers of the parents asked for.
    parents: Option<Bits>,
    /// Rows of the ids asked for.
    rows: Option<Bits>,
}

impl<'a> Sight<'a> {
    fn of(rack: &'a Rack, ask: &Ask<'a>) -> Self {
        let parents = ask.parents.map(|ids| {
            let mut numbers = Bits::with_room(rack.names.len());
            ids.iter().filter_map(|id| rack.names.find(id.as_bytes())).for_each(|number| numbers.set(number, true));
            numbers
        });
        let rows = ask.ids.map(|ids| {
            let mut rows = Bits::with_room(rack.n_rows());
            ids.iter().filter_map(|id| rack.row(id)).for_each(|row| rows.set(row, true));
            rows
        });
        Self { rack, filter: ask.filter, deprecated: ask.deprecated, parents, rows }
    }

    /// Checks all but the filter.
    fn admits(&self, row: u32) -> bool {
        let parent_is_in = |parents: &Bits| {
            let parent = self.rack.parent[row as usize];
            parent != NONE && parents.has(parent)
        };
        self.rack.live.has(row)
            && (self.deprecated || !self.rack.deprecated.has(row))
            && self.rows.as_ref().is_none_or(|rows| rows.has(row))
            && self.parents.as_ref().is_none_or(parent_is_in)
    }

    fn passes(&self, row: u32) -> bool {
        self.filter.is_everything() || self.filter.matches(&self.rack.view(row))
    }

    /// Returns the admitted rows when only few can be: by ids.
    fn few(&self, ask: &Ask<'_>) -> Option<Vec<u32>> {
        let ids = ask.ids?;
        let mut rows: Vec<u32> = ids.iter().filter_map(|id| self.rack.row(id)).collect();
        rows.sort_unstable();
        rows.dedup();
        rows.retain(|&row| self.admits(row));
        Some(rows)
    }
}

impl Rack {
    pub(super) fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Vec<Hit> {
        let asked = distinct(terms.iter().map(|term| (term.as_str(), 1.0)));
        if asked.is_empty() || self.n_live == 0 {
            return Vec::new();
        }
        let (scores, _) = self.words(&asked);
        let sight = Sight::of(self, ask);
        let tie = |a: u32, b: u32| self.id_bytes(a).cmp(self.id_bytes(b));
        let mut best = Best::new(ask.limit, self.n_live, &tie);
        let mut offer = |row: u32| {
            let score = scores[row as usize];
            if score > 0.0 && best.wants(score) && sight.admits(row) && sight.passes(row) {
                best.offer(score, row);
            }
        };
        match sight.few(ask) {
            Some(rows) => rows.into_iter().for_each(&mut offer),
            None => (0..self.n_rows() as u32).for_each(&mut offer),
        }
        self.hits(best)
    }

    /// Returns each row's BM25, and what it would come to at most.
    fn words(&self, asked: &[(u64, f32)]) -> (Vec<f32>, f32) {
        let mut scores = vec![0.0_f32; self.n_rows()];
        let mut most = 0.0;
        if asked.is_empty() {
            return (scores, most);
        }
        let terms: Vec<u64> = asked.iter().map(|&(term, _)| term).collect();
        let recent = self.postings.recent(&terms);
        let (base, slope) = length_factors(self);
        let add = |scores: &mut [f32], gain: f32, row: u32, count: u16| {
            let count = f32::from(count);
            let norm = base + slope * self.n_terms[row as usize] as f32;
            scores[row as usize] += gain * count / (count + norm);
        };
        for (at, &(term, weight)) in asked.iter().enumerate() {
            let (rows, term_counts) = self.postings.of(term);
            let late = recent.iter().filter(|&&(asked_at, _, _)| asked_at == at);
            let n_holding = self.n_holding(rows, late.clone().map(|&(_, row, _)| row));
            let gain = weight * (self.corpus.idf(n_holding) * (K1 + 1.0)) as f32;
            most += gain;
            for (&row, &count) in rows.iter().zip(term_counts) {
                add(&mut scores, gain, row, count);
            }
            for &(_, row, count) in late {
                add(&mut scores, gain, row, count);
            }
        }
        (scores, if self.corpus.n_rows == 0 { 0.0 } else { most })
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
        let (words, words_max) = self.words(&asked);
        let mut recall = Recall { words_max, ..Recall::default() };
        let sight = Sight::of(self, ask);
        let packed = question.vector.and_then(pack);
        let mut cosines = vec![f32::NAN; if packed.is_some() { self.n_rows() } else { 0 }];
        let few = sight.few(ask);
        match (&packed, &few) {
            (Some(packed), Some(rows)) => {
                for &row in rows {
                    let place = self.place[row as usize];
                    if place != NONE {
                        cosines[row as usize] = self.vectors.cosine(place, packed);
                    }
                }
            }
            (Some(packed), None) => {
                let mut sum = 0.0_f64;
                let is_wanted = |row: u32| if ask.is_open() { self.live.has(row) } else { sight.admits(row) };
                self.vectors.each(packed, is_wanted, |row, cosine| {
                    cosines[row as usize] = cosine;
                    if ask.is_open() && (self.n_deprecated == 0 || !self.deprecated.has(row)) {
                        sum += f64::from(cosine);
                        recall.n_vectors += 1;
                    }
                });
                if recall.n_vectors > 0 {
                    recall.mean_cosine = (sum / recall.n_vectors as f64) as f32;
                }
            }
            (None, _) => {}
        }
        let cosine_of = |row: u32| cosines.get(row as usize).copied().filter(|cosine| !cosine.is_nan());
        let tie = |a: u32, b: u32| self.id_bytes(a).cmp(self.id_bytes(b));
        let mut best = Best::new(ask.limit, self.n_live, &tie);
        let mut offer = |row: u32| {
            let (words, cosine) = (words[row as usize], cosine_of(row));
            let strength = words + question.cosine_weight * cosine.unwrap_or_default();
            let is_seen = words > 0.0 || cosine.is_some();
            if is_seen && best.wants(strength) && sight.admits(row) && sight.passes(row) {
                best.offer(strength, row);
            }
        };
        match few {
            Some(rows) => rows.into_iter().for_each(&mut offer),
            None => (0..self.n_rows() as u32).for_each(&mut offer),
        }
        let evidence = |(_, row): (f32, u32)| {
            let view = self.view(row);
            Evidence {
                id: view.id().to_owned(),
                parent_id: view.parent_id().map(str::to_owned),
                timestamp_us: view.time_us(),
                words: words[row as usize],
                cosine: cosine_of(row),
            }
        };
        recall.rows = best.sorted().into_iter().map(evidence).collect();
        recall
    }

    pub(super) fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Vec<Hit> {
        let Some(packed) = pack(vector) else { return Vec::new() };
        let sight = Sight::of(self, ask);
        let tie = |a: u32, b: u32| self.id_bytes(a).cmp(self.id_bytes(b));
        let mut best = Best::new(ask.limit, self.n_live, &tie);
        let mut offer = |row: u32, score: f32| {
            if best.wants(score) && sight.passes(row) {
                best.offer(score, row);
            }
        };
        match sight.few(ask) {
            Some(rows) => {
                for row in rows {
                    let place = self.place[row as usize];
                    if place != NONE {
                        offer(row, self.vectors.cosine(place, &packed));
                    }
                }
            }
            None => self.vectors.each(&packed, |row| sight.admits(row), offer),
        }
        self.hits(best)
    }

    /// Returns each id's cosine; `None` for an id that is not there or has no vector.
    pub(super) fn scores_of(&self, ids: &[String], vector: &[f32]) -> Vec<Option<f32>> {
        let packed = pack(vector);
        let score = |id: &String| {
            let place = self.place[self.row(id)? as usize];
            if place == NONE { None } else { Some(self.vectors.cosine(place, packed.as_deref()?)) }
        };
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

    fn hits(&self, best: Best<'_>) -> Vec<Hit> {
        let hit = |(score, row)| {
            let view = self.view(row);
            Hit { id: view.id().to_owned(), parent_id: view.parent_id().map(str::to_owned), score }
        };
        best.sorted().into_iter().map(hit).collect()
    }
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
