//! Changing a file while others may be changing it too.
//!
//! A write is compare-and-swap on the content's digest. It is prepared in a temporary; then the two names are *exchanged*
//! in one step and what came out is compared with what was expected. If a person saved in between, the names are
//! exchanged back and the change starts over from the person's words; where it cannot be compared now, they are exchanged
//! back and the change fails. If even that is overtaken, their version is kept beside the file as
//! `<name>.conflict-<time>`, a name that neither we nor EverOS index.
//!
//! What is written late into a file that lost its name is the matter of `late.rs`.
//!
//! Crash points: `durable.temp_written` · `vault.staged` (ready, old file in place) · `durable.renamed` (new file in
//! place, the old one still under `.<name>.swap.<hex>-<expected>-<new>`) · `vault.compared`. The digests in the name tell
//! [`Vault::sweep`](super::Vault::sweep) whether a left-over may go or holds somebody's words.
//!
//! Where names cannot be exchanged (some network file systems), the check is repeated right before a plain rename: a save
//! within those microseconds would be lost there, and only there.

use super::late::Retired;
use super::place::Place;
use super::{FileBytes, Vault, locked, same_content};
use crate::dir::{self, Dir};
use crate::durable;
use crate::error::{At, Error, Result};
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Stamp;
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Passed when the new content is ready and the old file is still in place.
pub const STAGED: &str = "vault.staged";
/// Passed before two names are exchanged; a test that says `Unsupported` here gets the way without.
pub const EXCHANGE: &str = "vault.exchange";
/// Passed before what was replaced is read, to be compared.
pub const COMPARING: &str = "vault.comparing";
/// Passed when the replaced file was compared and is about to go.
pub const COMPARED: &str = "vault.compared";

/// How many of our own last stamps are remembered.
const WRITTEN_MAX: usize = 4096;

/// What a writer believes is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    Digest(Digest32),
}

impl Expected {
    fn digest(self) -> Option<Digest32> {
        match self {
            Self::Absent => None,
            Self::Digest(digest) => Some(digest),
        }
    }
}

/// A file as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Certainly that of our content: a later edit by anybody shows as a difference to it.
    pub stamp: Stamp,
    pub digest: Digest32,
    /// Whether there was anything to write.
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made,
    NotNeeded,
}

/// What came of one try.
enum Put {
    Done(Stamp),
    /// Somebody changed the file; this is what is there now.
    Changed(Option<Digest32>),
}

impl Vault {
    /// Replaces a file that is as expected, or makes one. Durable when it returns.
    ///
    /// Errors: [`Error::Conflict`] when the file is not as expected; nothing is changed then.
    pub fn write(&self, rel: &str, expected: Expected, bytes: &[u8]) -> Result<Written> {
        let place = Place::parse(rel)?;
        let _hold = self.hold(rel);
        let current = self.current(&place)?;
        let expected = expected.digest();
        let conflict = |found| Error::Conflict { rel: rel.to_owned(), expected, found };
        let found = current.as_ref().map(|current| current.digest);
        if found != expected {
            return Err(conflict(found));
        }
        match self.put(&place, found, bytes)? {
            Put::Done(stamp) => Ok(Written { stamp, digest: Digest32::of(bytes), change: Change::Made }),
            Put::Changed(found) => Err(conflict(found)),
        }
    }

    /// Changes a file by a function of its content (`None` where there is no file), and does so again from the start when
    /// somebody else changed it meanwhile. `apply` must not touch the same path through this vault.
    ///
    /// Errors: those of `apply`; [`Error::Busy`] after [`update_tries`](super::VaultSettings::update_tries).
    pub fn update<E: From<Error>>(
        &self,
        rel: &str,
        mut apply: impl FnMut(Option<&[u8]>) -> Result<Vec<u8>, E>,
    ) -> Result<Written, E> {
        let place = Place::parse(rel)?;
        let _hold = self.hold(rel);
        for _ in 0..self.settings.update_tries {
            let current = self.quiet_current(&place)?;
            let bytes = apply(current.as_ref().map(|current| &*current.bytes))?;
            let digest = Digest32::of(&bytes);
            if let Some(current) = &current
                && current.digest == digest
            {
                return Ok(Written { stamp: current.stamp, digest, change: Change::NotNeeded });
            }
            match self.put(&place, current.map(|current| current.digest), &bytes)? {
                Put::Done(stamp) => return Ok(Written { stamp, digest, change: Change::Made }),
                Put::Changed(_) => tracing::debug!(rel, "somebody else saved this file: applying the change anew"),
            }
        }
        Err(Error::Busy { rel: rel.to_owned() }.into())
    }

    /// Removes a file that is as expected. Durable when it returns.
    ///
    /// Errors: [`Error::Conflict`] when the file is not as expected, or not there.
    pub fn remove(&self, rel: &str, expected: Digest32) -> Result<()> {
        let place = Place::parse(rel)?;
        let _hold = self.hold(rel);
        let conflict = |found| Error::Conflict { rel: rel.to_owned(), expected: Some(expected), found };
        let found = self.current(&place)?.map(|current| current.digest);
        if found != Some(expected) {
            return Err(conflict(found));
        }
        let dir = self.folder(&place)?;
        let path = dir.path().join(place.name());
        let swap = self.swap_name(place.name(), expected, expected);
        match dir.rename(place.name(), &swap) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(conflict(None)),
            done => done.at("remove", &path)?,
        }
        self.world.reach(durable::RENAMED).at("remove", &path)?;
        match self.swapped_out(&dir, &swap, &place) {
            Ok(Some((file, stamp, digest))) if digest == expected => {
                self.world.reach(COMPARED).at("remove", &path)?;
                dir.unlink(&swap).and_then(|()| dir.sync()).at("remove", &path)?;
                locked(&self.written).remove(rel);
                self.retire(Retired { rel: rel.to_owned(), file, stamp, digest, until: self.afterlife() });
                Ok(())
            }
            other => {
                self.put_back(&dir, &swap, &place)?;
                Err(conflict(other?.map(|(_, _, digest)| digest)))
            }
        }
    }

    /// Removes the folders of a path that hold nothing any more, upwards, but never a scope folder.
    pub fn remove_empty_folders(&self, rel: &str) -> Result<()> {
        let place = Place::parse(rel)?;
        let mut parts: Vec<&str> = place.folders().collect();
        while parts.len() > 3 {
            let folder = parts.join("/");
            let Ok(dir) = self.folder(&Place::parse(&folder)?) else { return Ok(()) };
            let name = OsStr::new(parts.pop().unwrap_or_default());
            match dir.unmake(name) {
                Ok(()) => dir.sync().at("remove", &dir.path().join(name))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Not empty, or not ours to remove: either way it stays.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Tries once to put `bytes` where `found` was just read.
    fn put(&self, place: &Place<'_>, found: Option<Digest32>, bytes: &[u8]) -> Result<Put> {
        match found {
            None => self.put_new(place, bytes),
            Some(found) => self.put_over(place, found, bytes),
        }
    }

    fn put_new(&self, place: &Place<'_>, bytes: &[u8]) -> Result<Put> {
        let dir = self.make_folder(place)?;
        let path = dir.path().join(place.name());
        let temp = self.temp_name(place.name());
        let file = durable::stage_as(&*self.world, &dir, &temp, bytes, |_| Ok(())).at("write", &path)?;
        let ours = dir::stat_file(&file).at("write", &path)?.1;
        self.world.reach(STAGED).at("write", &path)?;
        match durable::publish(&*self.world, &dir, &temp, |dir| dir.rename_new(&temp, place.name())) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Changed(self.found(place)?)),
            done => {
                done.at("write", &path)?;
                Ok(Put::Done(self.written(place.rel(), &file, ours)))
            }
        }
    }

    fn put_over(&self, place: &Place<'_>, expected: Digest32, bytes: &[u8]) -> Result<Put> {
        let dir = self.folder(place)?;
        let path = dir.path().join(place.name());
        let temp = self.temp_name(place.name());
        let dress = |file: &File| dress_like(&dir, place.name(), file);
        let file = durable::stage_as(&*self.world, &dir, &temp, bytes, dress).at("write", &path)?;
        let ours = dir::stat_file(&file).at("write", &path)?.1;
        let new = Digest32::of(bytes);
        let swap = self.swap_name(place.name(), expected, new);
        dir.rename(&temp, &swap).at("write", &path)?;
        self.world.reach(STAGED).at("write", &path)?;
        match self.world.reach(EXCHANGE).and_then(|()| dir.exchange(&swap, place.name())) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return self.put_plain(&dir, place, &swap, expected, (file, ours));
            }
            Err(error) => {
                durable::discard(&dir, &swap);
                if error.kind() == io::ErrorKind::NotFound {
                    return Ok(Put::Changed(None));
                }
                return Err(error).at("write", &path);
            }
        }
        self.world.reach(durable::RENAMED).at("write", &path)?;
        match self.swapped_out(&dir, &swap, place) {
            Ok(Some((old, stamp, digest))) if digest == expected => {
                self.world.reach(COMPARED).at("write", &path)?;
                dir.unlink(&swap).and_then(|()| dir.sync()).at("write", &path)?;
                self.retire(Retired { rel: place.rel().to_owned(), file: old, stamp, digest, until: self.afterlife() });
                Ok(Put::Done(self.written(place.rel(), &file, ours)))
            }
            other => {
                let (rel, until) = (place.rel().to_owned(), self.afterlife());
                self.swap_back(&dir, &swap, place, Retired { rel, file, stamp: ours, digest: new, until })?;
                Ok(Put::Changed(other?.map(|(_, _, digest)| digest)))
            }
        }
    }

    /// The way for file systems that cannot exchange names.
    fn put_plain(
        &self,
        dir: &Dir,
        place: &Place<'_>,
        swap: &OsStr,
        expected: Digest32,
        (file, ours): (File, Stamp),
    ) -> Result<Put> {
        let path = dir.path().join(place.name());
        let (old, handle) = match self.read_named(dir, place.name(), place.rel(), self.settings.file_bytes_max) {
            Ok((old, handle)) if old.digest == expected => (old, handle),
            other => {
                durable::discard(dir, swap);
                return match other {
                    Ok((old, _)) => Ok(Put::Changed(Some(old.digest))),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Put::Changed(None)),
                    Err(error) => Err(error),
                };
            }
        };
        durable::publish(&*self.world, dir, swap, |dir| dir.rename(swap, place.name())).at("write", &path)?;
        let until = self.afterlife();
        let FileBytes { stamp, digest, .. } = old;
        self.retire(Retired { rel: place.rel().to_owned(), file: handle, stamp, digest, until });
        Ok(Put::Done(self.written(place.rel(), &file, ours)))
    }

    /// Undoes an exchange that brought out something unexpected, or something that cannot be read now. `ours` is what was
    /// put in its place.
    fn swap_back(&self, dir: &Dir, swap: &OsStr, place: &Place<'_>, ours: Retired) -> Result<()> {
        let path = dir.path().join(place.name());
        match dir.exchange(swap, place.name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.put_back(dir, swap, place),
            done => done.at("restore", &path)?,
        }
        let is_ours = match self.swapped_out(dir, swap, place) {
            Ok(out) => out.is_some_and(|(_, _, digest)| digest == ours.digest),
            // Told without opening it: there may be no descriptor to be had.
            Err(_) => dir.stat(swap).is_ok_and(|(_, stamp)| same_content(stamp, ours.stamp)),
        };
        if is_ours {
            durable::discard(dir, swap);
            // It had the name for a moment: somebody may have opened it then, and be about to save into it.
            self.retire(ours);
        } else {
            // Saved a second time, over ours: that later version belongs in place, the earlier one beside it.
            dir.exchange(swap, place.name()).at("restore", &path)?;
            self.keep(dir, swap, place.name())?;
        }
        dir.sync().at("restore", &path)
    }

    /// Gives a swapped-out file its name back, or a conflict copy's where the name is taken.
    fn put_back(&self, dir: &Dir, swap: &OsStr, place: &Place<'_>) -> Result<()> {
        match dir.rename_new(swap, place.name()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.keep(dir, swap, place.name())?;
            }
            done => done.at("restore", &dir.path().join(place.name()))?,
        }
        dir.sync().at("restore", dir.path())
    }

    /// Reads what an exchange brought out: `None` when it is no regular file, or one we could not have expected. What cannot
    /// be read just now is an error: it may be what was expected, or somebody's words.
    fn swapped_out(&self, dir: &Dir, swap: &OsStr, place: &Place<'_>) -> Result<Option<(File, Stamp, Digest32)>> {
        self.world.reach(COMPARING).at("read", &dir.path().join(swap))?;
        match self.read_named(dir, swap, place.rel(), self.settings.file_bytes_max) {
            Ok((FileBytes { stamp, digest, .. }, file)) => Ok(Some((file, stamp, digest))),
            Err(Error::Finding(_) | Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts somebody's version aside under a name that nobody indexes, and returns that name.
    pub(super) fn keep(&self, dir: &Dir, from: &OsStr, name: &OsStr) -> Result<OsString> {
        for n in 0..100 {
            let copy = self.conflict_name(name, n);
            match dir.rename_new(from, &copy) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => {
                    done.at("keep", &dir.path().join(&copy))?;
                    tracing::warn!(copy = %dir.path().join(&copy).display(), "two edits met: one was kept as a copy");
                    return Ok(copy);
                }
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists)).at("keep", &dir.path().join(name))
    }

    /// Remembers our own write, and returns its stamp: the staged one, with the ctime that the rename gave it. If somebody
    /// wrote into the file already, the stamp stays that of our content, and theirs shows as a difference.
    fn written(&self, rel: &str, file: &File, ours: Stamp) -> Stamp {
        let stamp = match dir::stat_file(file) {
            Ok((_, stamp)) if same_content(stamp, ours) => stamp,
            Ok(_) | Err(_) => ours,
        };
        let mut written = locked(&self.written);
        if written.len() >= WRITTEN_MAX {
            written.clear();
        }
        written.insert(rel.to_owned(), stamp);
        stamp
    }

    fn current(&self, place: &Place<'_>) -> Result<Option<FileBytes>> {
        let read = self.world.reach(super::READ).at("read", &self.root.join(place.rel())).and_then(|()| {
            let dir = self.folder(place)?;
            self.read_in(&dir, place, self.settings.file_bytes_max)
        });
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    pub(super) fn found(&self, place: &Place<'_>) -> Result<Option<Digest32>> {
        Ok(self.current(place)?.map(|current| current.digest))
    }

    /// Reads the file when nobody else has written to it for a moment, or when patience ends.
    fn quiet_current(&self, place: &Place<'_>) -> Result<Option<FileBytes>> {
        let mut waited = Duration::ZERO;
        loop {
            let current = match self.current(place) {
                Err(Error::Busy { .. }) if waited < self.settings.patience => None,
                Ok(None) => return Ok(None),
                current => current?,
            };
            let wait = match &current {
                None => self.settings.quiet,
                Some(current) if locked(&self.written).get(place.rel()) == Some(&current.stamp) => Duration::ZERO,
                Some(current) => self.until_quiet(current.stamp),
            };
            match current {
                Some(current) if wait.is_zero() || waited >= self.settings.patience => return Ok(Some(current)),
                Some(_) | None => {}
            }
            // At least a millisecond, so that a frozen clock ends too.
            let wait = wait.max(Duration::from_millis(1));
            pause(wait);
            waited += wait;
        }
    }

    /// How long it takes until nobody has written for a moment, if nobody does. A time to come says nothing.
    pub(super) fn until_quiet(&self, stamp: Stamp) -> Duration {
        match self.world.now_us().checked_sub(stamp.mtime_ns / 1000) {
            Some(age_us @ 0..) => self.settings.quiet.saturating_sub(Duration::from_micros(age_us.unsigned_abs())),
            Some(_) | None => Duration::ZERO,
        }
    }

    pub(super) fn temp_name(&self, name: &OsStr) -> OsString {
        let suffix = format!("{}{}", self.tag, durable::random_hex(&*self.world, 8));
        durable::beside(name, "tmp", &suffix)
    }

    fn swap_name(&self, name: &OsStr, expected: Digest32, new: Digest32) -> OsString {
        let random = durable::random_hex(&*self.world, 4);
        let suffix = format!("{}{random}-{}-{}", self.tag, &expected.hex()[..16], &new.hex()[..16]);
        durable::beside(name, "swap", &suffix)
    }

    fn conflict_name(&self, name: &OsStr, n: u32) -> OsString {
        let now = jiff::Timestamp::from_microsecond(self.world.now_us()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let more = if n == 0 { String::new() } else { format!("-{n}") };
        let suffix = format!(".conflict-{}{more}", now.strftime("%Y%m%dT%H%M%SZ"));
        let name = name.to_string_lossy();
        let mut end = name.len().min(255 - suffix.len());
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        // The mark `.md.conflict-` must survive the cut.
        let stem = if end < name.len() { format!("{}.md", &name[..end.saturating_sub(3)]) } else { name.into_owned() };
        format!("{stem}{suffix}").into()
    }
}

/// Gives a new file the mode of the one it replaces and, where we may, its owner.
fn dress_like(dir: &Dir, name: &OsStr, file: &File) -> io::Result<()> {
    let old = match dir.stat(name) {
        Ok((FileType::RegularFile, _)) => dir.read(name).and_then(|old| old.metadata()),
        Ok(_) => return Ok(()),
        Err(error) => Err(error),
    };
    let old = match old {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        old => old?,
    };
    let new = file.metadata()?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid())
        && let Err(error) = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))
    {
        // Only a privileged process may give files away; for others the file becomes theirs, as with any editor.
        tracing::debug!(%error, path = %dir.path().join(name).display(), "the file's owner changes");
    }
    file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o7777))
}

/// Waits without holding anything.
fn pause(wait: Duration) {
    let nobody = Mutex::new(());
    let never = Condvar::new();
    drop(never.wait_timeout_while(locked(&nobody), wait, |()| true));
}
