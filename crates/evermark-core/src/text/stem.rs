//! English stems, remembered: the stemmer allocates several times per word, and prose repeats its words.

use rust_stemmers::{Algorithm, Stemmer};
use std::cell::RefCell;

/// Words remembered per thread: 64 KB. By Zipf's law a few thousand words make up most of any prose.
const SLOTS: usize = 2048;

/// Longest word remembered; longer ones are rare.
const WORD_MAX: usize = 24;

/// A word and its stem: how many of the word's letters it keeps, and the letters it puts after them.
#[derive(Clone, Copy, Default)]
struct Slot {
    word: [u8; WORD_MAX],
    len: u8,
    kept: u8,
    tail: [u8; 4],
    n_tail: u8,
}

thread_local! {
    static SEEN: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// Replaces a word of lower-case ASCII letters by its stem.
pub(super) fn stem(word: &mut String) {
    if word.len() > WORD_MAX {
        return forget(word);
    }
    SEEN.with_borrow_mut(|seen| {
        if seen.is_empty() {
            *seen = vec![Slot::default(); SLOTS];
        }
        let slot = &mut seen[place(word.as_bytes())];
        if slot.len as usize != word.len() || !slot.word.starts_with(word.as_bytes()) {
            let before = word.clone();
            forget(word);
            let kept = before.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
            let tail = &word.as_bytes()[kept..];
            let mut new =
                Slot { len: before.len() as u8, kept: kept as u8, n_tail: tail.len() as u8, ..Slot::default() };
            let Some(room) = new.tail.get_mut(..tail.len()) else { return };
            room.copy_from_slice(tail);
            new.word[..before.len()].copy_from_slice(before.as_bytes());
            *slot = new;
            return;
        }
        word.truncate(slot.kept as usize);
        word.extend(slot.tail[..slot.n_tail as usize].iter().map(|&letter| char::from(letter)));
    });
}

/// Stems without remembering.
fn forget(word: &mut String) {
    let stem = Stemmer::create(Algorithm::English).stem(word).into_owned();
    *word = stem;
}

/// Spreads words over the slots: FNV-1a, which is enough for short words.
fn place(word: &[u8]) -> usize {
    let hash = word
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 32) as usize % SLOTS
}
