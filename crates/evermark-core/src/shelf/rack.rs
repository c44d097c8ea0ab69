//! The rows of one kind, as columns. Rows are numbered in order of arrival; a replaced row dies and a new one is added.

use super::bits::Bits;
use super::names::{NONE, Names, bytes_of, extend, fingerprint, push};
use super::postings::Postings;
use super::vectors::{Stored, Vectors};
use super::{Payload, Payloads, ShelfRow};
use crate::bm25::Corpus;
use crate::codec;
use crate::filter;
use crate::id::Owner;
use crate::memory::Memory;

/// Stands for no time in the column; a real time of -292 thousand years is moved by a microsecond.
const NO_TIME: i64 = i64::MIN;

/// Rows that must be dead, as a share of all, before the columns are rewritten; and a floor for small racks.
const DEAD_SHARE: usize = 4;
const DEAD_MIN: usize = 64;

#[derive(Debug)]
pub(super) struct Rack {
    ids: Names,
    /// By number of the id: its live row, or [`NONE`].
    row_of: Vec<u32>,
    /// Parents, sessions, senders, paths: each text once.
    pub(super) names: Names,
    // By row, from here on.
    id: Vec<u32>,
    parent_type: Vec<u32>,
    pub(super) parent: Vec<u32>,
    session: Vec<u32>,
    senders: Vec<u32>,
    path: Vec<u32>,
    time_us: Vec<i64>,
    pub(super) n_terms: Vec<u32>,
    /// Where the row's vector is, or [`NONE`].
    pub(super) place: Vec<u32>,
    payload: Vec<u8>,
    payload_end: Vec<u32>,
    pub(super) live: Bits,
    pub(super) deprecated: Bits,
    // Of the whole rack.
    pub(super) n_live: usize,
    pub(super) n_deprecated: usize,
    pub(super) corpus: Corpus,
    pub(super) postings: Postings,
    pub(super) vectors: Vectors,
}

/// What of a row can be made ready before it is added.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Fingerprints, sorted.
    terms: Vec<u64>,
    /// Of a row that does not bring it encoded.
    payload: Vec<u8>,
    vector: Option<Stored>,
}

impl Prepared {
    pub(super) fn of(tokens: &str, vector: Option<&[f32]>) -> Self {
        let mut terms: Vec<u64> = tokens.split_ascii_whitespace().map(|term| fingerprint(term.as_bytes())).collect();
        terms.sort_unstable();
        Self { terms, payload: Vec::new(), vector: vector.and_then(Stored::of) }
    }

    /// The same, with what the row says, where it is kept and not encoded yet.
    pub(super) fn with_payload(mut self, payload: Payload<'_>, payloads: Payloads) -> Self {
        if let (Payloads::Keep, Payload::Of(memory)) = (payloads, payload) {
            codec::encode_rest(memory, &mut self.payload);
        }
        self
    }
}

/// The rack cannot number or address any more: 2^32 rows, postings or bytes in one column.
#[derive(Debug)]
pub(super) struct Full;

impl Rack {
    pub(super) fn new(width: usize) -> Self {
        Self {
            ids: Names::default(),
            row_of: Vec::new(),
            names: Names::default(),
            id: Vec::new(),
            parent_type: Vec::new(),
            parent: Vec::new(),
            session: Vec::new(),
            senders: Vec::new(),
            path: Vec::new(),
            time_us: Vec::new(),
            n_terms: Vec::new(),
            place: Vec::new(),
            payload: Vec::new(),
            payload_end: Vec::new(),
            live: Bits::default(),
            deprecated: Bits::default(),
            n_live: 0,
            n_deprecated: 0,
            corpus: Corpus::default(),
            postings: Postings::default(),
            vectors: Vectors::new(width),
        }
    }

    /// Returns the number of rows, dead ones included.
    pub(super) fn n_rows(&self) -> usize {
        self.id.len()
    }

    fn n_dead(&self) -> usize {
        self.n_rows() - self.n_live
    }

    /// Makes room for so many rows.
    pub(super) fn with_room(mut self, n_rows: usize) -> Self {
        self.row_of.reserve_exact(n_rows);
        self.numbers().into_iter().for_each(|column| column.reserve_exact(n_rows));
        self.time_us.reserve_exact(n_rows);
        self.vectors.reserve(n_rows);
        self
    }

    /// Adds a row, replacing the one with its id. The vector's width is the rack's.
    pub(super) fn upsert(&mut self, new: &ShelfRow<'_>, prepared: &Prepared, payloads: Payloads) -> Result<(), Full> {
        let Prepared { terms, payload, vector } = prepared;
        let payload = match (payloads, new.payload) {
            (Payloads::Keep, Payload::Rest(bytes)) => bytes,
            (Payloads::Keep, Payload::Of(_)) | (Payloads::LeaveOut, _) => payload,
        };
        let row = u32::try_from(self.n_rows()).ok().filter(|&row| row != NONE).ok_or(Full)?;
        if !self.postings.has_room(terms.len()) {
            return Err(Full);
        }
        // Everything that can fail comes before the first change that counts: a text interned in vain is harmless.
        let id = self.ids.intern(new.id.as_bytes()).ok_or(Full)?;
        let mut name = |text: Option<&[u8]>| text.map_or(Some(NONE), |text| self.names.intern(text)).ok_or(Full);
        let parent_type = name(new.parent_type.map(str::as_bytes))?;
        let parent = name(new.parent_id.map(str::as_bytes))?;
        let session = name(new.session_id.map(str::as_bytes))?;
        let senders = name(Some(&pack_senders(new.sender_ids)).filter(|packed| !packed.is_empty()).map(Vec::as_slice))?;
        let path = name(Some(new.path.as_bytes()))?;
        let payload_end = u32::try_from(self.payload.len() + payload.len()).map_err(|_| Full)?;

        self.row_of.resize(self.ids.len().max(self.row_of.len()), NONE);
        self.kill(id);
        self.row_of[id as usize] = row;
        push(&mut self.id, id);
        push(&mut self.parent_type, parent_type);
        push(&mut self.parent, parent);
        push(&mut self.session, session);
        push(&mut self.senders, senders);
        push(&mut self.path, path);
        push(&mut self.time_us, new.timestamp_us.map_or(NO_TIME, |us| us.max(NO_TIME + 1)));
        let n_terms = u32::try_from(terms.len()).unwrap_or(u32::MAX);
        push(&mut self.n_terms, n_terms);
        let place = vector.as_ref().and_then(|vector| self.vectors.put(row, vector));
        push(&mut self.place, place.unwrap_or(NONE));
        extend(&mut self.payload, payload);
        push(&mut self.payload_end, payload_end);
        self.postings.add(row, terms);
        self.live.set(row, true);
        self.deprecated.set(row, new.deprecated);
        self.n_live += 1;
        if new.deprecated {
            self.n_deprecated += 1;
        } else {
            self.corpus.add(u64::from(n_terms));
        }
        Ok(())
    }

    /// Removes the row with this id; tells whether there was one.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.ids.find(id.as_bytes()).is_some_and(|id| self.kill(id))
    }

    fn kill(&mut self, id: u32) -> bool {
        let row = std::mem::replace(&mut self.row_of[id as usize], NONE);
        if row == NONE {
            return false;
        }
        self.live.set(row, false);
        self.n_live -= 1;
        if self.deprecated.has(row) {
            self.n_deprecated -= 1;
        } else {
            self.corpus.remove(u64::from(self.n_terms[row as usize]));
        }
        true
    }

    /// Merges and rewrites what has become untidy; cheap when nothing has.
    pub(super) fn tidy(&mut self) {
        if self.n_dead() > (self.n_rows() / DEAD_SHARE).max(DEAD_MIN) {
            self.compact();
        } else if self.postings.is_due() {
            self.postings.merge();
        }
    }

    /// As [`Self::tidy`], while rows come in and nobody asks: only what would take too much room.
    pub(super) fn tidy_filling(&mut self) {
        if self.postings.is_overfull() {
            self.postings.merge();
        }
    }

    /// Merges everything and gives back room kept for growth.
    pub(super) fn settle(&mut self) {
        if self.n_dead() > 0 {
            return self.compact();
        }
        self.postings.merge();
        self.vectors.shrink();
        self.ids.shrink();
        self.names.shrink();
        self.row_of.shrink_to_fit();
        self.shrink_columns();
    }

    /// Rewrites all columns without the dead rows.
    fn compact(&mut self) {
        let mut next = 0;
        let new_row: Vec<u32> = (0..self.n_rows() as u32)
            .map(|row| {
                if !self.live.has(row) {
                    return NONE;
                }
                next += 1;
                next - 1
            })
            .collect();
        let renumber = |row: u32| Some(new_row[row as usize]).filter(|&row| row != NONE);
        self.postings.rebuild(renumber);

        let mut ids = Names::default();
        let mut names = Names::default();
        let (mut live, mut deprecated) = (Bits::default(), Bits::default());
        let mut kept_bytes = 0;
        for row in 0..self.n_rows() {
            let Some(new) = renumber(row as u32) else { continue };
            live.set(new, true);
            deprecated.set(new, self.deprecated.has(row as u32));
            // They fitted before, so they fit now.
            self.id[row] = ids.intern(self.ids.get(self.id[row])).unwrap_or(NONE);
            for column in
                [&mut self.parent_type, &mut self.parent, &mut self.session, &mut self.senders, &mut self.path]
            {
                if column[row] != NONE {
                    column[row] = names.intern(self.names.get(column[row])).unwrap_or(NONE);
                }
            }
            let start = if row == 0 { 0 } else { self.payload_end[row - 1] as usize };
            let end = self.payload_end[row] as usize;
            self.payload.copy_within(start..end, kept_bytes);
            kept_bytes += end - start;
        }
        self.payload.truncate(kept_bytes);
        // Ends move after all payloads did: each needs the old end before it.
        let mut end = 0;
        let mut old_end = 0;
        for row in 0..self.n_rows() {
            let len = self.payload_end[row] - old_end;
            old_end = self.payload_end[row];
            if renumber(row as u32).is_some() {
                end += len;
            }
            self.payload_end[row] = end;
        }
        ids.shrink();
        names.shrink();
        (self.ids, self.names, self.live, self.deprecated) = (ids, names, live, deprecated);

        let keep = |row: usize| new_row[row] != NONE;
        self.numbers().into_iter().for_each(|column| retain(column, keep));
        retain(&mut self.time_us, keep);
        self.row_of = vec![NONE; self.ids.len()];
        for (row, &id) in self.id.iter().enumerate() {
            self.row_of[id as usize] = row as u32;
        }
        let place = &mut self.place;
        self.vectors.rebuild(renumber, |row, new_place| place[row as usize] = new_place);
        self.shrink_columns();
    }

    /// Returns the columns of one number a row.
    fn numbers(&mut self) -> [&mut Vec<u32>; 9] {
        [
            &mut self.id,
            &mut self.parent_type,
            &mut self.parent,
            &mut self.session,
            &mut self.senders,
            &mut self.path,
            &mut self.n_terms,
            &mut self.place,
            &mut self.payload_end,
        ]
    }

    fn shrink_columns(&mut self) {
        self.numbers().into_iter().for_each(Vec::shrink_to_fit);
        self.time_us.shrink_to_fit();
        self.payload.shrink_to_fit();
    }

    /// Returns the live row with this id.
    pub(super) fn row(&self, id: &str) -> Option<u32> {
        let id = self.ids.find(id.as_bytes())?;
        Some(self.row_of[id as usize]).filter(|&row| row != NONE)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        (0..self.n_rows() as u32).filter(|&row| self.live.has(row))
    }

    pub(super) fn id_bytes(&self, row: u32) -> &[u8] {
        self.ids.get(self.id[row as usize])
    }

    pub(super) fn view(&self, row: u32) -> View<'_> {
        View { rack: self, row }
    }

    pub(super) fn bytes(&self) -> usize {
        let columns = [
            &self.row_of,
            &self.id,
            &self.parent_type,
            &self.parent,
            &self.session,
            &self.senders,
            &self.path,
            &self.n_terms,
            &self.place,
            &self.payload_end,
        ];
        columns.into_iter().map(bytes_of).sum::<usize>()
            + bytes_of(&self.time_us)
            + bytes_of(&self.payload)
            + self.ids.bytes()
            + self.names.bytes()
            + self.live.bytes()
            + self.deprecated.bytes()
            + self.postings.bytes()
            + self.vectors.bytes()
            + size_of::<Self>()
    }

    /// Returns allocated bytes of the parts: columns and texts, payloads, postings, vectors.
    pub(super) fn bytes_by_part(&self) -> [usize; 4] {
        let payload = bytes_of(&self.payload) + bytes_of(&self.payload_end);
        let (postings, vectors) = (self.postings.bytes(), self.vectors.bytes());
        [self.bytes() - payload - postings - vectors, payload, postings, vectors]
    }
}

fn retain<T>(column: &mut Vec<T>, keep: impl Fn(usize) -> bool) {
    let mut row = 0;
    column.retain(|_| {
        row += 1;
        keep(row - 1)
    });
}

fn pack_senders(senders: &[String]) -> Vec<u8> {
    let mut packed = Vec::new();
    for sender in senders {
        packed.extend_from_slice(&(sender.len() as u32).to_le_bytes());
        packed.extend_from_slice(sender.as_bytes());
    }
    packed
}

/// One row, as filters and listings read it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    rack: &'a Rack,
    row: u32,
}

impl<'a> View<'a> {
    fn name(self, column: &[u32]) -> Option<&'a str> {
        let number = column[self.row as usize];
        if number == NONE { None } else { Some(text(self.rack.names.get(number))) }
    }

    pub(super) fn id(self) -> &'a str {
        text(self.rack.id_bytes(self.row))
    }

    pub(super) fn parent_id(self) -> Option<&'a str> {
        self.name(&self.rack.parent)
    }

    pub(super) fn path(self) -> &'a str {
        self.name(&self.rack.path).unwrap_or_default()
    }

    pub(super) fn time_us(self) -> Option<i64> {
        Some(self.rack.time_us[self.row as usize]).filter(|&us| us != NO_TIME)
    }

    fn senders(self) -> impl Iterator<Item = &'a str> {
        let number = self.rack.senders[self.row as usize];
        let mut packed: &[u8] = if number == NONE { &[] } else { self.rack.names.get(number) };
        std::iter::from_fn(move || {
            let (len, rest) = packed.split_first_chunk::<4>()?;
            let (sender, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            packed = rest;
            Some(text(sender))
        })
    }

    /// Puts the memory together again; `None` when its payload was left out.
    pub(super) fn memory(self, owner: &Owner) -> Option<Result<Memory, codec::CodecError>> {
        let row = self.row as usize;
        let start = if row == 0 { 0 } else { self.rack.payload_end[row - 1] as usize };
        let payload = &self.rack.payload[start..self.rack.payload_end[row] as usize];
        if payload.is_empty() {
            return None;
        }
        let rest = codec::decode_rest(self.id(), payload);
        Some(rest.map(|codec::Rest { entry_id, message_ids, deprecated_by, body }| Memory {
            owner: owner.clone(),
            id: self.id().to_owned(),
            entry_id,
            path: self.path().to_owned(),
            session_id: self.name(&self.rack.session).map(str::to_owned),
            timestamp_us: self.time_us(),
            parent_type: self.name(&self.rack.parent_type).map(str::to_owned),
            parent_id: self.parent_id().map(str::to_owned),
            sender_ids: self.senders().map(str::to_owned).collect(),
            message_ids,
            deprecated_by,
            body,
        }))
    }
}

impl filter::Row for View<'_> {
    fn session_id(&self) -> Option<&str> {
        self.name(&self.rack.session)
    }

    fn timestamp_us(&self) -> Option<i64> {
        self.time_us()
    }

    fn parent_type(&self) -> Option<&str> {
        self.name(&self.rack.parent_type)
    }

    fn parent_id(&self) -> Option<&str> {
        self.name(&self.rack.parent)
    }

    fn sender_ids(&self) -> impl Iterator<Item = &str> {
        self.senders()
    }
}

/// Reads bytes that came from a `str`.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
