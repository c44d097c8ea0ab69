//! Opening and closing a root, and healing what is derived when it is missing, damaged or not ours.

use crate::embedding::Embedding;
use crate::engine::{Inner, OpenIndex, POISON, Parts};
use crate::error::Error;
use crate::live::Live;
use crate::tasks::Tasks;
use evermark_core::embed::ModelId;
use evermark_core::error::ErrorKind;
use evermark_core::maintenance::space::Level;
use evermark_core::world::World;
use evermark_store::layout::Layout;
use evermark_store::ledger::{Binding, Ledger, Opened};
use evermark_store::lock::RootLock;
use evermark_store::space::{Ballast, footprint, volume};
use evermark_store::vault::{Vault, VaultSettings};
use evermark_store::watch::{Watch, WatchSettings};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

impl Inner {
    pub(crate) fn open(parts: Parts) -> Result<Self, Error> {
        let Parts { root, settings, world, indexes, embeddings, judges } = parts;
        let layout = Layout::create(&root)?;
        // The lock comes before everything else that is read or written.
        let lock = RootLock::take(&layout, world.as_ref(), None)?;
        let ballast = Ballast::at(layout.ballast_file());
        if let Ok(volume) = volume(world.as_ref(), &layout.index_dir())
            && settings.upkeep.watermarks.level(&volume) == Level::Out
        {
            // Opening writes a little, and everything that frees space has to be opened first.
            ballast.release()?;
        }
        let (identity, _) = layout.ensure_identity(world.as_ref())?;
        layout.prepare()?;
        let vault_settings = VaultSettings { file_bytes_max: settings.file_bytes_max, ..VaultSettings::default() };
        let vault = Vault::open(layout.root(), Arc::clone(&world), vault_settings)?;
        let (embedder, absent) = Embedding::open(embeddings, &layout.embeddings_dir(), &world)?;
        let model = embedder.as_ref().map(Embedding::model);
        let open = || open_derived(&layout, &world, indexes.as_ref(), model, &identity.root_id);
        let Derived { ledger, live, strays_possible, n_entries } = match open() {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                let freed = ballast.release()? + make_room(&layout, indexes.as_ref());
                tracing::warn!(%error, freed, "the disk is full: what nobody needs is removed, and the index opened again");
                open()?
            }
            opened => opened?,
        };
        let tasks = Tasks::default();
        let watch = match settings.watch {
            true => {
                let bell = Arc::clone(&tasks.reconcile);
                Some(Watch::start(layout.root(), WatchSettings::default(), move || bell.ring())?)
            }
            false => None,
        };
        let opened_at = world.monotonic();
        let inner = Self {
            settings,
            layout,
            identity,
            vault,
            lock: Mutex::new(lock),
            ledger: RwLock::new(ledger),
            indexes,
            embedder,
            absent,
            judges,
            live: RwLock::new(live),
            inbox: crate::inbox::Inbox::default(),
            watch,
            indexing: Mutex::default(),
            reconciling: Mutex::default(),
            pending: Mutex::default(),
            rebuilding: AtomicBool::new(false),
            ailments: crate::health::Ailments::default(),
            tasks,
            opened_at,
            closing: AtomicBool::new(false),
            strays_possible: AtomicBool::new(strays_possible),
            rebuild_wanted: AtomicBool::new(false),
            upkeep: crate::beat::Upkeep::default(),
            swept: Mutex::default(),
            books: Arc::default(),
            collected_at: Mutex::default(),
            shrunk: Mutex::default(),
            world,
        };
        inner.keep_budget();
        inner.recall_losses(n_entries)?;
        inner.adopt_everos_buffer()?;
        let mut inbox_paths = Vec::new();
        inner.vault.scan_inboxes(&mut |path, _| {
            if crate::inbox::is_inbox_path(path) {
                inbox_paths.push(path.to_owned());
            }
        });
        inner.load_inbox(&inbox_paths)?;
        Ok(inner)
    }

    pub(crate) fn close(self: &Arc<Self>) -> Result<(), Error> {
        self.closing.store(true, Ordering::Release);
        // Twice: first to end the waiting of what runs, then to keep what that has made.
        if let Some(embedder) = &self.embedder {
            embedder.close();
        }
        self.judges.close();
        self.tasks.join();
        // What is derived is made again by whoever has the root next.
        self.still_ours()?;
        // A last look for what was saved into files that were just replaced.
        self.vault.tend();
        // What cannot be written now is found by the next process: its jobs are not done.
        let flushed = match self.flush_now() {
            Err(error) if error.kind().is_transient() && self.paused().is_some() => {
                tracing::warn!(%error, "the index is closed without its newest rows; they are written again from the Markdown");
                Ok(())
            }
            flushed => flushed,
        };
        self.beat_at_close();
        if let Some(embedder) = &self.embedder {
            embedder.close();
        }
        flushed
    }

    pub(crate) fn open_for_verbs(&self) -> Result<(), Error> {
        if self.is_closing() {
            return Err(Error::Busy("the daemon is shutting down".into()));
        }
        Ok(())
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger.read().expect(POISON))
    }

    /// Passes a crash point.
    pub(crate) fn reach(&self, point: &'static str) -> Result<(), Error> {
        self.world.reach(point).map_err(|error| Error::Busy(format!("stopped at `{point}`: {error}")))
    }

    /// Puts anew in place what is derived and has vanished or broken under us. Cheap when all is well.
    pub(crate) fn heal(&self) -> Result<(), Error> {
        self.still_ours()?;
        if self.rebuilding.load(Ordering::Acquire) || (self.ledger().still_there() && self.index_is_there()) {
            return Ok(());
        }
        let mut unflushed = self.indexing.lock().expect(POISON);
        if self.ledger().still_there() && self.index_is_there() {
            // Another thread was here first.
            return Ok(());
        }
        tracing::warn!("the index is gone from the disk: building it again from the Markdown");
        *unflushed = crate::indexer::Unflushed::default();
        self.layout.prepare()?;
        let model = self.embedder.as_ref().map(Embedding::model);
        let Derived { ledger, live, strays_possible, n_entries } =
            open_derived(&self.layout, &self.world, self.indexes.as_ref(), model, &self.identity.root_id)?;
        *self.ledger.write().expect(POISON) = ledger;
        *self.live.write().expect(POISON) = live;
        self.strays_possible.store(strays_possible, Ordering::Release);
        self.keep_budget();
        self.recall_losses(n_entries)?;
        drop(unflushed);
        self.reconciling.lock().expect(POISON).ask();
        self.tasks.reconcile.ring();
        Ok(())
    }
}

/// Removes what needs no ledger to be known as superfluous. Returns the bytes that were freed; what fails frees nothing.
fn make_room(layout: &Layout, indexes: &dyn OpenIndex) -> u64 {
    let before = footprint(&layout.index_dir()).bytes;
    let Ok(Some(generation)) = layout.current() else { return 0 };
    match Live::open(layout, indexes, generation) {
        Ok(Some(live)) => {
            remove_other_generations(layout, &live);
            if let Err(error) = live.index.reclaim() {
                tracing::warn!(%error, "nothing could be reclaimed before the ledger is open");
            }
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the index could not be opened to make room"),
    }
    before.saturating_sub(footprint(&layout.index_dir()).bytes)
}

/// Ledger and live generation, as they were opened.
struct Derived {
    ledger: Arc<Ledger>,
    live: Arc<Live>,
    /// Whether the index may hold rows that no file has: then they are swept once everything is compared.
    strays_possible: bool,
    /// Entries in the ledger.
    n_entries: u64,
}

/// Opens ledger and live generation so that they belong together; whatever does not is made anew, from nothing.
fn open_derived(
    layout: &Layout,
    world: &Arc<dyn World>,
    indexes: &dyn OpenIndex,
    model: Option<&ModelId>,
    root_id: &str,
) -> Result<Derived, Error> {
    let (ledger, opened) = Ledger::open_or_recreate(&layout.ledger_file(), Arc::clone(world))?;
    if let Opened::Recreated { why, aside } = &opened {
        tracing::warn!(why, ?aside, "the ledger was damaged: it is made anew from the Markdown");
    }
    let generation = layout.current()?;
    // Both read as much as there are memories: side by side.
    let (n_entries, found) = std::thread::scope(|scope| {
        let counting = scope.spawn(|| ledger.n_entries());
        let found = generation.map(|generation| Live::open(layout, indexes, generation)).transpose();
        (counting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), found)
    });
    let (mut n_entries, found) = (n_entries?, found?.flatten());
    let kept = found.is_some();
    let live = match found {
        Some(live) => live,
        None => {
            let live = Live::create(layout, world.as_ref(), indexes, model)?;
            layout.swing(world.as_ref(), live.generation)?;
            live
        }
    };
    let binding = Binding { root_id: root_id.to_owned(), generation: live.generation.to_string() };
    let belongs = kept && ledger.binding()?.as_ref() == Some(&binding);
    // An index that lost its rows, or never keeps them, makes the ledger's word worthless too.
    let emptied = belongs && live.rows()? == 0 && n_entries > 0;
    if !belongs || emptied {
        // Whatever the ledger says is indexed, is not, or not here. Rows that are there answer until they are replaced.
        ledger.clear()?;
        ledger.bind(&binding)?;
        n_entries = 0;
    }
    remove_other_generations(layout, &live);
    Ok(Derived { ledger: Arc::new(ledger), live: Arc::new(live), strays_possible: kept && !belongs, n_entries })
}

/// Removes generations that are not live: left over from a rebuild that was cut short, or already replaced.
pub(crate) fn remove_other_generations(layout: &Layout, live: &Live) {
    let generations = match layout.generations() {
        Ok(generations) => generations,
        Err(error) => {
            tracing::warn!(%error, "cannot list old generations of the index");
            return;
        }
    };
    for generation in generations.into_iter().filter(|generation| *generation != live.generation) {
        if let Err(error) = layout.remove_generation(generation) {
            tracing::warn!(%generation, %error, "an old generation of the index cannot be removed yet");
        }
    }
}
