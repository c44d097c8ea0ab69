//! The truth: Markdown files below a root, read and written so that nobody's words are lost.
//!
//! Paths are relative, `/` between parts, at least `<app>/<project>/<scope folder>/<file>`. **Symbolic links below the root are
//! never followed**, not even those that stay inside: a file has one name, and scanner, watcher, reader and writer agree on
//! it. (The root itself may be reached through links; they are resolved once.) A link is reported as a finding.
//!
//! Reading never blocks on what is not a regular file and never reads more than it was told to. Writing is in
//! [`mod@write`], scanning in [`scan`].

use crate::dir::{self, Dir};
use crate::error::{At, Error, Finding, Result, What};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::{Seen, Stamp};
use evermark_core::world::World;
use rustix::fs::FileType;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod late;
pub mod place;
pub mod scan;
pub mod write;

use place::Place;

/// Passed before a file is opened for reading.
pub const READ: &str = "vault.read";
/// Passed before a single file is looked at.
pub const LOOK: &str = "vault.look";

/// Bounds and patience of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// The largest file that is read to be changed.
    pub file_bytes_max: u64,
    /// How often a change is applied anew when somebody else keeps changing the file.
    pub update_tries: usize,
    /// A file changed by others less than this ago is waited for before it is built upon: it may be half-written.
    pub quiet: Duration,
    /// The longest such wait.
    pub patience: Duration,
    /// How long a replaced file is watched for a late write through a handle that was open before.
    pub afterlife: Duration,
}

impl Default for VaultSettings {
    /// Sources: 64 MiB is twice what the largest vault known from EverOS's reports held; editors that save in place truncate and write within
    /// a few milliseconds.
    fn default() -> Self {
        Self {
            file_bytes_max: 64 << 20,
            update_tries: 16,
            quiet: Duration::from_millis(25),
            patience: Duration::from_millis(500),
            afterlife: Duration::from_secs(5),
        }
    }
}

/// A file's content, with a stamp that certainly belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileBytes {
    pub bytes: Vec<u8>,
    pub stamp: Stamp,
    pub digest: Digest32,
}

/// The Markdown files of one root.
pub struct Vault {
    root: PathBuf,
    world: Arc<dyn World>,
    settings: VaultSettings,
    /// Marks the temporaries of this process: all others are left over.
    tag: String,
    busy: Mutex<HashSet<String>>,
    freed: Condvar,
    /// What we wrote last, so that our own writes are not taken for somebody's half-written ones.
    written: Mutex<HashMap<String, Stamp>>,
    retired: Mutex<VecDeque<late::Retired>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the vault of a root that exists.
    pub fn open(root: &Path, world: Arc<dyn World>, settings: VaultSettings) -> Result<Self> {
        let root = root.canonicalize().at("open", root)?;
        Dir::open(&root).at("open", &root)?;
        let tag = crate::durable::random_hex(&*world, 4);
        Ok(Self {
            root,
            world,
            settings,
            tag,
            busy: Mutex::default(),
            freed: Condvar::new(),
            written: Mutex::default(),
            retired: Mutex::default(),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a file's content, its digest, and the stamp it had throughout.
    ///
    /// Errors: [`ErrorKind::NotFound`](evermark_core::error::ErrorKind::NotFound); [`Error::Finding`] for links, what is not
    /// a regular file, and what is larger than `bytes_max`; [`Error::Busy`] when the file changes faster than it is read.
    pub fn read(&self, rel: &str, bytes_max: u64) -> Result<FileBytes> {
        let place = Place::parse(rel)?;
        self.world.reach(READ).at("read", &self.root.join(rel))?;
        let dir = self.folder(&place)?;
        self.read_in(&dir, &place, bytes_max)
    }

    /// Returns what a cheap look at one place finds. What cannot be looked at, or is no regular file, is unknown.
    pub fn look(&self, rel: &str) -> Seen {
        let Ok(place) = Place::parse(rel) else { return Seen::Unknown };
        if self.world.reach(LOOK).is_err() {
            return Seen::Unknown;
        }
        let Ok(mut dir) = Dir::open(&self.root) else { return Seen::Unknown };
        // A missing folder is as good as a missing file: the folder above it was opened, and says that it is not there.
        let absent = Seen::Absent { parent_listed: true };
        for part in place.folders() {
            match dir.enter(OsStr::new(part)) {
                Ok(inner) => dir = inner,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return absent,
                Err(_) => return Seen::Unknown,
            }
        }
        match dir.stat(place.name()) {
            Ok((FileType::RegularFile, stamp)) => Seen::Present(stamp),
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent,
            Ok(_) | Err(_) => Seen::Unknown,
        }
    }

    /// Opens the folder that holds a place.
    fn folder(&self, place: &Place<'_>) -> Result<Dir> {
        self.folder_or(place, |_, _| Err(io::ErrorKind::NotFound.into()))
    }

    /// Opens the folder that holds a place, making what is missing.
    fn make_folder(&self, place: &Place<'_>) -> Result<Dir> {
        self.folder_or(place, |dir, part| dir.make(part).and_then(|()| dir.enter(part)))
    }

    fn folder_or(&self, place: &Place<'_>, missing: impl Fn(&Dir, &OsStr) -> io::Result<Dir>) -> Result<Dir> {
        let mut dir = Dir::open(&self.root).at("open", &self.root)?;
        let mut end = 0;
        for part in place.folders() {
            end += part.len() + 1;
            let part = OsStr::new(part);
            let entered = match dir.enter(part) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing(&dir, part),
                entered => entered,
            };
            dir = match entered {
                Ok(inner) => inner,
                Err(error) => {
                    // A link or a file in the way is a finding; anything else is the system's own trouble.
                    return Err(match dir.stat(part) {
                        Ok((FileType::Directory, _)) | Err(_) => {
                            Error::Io { doing: "open", path: dir.path().join(part), source: error }
                        }
                        Ok((kind, _)) => not_a_file(&place.rel()[..end - 1], kind),
                    });
                }
            };
        }
        Ok(dir)
    }

    fn read_in(&self, dir: &Dir, place: &Place<'_>, bytes_max: u64) -> Result<FileBytes> {
        self.read_named(dir, place.name(), place.rel(), bytes_max).map(|(bytes, _)| bytes)
    }

    /// Reads a name in a folder, speaking of it as `rel`, and hands out the handle too.
    fn read_named(&self, dir: &Dir, name: &OsStr, rel: &str, bytes_max: u64) -> Result<(FileBytes, File)> {
        let path = dir.path().join(name);
        // Looked at before it is opened: opening a device can have effects.
        let (kind, _) = dir.stat(name).at("read", &path)?;
        if kind != FileType::RegularFile {
            return Err(not_a_file(rel, kind));
        }
        let mut file = match dir.read(name) {
            Ok(file) => file,
            Err(error) => {
                return Err(match dir.stat(name) {
                    Ok((FileType::RegularFile, _)) | Err(_) => Error::Io { doing: "read", path, source: error },
                    Ok((kind, _)) => not_a_file(rel, kind),
                });
            }
        };
        for _ in 0..3 {
            let (kind, before) = dir::stat_file(&file).at("read", &path)?;
            if kind != FileType::RegularFile {
                return Err(not_a_file(rel, kind));
            }
            let too_large = |size| {
                let what = What::TooLarge { size, limit: bytes_max };
                Error::Finding(Finding { path: rel.to_owned(), what })
            };
            if before.size > bytes_max {
                return Err(too_large(before.size));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(before.size).unwrap_or_default());
            (&mut file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).at("read", &path)?;
            let n_bytes = bytes.len() as u64;
            if n_bytes > bytes_max {
                return Err(too_large(n_bytes));
            }
            let (_, after) = dir::stat_file(&file).at("read", &path)?;
            if same_content(before, after) && n_bytes == after.size {
                let digest = Digest32::of(&bytes);
                return Ok((FileBytes { bytes, stamp: after, digest }, file));
            }
            io::Seek::rewind(&mut file).at("read", &path)?;
        }
        Err(Error::Busy { rel: rel.to_owned() })
    }

    /// Holds one path against other writers of this process. Not re-entrant.
    fn hold(&self, rel: &str) -> Hold<'_> {
        let mut busy = locked(&self.busy);
        while busy.contains(rel) {
            busy = self.freed.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        busy.insert(rel.to_owned());
        Hold { vault: self, rel: rel.to_owned() }
    }
}

/// One path, held until dropped.
struct Hold<'a> {
    vault: &'a Vault,
    rel: String,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        locked(&self.vault.busy).remove(&self.rel);
        self.vault.freed.notify_all();
    }
}

/// Locks a mutex whose content is valid at every step, so that a panic elsewhere does not spread.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells whether a file was not written to between two looks. A rename or a new link changes the ctime only.
fn same_content(before: Stamp, after: Stamp) -> bool {
    (before.size, before.mtime_ns, before.inode) == (after.size, after.mtime_ns, after.inode)
}

fn not_a_file(rel: &str, kind: FileType) -> Error {
    Error::Finding(Finding { path: rel.to_owned(), what: what_is(kind) })
}

fn what_is(kind: FileType) -> What {
    match kind {
        FileType::Symlink => What::SymbolicLink,
        kind => What::NotAFile { found: dir::kind_name(kind) },
    }
}
