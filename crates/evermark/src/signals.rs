//! How the daemon is asked to end: once, and it finishes what runs; twice, and it ends at once. And a signal that must end
//! nothing.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Makes a write beyond the limit of a file's size (`ulimit -f`) fail as on a full disk. Unasked, SIGXFSZ ends the process.
pub(crate) fn outlive_size_limit() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _entered = runtime.enter();
    // A handler is all that is needed, and it stays when runtime and listener are gone.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

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
