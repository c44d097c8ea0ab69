//! Embeddings on disk, outside the index: what was paid for once is not paid for again.
//!
//! `<dir>/<model>-<digest>-<dimension>/<0…f>.vec`: one [`Shelf`] per model and dimension, sixteen append-only files by the
//! first digit of the text's SHA-256. A file is a row of records of one size, so that damage never spreads:
//!
//! | bytes | |
//! |---|---|
//! | 4 | `EVE1` |
//! | 4 | first bytes of the SHA-256 of model name and dimension |
//! | 32 | SHA-256 of the text |
//! | 4 × dimension | `f32`, little endian |
//! | 8 | first bytes of the SHA-256 of the 32 + 4 × dimension bytes before |
//!
//! Invariant: reading never fails and never returns a wrong vector. A torn tail, flipped bytes, a truncated, deleted or
//! foreign file make the entries concerned misses, which are counted; the next writer cuts a torn tail off and appends.
//! Opening touches nothing; a file is read once, at its first use, to learn where its keys are (about 30 bytes of memory
//! per entry), and forgotten again when too many are known.
//!
//! Collecting moves entries from the end of a file into holes and cuts the file: it needs no free space, so it works on a
//! full disk. A crash on the way leaves an entry twice, which is harmless. Writes are made durable every few seconds or
//! megabytes, not each: after a power failure the last few texts are embedded again.
//!
//! One process writes (it holds the root's lock); its threads share a shelf freely.

use evermark_core::embed::ModelId;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use evermark_core::world::World;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const MAGIC: [u8; 4] = *b"EVE1";
const HEAD: usize = 8;
const KEY: usize = 32;
const CHECK: usize = 8;
const SHARDS: usize = 16;

/// Bytes read or written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Known places over all files of a shelf before the least recently used file's are forgotten: about 120 MB.
const PLACES_MAX: usize = 4_000_000;

/// Unsynced bytes and time after which a write waits for the disk.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
const UNSYNCED_MAX: Duration = Duration::from_secs(5);

/// Why embeddings could not be kept. The caller has the vectors and goes on.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot keep embeddings in {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot collect embeddings in {}", path.display())]
    Collect { path: PathBuf, source: io::Error },
    #[error("cannot remove embeddings in {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("a vector of {found} components is no vector of model `{model}` with {expected}")]
    WrongDimension { model: String, expected: usize, found: usize },
}

impl CacheError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { source, .. } | Self::Collect { source, .. } | Self::Remove { source, .. } => {
                ErrorKind::of_io(source).unwrap_or(ErrorKind::Unavailable)
            }
            Self::WrongDimension { .. } => ErrorKind::Invalid,
        }
    }
}

/// All shelves of a root.
pub struct Cache {
    dir: PathBuf,
    world: Arc<dyn World>,
    shelves: Mutex<HashMap<ModelId, Arc<Shelf>>>,
}

/// A model's directory as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The directory's name: what [`Cache::remove`] takes.
    pub name: String,
    pub size_bytes: u64,
}

impl Cache {
    /// Returns the cache in `dir`, which need not exist. Nothing is read or written yet.
    pub fn open(dir: impl Into<PathBuf>, world: Arc<dyn World>) -> Self {
        Self { dir: dir.into(), world, shelves: Mutex::default() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn world(&self) -> &Arc<dyn World> {
        &self.world
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<ModelId, Arc<Shelf>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the embeddings of one model; the same shelf each time.
    pub fn shelf(&self, model: &ModelId) -> Arc<Shelf> {
        let mut shelves = self.shelves();
        let new = || Arc::new(Shelf::new(&self.dir, model.clone(), Arc::clone(&self.world)));
        Arc::clone(shelves.entry(model.clone()).or_insert_with(new))
    }

    /// Returns what lies on disk, by name; a directory that cannot be read shows with the bytes that can be seen.
    pub fn kept(&self) -> Vec<Kept> {
        let mut kept: Vec<Kept> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok().map(|name| (name, entry.path())))
            .map(|(name, path)| Kept { name, size_bytes: bytes_in(&path) })
            .collect();
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        kept
    }

    /// Removes a model's embeddings by the name [`Self::kept`] gives, and returns the bytes freed.
    pub fn remove(&self, name: &str) -> Result<u64, CacheError> {
        let Some(kept) = self.kept().into_iter().find(|kept| kept.name == name) else { return Ok(0) };
        let path = self.dir.join(&kept.name);
        let mut shelves = self.shelves();
        for shelf in shelves.values().filter(|shelf| shelf.dir == path) {
            shelf.forget();
        }
        shelves.retain(|_, shelf| shelf.dir != path);
        fs::remove_dir_all(&path).map_err(|source| CacheError::Remove { path, source })?;
        Ok(kept.size_bytes)
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// What a shelf holds and how it has served since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records on disk, damaged and doubled ones included.
    pub entries: u64,
    pub size_bytes: u64,
    /// Records whose places are in memory.
    pub known: u64,
    pub hits: u64,
    pub misses: u64,
    /// Records found damaged: each is a miss that need not have been.
    pub damaged: u64,
    /// Files that could not be opened or read.
    pub unreadable: u64,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub kept: u64,
    /// Dead, doubled and damaged records.
    pub removed: u64,
    /// Bytes given back.
    pub bytes: u64,
}

/// The embeddings of one model and dimension.
pub struct Shelf {
    model: ModelId,
    dir: PathBuf,
    tag: [u8; 4],
    world: Arc<dyn World>,
    shards: Vec<Mutex<Shard>>,
    /// Keys used since [`Self::begin_collect`].
    touched: Mutex<Option<HashSet<Digest32>>>,
    uses: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    unreadable: AtomicU64,
}

struct Shard {
    path: PathBuf,
    open: Option<Open>,
    used: u64,
    /// Its name may not be on the disk yet.
    is_new: bool,
    unsynced_bytes: u64,
    synced_at: Duration,
}

/// A file whose keys are known.
struct Open {
    file: Arc<File>,
    /// Part of the key → position counted in records. Keys are SHA-256: two alike in 64 bits do not occur, and if they
    /// did, the later would hide the earlier.
    places: HashMap<u64, u32, BuildHasherDefault<Same>>,
    records: u32,
}

/// Keys are hashes already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

fn shard_of(key: &Digest32) -> usize {
    usize::from(key.0[0] >> 4)
}

fn place_key(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key[1..9]);
    u64::from_le_bytes(bytes)
}

impl Shelf {
    fn new(root: &Path, model: ModelId, world: Arc<dyn World>) -> Self {
        let identity = Digest32::of(format!("{}\n{}", model.name, model.dimension).as_bytes());
        let slug: String = model
            .name
            .chars()
            .take(40)
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let dir = root.join(format!("{}-{}-{}", slug.trim_matches('-'), &identity.hex()[..8], model.dimension));
        let shard = |n: usize| Shard {
            path: dir.join(format!("{n:x}.vec")),
            open: None,
            used: 0,
            is_new: false,
            unsynced_bytes: 0,
            synced_at: world.monotonic(),
        };
        let shards = (0..SHARDS).map(|n| Mutex::new(shard(n))).collect();
        let mut tag = [0; 4];
        tag.copy_from_slice(&identity.0[..4]);
        Self {
            model,
            dir,
            tag,
            world,
            shards,
            touched: Mutex::default(),
            uses: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
        }
    }

    pub fn model(&self) -> &ModelId {
        &self.model
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn record_bytes(&self) -> usize {
        HEAD + KEY + 4 * self.model.dimension + CHECK
    }

    fn shard(&self, n: usize) -> MutexGuard<'_, Shard> {
        let mut shard = self.shards[n].lock().unwrap_or_else(PoisonError::into_inner);
        shard.used = self.uses.fetch_add(1, Ordering::Relaxed);
        shard
    }

    fn touch(&self, keys: impl Iterator<Item = Digest32>) {
        if let Some(touched) = &mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner) {
            touched.extend(keys);
        }
    }

    /// Returns the vector of each text known by its SHA-256, in order.
    pub fn get_many(&self, keys: &[Digest32]) -> Vec<Option<Vec<f32>>> {
        let mut vectors: Vec<Option<Vec<f32>>> = keys.iter().map(|_| None).collect();
        let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); SHARDS];
        for (at, key) in keys.iter().enumerate() {
            wanted[shard_of(key)].push(at);
        }
        let mut record = vec![0; self.record_bytes()];
        for (n, wanted) in wanted.iter().enumerate().filter(|(_, wanted)| !wanted.is_empty()) {
            let (file, mut places) = {
                let mut shard = self.shard(n);
                let Some(open) = self.known(&mut shard) else { continue };
                let place = |at: &usize| open.places.get(&place_key(&keys[*at].0)).map(|place| (*place, *at));
                (Arc::clone(&open.file), wanted.iter().filter_map(place).collect::<Vec<_>>())
            };
            places.sort_unstable();
            for (place, at) in places {
                vectors[at] = self
                    .read(&file, place, &keys[at], &mut record)
                    .or_else(|| self.read_again(n, place, &keys[at], &mut record));
            }
        }
        let found = || keys.iter().zip(&vectors).filter(|(_, vector)| vector.is_some()).map(|(key, _)| *key);
        self.touch(found());
        let hits = found().count() as u64;
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(keys.len() as u64 - hits, Ordering::Relaxed);
        vectors
    }

    /// Keeps vectors; those already kept are left as they are. Returns how many were new.
    ///
    /// Errors: [`ErrorKind::NoSpace`] on a full disk; what could be kept of the others is kept.
    pub fn put_many(&self, entries: &[(Digest32, &[f32])]) -> Result<usize, CacheError> {
        if let Some((_, vector)) = entries.iter().find(|(_, vector)| vector.len() != self.model.dimension) {
            let (model, expected) = (self.model.name.clone(), self.model.dimension);
            return Err(CacheError::WrongDimension { model, expected, found: vector.len() });
        }
        self.touch(entries.iter().map(|(key, _)| *key));
        let mut wanted: Vec<Vec<(&Digest32, &[f32])>> = vec![Vec::new(); SHARDS];
        for (key, vector) in entries {
            wanted[shard_of(key)].push((key, vector));
        }
        let (mut new, mut failure) = (0, None);
        for (n, entries) in wanted.iter().enumerate().filter(|(_, entries)| !entries.is_empty()) {
            let mut shard = self.shard(n);
            match self.append(&mut shard, entries) {
                Ok(appended) => new += appended,
                Err(source) => {
                    failure.get_or_insert(CacheError::Write { path: shard.path.clone(), source });
                }
            }
        }
        failure.map_or(Ok(new), Err)
    }

    /// Waits until everything written is on the disk.
    pub fn sync(&self) -> Result<(), CacheError> {
        for n in 0..SHARDS {
            let mut shard = self.shard(n);
            let synced = self.sync_shard(&mut shard);
            synced.map_err(|source| CacheError::Write { path: shard.path.clone(), source })?;
        }
        Ok(())
    }

    /// Begins a collection: from now on, entries that are used are remembered and outlive [`Self::collect`]. To be called
    /// before the caller finds out what is live, so that what is embedded meanwhile is not lost.
    pub fn begin_collect(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Some(HashSet::new());
    }

    /// Removes entries that are neither live nor used since [`Self::begin_collect`], and damaged ones. Needs no free space.
    pub fn collect(&self, live: &dyn Fn(&Digest32) -> bool) -> Result<Collected, CacheError> {
        let mut collected = Collected::default();
        for n in 0..SHARDS {
            let mut shard = self.shard(n);
            let path = shard.path.clone();
            let failed = |source| CacheError::Collect { path: path.clone(), source };
            self.collect_shard(&mut shard, live, &mut collected).map_err(failed)?;
        }
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(collected)
    }

    /// Forgets where entries are and closes the files; they are read again when needed.
    pub fn forget(&self) {
        for n in 0..SHARDS {
            let mut shard = self.shard(n);
            // What is not synced yet gets there by itself, as after a crash of the process.
            shard.open = None;
        }
    }

    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
            ..Stats::default()
        };
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = fs::metadata(&shard.path).map_or(0, |metadata| metadata.len());
            stats.size_bytes += bytes;
            stats.entries += bytes / self.record_bytes() as u64;
            stats.known += shard.open.as_ref().map_or(0, |open| open.places.len() as u64);
        }
        stats
    }

    // ---- one file

    /// Opens the file and learns its keys, unless that is done. `None` when there is no file, or none that can be read.
    fn known<'a>(&self, shard: &'a mut Shard) -> Option<&'a mut Open> {
        if shard.open.is_none() {
            match self.load(&shard.path) {
                Ok(open) => {
                    self.make_room(open.places.len());
                    shard.open = Some(open);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.unreadable.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(path = %shard.path.display(), %error, "embeddings cannot be read; they are made again");
                }
            }
        }
        shard.open.as_mut()
    }

    fn load(&self, path: &Path) -> io::Result<Open> {
        // A pipe in this place would never open.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let file = OpenOptions::new().read(true).write(true).open(path).or_else(|_| File::open(path))?;
        let records = u32::try_from(file.metadata()?.len() / self.record_bytes() as u64).unwrap_or(u32::MAX);
        let mut open = Open { file: Arc::new(file), places: HashMap::default(), records };
        open.places.reserve(records as usize);
        let mut damaged = 0;
        let file = Arc::clone(&open.file);
        self.scan(&file, records, |place, record| {
            // The checksum is looked at when the entry is used.
            let key = &record[HEAD..HEAD + KEY];
            if self.has_head(record) && open_shard_name(key) == path.file_stem().and_then(|stem| stem.to_str()) {
                open.places.insert(place_key(key), place);
            } else {
                damaged += 1;
            }
        })?;
        self.damaged.fetch_add(damaged, Ordering::Relaxed);
        open.places.shrink_to_fit();
        Ok(open)
    }

    /// Calls `see` with each record of the file in order.
    fn scan(&self, file: &File, records: u32, mut see: impl FnMut(u32, &[u8])) -> io::Result<()> {
        let size = self.record_bytes();
        let at_once = (CHUNK_BYTES / size).max(1);
        let mut chunk = vec![0; at_once * size];
        let mut place = 0;
        while place < records {
            let count = at_once.min((records - place) as usize);
            let chunk = &mut chunk[..count * size];
            read_at(file, chunk, u64::from(place) * size as u64)?;
            for record in chunk.chunks_exact(size) {
                see(place, record);
                place += 1;
            }
        }
        Ok(())
    }

    fn has_head(&self, record: &[u8]) -> bool {
        record[..4] == MAGIC && record[4..HEAD] == self.tag
    }

    fn is_whole(&self, record: &[u8]) -> bool {
        let (body, check) = record[HEAD..].split_at(KEY + 4 * self.model.dimension);
        self.has_head(record) && Digest32::of(body).0[..CHECK] == *check
    }

    fn read(&self, file: &File, place: u32, key: &Digest32, record: &mut [u8]) -> Option<Vec<f32>> {
        read_at(file, record, u64::from(place) * record.len() as u64).ok()?;
        if record[HEAD..HEAD + KEY] != key.0 || !self.is_whole(record) {
            return None;
        }
        let (values, _) = record[HEAD + KEY..record.len() - CHECK].as_chunks::<4>();
        Some(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    /// Reads an entry that could not be read: it may have moved meanwhile; otherwise it is damaged and forgotten.
    fn read_again(&self, n: usize, before: u32, key: &Digest32, record: &mut [u8]) -> Option<Vec<f32>> {
        let mut shard = self.shard(n);
        let open = self.known(&mut shard)?;
        let place = *open.places.get(&place_key(&key.0))?;
        let vector = self.read(&open.file, place, key, record);
        if vector.is_none() && place == before {
            open.places.remove(&place_key(&key.0));
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        vector
    }

    /// Forgets files that were not used for long, as long as too many places would be known with `more`.
    fn make_room(&self, more: usize) {
        // Files in use, the one being opened among them, are locked; they are recent anyway.
        let mut others: Vec<(u64, usize, MutexGuard<'_, Shard>)> = self
            .shards
            .iter()
            .filter_map(|shard| shard.try_lock().ok())
            .filter_map(|shard| Some((shard.used, shard.open.as_ref()?.places.len(), shard)))
            .collect();
        others.sort_by_key(|(used, ..)| *used);
        let mut total = more + others.iter().map(|(_, known, _)| known).sum::<usize>();
        for (_, known, mut shard) in others {
            if total <= PLACES_MAX {
                return;
            }
            shard.open = None;
            total -= known;
        }
    }

    fn append(&self, shard: &mut Shard, entries: &[(&Digest32, &[f32])]) -> io::Result<usize> {
        let size = self.record_bytes() as u64;
        // Somebody may have deleted or cut the file while it was open.
        if let Some(open) = &shard.open {
            let expected = u64::from(open.records) * size;
            if !fs::metadata(&shard.path).is_ok_and(|metadata| metadata.len() == expected) {
                shard.open = None;
            }
        }
        if self.known(shard).is_none() {
            self.create(shard)?;
        }
        let Some(open) = &mut shard.open else { return Err(io::Error::other("cannot be read")) };
        let mut bytes = Vec::new();
        let mut new: Vec<u64> = Vec::new();
        let mut seen: HashSet<u64> = HashSet::new();
        for (key, vector) in entries {
            let place_key = place_key(&key.0);
            if open.places.contains_key(&place_key) || !seen.insert(place_key) {
                continue;
            }
            new.push(place_key);
            bytes.extend(MAGIC);
            bytes.extend(self.tag);
            let body = bytes.len();
            bytes.extend(key.0);
            bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
            let check = Digest32::of(&bytes[body..]);
            bytes.extend(&check.0[..CHECK]);
        }
        let end = u64::from(open.records) * size;
        // Cuts a torn tail, so that what follows stays in step.
        if open.file.metadata()?.len() != end {
            open.file.set_len(end)?;
        }
        let written = self.world.reach("cache.append").and_then(|()| write_at(&open.file, &bytes, end));
        if let Err(error) = written {
            // If this fails too, the next append cuts the rest off.
            drop(open.file.set_len(end));
            return Err(error);
        }
        for place_key in &new {
            open.places.insert(*place_key, open.records);
            open.records += 1;
        }
        shard.unsynced_bytes += bytes.len() as u64;
        let waited = self.world.monotonic().saturating_sub(shard.synced_at);
        if shard.unsynced_bytes > UNSYNCED_BYTES_MAX || waited > UNSYNCED_MAX {
            self.sync_shard(shard)?;
        }
        Ok(new.len())
    }

    fn create(&self, shard: &mut Shard) -> io::Result<()> {
        self.world.reach("cache.create")?;
        fs::create_dir_all(&self.dir)?;
        let note = self.dir.join("README.txt");
        if !note.exists() {
            let text = format!(
                "Embeddings made by the model below. They may be deleted at any time and are then made again.\nmodel: {}\ndimension: {}\n",
                self.model.name, self.model.dimension
            );
            // For people only: whether it can be written does not matter.
            drop(File::create(&note).and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes())));
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&shard.path)?;
        shard.is_new = true;
        shard.open = Some(Open { file: Arc::new(file), places: HashMap::default(), records: 0 });
        Ok(())
    }

    fn sync_shard(&self, shard: &mut Shard) -> io::Result<()> {
        shard.synced_at = self.world.monotonic();
        if shard.unsynced_bytes > 0
            && let Some(open) = &shard.open
        {
            open.file.sync_data()?;
            if shard.is_new {
                sync_dir(&self.dir)?;
                shard.is_new = false;
            }
        }
        shard.unsynced_bytes = 0;
        Ok(())
    }

    fn collect_shard(
        &self,
        shard: &mut Shard,
        live: &dyn Fn(&Digest32) -> bool,
        collected: &mut Collected,
    ) -> io::Result<()> {
        let size = self.record_bytes();
        // What lies there now counts, not what was known of it.
        shard.open = None;
        let Some(open) = self.known(shard) else { return Ok(()) };
        let mut keep = vec![false; open.records as usize];
        {
            let touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            let used = |key: &Digest32| touched.as_ref().is_some_and(|touched| touched.contains(key));
            self.scan(&open.file, open.records, |place, record| {
                let mut key = Digest32([0; 32]);
                key.0.copy_from_slice(&record[HEAD..HEAD + KEY]);
                let is_newest = open.places.get(&place_key(&key.0)) == Some(&place);
                keep[place as usize] = is_newest && self.is_whole(record) && (live(&key) || used(&key));
            })?;
        }
        let kept = keep.iter().filter(|keep| **keep).count();
        collected.kept += kept as u64;
        collected.removed += (keep.len() - kept) as u64;

        // From now on places in memory are not true; they are learned again.
        let (file, records) = (Arc::clone(&open.file), open.records);
        let mut record = vec![0; size];
        let mut from = keep.len();
        for to in 0..kept {
            if keep[to] {
                continue;
            }
            from = keep[..from].iter().rposition(|keep| *keep).unwrap_or(to);
            read_at(&file, &mut record, (from * size) as u64)?;
            self.world.reach("cache.collect.move")?;
            write_at(&file, &record, (to * size) as u64)?;
        }
        let end = (kept * size) as u64;
        let length = file.metadata()?.len();
        if from < keep.len() {
            shard.open = None;
            // The copies must be there before the originals go.
            file.sync_data()?;
        }
        self.world.reach("cache.collect.cut")?;
        if length > end {
            shard.open = None;
            file.set_len(end)?;
            file.sync_data()?;
            collected.bytes += length - end;
        }
        if records == 0 || kept == 0 {
            shard.open = None;
        }
        Ok(())
    }
}

/// Returns the name of the file a key belongs to.
fn open_shard_name(key: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; SHARDS] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];
    NAMES.get(usize::from(key[0] >> 4)).copied()
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Windows has no such call; it writes names with the files.
#[cfg(windows)]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (bytes, offset) = (&mut bytes[n..], offset + n as u64),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        (bytes, offset) = (&bytes[n..], offset + n as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
