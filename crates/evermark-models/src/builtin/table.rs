//! The table as it lies in the program. `xtask/src/distill/table.rs` writes it, and says what each byte is.

use crate::wordpiece::Pieces;

/// A view of a table's bytes.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    tokens: &'a [[u8; TOKEN]],
    slots: &'a [[u8; 2]],
    text: &'a [u8],
    scales: &'a [[u8; 4]],
    components: &'a [u8],
    dimension: usize,
}

const MAGIC: &[u8; 8] = b"EVMTABLE";
const VERSION: u32 = 1;
const HEADER: usize = 40;
const TOKEN: usize = 8;
const NO_VECTOR: u16 = u16::MAX;

/// Where FNV-1a starts. Source: Fowler, Noll and Vo, draft-eastlake-fnv.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl<'a> Table<'a> {
    /// Returns the view, `None` when these bytes are no table of the version that is known here. Reads only the header.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let (magic, header) = header.split_first_chunk()?;
        let (words, _) = header.as_chunks::<4>();
        let [version, n_tokens, n_vectors, dimension, n_slots, text_bytes, _, _] =
            <[[u8; 4]; 8]>::try_from(words).ok()?.map(|word| u32::from_le_bytes(word) as usize);
        if magic != MAGIC || version != VERSION as usize || !n_slots.is_power_of_two() {
            return None;
        }
        let (tokens, rest) = rest.split_at_checked(n_tokens * TOKEN)?;
        let (slots, rest) = rest.split_at_checked(n_slots * 2)?;
        let (text, rest) = rest.split_at_checked(text_bytes)?;
        let (scales, components) = rest.split_at_checked(n_vectors * 4)?;
        let (tokens, slots, scales) = (tokens.as_chunks().0, slots.as_chunks().0, scales.as_chunks().0);
        (components.len() == n_vectors * dimension).then_some(Self {
            tokens,
            slots,
            text,
            scales,
            components,
            dimension,
        })
    }

    /// Returns a byte of its token's hash for every slot, 0 where there is none. Most of what is looked for is not in the table,
    /// and that byte says so.
    pub(super) fn tags(&self) -> Vec<u8> {
        let tag = |slot: &[u8; 2]| {
            let (text, mark) = self.token(u16::from_le_bytes(*slot).checked_sub(1)?);
            Some(tag_of(text.iter().fold(step(FNV_BASIS, mark), |hash, byte| step(hash, *byte))))
        };
        self.slots.iter().map(|slot| tag(slot).unwrap_or(0)).collect()
    }

    /// Returns what a token says, and whether it goes on with a word.
    pub(super) fn token(&self, token: u16) -> (&'a [u8], u8) {
        let [a, b, c, d, length, mark, ..] = self.tokens[usize::from(token)];
        let start = u32::from_le_bytes([a, b, c, d]) as usize;
        (&self.text[start..start + usize::from(length)], mark)
    }

    /// Returns a token's row, as signed bytes, and what it is multiplied with; `None` for a token that means nothing.
    pub(super) fn vector(&self, token: u16) -> Option<(f32, &'a [u8])> {
        let [.., low, high] = self.tokens.get(usize::from(token))?;
        let vector = u16::from_le_bytes([*low, *high]);
        if vector == NO_VECTOR {
            return None;
        }
        let vector = usize::from(vector);
        let row = &self.components[vector * self.dimension..][..self.dimension];
        Some((f32::from_le_bytes(self.scales[vector]), row))
    }

    #[cfg(test)]
    pub(super) fn shape(&self) -> (usize, usize, usize) {
        (self.tokens.len(), self.scales.len(), self.dimension)
    }
}

/// A table to look pieces up in, with its [`Table::tags`].
#[derive(Clone, Copy)]
pub(super) struct Vocabulary<'a> {
    pub(super) table: Table<'a>,
    pub(super) tags: &'a [u8],
}

impl Vocabulary<'_> {
    fn find(&self, hash: u64, mark: u8, piece: &[u8]) -> Option<u16> {
        let (mask, wanted) = (self.tags.len() - 1, tag_of(hash));
        // The table is at most half full, so there is an empty slot.
        let mut slot = hash as usize & mask;
        loop {
            match self.tags[slot] {
                0 => return None,
                tag if tag == wanted => {
                    let token = u16::from_le_bytes(self.table.slots[slot]).checked_sub(1)?;
                    if self.table.token(token) == (piece, mark) {
                        return Some(token);
                    }
                }
                _ => {}
            }
            slot = (slot + 1) & mask;
        }
    }
}

impl Pieces for Vocabulary<'_> {
    type Piece = u16;

    fn longest(&self, word: &str, continues: bool) -> Option<(u16, usize)> {
        let mark = u8::from(continues);
        let bytes = &word.as_bytes()[..word.len().min(PIECE_BYTES_MAX)];
        let mut hashes = [0; PIECE_BYTES_MAX];
        let mut hash = step(FNV_BASIS, mark);
        for (place, byte) in hashes.iter_mut().zip(bytes) {
            hash = step(hash, *byte);
            *place = hash;
        }
        (1..=bytes.len())
            .rev()
            .filter(|&length| word.is_char_boundary(length))
            .find_map(|length| Some((self.find(hashes[length - 1], mark, &bytes[..length])?, length)))
    }
}

/// Longest piece of the vocabulary, in bytes, and a little more.
const PIECE_BYTES_MAX: usize = 24;

/// Returns bits of a hash that its place in the table is not made of; never 0.
fn tag_of(hash: u64) -> u8 {
    ((hash >> 32) as u8).max(1)
}

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
}

/// Returns the checksum that the header names, and what it should be.
#[cfg(test)]
pub(super) fn checksums(bytes: &[u8]) -> (u64, u64) {
    let named = bytes[32..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).unwrap_or_default();
    (named, bytes[HEADER..].iter().fold(FNV_BASIS, |hash, byte| step(hash, *byte)))
}
