//! Takes damage out of a table: every fragment and every index is read once, and what fails leaves it.
//!
//! - an index that cannot be read is dropped; its owner makes it again from the rows;
//! - deletions that cannot be read: nobody knows which rows were deleted, so all rows of that fragment stay. A deleted row
//!   that is back can be deleted again; a live row that is gone is gone;
//! - a fragment of which rows cannot be read: those that can, in all columns, are written again, and the fragment is
//!   dropped by metadata, in one commit.
//!
//! The files of what leaves are linked into the quarantine before the commit, with a record.

use super::alive::Guard;
use super::compact::{DroppedIndex, Lost, Opened, bytes_of, settle};
use super::find::Place;
use super::manifest::{Names, files_of, said};
use super::quarantine::Aside;
use super::rescue::Rows;
use super::verify::index_damage;
use super::{LanceDb, Watch, io_failed};
use crate::error::{cut_short, failed};
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use lance::Dataset;
use lance::dataset::transaction::{Operation, TransactionBuilder};
use lance::dataset::{CommitBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::index::DatasetIndexExt;
use lance_table::format::Fragment;
use serde_json::json;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows written again are gathered up to about this many bytes.
const CHUNK_BYTES: u64 = 32 << 20;
/// Lost ids that a record lists; the files that hold the others are kept anyway.
const IDS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Mended {
    pub(super) lost: Vec<Lost>,
    pub(super) rows_revived: u64,
    pub(super) dropped_indexes: Vec<DroppedIndex>,
}

impl Mended {
    pub(super) fn is_changed(&self) -> bool {
        !self.lost.is_empty() || self.rows_revived > 0 || !self.dropped_indexes.is_empty()
    }
}

/// Mends what it finds and says so in `mended`, whatever stops it later.
pub(super) fn mend(
    db: &LanceDb,
    place: &Place,
    guard: &Guard,
    dataset: &Arc<Dataset>,
    mended: &mut Mended,
    watch: Watch<'_>,
) -> Result<(), IndexError> {
    mend_indexes(db, place, guard, mended)?;
    let fragments: Vec<Fragment> = dataset.fragments().iter().cloned().collect();
    for (at, fragment) in fragments.iter().enumerate() {
        watch(&place.name, at as u64, fragments.len() as u64);
        let dataset = if mended.is_changed() { db.open(place)? } else { Arc::clone(dataset) };
        mend_fragment(db, place, guard, &dataset, fragment, mended)?;
    }
    Ok(())
}

fn mend_indexes(db: &LanceDb, place: &Place, guard: &Guard, mended: &mut Mended) -> Result<(), IndexError> {
    let table = Opened::new(db, place)?;
    for name in table.names() {
        let Some(why) = index_damage(db, place, &table, &name)? else { continue };
        // Once more: it leaves the table, so it must be the index that is at fault.
        if index_damage(db, place, &table, &name)?.is_none() {
            continue;
        }
        guard.check()?;
        let aside = Aside::new(place, &format!("index-{}", name.replace(['/', '\\'], "_")))?;
        let mut files = Vec::new();
        for index in table.indexes.iter().filter(|index| index.name == name) {
            let dir = format!("_indices/{}", index.uuid);
            let entries = std::fs::read_dir(place.path.join(&dir)).into_iter().flatten().flatten();
            for file in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
                files.push(format!("{dir}/{file}"));
            }
        }
        files.iter().try_for_each(|file| aside.keep(file))?;
        aside.record(&json!({
            "at_us": db.surroundings.world.now_us(), "table": place.path, "index": name, "why": why, "files": files,
        }))?;
        let mut dataset = db.open(place)?.as_ref().clone();
        let version = dataset.manifest().version;
        let dropped = name.clone();
        db.run("drop a damaged index", async move {
            dataset.drop_index(&dropped).await.map_err(|error| failed("drop a damaged index", error))
        })?;
        settle(db, place, version..=version + 1, &table.known)?;
        mended.dropped_indexes.push(DroppedIndex { name, why });
    }
    Ok(())
}

fn mend_fragment(
    db: &LanceDb,
    place: &Place,
    guard: &Guard,
    at: &Arc<Dataset>,
    fragment: &Fragment,
    mended: &mut Mended,
) -> Result<(), IndexError> {
    let mut rows = Rows::new(at, fragment);
    let deletions = rows.deletions(db)?.err();
    if deletions.is_some() {
        rows.fragment.deletion_file = None;
    }
    let damage = match rows.probe(db, None)? {
        Ok(_) => None,
        // Once more: what fails once only is not damage.
        Err(_) => rows.probe(db, None)?.err(),
    };
    let revived = fragment.deletion_file.as_ref().and_then(|file| file.num_deleted_rows).unwrap_or(0) as u64;
    match (deletions, damage) {
        (None, None) => Ok(()),
        (Some(why), None) => {
            guard.check()?;
            aside(db, place, fragment, &said(&why), &[], revived)?;
            commit(db, place, at, updated(rows.fragment))?;
            mended.rows_revived += revived;
            Ok(())
        }
        (deletions, Some(why)) => {
            guard.check()?;
            if deletions.is_some() {
                mended.rows_revived += revived;
            }
            mended.lost.push(replace(db, place, at, fragment, &rows, &said(&why))?);
            Ok(())
        }
    }
}

/// Writes what can be read of a fragment again and drops the rest.
fn replace(
    db: &LanceDb,
    place: &Place,
    at: &Arc<Dataset>,
    fragment: &Fragment,
    rows: &Rows,
    why: &str,
) -> Result<Lost, IndexError> {
    let good = rows.readable(db)?;
    let (fresh, rows_saved) = rewrite(db, place, rows, &good)?;
    let live = rows.fragment.num_rows().unwrap_or(0) as u64;
    let ids = lost_ids(db, rows, &good)?;
    let lost_rows = live.saturating_sub(rows_saved);
    let quarantine = aside(db, place, fragment, why, &ids, 0)?;
    commit(db, place, at, replaced(fragment.id, fresh))?;
    Ok(Lost { fragment: fragment.id, why: why.to_owned(), rows: lost_rows, rows_saved, ids, quarantine })
}

/// Reads the good ranges and appends their live rows to new files that no version names yet.
fn rewrite(db: &LanceDb, place: &Place, rows: &Rows, good: &[Range<u64>]) -> Result<(Vec<Fragment>, u64), IndexError> {
    let row_bytes = (bytes_of(&rows.fragment) / rows.physical_rows().max(1)).max(1);
    let chunk_rows = (CHUNK_BYTES / row_bytes).max(1);
    let (mut fresh, mut n_rows) = (Vec::new(), 0);
    for range in good {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + chunk_rows);
            let rows = rows.clone();
            let (fragments, written) = db.run("write rows again", async move {
                let mut batches: Vec<RecordBatch> = Vec::new();
                rows.read(Some(start..end), &mut |batch| {
                    batches.push(batch);
                    Ok(())
                })
                .await?;
                let written: usize = batches.iter().map(RecordBatch::num_rows).sum();
                Ok((append(&rows.at, batches).await?, written as u64))
            })?;
            check_lengths(place, &fragments)?;
            fresh.extend(fragments);
            n_rows += written;
            start = end;
        }
    }
    Ok((fresh, n_rows))
}

async fn append(at: &Arc<Dataset>, batches: Vec<RecordBatch>) -> Result<Vec<Fragment>, IndexError> {
    let doing = "write rows again";
    let Some(first) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Vec::new()) };
    let schema = first.schema();
    let reader: Box<dyn RecordBatchReader + Send> =
        Box::new(RecordBatchIterator::new(batches.into_iter().map(Ok), schema));
    let params =
        WriteParams { mode: WriteMode::Append, skip_auto_cleanup: true, auto_cleanup: None, ..WriteParams::default() };
    let written =
        Box::pin(InsertBuilder::new(Arc::clone(at)).with_params(&params).execute_uncommitted_stream(reader)).await;
    match written.map_err(|error| failed(doing, error))?.operation {
        Operation::Append { fragments } => Ok(fragments),
        _ => Err(IndexError::new(ErrorKind::Internal, "Lance answered an append with another operation")),
    }
}

fn check_lengths(place: &Place, fragments: &[Fragment]) -> Result<(), IndexError> {
    for file in fragments.iter().flat_map(|fragment| &fragment.files) {
        let path = place.path.join("data").join(&file.path);
        let found = std::fs::metadata(&path).map_err(|error| io_failed("find", &path, error))?.len();
        if file.file_size_bytes.get().is_some_and(|wanted| wanted.get() != found) {
            return Err(cut_short(&format!("data/{}", file.path)));
        }
    }
    Ok(())
}

/// Returns the ids of rows outside the good ranges, as far as that column can be read there.
fn lost_ids(db: &LanceDb, rows: &Rows, good: &[Range<u64>]) -> Result<Vec<String>, IndexError> {
    if rows.at.schema().field("id").is_none() {
        return Ok(Vec::new());
    }
    let rows = Rows { columns: Some(vec!["id".to_owned()]), ..rows.clone() };
    let end = rows.physical_rows();
    let mut ids = Vec::new();
    let mut start = 0;
    for range in good.iter().cloned().chain(std::iter::once(end..end)) {
        let (gap, next) = (start..range.start, range.end);
        start = next;
        if gap.is_empty() || ids.len() >= IDS_MAX {
            continue;
        }
        let found = Arc::new(Mutex::new(Vec::new()));
        let (asked, into) = (rows.clone(), Arc::clone(&found));
        let read = db.run("read lost ids", async move {
            asked
                .read(Some(gap), &mut |batch| {
                    if let Some(column) = batch.column(0).as_string_opt::<i32>() {
                        let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                        into.extend(column.iter().flatten().map(str::to_owned));
                    }
                    Ok(())
                })
                .await
        });
        // They only tell what to look for; without them the record has the range.
        if let Err(error) = read {
            tracing::debug!(%error, "lost rows without an id");
        }
        ids.extend(std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner)));
    }
    ids.truncate(IDS_MAX);
    Ok(ids)
}

/// Keeps a fragment's files beside the table, and says why.
fn aside(
    db: &LanceDb,
    place: &Place,
    fragment: &Fragment,
    why: &str,
    ids: &[String],
    revived: u64,
) -> Result<std::path::PathBuf, IndexError> {
    let aside = Aside::new(place, &format!("fragment-{}", fragment.id))?;
    let files = files_of(fragment);
    files.iter().try_for_each(|file| aside.keep(file))?;
    aside.record(&json!({
        "at_us": db.surroundings.world.now_us(),
        "table": place.path,
        "fragment": fragment,
        "why": why,
        "files": files,
        "lost_ids": ids,
        "rows_revived": revived,
    }))?;
    Ok(aside.dir)
}

fn updated(fragment: Fragment) -> Operation {
    update(Vec::new(), vec![fragment], Vec::new())
}

fn replaced(id: u64, fresh: Vec<Fragment>) -> Operation {
    if fresh.is_empty() {
        return Operation::Delete {
            updated_fragments: Vec::new(),
            deleted_fragment_ids: vec![id],
            predicate: "damaged".to_owned(),
        };
    }
    update(vec![id], Vec::new(), fresh)
}

fn update(removed: Vec<u64>, updated: Vec<Fragment>, fresh: Vec<Fragment>) -> Operation {
    Operation::Update {
        removed_fragment_ids: removed,
        updated_fragments: updated,
        new_fragments: fresh,
        fields_modified: Vec::new(),
        compacted_sstables: Vec::new(),
        fields_for_preserving_frag_bitmap: Vec::new(),
        update_mode: None,
        inserted_rows_filter: None,
        updated_fragment_offsets: None,
    }
}

fn commit(db: &LanceDb, place: &Place, at: &Arc<Dataset>, operation: Operation) -> Result<(), IndexError> {
    let version = at.manifest().version;
    let known = Names::newest(db, place)?;
    let at = Arc::clone(at);
    db.run("commit a repair", async move {
        let transaction = TransactionBuilder::new(version, operation).build();
        let committed = CommitBuilder::new(at).with_skip_auto_cleanup(true).execute(transaction).await;
        committed.map(|_| ()).map_err(|error| failed("commit a repair", error))
    })?;
    settle(db, place, version..=version + 1, &known)
}
