//! Texts stored once each and known by number: one allocation for all of them.

use foldhash::quality::FixedState;
use std::hash::{BuildHasher, Hasher};

/// No text, no row, no place.
pub(super) const NONE: u32 = u32::MAX;

/// Returns a 64-bit fingerprint: the same for the same bytes within one program.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    // The variant that spreads evenly over all bits: postings are placed by the first ones, names by the last.
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Adds to a column, growing by an eighth: doubling would waste up to half of what a shelf may use.
pub(super) fn push<T>(column: &mut Vec<T>, value: T) {
    if column.len() == column.capacity() {
        column.reserve_exact(column.len() / 8 + 16);
    }
    column.push(value);
}

/// Adds many, growing as [`push`] does.
pub(super) fn extend<T: Copy>(column: &mut Vec<T>, values: &[T]) {
    if column.capacity() - column.len() < values.len() {
        column.reserve_exact(values.len().max(column.len() / 8 + 16));
    }
    column.extend_from_slice(values);
}

pub(super) fn bytes_of<T>(column: &Vec<T>) -> usize {
    column.capacity() * size_of::<T>()
}

/// The texts.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each text ends.
    ends: Vec<u32>,
    /// Open addressing: numbers of texts, [`NONE`] where free; a power of two, at most 7/8 full.
    table: Vec<u32>,
}

impl Names {
    /// Returns how many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns the bytes of a text.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    /// Returns the number of a text that is there.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        Some(self.table[self.slot(bytes)]).filter(|&number| number != NONE)
    }

    /// Returns the number of a text, storing it if need be; `None` when there is no more room for numbers.
    pub(super) fn intern(&mut self, bytes: &[u8]) -> Option<u32> {
        if (self.ends.len() + 1) * 8 > self.table.len() * 7 {
            self.grow();
        }
        let slot = self.slot(bytes);
        if self.table[slot] != NONE {
            return Some(self.table[slot]);
        }
        let number = u32::try_from(self.ends.len()).ok().filter(|&number| number != NONE)?;
        let end = u32::try_from(self.bytes.len() + bytes.len()).ok()?;
        extend(&mut self.bytes, bytes);
        push(&mut self.ends, end);
        self.table[slot] = number;
        Some(number)
    }

    /// Returns where a text is in the table, or where it would go.
    fn slot(&self, bytes: &[u8]) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = fingerprint(bytes) as usize & mask;
        while self.table[slot] != NONE && self.get(self.table[slot]) != bytes {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.table = vec![NONE; (self.table.len() * 2).max(16)];
        for number in 0..self.ends.len() as u32 {
            let slot = self.slot(self.get(number));
            self.table[slot] = number;
        }
    }

    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Returns allocated bytes.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.bytes) + bytes_of(&self.ends) + bytes_of(&self.table)
    }
}
