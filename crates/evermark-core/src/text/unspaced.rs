//! Writing without spaces between words: Chinese by dictionary, the others as overlapping pairs.

use super::fold::is_stop_word;
use super::script::{is_han, is_katakana};
use super::{Analysis, Side};
use jieba_rs::Jieba;
use std::sync::LazyLock;
use unicode_segmentation::UnicodeSegmentation;

/// The Chinese dictionary: read on first use, because most vaults never need its memory.
static DICTIONARY: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// Most characters cut at once: bounds the working memory, far above any sentence.
const CUT_CHARS_MAX: usize = 2048;

/// Yields the words of a Chinese run and the words inside them, as jieba's search mode.
///
/// A word the dictionary lacks (a name, a new word) also yields its pairs, because the next sentence may cut it
/// elsewhere. A question that meets such words yields all its pairs, which also finds Japanese rows.
pub(super) fn chinese(run: &str, analysis: &mut Analysis<'_>) {
    let mut rest = run;
    while !rest.is_empty() {
        let at = rest.char_indices().nth(CUT_CHARS_MAX).map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(at);
        chinese_piece(piece, analysis);
        rest = tail;
    }
}

fn chinese_piece(piece: &str, analysis: &mut Analysis<'_>) {
    let mut unknown = false;
    for token in DICTIONARY.cut_for_search(piece, true) {
        let n_chars = token.end - token.start;
        let known = n_chars > 1 && DICTIONARY.has_word(token.word);
        unknown |= !known && !is_stop_word(token.word);
        if !is_stop_word(token.word) {
            analysis.term(token.word);
        }
        if !known && n_chars > 2 && analysis.side == Side::Row {
            pairs(token.word, analysis);
        }
    }
    if unknown && analysis.side == Side::Question {
        pairs(piece, analysis);
    }
}

/// Yields the pairs of a Japanese run; besides them, loan words whole and characters that stand alone.
pub(super) fn japanese(run: &str, analysis: &mut Analysis<'_>) {
    pairs(run, analysis);
    let mut rest = run;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| is_han(c) == is_han(first) && is_katakana(c) == is_katakana(first);
        let end = rest.char_indices().find(|&(_, c)| !same(c)).map_or(rest.len(), |(at, _)| at);
        let (part, tail) = rest.split_at(end);
        let alone = part.chars().nth(1).is_none();
        if (is_han(first) && alone) || (is_katakana(first) && part.chars().nth(2).is_some()) {
            analysis.term(part);
        }
        rest = tail;
    }
}

/// Yields a Korean word, and its pairs when it is long enough to carry a particle.
pub(super) fn korean(run: &str, analysis: &mut Analysis<'_>) {
    analysis.term(run);
    if run.chars().nth(2).is_some() {
        pairs(run, analysis);
    }
}

/// Yields the pairs of a run, never parting a letter from its marks.
pub(super) fn graphemes(run: &str, analysis: &mut Analysis<'_>) {
    let mut ends = run.grapheme_indices(true).map(|(at, grapheme)| (at, at + grapheme.len()));
    let Some(mut before) = ends.next() else { return };
    let mut alone = true;
    for this in ends {
        analysis.term(&run[before.0..this.1]);
        before = this;
        alone = false;
    }
    if alone {
        analysis.term(run);
    }
}

/// Yields every two neighbouring characters.
fn pairs(run: &str, analysis: &mut Analysis<'_>) {
    let mut ends = run.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
    let Some(mut before) = ends.next() else { return };
    for this in ends {
        analysis.term(&run[before.0..this.1]);
        before = this;
    }
}
