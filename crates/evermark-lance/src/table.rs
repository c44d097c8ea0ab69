//! One Lance table, and the only calls to Lance that touch the disk: open, create, read, append, delete, commit.
//!
//! Every change is one commit: new rows go to a new data file, replaced and removed rows into deletion files, and one
//! manifest makes both visible. What Lance leaves out is done here: the length of each new file is compared with what
//! its writer believes (its local writer drops the last error), and files and directories are synced before and after the
//! manifest appears.

use crate::directory::{Address, ByFingerprint, Directory, Ranges};
use crate::error::{corrupt, cut_short, failed, unreadable};
use crate::quarantine::Suspects;
use crate::rows;
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use futures::StreamExt;
use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::fragment::{FileFragment, FragReadConfig};
use lance::dataset::transaction::{Operation, TransactionBuilder};
use lance::dataset::{CommitBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::io::ObjectStoreRegistry;
use lance::session::Session;
use lance_table::format::Fragment;
use lance_table::io::deletion::relative_deletion_file_path;
use lance_table::utils::stream::ReadBatchFutStream;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Indexes are not used; this only keeps Lance's default of 6 GiB away.
const INDEX_CACHE_BYTES: usize = 1 << 20;
/// Footers and column metadata of open data files.
const METADATA_CACHE_BYTES: usize = 16 << 20;
/// Rows decoded at once.
const BATCH_ROWS: u32 = 4096;
/// Batches that [`read_prepared`] has in work: one for each thread of the room, and one that is ready.
const AHEAD: usize = 3;
/// A data file is closed at this many rows; the byte limit of `compact` closes it earlier.
const FILE_ROWS_MAX: usize = 1 << 20;

/// What every manifest ends with.
const MAGIC: &[u8; 4] = b"LANC";

/// A version of the table, with all that reading it needs. Cheap to clone; holding it keeps its files.
pub(crate) type Snapshot = Arc<Dataset>;

pub(crate) struct Table {
    pub(crate) path: PathBuf,
    schema: SchemaRef,
    session: Arc<Session>,
}

impl Table {
    pub(crate) fn new(path: PathBuf, schema: SchemaRef) -> Self {
        let registry = Arc::new(ObjectStoreRegistry::default());
        let session = Arc::new(Session::new(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES, registry));
        Self { path, schema, session }
    }

    fn uri(&self) -> Result<&str, IndexError> {
        self.path.to_str().ok_or_else(|| {
            IndexError::new(ErrorKind::Invalid, format!("the index's path `{}` is not Unicode", self.path.display()))
        })
    }

    /// Opens the newest version and checks its columns. Returns with it the pieces whose files are not there as they were
    /// written, and why.
    pub(crate) async fn open(&self) -> Result<(Snapshot, Vec<(u64, String)>), IndexError> {
        let dataset = DatasetBuilder::from_uri(self.uri()?)
            .with_session(Arc::clone(&self.session))
            .load()
            .await
            .map_err(|error| unreadable("open the index's table", error))?;
        let found = arrow_schema::Schema::from(dataset.schema());
        let same = found.fields().len() == self.schema.fields().len()
            && found.fields().iter().zip(self.schema.fields()).all(|(found, wanted)| {
                found.name() == wanted.name() && found.data_type().equals_datatype(wanted.data_type())
            });
        if !same {
            return Err(corrupt("the index's table has other columns than this version writes"));
        }
        let mut damaged = Vec::new();
        for fragment in dataset.fragments().iter() {
            match self.short_file(fragment) {
                Ok(None) => {}
                Ok(Some(file)) => damaged.push((fragment.id, format!("{file} has not the length it was written with"))),
                Err(error) if error.kind == ErrorKind::Corrupt => {
                    damaged.push((fragment.id, crate::error::with_causes(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((Arc::new(dataset), damaged))
    }

    /// Makes an empty table where there is none.
    pub(crate) async fn create(&self) -> Result<Snapshot, IndexError> {
        let none = RecordBatchIterator::new(std::iter::empty(), Arc::clone(&self.schema));
        let params = WriteParams { mode: WriteMode::Create, session: Some(Arc::clone(&self.session)), ..params() };
        let dataset = Dataset::write(none, self.uri()?, Some(params))
            .await
            .map_err(|error| failed("create the index's table", error))?;
        self.sync_manifest(&dataset)?;
        sync_dir(&self.path)?;
        Ok(Arc::new(dataset))
    }

    /// Writes rows into new data files that no version names yet, and syncs them.
    pub(crate) async fn append(&self, at: &Snapshot, batches: Vec<RecordBatch>) -> Result<Vec<Fragment>, IndexError> {
        let n_rows = batches.iter().map(RecordBatch::num_rows).sum();
        self.append_stream(at, n_rows, batches.into_iter().map(Ok)).await
    }

    /// Writes rows of `batches` in the order given as (batch, row), gathering a chunk at a time.
    pub(crate) async fn append_sorted(
        &self,
        at: &Snapshot,
        batches: Vec<RecordBatch>,
        order: Vec<(usize, usize)>,
    ) -> Result<Vec<Fragment>, IndexError> {
        let n_rows = order.len();
        let chunks = (0..n_rows.div_ceil(BATCH_ROWS as usize)).map(move |chunk| {
            let start = chunk * BATCH_ROWS as usize;
            let rows = &order[start..n_rows.min(start + BATCH_ROWS as usize)];
            interleave_record_batch(&batches.iter().collect::<Vec<_>>(), rows)
        });
        self.append_stream(at, n_rows, chunks).await
    }

    async fn append_stream(
        &self,
        at: &Snapshot,
        n_rows: usize,
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    ) -> Result<Vec<Fragment>, IndexError> {
        if n_rows == 0 {
            return Ok(Vec::new());
        }
        let params = WriteParams { mode: WriteMode::Append, ..params() };
        let reader: Box<dyn RecordBatchReader + Send> =
            Box::new(RecordBatchIterator::new(batches, Arc::clone(&self.schema)));
        let transaction =
            Box::pin(InsertBuilder::new(Arc::clone(at)).with_params(&params).execute_uncommitted_stream(reader))
                .await
                .map_err(|error| failed("write rows to the index", error))?;
        let Operation::Append { fragments } = transaction.operation else {
            return Err(IndexError::new(ErrorKind::Internal, "Lance answered an append with another operation"));
        };
        for fragment in &fragments {
            if let Some(file) = self.short_file(fragment)? {
                return Err(cut_short(&file));
            }
            for file in &fragment.files {
                sync_file(&self.path.join("data").join(&file.path))?;
            }
        }
        sync_dir(&self.path.join("data"))?;
        Ok(fragments)
    }

    /// Writes the deletion files that take `rows` out. Fragments that lose their last row are only named.
    pub(crate) async fn delete(
        &self,
        at: &Snapshot,
        rows: &[Address],
        suspects: &Suspects,
    ) -> Result<Deletions, IndexError> {
        let mut by_fragment: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for row in rows {
            by_fragment.entry(row.fragment()).or_default().push(row.offset());
        }
        let mut deletions = Deletions::default();
        for (id, offsets) in by_fragment {
            let fragment = fragment(at, id)?;
            // What is marked already is read back from a file that may be damaged.
            let doing = "mark rows of the index as removed";
            let shrunk = noting(suspects, id, async move {
                fragment.extend_deletions(offsets).await.map_err(|error| failed(doing, error))
            })
            .await?;
            match shrunk {
                None => deletions.emptied.push(id),
                Some(shrunk) => {
                    let metadata = shrunk.metadata().clone();
                    self.check_deletions(at, &metadata).await?;
                    deletions.shrunk.push(metadata);
                }
            }
        }
        if !deletions.shrunk.is_empty() {
            sync_dir(&self.path.join("_deletions"))?;
        }
        Ok(deletions)
    }

    /// Reads a deletion file back: nothing in the manifest tells its length, and a lost tail would raise the dead.
    async fn check_deletions(&self, at: &Snapshot, fragment: &Fragment) -> Result<(), IndexError> {
        let Some(file) = &fragment.deletion_file else { return Ok(()) };
        let name = relative_deletion_file_path(fragment.id, file);
        let read = FileFragment::new(Arc::clone(at), fragment.clone()).get_deletion_vector().await;
        if !read.is_ok_and(|read| file.num_deleted_rows == read.map(|vector| vector.len())) {
            return Err(cut_short(&name));
        }
        sync_file(&self.path.join(name))
    }

    /// Makes new files and deletions the next version: all of it, or nothing.
    pub(crate) async fn commit(
        &self,
        at: &Snapshot,
        fresh: Vec<Fragment>,
        deletions: Deletions,
    ) -> Result<Snapshot, IndexError> {
        let operation = if deletions.emptied.is_empty() && deletions.shrunk.is_empty() {
            Operation::Append { fragments: fresh }
        } else {
            Operation::Update {
                removed_fragment_ids: deletions.emptied,
                updated_fragments: deletions.shrunk,
                new_fragments: fresh,
                fields_modified: Vec::new(),
                compacted_sstables: Vec::new(),
                fields_for_preserving_frag_bitmap: Vec::new(),
                update_mode: None,
                inserted_rows_filter: None,
                updated_fragment_offsets: None,
            }
        };
        let transaction = TransactionBuilder::new(at.manifest().version, operation).build();
        let dataset = CommitBuilder::new(Arc::clone(at))
            .with_skip_auto_cleanup(true)
            .execute(transaction)
            .await
            .map_err(|error| failed("commit to the index", error))?;
        self.check_manifest(&dataset)?;
        Ok(Arc::new(dataset))
    }

    /// Checks that the manifest of a version ends as every manifest does: nothing tells its length, and one that was cut
    /// short cannot be opened any more.
    fn check_manifest(&self, at: &Dataset) -> Result<(), IndexError> {
        let Some(name) = at.manifest_location().path.filename() else { return Ok(()) };
        let mut tail = [0; MAGIC.len()];
        File::open(self.path.join("_versions").join(name))
            .and_then(|mut file| {
                file.seek(SeekFrom::End(-(MAGIC.len() as i64)))?;
                file.read_exact(&mut tail)
            })
            .map_err(|error| failed("read a new manifest of the index back", error))?;
        if &tail == MAGIC { Ok(()) } else { Err(cut_short(&format!("_versions/{name}"))) }
    }

    /// Returns a file of the fragment that does not weigh what its writer believes, if there is one.
    fn short_file(&self, fragment: &Fragment) -> Result<Option<String>, IndexError> {
        for file in &fragment.files {
            let path = self.path.join("data").join(&file.path);
            let found = std::fs::metadata(&path).map_err(|error| failed("find a data file of the index", error))?.len();
            if file.file_size_bytes.get().is_some_and(|wanted| wanted.get() != found) {
                return Ok(Some(format!("data/{}", file.path)));
            }
        }
        if let Some(file) = &fragment.deletion_file {
            let name = relative_deletion_file_path(fragment.id, file);
            let found = std::fs::metadata(self.path.join(&name));
            if found.map_err(|error| failed("find a deletion file of the index", error))?.len() == 0 {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Syncs the manifest that made `at` the newest version, and the directory that names it.
    pub(crate) fn sync_manifest(&self, at: &Dataset) -> Result<(), IndexError> {
        let dir = self.path.join("_versions");
        if let Some(name) = at.manifest_location().path.filename() {
            sync_file(&dir.join(name))?;
        }
        sync_dir(&dir)
    }
}

/// What [`Table::delete`] has prepared for a commit.
#[derive(Default)]
pub(crate) struct Deletions {
    /// Fragments without a row left.
    pub(crate) emptied: Vec<u64>,
    pub(crate) shrunk: Vec<Fragment>,
}

fn params() -> WriteParams {
    WriteParams {
        max_rows_per_file: FILE_ROWS_MAX,
        skip_auto_cleanup: true,
        auto_cleanup: None,
        ..WriteParams::default()
    }
}

fn fragment(at: &Snapshot, id: u64) -> Result<FileFragment, IndexError> {
    let found = at.fragments().iter().find(|fragment| fragment.id == id);
    let metadata = found.ok_or_else(|| corrupt(format!("the index has no fragment {id}")))?;
    Ok(FileFragment::new(Arc::clone(at), metadata.clone()))
}

const READING: &str = "read rows of the index";

/// Reads live rows of one fragment, whole or in ranges of offsets, batch by batch, with each row's address (`_rowaddr`).
pub(crate) async fn read(
    at: &Snapshot,
    id: u64,
    columns: &[&str],
    ranges: Option<Ranges>,
    visit: &mut (dyn FnMut(RecordBatch) -> Result<(), IndexError> + Send),
) -> Result<(), IndexError> {
    let mut batches = batches(at, id, columns, ranges, BATCH_ROWS).await?.buffered(2);
    while let Some(batch) = batches.next().await {
        visit(batch.map_err(|error| unreadable(READING, error))?)?;
    }
    Ok(())
}

/// The same for whoever is waited for: batches are decoded and prepared beside reading and visiting, on all threads of the room.
pub(crate) async fn read_prepared<T: Send + 'static>(
    at: &Snapshot,
    id: u64,
    columns: &[&str],
    ranges: Option<Ranges>,
    batch_rows: u32,
    prepare: impl Fn(RecordBatch) -> Result<T, IndexError> + Clone + Send + Sync + 'static,
    visit: &mut (dyn FnMut(T) -> Result<(), IndexError> + Send),
) -> Result<(), IndexError> {
    let mut batches = batches(at, id, columns, ranges, batch_rows).await?.fuse();
    let mut ahead = VecDeque::with_capacity(AHEAD);
    loop {
        while ahead.len() < AHEAD
            && let Some(batch) = batches.next().await
        {
            let prepare = prepare.clone();
            ahead.push_back(tokio::spawn(async move {
                let batch = batch.await.map_err(|error| unreadable(READING, error))?;
                prepare(batch)
            }));
        }
        let Some(next) = ahead.pop_front() else { return Ok(()) };
        let prepared = next.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => failed(READING, error),
        })?;
        visit(prepared?)?;
    }
}

async fn batches(
    at: &Snapshot,
    id: u64,
    columns: &[&str],
    ranges: Option<Ranges>,
    batch_rows: u32,
) -> Result<ReadBatchFutStream, IndexError> {
    let fragment = fragment(at, id)?;
    let projection = at.schema().project(columns).map_err(|error| unreadable(READING, error))?;
    let config = FragReadConfig::default().with_row_address(true);
    let reader = fragment.open(&projection, config).await.map_err(|error| unreadable(READING, error))?;
    let stream = match ranges {
        Some(ranges) => reader.read_ranges(ranges.into(), batch_rows).await,
        None => reader.read_all(batch_rows).await,
    };
    stream.map_err(|error| unreadable(READING, error))
}

/// Returns the addresses that [`read`] has added to a batch.
pub(crate) fn addresses(batch: &RecordBatch) -> Result<Vec<Address>, IndexError> {
    Ok(rows::Columns::of(batch).numbers("_rowaddr")?.iter().copied().map(Address).collect())
}

/// As [`read`], with the piece under suspicion until it went well.
pub(crate) async fn read_noting(
    suspects: &Suspects,
    at: &Snapshot,
    id: u64,
    columns: &[&str],
    ranges: Option<Ranges>,
    visit: &mut (dyn FnMut(RecordBatch) -> Result<(), IndexError> + Send),
) -> Result<(), IndexError> {
    noting(suspects, id, read(at, id, columns, ranges, visit)).await
}

pub(crate) async fn noting<T>(
    suspects: &Suspects,
    id: u64,
    work: impl Future<Output = Result<T, IndexError>>,
) -> Result<T, IndexError> {
    suspects.begin(id);
    let done = work.await;
    if !matches!(&done, Err(error) if error.kind == ErrorKind::Corrupt) {
        suspects.clear(id);
    }
    done
}

/// Reads where every row is, but for those in pieces that are known to be bad.
pub(crate) async fn directory(
    at: &Snapshot,
    bad: &BTreeSet<u64>,
    suspects: &Suspects,
) -> Result<Directory, IndexError> {
    let good = || at.fragments().iter().filter(|fragment| !bad.contains(&fragment.id));
    let mut directory = Directory::with_room(good().filter_map(|fragment| fragment.num_rows()).sum());
    let mut doubled: ByFingerprint<()> = ByFingerprint::default();
    let prepare = |batch| Ok((rows::entries(&batch)?, addresses(&batch)?));
    for fragment in good() {
        let mut visit = |(entries, addresses): (Vec<_>, Vec<_>)| {
            for (entry, address) in entries.into_iter().zip(addresses) {
                if !directory.insert(entry, address) {
                    doubled.insert(entry.key, ());
                }
            }
            Ok(())
        };
        let reading = read_prepared(at, fragment.id, &rows::DIRECTORY_COLUMNS, None, BATCH_ROWS, prepare, &mut visit);
        noting(suspects, fragment.id, reading).await?;
    }
    if !doubled.is_empty() {
        return Err(corrupt(format!("the index holds {} memories twice", doubled.len())));
    }
    Ok(directory)
}

/// Reads every live row of a piece in all its columns and checks that they belong together. Returns how many there are.
pub(crate) async fn check(at: &Snapshot, id: u64, columns: &[&str]) -> Result<u64, IndexError> {
    let mut n_rows = 0;
    read(at, id, columns, None, &mut |batch| {
        rows::check(&batch)?;
        n_rows += batch.num_rows() as u64;
        Ok(())
    })
    .await?;
    Ok(n_rows)
}

pub(crate) fn sync_file(path: &Path) -> Result<(), IndexError> {
    File::open(path).and_then(|file| file.sync_data()).map_err(|error| failed("sync a file of the index", error))
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), IndexError> {
    if cfg!(windows) {
        return Ok(()); // directories cannot be opened there, and renames are journalled
    }
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| failed("sync a directory of the index", error))
}
