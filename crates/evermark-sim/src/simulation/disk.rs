//! The disk under a root: measured, copied, compared.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Returns the bytes allocated below `.index/evermark`, without the ledger and the file in reserve, which have bounds of their
/// own.
pub fn index_bytes(root: &Path) -> u64 {
    let dir = root.join(".index/evermark");
    let Ok(entries) = fs::read_dir(&dir) else { return 0 };
    entries
        .flatten()
        .filter(|entry| {
            !["ledger.", "ballast"].iter().any(|name| entry.file_name().to_string_lossy().starts_with(name))
        })
        .map(|entry| allocated(&entry.path()))
        .sum()
}

/// Returns the bytes of disk in use at and below `path`; 0 where nothing is.
pub fn allocated(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let below = match fs::read_dir(path) {
        Ok(entries) if metadata.is_dir() => entries.flatten().map(|entry| allocated(&entry.path())).sum(),
        _ => 0,
    };
    below + blocks(&metadata)
}

#[cfg(unix)]
fn blocks(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn blocks(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// Copies everything at `from` to `to`, replacing what is there: what is ours byte by byte, since it is written in place,
/// Markdown by links, since that never is.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with('.');
        copy_tree(&entry.path(), &to.join(entry.file_name()), is_ours)?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path, bytes: bool) -> io::Result<()> {
    if fs::symlink_metadata(from)?.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()), bytes)?;
        }
        return Ok(());
    }
    match if bytes { fs::copy(from, to).map(drop) } else { fs::hard_link(from, to) } {
        // Another thread of the dying process, one that hangs or winds down, may have removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes `root` hold what `copy` holds, and takes `copy` away. Without a copy nothing changes.
pub fn replace(root: &Path, copy: &Path) -> io::Result<()> {
    if !copy.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    for entry in fs::read_dir(copy)? {
        let entry = entry?;
        fs::rename(entry.path(), root.join(entry.file_name()))?;
    }
    fs::remove_dir_all(copy)
}

/// Returns every file at and below `dir` that `choose` takes, by its path relative to `root`, with its size and the time of
/// its last change.
pub fn listing(root: &Path, dir: &Path, choose: &dyn Fn(&str) -> bool) -> BTreeMap<String, (u64, Option<i64>)> {
    let mut found = BTreeMap::new();
    list(root, dir, choose, &mut found);
    found
}

fn list(root: &Path, dir: &Path, choose: &dyn Fn(&str) -> bool, found: &mut BTreeMap<String, (u64, Option<i64>)>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            list(root, &path, choose, found);
            continue;
        }
        let rel = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if choose(&rel) {
            found.insert(rel, (metadata.len(), changed_ns(&metadata)));
        }
    }
}

/// Returns when the file system last saw a change of a file, nanoseconds since 1970.
#[cfg(unix)]
pub fn changed_ns(metadata: &fs::Metadata) -> Option<i64> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec())
}

#[cfg(not(unix))]
pub fn changed_ns(_: &fs::Metadata) -> Option<i64> {
    None
}

/// Returns how many descriptors of this process are open below `root`, and the names of those whose file is gone. Zero where
/// the system does not tell.
pub fn descriptors(root: &Path) -> (usize, Vec<String>) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return (0, Vec::new()) };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let ours: Vec<String> =
        links.filter(|link| link.starts_with(root)).map(|link| link.to_string_lossy().into_owned()).collect();
    let gone = ours.iter().filter(|link| link.ends_with(" (deleted)")).cloned().collect();
    (ours.len(), gone)
}
