//! Making memories from what was said, without a language model: where a segment ends, what its episode says,
//! and which statements in it are facts. Deterministic: the same messages always give the same memories.

use crate::memory::{Message, Role};
use std::time::Duration;
use unicode_segmentation::UnicodeSegmentation;

mod phrases;
#[cfg(test)]
mod tests;

/// Where segments end.
#[derive(Clone, Copy, Debug)]
pub struct SegmentPolicy {
    /// A silence longer than this ends a segment.
    pub gap: Duration,
    pub messages_max: usize,
    pub chars_max: usize,
}

/// Cuts a session's open messages, in time order, into closed segments and the tail that stays open.
///
/// A segment closes at a silence or a size limit, and with `last` (a flush) at the end. One without anything said
/// by a user has nobody to belong to, so it stays joined to what follows and is never closed by itself.
pub fn split(messages: Vec<Message>, policy: SegmentPolicy, last: bool) -> (Vec<Vec<Message>>, Vec<Message>) {
    let gap_ms = i64::try_from(policy.gap.as_millis()).unwrap_or(i64::MAX);
    let mut closed = Vec::new();
    let mut open: Vec<Message> = Vec::new();
    let mut chars = 0;
    for message in messages {
        let length = message.text().chars().count();
        let silence =
            open.last().is_some_and(|before| message.timestamp_ms.saturating_sub(before.timestamp_ms) > gap_ms);
        let full = open.len() >= policy.messages_max || chars + length > policy.chars_max;
        if (silence || full) && has_owner(&open) {
            closed.push(std::mem::take(&mut open));
            chars = 0;
        }
        chars += length;
        open.push(message);
    }
    if has_owner(&open) && (last || open.len() >= policy.messages_max || chars >= policy.chars_max) {
        closed.push(std::mem::take(&mut open));
    }
    (closed, open)
}

fn has_owner(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.role == Role::User)
}

/// Returns the users who spoke in a segment, each once, in order of first word: the owners of its episode.
pub fn owners(segment: &[Message]) -> Vec<String> {
    let mut owners: Vec<String> = Vec::new();
    for message in segment.iter().filter(|message| message.role == Role::User) {
        if !owners.contains(&message.sender_id) {
            owners.push(message.sender_id.clone());
        }
    }
    owners
}

/// What an episode says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpisodeText {
    pub subject: String,
    pub summary: String,
    pub content: String,
}

/// A statement somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `<speaker>: <statement>`.
    pub text: String,
    pub sender_id: String,
    pub timestamp_ms: i64,
    pub message_id: String,
    /// What it answers: `<speaker>: <questions>`, from the message before.
    pub context: Option<String>,
}

/// Longest context of a statement: a question or two. Of a longer one the end counts, which is what was answered.
const CONTEXT_CHARS_MAX: usize = 240;
const SUBJECT_CHARS_MAX: usize = 100;
const SUMMARY_CHARS_MAX: usize = 300;
/// A statement shorter than this leans on its neighbour ("So good."), and is kept together with it.
const STATEMENT_CHARS_MIN: usize = 16;
/// The same for scripts that say more with fewer characters.
const STATEMENT_CHARS_MIN_CJK: usize = 5;

/// Writes a segment down as an episode: everything that was said, one line a message, with time and speaker.
///
/// `line_time` renders a message's time; the subject is the first statement a user made, the summary the first few.
pub fn episode(segment: &[Message], line_time: &dyn Fn(i64) -> String) -> EpisodeText {
    let mut lines = Vec::new();
    for message in segment {
        let text = message.text();
        let text = text.trim();
        if text.is_empty() || message.role == Role::Tool {
            continue;
        }
        lines.push(format!("{}, {}: {}", line_time(message.timestamp_ms), speaker(message), text));
    }
    let said: Vec<String> = segment
        .iter()
        .filter(|message| message.role == Role::User)
        .flat_map(|message| statements_in(&message.text()))
        .collect();
    let first_words = || {
        segment
            .iter()
            .filter(|message| message.role == Role::User)
            .map(|message| message.text().split_whitespace().collect::<Vec<_>>().join(" "))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let subject = said.first().cloned().unwrap_or_else(first_words);
    let mut summary = String::new();
    for statement in &said {
        if !summary.is_empty() && summary.chars().count() + statement.chars().count() > SUMMARY_CHARS_MAX {
            break;
        }
        if !summary.is_empty() {
            summary.push(' ');
        }
        summary.push_str(statement);
    }
    if summary.is_empty() {
        summary = subject.clone();
    }
    EpisodeText {
        subject: shorten(&subject, SUBJECT_CHARS_MAX),
        summary: shorten(&summary, SUMMARY_CHARS_MAX),
        content: lines.join("\n"),
    }
}

/// Returns the facts of a segment: the statements its users made, in order. Questions, greetings and acknowledgements
/// are not facts.
pub fn statements(segment: &[Message]) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut before: Option<&Message> = None;
    for message in segment.iter().filter(|message| message.role != Role::Tool && !message.text().trim().is_empty()) {
        let context = before.replace(message).and_then(questions_of);
        let said = if message.role == Role::User { statements_in(&message.text()) } else { Vec::new() };
        for statement in said {
            found.push(Statement {
                text: format!("{}: {}", speaker(message), statement),
                sender_id: message.sender_id.clone(),
                timestamp_ms: message.timestamp_ms,
                message_id: message.id.clone(),
                context: context.clone(),
            });
        }
    }
    found
}

/// Returns what a message asks, as the context of what is said next.
fn questions_of(message: &Message) -> Option<String> {
    let text = message.text();
    let asked: Vec<String> =
        text.lines().flat_map(sentences).filter(|sentence| is_question(sentence) && !is_courtesy(sentence)).collect();
    if asked.is_empty() {
        return None;
    }
    let asked = asked.join(" ");
    let from = asked.char_indices().rev().nth(CONTEXT_CHARS_MAX - 1).map_or(0, |(at, _)| at);
    // Not in the middle of a word.
    let from = if from == 0 { 0 } else { asked[from..].find(' ').map_or(from, |space| from + space + 1) };
    Some(format!("{}: {}", speaker(message), &asked[from..]))
}

fn speaker(message: &Message) -> &str {
    match message.sender_name.as_deref().map(str::trim) {
        Some(name) if !name.is_empty() => name,
        _ => &message.sender_id,
    }
}

/// Cuts one message's text into statements.
fn statements_in(text: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut in_line: Vec<String> = Vec::new();
        for sentence in sentences(line) {
            if is_question(&sentence) || is_courtesy(&sentence) {
                continue;
            }
            match in_line.last_mut() {
                Some(before) if is_short(&sentence) || is_short(before) => {
                    if !ends_wide(before) {
                        before.push(' ');
                    }
                    before.push_str(&sentence);
                }
                _ => in_line.push(sentence),
            }
        }
        statements.append(&mut in_line);
    }
    statements.retain(|statement| statement.chars().any(char::is_alphanumeric));
    statements
}

/// Cuts a line after `.`, `!`, `?` and their wide forms; an abbreviation, a number or an address is not an end.
fn sentences(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut start = 0;
    let chars: Vec<(usize, char)> = line.char_indices().collect();
    let mut i = 0;
    while i < chars.len() {
        let (at, c) = chars[i];
        let wide = matches!(c, '。' | '！' | '？' | '；');
        let narrow = matches!(c, '.' | '!' | '?');
        if wide || narrow {
            // Take closing marks and repeated stops along.
            let mut end = i + 1;
            while end < chars.len()
                && matches!(chars[end].1, '.' | '!' | '?' | '。' | '！' | '？' | '"' | '\'' | '”' | '’' | ')' | '）')
            {
                end += 1;
            }
            let followed = chars.get(end).is_none_or(|(_, next)| next.is_whitespace());
            let word = line[start..at].split_whitespace().last().unwrap_or("");
            if wide || (followed && !(c == '.' && phrases::is_abbreviation(word))) {
                let stop = chars.get(end).map_or(line.len(), |(byte, _)| *byte);
                push_trimmed(&mut out, &line[start..stop]);
                start = stop;
            }
            i = end;
        } else {
            i += 1;
        }
    }
    push_trimmed(&mut out, &line[start..]);
    out
}

fn push_trimmed(out: &mut Vec<String>, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        out.push(text.to_owned());
    }
}

fn ends_wide(text: &str) -> bool {
    text.chars().last().is_some_and(|c| !c.is_ascii())
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

fn is_short(sentence: &str) -> bool {
    let letters = sentence.chars().filter(|c| c.is_alphanumeric()).count();
    if sentence.chars().any(is_cjk) { letters < STATEMENT_CHARS_MIN_CJK } else { letters < STATEMENT_CHARS_MIN }
}

fn is_question(sentence: &str) -> bool {
    let body = sentence.trim_end_matches(['"', '\'', '”', '’', ')', '）']);
    if body.ends_with(['?', '？']) {
        return true;
    }
    let body = body.trim_end_matches(['.', '。', '!', '！', ' ']);
    phrases::QUESTION_ENDINGS.iter().any(|ending| body.ends_with(ending))
}

/// Tells whether a sentence only greets, thanks or agrees.
fn is_courtesy(sentence: &str) -> bool {
    let words: Vec<String> = sentence.unicode_words().map(|word| word.to_lowercase()).collect();
    if words.is_empty() {
        return true;
    }
    let spaced = words.join(" ");
    let joined = words.concat();
    if phrases::COURTESIES.contains(&spaced.as_str()) || phrases::COURTESIES.contains(&joined.as_str()) {
        return true;
    }
    words.len() <= 4 && words.iter().all(|word| phrases::COURTEOUS_WORDS.contains(&word.as_str()))
}

fn shorten(text: &str, max: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= max {
        return text;
    }
    let cut: String = text.chars().take(max - 1).collect();
    // Prefer the end of a word, unless that loses much.
    let cut = match cut.rfind(' ') {
        Some(space) if space > cut.len() / 2 => &cut[..space],
        _ => &cut,
    };
    format!("{cut}…")
}
