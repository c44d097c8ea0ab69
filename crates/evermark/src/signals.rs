//! How the daemon is asked to end: once, and it finishes what runs; twice, and it ends at once.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask us to end.
pub(crate) struct Ending {
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    /// Starts to listen; from here on neither signal kills the process by itself. Call it inside the runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal and returns its name and the exit code it stands for.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        // 128 + the signal's number, as shells have it.
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 130),
            _ = self.terminate.recv() => ("SIGTERM", 143),
        }
    }
}
