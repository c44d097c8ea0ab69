//! What every file of a table is for.
//!
//! A file is judged by its name alone, against what the versions name. What no rule knows is left where it is.

use super::find::Place;
use super::io_failed;
use super::manifest::Names;
use evermark_core::index::IndexError;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// Kept beside manifests: where Lance may look for the newest version first.
pub(super) const HINT: &str = "_versions/latest_version_hint.json";

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The newest version names it.
    Live,
    /// Only a version that a tag (or a detached commit) keeps names it.
    Pinned,
    /// Small files of Lance's own: the kept versions' transactions, tags, the version hint.
    Bookkeeping,
    /// Only versions that are past name it.
    Superseded,
    /// A whole data, deletion or index file that no version names: what failed or was killed before its commit.
    Orphan,
    /// A temporary file of a writer that is gone; no version can name it.
    Debris,
    /// No rule knows it.
    Unknown,
}

impl Class {
    /// Returns the name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Pinned => "pinned",
            Self::Bookkeeping => "bookkeeping",
            Self::Superseded => "superseded",
            Self::Orphan => "orphan",
            Self::Debris => "debris",
            Self::Unknown => "unknown",
        }
    }
}

/// Files and bytes of one class. Bytes are allocated blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub files: u64,
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the table, with `/`.
    pub(super) path: String,
    pub(super) class: Class,
    pub(super) length: u64,
    /// Blocks in use; nothing for a second name of a file that was counted already.
    pub(super) bytes: u64,
}

/// All files of a table, and its directories.
#[derive(Default)]
pub(super) struct Census {
    pub(super) entries: Vec<Entry>,
    /// Directories, deepest first.
    pub(super) dirs: Vec<String>,
    pub(super) dir_bytes: u64,
}

impl Census {
    /// Lists the table's files and judges each.
    pub(super) fn take(place: &Place, kept: &Kept<'_>) -> Result<Self, IndexError> {
        let mut census = Self::default();
        let mut inodes = Vec::new();
        census.walk(place, "", kept, &mut inodes)?;
        // A file with two names weighs once, under the name that is needed most.
        let mut order: Vec<usize> = (0..census.entries.len()).collect();
        order.sort_by_key(|at| census.entries[*at].class);
        let mut seen = HashSet::new();
        for at in order {
            if inodes[at].is_some_and(|inode| !seen.insert(inode)) {
                census.entries[at].bytes = 0;
            }
        }
        census.entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(census)
    }

    fn walk(
        &mut self,
        place: &Place,
        below: &str,
        kept: &Kept<'_>,
        inodes: &mut Vec<Option<(u64, u64)>>,
    ) -> Result<(), IndexError> {
        let dir = place.path.join(below);
        let entries = fs::read_dir(&dir).map_err(|error| io_failed("list", &dir, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| io_failed("list", &dir, error))?;
            let name = entry.file_name();
            // Lance writes ASCII names only; anything else is somebody else's and is counted by nobody.
            let Some(name) = name.to_str() else { continue };
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                self.walk(place, &path, kept, inodes)?;
                self.dirs.push(path);
                continue;
            }
            let class = if metadata.is_file() { kept.judge(&path) } else { Class::Unknown };
            inodes.push(shared(&metadata));
            self.entries.push(Entry { path, class, length: metadata.len(), bytes: blocks(&metadata) });
        }
        self.dir_bytes += fs::symlink_metadata(&dir).map_or(0, |metadata| blocks(&metadata));
        Ok(())
    }

    pub(super) fn tallies(&self) -> BTreeMap<Class, Tally> {
        let mut tallies: BTreeMap<Class, Tally> = BTreeMap::new();
        for entry in &self.entries {
            tallies.entry(entry.class).or_default().add(entry.bytes);
        }
        tallies
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.dir_bytes + self.entries.iter().map(|entry| entry.bytes).sum::<u64>()
    }
}

/// What the versions name.
pub(super) struct Kept<'a> {
    pub(super) newest: &'a Names,
    pub(super) pinned: &'a Names,
    pub(super) older: &'a Names,
    /// Manifests that are there but are not to be deleted: damaged ones that a tag keeps.
    pub(super) manifests: HashSet<String>,
}

impl Kept<'_> {
    fn judge(&self, path: &str) -> Class {
        if self.newest.files.contains(path) {
            return Class::Live;
        }
        if self.pinned.files.contains(path) || self.manifests.contains(path) {
            return Class::Pinned;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let (dir, rest) = path.split_once('/').unwrap_or(("", path));
        if is_temporary(name)
            && matches!(dir, "data" | "_deletions" | "_transactions" | "_versions" | "_indices" | "_refs")
        {
            return Class::Debris;
        }
        match dir {
            "data" => self.judge_data(path, rest),
            "_deletions" if name.ends_with(".arrow") || name.ends_with(".bin") => self.past(path),
            "_transactions" if self.newest.bookkeeping.contains(path) || self.pinned.bookkeeping.contains(path) => {
                Class::Bookkeeping
            }
            "_transactions" if name.ends_with(".txn") => self.past(path),
            "_versions" if path == HINT => Class::Bookkeeping,
            "_versions" if name.ends_with(".manifest") => Class::Superseded,
            "_indices" => self.judge_index(rest),
            "_refs" => Class::Bookkeeping,
            _ => Class::Unknown,
        }
    }

    fn judge_data(&self, path: &str, rest: &str) -> Class {
        if rest.ends_with(".lance") {
            return self.past(path);
        }
        // A blob beside its data file: `data/<stem>/<id>.blob` lives and dies with `data/<stem>.lance`.
        match rest.rsplit_once('/') {
            Some((stem, blob)) if blob.ends_with(".blob") => {
                let parent = format!("data/{stem}.lance");
                if self.newest.files.contains(&parent) {
                    Class::Live
                } else if self.pinned.files.contains(&parent) {
                    Class::Pinned
                } else {
                    self.past(&parent)
                }
            }
            _ => Class::Unknown,
        }
    }

    fn judge_index(&self, rest: &str) -> Class {
        let Some((dir, _)) = rest.split_once('/') else { return Class::Unknown };
        if self.newest.index_dirs.contains(dir) || self.newest.all_indexes {
            Class::Live
        } else if self.pinned.index_dirs.contains(dir) || self.pinned.all_indexes {
            Class::Pinned
        } else if self.older.index_dirs.contains(dir) {
            Class::Superseded
        } else if is_uuid(dir) {
            Class::Orphan
        } else {
            Class::Unknown
        }
    }

    fn past(&self, path: &str) -> Class {
        let named = self.older.files.contains(path) || self.older.bookkeeping.contains(path);
        // A transaction file without its version says nothing that anybody will ask.
        if named || path.starts_with("_transactions/") { Class::Superseded } else { Class::Orphan }
    }
}

/// Tells whether a name is one that writers use before a file is whole. No version names such a file.
pub(super) fn is_temporary(name: &str) -> bool {
    // `x#1`: object_store's stage of a file; it hides such names from every listing, so nobody else removes them.
    let staged = name.rsplit_once('#').is_some_and(|(stem, number)| {
        !stem.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    staged || name.starts_with(".tmp") || name.ends_with(".lance-stage")
}

pub(super) fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Returns what a file with several names is known by.
fn shared(metadata: &fs::Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
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

/// Returns the blocks in use by one file or directory itself.
pub(super) fn allocated_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |metadata| blocks(&metadata))
}

/// Returns the blocks in use below a path, a file with several names counted once.
pub(super) fn allocated(path: &Path) -> u64 {
    fn below(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
        let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
        if !metadata.is_dir() {
            return if shared(&metadata).is_none_or(|inode| seen.insert(inode)) { blocks(&metadata) } else { 0 };
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        blocks(&metadata) + entries.map(|entry| below(&entry.path(), seen)).sum::<u64>()
    }
    below(path, &mut HashSet::new())
}
