//! The exact index, in memory: for builds without Lance.

use crate::config::Environment;
use evermark_core::error::ErrorKind;
use evermark_core::exact::ExactIndex;
use evermark_core::index::{Index, IndexError};
use evermark_core::world::World;
use evermark_engine::engine::OpenIndex;
use evermark_server::api::PruneData;
use evermark_server::api::index::TableItem;
use std::path::Path;
use std::sync::Arc;

/// Marks a generation whose rows were in the memory of a process.
const MARKER: &str = "in-memory";

pub(crate) fn complete_environment(_env: &Environment) {}

/// Says what a generation's folder holds.
pub(crate) fn look_at(_dir: &Path) -> anyhow::Result<String> {
    Ok("its rows were in the memory of a process; the next start makes them anew".to_owned())
}

/// Measures a generation's table: there is none on disk.
pub(crate) fn survey(_generation: &Path, _world: &Arc<dyn World>) -> anyhow::Result<TableItem> {
    Ok(TableItem::default())
}

/// Prunes by files alone: an index in memory leaves none that matter.
pub(crate) fn prune_files(_index_dir: &Path, dry_run: bool, _world: &Arc<dyn World>) -> anyhow::Result<PruneData> {
    Ok(PruneData { dry_run, ..PruneData::default() })
}

pub(crate) fn indexes(_world: Arc<dyn World>, _view_bytes_max: u64) -> Arc<dyn OpenIndex> {
    Arc::new(InMemory)
}

struct InMemory;

impl OpenIndex for InMemory {
    /// A generation that another process filled is gone with that process: the engine is told to build it anew.
    fn open(&self, dir: &Path, dimension: Option<usize>) -> Result<Arc<dyn Index>, IndexError> {
        let marker = dir.join(MARKER);
        match std::fs::File::create_new(&marker) {
            Ok(_) => Ok(Arc::new(ExactIndex::new(dimension))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(IndexError::new(ErrorKind::Corrupt, "this index was in the memory of a process that has ended"))
            }
            Err(error) => Err(IndexError {
                kind: ErrorKind::Unavailable,
                message: format!("cannot mark the index's folder {}", marker.display()),
                source: Some(Box::new(error)),
            }),
        }
    }
}
