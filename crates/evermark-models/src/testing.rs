//! A world whose clock moves only when something pauses, so that no test waits.

use crate::retry::Pause;
use evermark_core::world::World;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct TestWorld {
    now: Mutex<Duration>,
    pauses: Mutex<Vec<Duration>>,
    /// The error that reaching this point returns, as an operating system's number.
    fault: Mutex<Option<(&'static str, i32)>>,
}

impl TestWorld {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.now.lock().unwrap() += by;
    }

    /// Returns the pauses since the last call.
    pub(crate) fn take_pauses(&self) -> Vec<Duration> {
        std::mem::take(&mut self.pauses.lock().unwrap())
    }

    pub(crate) fn arm(&self, fault: Option<(&'static str, i32)>) {
        *self.fault.lock().unwrap() = fault;
    }
}

impl World for TestWorld {
    fn now_us(&self) -> i64 {
        1_700_000_000_000_000 + i64::try_from(self.monotonic().as_micros()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }

    fn reach(&self, point: &'static str) -> std::io::Result<()> {
        match *self.fault.lock().unwrap() {
            Some((armed, code)) if armed == point => Err(std::io::Error::from_raw_os_error(code)),
            _ => Ok(()),
        }
    }
}

impl Pause for TestWorld {
    fn pause(&self, duration: Duration) -> bool {
        self.advance(duration);
        self.pauses.lock().unwrap().push(duration);
        true
    }
}
