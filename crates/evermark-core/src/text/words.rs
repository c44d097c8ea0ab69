//! Words and compounds of scripts that use spaces: prose, identifiers, paths, versions, dates, addresses.
//!
//! A run is everything between white space that holds together (`src/foo_bar.rs:12`). It yields itself, its segments
//! (between `/ \ : @`), their parts (between `. _ - + & '`), and the pieces of those (camel case, letters and digits).
//! Only purely alphabetic terms are stemmed, so that a term's form never depends on what it was cut from.

use super::fold::{fold_into, is_stop_word};
use super::script::{self, Class};
use super::stem::stem;
use super::{Analysis, TERM_BYTES_MAX};

/// Longest plain word, in bytes; the longest English word in use has 45 letters. The rest of a longer one is noise.
const WORD_BYTES_MAX: usize = 64;

/// Most pieces a word is cut into by case and digits: above it, the word is a hash, not a name.
const PIECES_MAX: usize = 6;

/// Returns the length of the run at the start of `text`, which begins with a word character.
pub(super) fn run_len(text: &str) -> usize {
    let mut end = 0;
    while end < text.len() {
        let len = word_len(&text[end..]);
        if len == 0 {
            break;
        }
        end += len;
        let joint = joint_len(&text[end..], &text[..end]);
        if joint == 0 {
            return end + suffix_len(&text[..end], &text[end..]);
        }
        end += joint;
    }
    end
}

fn word_len(text: &str) -> usize {
    text.char_indices().find(|&(_, c)| script::class(c) != Class::Word).map_or(text.len(), |(at, _)| at)
}

/// Returns the length of what joins the word before with a word after, or 0.
fn joint_len(text: &str, before: &str) -> usize {
    let joint: &str = match text.as_bytes().first() {
        Some(b':') if text.starts_with("://") => "://",
        Some(b':') if text.starts_with("::") => "::",
        Some(b'_') if text.starts_with("__") => "__",
        Some(b'_' | b'-' | b'.' | b'/' | b'\\' | b':' | b'@' | b'\'' | b'+' | b'&') => &text[..1],
        Some(b',') if is_thousand(&text[1..]) && before.ends_with(|c: char| c.is_ascii_digit()) => ",",
        Some(0xe2) => match text.chars().next() {
            Some(c @ ('\u{2010}' | '\u{2011}' | '\u{2018}' | '\u{2019}')) => &text[..c.len_utf8()],
            _ => return 0,
        },
        _ => return 0,
    };
    match text[joint.len()..].chars().next() {
        Some(next) if script::class(next) == Class::Word => joint.len(),
        _ => 0,
    }
}

/// Tells whether three digits follow and no fourth: the second half of `1,234`.
fn is_thousand(text: &str) -> bool {
    let digits = text.bytes().take(4).take_while(u8::is_ascii_digit).count();
    digits == 3
}

/// Returns the length of the sign that belongs to a short name: `c++`, `c#`, `f#`.
fn suffix_len(run: &str, rest: &str) -> usize {
    if run.len() > 2 || !run.bytes().all(|b| b.is_ascii_alphabetic()) {
        return 0;
    }
    let sign = ["++", "#"].into_iter().find(|sign| rest.starts_with(sign)).unwrap_or_default();
    let goes_on = rest[sign.len()..].chars().next().is_some_and(|c| script::class(c) == Class::Word);
    if goes_on { 0 } else { sign.len() }
}

/// Yields the terms of one run.
pub(super) fn run(run: &str, analysis: &mut Analysis<'_>) {
    let mut run = run;
    while let Some((date, len)) = date(run) {
        date_terms(&date, analysis);
        // What follows is a time of day: `T10:30`.
        run = run[len..].trim_start_matches(|c: char| !c.is_ascii_digit());
    }
    if run.bytes().all(|b| b.is_ascii_alphanumeric() || b >= 0x80) && !run.contains(is_joint) {
        return word(run, analysis);
    }
    if run.ends_with(['+', '#']) {
        return whole(run, analysis);
    }
    let mut segments = run.split(['/', '\\', ':', '@']).filter(|segment| !segment.is_empty());
    let (first, second) = (segments.next(), segments.next());
    if let (Some(first), Some(second)) = (first, second) {
        whole(run, analysis);
        for part in [first, second].into_iter().chain(segments) {
            segment(part, true, analysis);
        }
    } else if let Some(only) = first {
        segment(only, false, analysis);
    }
}

fn is_joint(c: char) -> bool {
    matches!(c, '\u{2010}' | '\u{2011}' | '\u{2018}' | '\u{2019}')
}

/// Yields a segment, then its parts. `inner`: the segment is itself a part of something, so one character says nothing.
fn segment(text: &str, inner: bool, analysis: &mut Analysis<'_>) {
    let cut = without_clitic(text);
    let text = cut.as_ref();
    let is_separator = |c: char| matches!(c, '.' | '_' | '-' | '+' | '&' | '\'') || is_joint(c);
    let parts = || text.split(is_separator).filter(|part| !part.is_empty());
    let Some(first) = parts().next() else { return };
    let Some(second) = parts().nth(1) else {
        if !(inner && first.chars().nth(1).is_none()) {
            word(first, analysis);
        }
        return;
    };
    if text.contains(',') || text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return number(text, analysis);
    }
    let letters = |part: &str| part.chars().all(char::is_alphabetic);
    let short = |part: &str, max: usize| part.chars().nth(max).is_none();
    if parts().all(|part| letters(part) && short(part, 1)) {
        // An abbreviation: U.S.A., e.g., R&D.
        return joined(parts(), analysis);
    }
    let two = parts().nth(2).is_none();
    if two && letters(first) && letters(second) && (short(first, 2) || short(second, 2)) && text.contains('-') {
        // One word that some write without the hyphen: e-mail, wi-fi, t-shirt.
        joined([first, second].into_iter(), analysis);
    } else {
        whole(text, analysis);
        if text.starts_with(['v', 'V']) && text[1..].starts_with(|c: char| c.is_ascii_digit()) {
            whole(&text[1..], analysis);
        }
    }
    for part in parts().filter(|part| !short(part, 1)) {
        word(part, analysis);
    }
}

/// Takes off what an apostrophe hangs on a word: `user's`, `we'll`, `didn't`.
fn without_clitic(text: &str) -> std::borrow::Cow<'_, str> {
    let Some((at, mark)) = text.char_indices().rev().find(|&(_, c)| matches!(c, '\'' | '\u{2018}' | '\u{2019}')) else {
        return text.into();
    };
    let (base, tail) = (&text[..at], &text[at + mark.len_utf8()..]);
    if ["s", "d", "m", "ll", "re", "ve"].into_iter().any(|clitic| tail.eq_ignore_ascii_case(clitic)) {
        return base.into();
    }
    if tail.eq_ignore_ascii_case("t") && base.ends_with(['n', 'N']) {
        return match base.to_ascii_lowercase().as_str() {
            "can" => "can".into(),
            "won" => "will".into(),
            "shan" => "shall".into(),
            _ => base[..base.len() - 1].into(),
        };
    }
    text.into()
}

/// Yields a number, thousands unmarked: whole; the parts only when it is a version or an address (`10.0.12.7`).
fn number(text: &str, analysis: &mut Analysis<'_>) {
    let plain = text.replace(',', "");
    whole(&plain, analysis);
    if plain.bytes().filter(|&b| b == b'.').count() > 1 {
        for part in plain.split('.').filter(|part| part.len() > 1) {
            whole(part, analysis);
        }
    }
}

/// Yields parts written together.
fn joined<'a>(parts: impl Iterator<Item = &'a str>, analysis: &mut Analysis<'_>) {
    let together: String = parts.take(TERM_BYTES_MAX).collect();
    plain(&together, analysis);
}

/// Yields text as it stands, folded; nothing when it is too long to be asked for.
fn whole(text: &str, analysis: &mut Analysis<'_>) {
    if text.len() > TERM_BYTES_MAX {
        return;
    }
    let mut buffer = std::mem::take(&mut analysis.buffer);
    buffer.clear();
    fold_into(text, &mut buffer);
    analysis.term(&buffer);
    analysis.buffer = buffer;
}

/// Yields a word without joints: itself, and its pieces when case or digits part it.
fn word(word: &str, analysis: &mut Analysis<'_>) {
    let word = &word[..word.floor_char_boundary(WORD_BYTES_MAX)];
    plain(word, analysis);
    let bytes = word.as_bytes();
    let is_name = word.is_ascii()
        && (bytes.iter().skip(1).any(u8::is_ascii_uppercase) || bytes.iter().any(u8::is_ascii_digit))
        && bytes.iter().any(u8::is_ascii_alphabetic);
    if !is_name {
        return;
    }
    let mut cuts = [0; PIECES_MAX];
    let Some(n_cuts) = boundaries(bytes, &mut cuts) else { return };
    if n_cuts == 0 {
        return;
    }
    // Letters up to the first digit, when they are themselves several pieces: `httpserver` of `HTTPServer2`.
    let letters = bytes.iter().position(u8::is_ascii_digit).unwrap_or(0);
    if letters > 0 && cuts[..n_cuts].iter().any(|&cut| cut < letters) {
        plain(&word[..letters], analysis);
    }
    let mut start = 0;
    for end in cuts[..n_cuts].iter().copied().chain([word.len()]) {
        if end - start > 1 {
            plain(&word[start..end], analysis);
        }
        start = end;
    }
}

/// Finds where case or digits part a word; returns how many cuts there are, `None` when they are too many.
fn boundaries(bytes: &[u8], cuts: &mut [usize; PIECES_MAX]) -> Option<usize> {
    let plural = bytes.strip_suffix(b"s").is_some_and(|stem| stem.iter().all(u8::is_ascii_uppercase));
    if plural {
        return Some(0); // PDFs
    }
    let mut n_cuts = 0;
    for at in 1..bytes.len() {
        let (a, b) = (bytes[at - 1], bytes[at]);
        let next_is_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let cut = a.is_ascii_digit() != b.is_ascii_digit()
            || (a.is_ascii_lowercase() && b.is_ascii_uppercase())
            || (a.is_ascii_uppercase() && b.is_ascii_uppercase() && next_is_lower);
        if cut {
            *cuts.get_mut(n_cuts)? = at;
            n_cuts += 1;
        }
    }
    Some(n_cuts)
}

/// Yields one word: folded, not a stop word, stemmed when it is alphabetic. Single letters say nothing; digits may.
fn plain(word: &str, analysis: &mut Analysis<'_>) {
    let mut buffer = std::mem::take(&mut analysis.buffer);
    buffer.clear();
    fold_into(word, &mut buffer);
    let single_letter = buffer.chars().nth(1).is_none() && !buffer.starts_with(char::is_numeric);
    if !single_letter && !is_stop_word(&buffer) {
        if buffer.len() > 2 && buffer.bytes().all(|b| b.is_ascii_lowercase()) {
            stem(&mut buffer);
        }
        analysis.term(&buffer);
    }
    analysis.buffer = buffer;
}

/// Reads a date (`2025-12-01`, `2025/12/1`, `2025.12.01`) at the start of a run: year, month, day, and its length.
fn date(run: &str) -> Option<([u32; 3], usize)> {
    let bytes = run.as_bytes();
    let number = |from: usize, most: usize| -> Option<(u32, usize)> {
        let len = bytes.get(from..)?.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        Some((run.get(from..from + len)?.parse().ok()?, len))
    };
    let (year, 4) = number(0, 4)? else { return None };
    let separator = *bytes.get(4)?;
    let (month, month_len) = number(5, 2)?;
    let day_at = 5 + month_len + 1;
    if !matches!(separator, b'-' | b'/' | b'.') || bytes.get(day_at - 1) != Some(&separator) {
        return None;
    }
    let (day, day_len) = number(day_at, 2)?;
    let end = day_at + day_len;
    let ends = match bytes.get(end) {
        None => true,
        Some(b'T' | b't' | b'_' | b':') => bytes.get(end + 1).is_some_and(u8::is_ascii_digit),
        Some(_) => false,
    };
    let plausible = (1000..=2999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    (ends && plausible).then_some(([year, month, day], end))
}

/// Yields a date in one spelling, its month, and its numbers.
fn date_terms(&[year, month, day]: &[u32; 3], analysis: &mut Analysis<'_>) {
    for term in [
        format!("{year}-{month:02}-{day:02}"),
        format!("{year}-{month:02}"),
        year.to_string(),
        format!("{month:02}"),
        format!("{day:02}"),
    ] {
        analysis.term(&term);
    }
}
