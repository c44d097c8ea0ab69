//! The program's own sense of time: its patience, and how long things took. The engine's time is the world's.

use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "nothing that is stored or decided depends on it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits, without holding anything.
pub(crate) fn pause(duration: Duration) {
    let until = now() + duration;
    // Parking may end early.
    while let Some(left) = until.checked_duration_since(now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
