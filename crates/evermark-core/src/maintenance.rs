//! The bound on the index's bytes, and what is done to keep it, as pure decisions.
//!
//! [`Budget`] says what may be written, [`space`] what the disk has left, [`plan`] what a round of upkeep does about both.

pub mod plan;
pub mod space;
#[cfg(test)]
mod tests;

/// What a generation of the index may come to on disk: `ratio × live + slack`, and never more than `cap`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// How many times the live bytes. 1 suffices but while a new generation is built beside the old one.
    pub ratio: f64,
    /// What is in flight: a write, a rewrite, superseded versions, files that readers hold.
    pub slack_bytes: u64,
    /// A hard limit, whatever is live.
    pub cap_bytes: Option<u64>,
}

impl Budget {
    /// Nothing is refused.
    pub const UNBOUNDED: Self = Self { ratio: 1.0, slack_bytes: u64::MAX, cap_bytes: None };

    /// Returns the most bytes that may be allocated while `live_bytes` are referred to by the newest version.
    pub fn bound(&self, live_bytes: u64) -> u64 {
        // More than 2^53 bytes are beyond any disk: a rounding there moves nothing.
        let scaled = (self.ratio.max(0.0) * live_bytes as f64) as u64;
        let bound = scaled.saturating_add(self.slack_bytes);
        self.cap_bytes.map_or(bound, |cap| bound.min(cap))
    }

    /// Tells whether `more` bytes fit beside what is allocated, and if not, which limit stands against it.
    pub fn admit(&self, live_bytes: u64, allocated_bytes: u64, more: u64) -> Admission {
        let wanted = allocated_bytes.saturating_add(more);
        match self.cap_bytes {
            Some(cap) if wanted > cap => Admission::OverCap { wanted, cap },
            _ if wanted > self.bound(live_bytes) => Admission::OverBound { wanted, bound: self.bound(live_bytes) },
            _ => Admission::Fits,
        }
    }
}

/// Whether bytes may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Fits,
    /// Reclaiming or merging may make room.
    OverBound {
        wanted: u64,
        bound: u64,
    },
    /// Only less data, or a higher limit, makes room.
    OverCap {
        wanted: u64,
        cap: u64,
    },
}
