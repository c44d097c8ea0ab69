//! The entry grammar of daily files: markers are paired, what stands between them is read.
//!
//! An open marker belongs to the next close marker of the same id that comes before another open one of that id. What
//! stands between a pair is that entry's, other markers included: a memory file pasted into a conversation does not turn into
//! memories. An open marker without its close costs that one entry; the scan goes on behind it. All of it is linear.

use super::escape;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Largest sequence number that counts; beyond it an id is just a name.
const SEQUENCE_MAX: u64 = 1_000_000_000_000_000;
/// Most flaws that are told of one file; the rest is summed up in one.
const FLAWS_MAX: usize = 1000;

/// Where one whole entry stands in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) id: Range<usize>,
    /// From `<` of the open marker to behind `>` of the close marker.
    pub(super) span: Range<usize>,
    /// Between the markers.
    pub(super) inner: Range<usize>,
    /// Lines of the body before the open marker.
    pub(super) line: usize,
}

/// Something wrong in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) entry: Option<String>,
    /// Lines of the body before it.
    pub(super) line: usize,
    pub(super) code: &'static str,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) slots: Vec<Slot>,
    pub(super) flaws: Vec<Flaw>,
    /// Highest sequence number in any marker, whole or not.
    pub(super) sequence: u64,
    /// Lines of the body that have an ending.
    pub(super) lines: usize,
}

struct Marker {
    open: bool,
    id: Range<usize>,
    span: Range<usize>,
}

/// Returns the entries of `body` in order, and what is wrong with the rest.
pub(super) fn scan(body: &str) -> Scan {
    let markers = markers(body);
    let id = |marker: &Marker| &body[marker.id.clone()];
    // Backwards, each open marker finds the nearest close of its id that no later open has taken.
    let mut partner = vec![None; markers.len()];
    let mut closes: HashMap<&str, usize> = HashMap::new();
    for (idx, marker) in markers.iter().enumerate().rev() {
        let follows_its_open = idx > 0 && markers[idx - 1].open && id(&markers[idx - 1]) == id(marker);
        if !marker.open && follows_its_open {
            // Nearly every marker: no need to look it up. A close further on is out of reach for opens before this one.
            partner[idx - 1] = Some(idx);
            if !closes.is_empty() {
                closes.remove(id(marker));
            }
        } else if marker.open {
            partner[idx] = partner[idx].or_else(|| closes.remove(id(marker)));
        } else {
            closes.insert(id(marker), idx);
        }
    }

    let highest = markers.iter().filter_map(|marker| sequence(id(marker))).max().unwrap_or(0);
    let mut scan = Scan { sequence: highest, ..Scan::default() };
    let mut seen: HashSet<&str> = HashSet::with_capacity(markers.len() / 2);
    let mut omitted = 0usize;
    let mut flaws: Vec<Flaw> = Vec::new();
    let mut tell = |entry: &str, line: usize, code: &'static str, message: String| {
        if flaws.len() < FLAWS_MAX {
            flaws.push(Flaw { entry: Some(entry.to_owned()), line, code, message });
        } else {
            omitted += 1;
        }
    };
    let (mut line, mut counted) = (0, 0);
    let mut idx = 0;
    while let Some(marker) = markers.get(idx) {
        line += newlines(&body[counted..marker.span.start]);
        counted = marker.span.start;
        let name = id(marker);
        match (marker.open, partner[idx]) {
            (true, Some(close)) => {
                let whole = Slot {
                    id: marker.id.clone(),
                    span: marker.span.start..markers[close].span.end,
                    inner: marker.span.end..markers[close].span.start,
                    line,
                };
                if close > idx + 1 {
                    let count = close - idx - 1;
                    tell(
                        name,
                        line,
                        "entry_nested",
                        format!("entry `{name}` holds {count} markers of other entries: read as its text"),
                    );
                }
                if seen.insert(name) {
                    scan.slots.push(whole);
                } else {
                    tell(name, line, "entry_duplicate", format!("a second entry `{name}`: only the first is used"));
                }
                idx = close + 1;
            }
            (true, None) => {
                // A close marker of another id right behind is more likely a slip of the pen than an entry of its own.
                let other = markers.get(idx + 1).filter(|next| !next.open);
                match other {
                    Some(close) => {
                        let other = id(close);
                        tell(name, line, "entry_mismatched", format!("entry `{name}` is closed as `{other}`"));
                        idx += 2;
                    }
                    None => {
                        tell(name, line, "entry_unterminated", format!("entry `{name}` has no closing marker"));
                        idx += 1;
                    }
                }
            }
            (false, _) => {
                tell(name, line, "entry_not_opened", format!("a closing marker of `{name}` without an open one"));
                idx += 1;
            }
        }
    }
    scan.lines = line + newlines(&body[counted..]);
    if omitted > 0 {
        let message = format!("{omitted} more entries of this file are damaged");
        flaws.push(Flaw { entry: None, line: scan.lines, code: "more_findings", message });
    }
    scan.flaws = flaws;
    scan
}

pub(super) fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Returns every `<!-- entry:ID -->` and `<!-- /entry:ID -->`, wherever in a line it stands, as EverOS finds them.
fn markers(body: &str) -> Vec<Marker> {
    let mut markers = Vec::new();
    // A lone character is searched for much faster than a word.
    for (start, _) in body.match_indices('<') {
        let Some(rest) = body[start..].strip_prefix("<!-- ") else { continue };
        let (open, rest) = match rest.strip_prefix('/') {
            Some(rest) => (false, rest),
            None => (true, rest),
        };
        let Some(rest) = rest.strip_prefix("entry:") else { continue };
        let len = rest.bytes().take_while(|byte| is_id_byte(*byte)).count();
        if len == 0 || !rest[len..].starts_with(" -->") {
            continue;
        }
        let from = body.len() - rest.len();
        markers.push(Marker { open, id: from..from + len, span: start..from + len + " -->".len() });
    }
    markers
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Returns the sequence number of `<prefix>_<8 digits>_<digits>`.
pub(super) fn sequence(id: &str) -> Option<u64> {
    let mut parts = id.rsplitn(3, '_');
    let (number, day, prefix) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if prefix.is_empty() || day.len() != 8 || !digits(day) || !digits(number) {
        return None;
    }
    number.parse().ok().filter(|number| *number <= SEQUENCE_MAX)
}

/// Returns what makes an entry of a slot of `body`, behind `header`. The header is measured here, once for all slots.
pub(super) fn viewer<'a>(header: &str, body: &'a str) -> impl Fn(&Slot) -> Entry<'a> + use<'a> {
    let (lead, lines) = (header.len(), newlines(header));
    move |slot| {
        let span = lead + slot.span.start..lead + slot.span.end;
        Entry::read(&body[slot.id.clone()], lines + slot.line + 1, span, &body[slot.inner.clone()])
    }
}

/// One entry, as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub id: &'a str,
    /// 1-based line of the open marker.
    pub line: usize,
    /// Bytes of the file, from the open marker to the end of the close marker.
    pub span: Range<usize>,
    inner: &'a str,
    inline: Vec<Inline<'a>>,
    sections: Vec<Section<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inline<'a> {
    key: &'a str,
    /// The value as written, within `inner`.
    value: Range<usize>,
    /// End of the line, its ending included.
    end: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Section<'a> {
    name: &'a str,
    /// Everything between the heading's line and the next heading, within `inner`.
    content: Range<usize>,
}

impl<'a> Entry<'a> {
    pub(super) fn read(id: &'a str, line: usize, span: Range<usize>, inner: &'a str) -> Self {
        let mut entry = Self { id, line, span, inner, inline: Vec::with_capacity(8), sections: Vec::with_capacity(3) };
        let mut at = 0;
        for text in inner.split_inclusive('\n') {
            let end = at + text.len();
            if let Some(name) = heading(text) {
                if let Some(open) = entry.sections.last_mut() {
                    open.content.end = at;
                }
                entry.sections.push(Section { name, content: end..inner.len() });
            } else if entry.sections.is_empty()
                && let Some((key, value)) = pair(text)
            {
                entry.inline.push(Inline { key, value: at + value.start..at + value.end, end });
            }
            at = end;
        }
        entry
    }

    /// Returns the text between the markers, as written.
    pub fn raw(&self) -> &'a str {
        self.inner
    }

    /// Returns an inline value, unescaped; the last one where a key repeats.
    pub fn inline(&self, key: &str) -> Option<Cow<'a, str>> {
        let pair = self.inline.iter().rev().find(|pair| pair.key == key)?;
        Some(escape::uninline(&self.inner[pair.value.clone()]))
    }

    /// Returns the inline keys in the order they stand.
    pub fn inline_keys(&self) -> impl Iterator<Item = &'a str> {
        self.inline.iter().map(|pair| pair.key)
    }

    /// Returns a section's text, unescaped, without the blank lines around it; the last one where a name repeats.
    pub fn section(&self, name: &str) -> Option<String> {
        self.content(name).map(|content| escape::unsection(&self.inner[content]))
    }

    /// Returns the section names in the order they stand.
    pub fn section_names(&self) -> impl Iterator<Item = &'a str> {
        self.sections.iter().map(|section| section.name)
    }

    fn content(&self, name: &str) -> Option<Range<usize>> {
        self.sections.iter().rev().find(|section| section.name == name).map(|section| section.content.clone())
    }

    /// Returns the bytes within [`Self::raw`] to replace, and with what, to make `text` the text of section `name`.
    pub(super) fn section_edit(&self, name: &str, text: &str, newline: &str) -> (Range<usize>, String) {
        let text = escape::section(text, newline);
        let Some(content) = self.content(name) else {
            let end = self.inner.len();
            let lead = if self.inner.is_empty() || self.inner.ends_with('\n') { "" } else { newline };
            return (end..end, format!("{lead}{newline}### {name}{newline}{text}{newline}"));
        };
        let old = escape::trim_blank_lines(&self.inner[content.clone()]);
        if !old.is_empty() {
            return (content.start + old.start..content.start + old.end, text);
        }
        let lead = if self.inner[..content.start].ends_with('\n') { "" } else { newline };
        let tail =
            if self.inner[content.clone()].trim_matches([' ', '\t']).starts_with(['\r', '\n']) { "" } else { newline };
        (content.start..content.start, format!("{lead}{text}{tail}"))
    }

    /// Like [`Self::section_edit`], for an inline value.
    pub(super) fn inline_edit(&self, key: &str, value: &str, newline: &str) -> (Range<usize>, String) {
        let value = escape::inline(value);
        if let Some(pair) = self.inline.iter().rev().find(|pair| pair.key == key) {
            return (pair.value.clone(), value);
        }
        let line = format!("**{key}**: {value}{newline}");
        if let Some(last) = self.inline.last() {
            let lead = if self.inner[..last.end].ends_with('\n') { "" } else { newline };
            return (last.end..last.end, format!("{lead}{line}"));
        }
        let head =
            self.inner.split_inclusive('\n').take_while(|line| heading(line).is_none()).map(str::len).sum::<usize>();
        let lead = if head == 0 || !self.inner[..head].ends_with('\n') { newline } else { "" };
        (head..head, format!("{lead}{line}{newline}"))
    }
}

/// Returns the name in a `### Name` line.
fn heading(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("###")?;
    let name = rest.trim();
    (rest.starts_with(char::is_whitespace) && !name.is_empty()).then_some(name)
}

/// Returns key and value range of a `**key**: value` line.
fn pair(line: &str) -> Option<(&str, Range<usize>)> {
    let rest = line.strip_prefix("**")?;
    let len = rest.find('*')?;
    let after = rest[len..].strip_prefix("**:")?;
    let key = rest[..len].trim();
    if key.is_empty() || rest[..len].contains('\n') {
        return None;
    }
    let blank = [' ', '\t', '\r', '\n'];
    let start = line.len() - after.trim_start_matches([' ', '\t']).len();
    let end = start + line[start..].trim_end_matches(blank).len();
    // An empty value ends where its line does, before the ending.
    Some((key, start.min(end)..end))
}

#[cfg(test)]
mod tests;
