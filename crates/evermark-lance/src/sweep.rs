//! Reclaims by set difference: what no pinned version names goes. No space, no commit and no other manifest is needed.
//!
//! Lance's own cleanup reads every manifest (one bad one stops it), knows nothing of several kinds of crash debris, and
//! skips files younger than the newest commit. One process owns this directory, so the newest manifest plus those that a
//! reader in this process still holds name every file that may matter: the rest is dead whatever it is called.

use crate::error::failed;
use crate::table::Snapshot;
use evermark_core::index::IndexError;
use lance_table::io::deletion::relative_deletion_file_path;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// The directories of a Lance table that Lance writes to when it has no indexes.
const SWEPT: [&str; 4] = ["data", "_deletions", "_transactions", "_versions"];
/// Kept beside manifests: a hint that Lance rewrites by rename.
const HINT: &str = "latest_version_hint.json";

/// What one sweep removed.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Swept {
    pub(crate) versions: u64,
    pub(crate) bytes: u64,
}

/// Returns the files that `snapshot` needs, relative to the table.
pub(crate) fn needed(snapshot: &Snapshot) -> HashSet<String> {
    let mut names = HashSet::new();
    for fragment in snapshot.fragments().iter() {
        names.extend(fragment.files.iter().map(|file| format!("data/{}", file.path)));
        if let Some(file) = &fragment.deletion_file {
            names.insert(relative_deletion_file_path(fragment.id, file));
        }
    }
    if let Some(name) = snapshot.manifest_location().path.filename() {
        names.insert(format!("_versions/{name}"));
    }
    if let Some(name) = &snapshot.manifest().transaction_file {
        names.insert(format!("_transactions/{name}"));
    }
    names
}

/// Removes every file of the table that none of `pinned` needs. Nothing may be writing meanwhile.
pub(crate) fn sweep(table: &Path, pinned: &[Snapshot]) -> Result<Swept, IndexError> {
    let mut keep = HashSet::from([format!("_versions/{HINT}")]);
    for snapshot in pinned {
        keep.extend(needed(snapshot));
    }
    let mut swept = Swept::default();
    let mut first_failure = None;
    for dir in SWEPT {
        let path = table.join(dir);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("list the index's files", error)),
            Ok(entries) => entries,
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("list the index's files", error))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if keep.contains(&format!("{dir}/{name}")) {
                continue;
            }
            let bytes = allocated_of(&entry.path());
            match fs::remove_file(entry.path()) {
                Ok(()) => {
                    swept.bytes += bytes;
                    swept.versions += u64::from(dir == "_versions" && name.ends_with(".manifest"));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // One file that will not go must not keep the others.
                Err(error) => first_failure = first_failure.or(Some(error)),
            }
        }
    }
    match first_failure {
        Some(error) => Err(failed("remove a dead file of the index", error)),
        None => Ok(swept),
    }
}

/// Empties a scratch directory, keeping the directory itself.
pub(crate) fn empty(dir: &Path) -> Result<(), IndexError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| failed("list the index's scratch directory", error))?,
    };
    for entry in entries.flatten() {
        let gone = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        if let Err(error) = gone {
            tracing::warn!(path = %entry.path().display(), %error, "cannot remove scratch left by a crash");
        }
    }
    Ok(())
}

/// Returns the bytes of disk below `dir`, as blocks in use where the system tells.
pub(crate) fn allocated(dir: &Path) -> u64 {
    let mut total = allocated_of(dir);
    let Ok(entries) = fs::read_dir(dir) else { return total };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            total += allocated(&entry.path());
        } else {
            total += allocated_of(&entry.path());
        }
    }
    total
}

fn allocated_of(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.blocks() * 512
    }
    #[cfg(not(unix))]
    {
        metadata.len()
    }
}

/// Returns the bytes of disk under the files that `snapshot` needs.
pub(crate) fn live(table: &Path, snapshot: &Snapshot) -> u64 {
    needed(snapshot).iter().map(|name| allocated_of(&table.join(name))).sum()
}

/// Returns how many versions are on disk.
pub(crate) fn versions(table: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(table.join("_versions")) else { return 0 };
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".manifest")).count() as u64
}
