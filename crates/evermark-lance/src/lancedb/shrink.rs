//! Gives back what directories hold: on most file systems one that has had thousands of entries stays as large as it was.
//!
//! The files that are left are linked into a new directory, which then takes the old one's name. Between the two renames
//! the table has no such directory; a process that dies there is finished by the next (`resume`). Nothing is copied, and
//! whatever cannot be done is left: it costs bytes, not rows.

use super::census;
use super::find::Place;
use super::io_failed;
use evermark_core::index::IndexError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const DIRS: [&str; 4] = ["data", "_deletions", "_transactions", "_versions"];
/// A directory's own blocks from which on it is made anew.
const LARGE_BYTES: u64 = 64 << 10;

/// Finishes what a process that died has begun.
pub(super) fn resume(place: &Place) -> Result<(), IndexError> {
    for name in DIRS {
        let (dir, fresh, old) = names(place, name);
        if old.is_dir() && !dir.exists() {
            fs::rename(&old, &dir).map_err(|error| io_failed("put back", &dir, error))?;
        }
        // Both hold links to files that the directory holds too.
        for left in [fresh, old] {
            remove(&left).map_err(|error| io_failed("remove", &left, error))?;
        }
    }
    Ok(())
}

/// Makes directories that are much larger than what they hold anew.
pub(super) fn shrink(place: &Place) {
    for name in DIRS {
        let (dir, fresh, old) = names(place, name);
        if census::allocated_of(&dir) < LARGE_BYTES {
            continue;
        }
        if let Err(error) = anew(&dir, &fresh, &old) {
            tracing::debug!(dir = %dir.display(), %error, "a directory stays as large as it was");
            remove(&fresh).ok();
        }
    }
}

fn anew(dir: &Path, fresh: &Path, old: &Path) -> io::Result<()> {
    fs::create_dir(fresh)?;
    fs::set_permissions(fresh, fs::metadata(dir)?.permissions())?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            return Err(io::Error::other("it holds more than files"));
        }
        fs::hard_link(entry.path(), fresh.join(entry.file_name()))?;
    }
    if census::allocated_of(fresh) * 2 > census::allocated_of(dir) {
        return Err(io::Error::other("it would not be smaller"));
    }
    File::open(fresh)?.sync_all()?;
    fs::rename(dir, old)?;
    if let Err(error) = fs::rename(fresh, dir) {
        fs::rename(old, dir)?;
        return Err(error);
    }
    File::open(dir.parent().unwrap_or(dir))?.sync_all()?;
    remove(old)
}

fn names(place: &Place, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let path = |suffix: &str| place.path.join(format!("{name}{suffix}"));
    (path(""), path(".evermark-new"), path(".evermark-old"))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
