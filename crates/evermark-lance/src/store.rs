//! The durable half: a memtable over one Lance table, its directory, and the writer that keeps the three in step.
//!
//! Flow of a write: `upsert` puts rows into `pending`; `flush` moves them to `flushing`, writes files, commits, and swaps
//! snapshot and directory in one step under the state lock. At every moment a row is found in exactly one of the
//! three places, newest first: pending, flushing, directory. Whatever fails before the swap puts the rows back.
//!
//! One mutex orders writers (flush, upkeep, reload); readers only take the state lock, for as long as copying a few words
//! takes. A reader holds the snapshot it reads; its files stay until it lets go, or is ended for keeping too much.
//!
//! - `write`: flushes, in commits of bounded bytes, each admitted against the budget
//! - `read`: what searches and scans read
//! - `upkeep`: reclaiming, merging, and what both weigh
//! - `damage`: pieces that cannot be read are found, confirmed and taken out

mod damage;
mod read;
mod upkeep;
mod write;

pub(crate) use read::OwnerRows;

use crate::directory::{Address, ByFingerprint, Directory, Entry};
use crate::error::{corrupt, failed};
use crate::generation::Generation;
use crate::index::Options;
use crate::quarantine::{Quarantine, Suspects};
use crate::readers::{Hold, Readers};
use crate::room::{Lost, Room};
use crate::rows;
use crate::sweep;
use crate::table::{self, Snapshot, Table};
use arrow_schema::SchemaRef;
use evermark_core::error::ErrorKind;
use evermark_core::id::MemoryKey;
use evermark_core::index::{IndexError, Indexable};
use evermark_core::maintenance::Budget;
use evermark_core::world::World;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

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

impl Pending {
    /// Returns about how many bytes it will take on disk, never much less.
    fn weight(&self) -> u64 {
        const COLUMNS: u64 = 600;
        match &self.change {
            // The text stands in three columns; terms are about as long as it is.
            Change::Put(row) => {
                COLUMNS + 4 * row.tokens.len() as u64 + 4 * row.vector.as_ref().map_or(0, Vec::len) as u64
            }
            Change::Gone(_) => 16,
        }
    }
}

type Changes = ByFingerprint<Pending>;

struct State {
    snapshot: Snapshot,
    /// Read at first need; `None` again when the table has changed behind our back.
    directory: Option<Directory>,
    /// Pieces that cannot be read: nothing looks at them, and the next commit drops them.
    bad: BTreeSet<u64>,
    pending: Changes,
    /// About what `pending` will take on disk.
    pending_bytes: u64,
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
    /// Commits since files were last reclaimed, and what they left behind.
    commits: u32,
    superseded_bytes: u64,
}

pub(crate) struct Store {
    dir: PathBuf,
    table: Arc<Table>,
    schema: SchemaRef,
    pub(crate) dimension: Option<usize>,
    options: Options,
    world: Arc<dyn World>,
    room: Room,
    budget: Mutex<Budget>,
    readers: Readers,
    suspects: Suspects,
    quarantine: Quarantine,
    state: Mutex<State>,
    writer: Mutex<Writer>,
}

impl Store {
    pub(crate) fn open(dir: &Path, options: &Options, world: Arc<dyn World>) -> Result<Self, IndexError> {
        let Options { dimension, deadline, .. } = *options;
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
        let exists = !sweep::manifests(&path).is_empty();
        if generation.is_some() && !exists {
            return Err(corrupt("the index's table is gone"));
        }
        let quarantine = Quarantine::open(dir)?;
        let (snapshot, damaged) = if exists {
            damage::open_newest(&room, &table, deadline, &quarantine)?
        } else {
            let table = Arc::clone(&table);
            let created = room.run("make the index", deadline, async move { table.create().await });
            (created.map_err(IndexError::from)?, Vec::new())
        };
        if generation.is_none() {
            // A crash between the table and this file leaves an empty table; anything else was not made by us.
            if snapshot.fragments().iter().next().is_some() {
                return Err(corrupt("the index's generation.json is gone"));
            }
            Generation::new(dimension, world.now_us()).write(dir)?;
        }
        let state = State {
            snapshot,
            directory: None,
            bad: BTreeSet::new(),
            pending: Changes::default(),
            pending_bytes: 0,
            flushing: Arc::new(Changes::default()),
        };
        let store = Self {
            dir: dir.to_owned(),
            table,
            schema,
            dimension,
            options: *options,
            world,
            room,
            budget: Mutex::new(Budget::UNBOUNDED),
            readers: Readers::default(),
            suspects: Suspects::default(),
            quarantine,
            state: Mutex::new(state),
            writer: Mutex::default(),
        };
        store.take_out(damaged);
        Ok(store)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_budget(&self, budget: Budget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }

    fn budget(&self) -> Budget {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a hold on the version that `state` shows.
    fn hold(&self, state: &State) -> Arc<Hold> {
        self.readers.hold(Arc::clone(&state.snapshot), self.world.monotonic())
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
        self.room.run(doing, self.options.deadline, task).map_err(|lost| match lost {
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
        let (snapshot, damaged) = self.run(writer, "open the index again", async move { table.open().await })?;
        {
            let mut state = self.state();
            state.snapshot = snapshot;
            state.directory = None;
        }
        writer.stale = false;
        // What the failed write left behind goes with the next chance.
        writer.commits = write::SUPERSEDED_COMMITS_MAX;
        self.take_out(damaged);
        Ok(())
    }

    /// Makes sure that the directory is there. Pieces in which it cannot be read are taken out.
    fn know(&self, writer: &mut Writer) -> Result<(), IndexError> {
        loop {
            let (snapshot, bad) = {
                let state = self.state();
                if state.directory.is_some() {
                    return Ok(());
                }
                (Arc::clone(&state.snapshot), state.bad.clone())
            };
            let suspects = self.suspects.clone();
            let read = self.run(writer, "read the index's directory", async move {
                table::directory(&snapshot, &bad, &suspects).await
            });
            match read {
                Ok(directory) => self.state().directory = Some(directory),
                // Each turn takes out a piece at least, so this ends.
                Err(error) if error.kind == ErrorKind::Corrupt && self.confirm(writer)? > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs `look` on a state whose directory is there.
    fn with_directory<T>(&self, look: impl Fn(&State, &Directory) -> T) -> Result<T, IndexError> {
        // Only a writer takes a directory away, and it brings it back before it lets go; damage does so at any time.
        for _ in 0..3 {
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
}

/// Returns the addresses of the rows in new files, in the order they were written.
fn place(snapshot: &Snapshot, files: &[(String, usize)]) -> Option<Vec<Address>> {
    let ids: std::collections::HashMap<&str, u64> = snapshot
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
