//! What every index must do, as checks that run on any of them.
//!
//! A check panics with what went wrong. [`suite`] runs the named checks, each on a fresh index; [`random()`] runs the same
//! random life on an index and on the exact index, and compares what they answer after every step.

mod checks;
mod random;
mod sample;

#[cfg(test)]
mod tests;

pub use random::random;

use evermark_core::filter::Filter;
use evermark_core::id::{Kind, Owner};
use evermark_core::index::{Ask, Hit, Index};

/// How far a score may be off, relative above 1: quantised vectors and 32-bit sums are allowed.
pub const TOLERANCE: f32 = 1e-4;

/// Closes an index and opens it again.
pub type Reopen<'a> = &'a dyn Fn(Box<dyn Index>) -> Box<dyn Index>;

/// An index under test.
pub struct Subject<'a> {
    /// Makes an empty index whose vectors are [`Self::dimension`] wide.
    pub make: &'a dyn Fn() -> Box<dyn Index>,
    /// `None` when what was flushed does not outlive the index.
    pub reopen: Option<Reopen<'a>>,
    /// At least 4.
    pub dimension: usize,
}

/// One named check.
pub type Check = fn(&Subject<'_>);

/// Returns all checks with their names.
pub fn all() -> Vec<(&'static str, Check)> {
    checks::ALL.to_vec()
}

/// Runs every check, and names those that failed.
pub fn suite(subject: &Subject<'_>) {
    let failed: Vec<&str> = checks::ALL
        .iter()
        .filter(|(_, check)| {
            let run = std::panic::AssertUnwindSafe(|| check(subject));
            std::panic::catch_unwind(run).is_err()
        })
        .map(|(name, _)| *name)
        .collect();
    assert!(failed.is_empty(), "the index fails: {}", failed.join(", "));
}

/// Returns an ask for everything of one owner and kind that was not replaced.
pub fn everything<'a>(owner: &'a Owner, kind: Kind, filter: &'a Filter) -> Ask<'a> {
    Ask { owner, kind, filter, parents: None, ids: None, deprecated: false, limit: 1000 }
}

/// Checks a ranking against the whole exact one, of which it may show `limit`: the same scores in the same order, where
/// rows whose scores are closer than [`TOLERANCE`] may change places, and equal scores are ordered by id.
pub fn assert_ranks(found: &[Hit], exact: &[Hit], limit: usize, context: &str) {
    assert_eq!(found.len(), exact.len().min(limit), "{context}: number of hits\n{found:?}\n{exact:?}");
    let near = |a: f32, b: f32| (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
    for (at, hit) in found.iter().enumerate() {
        assert!(near(hit.score, exact[at].score), "{context}: score at {at}\n{hit:?}\n{:?}", exact[at]);
        let truth = exact.iter().find(|other| other.id == hit.id);
        let truth = truth.unwrap_or_else(|| panic!("{context}: {hit:?} should not be found"));
        assert!(near(hit.score, truth.score), "{context}: score of {hit:?}, exactly {truth:?}");
        assert_eq!(hit.parent_id, truth.parent_id, "{context}: parent");
        assert!(found[..at].iter().all(|other| other.id != hit.id), "{context}: {} twice", hit.id);
    }
    for pair in found.windows(2) {
        let ordered = pair[0].score > pair[1].score || (pair[0].score == pair[1].score && pair[0].id < pair[1].id);
        assert!(ordered, "{context}: order of {pair:?}");
    }
}
