//! A set of small numbers, one bit each.

use super::names::bytes_of;

#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Makes an empty set with room for numbers below `len`.
    pub(super) fn with_room(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)] }
    }

    pub(super) fn has(&self, number: u32) -> bool {
        let word = self.words.get(number as usize / 64).copied().unwrap_or_default();
        word >> (number % 64) & 1 == 1
    }

    pub(super) fn set(&mut self, number: u32, is_in: bool) {
        let at = number as usize / 64;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let bit = 1 << (number % 64);
        if is_in {
            self.words[at] |= bit;
        } else {
            self.words[at] &= !bit;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.words)
    }
}
