//! The handle: opens a root, runs its loops, closes it.
//!
//! All verbs block; nothing here knows an async runtime. Background work is made of ticks (`indexer`, `reconcile`,
//! `remember`, `upkeep`), each also callable by hand, so that tests and short-lived commands run the same code as the
//! daemon without waiting for anything.

use crate::add::{AddRequest, FlushRequest, Receipt};
use crate::embedding::{Embedding, Embeddings};
use crate::error::Error;
use crate::get::{GetAnswer, GetRequest};
use crate::health::Ailments;
use crate::inbox::Inbox;
use crate::indexer::Unflushed;
use crate::live::Live;
use crate::search::{SearchAnswer, SearchRequest};
use crate::settings::Settings;
use crate::status::{ProgressMark, RebuildReport, Status, SyncReport, VerifyReport};
use crate::tasks::Tasks;
use evermark_core::embed::ModelId;
use evermark_core::index::{Index, IndexError};
use evermark_core::memory::Digest32;
use evermark_core::world::World;
use evermark_store::layout::{Identity, Layout};
use evermark_store::ledger::Ledger;
use evermark_store::lock::RootLock;
use evermark_store::vault::Vault;
use evermark_store::watch::Watch;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

/// Opens generations of the index.
pub trait OpenIndex: Send + Sync {
    /// Opens, or makes, the generation in this folder. `dimension` is the width of its vectors; `None`: it holds none.
    fn open(&self, dir: &Path, dimension: Option<usize>) -> Result<Arc<dyn Index>, IndexError>;
}

/// What an engine is made of.
pub struct Parts {
    pub root: PathBuf,
    pub settings: Settings,
    pub world: Arc<dyn World>,
    pub indexes: Arc<dyn OpenIndex>,
    pub embeddings: Embeddings,
}

/// A root that is open. Cheap to clone; all clones are the same root.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) world: Arc<dyn World>,
    pub(crate) layout: Layout,
    pub(crate) identity: Identity,
    pub(crate) vault: Vault,
    pub(crate) lock: Mutex<RootLock>,
    pub(crate) ledger: RwLock<Arc<Ledger>>,
    pub(crate) indexes: Arc<dyn OpenIndex>,
    pub(crate) embedder: Option<Embedding>,
    pub(crate) live: RwLock<Arc<Live>>,
    pub(crate) inbox: Inbox,
    pub(crate) watch: Option<Watch>,
    /// Held by whoever indexes: one writer at a time.
    pub(crate) indexing: Mutex<Unflushed>,
    /// Held while files are compared with the ledger.
    pub(crate) reconciling: Mutex<crate::reconcile::Sweeps>,
    pub(crate) rebuilding: AtomicBool,
    pub(crate) ailments: Ailments,
    pub(crate) tasks: Tasks,
    pub(crate) opened_at: Duration,
    pub(crate) closing: AtomicBool,
    /// Files whose content is waiting to be indexed, and how often each was changed.
    pub(crate) pending: Mutex<HashMap<String, u64>>,
    /// Files that suddenly held much less, by the digest they had then.
    pub(crate) shrunk: Mutex<HashMap<String, Digest32>>,
    /// The index may hold rows that no file has.
    pub(crate) strays_possible: AtomicBool,
    /// The live generation is damaged.
    pub(crate) rebuild_wanted: AtomicBool,
    /// Commits when upkeep was last done.
    pub(crate) upkept_at: AtomicU64,
    /// When unused embeddings were last looked for, on the monotonic clock.
    pub(crate) collected_at: Mutex<Option<Duration>>,
}

impl Engine {
    /// Takes the root's lock and opens what is there; an index or ledger that is missing or damaged is made anew.
    ///
    /// Nothing is searched or read yet: [`Self::quiesce`] or the loops of [`Self::start`] bring the index up to date.
    ///
    /// Errors: [`Error::Store`] naming the holder when another process owns the root.
    pub fn open(parts: Parts) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(Inner::open(parts)?) })
    }

    /// Starts the background loops.
    pub fn start(&self) -> Result<(), Error> {
        Tasks::start(&self.inner)
    }

    /// Does all work that is due, in this thread, until there is none left.
    pub fn quiesce(&self) -> Result<SyncReport, Error> {
        self.inner.sync(false, &mut |_| {})
    }

    /// Makes work that waits after a failure due at once: a provider, or space, is back.
    pub fn hasten(&self) -> Result<(), Error> {
        self.inner.ledger().hasten(None)?;
        self.inner.tasks.indexer.ring();
        Ok(())
    }

    /// Does the index's housekeeping now, if any is due.
    pub fn upkeep(&self) -> Result<(), Error> {
        self.inner.upkeep_tick().map(|_| ())
    }

    /// Stops the loops, finishes what runs, and makes everything durable. Verbs called afterwards are refused.
    pub fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }

    /// Says where this process can be reached, for other processes that want the root.
    pub fn set_address(&self, address: &str) -> Result<(), Error> {
        Ok(self.inner.lock.lock().expect(POISON).set_address(address)?)
    }

    pub fn root(&self) -> &Path {
        self.inner.layout.root()
    }

    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Returns the model in use, if any.
    pub fn model(&self) -> Option<&ModelId> {
        self.inner.embedder.as_ref().map(Embedding::model)
    }

    /// Stores messages, and extracts what is complete.
    pub fn add(&self, request: AddRequest) -> Result<Receipt, Error> {
        self.inner.open_for_verbs()?;
        self.inner.add(request)
    }

    /// Extracts everything a session still holds.
    pub fn flush(&self, request: FlushRequest) -> Result<Receipt, Error> {
        self.inner.open_for_verbs()?;
        self.inner.flush(request)
    }

    pub fn search(&self, request: SearchRequest) -> Result<SearchAnswer, Error> {
        self.inner.open_for_verbs()?;
        self.inner.noticing_damage(self.inner.search(&request))
    }

    pub fn get(&self, request: GetRequest) -> Result<GetAnswer, Error> {
        self.inner.open_for_verbs()?;
        self.inner.noticing_damage(self.inner.get(&request))
    }

    pub fn status(&self) -> Result<Status, Error> {
        self.inner.status()
    }

    /// Brings the index up to date with the Markdown now. `allow_mass_delete` lets held removals proceed once.
    pub fn sync(&self, allow_mass_delete: bool, progress: &mut dyn FnMut(ProgressMark)) -> Result<SyncReport, Error> {
        self.inner.open_for_verbs()?;
        let report = self.inner.sync(allow_mass_delete, progress)?;
        if self.inner.needs_rebuild() {
            self.inner.rebuild(progress)?;
        }
        Ok(report)
    }

    /// Compares index and Markdown, changing nothing.
    pub fn verify(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<VerifyReport, Error> {
        self.inner.open_for_verbs()?;
        self.inner.verify(progress)
    }

    /// Builds a new generation beside the live one and swaps, while searches go on.
    pub fn rebuild(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<RebuildReport, Error> {
        self.inner.open_for_verbs()?;
        self.inner.rebuild(progress)
    }
}

/// Why a lock of ours cannot be poisoned: panics inside are bugs that must stop the writer, not be papered over.
pub(crate) const POISON: &str = "a thread panicked while holding this lock; going on could corrupt";
