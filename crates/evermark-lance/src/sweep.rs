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
use std::path::{Path, PathBuf};

/// The directories of a Lance table that Lance writes to when it has no indexes.
const SWEPT: [&str; 4] = ["data", "_deletions", "_transactions", "_versions"];
/// Kept beside manifests: a hint that Lance rewrites by rename.
const HINT: &str = "latest_version_hint.json";

/// What one sweep removed.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Swept {
    pub(crate) versions: u64,
    pub(crate) files: u64,
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
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let gone = if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            match gone {
                Ok(()) => {
                    swept.bytes += bytes;
                    swept.files += 1;
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

/// What a generation's directory weighs, in bytes of disk, each file once.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Footprint {
    /// Everything below the directory, and deleted files that this process holds open.
    pub(crate) allocated: u64,
    /// Files that the newest version needs.
    pub(crate) live: u64,
    /// Files that only an older version needs which a reader uses, and deleted ones that are still open.
    pub(crate) held: u64,
    /// Files of the table that nobody needs.
    pub(crate) orphan: u64,
    pub(crate) versions: u64,
}

/// Weighs the generation in `dir`, whose table is at `table`, by what `newest` and `held` need.
///
/// What disappears or cannot be looked at meanwhile weighs nothing: the next look sees the rest.
pub(crate) fn weigh(dir: &Path, table: &Path, newest: &Snapshot, held: &[Snapshot]) -> Footprint {
    let live = needed(newest);
    let held: HashSet<String> = held.iter().flat_map(needed).collect();
    let mut weight = Footprint { held: still_open(dir), ..Footprint::default() };
    weight.allocated = weight.held;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        weight.allocated += allocated_of(&folder);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
                continue;
            }
            let bytes = allocated_of(&path);
            weight.allocated += bytes;
            let Ok(name) = path.strip_prefix(table) else { continue };
            let name = name.to_string_lossy();
            if name == format!("_versions/{HINT}") {
                continue;
            }
            weight.versions += u64::from(name.starts_with("_versions/") && name.ends_with(".manifest"));
            if live.contains(name.as_ref()) {
                weight.live += bytes;
            } else if held.contains(name.as_ref()) {
                weight.held += bytes;
            } else {
                weight.orphan += bytes;
            }
        }
    }
    weight
}

/// Returns the bytes of disk under files below `dir` that are deleted and that this process still holds open.
fn still_open(dir: &Path) -> u64 {
    const DELETED: &str = " (deleted)";
    let Ok(links) = fs::read_dir("/proc/self/fd") else { return 0 }; // only Linux tells
    let is_ours = |link: &Path| {
        fs::read_link(link).is_ok_and(|target| target.starts_with(dir) && target.to_string_lossy().ends_with(DELETED))
    };
    links
        .flatten()
        .map(|entry| entry.path())
        .filter(|link| is_ours(link))
        .map(|link| fs::metadata(link).map_or(0, |metadata| blocks(&metadata)))
        .sum()
}

fn allocated_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| blocks(&metadata))
}

fn blocks(metadata: &fs::Metadata) -> u64 {
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

/// Returns how many bytes of disk go when files that `older` needs and `newer` does not are removed.
pub(crate) fn superseded(table: &Path, older: &Snapshot, newer: &Snapshot) -> u64 {
    let kept = needed(newer);
    needed(older).iter().filter(|name| !kept.contains(*name)).map(|name| allocated_of(&table.join(name))).sum()
}

/// Returns the manifests on disk, newest version first.
pub(crate) fn manifests(table: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(table.join("_versions")) else { return Vec::new() };
    let mut all: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "manifest"))
        .collect();
    // Names count down from the highest number there is, with leading zeros: the newest sorts first.
    all.sort_unstable();
    all
}
