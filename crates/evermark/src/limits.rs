//! The limit of open files. An index of many small files runs into the usual 256 or 1024 long before the machine does.

use rustix::process::{Resource, getrlimit, setrlimit};

/// How many files may be open, before and after we asked for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    pub(crate) before: Option<u64>,
    pub(crate) now: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// macOS reports "unlimited" as the hard limit and refuses to set more than this (OPEN_MAX).
const MACOS_MAX: u64 = 10_240;

/// Returns how many files may be open once [`raise_descriptors`] has been called, changing nothing.
pub(crate) fn attainable_descriptors() -> u64 {
    wish(getrlimit(Resource::Nofile).maximum).unwrap_or(u64::MAX)
}

fn wish(hard: Option<u64>) -> Option<u64> {
    if cfg!(target_os = "macos") { Some(hard.map_or(MACOS_MAX, |hard| hard.min(MACOS_MAX))) } else { hard }
}

/// Raises the soft limit as far as the hard one allows, and returns both. Never fails: a low limit is seen in what is returned.
pub(crate) fn raise_descriptors() -> Descriptors {
    let found = getrlimit(Resource::Nofile);
    let hard = found.maximum;
    let mut wanted = found;
    wanted.current = wish(hard);
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files stays where it is");
    }
    Descriptors { before: found.current, now: getrlimit(Resource::Nofile).current, hard }
}

/// How much of what was granted each part may hold. The rest is the index's, the ledger's and the watcher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Clients connected at once: each holds one.
    pub(crate) connections: usize,
    /// Requests of one sort carried out at once: each may have a few files open.
    pub(crate) requests: usize,
}

impl Shares {
    /// Returns the shares of `granted` descriptors. At 128 they come to 32 clients and 4 requests, which leaves 80 for the
    /// index; from 2048 on nothing is held back.
    pub(crate) fn of(granted: u64) -> Self {
        let part = |divisor, min, max| usize::try_from(granted / divisor).unwrap_or(usize::MAX).clamp(min, max);
        Self { connections: part(4, 8, 512), requests: part(32, 2, 32) }
    }
}
