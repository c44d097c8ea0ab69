//! A token bucket: how many requests per minute a provider may be sent. Pure: the caller gives the time.

use std::time::Duration;

/// Spreads requests over the minute; a short burst is allowed after a quiet time.
#[derive(Debug)]
pub struct Bucket {
    /// Time that one request uses up; zero when there is no limit.
    interval: Duration,
    /// How far ahead of the pace requests may run.
    burst: Duration,
    /// When a full bucket's next request is due, were there no burst.
    next: Duration,
    held_until: Duration,
}

impl Bucket {
    /// Starts full. `None` and zero mean no limit.
    pub fn new(requests_per_minute: Option<u32>) -> Self {
        let interval = match requests_per_minute {
            Some(n) if n > 0 => Duration::from_secs(60) / n,
            _ => Duration::ZERO,
        };
        // A sixth of a minute's worth at once: enough for a batch of batches, too little to trip a provider's own window.
        Self {
            interval,
            burst: Duration::from_secs(10).max(interval),
            next: Duration::ZERO,
            held_until: Duration::ZERO,
        }
    }

    /// Takes one request's worth and returns zero, or returns how long to wait before asking again.
    pub fn take(&mut self, now: Duration) -> Duration {
        if now < self.held_until {
            return self.held_until - now;
        }
        if self.interval.is_zero() {
            return Duration::ZERO;
        }
        let due = self.next.max(now);
        let ahead = due + self.interval - now;
        if ahead > self.burst {
            return ahead - self.burst;
        }
        self.next = due + self.interval;
        Duration::ZERO
    }

    /// Gives out nothing until then: the provider asked for it.
    pub fn hold(&mut self, until: Duration) {
        self.held_until = self.held_until.max(until);
    }
}

#[cfg(test)]
mod tests;
