//! Opening and closing a root, and healing what is derived when it is missing, damaged or not ours.

use crate::engine::{Inner, MakeEmbedder, OpenIndex, POISON, Parts};
use crate::error::Error;
use crate::live::Live;
use crate::tasks::Tasks;
use evermark_core::embed::ModelId;
use evermark_core::error::ErrorKind;
use evermark_core::world::World;
use evermark_models::cached::CachedEmbedder;
use evermark_store::layout::Layout;
use evermark_store::ledger::Ledger;
use evermark_store::lock::RootLock;
use evermark_store::vault::{Vault, VaultSettings};
use evermark_store::watch::Watch;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

impl Inner {
    pub(crate) fn open(parts: Parts) -> Result<Self, Error> {
        let Parts { root, settings, world, indexes, embedder } = parts;
        let layout = Layout::create(&root)?;
        // The lock comes before everything else that is read or written.
        let lock = RootLock::take(&layout, world.as_ref(), None)?;
        let (identity, _) = layout.ensure_identity(world.as_ref())?;
        layout.prepare()?;
        let vault_settings = VaultSettings { file_bytes_max: settings.file_bytes_max, ..VaultSettings::default() };
        let vault = Vault::open(layout.root(), Arc::clone(&world), vault_settings)?;
        let embedder = embedder.map(|make: MakeEmbedder| make(&layout.embeddings_dir())).transpose()?;
        let model = embedder.as_ref().map(CachedEmbedder::model);
        let (ledger, live) = open_derived(&layout, &world, indexes.as_ref(), model, &identity.root_id)?;
        let watch = settings.watch.then(|| Watch::start(layout.root()));
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
            live: RwLock::new(live),
            inbox: crate::inbox::Inbox::default(),
            watch,
            indexing: Mutex::default(),
            reconciling: Mutex::default(),
            pending: Mutex::default(),
            rebuilding: AtomicBool::new(false),
            ailments: crate::health::Ailments::default(),
            tasks: Tasks::default(),
            opened_at,
            closing: AtomicBool::new(false),
            texts_embedded: AtomicU64::new(0),
            world,
        };
        inner.adopt_everos_buffer()?;
        let mut inbox_paths = Vec::new();
        inner.vault.scan(&mut |path, _| {
            if crate::inbox::is_inbox_path(path) {
                inbox_paths.push(path.to_owned());
            }
        });
        inner.load_inbox(&inbox_paths)?;
        Ok(inner)
    }

    pub(crate) fn close(&self) -> Result<(), Error> {
        self.closing.store(true, Ordering::Release);
        self.tasks.join();
        self.flush_now()
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
        if self.rebuilding.load(Ordering::Acquire) || (self.ledger().still_there() && self.index_is_there()) {
            return Ok(());
        }
        let mut unflushed = self.indexing.lock().expect(POISON);
        tracing::warn!("the index is gone from the disk: building it again from the Markdown");
        *unflushed = crate::indexer::Unflushed::default();
        self.layout.prepare()?;
        let model = self.embedder.as_ref().map(CachedEmbedder::model);
        let (ledger, live) =
            open_derived(&self.layout, &self.world, self.indexes.as_ref(), model, &self.identity.root_id)?;
        *self.ledger.write().expect(POISON) = ledger;
        *self.live.write().expect(POISON) = live;
        drop(unflushed);
        self.reconciling.lock().expect(POISON).ask();
        self.tasks.reconcile.ring();
        Ok(())
    }
}

/// Opens ledger and live generation so that they belong together; whatever does not is made anew, from nothing.
fn open_derived(
    layout: &Layout,
    world: &Arc<dyn World>,
    indexes: &dyn OpenIndex,
    model: Option<&ModelId>,
    root_id: &str,
) -> Result<(Arc<Ledger>, Arc<Live>), Error> {
    let ledger = open_ledger(layout, world)?;
    let live = match layout.current()? {
        Some(generation) => Live::open(layout, indexes, generation)?,
        None => None,
    };
    let live = match live {
        Some(live) if ledger.belongs_to(root_id, &live.generation.to_string())? => live,
        // The ledger speaks of another generation or root, or is new: its word about what is indexed is worth nothing.
        // The rows are worth something until they are replaced: they answer meanwhile, and extra ones are swept afterwards.
        Some(live) => {
            ledger.start_over(root_id, &live.generation.to_string())?;
            live
        }
        None => {
            let live = Live::create(layout, world.as_ref(), indexes, model)?;
            ledger.start_over(root_id, &live.generation.to_string())?;
            layout.swing(world.as_ref(), live.generation)?;
            live
        }
    };
    remove_other_generations(layout, &live);
    Ok((Arc::new(ledger), Arc::new(live)))
}

fn open_ledger(layout: &Layout, world: &Arc<dyn World>) -> Result<Ledger, Error> {
    let path = layout.ledger_file();
    match Ledger::open(&path, Arc::clone(world)) {
        Ok(ledger) => Ok(ledger),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%error, "the ledger is damaged: it is put aside and made anew from the Markdown");
            Ledger::put_aside(&path, world.as_ref())?;
            Ok(Ledger::open(&path, Arc::clone(world))?)
        }
        Err(error) => Err(error.into()),
    }
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

/// Returns the folder that holds a path, `/` between parts; empty for the root.
pub(crate) fn folder_of(path: &Path) -> String {
    path.parent().and_then(Path::to_str).unwrap_or_default().to_owned()
}
