//! The program's world: the real one, and a hook that lets tests end the process where it hurts.

use anyhow::{Context, bail};
use evermark_core::world::{RealWorld, World};
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Names the point at which a test wants the process killed: `point`, or `point:n` for the n-th time it is reached.
pub(crate) const CRASH_AT: &str = "EVERMARK_CRASH_AT";

/// Returns the world to live in; `crash_at` is the value of [`CRASH_AT`].
pub(crate) fn world(crash_at: Option<&str>) -> anyhow::Result<Arc<dyn World>> {
    Ok(match crash_at {
        None => Arc::new(RealWorld::new()),
        Some(wish) => Arc::new(CrashWorld::new(wish)?),
    })
}

/// The real world until one point is reached once too often; there the process is killed, as by `kill -9`.
struct CrashWorld {
    real: RealWorld,
    point: String,
    remaining: AtomicU64,
}

impl CrashWorld {
    fn new(wish: &str) -> anyhow::Result<Self> {
        let (point, times) = match wish.rsplit_once(':') {
            Some((point, times)) => {
                (point, times.parse().with_context(|| format!("{CRASH_AT}={wish}: `{times}` is no number"))?)
            }
            None => (wish, 1),
        };
        if point.is_empty() || times == 0 {
            bail!("{CRASH_AT}={wish}: what is meant is `point` or `point:n`, with n from 1");
        }
        Ok(Self { real: RealWorld::new(), point: point.to_owned(), remaining: AtomicU64::new(times) })
    }
}

impl World for CrashWorld {
    fn now_us(&self) -> i64 {
        self.real.now_us()
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }

    fn random(&self) -> [u8; 16] {
        self.real.random()
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        if point != self.point || self.remaining.fetch_sub(1, Ordering::SeqCst) != 1 {
            return Ok(());
        }
        kill_process(getpid(), Signal::KILL)?;
        // The signal ends every thread, this one included, at some moment after the call: nothing may happen until then.
        loop {
            std::thread::park();
        }
    }
}
