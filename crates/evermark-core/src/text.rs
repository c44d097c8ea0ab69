//! Text analysis: from what was written to the terms keyword search compares. Rows and questions pass the same rules.
//!
//! Flow: compatibility forms are unified (NFKC), each line is cut into runs of one writing system, and each run yields
//! terms: words of alphabetic scripts folded and stemmed, identifiers whole and by part, Chinese by dictionary, other
//! scripts without spaces as overlapping pairs. Invariants: a term is never empty, holds no white space, and is at
//! most [`TERM_BYTES_MAX`] long; time and output are linear in the input, whatever it is.

mod fold;
mod script;
mod spelling;
mod stem;
mod unspaced;
mod words;

#[cfg(test)]
mod tests;

pub use spelling::spellings;

use script::Class;
use std::borrow::Cow;
use std::collections::HashSet;

/// Names these rules. Rows analysed under another number must be analysed again.
pub const ANALYZER_VERSION: u32 = 1;

/// Longest term, in bytes. Longer identifiers are found by their parts, longer words by their beginning.
pub const TERM_BYTES_MAX: usize = 128;

/// Most terms one text yields: about 0.5 MB of prose, far above any memory; what follows is not searchable by keyword.
pub const TERMS_MAX: usize = 1 << 17;

/// Most distinct terms one question asks for: a pasted page still costs milliseconds.
pub const QUERY_TERMS_MAX: usize = 256;

/// Most bytes of one text that are read: a bound on memory, before [`TERMS_MAX`] bounds the output.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Returns the terms of a text that is stored, in order, repeats included.
pub fn terms(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    analyse(text, Side::Row, &mut |term| out.push(term.to_owned()));
    out
}

/// Returns [`terms`] joined by single spaces: what rows keep.
pub fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    analyse(text, Side::Row, &mut |term| {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(term);
    });
    out
}

/// Returns the words of a text as they are written, without what stands between them.
pub fn words_of(text: &str) -> impl Iterator<Item = &str> {
    unicode_segmentation::UnicodeSegmentation::unicode_words(text)
}

/// Returns the distinct terms of a question, in order, at most [`QUERY_TERMS_MAX`].
///
/// A question of stop words only, or of a single character, has none: it would match by accident.
pub fn query_terms(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    if text.trim().chars().nth(1).is_none() {
        return out;
    }
    let mut seen = HashSet::new();
    analyse(text, Side::Question, &mut |term| {
        if out.len() < QUERY_TERMS_MAX && seen.insert(term.to_owned()) {
            out.push(term.to_owned());
        }
    });
    out
}

/// Which side of the comparison a text is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Row,
    Question,
}

/// What the parts of the analyser share: the way out, its bound, and buffers.
struct Analysis<'a> {
    side: Side,
    emit: &'a mut dyn FnMut(&str),
    left: usize,
    buffer: String,
}

impl Analysis<'_> {
    /// Hands out one term, unless it is empty or too long.
    fn term(&mut self, term: &str) {
        if self.left > 0 && !term.is_empty() && term.len() <= TERM_BYTES_MAX {
            self.left -= 1;
            (self.emit)(term);
        }
    }
}

fn analyse(text: &str, side: Side, emit: &mut dyn FnMut(&str)) {
    let text = normalised(&text[..text.floor_char_boundary(TEXT_BYTES_MAX)]);
    let mut analysis = Analysis { side, emit, left: TERMS_MAX, buffer: String::new() };
    if text.is_ascii() {
        return line(&text, false, &mut analysis);
    }
    for part in text.lines() {
        line(part, part.chars().any(script::is_kana), &mut analysis);
    }
}

/// Cuts a line into runs of one writing system. `japanese` decides how Chinese characters are read.
fn line(text: &str, japanese: bool, analysis: &mut Analysis<'_>) {
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if analysis.left == 0 {
            return;
        }
        let rest = &text[at..];
        let len = match script::class(first) {
            Class::Break => first.len_utf8(),
            Class::Word => {
                let len = words::run_len(rest);
                words::run(&rest[..len], analysis);
                len
            }
            Class::Han | Class::Kana => {
                let len = run_len(rest, |class| matches!(class, Class::Han | Class::Kana));
                if japanese {
                    unspaced::japanese(&rest[..len], analysis);
                } else {
                    unspaced::chinese(&rest[..len], analysis);
                }
                len
            }
            Class::Hangul => {
                let len = run_len(rest, |class| class == Class::Hangul);
                unspaced::korean(&rest[..len], analysis);
                len
            }
            Class::Unspaced => {
                let len = run_len(rest, |class| class == Class::Unspaced);
                unspaced::graphemes(&rest[..len], analysis);
                len
            }
        };
        at += len;
    }
}

fn run_len(text: &str, belongs: impl Fn(Class) -> bool) -> usize {
    text.char_indices().find(|&(_, c)| !belongs(script::class(c))).map_or(text.len(), |(at, _)| at)
}

/// Unifies compatibility forms and takes out invisible characters.
fn normalised(text: &str) -> Cow<'_, str> {
    use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let visible = if text.contains(script::is_invisible) {
        // Zero-width space parts words (Khmer, Thai); joiners and soft hyphens do not.
        Cow::Owned(text.replace('\u{200b}', " ").replace(script::is_invisible, ""))
    } else {
        Cow::Borrowed(text)
    };
    match is_nfkc_quick(visible.chars()) {
        IsNormalized::Yes => visible,
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(visible.nfkc().collect()),
    }
}
