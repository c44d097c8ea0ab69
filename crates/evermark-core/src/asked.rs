//! What a question asks for beyond its words: phrases in quotation marks, and days, months or years that it names.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

#[cfg(test)]
mod tests;

/// Quotation marks, opening and closing.
const QUOTES: [(char, char); 8] =
    [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('‹', '›'), ('「', '」'), ('『', '』'), ('`', '`')];

/// Names of months: English and German, in full and short.
const MONTHS: [&[&str]; 12] = [
    &["january", "jan", "januar"],
    &["february", "feb", "februar"],
    &["march", "mar", "märz"],
    &["april", "apr"],
    &["may", "mai"],
    &["june", "jun", "juni"],
    &["july", "jul", "juli"],
    &["august", "aug"],
    &["september", "sep", "sept"],
    &["october", "oct", "oktober", "okt"],
    &["november", "nov"],
    &["december", "dec", "dezember", "dez"],
];

/// Returns the phrases that a question quotes, lower case, white space unified; those of a single word, too.
pub fn phrases(question: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = question;
    while let Some((at, open)) = rest.char_indices().find(|(_, c)| QUOTES.iter().any(|(open, _)| open == c)) {
        let inside = &rest[at + open.len_utf8()..];
        let closes = |c: char| QUOTES.iter().any(|(own, close)| *own == open && *close == c);
        let Some(end) = inside.find(closes) else { break };
        let phrase = unified(&inside[..end]);
        if phrase.chars().any(char::is_alphanumeric) {
            found.push(phrase);
        }
        let closing = inside[end..].chars().next().map_or(0, char::len_utf8);
        rest = &inside[end + closing..];
    }
    found
}

/// Returns a text as [`phrases`] are compared with it.
pub fn unified(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Returns the time that a question names, as microseconds since 1970, the end exclusive: a day (`2023-05-07`, `7 May 2023`,
/// `May 7th, 2023`, `7.5.2023`, `2023年5月7日`) or a month (`2023-05`, `May 2023`, `2023年5月`) in `zone`. The first one counts; a
/// month or a day without its year names no time.
pub fn time(question: &str, zone: &TimeZone) -> Option<(i64, i64)> {
    let (first, span) = date(question)?;
    let us = |date: Date| Some(date.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond());
    Some((us(first)?, us(first.checked_add(span).ok()?)?))
}

fn date(question: &str) -> Option<(Date, Span)> {
    let words: Vec<String> = question
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric() && !matches!(c, '-' | '/' | '.'))
        .map(|word| word.trim_matches(['.', '-', '/']).to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let next = |n: usize| words.get(at + n).map(String::as_str);
        numeric(word).or_else(|| chinese(word)).or_else(|| {
            // 7 May 2023, 7th of May 2023
            let gap = usize::from(next(1) == Some("of"));
            let by_day = || day(Some(year(next(gap + 2)?)?), month(next(gap + 1)?), number(word)?);
            // May 7 2023, May 7th 2023
            let by_month = || day(Some(year(next(2)?)?), month(word), number(next(1)?)?);
            let whole = || month_of(year(next(1)?)?, month(word)?);
            by_day().or_else(by_month).or_else(whole)
        })
    })
}

/// Reads `2023-05-07`, `2023/5/7`, `2023-05` and `7.5.2023`.
fn numeric(word: &str) -> Option<(Date, Span)> {
    let parts: Vec<&str> = word.split(['-', '/', '.']).collect();
    let n = |text: &str| text.parse::<i8>().ok();
    match parts.as_slice() {
        [first, second, third] if first.len() == 4 => day(year(first), n(second), n(third)?),
        [first, second, third] if third.len() == 4 && word.contains('.') => day(year(third), n(second), n(first)?),
        [first, second] if first.len() == 4 && word.contains('-') => month_of(year(first)?, n(second)?),
        _ => None,
    }
}

/// Reads `2023年5月7日` and `2023年5月`.
fn chinese(word: &str) -> Option<(Date, Span)> {
    let at = word.find('年')?;
    let before = word[..at].char_indices().rev().take_while(|(_, c)| c.is_ascii_digit()).last()?.0;
    let year = year(&word[before..at])?;
    let (month, rest) = word[at + '年'.len_utf8()..].split_once('月')?;
    let month = month.parse().ok()?;
    match rest.split_once(['日', '号']).and_then(|(number, _)| number.parse().ok()) {
        Some(number) => day(Some(year), Some(month), number),
        None => month_of(year, month),
    }
}

fn day(year: Option<i16>, month: Option<i8>, number: i8) -> Option<(Date, Span)> {
    Some((Date::new(year?, month?, number).ok()?, 1.day()))
}

fn month_of(year: i16, month: i8) -> Option<(Date, Span)> {
    Some((Date::new(year, month, 1).ok()?, 1.month()))
}

fn year(word: &str) -> Option<i16> {
    let year = word.parse().ok().filter(|_| word.len() == 4)?;
    (1900..=2200).contains(&year).then_some(year)
}

fn month(word: &str) -> Option<i8> {
    let at = MONTHS.iter().position(|names| names.contains(&word))?;
    i8::try_from(at + 1).ok()
}

/// Reads `7`, `7th` and `7.`.
fn number(word: &str) -> Option<i8> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &word[digits.len()..];
    if matches!(suffix, "" | "st" | "nd" | "rd" | "th") { digits.parse().ok() } else { None }
}
