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

    fn find(&self, hash: u64, mark: u8, piece: &[u8]) -> Option<u16> {
        let mask = self.slots.len() - 1;
        // The table is at most half full, so there is an empty slot.
        let mut slot = hash as usize & mask;
        loop {
            let token = u16::from_le_bytes(self.slots[slot]).checked_sub(1)?;
            let [a, b, c, d, length, marked, ..] = self.tokens[usize::from(token)];
            let start = u32::from_le_bytes([a, b, c, d]) as usize;
            if usize::from(length) == piece.len() && marked == mark && self.text[start..].starts_with(piece) {
                return Some(token);
            }
            slot = (slot + 1) & mask;
        }
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

impl Pieces for Table<'_> {
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

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
}

/// Returns the checksum that the header names, and what it should be.
#[cfg(test)]
pub(super) fn checksums(bytes: &[u8]) -> (u64, u64) {
    let named = bytes[32..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).unwrap_or_default();
    (named, bytes[HEADER..].iter().fold(FNV_BASIS, |hash, byte| step(hash, *byte)))
}
