//! Cuts a text as BERT's models do: words (in lower case and without accents, where the model was taught so), then the
//! longest known pieces of each.
//!
//! Source: Devlin et al. 2018, `tokenization.py`; a test compares with the `tokenizers` library. Two differences are meant:
//! `[SEP]` and the like in a text are words in brackets here, never the model's own marks; and the spacing marks of Indic
//! scripts, which the built-in table does not read, go the way of accents.

mod punctuation;

use punctuation::{is_invisible, is_punctuation};
use unicode_normalization::char::{decompose_canonical, is_combining_mark};

/// Longer words are one unknown piece. Source: `max_input_chars_per_word`.
const WORD_CHARS_MAX: usize = 100;

/// A vocabulary of pieces.
pub(crate) trait Pieces {
    type Piece: Copy;

    /// Returns the longest piece that `word` begins with, and its length in bytes.
    fn longest(&self, word: &str, continues: bool) -> Option<(Self::Piece, usize)>;
}

/// What a model was taught about letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Lower case, no accents.
    Folded,
    /// As they stand.
    Kept,
}

/// Cuts texts with one vocabulary; keeps its buffers from text to text.
pub(crate) struct Cutter<P: Pieces> {
    vocabulary: P,
    case: Case,
    word: String,
    pieces: Vec<P::Piece>,
}

impl<P: Pieces> Cutter<P> {
    pub(crate) fn new(vocabulary: P, case: Case) -> Self {
        Self { vocabulary, case, word: String::new(), pieces: Vec::new() }
    }

    /// Gives `each` every word and mark of punctuation in order, with its pieces: none when it is not made of known ones.
    pub(crate) fn words(&mut self, text: &str, each: &mut impl FnMut(&str, &[P::Piece])) {
        for c in text.chars() {
            match c {
                'a'..='z' | '0'..='9' => self.word.push(c),
                'A'..='Z' if self.case == Case::Folded => self.word.push(c.to_ascii_lowercase()),
                'A'..='Z' => self.word.push(c),
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

    /// Adds a character, or what is left of it without accents.
    fn letters(&mut self, c: char, each: &mut impl FnMut(&str, &[P::Piece])) {
        if self.case == Case::Kept {
            return self.letter(c, each);
        }
        decompose_canonical(c, |part| {
            if !is_combining_mark(part) {
                part.to_lowercase().for_each(|part| self.letter(part, each));
            }
        });
    }

    fn letter(&mut self, c: char, each: &mut impl FnMut(&str, &[P::Piece])) {
        if is_punctuation(c) {
            self.alone(c, each);
        } else {
            self.word.push(c);
        }
    }

    fn alone(&mut self, c: char, each: &mut impl FnMut(&str, &[P::Piece])) {
        self.end(each);
        self.word.push(c);
        self.end(each);
    }

    fn end(&mut self, each: &mut impl FnMut(&str, &[P::Piece])) {
        if self.word.is_empty() {
            return;
        }
        self.pieces.clear();
        if self.word.len() <= WORD_CHARS_MAX || self.word.chars().count() <= WORD_CHARS_MAX {
            let mut at = 0;
            while at < self.word.len() {
                let Some((piece, length)) = self.vocabulary.longest(&self.word[at..], at > 0) else {
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
