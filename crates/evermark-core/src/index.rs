//! The index as the rest of the program sees it: rows in, hits out.

use crate::error::ErrorKind;
use crate::filter::Filter;
use crate::id::{Kind, MemoryKey, Owner};
use crate::maintenance::Budget;
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

impl Ask<'_> {
    /// Tells whether all rows are asked, but for what the filter hides.
    pub fn is_open(&self) -> bool {
        self.parents.is_none() && self.ids.is_none()
    }
}

/// One row found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: String,
    pub parent_id: Option<String>,
    /// BM25 (`matching`) or cosine in [-1, 1] (`nearest`).
    pub score: f32,
}

/// A term that is looked for, and how much a row that holds it gains: 1 for what was asked, less for what only resembles it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub term: String,
    pub weight: f32,
}

/// What is held against each row.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Distinct terms.
    pub terms: &'a [Wanted],
    pub vector: Option<&'a [f32]>,
    /// What a cosine of 1 is worth beside BM25, when the strongest rows are chosen.
    pub cosine_weight: f32,
}

/// What speaks for one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    pub id: String,
    pub parent_id: Option<String>,
    /// When it happened, microseconds since 1970.
    pub timestamp_us: Option<i64>,
    /// BM25 of the terms, each times its weight.
    pub words: f32,
    /// Cosine in [-1, 1]; `None` without a vector.
    pub cosine: Option<f32>,
}

/// What [`Index::recall`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recall {
    /// The strongest rows, `words + cosine_weight · cosine`, best first.
    pub rows: Vec<Evidence>,
    /// What `words` of a row would come to that holds every term very often: a measure of how much was asked. 0 without rows.
    pub words_max: f32,
    /// Mean cosine of all rows of the owner and kind that are not deprecated: where being unrelated lies. 0 without vectors, and
    /// when the ask names parents or ids: then no other row is looked at.
    pub mean_cosine: f32,
    /// Rows that the mean was taken over.
    pub n_vectors: u64,
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
    /// Bytes of disk below the index's directory, deleted files that this process still holds open included.
    pub allocated_bytes: u64,
    /// Bytes of disk under the files that the newest version refers to.
    pub live_bytes: u64,
    /// The part of `live_bytes` that belongs to rows which are gone: what merging would give back.
    pub dead_bytes: u64,
    /// Files of older versions that a reader in this process still uses.
    pub held_bytes: u64,
    /// Files that nobody needs any more, until they are reclaimed.
    pub orphan_bytes: u64,
    /// What the directory may come to now; `None` when nothing limits it.
    pub bound_bytes: Option<u64>,
    /// Pieces that could not be read and were taken out, newest last.
    pub quarantine: Vec<Quarantined>,
    /// Readers at work, and how long the oldest has been.
    pub readers: u64,
    pub oldest_reader_ms: Option<u64>,
    /// Bytes held in memory for hot owners, and their limit.
    pub view_bytes: u64,
    pub view_bytes_max: u64,
}

/// A damaged piece of the index that was taken out. Its rows are written again from the Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The file, relative to the index's directory.
    pub name: String,
    pub reason: String,
    /// Rows that went with it.
    pub rows: u64,
    pub bytes: u64,
    /// Microseconds since 1970.
    pub at_us: i64,
}

/// What reclaiming came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    pub versions: u64,
    pub files: u64,
    pub bytes: u64,
}

/// What merging one group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The pieces are as they should be.
    NothingDue,
    /// A group of so many pieces became one, or was found damaged in part.
    Done { pieces: u64, bytes_read: u64, bytes_written: u64, quarantined: u64 },
    /// A group is due, and the budget or the disk has no room for it now.
    NoRoom { wanted_bytes: u64 },
}

/// A group of pieces that is due to be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub pieces: u64,
    pub bytes: u64,
    pub dead_rows: u64,
}

/// What reading everything came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    pub pieces: u64,
    pub rows: u64,
    pub bytes: u64,
    pub quarantined: Vec<Quarantined>,
}

/// What one round of upkeep did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Upkeep {
    pub versions_removed: u64,
    pub bytes_freed: u64,
    pub fragments_compacted: u64,
}

/// Groups that one round of upkeep merges at most: the next round goes on.
const GROUPS_PER_ROUND: usize = 8;

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
/// crash after [`Self::flush`]. Both are idempotent: a row is found by its [`MemoryKey`]. What concerns files has a default
/// for an index that has none.
pub trait Index: Send + Sync {
    /// Writes rows, replacing those with the same key.
    ///
    /// Errors: [`ErrorKind::Invalid`] when a vector's width is not the index's.
    fn upsert(&self, rows: Vec<Indexable>) -> Result<(), IndexError>;

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

    /// Returns the rows that words and meaning together speak for most, best first; ties break by id. A row with neither one
    /// of the terms nor a vector is not seen.
    ///
    /// Statistics are those of [`Self::matching`], whatever the ask sees. Without terms or vector that leg is silent.
    ///
    /// Errors: [`ErrorKind::Invalid`] on a wrong width.
    fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Result<Recall, IndexError>;

    /// Returns how many rows of an owner and kind hold each term; `None` when that cannot be told quickly.
    fn holding(&self, _owner: &Owner, _kind: Kind, _terms: &[String]) -> Result<Option<Vec<u64>>, IndexError> {
        Ok(None)
    }

    /// Returns the memories with these ids, in the order asked; unknown ids are left out.
    fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError>;

    /// Returns a page of what the ask sees, by timestamp (rows without one last), ties by id; `limit` rows from `offset`.
    fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError>;

    /// Calls `visit` with every row's key, source path and digest, in no particular order.
    fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError>;

    /// Sets what the index's directory may come to; every write from now on keeps to it.
    ///
    /// A flush that would not fit reclaims and merges first, and then answers [`ErrorKind::NoSpace`]: its rows stay
    /// accepted, searchable and not durable.
    fn set_budget(&self, _budget: Budget) {}

    /// Removes files that no version in use names. Needs neither space nor a commit, and reads no data file.
    fn reclaim(&self) -> Result<Reclaimed, IndexError> {
        Ok(Reclaimed::default())
    }

    /// Merges one group of pieces of bounded size where one is due, and removes what it replaced.
    fn compact(&self) -> Result<Merge, IndexError> {
        Ok(Merge::NothingDue)
    }

    /// Returns the group that [`Self::compact`] would merge next, changing nothing.
    fn due(&self) -> Result<Option<Due>, IndexError> {
        Ok(None)
    }

    /// Reads every piece in full, taking out those that cannot be read; `progress` gets pieces done and in all.
    fn inspect(&self, _progress: &mut dyn FnMut(u64, u64)) -> Result<Inspection, IndexError> {
        Ok(Inspection::default())
    }

    /// Returns how often rows have left the index unasked, by damage: whenever it rises, somebody has to compare
    /// [`Self::scan`] with the files and write again what is missing.
    fn losses(&self) -> u64 {
        0
    }

    /// Reclaims old versions and merges small pieces, within bounds. Cheap when there is nothing to do.
    fn upkeep(&self) -> Result<Upkeep, IndexError> {
        let mut done = Upkeep::default();
        let reclaim = |done: &mut Upkeep| {
            let reclaimed = self.reclaim()?;
            done.versions_removed += reclaimed.versions;
            done.bytes_freed += reclaimed.bytes;
            Ok::<_, IndexError>(())
        };
        reclaim(&mut done)?;
        for _ in 0..GROUPS_PER_ROUND {
            let Merge::Done { pieces, .. } = self.compact()? else { break };
            done.fragments_compacted += pieces;
            reclaim(&mut done)?;
        }
        Ok(done)
    }

    fn info(&self) -> Result<IndexInfo, IndexError>;
}
