//! One owner's memories in memory, ready to be searched: what makes a hot owner fast.
//!
//! A shelf is a view of rows that are kept elsewhere. It answers as [`crate::exact::ExactIndex`] does, to 1e-4 of a
//! score, from few large allocations, knows its own size ([`Shelf::bytes`]), and takes changes row by row. Reading
//! needs no exclusive access. Rows that were replaced or removed are forgotten when they are a quarter of all.

mod best;
mod bits;
mod names;
mod postings;
mod rack;
mod search;
mod vectors;

#[cfg(test)]
mod tests;

use crate::codec;
use crate::error::ErrorKind;
use crate::id::{Kind, MemoryKey, Owner};
use crate::index::{Ask, Hit, IndexError, Indexable, Listing, Order, Question, Recall};
use crate::memory::{Digest32, Memory};
use rack::{Full, Rack};
use std::collections::BTreeMap;

/// Whether a shelf can hand out memories, or only say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payloads {
    /// What memories say is kept: [`Shelf::fetch`] and [`Shelf::list`] work.
    Keep,
    /// It is not: [`Shelf::page`] names the rows, the caller loads them.
    LeaveOut,
}

/// One row to put on a shelf.
#[derive(Clone, Copy, Debug)]
pub struct ShelfRow<'a> {
    pub kind: Kind,
    pub id: &'a str,
    pub parent_type: Option<&'a str>,
    pub parent_id: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub timestamp_us: Option<i64>,
    pub sender_ids: &'a [String],
    /// Whether the memory was replaced by another.
    pub deprecated: bool,
    pub path: &'a str,
    /// Terms separated by single spaces.
    pub tokens: &'a str,
    pub vector: Option<&'a [f32]>,
    /// Read by shelves that keep payloads.
    pub payload: Payload<'a>,
}

/// What a row says besides what is in columns.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    Of(&'a Memory),
    /// The tail of what [`codec::encode`] wrote.
    Rest(&'a [u8]),
}

/// A row taken apart, to be put on a shelf: the part of the work that needs no shelf.
#[derive(Debug)]
pub struct Prepared(rack::Prepared);

/// How rows are taken apart for one shelf; several threads may do it at once, without the shelf.
#[derive(Clone, Copy, Debug)]
pub struct Preparer {
    dimension: Option<usize>,
    payloads: Payloads,
}

impl Preparer {
    /// Errors: [`ErrorKind::Invalid`] on a vector of another width.
    pub fn row(self, row: &ShelfRow<'_>) -> Result<Prepared, IndexError> {
        row.vector.map_or(Ok(()), |vector| check_width(self.dimension, vector))?;
        Ok(Prepared(rack::Prepared::of(row.tokens, row.vector).with_payload(row.payload, self.payloads)))
    }

    /// The same of what an [`Encoded`] row is searched by: the rest of it is encoded already.
    ///
    /// Errors: as [`Self::row`].
    pub fn encoded(self, tokens: &str, vector: Option<&[f32]>) -> Result<Prepared, IndexError> {
        vector.map_or(Ok(()), |vector| check_width(self.dimension, vector))?;
        Ok(Prepared(rack::Prepared::of(tokens, vector)))
    }
}

/// That bytes are what [`codec::encode`] wrote, all of it: what is damaged shows now, not when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Checked {
    kind: Kind,
    is_deprecated: bool,
}

impl Checked {
    /// Errors: a memory's bytes that are not whole.
    pub fn of(bytes: &[u8]) -> Result<Self, codec::CodecError> {
        let head = codec::head(bytes)?;
        let rest = codec::decode_rest(head.id, head.rest)?;
        Ok(Self { kind: rest.body.kind(), is_deprecated: rest.deprecated_by.is_some() })
    }
}

/// A row as it was read from where rows are kept, to be put on a shelf without being made a [`Memory`] first.
pub struct Encoded<'a> {
    head: codec::Head<'a>,
    checked: Checked,
}

impl<'a> Encoded<'a> {
    /// Reads bytes that were checked.
    ///
    /// Errors: other bytes than those, if they are not whole.
    pub fn of(bytes: &'a [u8], checked: Checked) -> Result<Self, codec::CodecError> {
        Ok(Self { head: codec::head(bytes)?, checked })
    }

    /// Returns the row, with its terms, separated by single spaces, and its vector.
    pub fn row<'b>(&'b self, tokens: &'b str, vector: Option<&'b [f32]>) -> ShelfRow<'b> {
        let head = &self.head;
        ShelfRow {
            kind: self.checked.kind,
            id: head.id,
            parent_type: head.parent_type,
            parent_id: head.parent_id,
            session_id: head.session_id,
            timestamp_us: head.timestamp_us,
            sender_ids: &head.sender_ids,
            deprecated: self.checked.is_deprecated,
            path: head.path,
            tokens,
            vector,
            payload: Payload::Rest(head.rest),
        }
    }
}

impl<'a> ShelfRow<'a> {
    /// Returns the row of something indexed.
    pub fn of(row: &'a Indexable) -> Self {
        let memory = &row.memory;
        Self {
            kind: memory.kind(),
            id: &memory.id,
            parent_type: memory.parent_type.as_deref(),
            parent_id: memory.parent_id.as_deref(),
            session_id: memory.session_id.as_deref(),
            timestamp_us: memory.timestamp_us,
            sender_ids: &memory.sender_ids,
            deprecated: memory.deprecated_by.is_some(),
            path: &memory.path,
            tokens: &row.tokens,
            vector: row.vector.as_deref(),
            payload: Payload::Of(memory),
        }
    }
}

/// One page of a listing, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub ids: Vec<String>,
    /// All rows that match, not only this page.
    pub total: usize,
}

/// Allocated bytes of a shelf, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShelfBytes {
    pub columns: usize,
    pub payloads: usize,
    pub postings: usize,
    pub vectors: usize,
}

/// One owner's rows.
#[derive(Debug)]
pub struct Shelf {
    owner: Owner,
    dimension: Option<usize>,
    payloads: Payloads,
    /// Rows of a kind that room is made for at once.
    n_expected: usize,
    racks: BTreeMap<Kind, Rack>,
}

impl Shelf {
    /// Makes an empty shelf. `dimension` is the width of its vectors; without one it takes none.
    pub fn new(owner: Owner, dimension: Option<usize>, payloads: Payloads) -> Self {
        Self { owner, dimension, payloads, n_expected: 0, racks: BTreeMap::new() }
    }

    /// The same, for about so many rows: growing step by step copies everything a few times. [`Self::settle`] gives back
    /// what was too much.
    pub fn with_room(self, n_rows: usize) -> Self {
        Self { n_expected: n_rows, ..self }
    }

    /// Makes a shelf of many rows and leaves no room for growth.
    ///
    /// Errors: as [`Self::upsert`].
    pub fn build<'a>(
        owner: Owner,
        dimension: Option<usize>,
        payloads: Payloads,
        rows: impl IntoIterator<Item = ShelfRow<'a>>,
    ) -> Result<Self, IndexError> {
        let mut shelf = Self::new(owner, dimension, payloads);
        for row in rows {
            shelf.put(&row, &shelf.preparer().row(&row)?)?;
        }
        shelf.settle();
        Ok(shelf)
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn payloads(&self) -> Payloads {
        self.payloads
    }

    /// Adds rows, replacing those with the same kind and id.
    ///
    /// Errors: [`ErrorKind::Invalid`] on a vector of another width, [`ErrorKind::Unavailable`] when 2^32 rows, terms or
    /// bytes of one kind are passed. The rows before the one at fault are added.
    pub fn upsert<'a>(&mut self, rows: impl IntoIterator<Item = ShelfRow<'a>>) -> Result<(), IndexError> {
        let done = rows.into_iter().try_for_each(|row| self.put(&row, &self.preparer().row(&row)?));
        self.racks.values_mut().for_each(Rack::tidy);
        done
    }

    /// Returns how rows are taken apart for this shelf.
    pub fn preparer(&self) -> Preparer {
        Preparer { dimension: self.dimension, payloads: self.payloads }
    }

    /// As [`Self::upsert`], of rows that this shelf's [`Preparer`] took apart.
    pub fn upsert_prepared<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (ShelfRow<'a>, Prepared)>,
    ) -> Result<(), IndexError> {
        self.put_prepared(rows, Rack::tidy)
    }

    /// The same, for a shelf that nobody asks yet: what a search would want in order is left to [`Self::settle`].
    pub fn fill<'a>(&mut self, rows: impl IntoIterator<Item = (ShelfRow<'a>, Prepared)>) -> Result<(), IndexError> {
        self.put_prepared(rows, Rack::tidy_filling)
    }

    fn put_prepared<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (ShelfRow<'a>, Prepared)>,
        tidy: impl Fn(&mut Rack),
    ) -> Result<(), IndexError> {
        let done = rows.into_iter().try_for_each(|(row, prepared)| self.put(&row, &prepared));
        self.racks.values_mut().for_each(tidy);
        done
    }

    fn put(&mut self, row: &ShelfRow<'_>, prepared: &Prepared) -> Result<(), IndexError> {
        let (width, n_expected) = (self.dimension.unwrap_or_default(), self.n_expected);
        let rack = self.racks.entry(row.kind).or_insert_with(|| Rack::new(width).with_room(n_expected));
        rack.upsert(row, &prepared.0, self.payloads).map_err(|Full| {
            let message = format!("the memories of kind `{}` of one owner are too many to hold in memory", row.kind);
            IndexError::new(ErrorKind::Unavailable, message)
        })
    }

    /// Removes a row; tells whether it was there.
    pub fn remove(&mut self, kind: Kind, id: &str) -> bool {
        let Some(rack) = self.racks.get_mut(&kind) else { return false };
        let was_there = rack.remove(id);
        rack.tidy();
        was_there
    }

    /// Forgets dead rows and gives back room kept for growth: after many changes, before a long rest.
    pub fn settle(&mut self) {
        self.racks.retain(|_, rack| rack.n_live > 0);
        self.racks.values_mut().for_each(Rack::settle);
    }

    /// Returns allocated bytes.
    pub fn bytes(&self) -> usize {
        self.racks.values().map(Rack::bytes).sum::<usize>() + size_of::<Self>()
    }

    /// Returns allocated bytes by what they are for.
    pub fn bytes_by_part(&self) -> ShelfBytes {
        self.racks.values().fold(ShelfBytes::default(), |sum, rack| {
            let [columns, payloads, postings, vectors] = rack.bytes_by_part();
            ShelfBytes {
                columns: sum.columns + columns,
                payloads: sum.payloads + payloads,
                postings: sum.postings + postings,
                vectors: sum.vectors + vectors,
            }
        })
    }

    /// Returns rows per kind, kinds without rows left out.
    pub fn rows(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.racks.iter().map(|(&kind, rack)| (kind, rack.n_live)).filter(|&(_, n_rows)| n_rows > 0)
    }

    /// Tells whether there is such a row.
    pub fn contains(&self, kind: Kind, id: &str) -> bool {
        self.rack(kind).is_some_and(|rack| rack.row(id).is_some())
    }

    /// As [`crate::index::Index::matching`]; another owner's ask finds nothing.
    pub fn matching(&self, ask: &Ask<'_>, terms: &[String]) -> Vec<Hit> {
        self.asked(ask).map_or_else(Vec::new, |rack| rack.matching(ask, terms))
    }

    /// As [`crate::index::Index::nearest`]; another owner's ask finds nothing.
    ///
    /// Errors: [`ErrorKind::Invalid`] on a wrong width.
    pub fn nearest(&self, ask: &Ask<'_>, vector: &[f32]) -> Result<Vec<Hit>, IndexError> {
        self.check_width(vector)?;
        Ok(self.asked(ask).map_or_else(Vec::new, |rack| rack.nearest(ask, vector)))
    }

    /// As [`crate::index::Index::recall`]; another owner's ask finds nothing.
    ///
    /// Errors: [`ErrorKind::Invalid`] on a wrong width.
    pub fn recall(&self, ask: &Ask<'_>, question: &Question<'_>) -> Result<Recall, IndexError> {
        question.vector.map_or(Ok(()), |vector| self.check_width(vector))?;
        Ok(self.asked(ask).map_or_else(Recall::default, |rack| rack.recall(ask, question)))
    }

    /// As [`crate::index::Index::holding`].
    pub fn holding(&self, kind: Kind, terms: &[String]) -> Vec<u64> {
        self.rack(kind).map_or_else(|| vec![0; terms.len()], |rack| rack.holding(terms))
    }

    /// Returns the cosine of each row to `vector`, in the order asked; `None` for rows that are not there or have none.
    ///
    /// Errors: [`ErrorKind::Invalid`] on a wrong width.
    pub fn scores_of(&self, kind: Kind, ids: &[String], vector: &[f32]) -> Result<Vec<Option<f32>>, IndexError> {
        self.check_width(vector)?;
        Ok(self.rack(kind).map_or_else(|| vec![None; ids.len()], |rack| rack.scores_of(ids, vector)))
    }

    /// Returns the memories with these ids, in the order asked; unknown ids are left out.
    ///
    /// Errors: [`ErrorKind::Internal`] when payloads were left out.
    pub fn fetch(&self, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        let Some(rack) = self.rack(kind) else { return Ok(Vec::new()) };
        ids.iter().filter_map(|id| rack.row(id)).map(|row| self.memory(rack, row)).collect()
    }

    /// As [`crate::index::Index::list`].
    ///
    /// Errors: [`ErrorKind::Internal`] when payloads were left out.
    pub fn list(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Result<Listing, IndexError> {
        let Some(rack) = self.asked(ask) else { return Ok(Listing { memories: Vec::new(), total: 0 }) };
        let (rows, total) = rack.page(ask, order, offset);
        let memories = rows.into_iter().map(|row| self.memory(rack, row)).collect::<Result<_, _>>()?;
        Ok(Listing { memories, total })
    }

    /// As [`Self::list`], by name: works without payloads.
    pub fn page(&self, ask: &Ask<'_>, order: Order, offset: usize) -> Page {
        let Some(rack) = self.asked(ask) else { return Page { ids: Vec::new(), total: 0 } };
        let (rows, total) = rack.page(ask, order, offset);
        Page { ids: rows.into_iter().map(|row| rack.view(row).id().to_owned()).collect(), total }
    }

    /// Calls `visit` with every row's key, source path and digest.
    ///
    /// Errors: [`ErrorKind::Internal`] when payloads were left out.
    pub fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        for rack in self.racks.values() {
            for row in rack.rows() {
                let memory = self.memory(rack, row)?;
                visit(memory.key(), &memory.path, memory.digest());
            }
        }
        Ok(())
    }

    fn rack(&self, kind: Kind) -> Option<&Rack> {
        self.racks.get(&kind)
    }

    fn asked(&self, ask: &Ask<'_>) -> Option<&Rack> {
        if *ask.owner == self.owner { self.rack(ask.kind) } else { None }
    }

    fn memory(&self, rack: &Rack, row: u32) -> Result<Memory, IndexError> {
        match rack.view(row).memory(&self.owner) {
            Some(Ok(memory)) => Ok(memory),
            // The bytes never left this process: only a fault of ours can spoil them.
            Some(Err(error)) => Err(IndexError {
                kind: ErrorKind::Internal,
                message: "a memory on a shelf cannot be read".to_owned(),
                source: Some(Box::new(error)),
            }),
            None => Err(IndexError::new(ErrorKind::Internal, "this shelf keeps no payloads")),
        }
    }

    fn check_width(&self, vector: &[f32]) -> Result<(), IndexError> {
        check_width(self.dimension, vector)
    }
}

fn check_width(dimension: Option<usize>, vector: &[f32]) -> Result<(), IndexError> {
    match dimension {
        Some(dimension) if dimension == vector.len() => Ok(()),
        Some(dimension) => {
            let message = format!("vector has {} components, the index has {dimension}", vector.len());
            Err(IndexError::new(ErrorKind::Invalid, message))
        }
        None => Err(IndexError::new(ErrorKind::Invalid, "the index holds no vectors")),
    }
}
