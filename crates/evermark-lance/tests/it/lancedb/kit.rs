//! Makes tables as another program would, spoils them, and reads them with Lance alone.

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, RecordBatchIterator, StringArray,
    StructArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use evermark_core::memory::Digest32;
use evermark_core::world::RealWorld;
use evermark_lance::lancedb::{Compacted, EverosLock, LanceDb, Pruned, Run, Surroundings, Survey, Verified};
use futures::TryStreamExt;
use lance::Dataset;
use lance::dataset::{WriteMode, WriteParams};
use lance::index::DatasetIndexExt;
use lance::index::vector::VectorIndexParams;
use lance_table::io::deletion::relative_deletion_file_path;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

pub(super) const DIM: i32 = 8;

/// Runs a future of Lance's to its end.
pub(super) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
}

pub(super) fn schema() -> SchemaRef {
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("fact", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("tags", DataType::List(item(DataType::Utf8)), true),
        Field::new("place", DataType::Struct(vec![Field::new("city", DataType::Utf8, true)].into()), true),
        Field::new("vector", DataType::FixedSizeList(item(DataType::Float32), DIM), true),
    ]))
}

fn fact(id: usize) -> String {
    // Long and varied enough to be stored in pages of their own.
    format!("fact {id}: {}", Digest32::of(&id.to_le_bytes()).hex())
}

pub(super) fn batch(ids: std::ops::Range<usize>) -> RecordBatch {
    let n = ids.len();
    let id: StringArray = ids.clone().map(|id| Some(format!("row_{id:05}"))).collect();
    let facts: StringArray = ids.clone().map(|id| (id % 7 != 3).then(|| fact(id))).collect();
    let numbers: Int64Array = ids.clone().map(|id| (id % 5 != 0).then_some(id as i64)).collect();
    let mut tags = ListBuilder::new(StringBuilder::new());
    for id in ids.clone() {
        (0..id % 3).for_each(|tag| tags.values().append_value(format!("tag {tag}")));
        tags.append(id % 4 != 0);
    }
    let cities: ArrayRef = Arc::new(ids.clone().map(|id| Some(format!("city {}", id % 11))).collect::<StringArray>());
    let place = StructArray::from(vec![(Arc::new(Field::new("city", DataType::Utf8, true)), cities)]);
    let floats = Float32Array::from_iter_values(ids.flat_map(|id| (0..DIM).map(move |at| (id as f32) + at as f32)));
    let field = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::new(field, DIM, Arc::new(floats), None);
    assert_eq!(n, id.len());
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(id),
            Arc::new(facts),
            Arc::new(numbers),
            Arc::new(tags.finish()),
            Arc::new(place),
            Arc::new(vectors),
        ],
    )
    .unwrap()
}

/// A directory with a table in it, and a place beside it for what is set aside.
pub(super) struct Home {
    _dir: tempfile::TempDir,
    pub(super) db: PathBuf,
}

impl Home {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().canonicalize().unwrap().join("db");
        fs::create_dir(&db).unwrap();
        Self { _dir: dir, db }
    }

    /// A table `facts` of these many rows per fragment.
    pub(super) fn with(rows: &[usize]) -> Self {
        let home = Self::new();
        let mut start = 0;
        for rows in rows {
            home.append(start..start + rows);
            start += rows;
        }
        home
    }

    pub(super) fn table(&self) -> PathBuf {
        self.db.join("facts.lance")
    }

    fn uri(&self) -> String {
        self.table().to_str().unwrap().to_owned()
    }

    pub(super) fn append(&self, ids: std::ops::Range<usize>) {
        let params = WriteParams { mode: WriteMode::Append, ..WriteParams::default() };
        let reader = RecordBatchIterator::new([Ok(batch(ids))], schema());
        block(Dataset::write(reader, &self.uri(), Some(params))).unwrap();
    }

    pub(super) fn delete(&self, predicate: &str) {
        block(async { self.open().await.delete(predicate).await }).unwrap();
    }

    pub(super) fn tag(&self, name: &str) {
        block(async {
            let dataset = self.open().await;
            dataset.tags().create(name, dataset.manifest().version).await
        })
        .unwrap();
    }

    pub(super) fn index(&self) {
        block(async {
            let params = VectorIndexParams::ivf_flat(2, "l2".try_into().unwrap());
            let mut dataset = self.open().await;
            dataset.create_index(&["vector"], "Vector".try_into().unwrap(), None, &params, true).await.unwrap();
        });
    }

    pub(super) async fn open(&self) -> Dataset {
        Dataset::open(&self.uri()).await.unwrap()
    }

    /// The path of the file of the newest manifest.
    pub(super) fn newest_manifest(&self) -> PathBuf {
        // Versions count down in names.
        manifests(&self.table()).remove(0)
    }

    /// The data file of a fragment, counted from the front.
    pub(super) fn data_file(&self, at: usize) -> PathBuf {
        block(async { self.table().join("data").join(&self.open().await.fragments()[at].files[0].path) })
    }

    pub(super) fn deletion_file(&self, at: usize) -> PathBuf {
        block(async {
            let dataset = self.open().await;
            let fragment = &dataset.fragments()[at];
            self.table().join(relative_deletion_file_path(fragment.id, fragment.deletion_file.as_ref().unwrap()))
        })
    }

    pub(super) fn quarantined(&self) -> Vec<String> {
        let dir = self.db.with_file_name("db.quarantine/facts.lance");
        let mut found = Vec::new();
        files_below(&dir, &mut found);
        found.sort();
        found.into_iter().map(|path| path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned()).collect()
    }
}

pub(super) fn manifests(table: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_below(&table.join("_versions"), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "manifest"));
    found.sort();
    found
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

pub(super) fn find(path: &Path) -> LanceDb {
    LanceDb::find(path, None, surroundings()).unwrap()
}

pub(super) fn surroundings() -> Surroundings {
    Surroundings::new(Arc::new(RealWorld::new()), |_| Ok(u64::MAX))
}

pub(super) fn survey(path: &Path) -> Survey {
    only(find(path).survey().into_iter().map(|outcome| outcome.result.unwrap()))
}

pub(super) fn prune(path: &Path) -> Pruned {
    let outcomes = find(path).prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    only(outcomes.into_iter().map(|outcome| outcome.result.unwrap()))
}

pub(super) fn compact(path: &Path) -> Compacted {
    let outcomes = find(path).compact(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    only(outcomes.into_iter().map(|outcome| outcome.result.unwrap()))
}

pub(super) fn verify(path: &Path) -> Verified {
    only(find(path).verify(&mut |_, _, _| {}).into_iter().map(|outcome| outcome.result.unwrap()))
}

/// The last of the tables: fixtures have Lance's own `__manifest` before it.
fn only<T>(all: impl Iterator<Item = T>) -> T {
    all.last().unwrap()
}

/// Every live row by its id, as Lance reads it: all columns in one text. Fails when anything cannot be read.
pub(super) fn rows(table: &Path) -> BTreeMap<String, String> {
    let uri = table.to_str().unwrap();
    let batches: Vec<RecordBatch> = block(async {
        let dataset = Dataset::open(uri).await.unwrap();
        let stream = dataset.scan().try_into_stream().await.unwrap();
        stream.try_collect().await.unwrap()
    });
    let mut rows = BTreeMap::new();
    for batch in batches {
        let ids = batch.column_by_name("id").unwrap().as_string::<i32>().clone();
        for at in 0..batch.num_rows() {
            let row = batch.slice(at, 1);
            let text: String = row.columns().iter().map(|column| format!("{column:?}\n")).collect();
            assert!(rows.insert(ids.value(at).to_owned(), text).is_none(), "{} is there twice", ids.value(at));
        }
    }
    rows
}

/// The checksum of the fixtures: SHA-256 over `<id>\t<fact>\n`, sorted by id.
pub(super) fn checksum(table: &Path) -> String {
    let uri = table.to_str().unwrap();
    let batches: Vec<RecordBatch> = block(async {
        let dataset = Dataset::open(uri).await.unwrap();
        let mut scanner = dataset.scan();
        scanner.project(&["id", "fact"]).unwrap();
        scanner.try_into_stream().await.unwrap().try_collect().await.unwrap()
    });
    let mut lines = Vec::new();
    for batch in batches {
        let (ids, facts) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        lines.extend(ids.iter().zip(facts).map(|(id, fact)| format!("{}\t{}\n", id.unwrap(), fact.unwrap())));
    }
    lines.sort();
    Digest32::of(lines.concat().as_bytes()).hex()
}

/// Blocks in use below a directory, by `du`.
pub(super) fn allocated(dir: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// What the newest version names, by lengths: data, deletion and index files, and its manifest.
pub(super) fn live(table: &Path) -> u64 {
    let uri = table.to_str().unwrap();
    let length = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.size());
    block(async {
        let dataset = Dataset::open(uri).await.unwrap();
        let mut live = length(table.join("_versions").join(dataset.manifest_location().path.filename().unwrap()));
        for fragment in dataset.fragments().iter() {
            live += fragment.files.iter().map(|file| length(table.join("data").join(&file.path))).sum::<u64>();
            if let Some(file) = &fragment.deletion_file {
                live += length(table.join(relative_deletion_file_path(fragment.id, file)));
            }
        }
        for index in dataset.load_indices().await.unwrap().iter() {
            let mut files = Vec::new();
            files_below(&table.join("_indices").join(index.uuid.to_string()), &mut files);
            live += files.into_iter().map(length).sum::<u64>();
        }
        live
    })
}

/// The bound after a prune and a compaction.
#[track_caller]
pub(super) fn check_bound(table: &Path) {
    let (allocated, live) = (allocated(table), live(table));
    assert!(allocated <= live * 13 / 10 + (1 << 20), "{allocated} allocated, {live} live");
}

/// Overwrites bytes of a file, keeping its length.
pub(super) fn spoil(path: &Path, range: std::ops::Range<usize>) {
    let mut bytes = fs::read(path).unwrap();
    bytes[range].fill(0xff);
    fs::write(path, bytes).unwrap();
}

pub(super) fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Unpacks a fixture, or says that there are none.
pub(super) fn fixture(name: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let here = std::env::current_dir().unwrap();
    let archive = here.join("../../../shared/fixtures").join(format!("{name}.tar.gz"));
    if !archive.is_file() {
        eprintln!("SKIPPED: {} is not there", archive.display());
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(dir.path()).status().unwrap();
    assert!(done.success());
    let path = dir.path().canonicalize().unwrap().join(name);
    Some((dir, path))
}

/// What `expected.json` says of a fixture.
pub(super) fn expected(name: &str) -> serde_json::Value {
    let here = std::env::current_dir().unwrap();
    let text = fs::read(here.join("../../../shared/fixtures/expected.json")).unwrap();
    let all: serde_json::Value = serde_json::from_slice(&text).unwrap();
    all["fixtures"][name].clone()
}
