//! Text from people and models, kept from being read as grammar. Exactly reversible.
//!
//! Within an entry a backslash takes away the meaning of what would otherwise be grammar, as it does in Markdown:
//!
//! | in the text | in the file |
//! | --- | --- |
//! | a line that starts with `### ` | `\### ` |
//! | a line `---` | `\---` |
//! | `<!-- entry:` and `<!-- /entry:` anywhere | `<!-- \entry:`, `<!-- \/entry:` |
//! | carriage return, NUL | `&#13;`, `&#0;` (and their literal spellings: `\&#13;`) |
//! | a blank first or last line | `\` |
//!
//! Backslashes already before such a place are doubled or joined by one more, so that reading takes away exactly what
//! writing added. Text in which none of this occurs — nearly all — is written as it is.

use std::borrow::Cow;

/// Returns `text` as the lines of a section, without a line ending at the end; `newline` between lines.
pub(super) fn section(text: &str, newline: &str) -> String {
    let text = chars(text, false);
    if text.is_empty() {
        return String::new();
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let (head, tail) = edges(&lines);
    let mut out = String::with_capacity(text.len() + 16);
    for (idx, line) in lines.iter().enumerate() {
        if idx > 0 {
            out.push_str(newline);
        }
        if idx < head || idx >= tail || is_grammar(line.trim_start_matches('\\')) {
            out.push('\\');
        }
        out.push_str(line);
    }
    out
}

/// Returns the text of a section from its lines as they stand in a file. Inverse of [`section`]; blank lines around
/// the text are not part of it.
pub(super) fn unsection(raw: &str) -> String {
    let raw = &raw[trim_blank_lines(raw)];
    if raw.is_empty() {
        return String::new();
    }
    let plain = !raw.bytes().any(|byte| matches!(byte, b'\\' | b'&'));
    if plain && !raw.contains('\r') {
        return raw.to_owned();
    }
    let lines: Vec<&str> = raw.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    if plain {
        return lines.join("\n");
    }
    let (head, tail) = edges(&lines);
    let mut out = String::with_capacity(raw.len());
    for (idx, line) in lines.iter().enumerate() {
        if idx > 0 {
            out.push('\n');
        }
        let escaped = idx < head || idx >= tail || is_grammar(line.trim_start_matches('\\'));
        out.push_str(if escaped { line.strip_prefix('\\').unwrap_or(line) } else { line });
    }
    unchars(&out).into_owned()
}

/// Returns `value` for the right side of an inline line: one line, no blanks at its ends.
pub(super) fn inline(value: &str) -> String {
    let mut out = chars(value, true).into_owned();
    for (blank, code) in [(' ', "&#32;"), ('\t', "&#9;")] {
        if out.ends_with(blank) {
            out.pop();
            let backslashes = trailing_backslashes(&out);
            out.extend(std::iter::repeat_n('\\', backslashes));
            out.push_str(code);
        }
        if out.starts_with(blank) {
            out.replace_range(..1, code);
        }
    }
    out
}

/// Inverse of [`inline`].
pub(super) fn uninline(raw: &str) -> Cow<'_, str> {
    unchars(raw.trim_matches([' ', '\t', '\r']))
}

/// Returns the range of `raw` between leading and trailing lines that hold only blanks, without the last line's ending.
pub(super) fn trim_blank_lines(raw: &str) -> std::ops::Range<usize> {
    let bytes = raw.as_bytes();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(first) = bytes.iter().position(|byte| !blank(byte)) else { return 0..0 };
    let last = bytes.iter().rposition(|byte| !blank(byte)).map_or(raw.len(), |at| at + 1);
    let start = raw[..first].rfind('\n').map_or(0, |at| at + 1);
    let end = raw[last..].find('\n').map_or(raw.len(), |at| last + at);
    let end = if raw[..end].ends_with('\r') && end > last { end - 1 } else { end };
    start..end
}

/// Tells whether a line (backslashes at its start put aside) would be read as grammar.
fn is_grammar(line: &str) -> bool {
    match line.strip_prefix("###") {
        Some(rest) => rest.chars().next().is_none_or(char::is_whitespace),
        None => line.starts_with("---") && line.trim_end() == "---",
    }
}

/// Returns how many lines at the head, and from which line on at the tail, are blank but for backslashes.
fn edges(lines: &[&str]) -> (usize, usize) {
    let blank = |line: &&str| line.trim_start_matches('\\').chars().all(|c| matches!(c, ' ' | '\t'));
    let head = lines.iter().take_while(|line| blank(line)).count();
    let tail = lines.len() - lines.iter().rev().take_while(|line| blank(line)).count();
    (head, tail)
}

const CODES: [(char, &str); 5] = [('\0', "&#0;"), ('\t', "&#9;"), ('\n', "&#10;"), ('\r', "&#13;"), (' ', "&#32;")];

fn code_at(text: &str) -> Option<(char, &'static str)> {
    CODES.into_iter().find(|(_, code)| text.starts_with(code))
}

fn trailing_backslashes(text: &str) -> usize {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count()
}

/// Tells whether `text` (what follows `<!-- `) is a marker's inside, backslashes put aside.
fn is_marker(text: &str) -> bool {
    let rest = text.trim_start_matches('\\');
    rest.strip_prefix('/').unwrap_or(rest).starts_with("entry:")
}

/// Escapes within lines. `one_line`: line feeds too.
fn chars(text: &str, one_line: bool) -> Cow<'_, str> {
    let special = |byte: u8| matches!(byte, 0 | b'\r') || (one_line && byte == b'\n');
    if !text.contains("<!-- ") && !text.contains("&#") && !text.bytes().any(special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((_, code)) = CODES.into_iter().find(|(raw, _)| *raw == c).filter(|_| special(c as u8)) {
            let backslashes = trailing_backslashes(&out);
            out.extend(std::iter::repeat_n('\\', backslashes));
            out.push_str(code);
        } else if c == '&'
            && let Some((_, code)) = code_at(rest)
        {
            let backslashes = trailing_backslashes(&out);
            out.extend(std::iter::repeat_n('\\', backslashes + 1));
            out.push_str(code);
            rest = &rest[code.len()..];
            continue;
        } else if c == '<'
            && let Some(inside) = rest.strip_prefix("<!-- ")
        {
            out.push_str("<!-- ");
            if is_marker(inside) {
                out.push('\\');
            }
            rest = inside;
            continue;
        } else {
            out.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

/// Inverse of [`chars`].
fn unchars(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'&' | b'<')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '&'
            && let Some((raw, code)) = code_at(rest)
        {
            let backslashes = trailing_backslashes(&out);
            out.truncate(out.len() - backslashes.div_ceil(2));
            if backslashes.is_multiple_of(2) {
                out.push(raw);
            } else {
                out.push_str(code);
            }
            rest = &rest[code.len()..];
        } else if c == '<'
            && let Some(inside) = rest.strip_prefix("<!-- ")
        {
            out.push_str("<!-- ");
            rest = if is_marker(inside) { inside.strip_prefix('\\').unwrap_or(inside) } else { inside };
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
