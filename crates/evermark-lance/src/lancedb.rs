//! Looks after Lance tables that other programs have made: measure, reclaim, merge, verify.
//!
//! Invariants: a live row that can be read is never lost; nothing is deleted that the newest readable version or a tag needs;
//! what cannot be proved dead is set aside beside the directory, not deleted; nothing happens while somebody else has the
//! directory open. Reclaiming is a set difference over file names: it needs no space, no commit and no old manifest, and it
//! never calls Lance's own cleanup.
//!
//! - `find`: from a path to tables; `alive`: is anybody else there
//! - `manifest`: versions as they lie on disk; `census`: what every file is for
//! - `survey`, `prune` (with `shrink`), `compact`, `verify`: the four verbs, one table at a time, so that a broken one spoils no other
//! - `groups`: what to merge (pure); `mend`: takes damage out; `rescue`: reads around it; `quarantine`: where it goes
//! - `generations`: reclaims our own index when no daemon runs; `rows`: reads what a table holds

mod alive;
mod census;
mod compact;
mod find;
mod generations;
mod groups;
mod manifest;
mod mend;
mod prune;
mod quarantine;
mod rescue;
mod rows;
mod shrink;
mod survey;
mod verify;

pub use alive::Holder;
pub use census::{Class, Tally};
pub use compact::{Compacted, DroppedIndex, Lost};
pub use find::EverosLock;
pub use generations::{GenerationsPruned, prune_generations, survey_generation};
pub use groups::{Part, groups};
pub use prune::{Pruned, SteppedDown};
pub use rows::{ForeignRow, RowsRead};
pub use survey::{IndexSeen, Survey};
pub use verify::Verified;

use crate::error::failed;
use crate::room::Room;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use evermark_core::world::World;
use find::{Place, Places};
use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;
use lance::io::ObjectStoreRegistry;
use lance::session::Session;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Footers and column metadata of the files that are being read.
const METADATA_CACHE_BYTES: usize = 32 << 20;
/// One call to Lance may take this long: a group of tens of megabytes on a slow disk, an index of gigabytes.
const DEADLINE: Duration = Duration::from_secs(1800);

/// Whether to do it, or only to say what would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    Real,
    Dry,
}

/// What came of one table.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The directory's name without `.lance`.
    pub table: String,
    pub result: Result<T, IndexError>,
}

/// Hears how far long work is: what, how much is done, and out of how much.
pub type Watch<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// What the work needs from outside.
pub struct Surroundings {
    pub world: Arc<dyn World>,
    /// Returns the bytes that may still be written below a path.
    pub free_bytes: fn(&Path) -> std::io::Result<u64>,
    pub deadline: Duration,
}

impl Surroundings {
    pub fn new(world: Arc<dyn World>, free_bytes: fn(&Path) -> std::io::Result<u64>) -> Self {
        Self { world, free_bytes, deadline: DEADLINE }
    }
}

/// A LanceDB directory, one of its tables, or the tables inside an EverOS root.
pub struct LanceDb {
    places: Places,
    room: Room,
    surroundings: Surroundings,
}

impl LanceDb {
    /// Finds the tables at `path`, or the one called `only` among them. Nothing is opened or changed yet.
    ///
    /// Errors: [`ErrorKind::NotFound`] when there are none, [`ErrorKind::Invalid`] for what is not looked after here.
    pub fn find(path: &Path, only: Option<&str>, surroundings: Surroundings) -> Result<Self, IndexError> {
        Ok(Self { places: Places::find(path, only)?, room: Room::new()?, surroundings })
    }

    /// One table of ours, which `find` would refuse.
    fn of_one(place: Place, room: Room, surroundings: Surroundings) -> Self {
        Self { places: Places::of_one(place), room, surroundings }
    }

    /// The directory that holds the tables.
    pub fn dir(&self) -> &Path {
        &self.places.dir
    }

    /// What was asked for: the directory, or the one table in it.
    pub fn path(&self) -> &Path {
        self.places.measured()
    }

    /// Tells whether this is the index of an EverOS root.
    pub fn is_everos(&self) -> bool {
        self.places.everos_lock.is_some() || self.places.dir.join(".fts_index_version").exists()
    }

    /// Where damaged files are set aside.
    pub fn quarantine(&self) -> PathBuf {
        self.places.quarantine()
    }

    /// Returns processes that have files of this directory open. Those of other users are seen by root alone.
    pub fn holders(&self) -> Vec<Holder> {
        alive::holders(&self.places.guarded())
    }

    /// Returns allocated bytes of the whole directory, files beside the tables included.
    pub fn allocated_bytes(&self) -> u64 {
        census::allocated(self.places.measured())
    }

    fn each<T>(&self, mut act: impl FnMut(&Place) -> Result<T, IndexError>) -> Vec<Outcome<T>> {
        let outcome = |place: &Place| Outcome { table: place.name.clone(), result: act(place) };
        self.places.tables.iter().map(outcome).collect()
    }

    /// Measures every table.
    pub fn survey(&self) -> Vec<Outcome<Survey>> {
        self.each(|place| survey::survey(self, place))
    }

    /// Reclaims what no version needs that is kept: the newest readable one and those that tags name.
    ///
    /// Errors: [`ErrorKind::Conflict`] when somebody else has the directory open.
    pub fn prune(&self, run: Run, lock: EverosLock, watch: Watch<'_>) -> Result<Vec<Outcome<Pruned>>, IndexError> {
        let guard = self.places.guard(lock)?;
        Ok(self.each(|place| prune::prune(self, place, &guard, run, watch)))
    }

    /// Reclaims, then merges small and half-dead files in bounded groups, and sets damaged ones aside.
    ///
    /// Errors: as [`Self::prune`].
    pub fn compact(&self, run: Run, lock: EverosLock, watch: Watch<'_>) -> Result<Vec<Outcome<Compacted>>, IndexError> {
        let guard = self.places.guard(lock)?;
        Ok(self.each(|place| compact::compact(self, place, &guard, run, watch)))
    }

    /// Reads everything that the newest version names. Changes nothing.
    pub fn verify(&self, watch: Watch<'_>) -> Vec<Outcome<Verified>> {
        self.each(|place| verify::verify(self, place, watch))
    }

    /// Hands every row of `table` that can be read to `visit`, with these columns of text and this one of vectors; `None`
    /// when there is no such table. Changes nothing.
    pub fn rows(
        &self,
        table: &str,
        columns: &[&str],
        vector: &str,
        visit: &mut dyn FnMut(ForeignRow),
    ) -> Option<Result<RowsRead, IndexError>> {
        let place = self.places.tables.iter().find(|place| place.name == table)?;
        Some(rows::read(self, place, columns, vector, visit))
    }

    /// Opens the newest version with caches of its own, which go with it: cached index readers would pin deleted files.
    fn open(&self, place: &Place) -> Result<Arc<Dataset>, IndexError> {
        self.open_with(place, 0)
    }

    fn open_with(&self, place: &Place, index_cache_bytes: usize) -> Result<Arc<Dataset>, IndexError> {
        let uri = place.uri()?.to_owned();
        let doing = format!("open the table `{}`", place.name);
        let task = {
            let doing = doing.clone();
            async move {
                let registry = Arc::new(ObjectStoreRegistry::default());
                let session = Arc::new(Session::new(index_cache_bytes, METADATA_CACHE_BYTES, registry));
                let loaded = DatasetBuilder::from_uri(&uri).with_session(session).load().await;
                loaded.map(Arc::new).map_err(|error| crate::error::unreadable(&doing, error))
            }
        };
        Ok(self.room.run(&doing, self.surroundings.deadline, task)?)
    }

    /// Runs one call to Lance in a task of its own.
    fn run<T: Send + 'static>(
        &self,
        doing: &str,
        task: impl Future<Output = Result<T, IndexError>> + Send + 'static,
    ) -> Result<T, IndexError> {
        Ok(self.room.run(doing, self.surroundings.deadline, task)?)
    }
}

/// Returns an error about something here that must not be touched, or not by this version.
fn refused(message: impl Into<String>) -> IndexError {
    IndexError::new(ErrorKind::Invalid, message)
}

fn io_failed(doing: &str, path: &Path, error: std::io::Error) -> IndexError {
    failed(&format!("{doing} {}", path.display()), error)
}
