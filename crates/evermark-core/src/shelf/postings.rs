//! Which rows hold which terms: sorted arrays, and a small unsorted tail for what came since.
//!
//! Terms are known by fingerprint: two terms share one with a chance of 2^-64 per pair, and then a row is found that
//! should not be. Rows are numbered upwards, so a term's rows in the tail all come after those in the arrays.

use super::names::bytes_of;
use std::ops::Range;

/// Tail entries that are merged at the latest, and the share of the arrays before that: a question reads the whole tail
/// (4,096 entries: 13 µs in the bench `hot`), a merge the whole arrays.
const TAIL_MAX: usize = 32_768;
const TAIL_MIN: usize = 4096;
const TAIL_SHARE: usize = 16;
/// Tail entries that are merged while nobody asks yet: 16 MB.
const FILLING_MAX: usize = 1 << 20;
/// Below this a sort by comparison is quicker than one by place.
const PLACED_MIN: usize = 1024;

/// One term in one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posting {
    pub(super) term: u64,
    pub(super) row: u32,
    pub(super) count: u16,
}

#[derive(Debug, Default)]
pub(super) struct Postings {
    /// Sorted fingerprints, and where each one's rows start; one start more than terms.
    terms: Vec<u64>,
    starts: Vec<u32>,
    rows: Vec<u32>,
    counts: Vec<u16>,
    tail: Vec<Posting>,
}

impl Postings {
    /// Adds a row's terms. `row` is above all rows before.
    pub(super) fn add(&mut self, row: u32, terms: &[u64]) {
        let mut at = 0;
        while let Some(&term) = terms.get(at) {
            let count = terms[at..].iter().take_while(|&&other| other == term).count();
            self.tail.push(Posting { term, row, count: u16::try_from(count).unwrap_or(u16::MAX) });
            at += count;
        }
    }

    /// Tells whether the tail is long enough to be merged.
    pub(super) fn is_due(&self) -> bool {
        self.tail.len() > (self.rows.len() / TAIL_SHARE).clamp(TAIL_MIN, TAIL_MAX)
    }

    /// As [`Self::is_due`], while nobody asks yet.
    pub(super) fn is_overfull(&self) -> bool {
        self.tail.len() > FILLING_MAX
    }

    /// Tells whether the arrays can still be addressed with so many more postings.
    pub(super) fn has_room(&self, n_more: usize) -> bool {
        u32::try_from(self.rows.len() + self.tail.len() + n_more).is_ok()
    }

    /// Returns the rows of a term in the arrays, ascending, with how often each holds it.
    pub(super) fn of(&self, term: u64) -> (&[u32], &[u16]) {
        match self.terms.binary_search(&term) {
            Ok(at) => (&self.rows[self.range(at)], &self.counts[self.range(at)]),
            Err(_) => (&[], &[]),
        }
    }

    /// Returns what came since the arrays were made.
    pub(super) fn tail(&self) -> &[Posting] {
        &self.tail
    }

    /// Returns what the tail holds of these terms, as (position in `terms`, row, count).
    pub(super) fn recent(&self, terms: &[u64]) -> Vec<(usize, u32, u16)> {
        let of = |posting: &Posting| {
            let at = terms.iter().position(|&term| term == posting.term)?;
            Some((at, posting.row, posting.count))
        };
        self.tail.iter().filter_map(of).collect()
    }

    fn range(&self, at: usize) -> Range<usize> {
        self.starts[at] as usize..self.starts[at + 1] as usize
    }

    /// Merges the tail into the arrays.
    pub(super) fn merge(&mut self) {
        self.rebuild(Some);
    }

    /// Merges the tail and renumbers rows; those without a new number go. The order of rows must stay.
    pub(super) fn rebuild(&mut self, renumber: impl Fn(u32) -> Option<u32>) {
        let tail = sorted(std::mem::take(&mut self.tail));
        let n_postings = self.rows.len() + tail.len();
        let mut merged = Self {
            terms: Vec::with_capacity(self.terms.len()),
            starts: Vec::with_capacity(self.terms.len() + 1),
            rows: Vec::with_capacity(n_postings),
            counts: Vec::with_capacity(n_postings),
            tail: Vec::new(),
        };
        let mut tail = tail.into_iter().peekable();
        for at in 0..self.terms.len() {
            let term = self.terms[at];
            while let Some(posting) = tail.next_if(|posting| posting.term < term) {
                merged.put(posting.term, renumber(posting.row), posting.count);
            }
            for place in self.range(at) {
                merged.put(term, renumber(self.rows[place]), self.counts[place]);
            }
            while let Some(posting) = tail.next_if(|posting| posting.term == term) {
                merged.put(posting.term, renumber(posting.row), posting.count);
            }
        }
        for posting in tail {
            merged.put(posting.term, renumber(posting.row), posting.count);
        }
        merged.starts.push(merged.rows.len() as u32);
        merged.terms.shrink_to_fit();
        merged.starts.shrink_to_fit();
        merged.rows.shrink_to_fit();
        merged.counts.shrink_to_fit();
        *self = merged;
    }

    fn put(&mut self, term: u64, row: Option<u32>, count: u16) {
        let Some(row) = row else { return };
        if self.terms.last() != Some(&term) {
            self.terms.push(term);
            self.starts.push(self.rows.len() as u32);
        }
        self.rows.push(row);
        self.counts.push(count);
    }

    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.terms)
            + bytes_of(&self.starts)
            + bytes_of(&self.rows)
            + bytes_of(&self.counts)
            + bytes_of(&self.tail)
    }
}

/// Sorts by term and row. Fingerprints are spread evenly, so their first bits say where each posting goes, nearly.
fn sorted(mut postings: Vec<Posting>) -> Vec<Posting> {
    let order = |posting: &Posting| (posting.term, posting.row);
    if postings.len() < PLACED_MIN {
        postings.sort_unstable_by_key(order);
        return postings;
    }
    let bits = (postings.len() / 8).ilog2();
    let bucket = |posting: &Posting| (posting.term >> (u64::BITS - bits)) as usize;
    let mut ends = vec![0_usize; 1 << bits];
    postings.iter().for_each(|posting| ends[bucket(posting)] += 1);
    let mut end = 0;
    for n in &mut ends {
        (*n, end) = (end, end + *n);
    }
    let mut placed = vec![Posting { term: 0, row: 0, count: 0 }; postings.len()];
    for posting in postings {
        let at = &mut ends[bucket(&posting)];
        placed[*at] = posting;
        *at += 1;
    }
    let mut start = 0;
    for end in ends {
        placed[start..end].sort_unstable_by_key(order);
        start = end;
    }
    placed
}
