//! What can become of files that are derived, while nobody or somebody is using them.

#![expect(clippy::disallowed_methods, reason = "damages files the way a disk or another program would")]

use super::ops::Damage;
use evermark_core::memory::Digest32;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Does it, and tells whether there was anything to damage.
pub(super) fn damage(root: &Path, what: Damage, pick: u32) -> io::Result<bool> {
    let index = root.join(".index/evermark");
    let table = generation(&index).map(|dir| dir.join("memories.lance"));
    let newest = table.as_ref().and_then(|table| files(&table.join("_versions"), ".manifest").into_iter().next());
    let data = || table.as_ref().and_then(|table| by_content(&table.join("data"), pick));
    match what {
        Damage::IndexDirGone => remove(&root.join(".index")),
        Damage::GenerationGone => generation(&index).map_or(Ok(false), |dir| remove(&dir)),
        Damage::CurrentGone => remove(&index.join("CURRENT")),
        Damage::LedgerGone => ledger(&index, |path| fs::remove_file(path)),
        Damage::LedgerGarbage => ledger(&index, |path| fs::write(path, vec![0xab; 40_000])),
        Damage::ManifestEmpty => newest.map_or(Ok(false), |path| cut(&path, 0)),
        Damage::ManifestCut => newest.map_or(Ok(false), |path| cut(&path, 2)),
        Damage::DataCut => data().map_or(Ok(false), |path| cut(&path, 2)),
        Damage::DataGone => data().map_or(Ok(false), |path| remove(&path)),
        Damage::DataGarbage => data().map_or(Ok(false), |path| garbage(&path)),
        Damage::DeletionsGone => {
            let dir = table.map(|table| table.join("_deletions")).filter(|dir| !files(dir, "").is_empty());
            dir.map_or(Ok(false), |dir| remove(&dir))
        }
        Damage::Debris => table.map_or(Ok(false), |table| debris(&table, pick)),
        Damage::CacheGone => remove(&root.join(".evermark/embeddings")),
        Damage::CacheByte => cache_byte(&root.join(".evermark/embeddings"), pick),
    }
}

/// Returns the newest generation's folder.
fn generation(index: &Path) -> Option<PathBuf> {
    let is_generation =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gen-"));
    files(index, "").into_iter().rfind(|path| path.is_dir() && is_generation(path))
}

/// Returns what is in a folder, by name. Lance names manifests so that the newest comes first.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    found
}

/// Picks a file by what is in it: names are made of chance that is not ours, and must not decide what a seed does.
fn by_content(dir: &Path, pick: u32) -> Option<PathBuf> {
    let mut found: Vec<(Digest32, PathBuf)> = files(dir, ".lance")
        .into_iter()
        .filter_map(|path| Some((Digest32::of(&fs::read(&path).ok()?), path)))
        .collect();
    found.sort();
    let n = found.len().max(1);
    found.into_iter().nth(pick as usize % n).map(|(_, path)| path)
}

fn remove(path: &Path) -> io::Result<bool> {
    let done = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        done => done.map(|()| true),
    }
}

fn ledger(index: &Path, act: impl Fn(&Path) -> io::Result<()>) -> io::Result<bool> {
    let path = index.join("ledger.db");
    if !path.exists() {
        return Ok(false);
    }
    for beside in ["ledger.db-wal", "ledger.db-shm"] {
        remove(&index.join(beside))?;
    }
    act(&path).map(|()| true)
}

/// Leaves one part of `parts` of a file; none of it for 0.
fn cut(path: &Path, parts: u64) -> io::Result<bool> {
    let file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len().checked_div(parts).unwrap_or(0);
    file.set_len(length).map(|()| true)
}

/// Overwrites the first half: the footer still opens.
fn garbage(path: &Path) -> io::Result<bool> {
    let mut bytes = fs::read(path)?;
    let end = bytes.len() / 2;
    bytes[..end].fill(0xff);
    fs::write(path, bytes).map(|()| true)
}

/// Leaves one of each kind of file that a killed process was seen to leave, a few kilobytes each.
fn debris(table: &Path, pick: u32) -> io::Result<bool> {
    let names = [
        format!("data/.tmp{pick:06x}"),
        format!("data/{pick:08x}.lance"),
        format!("data/{pick:08x}.lance#1"),
        format!("data/{pick:08x}.lance-stage"),
        format!("_versions/.tmp_{pick}.manifest_1"),
        format!("_versions/{:020}.manifest#1", u64::MAX - u64::from(pick)),
        format!("_versions/{:020}.manifest", u64::MAX),
        format!("_transactions/.tmp{pick:06x}"),
        format!("_transactions/{pick}-gone.txn"),
        format!("_deletions/.tmp{pick:06x}"),
        format!("_deletions/{pick}-1-2.arrow"),
    ];
    for name in names {
        let path = table.join(&name);
        // An older manifest that is empty once stopped all cleaning.
        let bytes = if name.ends_with(".manifest") { 0 } else { 5000 };
        if path.parent().is_some_and(Path::is_dir) && !path.exists() {
            fs::write(path, vec![7; bytes])?;
        }
    }
    Ok(true)
}

fn cache_byte(dir: &Path, pick: u32) -> io::Result<bool> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.extend(files(&entry.path(), "").into_iter().filter(|path| path.is_file()));
    }
    found.retain(|path| !path.ends_with("README.txt"));
    found.sort();
    let n = found.len().max(1);
    let Some(path) = found.into_iter().nth(pick as usize % n) else { return Ok(false) };
    let mut bytes = fs::read(&path)?;
    let at = pick as usize % bytes.len().max(1);
    let Some(byte) = bytes.get_mut(at) else { return Ok(false) };
    *byte ^= 0x40;
    // In place: whoever has it open sees it.
    let file = File::options().write(true).open(&path)?;
    io::Write::write_all(&mut &file, &bytes).map(|()| true)
}
