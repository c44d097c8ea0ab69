//! The few best of many, without sorting the many.

use std::cmp::Ordering;

/// Collects scored rows and keeps the best `limit`.
///
/// Twice as many are held at most; when they are too many, the worse half goes. That costs constant time per row.
pub(super) struct Best<'a> {
    limit: usize,
    held: Vec<(f32, u32)>,
    /// Scores below this cannot be among the best.
    floor: f32,
    /// Orders rows of equal score.
    tie: &'a dyn Fn(u32, u32) -> Ordering,
}

impl<'a> Best<'a> {
    /// `n_rows` bounds what is worth reserving.
    pub(super) fn new(limit: usize, n_rows: usize, tie: &'a dyn Fn(u32, u32) -> Ordering) -> Self {
        let limit = limit.min(n_rows);
        Self { limit, held: Vec::with_capacity(limit * 2), floor: f32::NEG_INFINITY, tie }
    }

    /// Tells whether a row with this score is worth offering.
    pub(super) fn wants(&self, score: f32) -> bool {
        score >= self.floor && self.limit > 0
    }

    pub(super) fn offer(&mut self, score: f32, row: u32) {
        if !self.wants(score) {
            return;
        }
        self.held.push((score, row));
        if self.held.len() == self.limit * 2 {
            let (at, tie) = (self.limit - 1, self.tie);
            let (_, worst, _) = self.held.select_nth_unstable_by(at, |a, b| order(tie, *a, *b));
            self.floor = worst.0;
            self.held.truncate(self.limit);
        }
    }

    /// Returns the best, in no order.
    pub(super) fn rows(mut self) -> Vec<u32> {
        if self.held.len() > self.limit {
            let (at, tie) = (self.limit.saturating_sub(1), self.tie);
            self.held.select_nth_unstable_by(at, |a, b| order(tie, *a, *b));
            self.held.truncate(self.limit);
        }
        self.held.into_iter().map(|(_, row)| row).collect()
    }

    /// Returns the best, best first.
    pub(super) fn sorted(mut self) -> Vec<(f32, u32)> {
        let tie = self.tie;
        self.held.sort_unstable_by(|a, b| order(tie, *a, *b));
        self.held.truncate(self.limit);
        self.held
    }
}

fn order(tie: &dyn Fn(u32, u32) -> Ordering, a: (f32, u32), b: (f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| tie(a.1, b.1))
}
