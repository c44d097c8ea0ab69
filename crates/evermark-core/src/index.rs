//! The index as the rest of the program sees it: rows in, hits out.

use crate::error::ErrorKind;
use crate::filter::Filter;
use crate::id::{Kind, MemoryKey, Owner};
use crate::memory::{Digest32, Memory};

/// A memory together with what is derived from it for searching.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexable {
    pub memory: Memory,
    /// Analysed search text, terms separated by single spaces (`text::terms` joined).
    pub tokens: String,
    /// Embedding, or `None` when there is no model or the text could not be embedded.
    pub vector: Option<Vec<f32>>,
}

/// Which rows a question may see, and how many it wants.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub owner: &'a Owner,
    pub kind: Kind,
    pub filter: &'a Filter,
    /// Only rows whose `parent_id` is one of these.
    pub parents: Option<&'a [String]>,
    /// Only rows with one of these ids.
    pub ids: Option<&'a [String]>,
    /// Whether rows that were replaced (`deprecated_by`) are seen.
    pub deprecated: bool,
    pub limit: usize,
}

/// One row found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: String,
    pub parent_id: Option<String>,
    /// BM25 (`matching`) or cosine in [-1, 1] (`nearest`).
    pub score: f32,
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub descending: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    pub memories: Vec<Memory>,
    /// All rows that match, not only this page.
    pub total: usize,
}

/// What an index says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IndexInfo {
    /// Rows per kind, unflushed ones included.
    pub rows: Vec<(Kind, u64)>,
    /// Rows upserted or removed but not yet durable.
    pub pending: u64,
    /// Width of the vectors; `None` when the index holds none.
    pub dimension: Option<usize>,
    pub versions: u64,
    pub fragments: u64,
    /// Allocated bytes below the index's directory, and what the newest version refers to.
    pub allocated_bytes: u64,
    pub live_bytes: u64,
    /// Bytes held in memory for hot owners, and their limit.
    pub view_bytes: u64,
    pub view_bytes_max: u64,
}

/// What one round of upkeep did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upkeep {
    pub versions_removed: u64,
    pub bytes_freed: u64,
    pub fragments_compacted: u64,
}

/// Why an index could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct IndexError {
    pub kind: ErrorKind,
    pub message: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl IndexError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// A searchable collection of memories, derived from the Markdown and replaceable at any time.
///
/// All calls block. A row written by [`Self::upsert`] is visible to every later call at once and survives a
/// crash after [`Self::flush`]. Both are idempotent: a row is found by its [`MemoryKey`].
pub trait Index: Send + Sync {
    /// Writes rows, replacing those with the same key.
    ///
    /// Errors: [`ErrorKind::Invalid`] when a vector's width is not the index's.
    fn upsert(&self, rows: &[Indexable]) -> Result<(), IndexError>;

    /// Removes rows; keys that are not there are ignored.
    fn remove(&self, keys: &[MemoryKey]) -> Result<(), IndexError>;

    /// Makes everything accepted so far durable, in one commit.
    fn flush(&self) -> Result<(), IndexError>;

    /// Returns rows that contain any of `terms`, best BM25 first (k1 1.2, b 0.75, statistics of this owner and kind).
    ///
    /// Ties break by id. Statistics count every row of the owner and kind that is not deprecated, whatever the ask sees
    /// (see [`crate::bm25`]).
    fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Result<Vec<Hit>, IndexError>;

    /// Returns rows nearest to `vector` by cosine, best first; ties break by id. Rows without a vector are not seen, nor
    /// rows whose vector points nowhere ([`crate::vector::unit`]).
    ///
    /// Errors: [`ErrorKind::Invalid`] on a wrong width.
    fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError>;

    /// Returns the memories with these ids, in the order asked; unknown ids are left out.
    fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError>;

    /// Returns a page of what the ask sees, by timestamp (rows without one last), ties by id; `limit` rows from `offset`.
    fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError>;

    /// Calls `visit` with every row's key, source path and digest, in no particular order.
    fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError>;

    /// Reclaims old versions and merges small pieces, within bounds. Cheap when there is nothing to do.
    fn upkeep(&self) -> Result<Upkeep, IndexError>;

    fn info(&self) -> Result<IndexInfo, IndexError>;
}
