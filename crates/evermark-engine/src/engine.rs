//! The handle: opens a root, runs its loops, closes it.
//!
//! All verbs block; nothing here knows an async runtime. Background work is made of ticks (`indexer`, `reconcile`,
//! `remember`, `beat`), each also callable by hand, so that tests and short-lived commands run the same code as the
//! daemon without waiting for anything.

use crate::add::{AddRequest, FlushRequest, Receipt};
use crate::beat::Upkeep;
use crate::embedding::{Absent, Embedding, Embeddings};
use crate::error::Error;
use crate::get::{GetAnswer, GetRequest};
use crate::health::Ailments;
use crate::inbox::Inbox;
use crate::indexer::Unflushed;
use crate::judges::Judges;
use crate::live::Live;
use crate::maintenance::{CompactReport, PruneReport};
use crate::probe::Probe;
use crate::reconcile::Swept;
use crate::search::{SearchAnswer, SearchRequest};
use crate::settings::Settings;
use crate::status::{Books, ProgressMark, RebuildReport, Status, SyncReport, VerifyReport};
use crate::tasks::Tasks;
use evermark_core::embed::ModelId;
use evermark_core::index::{Index, IndexError, Inspection};
use evermark_core::maintenance::plan::Plan;
use evermark_core::memory::Digest32;
use evermark_core::world::World;
use evermark_store::layout::{Identity, Layout};
use evermark_store::ledger::Ledger;
use evermark_store::lock::RootLock;
use evermark_store::vault::Vault;
use evermark_store::watch::Watch;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
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
    pub judges: Judges,
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
    /// Why there is none, though one is configured.
    pub(crate) absent: Option<Absent>,
    pub(crate) judges: Judges,
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
    pub(crate) upkeep: Upkeep,
    /// What the last look at the files came to, for whoever must not wait for the next one.
    pub(crate) swept: Mutex<Swept>,
    pub(crate) books: Arc<Probe<Books>>,
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
        self.inner.upkeep.gate.space_was_freed();
        self.inner.upkeep.steps.hasten();
        self.inner.tasks.indexer.ring();
        self.inner.tasks.beat.ring();
        Ok(())
    }

    /// Makes a round of upkeep now. What fails in it is shown by the status and fails nothing else.
    pub fn upkeep(&self) -> Result<(), Error> {
        self.inner.beat_now()
    }

    /// Returns what a round of upkeep would do now, and why. Changes nothing.
    pub fn plan(&self) -> Plan {
        self.inner.plan_beat()
    }

    /// Removes what no version in use needs, and what belongs to nothing. Works on a full disk, and while merging fails.
    pub fn prune(&self, dry_run: bool, progress: &mut dyn FnMut(ProgressMark)) -> Result<PruneReport, Error> {
        self.inner.open_for_verbs()?;
        self.inner.prune(dry_run, progress)
    }

    /// Prunes, then merges small and half-dead pieces until none is due.
    pub fn compact(&self, dry_run: bool, progress: &mut dyn FnMut(ProgressMark)) -> Result<CompactReport, Error> {
        self.inner.open_for_verbs()?;
        self.inner.compact(dry_run, progress)
    }

    /// Reads every piece of the index in full. Those that cannot be read are taken out, and their rows written again.
    pub fn inspect(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<Inspection, Error> {
        self.inner.open_for_verbs()?;
        self.inner.inspect(progress)
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
    ///
    /// Errors: [`Error::Full`] when there is no room for them on the disk; it says what to free.
    pub fn add(&self, request: AddRequest) -> Result<Receipt, Error> {
        self.inner.open_for_verbs()?;
        let bytes = request.size_bytes();
        self.inner.explaining_space(self.inner.add(request), bytes)
    }

    /// Extracts everything a session still holds.
    pub fn flush(&self, request: FlushRequest) -> Result<Receipt, Error> {
        self.inner.open_for_verbs()?;
        self.inner.explaining_space(self.inner.flush(request), crate::add::FILE_BYTES)
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
        if self.inner.should_rebuild_now() {
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
