//! Case, accents, stop words and stems.

use super::script::is_mark;
use unicode_normalization::char::decompose_canonical;

/// Appends `word` to `out` in lower case, without the accents that people leave out when they type a question.
///
/// Latin, Greek, Hebrew and Arabic lose their marks; scripts where a mark makes another letter (Devanagari, Thai,
/// Japanese, Cyrillic й) keep them.
pub(super) fn fold_into(word: &str, out: &mut String) {
    if word.is_ascii() {
        out.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        return;
    }
    for lower in word.chars().flat_map(char::to_lowercase) {
        match lower {
            'a'..='z' | '0'..='9' => out.push(lower),
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ø' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'ł' => out.push('l'),
            'ħ' => out.push('h'),
            'ı' => out.push('i'),
            'ŋ' => out.push('n'),
            'ς' => out.push('σ'),
            'ё' => out.push('е'),
            '\u{640}' => {} // Arabic tatweel only stretches the line.
            '\u{2010}' | '\u{2011}' => out.push('-'),
            '\u{2018}' | '\u{2019}' => out.push('\''),
            _ if digit(lower).is_some() => out.extend(digit(lower)),
            _ if drops_marks(lower) => decompose_canonical(lower, |part| {
                if !is_mark(part) {
                    out.push(if part == 'ς' { 'σ' } else { part });
                }
            }),
            _ => out.push(lower),
        }
    }
}

/// Returns the ASCII digit for the decimal digits of Arabic, Persian and the scripts of India.
fn digit(c: char) -> Option<char> {
    const ZEROS: [u32; 11] = [0x660, 0x6f0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66];
    let code = u32::from(c);
    let zero = ZEROS.into_iter().find(|&zero| (zero..zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

fn drops_marks(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1fff}' | '\u{300}'..='\u{3ff}' | '\u{591}'..='\u{5c7}'
        | '\u{610}'..='\u{6dc}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}')
}

/// Tells whether a folded word is one of the words that say nothing alone. Source: contract D.4.
pub(super) fn is_stop_word(word: &str) -> bool {
    matches!(
        word,
        "a" | "an"
            | "and"
            | "are"
            | "as"
            | "at"
            | "be"
            | "been"
            | "being"
            | "but"
            | "by"
            | "did"
            | "do"
            | "does"
            | "for"
            | "had"
            | "has"
            | "have"
            | "if"
            | "in"
            | "is"
            | "it"
            | "its"
            | "of"
            | "on"
            | "or"
            | "that"
            | "the"
            | "these"
            | "this"
            | "those"
            | "to"
            | "was"
            | "were"
            | "with"
            | "不"
            | "与"
            | "也"
            | "了"
            | "他"
            | "你"
            | "及"
            | "吗"
            | "吧"
            | "呢"
            | "和"
            | "哦"
            | "啊"
            | "在"
            | "她"
            | "它"
            | "对"
            | "就"
            | "我"
            | "或"
            | "把"
            | "是"
            | "有"
            | "没"
            | "的"
            | "被"
            | "还"
            | "都"
    )
}
