//! BM25: how well a row answers a question, from how often it holds the question's terms.
//!
//! A question asks for any of its distinct terms; a row's score is the sum over the terms it holds. Statistics are those
//! of one owner and kind, over the rows that were not replaced: what another owner wrote, what a filter hides and what
//! was deprecated must not move a score in different ways. Deprecated rows are scored by the same statistics when they
//! are asked for.

#[cfg(test)]
mod tests;

/// How soon repeating a term stops to count. Source: Robertson and Zaragoza 2009; what EverOS's engine uses.
pub const K1: f64 = 1.2;

/// How much long rows are marked down, 0 to 1. Source: as [`K1`].
pub const B: f64 = 0.75;

/// What is known of all rows of one owner and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corpus {
    /// Rows, those without terms included.
    pub n_rows: u64,
    /// Terms of all rows, repeats included.
    pub n_terms: u64,
}

impl Corpus {
    /// Counts one more row of so many terms.
    pub fn add(&mut self, n_terms: u64) {
        self.n_rows += 1;
        self.n_terms += n_terms;
    }

    /// Takes a row back.
    pub fn remove(&mut self, n_terms: u64) {
        self.n_rows = self.n_rows.saturating_sub(1);
        self.n_terms = self.n_terms.saturating_sub(n_terms);
    }

    /// Returns how telling a term is that `n_holding` rows hold: always above 0.
    pub fn idf(&self, n_holding: u64) -> f64 {
        let rest = self.n_rows.saturating_sub(n_holding) as f64;
        ((rest + 0.5) / (n_holding as f64 + 0.5)).ln_1p()
    }

    /// Returns what is added to a term's count in the denominator, for a row of so many terms.
    pub fn length_norm(&self, n_terms: u64) -> f64 {
        let relative = if self.n_terms == 0 {
            1.0 // Only deprecated rows hold terms.
        } else {
            n_terms as f64 * self.n_rows as f64 / self.n_terms as f64
        };
        K1 * (1.0 - B + B * relative)
    }

    /// Returns the score a term adds to a row that holds it `count` times.
    pub fn weight(&self, idf: f64, count: u32, row_terms: u64) -> f64 {
        let count = f64::from(count);
        idf * (K1 + 1.0) * count / (count + self.length_norm(row_terms))
    }
}
