//! [`LanceIndex`]: the store and the views of hot owners behind one [`Index`].

use crate::readers;
use crate::rows;
use crate::store::{Change, Pending, Store};
use crate::stream;
use crate::views::{View, Views};
use evermark_core::error::ErrorKind;
use evermark_core::id::{Kind, MemoryKey, Owner};
use evermark_core::index::{
    Ask, Due, Hit, Index, IndexError, IndexInfo, Indexable, Inspection, Listing, Merge, Order, Question, Recall,
    Reclaimed,
};
use evermark_core::maintenance::Budget;
use evermark_core::memory::{Digest32, Memory};
use evermark_core::shelf::{Payloads, Shelf};
use evermark_core::world::World;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// How a generation is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Width of the vectors, fixed for the life of a generation; `None` for one without vectors.
    pub dimension: Option<usize>,
    /// Bytes that views of hot owners may take in memory; while one is loading, that one more.
    pub view_bytes_max: usize,
    /// How long a view that nobody uses is kept; looked at by `upkeep`.
    pub view_idle_max: Duration,
    /// Rows that may wait for a flush; one more flushes first.
    pub pending_rows_max: usize,
    /// How long one Lance operation may take before it is abandoned. The longest ones move some ten thousand rows.
    pub deadline: Duration,
    /// Bytes of superseded files that readers may keep, and how long one reader may; the oldest is ended when it is more.
    pub held_bytes_max: u64,
    pub held_age_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dimension: None,
            view_bytes_max: 128 << 20,
            view_idle_max: Duration::from_secs(600),
            pending_rows_max: 16_384,
            deadline: Duration::from_secs(120),
            held_bytes_max: 32 << 20,
            held_age_max: Duration::from_secs(60),
        }
    }
}

/// A merge waits this long for views that are being loaded: what it supersedes could be more than they may keep. Long enough
/// for an owner of some hundred thousand rows; a load that hangs holds no merge up for longer.
const LOADS_WAITED_FOR: Duration = Duration::from_secs(5);
/// How often a read that was ended is begun again, from the newest version, before its caller is told.
const ENDED_AGAIN: usize = 2;

/// One generation of the index, on disk.
pub struct LanceIndex {
    store: Store,
    views: Views,
    options: Options,
}

impl LanceIndex {
    /// Opens the generation in `dir`, or makes an empty one where there is none.
    ///
    /// Errors: [`ErrorKind::Corrupt`] when what is there cannot be read, or was made with another schema, analyzer or
    /// width of vectors: then a new generation has to be built.
    pub fn open(dir: &Path, options: Options, world: Arc<dyn World>) -> Result<Self, IndexError> {
        let views = Views::new(options.dimension, options.view_bytes_max, options.view_idle_max, Arc::clone(&world));
        let store = Store::open(dir, &options, world)?;
        Ok(Self { store, views, options })
    }

    fn check_width(&self, width: usize) -> Result<(), IndexError> {
        if Some(width) == self.store.dimension {
            return Ok(());
        }
        let own = self.store.dimension.map_or("none".to_owned(), |width| width.to_string());
        Err(IndexError::new(
            ErrorKind::Invalid,
            format!("a vector of width {width} does not fit this index's width ({own})"),
        ))
    }

    /// Does `work` again when it was ended for keeping old files, and once more when it met a damaged piece that could be taken out. What was in it is missing from the
    /// answer until it is written again, which beats no answer.
    fn healing<T>(&self, work: impl Fn() -> Result<T, IndexError>) -> Result<T, IndexError> {
        let before = self.store.losses();
        let mut done = work();
        for _ in 0..ENDED_AGAIN {
            if !done.as_ref().is_err_and(readers::was_ended) {
                break;
            }
            done = work();
        }
        match done {
            Err(error) if error.kind == ErrorKind::Corrupt => {
                let error = self.look_into(error);
                // Somebody else may have been quicker to take it out.
                if self.store.losses() > before { work() } else { Err(error) }
            }
            done => done,
        }
    }

    /// Looks at what could not be read, and returns what `error` comes to: when the damage was taken out, or is not seen
    /// again, the same may be tried again.
    fn look_into(&self, error: IndexError) -> IndexError {
        let before = self.store.losses();
        match self.store.look_at_suspects() {
            Ok(None) => error,
            Ok(Some(_)) => IndexError {
                kind: ErrorKind::Unavailable,
                message: if self.store.losses() > before {
                    "a damaged piece of the index was taken out; try again".to_owned()
                } else {
                    format!("{}; it could be read the next time", error.message)
                },
                source: error.source,
            },
            Err(other) => other,
        }
    }
}

impl Index for LanceIndex {
    fn upsert(&self, rows: Vec<Indexable>) -> Result<(), IndexError> {
        for vector in rows.iter().filter_map(|row| row.vector.as_ref()) {
            self.check_width(vector.len())?;
        }
        let changes = rows
            .into_iter()
            .map(|row| Pending { entry: rows::entry(&row.memory.key()), change: Change::Put(Arc::new(row)) })
            .collect();
        self.store.accept(changes, |changes| self.views.apply(changes))
    }

    fn remove(&self, keys: &[MemoryKey]) -> Result<(), IndexError> {
        let changes =
            keys.iter().map(|key| Pending { entry: rows::entry(key), change: Change::Gone(key.clone()) }).collect();
        self.store.accept(changes, |changes| self.views.apply(changes))
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.healing(|| self.store.flush())
    }

    fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Result<Vec<Hit>, IndexError> {
        self.healing(|| match self.views.of(&self.store, ask.owner)? {
            View::Shelf(shelf) => Ok(read(&shelf).matching(ask, terms)),
            View::TooLarge => stream::matching(&self.store, ask, terms),
        })
    }

    fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError> {
        self.check_width(vector.len())?;
        self.healing(|| match self.views.of(&self.store, ask.owner)? {
            View::Shelf(shelf) => read(&shelf).nearest(ask, vector),
            View::TooLarge => stream::nearest(&self.store, ask, vector),
        })
    }

    fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Result<Recall, IndexError> {
        question.vector.map_or(Ok(()), |vector| self.check_width(vector.len()))?;
        self.healing(|| match self.views.of(&self.store, ask.owner)? {
            View::Shelf(shelf) => read(&shelf).recall(ask, question),
            View::TooLarge => stream::recall(&self.store, ask, question),
        })
    }

    fn holding(&self, owner: &Owner, kind: Kind, terms: &[String]) -> Result<Option<Vec<u64>>, IndexError> {
        self.healing(|| match self.views.of(&self.store, owner)? {
            View::Shelf(shelf) => Ok(Some(read(&shelf).holding(kind, terms))),
            View::TooLarge => Ok(None),
        })
    }

    fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        if let Some(shelf) = self.views.loaded(owner) {
            let shelf = read(&shelf);
            if shelf.payloads() == Payloads::Keep {
                return shelf.fetch(kind, ids);
            }
        }
        self.healing(|| self.store.fetch(owner, kind, ids))
    }

    fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError> {
        self.healing(|| {
            let page = match self.views.of(&self.store, ask.owner)? {
                View::TooLarge => return stream::list(&self.store, ask, order, offset),
                View::Shelf(shelf) => {
                    let shelf = read(&shelf);
                    if shelf.payloads() == Payloads::Keep {
                        return shelf.list(ask, order, offset);
                    }
                    shelf.page(ask, order, offset)
                }
            };
            Ok(Listing { memories: self.store.fetch(ask.owner, ask.kind, &page.ids)?, total: page.total })
        })
    }

    fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        // Not tried again by itself: `visit` has seen a part already.
        self.store.scan(visit).map_err(|error| match error.kind {
            ErrorKind::Corrupt => self.look_into(error),
            _ => error,
        })
    }

    fn set_budget(&self, budget: Budget) {
        self.store.set_budget(budget);
    }

    fn reclaim(&self) -> Result<Reclaimed, IndexError> {
        self.views.rest(&self.store);
        self.store.reclaim()
    }

    fn compact(&self) -> Result<Merge, IndexError> {
        self.views.let_loads_finish(LOADS_WAITED_FOR);
        self.store.compact()
    }

    fn due(&self) -> Result<Option<Due>, IndexError> {
        Ok(self.store.due())
    }

    fn inspect(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Inspection, IndexError> {
        self.store.inspect(progress)
    }

    fn losses(&self) -> u64 {
        self.store.losses()
    }

    fn info(&self) -> Result<IndexInfo, IndexError> {
        let (mut rows, pending) = self.store.counts()?;
        rows.retain(|(_, count)| *count > 0);
        let mut info = IndexInfo {
            rows,
            pending,
            dimension: self.store.dimension,
            view_bytes: self.views.bytes() as u64,
            view_bytes_max: self.options.view_bytes_max as u64,
            ..IndexInfo::default()
        };
        self.store.measure(&mut info);
        Ok(info)
    }
}

fn read(shelf: &RwLock<Shelf>) -> RwLockReadGuard<'_, Shelf> {
    // A panic while a row was added has left the rows before it whole.
    shelf.read().unwrap_or_else(PoisonError::into_inner)
}
