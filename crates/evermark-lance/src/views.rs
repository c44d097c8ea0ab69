//! Views of the owners in use: loaded at first use, kept in step with every change, bounded in bytes, dropped at rest.
//!
//! A view starts as a log: from the moment its rows are read until they are on the shelf, changes wait there, so none is lost
//! in between. Lock order: the store's state, then the slots, then one shelf; a search holds only its shelf.

use crate::directory::owner_of;
use crate::rows::{self, Columns};
use crate::store::{Change, OwnerRows, Pending, Store};
use arrow_array::RecordBatch;
use evermark_core::error::ErrorKind;
use evermark_core::id::Owner;
use evermark_core::index::{IndexError, Indexable};
use evermark_core::shelf::{Checked, Payloads, Prepared, Preparer, Shelf, ShelfRow};
use evermark_core::world::World;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Longer than loading may take; a loader that does not come back by then never will.
const WAIT_MAX: Duration = Duration::from_secs(90);
/// Changes that a view takes in while searches of it wait: less than a millisecond, now and then a merge.
const APPLIED_AT_ONCE: usize = 128;
/// A row takes this much at least besides its vector (16 bits a component).
const ROW_BYTES_MIN: usize = 64;

/// How an owner is searched.
pub(crate) enum View {
    /// In memory.
    Shelf(Arc<RwLock<Shelf>>),
    /// It does not fit: row by row, from the table.
    TooLarge,
}

enum Slot {
    /// Somebody loads it; changes since the load began.
    Loading(Vec<Pending>),
    Ready {
        shelf: Arc<RwLock<Shelf>>,
        bytes: usize,
        /// When it was last used, as a count of uses and as time.
        used: u64,
        used_at: Duration,
    },
    /// It does not fit, as of so many rows.
    TooLarge { n_rows: usize },
}

#[derive(Default)]
struct Slots {
    by_owner: HashMap<u64, Slot>,
    uses: u64,
}

pub(crate) struct Views {
    slots: Mutex<Slots>,
    /// One at a time: what is being loaded comes on top of what is kept.
    loading: Mutex<()>,
    loaded: Condvar,
    dimension: Option<usize>,
    bytes_max: usize,
    idle_max: Duration,
    world: Arc<dyn World>,
}

/// A loaded view and the changes that concern it.
type Touched<'a> = (u64, Arc<RwLock<Shelf>>, Vec<&'a Change>);

/// Why loading stopped.
enum Stopped {
    TooLarge,
    Failed(IndexError),
}

impl From<IndexError> for Stopped {
    fn from(error: IndexError) -> Self {
        Self::Failed(error)
    }
}

impl Views {
    pub(crate) fn new(dimension: Option<usize>, bytes_max: usize, idle_max: Duration, world: Arc<dyn World>) -> Self {
        Self {
            slots: Mutex::default(),
            loading: Mutex::default(),
            loaded: Condvar::new(),
            dimension,
            bytes_max,
            idle_max,
            world,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the owner's view, loading it when it is not there.
    pub(crate) fn of(&self, store: &Store, owner: &Owner) -> Result<View, IndexError> {
        let key = owner_of(owner);
        let started = self.world.monotonic();
        loop {
            {
                let mut slots = self.slots();
                slots.uses += 1;
                let uses = slots.uses;
                match slots.by_owner.get_mut(&key) {
                    Some(Slot::Ready { shelf, used, used_at, .. }) => {
                        (*used, *used_at) = (uses, self.world.monotonic());
                        return Ok(View::Shelf(Arc::clone(shelf)));
                    }
                    Some(Slot::TooLarge { .. }) => return Ok(View::TooLarge),
                    Some(Slot::Loading(_)) => {
                        if self.world.monotonic().saturating_sub(started) > WAIT_MAX {
                            return Err(IndexError::new(ErrorKind::Unavailable, "loading a memory owner's rows hangs"));
                        }
                        // Poisoned or timed out: the loop looks again either way.
                        drop(self.loaded.wait_timeout(slots, WAIT_MAX));
                        continue;
                    }
                    None => {}
                }
            }
            if let Some(view) = self.load(store, owner, key)? {
                return Ok(view);
            }
        }
    }

    /// Waits until no view is being loaded, at most this long: for whoever is about to supersede the files that are read.
    pub(crate) fn let_loads_finish(&self, limit: Duration) {
        let is_loading = |slots: &mut Slots| slots.by_owner.values().any(|slot| matches!(slot, Slot::Loading(_)));
        // Poisoned or too late: it goes on either way.
        drop(self.loaded.wait_timeout_while(self.slots(), limit, is_loading));
    }

    /// Returns the owner's view if it is in memory already.
    pub(crate) fn loaded(&self, owner: &Owner) -> Option<Arc<RwLock<Shelf>>> {
        match self.slots().by_owner.get(&owner_of(owner)) {
            Some(Slot::Ready { shelf, .. }) => Some(Arc::clone(shelf)),
            Some(Slot::Loading(_) | Slot::TooLarge { .. }) | None => None,
        }
    }

    /// Loads a view; `None` when somebody else was quicker.
    fn load(&self, store: &Store, owner: &Owner, key: u64) -> Result<Option<View>, IndexError> {
        // First the turn, then the hold on what is there: a hold that waits keeps old files, and may be ended for it.
        let turn = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let first = std::cell::Cell::new(false);
        let rows = store.owner_rows(owner, || {
            let mut slots = self.slots();
            first.set(!slots.by_owner.contains_key(&key));
            slots.by_owner.entry(key).or_insert_with(|| Slot::Loading(Vec::new()));
        });
        if !first.get() {
            return rows.map(|_| None);
        }
        let n_rows = rows.as_ref().map_or(0, |rows| rows.n_rows + rows.waiting.len());
        let built = rows.map_err(Stopped::Failed).and_then(|rows| self.build(store, owner, &rows));
        drop(turn);
        let mut slots = self.slots();
        let log = match slots.by_owner.remove(&key) {
            Some(Slot::Loading(log)) => log,
            _ => Vec::new(),
        };
        self.loaded.notify_all();
        match built {
            Ok(mut shelf) => {
                for pending in &log {
                    change(&mut shelf, &pending.change);
                }
                shelf.settle();
                let bytes = shelf.bytes();
                if bytes > self.bytes_max {
                    slots.by_owner.insert(key, Slot::TooLarge { n_rows });
                    return Ok(Some(View::TooLarge));
                }
                let shelf = Arc::new(RwLock::new(shelf));
                let (used, used_at) = (slots.uses, self.world.monotonic());
                slots.by_owner.insert(key, Slot::Ready { shelf: Arc::clone(&shelf), bytes, used, used_at });
                self.evict(&mut slots, key);
                Ok(Some(View::Shelf(shelf)))
            }
            Err(Stopped::TooLarge) => {
                slots.by_owner.insert(key, Slot::TooLarge { n_rows });
                Ok(Some(View::TooLarge))
            }
            Err(Stopped::Failed(error)) => Err(error),
        }
    }

    fn build(&self, store: &Store, owner: &Owner, rows: &OwnerRows) -> Result<Shelf, Stopped> {
        let row_bytes = ROW_BYTES_MIN + 2 * self.dimension.unwrap_or_default();
        if rows.n_rows * row_bytes > self.bytes_max {
            return Err(Stopped::TooLarge);
        }
        // What they say is kept while it fits; without it a view is smaller, and hits are read from the table.
        for payloads in [Payloads::Keep, Payloads::LeaveOut] {
            let shelf = Shelf::new(owner.clone(), self.dimension, payloads).with_room(rows.n_rows);
            let (preparer, bytes_max) = (shelf.preparer(), self.bytes_max);
            let prepare = move |batch| Part::of(batch, preparer);
            let filled = store.read_owner(rows, &rows::VIEW_COLUMNS, Some(shelf), prepare, move |filling, part| {
                // `None` once it has grown too large.
                let Some(shelf) = filling else { return Ok(()) };
                part.put(shelf)?;
                if shelf.bytes() > bytes_max {
                    *filling = None;
                }
                Ok(())
            })?;
            if let Some(mut shelf) = filled {
                put(&mut shelf, rows.waiting.iter().map(Arc::as_ref))?;
                shelf.settle();
                if shelf.bytes() <= self.bytes_max {
                    return Ok(shelf);
                }
            }
        }
        Err(Stopped::TooLarge)
    }

    /// Brings loaded views in step with changes. Called under the store's state lock, so that order is the same everywhere.
    pub(crate) fn apply(&self, changes: &[Pending]) {
        let mut shelves: Vec<Touched<'_>> = Vec::new();
        {
            let mut slots = self.slots();
            for pending in changes {
                let key = pending.entry.owner;
                match slots.by_owner.get_mut(&key) {
                    Some(Slot::Loading(log)) => log.push(pending.clone()),
                    Some(Slot::Ready { shelf, .. }) => match shelves.iter_mut().find(|(owner, _, _)| *owner == key) {
                        Some((_, _, changes)) => changes.push(&pending.change),
                        None => shelves.push((key, Arc::clone(shelf), vec![&pending.change])),
                    },
                    Some(Slot::TooLarge { .. }) | None => {}
                }
            }
        }
        for (key, shelf, changes) in shelves {
            changes.chunks(APPLIED_AT_ONCE).for_each(|changes| apply(&shelf, changes));
            let bytes = shelf.read().unwrap_or_else(PoisonError::into_inner).bytes();
            let mut slots = self.slots();
            if let Some(Slot::Ready { bytes: known, .. }) = slots.by_owner.get_mut(&key) {
                *known = bytes;
                self.evict(&mut slots, key);
            }
        }
    }

    /// Drops the views used longest ago until the rest fits; `latest` goes last.
    fn evict(&self, slots: &mut Slots, latest: u64) {
        loop {
            let ready = slots.by_owner.iter().filter_map(|(key, slot)| match slot {
                Slot::Ready { bytes, used, .. } => Some((*key, *bytes, *used)),
                Slot::Loading(_) | Slot::TooLarge { .. } => None,
            });
            let ready: Vec<_> = ready.collect();
            if ready.iter().map(|(_, bytes, _)| bytes).sum::<usize>() <= self.bytes_max {
                return;
            }
            let oldest = ready.iter().min_by_key(|(key, _, used)| (*key == latest, *used)).map(|(key, _, _)| *key);
            let Some(oldest) = oldest else { return };
            slots.by_owner.remove(&oldest);
        }
    }

    /// Drops views that nobody has used for a while, and forgets that owners were too large when they no longer are.
    pub(crate) fn rest(&self, store: &Store) {
        let now = self.world.monotonic();
        let mut slots = self.slots();
        slots.by_owner.retain(|key, slot| match slot {
            Slot::Ready { used_at, .. } => now.saturating_sub(*used_at) < self.idle_max,
            Slot::TooLarge { n_rows } => store.n_rows_of(*key) > *n_rows / 4 * 3,
            Slot::Loading(_) => true,
        });
    }

    /// Returns the bytes that loaded views hold.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |slot: &Slot| if let Slot::Ready { bytes, .. } = slot { *bytes } else { 0 };
        self.slots().by_owner.values().map(bytes).sum()
    }
}

/// Brings a view in step with a few changes. Searches wait only while what was taken apart before is added.
fn apply(shelf: &RwLock<Shelf>, changes: &[&Change]) {
    let prepared: Vec<_> = {
        let preparer = shelf.read().unwrap_or_else(PoisonError::into_inner).preparer();
        let prepare = |change: &&Change| match change {
            Change::Put(row) => Some(preparer.row(&ShelfRow::of(row))),
            Change::Gone(_) => None,
        };
        changes.iter().map(prepare).collect()
    };
    let mut shelf = shelf.write().unwrap_or_else(PoisonError::into_inner);
    for (change, prepared) in changes.iter().zip(prepared) {
        match (change, prepared) {
            (Change::Gone(key), _) => {
                shelf.remove(key.kind, &key.id);
            }
            (Change::Put(row), Some(Ok(prepared))) => {
                let added = shelf.upsert_prepared([(ShelfRow::of(row), prepared)]);
                added.unwrap_or_else(|error| missing(&error));
            }
            (Change::Put(_), Some(Err(error))) => missing(&error),
            (Change::Put(_), None) => {}
        }
    }
}

/// Widths were checked when the row was accepted; a shelf that is full keeps what it has.
fn missing(error: &IndexError) {
    tracing::error!(%error, "a memory is missing from its owner's view");
}

fn put<'a>(shelf: &mut Shelf, rows: impl Iterator<Item = &'a Indexable>) -> Result<(), IndexError> {
    shelf.upsert(rows.map(ShelfRow::of))
}

fn change(shelf: &mut Shelf, change: &Change) {
    match change {
        Change::Put(row) => {
            if let Err(error) = put(shelf, std::iter::once(row.as_ref())) {
                missing(&error);
            }
        }
        Change::Gone(key) => {
            shelf.remove(key.kind, &key.id);
        }
    }
}

/// A batch of [`rows::VIEW_COLUMNS`], its rows taken apart.
struct Part {
    batch: RecordBatch,
    checked: Vec<Checked>,
    prepared: Vec<Prepared>,
}

impl Part {
    fn of(batch: RecordBatch, preparer: Preparer) -> Result<Self, IndexError> {
        let columns = Columns::of(&batch);
        let (tokens, vectors) = (columns.strings("tokens")?, columns.vectors()?);
        let checked = rows::checked(&batch)?;
        let prepare = |row| preparer.encoded(tokens.value(row), vectors.get(row));
        let prepared = (0..batch.num_rows()).map(prepare).collect::<Result<_, _>>()?;
        Ok(Self { batch, checked, prepared })
    }

    fn put(self, shelf: &mut Shelf) -> Result<(), IndexError> {
        let columns = Columns::of(&self.batch);
        let (tokens, vectors) = (columns.strings("tokens")?, columns.vectors()?);
        let encoded = rows::encoded(&self.batch, &self.checked)?;
        let rows = encoded.iter().enumerate().map(|(at, row)| row.row(tokens.value(at), vectors.get(at)));
        shelf.fill(rows.zip(self.prepared))
    }
}
