//! The index on disk: one Lance table per generation, and the only room that names Lance or Arrow.
//!
//! Lance is used as a durable columnar store: append, mark as deleted, commit. Searching happens in memory, on views of the
//! owners in use, so no search waits for a disk, a planner or an index build. Invariants:
//! a change is visible at once and durable after `flush`; a commit is all or nothing; whatever Lance does runs in its own
//! task with a deadline, and a panic or a hang there is an error here; the files on disk are those that the newest version names,
//! plus what one round of upkeep has yet to reclaim.
//!
//! - `store`: memtable, directory, commits, reclaim: the durable half
//! - `views`, `stream`: owners in memory, and those that are too large for it
//! - `table`, `rows`: the only calls to Lance, and the columns
//! - `compact`, `sweep`: what to merge (pure), what to delete and what there is
//! - `readers`, `quarantine`: who keeps old files, what was damaged
//! - `room`, `error`: where Lance runs, and what its failures mean

mod compact;
mod directory;
mod environment;
mod error;
mod generation;
mod index;
pub mod lancedb;
mod quarantine;
mod readers;
mod room;
mod rows;
mod store;
mod stream;
mod sweep;
mod table;
mod views;

pub use compact::{Piece, Sizes, choose, choose_for_room};
pub use environment::{Variable, environment};
pub use error::classify;
pub use generation::look_at;
pub use index::{LanceIndex, Options};

use arrow_array::RecordBatch;
use evermark_core::index::{IndexError, Indexable};

/// Returns rows as the table stores them: for measurements and for tools that read the table.
pub fn encode(rows: &[Indexable], dimension: Option<usize>) -> Result<RecordBatch, IndexError> {
    let rows: Vec<_> = rows.iter().map(|row| (rows::entry(&row.memory.key()), row)).collect();
    rows::encode(&rows, &rows::schema(dimension)?)
}
