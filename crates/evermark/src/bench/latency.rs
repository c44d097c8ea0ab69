//! How latencies are summed up. Knows nothing of the program, so that its tests can take it in by itself.

use serde_json::{Value, json};
use std::time::Duration;

/// Returns p50, p95, p99 and the slowest, in milliseconds; zeros where nothing was measured, which `n` tells.
pub(super) fn latencies(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let at = |percent| ms(nearest_rank(&took, percent));
    json!({ "n": took.len(), "p50_ms": at(50), "p95_ms": at(95), "p99_ms": at(99), "max_ms": at(100) })
}

/// Returns the least value of an ascending list that `percent` of all do not exceed.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Returns milliseconds with three digits after the point.
pub(super) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
