//! What a table is and weighs, and what damage can be seen without reading its data.

use super::LanceDb;
use super::census::{Census, Class, Entry, Kept, Tally};
use super::find::Place;
use super::manifest::{self, Names, Past, Version, Versions, said};
use evermark_core::index::IndexError;
use lance_table::format::{Fragment, IndexMetadata};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// An index as the newest version names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSeen {
    pub name: String,
    /// For example `Inverted`, `BTree`; `unknown` where an old writer did not say.
    pub kind: String,
    /// Columns it is on.
    pub columns: Vec<String>,
}

/// One table, measured.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The library that wrote the newest version, for example `lance 8.0.0`.
    pub written_by: String,
    /// The format of data files, for example `2.1`.
    pub format: String,
    pub version: u64,
    /// Manifests on disk, damaged ones included.
    pub versions: u64,
    pub fragments: u64,
    /// Live rows, by the manifest.
    pub rows: u64,
    pub dead_rows: u64,
    pub indexes: Vec<IndexSeen>,
    pub tags: BTreeMap<String, u64>,
    /// Allocated blocks below the table, directories included.
    pub allocated_bytes: u64,
    pub by_class: BTreeMap<Class, Tally>,
    /// Damage, one sentence each.
    pub problems: Vec<String>,
}

impl Survey {
    pub fn tally(&self, class: Class) -> Tally {
        self.by_class.get(&class).copied().unwrap_or_default()
    }

    /// What the newest version needs, in allocated blocks.
    pub fn live_bytes(&self) -> u64 {
        self.tally(Class::Live).bytes
    }
}

pub(super) fn survey(db: &LanceDb, place: &Place) -> Result<Survey, IndexError> {
    let (versions, census) = look(db, place)?;
    Ok(describe(place, &versions, &census))
}

/// Reads the versions and takes the census by them.
pub(super) fn look(db: &LanceDb, place: &Place) -> Result<(Versions, Census), IndexError> {
    let versions = manifest::versions(db, place)?;
    let (mut newest, mut pinned) = (Names::default(), Names::default());
    newest.add(&versions.newest);
    versions.pinned.iter().for_each(|version| pinned.add(version));
    let past = if versions.is_uncertain() { Past::All } else { Past::Some };
    let older = manifest::names_of_past(db, place, &versions.older, past)?;
    let manifests = versions.pinned_damaged.iter().map(|unread| format!("_versions/{}", unread.found.file)).collect();
    let kept = Kept { newest: &newest, pinned: &pinned, older: &older, manifests };
    let census = Census::take(place, &kept)?;
    Ok((versions, census))
}

pub(super) fn describe(place: &Place, versions: &Versions, census: &Census) -> Survey {
    let Version { manifest, indices, .. } = &versions.newest;
    let dead =
        |fragment: &Fragment| fragment.deletion_file.as_ref().and_then(|file| file.num_deleted_rows).unwrap_or(0);
    let physical: usize = manifest.fragments.iter().map(|fragment| fragment.physical_rows.unwrap_or(0)).sum();
    let dead_rows: usize = manifest.fragments.iter().map(dead).sum();
    let written_by = manifest.writer_version.as_ref();
    Survey {
        written_by: written_by.map_or("unknown".to_owned(), |writer| format!("{} {}", writer.library, writer.version)),
        format: manifest.data_storage_format.version.to_string(),
        version: manifest.version,
        versions: versions.count(),
        fragments: manifest.fragments.len() as u64,
        rows: physical.saturating_sub(dead_rows) as u64,
        dead_rows: dead_rows as u64,
        indexes: indices.as_ref().map(|indices| seen(&versions.newest, indices)).unwrap_or_default(),
        tags: versions.tags.clone(),
        allocated_bytes: census.allocated_bytes(),
        by_class: census.tallies(),
        problems: problems(place, versions, census),
    }
}

/// Returns the indexes, one each even where an index has several segments.
pub(super) fn seen(version: &Version, indices: &[IndexMetadata]) -> Vec<IndexSeen> {
    let mut found: Vec<IndexSeen> = Vec::new();
    for index in indices {
        if found.iter().any(|seen| seen.name == index.name) {
            continue;
        }
        let url = index.index_details.as_ref().map(|details| details.type_url.as_str()).unwrap_or_default();
        let kind = url.rsplit(['.', '/']).next().unwrap_or_default();
        let kind = kind.strip_suffix("Details").unwrap_or(kind);
        let kind = kind.strip_suffix("Index").unwrap_or(kind);
        let column = |id: &i32| version.manifest.schema.field_path(*id).unwrap_or_else(|_| format!("field {id}"));
        found.push(IndexSeen {
            name: index.name.clone(),
            kind: if kind.is_empty() { "unknown".to_owned() } else { kind.to_owned() },
            columns: index.fields.iter().map(column).collect(),
        });
    }
    found
}

/// Returns what is wrong, as far as names and lengths tell.
fn problems(place: &Place, versions: &Versions, census: &Census) -> Vec<String> {
    let mut problems = Vec::new();
    for unread in &versions.damaged {
        problems.push(format!(
            "the newest manifest (version {}) is damaged: {}; version {} is the newest that can be read",
            unread.found.version,
            said(&unread.error),
            versions.newest.found.version
        ));
    }
    for unread in &versions.pinned_damaged {
        problems.push(format!(
            "version {}, which a tag keeps, is damaged: {}",
            unread.found.version,
            said(&unread.error)
        ));
    }
    for (tag, version) in &versions.tags {
        let exists = versions.newest.found.version == *version
            || versions.pinned.iter().any(|pinned| pinned.found.version == *version)
            || versions.pinned_damaged.iter().any(|unread| unread.found.version == *version);
        if !exists {
            problems.push(format!("the tag `{tag}` names version {version}, which is not there"));
        }
    }
    let entries: HashMap<&str, &Entry> = census.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    problems.extend(fragment_problems(place, &versions.newest, &entries));
    match &versions.newest.indices {
        Err(why) => problems.push(format!("the list of indexes cannot be read: {why}")),
        Ok(indices) => problems.extend(indices.iter().filter_map(|index| index_problem(place, index, &entries))),
    }
    problems
}

fn fragment_problems(place: &Place, version: &Version, entries: &HashMap<&str, &Entry>) -> Vec<String> {
    let mut problems = Vec::new();
    for fragment in version.manifest.fragments.iter() {
        for file in fragment.referenced_lance_files() {
            let path = format!("data/{}", file.path);
            let wanted = file.file_size_bytes.get().map(std::num::NonZero::get);
            if let Some(what) = file_problem(place, &path, wanted, entries) {
                problems.push(format!("fragment {}: {what}", fragment.id));
            }
        }
        if let Some(file) = &fragment.deletion_file {
            let path = lance_table::io::deletion::relative_deletion_file_path(fragment.id, file);
            match entries.get(path.as_str()) {
                None => problems.push(format!("fragment {}: {path} is missing", fragment.id)),
                Some(entry) if entry.length == 0 => problems.push(format!("fragment {}: {path} is empty", fragment.id)),
                Some(_) => {}
            }
        }
    }
    problems
}

/// Returns what is wrong with an index, as far as its files' names, lengths and ends tell.
pub(super) fn index_problem(place: &Place, index: &IndexMetadata, entries: &HashMap<&str, &Entry>) -> Option<String> {
    let dir = format!("_indices/{}/", index.uuid);
    let there: HashSet<&str> = entries.keys().copied().filter(|path| path.starts_with(&dir)).collect();
    let sizes = index.file_size_map();
    let what = if there.is_empty() && !(sizes.is_empty() && index.files.is_some()) {
        Some("its directory is missing or empty".to_owned())
    } else {
        let listed =
            sizes.iter().find_map(|(name, size)| file_problem(place, &format!("{dir}{name}"), Some(*size), entries));
        listed.or_else(|| {
            let mut ends = there.iter().filter(|path| path.ends_with(".lance"));
            ends.find_map(|path| file_problem(place, path, None, entries))
        })
    };
    what.map(|what| format!("index `{}`: {what}", index.name))
}

fn file_problem(place: &Place, path: &str, wanted: Option<u64>, entries: &HashMap<&str, &Entry>) -> Option<String> {
    let Some(entry) = entries.get(path) else { return Some(format!("{path} is missing")) };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != entry.length) {
        return Some(format!("{path} has {} bytes, not the {wanted} it was written with", entry.length));
    }
    if path.ends_with(".lance") && !ends_as_lance(place, path) {
        return Some(format!("{path} does not end as a Lance file does"));
    }
    None
}

/// Tells whether a file ends with Lance's mark; one that cannot be opened now counts as whole.
fn ends_as_lance(place: &Place, path: &str) -> bool {
    let Ok(mut file) = File::open(place.path.join(path)) else { return true };
    let mut mark = [0; 4];
    match file.seek(SeekFrom::End(-4)).and_then(|_| file.read_exact(&mut mark)) {
        Ok(()) => mark == *b"LANC",
        // Shorter than the mark.
        Err(_) => false,
    }
}
