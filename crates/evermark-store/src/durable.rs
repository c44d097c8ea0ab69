//! Durable changes to files: a temporary in the same folder, written and synced, then renamed, then the folder synced.
//!
//! Crash points: `durable.temp_written` (the temporary is complete, the name still shows the old file) and
//! `durable.renamed` (the name shows the new file). A process that dies in between leaves `.<name>.tmp.<hex>`, which holds
//! nothing that was ever promised; [`sweep`] removes it.

use crate::dir::Dir;
use crate::error::{At, Result};
use evermark_core::world::World;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

#[cfg(test)]
pub(crate) mod tests;

/// Passed when a temporary is complete and synced, before it is renamed.
pub const TEMP_WRITTEN: &str = "durable.temp_written";
/// Passed after the rename, before the folder is synced.
pub const RENAMED: &str = "durable.renamed";

/// Whether a file was made or was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    Existed,
}

/// Replaces a file, or makes it. Returns when it would survive a loss of power.
pub fn write(world: &dyn World, path: &Path, bytes: &[u8]) -> Result<()> {
    let (dir, name) = open_parent(path)?;
    let temp = stage(world, &dir, name, bytes).at("write", path)?;
    publish(world, &dir, &temp, |dir| dir.rename(&temp, name)).at("write", path)
}

/// Makes a file, or leaves the one that is there untouched.
pub fn create_new(world: &dyn World, path: &Path, bytes: &[u8]) -> Result<Created> {
    let (dir, name) = open_parent(path)?;
    let temp = stage(world, &dir, name, bytes).at("create", path)?;
    match publish(world, &dir, &temp, |dir| dir.rename_new(&temp, name)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Existed),
        done => done.at("create", path).map(|()| Created::New),
    }
}

/// Makes a folder and every missing one above it.
pub fn create_dirs(path: &Path) -> Result<()> {
    if let Ok(there) = std::fs::metadata(path)
        && there.is_dir()
    {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::NotADirectory)).at("create", path);
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    create_dirs(parent)?;
    Dir::open(parent).and_then(|dir| dir.make(name)).at("create", path)
}

/// Removes a file. One that is not there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let (dir, name) = match open_parent(path) {
        Err(error) if error.kind() == evermark_core::error::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match dir.unlink(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.and_then(|()| dir.sync()).at("remove", path),
    }
}

/// Removes the temporaries that dead processes left in a folder, and returns how many. Call it under the root's lock,
/// before anything is written.
pub fn sweep(path: &Path) -> Result<usize> {
    let dir = match Dir::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened.at("open", path)?,
    };
    let mut n_removed = 0;
    for listed in dir.list().at("list", path)? {
        if is_temp(&listed.name) && dir.unlink(&listed.name).is_ok() {
            n_removed += 1;
        }
    }
    Ok(n_removed)
}

/// Tells whether a name is that of a temporary: `.<name>.tmp.<hex>`, ours or EverOS's.
pub(crate) fn is_temp(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    name.strip_prefix('.').and_then(|name| name.rsplit_once(".tmp.")).is_some_and(|(base, suffix)| {
        !base.is_empty() && suffix.len() >= 8 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Returns `.<name>.<infix>.<suffix>`, shortened to what file systems take (255 bytes).
pub(crate) fn beside(name: &OsStr, infix: &str, suffix: &str) -> OsString {
    const NAME_MAX: usize = 255;
    let name = name.to_string_lossy();
    let room = NAME_MAX.saturating_sub(infix.len() + suffix.len() + 3);
    let mut end = name.len().min(room);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}.{infix}.{suffix}", &name[..end]).into()
}

/// Returns `n` random bytes as hexadecimal digits.
pub(crate) fn random_hex(world: &dyn World, n: usize) -> String {
    world.random().iter().take(n).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes and syncs a temporary beside `name` and returns its name.
pub(crate) fn stage(world: &dyn World, dir: &Dir, name: &OsStr, bytes: &[u8]) -> io::Result<OsString> {
    let temp = beside(name, "tmp", &random_hex(world, 8));
    stage_as(world, dir, &temp, bytes, |_| Ok(()))?;
    Ok(temp)
}

/// Like [`stage`], under a name the caller chose; `dress` may set the mode and owner before the sync.
pub(crate) fn stage_as(
    world: &dyn World,
    dir: &Dir,
    temp: &OsStr,
    bytes: &[u8],
    dress: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let written = dir.create(temp).and_then(|mut file| {
        file.write_all(bytes)?;
        dress(&file)?;
        file.sync_all()?;
        Ok(file)
    });
    match written {
        Ok(file) => world.reach(TEMP_WRITTEN).map(|()| file),
        Err(error) => {
            // A full disk must not also keep what did not fit.
            discard(dir, temp);
            Err(error)
        }
    }
}

/// Runs the rename and syncs the folder; on failure the temporary goes.
pub(crate) fn publish(
    world: &dyn World,
    dir: &Dir,
    temp: &OsStr,
    rename: impl FnOnce(&Dir) -> io::Result<()>,
) -> io::Result<()> {
    if let Err(error) = rename(dir) {
        discard(dir, temp);
        return Err(error);
    }
    world.reach(RENAMED)?;
    dir.sync()
}

/// Removes a temporary of ours on a path that already fails; what stays is swept at the next start.
pub(crate) fn discard(dir: &Dir, temp: &OsStr) {
    if let Err(error) = dir.unlink(temp)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, temp = %temp.display(), "a temporary file stays until the next start");
    }
}

fn open_parent(path: &Path) -> Result<(Dir, &OsStr)> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).at("open", path);
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((Dir::open(parent).at("open", parent)?, name))
}
