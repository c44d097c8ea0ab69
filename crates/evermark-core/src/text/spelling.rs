//! Other spellings of a word: what may have been meant by one that no row holds.

use super::terms;
use std::collections::BTreeSet;

/// Shorter words have too many neighbours, longer ones are no words.
const LETTERS: std::ops::RangeInclusive<usize> = 4..=24;

/// Returns the terms of all words that are one slip of the finger away: a letter too many, one missing, one wrong, or two
/// in the wrong order. Nothing for what is not a plain word of Latin letters.
///
/// The first letter is kept: it is seldom wrong, and a fifth of the work. At most some 1,200 terms, in about a millisecond.
pub fn spellings(word: &str) -> Vec<String> {
    let word = word.to_lowercase();
    if !LETTERS.contains(&word.len()) || !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Vec::new();
    }
    let own: BTreeSet<String> = terms(&word).into_iter().collect();
    let mut found = BTreeSet::new();
    let mut offer = |spelling: String| {
        // A stop word has no terms, and an identifier has several: neither was meant.
        if let [term] = terms(&spelling).as_slice()
            && !own.contains(term)
        {
            found.insert(term.clone());
        }
    };
    for at in 1..word.len() {
        let (head, tail) = (&word[..at], &word[at..]);
        offer(format!("{head}{}", &tail[1..]));
        if tail.len() > 1 {
            offer(format!("{head}{}{}{}", &tail[1..2], &tail[..1], &tail[2..]));
        }
        for letter in 'a'..='z' {
            offer(format!("{head}{letter}{}", &tail[1..]));
            offer(format!("{head}{letter}{tail}"));
        }
    }
    for letter in 'a'..='z' {
        offer(format!("{word}{letter}"));
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_found(typed: &str, meant: &str) -> bool {
        let meant = terms(meant);
        // Some slips are in an ending, which the stem has not.
        terms(typed) == meant || spellings(typed).iter().any(|term| meant == [term.as_str()])
    }

    #[test]
    fn one_slip_is_found() {
        for (typed, meant) in [
            ("restarant", "restaurant"),
            ("restauurant", "restaurant"),
            ("restaurent", "restaurant"),
            ("resturaant", "resturant"),
            ("Lizbon", "Lisbon"),
            ("kubernets", "kubernetes"),
            ("teh cat", "nothing"),
        ] {
            assert_eq!(is_found(typed, meant), meant != "nothing", "{typed}");
        }
    }

    #[test]
    fn what_is_no_word_has_no_other_spelling() {
        for word in ["", "abc", "src/main.rs", "a1b2", "上海天气", "straße", &"x".repeat(25)] {
            assert_eq!(spellings(word), Vec::<String>::new(), "{word}");
        }
        assert!(!spellings("coffee").contains(&terms("coffee")[0]), "the word itself is no other spelling");
        assert!(spellings(&"ab".repeat(12)).len() < 1300);
    }
}
