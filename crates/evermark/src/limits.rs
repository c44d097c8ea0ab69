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

/// Raises the soft limit as far as the hard one allows, and returns both. Never fails: a low limit is seen in what is returned.
pub(crate) fn raise_descriptors() -> Descriptors {
    let found = getrlimit(Resource::Nofile);
    let hard = found.maximum;
    let mut wish = found;
    wish.current =
        if cfg!(target_os = "macos") { Some(hard.map_or(MACOS_MAX, |hard| hard.min(MACOS_MAX))) } else { hard };
    if let Err(error) = setrlimit(Resource::Nofile, wish) {
        tracing::warn!(%error, "the limit of open files stays where it is");
    }
    Descriptors { before: found.current, now: getrlimit(Resource::Nofile).current, hard }
}
