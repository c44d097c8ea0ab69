//! How long to wait before trying again, and waiting that can be cut short.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest `Retry-After` that is believed; a provider that asks for more is asked again after this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// First wait between two attempts; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Waits between attempts. Tests give one that only notes the waits down.
pub trait Pause: Send + Sync {
    /// Waits for `duration`; tells `false` when waiting makes no more sense because the program is closing.
    fn pause(&self, duration: Duration) -> bool;
}

/// The pause of the running program: a wait that [`Self::close`] ends at once, for all who wait and who come later.
#[derive(Debug, Default)]
pub struct Waiting {
    closing: Mutex<bool>,
    woken: Condvar,
}

impl Waiting {
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every pause, now and from now on.
    pub fn close(&self) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_all();
    }
}

impl Pause for Waiting {
    fn pause(&self, duration: Duration) -> bool {
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let (closing, _) = self
            .woken
            .wait_timeout_while(closing, duration, |closing| !*closing)
            .unwrap_or_else(PoisonError::into_inner);
        !*closing
    }
}

/// Returns the wait before attempt `attempt + 1` (the first retry has `attempt` 0).
///
/// Doubles from half a second to 30 s; `chance` moves it between half and the whole, so that clients that failed
/// together do not come back together. Never shorter than what the provider asked for.
pub(crate) fn backoff(attempt: u32, asked: Option<Duration>, chance: u8) -> Duration {
    let whole = BACKOFF.saturating_mul(1 << attempt.min(10)).min(BACKOFF_MAX);
    let part = whole / 2 + whole.mul_f64(f64::from(chance) / 512.0);
    part.max(asked.unwrap_or_default())
}

/// Returns what a `Retry-After` header asks for: seconds, or the time until an HTTP date.
pub(crate) fn retry_after(header: &str, now_us: i64) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        // Some providers send fractions.
        return Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(RETRY_AFTER_MAX));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    let wait_us = until.as_microsecond().saturating_sub(now_us);
    Some(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)).min(RETRY_AFTER_MAX))
}

/// Bounds how many requests are on their way at once.
#[derive(Debug)]
pub(crate) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place behind the gate, given back when dropped.
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(crate) fn new(places: usize) -> Self {
        Self { free: Mutex::new(places.max(1)), freed: Condvar::new() }
    }

    /// Waits for a place for at most `limit`.
    pub(crate) fn enter(&self, limit: Duration) -> Option<Pass<'_>> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) =
            self.freed.wait_timeout_while(free, limit, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        if *free == 0 {
            return None;
        }
        *free -= 1;
        Some(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests;
