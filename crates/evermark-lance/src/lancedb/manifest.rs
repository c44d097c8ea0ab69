//! Versions as they lie on disk: which manifests there are, which of them can be read, and what they name.
//!
//! The newest readable manifest decides what is live. A manifest that is damaged (zero length, cut, garbage) is told apart
//! from one that cannot be read *now*: only damage may lead to an older version.

use super::find::Place;
use super::{LanceDb, io_failed, refused};
use crate::error::unreadable;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use futures::FutureExt;
use lance::io::ObjectStore;
use lance_table::feature_flags::{can_read_dataset, can_write_dataset};
use lance_table::format::{Fragment, IndexMetadata, Manifest};
use lance_table::io::commit::{ManifestLocation, ManifestNamingScheme};
use lance_table::io::deletion::relative_deletion_file_path;
use lance_table::io::manifest::{read_manifest, read_manifest_indexes};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::panic::AssertUnwindSafe;

/// A manifest's file, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: u64,
    /// The file's name below `_versions`.
    pub(super) file: String,
    pub(super) length: u64,
    scheme: ManifestNamingScheme,
    detached: bool,
}

impl Found {
    /// Tells whether this is a version of the table's own line that came after `version`.
    pub(super) fn is_after(&self, version: u64) -> bool {
        !self.detached && self.version > version
    }
}

/// A manifest that was read.
pub(super) struct Version {
    pub(super) found: Found,
    pub(super) manifest: Manifest,
    /// What the manifest says of indexes, or why that part of it cannot be read.
    pub(super) indices: Result<Vec<IndexMetadata>, String>,
}

/// A manifest that was not read, and whether it ever will be.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) found: Found,
    pub(super) error: IndexError,
}

impl Unread {
    pub(super) fn is_damaged(&self) -> bool {
        self.error.kind == ErrorKind::Corrupt
    }
}

/// The versions of one table that matter, and what the others name.
pub(super) struct Versions {
    /// The newest that can be read.
    pub(super) newest: Version,
    /// Newer ones that are damaged, newest first.
    pub(super) damaged: Vec<Unread>,
    /// What tags and detached commits keep.
    pub(super) pinned: Vec<Version>,
    /// Pinned, but damaged: what they need cannot be known.
    pub(super) pinned_damaged: Vec<Unread>,
    /// Every other manifest, oldest first.
    pub(super) older: Vec<Found>,
    /// Tag → version.
    pub(super) tags: BTreeMap<String, u64>,
}

impl Versions {
    /// Tells whether there is a version whose needs are unknown.
    pub(super) fn is_uncertain(&self) -> bool {
        !self.damaged.is_empty() || !self.pinned_damaged.is_empty()
    }

    pub(super) fn count(&self) -> u64 {
        (1 + self.damaged.len() + self.pinned.len() + self.pinned_damaged.len() + self.older.len()) as u64
    }
}

/// Lists the manifests of a table, oldest first.
pub(super) fn list(place: &Place) -> Result<Vec<Found>, IndexError> {
    let dir = place.path.join("_versions");
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| io_failed("list", &dir, error))?,
    };
    let mut found = Vec::new();
    let mut schemes = HashSet::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_failed("list", &dir, error))?;
        let Ok(file) = entry.file_name().into_string() else { continue };
        let Some(scheme) = ManifestNamingScheme::detect_scheme(&file).filter(|_| file.ends_with(".manifest")) else {
            continue;
        };
        let detached = ManifestNamingScheme::parse_detached_version(&file);
        let Some(version) = detached.or_else(|| scheme.parse_version(&file)) else { continue };
        let length = entry.metadata().map_err(|error| io_failed("look at", &entry.path(), error))?.len();
        if detached.is_none() {
            schemes.insert(matches!(scheme, ManifestNamingScheme::V1));
        }
        found.push(Found { version, file, length, scheme, detached: detached.is_some() });
    }
    if schemes.len() > 1 {
        return Err(refused(format!(
            "the table `{}` mixes two ways of naming versions: a migration was cut short, Lance itself cannot open it",
            place.name
        )));
    }
    found.sort_by_key(|found| (!found.detached, found.version));
    Ok(found)
}

/// Returns the newest of a listing, damaged or not: what tells that somebody has committed.
pub(super) fn newest(found: &[Found]) -> Option<&Found> {
    found.iter().rev().find(|found| !found.detached)
}

/// Reads the versions that matter, stepping over damaged ones.
///
/// Errors: [`ErrorKind::NotFound`] without a version, [`ErrorKind::Corrupt`] when none can be read, [`ErrorKind::Invalid`]
/// for tables that hold what this version does not know.
pub(super) fn versions(db: &LanceDb, place: &Place) -> Result<Versions, IndexError> {
    refuse_unknown_parts(place)?;
    let found = list(place)?;
    if found.is_empty() {
        return Err(IndexError::new(
            ErrorKind::NotFound,
            format!("the table `{}` has no version: it was never finished, or its _versions are gone", place.name),
        ));
    }
    let tags = tags(place)?;
    let (detached, attached): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| found.detached);
    let mut damaged = Vec::new();
    let mut newest = None;
    let mut rest = attached;
    while let Some(candidate) = rest.pop() {
        match read(db, place, candidate)? {
            Ok(version) => {
                newest = Some(version);
                break;
            }
            Err(unread) if unread.is_damaged() => damaged.push(unread),
            Err(unread) => return Err(unread.error),
        }
    }
    let Some(newest) = newest else {
        return Err(IndexError::new(
            ErrorKind::Corrupt,
            format!("no version of the table `{}` can be read: {} manifests are damaged", place.name, damaged.len()),
        ));
    };
    refuse_unknown_format(place, &newest.manifest)?;
    let (tagged, older): (Vec<Found>, Vec<Found>) =
        rest.into_iter().partition(|found| tags.values().any(|version| *version == found.version));
    let (mut pinned, mut pinned_damaged) = (Vec::new(), Vec::new());
    for found in detached.into_iter().chain(tagged) {
        match read(db, place, found)? {
            Ok(version) => {
                refuse_unknown_format(place, &version.manifest)?;
                pinned.push(version);
            }
            Err(unread) if unread.is_damaged() => pinned_damaged.push(unread),
            Err(unread) => return Err(unread.error),
        }
    }
    Ok(Versions { newest, damaged, pinned, pinned_damaged, older, tags })
}

/// Reads one manifest. The outer error refuses the table, the inner one is about this file.
pub(super) fn read(db: &LanceDb, place: &Place, found: Found) -> Result<Result<Version, Unread>, IndexError> {
    if found.length < FOOTER_BYTES {
        let error = crate::error::corrupt(format!("its manifest has {} bytes", found.length));
        return Ok(Err(Unread { found, error }));
    }
    let uri = place.uri()?.to_owned();
    let asked = found.clone();
    let read = db.room.run("read a manifest", db.surroundings.deadline, async move {
        let (store, base) = ObjectStore::from_uri(&uri).await.map_err(|error| unreadable("read a manifest", error))?;
        let location = ManifestLocation {
            version: asked.version,
            path: asked.scheme.manifest_path(&base, asked.version),
            size: Some(asked.length),
            naming_scheme: asked.scheme,
            e_tag: None,
            identity: None,
        };
        load(&store, &location).await
    });
    match read.map_err(IndexError::from) {
        Ok((manifest, indices)) => Ok(Ok(Version { found, manifest, indices })),
        Err(error) if error.kind == ErrorKind::Corrupt && is_whole(place, &found)? => Err(refused(format!(
            "version {} of the table `{}` is of a format that this version does not know ({}): it is left alone",
            found.version,
            place.name,
            said(&error)
        ))),
        Err(error) => Ok(Err(Unread { found, error })),
    }
}

async fn load(
    store: &ObjectStore,
    location: &ManifestLocation,
) -> Result<(Manifest, Result<Vec<IndexMetadata>, String>), IndexError> {
    let manifest = read_manifest(store, &location.path, location.size)
        .await
        .map_err(|error| unreadable("read a manifest", error))?;
    if manifest.version != location.version {
        return Err(crate::error::corrupt(format!("a manifest says it is version {}", manifest.version)));
    }
    let indices = AssertUnwindSafe(read_manifest_indexes(store, location, &manifest)).catch_unwind().await;
    let indices = match indices {
        Ok(Ok(indices)) => Ok(indices),
        Ok(Err(error)) => {
            let error = unreadable("read the list of indexes", error);
            if error.kind != ErrorKind::Corrupt {
                return Err(error);
            }
            Err(said(&error))
        }
        Err(_panic) => Err("reading the list of indexes panics".to_owned()),
    };
    Ok((manifest, indices))
}

/// Returns what past versions name, as far as they can be read: this only tells superseded files from orphans.
///
/// Of very many manifests some are read: each names all that was live then, so few names are missed.
pub(super) fn names_of_past(db: &LanceDb, place: &Place, found: &[Found], read: Past) -> Result<Names, IndexError> {
    let bytes: u64 = found.iter().map(|found| found.length).sum();
    let stride = match read {
        Past::All => 1,
        Past::Some => usize::try_from(bytes / PAST_BYTES_MAX).unwrap_or(usize::MAX).saturating_add(1),
    };
    let uri = place.uri()?.to_owned();
    let asked: Vec<Found> =
        found.iter().rev().step_by(stride).filter(|found| found.length >= FOOTER_BYTES).cloned().collect();
    Ok(db.room.run("read past manifests", db.surroundings.deadline, async move {
        let mut names = Names::default();
        let (store, base) = ObjectStore::from_uri(&uri).await.map_err(|error| unreadable("read a manifest", error))?;
        for found in asked {
            let location = ManifestLocation {
                version: found.version,
                path: found.scheme.manifest_path(&base, found.version),
                size: Some(found.length),
                naming_scheme: found.scheme,
                e_tag: None,
                identity: None,
            };
            if let Ok(Ok((manifest, indices))) = AssertUnwindSafe(load(&store, &location)).catch_unwind().await {
                names.add(&Version { found, manifest, indices });
            }
        }
        Ok(names)
    })?)
}

/// How many of the past manifests must be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// What they name decides what is deleted.
    All,
    Some,
}

/// Past manifests read to tell superseded files from orphans. Years of single-row commits leave gigabytes of them.
const PAST_BYTES_MAX: u64 = 256 << 20;
/// A manifest's end: position, version, mark. Of a shorter file Lance would ask for bytes before its beginning.
const FOOTER_BYTES: u64 = 16;

/// Tells whether a manifest that Lance cannot read is undamaged all the same, so that a newer Lance must have written it:
/// its frame is whole, and its message can be walked field by field to the very end.
fn is_whole(place: &Place, found: &Found) -> Result<bool, IndexError> {
    let path = place.path.join("_versions").join(&found.file);
    let bytes = fs::read(&path).map_err(|error| io_failed("read", &path, error))?;
    Ok(message(&bytes).is_some_and(walks))
}

/// Returns the message inside a manifest file: its position stands in the 16-byte footer, its length before it.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.strip_suffix(b"LANC")?;
    let position = body.get(body.len().checked_sub(12)?..)?.first_chunk::<8>()?;
    let framed = body.get(usize::try_from(u64::from_le_bytes(*position)).ok()?..body.len() - 12)?;
    let (length, message) = framed.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*length) as usize == message.len()).then_some(message)
}

/// Tells whether protobuf fields follow one another to the end.
fn walks(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = field(rest) else { return false };
        rest = after;
    }
    true
}

fn field(rest: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = varint(rest)?;
    if tag >> 3 == 0 {
        return None;
    }
    match tag & 7 {
        0 => varint(rest).map(|(_, rest)| rest),
        1 => rest.get(8..),
        2 => {
            let (length, rest) = varint(rest)?;
            rest.get(usize::try_from(length).ok()?..)
        }
        5 => rest.get(4..),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// Returns an error with its causes, in one line.
pub(super) fn said(error: &IndexError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    without_places(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Leaves out where in Lance's source an error arose (`, …/file.rs:12:34`): it says nothing to who reads the message.
fn without_places(text: &str) -> String {
    let is_place = |part: &str| {
        let mut ends = part.rsplitn(3, ':');
        let numbers = [ends.next(), ends.next()].into_iter().flatten().filter(|n| n.parse::<u32>().is_ok()).count();
        numbers == 2 && ends.next().is_some_and(|path| path.ends_with(".rs"))
    };
    text.split(", ").filter(|part| !is_place(part)).collect::<Vec<_>>().join(", ")
}

/// Every file and index directory that a version needs, relative to the table.
#[derive(Default)]
pub(super) struct Names {
    pub(super) files: HashSet<String>,
    /// Transaction files: kept, but not what a reader needs.
    pub(super) bookkeeping: HashSet<String>,
    pub(super) index_dirs: HashSet<String>,
    /// Set when the list of indexes cannot be read: then every index directory may be needed.
    pub(super) all_indexes: bool,
}

impl Names {
    /// Returns what the newest version names.
    pub(super) fn newest(db: &LanceDb, place: &Place) -> Result<Self, IndexError> {
        let mut names = Self::default();
        names.add(&versions(db, place)?.newest);
        Ok(names)
    }

    pub(super) fn add(&mut self, version: &Version) {
        for fragment in version.manifest.fragments.iter() {
            self.files.extend(files_of(fragment));
        }
        self.files.insert(format!("_versions/{}", version.found.file));
        if let Some(file) = &version.manifest.transaction_file {
            self.bookkeeping.insert(format!("_transactions/{file}"));
        }
        match &version.indices {
            Ok(indices) => self.index_dirs.extend(indices.iter().map(|index| index.uuid.to_string())),
            Err(_) => self.all_indexes = true,
        }
    }
}

/// Returns the files of one fragment, relative to the table.
pub(super) fn files_of(fragment: &Fragment) -> Vec<String> {
    let mut files: Vec<String> = fragment.referenced_lance_files().map(|file| format!("data/{}", file.path)).collect();
    files.extend(fragment.deletion_file.as_ref().map(|file| relative_deletion_file_path(fragment.id, file)));
    files
}

/// Reads the tags. One that cannot be read may pin anything, so it is refused.
fn tags(place: &Place) -> Result<BTreeMap<String, u64>, IndexError> {
    let dir = place.path.join("_refs/tags");
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(|error| io_failed("list", &dir, error))?,
    };
    let mut tags = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| io_failed("list", &dir, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")).map(str::to_owned)
        else {
            continue;
        };
        if name.starts_with(".tmp") {
            continue;
        }
        let text = fs::read(&path).map_err(|error| io_failed("read", &path, error))?;
        let value: Option<Value> = serde_json::from_slice(&text).ok();
        let version = value.as_ref().and_then(|tag| tag.get("version")).and_then(Value::as_u64);
        let Some(version) = version else {
            return Err(refused(format!("the tag file {} is damaged: what it keeps is unknown", path.display())));
        };
        let branch = value.as_ref().and_then(|tag| tag.get("branch")).and_then(Value::as_str);
        if branch.is_some_and(|branch| branch != "main") {
            return Err(refused(format!("the tag `{name}` is on a branch: tables with branches are left alone")));
        }
        tags.insert(name, version);
    }
    Ok(tags)
}

/// Refuses what a set difference over one table's directories would not see whole.
fn refuse_unknown_parts(place: &Place) -> Result<(), IndexError> {
    const PARTS: [(&str, &str); 5] = [
        ("tree", "has branches"),
        ("_refs/branches", "has branches"),
        ("_mem_wal", "has an open write-ahead log (MemWAL)"),
        ("_fri", "has a fragment reuse history"),
        ("_blobs", "has managed blobs"),
    ];
    for (part, what) in PARTS {
        let holds = fs::read_dir(place.path.join(part)).is_ok_and(|mut entries| entries.next().is_some());
        if holds {
            return Err(refused(format!("the table `{}` {what}: it is left alone", place.name)));
        }
    }
    Ok(())
}

fn refuse_unknown_format(place: &Place, manifest: &Manifest) -> Result<(), IndexError> {
    let name = &place.name;
    let (reader, writer) = (manifest.reader_feature_flags, manifest.writer_feature_flags);
    if !can_read_dataset(reader) || !can_write_dataset(writer) {
        return Err(refused(format!(
            "the table `{name}` uses features of a newer Lance (reader {reader:#x}, writer {writer:#x}): it is left alone"
        )));
    }
    if manifest.branch.is_some() {
        return Err(refused(format!("the table `{name}` is a branch: it is left alone")));
    }
    if !manifest.base_paths.is_empty() {
        return Err(refused(format!(
            "the table `{name}` shares files with another place (a shallow clone): it is left alone"
        )));
    }
    if manifest.has_managed_blobs() {
        return Err(refused(format!("the table `{name}` has managed blobs: it is left alone")));
    }
    let elsewhere = |fragment: &Fragment| {
        fragment.referenced_lance_files().any(|file| file.base_id.is_some())
            || fragment.deletion_file.as_ref().is_some_and(|file| file.base_id.is_some())
    };
    if manifest.fragments.iter().any(elsewhere) {
        return Err(refused(format!("the table `{name}` names files outside its directories: it is left alone")));
    }
    Ok(())
}
