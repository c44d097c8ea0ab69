//! Which writing system a character belongs to, as far as cutting words cares.

/// How the run a character starts is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Letters, digits and marks of scripts that put spaces between words.
    Word,
    Han,
    Kana,
    Hangul,
    /// Thai, Lao, Khmer, Myanmar and their relatives: no spaces, no dictionary here.
    Unspaced,
    /// Everything that ends a word.
    Break,
}

/// Returns the class of a character. Block boundaries are those of Unicode 17.
pub(super) fn class(c: char) -> Class {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Class::Word } else { Class::Break };
    }
    match c {
        '\u{3005}' | '\u{3007}' | '\u{303b}' => Class::Han,
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}' => {
            Class::Han
        }
        _ if is_kana(c) => Class::Kana,
        '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' => {
            Class::Hangul
        }
        _ if is_unspaced(c) => Class::Unspaced,
        _ if c.is_alphanumeric() || is_mark(c) => Class::Word,
        _ => Class::Break,
    }
}

/// Tells Hiragana and Katakana, the long-vowel mark included; not the middle dot, which parts words.
pub(super) fn is_kana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{3096}' | '\u{3099}'..='\u{309f}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}'
        | '\u{31f0}'..='\u{31ff}' | '\u{1b000}'..='\u{1b16f}')
}

pub(super) fn is_katakana(c: char) -> bool {
    matches!(c, '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}')
}

pub(super) fn is_han(c: char) -> bool {
    class(c) == Class::Han
}

fn is_unspaced(c: char) -> bool {
    let block = matches!(c,
        '\u{0e01}'..='\u{0e3a}' | '\u{0e40}'..='\u{0e4e}' // Thai, without currency, digits and final marks
        | '\u{0e80}'..='\u{0ecf}' | '\u{0edc}'..='\u{0edf}' // Lao
        | '\u{1000}'..='\u{103f}' | '\u{104c}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ef}' | '\u{aa60}'..='\u{aa7f}' // Myanmar
        | '\u{1780}'..='\u{17d3}' | '\u{17dc}'..='\u{17dd}' // Khmer
        | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1a8f}'); // Tai Le, New Tai Lue, Tai Tham
    block && (c.is_alphabetic() || is_mark(c))
}

/// Tells marks that belong to the letter before them.
pub(super) fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Tells characters that are not seen and part nothing: joiners, soft hyphen, byte-order mark, direction marks, variation selectors.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}
