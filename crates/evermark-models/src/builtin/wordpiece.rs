//! Cuts a text as BERT's uncased models do: words in lower case without accents, then the longest known pieces of each.
//!
//! Source: Devlin et al. 2018, `tokenization.py`; a test compares with the `tokenizers` library. Two differences are meant:
//! `[SEP]` and the like in a text are words in brackets here, never the model's own marks; and the spacing marks of Indic
//! scripts, which the table does not read, go the way of accents.

use super::punctuation::{is_invisible, is_punctuation};
use super::table::Table;
use unicode_normalization::char::{decompose_canonical, is_combining_mark};

/// Longer words are one unknown piece. Source: `max_input_chars_per_word`.
const WORD_CHARS_MAX: usize = 100;

/// Cuts texts with one table's vocabulary; keeps its buffers from text to text.
pub(super) struct Cutter<'a> {
    table: Table<'a>,
    word: String,
    pieces: Vec<u16>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(table: Table<'a>) -> Self {
        Self { table, word: String::new(), pieces: Vec::new() }
    }

    /// Gives `each` every word and mark of punctuation in order, with its pieces: none when it is not made of known ones.
    pub(super) fn words(&mut self, text: &str, each: &mut impl FnMut(&str, &[u16])) {
        for c in text.chars() {
            match c {
                'a'..='z' | '0'..='9' => self.word.push(c),
                'A'..='Z' => self.word.push(c.to_ascii_lowercase()),
                ' ' | '\t' | '\n' | '\r' => self.end(each),
                _ if is_invisible(c) => {}
                _ if c.is_whitespace() => self.end(each),
                _ if c.is_ascii_punctuation() => self.alone(c, each),
                _ if is_chinese(c) => {
                    self.end(each);
                    self.letters(c, each);
                    self.end(each);
                }
                _ => self.letters(c, each),
            }
        }
        self.end(each);
    }

    /// Takes a character apart and adds what is left of it without accents.
    fn letters(&mut self, c: char, each: &mut impl FnMut(&str, &[u16])) {
        decompose_canonical(c, |part| {
            if is_combining_mark(part) {
                return;
            }
            for part in part.to_lowercase() {
                if is_punctuation(part) {
                    self.alone(part, each);
                } else {
                    self.word.push(part);
                }
            }
        });
    }

    fn alone(&mut self, c: char, each: &mut impl FnMut(&str, &[u16])) {
        self.end(each);
        self.word.push(c);
        self.end(each);
    }

    fn end(&mut self, each: &mut impl FnMut(&str, &[u16])) {
        if self.word.is_empty() {
            return;
        }
        self.pieces.clear();
        if self.word.len() <= WORD_CHARS_MAX || self.word.chars().count() <= WORD_CHARS_MAX {
            let mut at = 0;
            while at < self.word.len() {
                let Some((piece, length)) = self.table.longest(&self.word[at..], at > 0) else {
                    self.pieces.clear();
                    break;
                };
                self.pieces.push(piece);
                at += length;
            }
        }
        each(&self.word, &self.pieces);
        self.word.clear();
    }
}

/// Tells whether BERT takes this character for a word of its own.
fn is_chinese(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}'
        | '\u{2a700}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}' | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}
