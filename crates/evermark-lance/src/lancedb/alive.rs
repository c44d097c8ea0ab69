//! Is anybody else using these files? Asked before something is planned and again before something is changed.
//!
//! Two ways to know: a process has a file below the directory open, or it holds the lock that EverOS keeps for as long as it
//! runs. A process that keeps a table open without any file at this moment cannot be seen: Lance holds no descriptors
//! between calls. So the newest version is looked at again before anything is deleted (`prune`).

use super::io_failed;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// A process with a file open below a directory of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    pub file: PathBuf,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {}) has {} open", self.command, self.pid, self.file.display())
    }
}

/// Returns other processes that have files below one of `dirs` open, one file of each. Where there is no `/proc`, none is seen.
pub(super) fn holders(dirs: &[PathBuf]) -> Vec<Holder> {
    let mut found: Vec<Holder> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            let open = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
            let file = open.into_iter().find(|file| dirs.iter().any(|dir| file.starts_with(dir) && file != dir))?;
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
            Some(Holder { pid, command, file })
        })
        .collect();
    found.sort_by_key(|holder| holder.pid);
    found
}

/// Says that the directory is ours for now; EverOS cannot start while it lives.
#[derive(Debug)]
pub(super) struct Guard {
    dirs: Vec<PathBuf>,
    /// Held, never read.
    _everos: Option<File>,
}

impl Guard {
    pub(super) fn take(dirs: Vec<PathBuf>, everos: Option<&Path>) -> Result<Self, IndexError> {
        let everos = everos.map(lock).transpose()?;
        let guard = Self { dirs, _everos: everos };
        guard.check()?;
        Ok(guard)
    }

    /// Errors: [`ErrorKind::Conflict`] when somebody has a file open.
    pub(super) fn check(&self) -> Result<(), IndexError> {
        match holders(&self.dirs).first() {
            None => Ok(()),
            Some(holder) => Err(in_use(format!("{holder}: stop it first"))),
        }
    }
}

fn lock(path: &Path) -> Result<File, IndexError> {
    let file = File::open(path).map_err(|error| io_failed("open", path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(format!(
            "EverOS, or an Evermark daemon on this root, is running (it holds {}): stop it first",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_failed("lock", path, error)),
    }
}

pub(super) fn in_use(message: impl Into<String>) -> IndexError {
    IndexError::new(ErrorKind::Conflict, message)
}
