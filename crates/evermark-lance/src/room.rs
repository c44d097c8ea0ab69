//! Where Lance runs: a small runtime of its own, with every operation in its own task and a deadline on each.
//!
//! Callers block outside the runtime. A task that panics is caught; a task that does not answer in time is abandoned and
//! reported, so that nobody waits for ever on a pool that Lance has starved.

use crate::error::failed;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use futures::FutureExt;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Lance encodes on a pool of its own, but batches are decoded and taken apart here: on more threads than two, so that
/// a search that loads rows shares the processors with a flush or merge, instead of waiting behind one.
const WORKERS: usize = 4;

/// How an operation ended when it did not succeed.
pub(crate) enum Lost {
    Failed(IndexError),
    /// Nobody knows what it has done or will still do. The handle tells when it has ended.
    Abandoned(JoinHandle<()>, IndexError),
}

impl From<IndexError> for Lost {
    fn from(error: IndexError) -> Self {
        Self::Failed(error)
    }
}

impl From<Lost> for IndexError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Failed(error) | Lost::Abandoned(_, error) => error,
        }
    }
}

pub(crate) struct Room {
    runtime: Option<Runtime>,
}

impl Room {
    pub(crate) fn new() -> Result<Self, IndexError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("evermark-lance")
            .enable_all()
            .build()
            .map_err(|error| failed("start the index's runtime", error))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs `task` to its end or to `deadline`, whichever comes first.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        doing: &str,
        deadline: Duration,
        task: impl Future<Output = Result<T, IndexError>> + Send + 'static,
    ) -> Result<T, Lost> {
        let Some(runtime) = &self.runtime else {
            return Err(Lost::Failed(IndexError::new(ErrorKind::Unavailable, "the index is closed")));
        };
        let (answer, answered) = sync_channel(1);
        let handle = runtime.spawn(async move {
            let outcome = AssertUnwindSafe(task).catch_unwind().await;
            // The receiver is gone when the caller gave up: then nobody is owed an answer.
            drop(answer.send(outcome));
        });
        match answered.recv_timeout(deadline) {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(panic)) => Err(Lost::Failed(IndexError::new(
                ErrorKind::Corrupt,
                format!("cannot {doing}: Lance panicked: {}", panic_text(panic.as_ref())),
            ))),
            Err(RecvTimeoutError::Timeout) => {
                handle.abort();
                let message = format!("cannot {doing}: no answer within {} ms, abandoned", deadline.as_millis());
                tracing::error!(doing, deadline_ms = deadline.as_millis(), "a Lance operation hangs and was abandoned");
                Err(Lost::Abandoned(handle, IndexError::new(ErrorKind::Unavailable, message)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Lost::Failed(IndexError::new(
                ErrorKind::Unavailable,
                format!("cannot {doing}: the index is closing"),
            ))),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which panics inside another runtime and hangs behind a hung task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
