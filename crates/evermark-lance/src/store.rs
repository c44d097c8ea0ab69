//! The durable half: a memtable over one Lance table, its directory, and the writer that keeps the three in step.
//!
//! Flow of a write: `upsert` puts rows into `pending`; `flush` moves them to `flushing`, writes files, commits, and swaps
//! snapshot and directory in one step under the state lock. At every moment a row is found in exactly one of the
//! three places, newest first: pending, flushing, directory. Whatever fails before the swap puts the rows back.
//!
//! One mutex orders writers (flush, upkeep, reload); readers only take the state lock, for as long as copying a few words
//! takes. A reader holds the snapshot it reads; its files stay until it lets go.

mod upkeep;

use crate::directory::{Address, ByFingerprint, Directory, Entry, Ranges, key_of, owner_of, ranges};
use crate::error::{corrupt, failed};
use crate::generation::Generation;
use crate::index::Options;
use crate::room::{Lost, Room};
use crate::rows;
use crate::sweep;
use crate::table::{self, Deletions, Snapshot, Table};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use evermark_core::error::ErrorKind;
use evermark_core::id::{Kind, MemoryKey, Owner};
use evermark_core::index::{IndexError, Indexable};
use evermark_core::memory::{Digest32, Memory};
use evermark_core::world::World;
use futures::future::try_join_all;
use lance::Dataset;
use lance_table::format::Fragment;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Rows encoded at once.
const CHUNK_ROWS: usize = 4096;

/// A row that waits to be written, or to be gone.
#[derive(Clone)]
pub(crate) enum Change {
    Put(Arc<Indexable>),
    Gone(MemoryKey),
}

#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    pub(crate) change: Change,
}

type Changes = ByFingerprint<Pending>;

struct State {
    snapshot: Snapshot,
    /// Read at first need; `None` again when the table has changed behind our back.
    directory: Option<Directory>,
    pending: Changes,
    flushing: Arc<Changes>,
}

impl State {
    fn change(&self, key: u64) -> Option<&Pending> {
        self.pending.get(&key).or_else(|| self.flushing.get(&key))
    }

    /// Returns what waits, newest only.
    fn changes(&self) -> impl Iterator<Item = &Pending> {
        let older = self.flushing.values().filter(|change| !self.pending.contains_key(&change.entry.key));
        self.pending.values().chain(older)
    }
}

#[derive(Default)]
struct Writer {
    /// A write nobody waits for any more: until it has ended, nobody knows what the table holds.
    abandoned: Option<JoinHandle<()>>,
    /// Whether the table may hold other than `State` believes.
    stale: bool,
    /// Whether there may be something to reclaim.
    dirty: bool,
    /// Versions that a reader may still hold.
    superseded: Vec<Weak<Dataset>>,
}

pub(crate) struct Store {
    dir: PathBuf,
    table: Arc<Table>,
    schema: SchemaRef,
    pub(crate) dimension: Option<usize>,
    pending_rows_max: usize,
    deadline: Duration,
    world: Arc<dyn World>,
    room: Room,
    state: Mutex<State>,
    writer: Mutex<Writer>,
}

/// What a reader needs to read an owner's rows as of one moment.
pub(crate) struct OwnerRows {
    pub(crate) snapshot: Snapshot,
    /// Rows on disk that no waiting change replaces, per fragment.
    pub(crate) ranges: Vec<(u64, Ranges)>,
    pub(crate) n_rows: usize,
    pub(crate) waiting: Vec<Arc<Indexable>>,
}

impl Store {
    pub(crate) fn open(dir: &Path, options: &Options, world: Arc<dyn World>) -> Result<Self, IndexError> {
        let Options { dimension, pending_rows_max, deadline, .. } = *options;
        let path = dir.join("memories.lance");
        std::fs::create_dir_all(dir).map_err(|error| failed("make the index's directory", error))?;
        sweep::empty(&dir.join("tmp"))?;
        std::fs::create_dir_all(dir.join("tmp"))
            .map_err(|error| failed("make the index's scratch directory", error))?;
        let schema = rows::schema(dimension)?;
        let table = Arc::new(Table::new(path.clone(), Arc::clone(&schema)));
        let room = Room::new()?;
        let generation = Generation::read(dir)?;
        if let Some(generation) = &generation {
            generation.check(dimension)?;
        }
        let exists = sweep::versions(&path) > 0;
        if generation.is_some() && !exists {
            return Err(corrupt("the index's table is gone"));
        }
        let opened = {
            let table = Arc::clone(&table);
            let task = async move { if exists { table.open().await } else { table.create().await } };
            room.run("open the index", deadline, task)
        };
        let snapshot = opened.map_err(IndexError::from)?;
        if generation.is_none() {
            // A crash between the table and this file leaves an empty table; anything else was not made by us.
            if snapshot.fragments().iter().next().is_some() {
                return Err(corrupt("the index's generation.json is gone"));
            }
            Generation::new(dimension, world.now_us()).write(dir)?;
        }
        let state =
            State { snapshot, directory: None, pending: Changes::default(), flushing: Arc::new(Changes::default()) };
        Ok(Self {
            dir: dir.to_owned(),
            table,
            schema,
            dimension,
            pending_rows_max,
            deadline,
            world,
            room,
            state: Mutex::new(state),
            // Debris of a crash waits for the first round.
            writer: Mutex::new(Writer { dirty: true, ..Writer::default() }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts changes. `apply` runs with them under the state lock: what it does happens at the same moment.
    ///
    /// Errors: those of [`Self::flush`], when too much waits already; nothing is accepted then.
    pub(crate) fn accept(&self, changes: Vec<Pending>, apply: impl FnOnce(&[Pending])) -> Result<(), IndexError> {
        if self.state().pending.len() >= self.pending_rows_max {
            self.flush()?;
        }
        let mut state = self.state();
        apply(&changes);
        state.pending.extend(changes.into_iter().map(|change| (change.entry.key, change)));
        Ok(())
    }

    /// Makes everything accepted so far durable, in one commit.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        let mut writer = self.writer();
        self.settle(&mut writer)?;
        self.know(&mut writer)?;
        let (at, changes, replaced) = {
            let mut state = self.state();
            if state.pending.is_empty() {
                return Ok(());
            }
            let changes = Arc::new(std::mem::take(&mut state.pending));
            state.flushing = Arc::clone(&changes);
            let directory = state.directory.as_ref();
            let mut replaced: Vec<(Entry, Address)> = changes
                .values()
                .filter_map(|change| Some((change.entry, directory?.find(change.entry.key)?)))
                .collect();
            replaced.sort_unstable_by_key(|(_, address)| *address);
            (Arc::clone(&state.snapshot), changes, replaced)
        };
        let flushed = self.write(&mut writer, &at, &changes, &replaced);
        let mut state = self.state();
        state.flushing = Arc::new(Changes::default());
        if flushed.is_err() {
            // What was accepted meanwhile is newer.
            for (key, change) in changes.iter() {
                state.pending.entry(*key).or_insert_with(|| change.clone());
            }
        }
        flushed
    }

    fn write(
        &self,
        writer: &mut Writer,
        at: &Snapshot,
        changes: &Changes,
        replaced: &[(Entry, Address)],
    ) -> Result<(), IndexError> {
        let mut puts: Vec<(Entry, &Indexable)> = changes
            .values()
            .filter_map(|pending| match &pending.change {
                Change::Put(row) => Some((pending.entry, row.as_ref())),
                Change::Gone(_) => None,
            })
            .collect();
        if puts.is_empty() && replaced.is_empty() {
            return Ok(()); // only rows that were never there are gone
        }
        // An owner's rows lie together, so that loading it reads few pages.
        puts.sort_by(|(a, left), (b, right)| {
            (a.owner, a.kind, &left.memory.id).cmp(&(b.owner, b.kind, &right.memory.id))
        });
        let batches =
            puts.chunks(CHUNK_ROWS).map(|chunk| rows::encode(chunk, &self.schema)).collect::<Result<Vec<_>, _>>()?;
        let entries: Vec<Entry> = puts.iter().map(|(entry, _)| *entry).collect();
        let removed: Vec<Address> = replaced.iter().map(|(_, address)| *address).collect();
        writer.dirty = true;
        let (fresh, deletions) = {
            let (table, at, world) = (Arc::clone(&self.table), Arc::clone(at), Arc::clone(&self.world));
            self.run(writer, "write to the index", async move {
                world.reach("lance.writing").map_err(|error| failed("write to the index", error))?;
                let fresh = table.append(&at, batches).await?;
                Ok((fresh, table.delete(&at, &removed).await?))
            })?
        };
        self.reach("lance.appended")?;
        self.commit(writer, at, fresh, deletions, |directory, addresses| {
            directory.remove(&replaced.iter().map(|(entry, _)| *entry).collect::<Vec<_>>());
            entries
                .iter()
                .zip(addresses)
                .fold(true, |fine, (entry, address)| directory.insert(*entry, *address) && fine)
        })
    }

    /// Commits, and swaps the state over when the version is there. `update` gets the new rows' addresses in order.
    fn commit(
        &self,
        writer: &mut Writer,
        at: &Snapshot,
        fresh: Vec<Fragment>,
        deletions: Deletions,
        update: impl FnOnce(&mut Directory, &[Address]) -> bool,
    ) -> Result<(), IndexError> {
        let files: Vec<(String, usize)> = fresh
            .iter()
            .map(|fragment| {
                let name = fragment.files.first().map(|file| file.path.clone()).unwrap_or_default();
                (name, fragment.physical_rows.unwrap_or_default())
            })
            .collect();
        let committed = {
            let (table, at) = (Arc::clone(&self.table), Arc::clone(at));
            self.run(writer, "commit to the index", async move { table.commit(&at, fresh, deletions).await })
        };
        let snapshot = match committed {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // The manifest may be there or not: look before the next write.
                writer.stale = true;
                return Err(error);
            }
        };
        {
            let mut state = self.state();
            let addresses = place(&snapshot, &files);
            // Somebody else's commit in between moves nothing of ours, but we know nothing of theirs.
            let alone = snapshot.manifest().version == at.manifest().version + 1;
            let known = match (&mut state.directory, addresses) {
                (Some(directory), Some(addresses)) if alone => update(directory, &addresses),
                _ => false,
            };
            if !known {
                tracing::warn!("the index's table was changed by somebody else: reading it again");
                state.directory = None;
            }
            writer.superseded.push(Arc::downgrade(&state.snapshot));
            state.snapshot = Arc::clone(&snapshot);
        }
        self.reach("lance.committed")?;
        self.table.sync_manifest(&snapshot)
    }

    fn reach(&self, point: &'static str) -> Result<(), IndexError> {
        self.world.reach(point).map_err(|error| failed("write to the index", error))
    }

    fn run<T: Send + 'static>(
        &self,
        writer: &mut Writer,
        doing: &str,
        task: impl Future<Output = Result<T, IndexError>> + Send + 'static,
    ) -> Result<T, IndexError> {
        self.room.run(doing, self.deadline, task).map_err(|lost| match lost {
            Lost::Failed(error) => error,
            Lost::Abandoned(handle, error) => {
                writer.abandoned = Some(handle);
                error
            }
        })
    }

    /// Makes sure that nothing of ours is still writing and that the state is what the table holds.
    fn settle(&self, writer: &mut Writer) -> Result<(), IndexError> {
        if let Some(handle) = &writer.abandoned {
            if !handle.is_finished() {
                return Err(IndexError::new(
                    ErrorKind::Unavailable,
                    "an earlier write to the index hangs and may still land: the index only reads until it ends",
                ));
            }
            writer.abandoned = None;
            writer.stale = true;
        }
        if !writer.stale {
            return Ok(());
        }
        let table = Arc::clone(&self.table);
        let snapshot = self.run(writer, "open the index again", async move { table.open().await })?;
        let mut state = self.state();
        writer.superseded.push(Arc::downgrade(&state.snapshot));
        state.snapshot = snapshot;
        state.directory = None;
        drop(state);
        writer.stale = false;
        writer.dirty = true;
        Ok(())
    }

    /// Makes sure that the directory is there.
    fn know(&self, writer: &mut Writer) -> Result<(), IndexError> {
        let snapshot = {
            let state = self.state();
            if state.directory.is_some() {
                return Ok(());
            }
            Arc::clone(&state.snapshot)
        };
        let directory =
            self.run(writer, "read the index's directory", async move { table::directory(&snapshot).await })?;
        self.state().directory = Some(directory);
        Ok(())
    }

    /// Runs `look` on a state whose directory is there.
    fn with_directory<T>(&self, look: impl Fn(&State, &Directory) -> T) -> Result<T, IndexError> {
        // Twice at most: only a writer takes a directory away, and it brings it back before it lets go.
        for _ in 0..2 {
            {
                let state = self.state();
                if let Some(directory) = &state.directory {
                    return Ok(look(&state, directory));
                }
            }
            let mut writer = self.writer();
            self.know(&mut writer)?;
        }
        Err(IndexError::new(ErrorKind::Unavailable, "the index is being changed by somebody else"))
    }

    /// Reads where an owner's rows are and which wait; `register` runs at the same moment.
    pub(crate) fn owner_rows(&self, owner: &Owner, register: impl Fn()) -> Result<OwnerRows, IndexError> {
        let owner = owner_of(owner);
        self.with_directory(|state, directory| {
            register();
            let mut replaced = Vec::new();
            let mut waiting = Vec::new();
            for pending in state.changes().filter(|pending| pending.entry.owner == owner) {
                replaced.extend(directory.find(pending.entry.key));
                if let Change::Put(row) = &pending.change {
                    waiting.push(Arc::clone(row));
                }
            }
            replaced.sort_unstable();
            let rows = directory.owner_rows(owner);
            let rows: Vec<Address> =
                rows.iter().copied().filter(|address| replaced.binary_search(address).is_err()).collect();
            OwnerRows { snapshot: Arc::clone(&state.snapshot), ranges: ranges(&rows), n_rows: rows.len(), waiting }
        })
    }

    /// Returns how many rows of an owner are on disk, as far as that is known.
    pub(crate) fn n_rows_of(&self, owner: u64) -> usize {
        self.state().directory.as_ref().map_or(0, |directory| directory.owner_rows(owner).len())
    }

    /// Reads an owner's rows on disk into `into`, batch by batch, inside the room; ends early when `take` says so.
    pub(crate) fn read_owner<T: Send + 'static>(
        &self,
        rows: &OwnerRows,
        columns: &[&str],
        mut into: T,
        take: impl Fn(&mut T, &RecordBatch) -> Result<(), IndexError> + Send + Sync + 'static,
    ) -> Result<T, IndexError> {
        let (snapshot, ranges) = (Arc::clone(&rows.snapshot), rows.ranges.clone());
        // A generation without vectors has no such column.
        let columns: Vec<String> = columns
            .iter()
            .filter(|name| self.schema.field_with_name(name).is_ok())
            .map(|name| (*name).to_owned())
            .collect();
        let task = async move {
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            for (fragment, ranges) in ranges {
                table::read(&snapshot, fragment, &columns, Some(ranges), &mut |batch| take(&mut into, &batch)).await?;
            }
            Ok(into)
        };
        self.room.run("load a memory owner's rows", self.deadline, task).map_err(Lost::into)
    }

    /// Returns the memories with these ids, in the order asked.
    pub(crate) fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        enum Found {
            Waiting(Arc<Indexable>),
            At(Address),
        }
        let keys: Vec<u64> =
            ids.iter().map(|id| key_of(&MemoryKey { owner: owner.clone(), kind, id: id.clone() })).collect();
        let (snapshot, found) = self.with_directory(|state, directory| {
            let found: Vec<Option<Found>> = keys
                .iter()
                .map(|key| match state.change(*key).map(|pending| &pending.change) {
                    Some(Change::Put(row)) => Some(Found::Waiting(Arc::clone(row))),
                    Some(Change::Gone(_)) => None,
                    None => directory.find(*key).map(Found::At),
                })
                .collect();
            (Arc::clone(&state.snapshot), found)
        })?;
        let mut addresses: Vec<Address> = found
            .iter()
            .filter_map(|found| match found {
                Some(Found::At(address)) => Some(*address),
                _ => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut read: HashMap<u64, Memory> = HashMap::new();
        if !addresses.is_empty() {
            let task = async move {
                let parts = ranges(&addresses).into_iter().map(|(fragment, ranges)| {
                    let snapshot = &snapshot;
                    async move {
                        let mut rows = Vec::new();
                        table::read(snapshot, fragment, &rows::MEMORY_COLUMNS, Some(ranges), &mut |batch| {
                            rows.extend(table::addresses(&batch)?.into_iter().zip(rows::memories(&batch)?));
                            Ok(())
                        })
                        .await?;
                        Ok::<_, IndexError>(rows)
                    }
                });
                try_join_all(parts).await
            };
            let parts = self.room.run("fetch memories", self.deadline, task).map_err(IndexError::from)?;
            read.extend(parts.into_iter().flatten().map(|(address, memory)| (address.0, memory)));
        }
        let memories = found.into_iter().flatten().filter_map(|found| match found {
            Found::Waiting(row) => Some(row.memory.clone()),
            Found::At(address) => read.get(&address.0).cloned(),
        });
        Ok(memories.collect())
    }

    /// Visits every row's key, path and digest.
    pub(crate) fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        let (snapshot, waiting) = {
            let state = self.state();
            let waiting: Changes = state.changes().map(|pending| (pending.entry.key, pending.clone())).collect();
            (Arc::clone(&state.snapshot), waiting)
        };
        for fragment in snapshot.fragments().iter() {
            let (at, id) = (Arc::clone(&snapshot), fragment.id);
            let task = async move {
                let mut rows = Vec::new();
                table::read(&at, id, &rows::IDENTITY_COLUMNS, None, &mut |batch| {
                    rows.extend(rows::identities(&batch)?);
                    Ok(())
                })
                .await?;
                Ok(rows)
            };
            let rows = self.room.run("scan the index", self.deadline, task).map_err(IndexError::from)?;
            for (key, path, digest) in rows {
                if waiting.is_empty() || !waiting.contains_key(&key_of(&key)) {
                    visit(key, &path, digest);
                }
            }
        }
        for pending in waiting.values() {
            if let Change::Put(row) = &pending.change {
                visit(row.memory.key(), &row.memory.path, row.memory.digest());
            }
        }
        Ok(())
    }

    /// Returns rows per kind, waiting changes included, and how many changes wait.
    pub(crate) fn counts(&self) -> Result<(Vec<(Kind, u64)>, u64), IndexError> {
        self.with_directory(|state, directory| {
            let mut counts: Vec<(Kind, u64)> =
                Kind::ALL.into_iter().map(|kind| (kind, directory.count(kind))).collect();
            let mut waiting = 0;
            for pending in state.changes() {
                waiting += 1;
                let count = &mut counts[pending.entry.kind as usize].1;
                match (&pending.change, directory.find(pending.entry.key)) {
                    (Change::Put(_), None) => *count += 1,
                    (Change::Gone(_), Some(_)) => *count -= 1,
                    _ => {}
                }
            }
            (counts, waiting)
        })
    }

    /// Returns versions, fragments, allocated and live bytes.
    pub(crate) fn measure(&self) -> (u64, u64, u64, u64) {
        let snapshot = Arc::clone(&self.state().snapshot);
        let live = sweep::live(&self.table.path, &snapshot);
        let fragments = snapshot.fragments().len() as u64;
        (sweep::versions(&self.table.path), fragments, sweep::allocated(&self.dir), live)
    }
}

/// Returns the addresses of the rows in new files, in the order they were written.
fn place(snapshot: &Snapshot, files: &[(String, usize)]) -> Option<Vec<Address>> {
    let ids: HashMap<&str, u64> = snapshot
        .fragments()
        .iter()
        .filter_map(|fragment| Some((fragment.files.first()?.path.as_str(), fragment.id)))
        .collect();
    let mut addresses = Vec::new();
    for (file, n_rows) in files {
        let id = *ids.get(file.as_str())?;
        addresses.extend((0..u32::try_from(*n_rows).ok()?).map(|offset| Address::new(id, offset)));
    }
    Some(addresses)
}
