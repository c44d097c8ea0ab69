//! Merges small and half-dead files, after setting aside what is damaged.
//!
//! Flow: prune; read everything once and mend what fails (`mend`); then groups of neighbours, each batch of groups in one
//! commit, checked, synced and pruned before the next. Indexes are carried over by Lance, which may drop one that it cannot
//! open: the lists before and after are compared. Every batch is admitted against the free space first.

use super::alive::{Guard, in_use};
use super::census;
use super::find::Place;
use super::groups::{GROUP_BYTES_MAX, Part, groups};
use super::manifest::{self, Names, said};
use super::mend::{self, Mended};
use super::prune::{self, Pruned};
use super::{LanceDb, Run, Watch, io_failed};
use crate::error::{cut_short, failed};
use crate::table::{sync_dir, sync_file};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use lance::Dataset;
use lance::dataset::index::DatasetIndexRemapperOptions;
use lance::dataset::optimize::{CompactionOptions, CompactionTask, RewriteResult, TaskData, commit_compaction};
use lance::index::DatasetIndexExt;
use lance_table::format::{Fragment, IndexMetadata};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

/// What a scan may have read but not decoded.
const IO_BUFFER_BYTES: u64 = 32 << 20;
/// Free space asked for beside what is written: manifests, transactions, directories.
const MARGIN_BYTES: u64 = 1 << 20;

/// An index that could not be carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedIndex {
    pub name: String,
    pub why: String,
}

/// A damaged fragment that left the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub fragment: u64,
    pub why: String,
    /// Live rows that could not be read, by the manifest.
    pub rows: u64,
    /// Live rows that were written again.
    pub rows_saved: u64,
    /// Values of the column `id` of lost rows, where that column could be read.
    pub ids: Vec<String>,
    /// Where its files are kept.
    pub quarantine: PathBuf,
}

/// What a compaction did, or would do.
#[derive(Clone, Debug)]
pub struct Compacted {
    pub pruned: Pruned,
    pub fragments_before: u64,
    pub fragments_after: u64,
    /// Groups merged; in a dry run those that would be.
    pub groups: u64,
    /// Bytes of the files that were merged.
    pub bytes_read: u64,
    pub lost: Vec<Lost>,
    /// Deleted rows that are back, because the file that listed them is damaged.
    pub rows_revived: u64,
    pub dropped_indexes: Vec<DroppedIndex>,
    pub rows_after: u64,
    pub allocated_after: u64,
    pub live_after: u64,
    /// Why it ended before everything was merged.
    pub stopped: Option<String>,
    pub problems: Vec<String>,
}

pub(super) fn compact(
    db: &LanceDb,
    place: &Place,
    guard: &Guard,
    run: Run,
    watch: Watch<'_>,
) -> Result<Compacted, IndexError> {
    let pruned = prune::prune(db, place, guard, run, watch)?;
    let mut done = Compacted {
        fragments_before: pruned.before.fragments,
        fragments_after: pruned.before.fragments,
        groups: 0,
        bytes_read: 0,
        lost: Vec::new(),
        rows_revived: 0,
        dropped_indexes: Vec::new(),
        rows_after: pruned.before.rows,
        allocated_after: pruned.allocated_after,
        live_after: pruned.before.live_bytes(),
        stopped: None,
        problems: Vec::new(),
        pruned,
    };
    if run == Run::Dry {
        // A damaged newest version keeps the table from being opened until it is set aside.
        if done.pruned.stepped_down.is_empty() {
            let table = Opened::new(db, place)?;
            done.groups = groups(&table.parts(&HashSet::new())).len() as u64;
        }
        return Ok(done);
    }
    let worked = mend_and_merge(db, place, guard, &mut done, watch);
    match worked {
        Ok(()) => {}
        // What was done so far is done; what is missing needs space, a descriptor or another minute.
        Err(error) if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::Unavailable) => {
            done.stopped = Some(said(&error));
            reclaim(db, place, guard, &mut done)?;
        }
        Err(error) => return Err(error),
    }
    let after = super::survey::survey(db, place)?;
    done.fragments_after = after.fragments;
    done.rows_after = after.rows;
    done.allocated_after = after.allocated_bytes;
    done.live_after = after.live_bytes();
    done.problems.extend(after.problems);
    Ok(done)
}

fn mend_and_merge(
    db: &LanceDb,
    place: &Place,
    guard: &Guard,
    done: &mut Compacted,
    watch: Watch<'_>,
) -> Result<(), IndexError> {
    let table = Opened::new(db, place)?;
    table.refuse()?;
    let mut mended = Mended::default();
    let worked = mend::mend(db, place, guard, &table.dataset, &mut mended, watch);
    drop(table);
    let is_changed = mended.is_changed();
    (done.lost, done.rows_revived, done.dropped_indexes) = (mended.lost, mended.rows_revived, mended.dropped_indexes);
    worked?;
    if is_changed {
        reclaim(db, place, guard, done)?;
    }
    Merging { db, place, guard, done, excluded: HashSet::new() }.run(watch)
}

fn reclaim(db: &LanceDb, place: &Place, guard: &Guard, done: &mut Compacted) -> Result<(), IndexError> {
    let pruned = prune::prune(db, place, guard, Run::Real, &mut |_, _, _| {})?;
    done.problems.extend(pruned.problems);
    Ok(())
}

/// The newest version, opened, with its indexes.
pub(super) struct Opened {
    pub(super) dataset: Arc<Dataset>,
    /// Those that this build can read, and so carry over.
    pub(super) indexes: Arc<Vec<IndexMetadata>>,
    /// All that the manifest names.
    all: Vec<IndexMetadata>,
    /// Files that are there already.
    pub(super) known: Names,
}

impl Opened {
    pub(super) fn new(db: &LanceDb, place: &Place) -> Result<Self, IndexError> {
        let dataset = db.open(place)?;
        let indexes = {
            let dataset = Arc::clone(&dataset);
            db.run("list the indexes", async move {
                dataset.load_indices().await.map_err(|error| failed("list the indexes", error))
            })?
        };
        let newest = manifest::versions(db, place)?.newest;
        let mut known = Names::default();
        known.add(&newest);
        Ok(Self { dataset, indexes, all: newest.indices.unwrap_or_default(), known })
    }

    fn refuse(&self) -> Result<(), IndexError> {
        let manifest = self.dataset.manifest();
        if manifest.data_storage_format.version.to_string() == "0.1" {
            return Err(super::refused("the table is in Lance's first file format: it can be pruned, not compacted"));
        }
        if let Some(index) = self.all.iter().find(|index| index.name.starts_with("__lance")) {
            return Err(super::refused(format!(
                "the table has work of its own under way (`{}`): it can be pruned, not compacted",
                index.name
            )));
        }
        Ok(())
    }

    /// Returns the names of all indexes.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.all.iter().map(|index| index.name.clone()).collect()
    }

    pub(super) fn parts(&self, excluded: &HashSet<u64>) -> Vec<Part> {
        let covers = |index: &IndexMetadata, id: u64| {
            let known = index.fragment_bitmap.as_ref();
            known.is_some_and(|bitmap| u32::try_from(id).is_ok_and(|id| bitmap.contains(id)))
        };
        let unread = |index: &&IndexMetadata| !self.indexes.iter().any(|known| known.uuid == index.uuid);
        let part = |fragment: &Fragment| Part {
            id: fragment.id,
            rows: fragment.physical_rows.unwrap_or(0) as u64,
            dead: fragment.deletion_file.as_ref().and_then(|file| file.num_deleted_rows).unwrap_or(0) as u64,
            bytes: bytes_of(fragment),
            indexes: self
                .indexes
                .iter()
                .enumerate()
                .filter(|(_, index)| covers(index, fragment.id))
                .map(|(at, _)| at)
                .collect(),
            // Rewriting what an index covers that this build cannot read would leave it pointing at nothing.
            excluded: excluded.contains(&fragment.id)
                || self.all.iter().filter(unread).any(|index| covers(index, fragment.id)),
        };
        self.dataset.fragments().iter().map(part).collect()
    }

    fn fragments(&self, ids: &[u64]) -> Vec<Fragment> {
        self.dataset.fragments().iter().filter(|fragment| ids.contains(&fragment.id)).cloned().collect()
    }
}

pub(super) fn bytes_of(fragment: &Fragment) -> u64 {
    fragment.files.iter().filter_map(|file| file.file_size_bytes.get()).map(std::num::NonZero::get).sum()
}

struct Merging<'a> {
    db: &'a LanceDb,
    place: &'a Place,
    guard: &'a Guard,
    done: &'a mut Compacted,
    /// Fragments that failed to merge although each can be read.
    excluded: HashSet<u64>,
}

impl Merging<'_> {
    fn run(&mut self, watch: Watch<'_>) -> Result<(), IndexError> {
        let mut least = usize::MAX;
        loop {
            self.guard.check()?;
            let table = Opened::new(self.db, self.place)?;
            let parts = table.parts(&self.excluded);
            let waiting = groups(&parts);
            let left = parts.len() + parts.iter().filter(|part| part.is_rotten()).count() + waiting.len();
            watch(&self.place.name, self.done.groups, self.done.groups + waiting.len() as u64);
            // Each round leaves less to do than the one before; if not, Lance does not do what it should.
            if waiting.is_empty() || left >= least {
                return Ok(());
            }
            least = left;
            let batch = self.admit(&table, waiting)?;
            let results = self.rewrite(&table, &batch)?;
            if !results.is_empty() {
                self.commit(&table, results)?;
            }
            reclaim(self.db, self.place, self.guard, self.done)?;
        }
    }

    /// Returns the groups of one commit: enough of them that carrying the indexes over pays, and no more than fits.
    ///
    /// Errors: [`ErrorKind::NoSpace`] when not even one fits.
    fn admit(&self, table: &Opened, waiting: Vec<Vec<u64>>) -> Result<Vec<Vec<u64>>, IndexError> {
        let path = &self.place.path;
        let free =
            (self.db.surroundings.free_bytes)(path).map_err(|error| io_failed("ask for free space at", path, error))?;
        let index_bytes = census::allocated(&path.join("_indices"));
        let enough = GROUP_BYTES_MAX.max(index_bytes);
        let bytes = |group: &[u64]| table.fragments(group).iter().map(bytes_of).sum::<u64>();
        let least = waiting.iter().map(|group| bytes(group)).min().unwrap_or(0);
        let (mut batch, mut sum) = (Vec::new(), 0);
        for group in waiting {
            let more = sum + bytes(&group);
            if (more + more / 5 + index_bytes + MARGIN_BYTES) > free || (!batch.is_empty() && more > enough) {
                continue;
            }
            sum = more;
            batch.push(group);
        }
        if batch.is_empty() {
            let needed = least + least / 5 + index_bytes + MARGIN_BYTES;
            return Err(IndexError::new(
                ErrorKind::NoSpace,
                format!("merging needs {needed} bytes of free space, {free} are free"),
            ));
        }
        Ok(batch)
    }

    /// Writes each group's live rows into new files that no version names yet. Groups that cannot be merged are excluded.
    fn rewrite(&mut self, table: &Opened, batch: &[Vec<u64>]) -> Result<Vec<RewriteResult>, IndexError> {
        let mut results = Vec::new();
        for group in batch {
            let fragments = table.fragments(group);
            let bytes: u64 = fragments.iter().map(bytes_of).sum();
            let dataset = Arc::clone(&table.dataset);
            let task = CompactionTask {
                task: TaskData { fragments },
                read_version: dataset.manifest().version,
                options: options(),
            };
            let rewritten = self.db.run("merge a group", async move {
                task.execute(&dataset).await.map_err(|error| failed("merge a group", error))
            });
            match rewritten {
                Ok(result) => {
                    self.done.groups += 1;
                    self.done.bytes_read += bytes;
                    results.push(result);
                }
                Err(error) if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::Unavailable) => return Err(error),
                Err(error) => {
                    self.excluded.extend(group);
                    let (first, last) = (group.first().copied().unwrap_or(0), group.last().copied().unwrap_or(0));
                    self.done.problems.push(format!(
                        "fragments {first} to {last} can be read but not merged, and stay as they are: {}",
                        said(&error)
                    ));
                }
            }
        }
        Ok(results)
    }

    fn commit(&mut self, table: &Opened, results: Vec<RewriteResult>) -> Result<(), IndexError> {
        let before = table.names();
        let version = table.dataset.manifest().version;
        let rewritten: Vec<u64> =
            results.iter().flat_map(|result| result.original_fragments.iter().map(|fragment| fragment.id)).collect();
        let mut dataset = table.dataset.as_ref().clone();
        let committed = self.db.run("commit a merge", async move {
            let remapper = Arc::new(DatasetIndexRemapperOptions::default());
            commit_compaction(&mut dataset, results, remapper, &options())
                .await
                .map_err(|error| failed("commit a merge", error))
        });
        if let Err(error) = committed {
            // What it may have left behind (fragment numbers set apart) is a version like the one before.
            if matches!(error.kind, ErrorKind::NoSpace | ErrorKind::Unavailable | ErrorKind::Conflict) {
                return Err(error);
            }
            self.excluded.extend(rewritten);
            self.done.problems.push(format!("a merge cannot be committed: {}", said(&error)));
            return Ok(());
        }
        settle(self.db, self.place, version..=version + 2, &table.known)?;
        let after = Opened::new(self.db, self.place)?.names();
        for name in before.difference(&after) {
            let why = "Lance could not carry it over to the merged files".to_owned();
            self.done.dropped_indexes.push(DroppedIndex { name: name.clone(), why });
        }
        Ok(())
    }
}

fn options() -> CompactionOptions {
    CompactionOptions {
        // One file per group: more would be merged again and again.
        target_rows_per_fragment: u32::MAX as usize,
        num_threads: Some(1),
        io_buffer_size: Some(IO_BUFFER_BYTES),
        ..CompactionOptions::default()
    }
}

/// Checks what the versions after `version` have brought against what its writer believes, and syncs it: only then may the
/// old files go. A file that was cut short takes the new versions back.
///
/// `known` is what was there before: damage in it is not what this is about.
///
/// `span` is the version before and the last that is ours: a later one is somebody else's, and then nothing more is done.
pub(super) fn settle(db: &LanceDb, place: &Place, span: RangeInclusive<u64>, known: &Names) -> Result<(), IndexError> {
    let version = *span.start();
    let versions = manifest::versions(db, place)?;
    if versions.newest.found.is_after(*span.end()) {
        return Err(in_use(format!("somebody has committed to the table `{}` meanwhile: stopped", place.name)));
    }
    let path = |name: &str| place.path.join(name);
    for fragment in versions.newest.manifest.fragments.iter() {
        for file in fragment.referenced_lance_files() {
            let name = format!("data/{}", file.path);
            if known.files.contains(&name) {
                continue;
            }
            let wanted = file.file_size_bytes.get().map(std::num::NonZero::get);
            let found = fs::metadata(path(&name)).map(|metadata| metadata.len()).unwrap_or(0);
            if wanted.is_some_and(|wanted| wanted != found) {
                undo(place, version)?;
                return Err(cut_short(&name));
            }
            sync_file(&path(&name))?;
        }
    }
    let indices = versions.newest.indices.as_deref().unwrap_or_default();
    for index in indices.iter().filter(|index| !known.index_dirs.contains(&index.uuid.to_string())) {
        let dir = path(&format!("_indices/{}", index.uuid));
        for (name, size) in index.file_size_map() {
            let found = fs::metadata(dir.join(&name)).map(|metadata| metadata.len()).unwrap_or(0);
            if found != size {
                undo(place, version)?;
                return Err(cut_short(&format!("_indices/{}/{name}", index.uuid)));
            }
            sync_file(&dir.join(name))?;
        }
        if dir.is_dir() {
            sync_dir(&dir)?;
        }
    }
    for dir in ["data", "_deletions", "_indices"].map(path) {
        if dir.is_dir() {
            sync_dir(&dir)?;
        }
    }
    sync_file(&path(&format!("_versions/{}", versions.newest.found.file)))?;
    sync_dir(&path("_versions"))
}

/// Takes every version after `version` back. Its own files are all still there: nothing has been pruned since.
fn undo(place: &Place, version: u64) -> Result<(), IndexError> {
    let newer = manifest::list(place)?;
    for found in newer.iter().rev().filter(|found| found.is_after(version)) {
        let path = place.path.join("_versions").join(&found.file);
        fs::remove_file(&path).map_err(|error| io_failed("take back", &path, error))?;
    }
    Ok(())
}
