//! Everything that is not a function of the input: time, chance, and faults that tests arm.

use crate::maintenance::space::Volume;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Hands out time, random bytes and named faults. Nothing else may ask the operating system for them.
pub trait World: Send + Sync {
    /// Returns wall-clock time, microseconds since 1970 (UTC).
    fn now_us(&self) -> i64;

    /// Returns time that never goes back, from an arbitrary start.
    fn monotonic(&self) -> Duration;

    /// Returns random bytes.
    fn random(&self) -> [u8; 16];

    /// Passes a named point of a walk. A test's world may end the process here, or return an error to be reported
    /// as if the operating system had made it.
    fn reach(&self, point: &'static str) -> std::io::Result<()>;

    /// Returns what the volume of `path` is taken to have left, given what was measured. A test's world may say otherwise.
    fn volume(&self, _path: &Path, measured: Volume) -> Volume {
        measured
    }
}

/// The real world: the machine's clocks, no faults.
#[derive(Debug)]
pub struct RealWorld {
    start: Instant,
}

impl RealWorld {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl World for RealWorld {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now_us(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> [u8; 16] {
        // Seeded by the standard library from the operating system; ids need to differ, not to be secret.
        use std::hash::{BuildHasher, RandomState};
        let a = RandomState::new().hash_one(self.monotonic().as_nanos());
        let b = RandomState::new().hash_one(self.now_us());
        (u128::from(a) << 64 | u128::from(b)).to_le_bytes()
    }

    fn reach(&self, _point: &'static str) -> std::io::Result<()> {
        Ok(())
    }
}
