//! One process owns a root. The kernel's lock says that it is owned; the file's text only says by whom.
//!
//! While we run we also hold EverOS's own lock, where an EverOS has been here: two programs must not write one root.

use crate::durable;
use crate::error::{At, Error, Result};
use crate::layout::Layout;
use evermark_core::error::ErrorKind;
use evermark_core::world::World;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

#[cfg(test)]
mod tests;

/// Who owns a root, as it said itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    pub pid: Option<u32>,
    /// Where it can be reached, for example `http://127.0.0.1:8000`.
    pub address: Option<String>,
    pub started_at_us: Option<i64>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.pid) {
            (Some(address), Some(pid)) => write!(f, "running at {address} (pid {pid})"),
            (None, Some(pid)) => write!(f, "held by pid {pid}"),
            (Some(address), None) => write!(f, "running at {address}"),
            (None, None) => f.write_str("held by another process"),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct HolderFile {
    pid: Option<u32>,
    address: Option<String>,
    started_at_us: Option<i64>,
}

/// The ownership of a root, until it is dropped.
#[derive(Debug)]
pub struct RootLock {
    layout: Layout,
    file: File,
    holder: Holder,
    everos: Option<File>,
}

impl RootLock {
    /// Takes the root, or says who has it. Takes nothing else and touches nothing else before.
    ///
    /// Errors: [`Error::Held`], [`Error::HeldByEveros`], [`Error::NoLocks`] on file systems that have none, and
    /// [`Error::Io`] (for example a read-only file system).
    pub fn take(layout: &Layout, world: &dyn World, address: Option<&str>) -> Result<Self> {
        durable::create_dirs(&layout.own_dir())?;
        let file = lock_file(layout)?;
        let everos = lock_everos(layout)?;
        let holder = Holder {
            pid: Some(std::process::id()),
            address: address.map(str::to_owned),
            started_at_us: Some(world.now_us()),
        };
        let lock = Self { layout: layout.clone(), file, holder, everos };
        lock.sign()?;
        Ok(lock)
    }

    /// Says where the owner can now be reached.
    pub fn set_address(&mut self, address: &str) -> Result<()> {
        self.holder.address = Some(address.to_owned());
        self.sign()
    }

    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Tells whether an EverOS has been here, so that its lock is held too.
    pub fn holds_everos(&self) -> bool {
        self.everos.is_some()
    }

    /// Tells whether the lock file in its place is still the one that we hold. Once it is not, another process may believe
    /// that it owns the root: stop writing.
    pub fn still_held(&self) -> bool {
        same_file(&self.file, &self.layout.lock_file())
    }

    /// Takes the root anew after the lock file has gone from its place, keeping whatever else is held.
    ///
    /// Errors: those of [`Self::take`]; [`Error::Held`] when somebody else was quicker.
    pub fn take_again(&mut self) -> Result<()> {
        self.file = lock_file(&self.layout)?;
        self.sign()
    }

    /// Returns who signed the lock file last. It says nothing about whether that process still holds it.
    pub fn last_holder(layout: &Layout) -> Option<Holder> {
        let file = open_existing(&layout.lock_file()).ok()?;
        read_holder(&file)
    }

    fn sign(&self) -> Result<()> {
        let Holder { pid, address, started_at_us } = self.holder.clone();
        match self.write(&HolderFile { pid, address, started_at_us }) {
            // The lock is the kernel's and holds without a signature: a full disk must not keep anybody from making room.
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                tracing::warn!(%error, "others cannot be told who holds the root: the disk is full");
                Ok(())
            }
            written => written,
        }
    }

    fn write(&self, holder: &HolderFile) -> Result<()> {
        let mut text = serde_json::to_vec(holder).expect("three plain fields always serialise");
        // Always as long: once made, the file never asks for space again, and a full disk keeps nobody from the root.
        text.resize(text.len().max(TEXT_BYTES), b' ');
        text.push(b'\n');
        // One write and then a cut: a reader sees the old text, the new text, or a mixture it cannot parse.
        let length = text.len() as u64;
        self.file.write_all_at(&text, 0).and_then(|()| self.file.set_len(length)).at("write", &self.layout.lock_file())
    }
}

/// What any holder says fits into this.
const TEXT_BYTES: usize = 511;

impl Drop for RootLock {
    fn drop(&mut self) {
        // The kernel frees the lock with the file. Clearing the text is a courtesy; stale text without a lock is ignored.
        if self.still_held()
            && let Err(error) = self.write(&HolderFile::default())
        {
            tracing::debug!(%error, "the lock file keeps its old text");
        }
    }
}

fn lock_file(layout: &Layout) -> Result<File> {
    let path = layout.lock_file();
    // More than one round only when somebody deletes the file between our open and our lock.
    for _ in 0..16 {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(no_follow())
            .open(&path)
            .at("lock", &path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if same_file(&file, &path) => return Ok(file),
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = Box::new(read_holder(&file).unwrap_or_default());
                return Err(Error::Held { root: layout.root().to_owned(), holder });
            }
            Err(error) => return Err(lock_failed(error, &path)),
        }
    }
    Err(io::Error::from(io::ErrorKind::ResourceBusy)).at("lock", &path)
}

/// Takes the lock of an EverOS server, where there is one to take. Its file is never made by us, and never changed.
fn lock_everos(layout: &Layout) -> Result<Option<File>> {
    let path = layout.everos_lock_file();
    let file = match open_existing(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.at("lock", &path)?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(Error::HeldByEveros { root: layout.root().to_owned(), lock: path }),
        Err(error) => Err(lock_failed(error, &path)),
    }
}

fn lock_failed(error: Errno, path: &Path) -> Error {
    let source = io::Error::from(error);
    match error {
        Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL => Error::NoLocks { path: path.to_owned(), source },
        _ => Error::Io { doing: "lock", path: path.to_owned(), source },
    }
}

fn open_existing(path: &Path) -> io::Result<File> {
    // Network file systems want a writable file for an exclusive lock.
    OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(path)
}

fn no_follow() -> i32 {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    i32::try_from(flags.bits()).unwrap_or_default()
}

fn same_file(file: &File, path: &Path) -> bool {
    let place = std::fs::symlink_metadata(path);
    matches!((file.metadata(), place), (Ok(a), Ok(b)) if a.dev() == b.dev() && a.ino() == b.ino())
}

fn read_holder(file: &File) -> Option<Holder> {
    // Ours is below 200 bytes; whatever else the file holds is not ours.
    let mut text = [0; 1024];
    let n = file.read_at(&mut text, 0).ok()?;
    let HolderFile { pid, address, started_at_us } = serde_json::from_slice(&text[..n]).ok()?;
    Some(Holder { pid, address, started_at_us })
}
