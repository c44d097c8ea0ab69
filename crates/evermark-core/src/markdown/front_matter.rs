//! The YAML block at the head of a file: every byte kept, single keys replaced.

use super::yaml::{self, Field};
use serde_json::Value;
use std::fmt;
use std::ops::Range;

pub(super) const BOM: char = '\u{feff}';

/// Which line ending a file uses. What is written into a file follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Newline {
    #[default]
    Lf,
    CrLf,
}

impl Newline {
    /// Returns the ending of the first line of `text`.
    pub fn of(text: &str) -> Self {
        match text.find('\n') {
            Some(at) if text[..at].ends_with('\r') => Self::CrLf,
            _ => Self::Lf,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
        }
    }
}

/// Everything from byte 0 up to the first byte of the body: a byte order mark, `---`, YAML, `---`.
///
/// A block that is not closed is no front matter: its lines belong to the body. A block that is closed but is not one YAML
/// mapping is kept as it is, read as empty and never edited.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontMatter {
    raw: String,
    /// The YAML within `raw`; `None` without a block.
    block: Option<Range<usize>>,
    fields: Vec<Field>,
    fault: Option<FrontMatterFault>,
    newline: Newline,
}

/// What is wrong with a front matter block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontMatterFault {
    /// `front_matter_unterminated` or `front_matter_invalid`.
    pub code: &'static str,
    /// 1-based line in the file.
    pub line: usize,
    pub message: String,
}

/// Why a key could not be set: the block is damaged, or so laid out that one key cannot be changed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEditable;

impl fmt::Display for NotEditable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the front matter cannot be edited key by key")
    }
}

impl std::error::Error for NotEditable {}

impl FrontMatter {
    /// Returns the front matter of `text` and the offset at which the body starts.
    pub fn split(text: &str) -> (Self, usize) {
        let newline = Newline::of(text);
        let lead = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
        let none = |fault| Self { raw: text[..lead].to_owned(), block: None, fields: Vec::new(), fault, newline };
        let Some(first) = line_at(text, lead).filter(|line| is_delimiter(&text[line.clone()])) else {
            return (none(None), lead);
        };
        let start = first.end;
        let mut at = start;
        while let Some(line) = line_at(text, at) {
            if is_delimiter(&text[line.clone()]) {
                let mut header = Self {
                    raw: text[..line.end].to_owned(),
                    block: Some(start..line.start),
                    fields: Vec::new(),
                    fault: None,
                    newline,
                };
                header.read();
                return (header, line.end);
            }
            at = line.end;
        }
        let fault = FrontMatterFault {
            code: "front_matter_unterminated",
            line: 1,
            message: "the front matter has no closing --- line".to_owned(),
        };
        (none(Some(fault)), lead)
    }

    /// Returns a fresh block in the order given.
    pub fn fresh<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>, newline: Newline) -> Self {
        let end = newline.as_str();
        let mut raw = format!("---{end}");
        let start = raw.len();
        for (key, value) in fields {
            yaml::write_field(&mut raw, key, &value, end);
        }
        let block = start..raw.len();
        raw.push_str("---");
        raw.push_str(end);
        let mut header = Self { raw, block: Some(block), fields: Vec::new(), fault: None, newline };
        header.read();
        header
    }

    fn read(&mut self) {
        let Some(block) = self.block.clone() else { return };
        match yaml::parse(&self.raw[block.clone()]) {
            Ok(fields) => self.fields = locate(fields, &self.raw[block]),
            Err(fault) => {
                let line = 2 + fault.line.min(self.raw[block].matches('\n').count());
                self.fault = Some(FrontMatterFault {
                    code: "front_matter_invalid",
                    line,
                    message: format!("the front matter is not a YAML mapping: {}", fault.message),
                });
            }
        }
    }

    /// Returns the bytes as they are.
    pub fn render(&self) -> &str {
        &self.raw
    }

    /// Tells whether there is a block, readable or not.
    pub fn is_present(&self) -> bool {
        self.block.is_some()
    }

    pub fn fault(&self) -> Option<&FrontMatterFault> {
        self.fault.as_ref()
    }

    /// Returns the line ending found when the file was split.
    pub fn newline(&self) -> Newline {
        self.newline
    }

    /// Returns the keys in the order they stand.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.key.as_str())
    }

    /// Returns a key's value; the last one where a key repeats, as PyYAML does.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.field(key).map(|field| &field.value)
    }

    /// Returns a scalar as it was written (`007`, `2026-11-22`), or `None` when absent, null, a list or a mapping.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.field(key).filter(|field| !field.value.is_null()).and_then(|field| field.text.as_deref())
    }

    /// Returns the 1-based line of a key in the file.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.field(key).map(|field| field.line + 2)
    }

    fn field(&self, key: &str) -> Option<&Field> {
        self.fields.iter().rev().find(|field| field.key == key)
    }

    /// Sets one key: its lines change and no others, order and comments stay. A new key goes last.
    ///
    /// Errors: [`NotEditable`], and then nothing has changed: no block, a damaged one, one in flow style, or an anchor in
    /// the old value that another key uses.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), NotEditable> {
        if self.get(key) == Some(value) {
            return Ok(());
        }
        let (range, replacement) = self.edit(key, value)?;
        let mut expected: Vec<(&str, &Value)> =
            self.fields.iter().map(|field| (field.key.as_str(), &field.value)).collect();
        match expected.iter_mut().rev().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => expected.push((key, value)),
        }
        self.replace(
            range,
            &replacement,
            &expected.into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect::<Vec<_>>(),
        )
    }

    /// Removes one key and its lines. Returns whether it was there.
    ///
    /// Errors: [`NotEditable`] as for [`Self::set`].
    pub fn remove(&mut self, key: &str) -> Result<bool, NotEditable> {
        let Some(idx) = self.fields.iter().rposition(|field| field.key == key) else { return Ok(false) };
        let range = self.lines_of(idx)?;
        let expected: Vec<_> = (self.fields.iter().enumerate())
            .filter(|(other, _)| *other != idx)
            .map(|(_, field)| (field.key.clone(), field.value.clone()))
            .collect();
        self.replace(range, "", &expected).map(|()| true)
    }

    /// Returns the bytes of `raw` to replace for `key = value`, and with what.
    fn edit(&self, key: &str, value: &Value) -> Result<(Range<usize>, String), NotEditable> {
        let block = self.block.clone().filter(|_| self.fault.is_none()).ok_or(NotEditable)?;
        let mut written = String::new();
        yaml::write_field(&mut written, key, value, self.newline.as_str());
        let Some(idx) = self.fields.iter().rposition(|field| field.key == key) else {
            if self.fields.iter().any(|field| !field.at_margin) {
                return Err(NotEditable);
            }
            if !self.raw[block.clone()].is_empty() && !self.raw[block.clone()].ends_with('\n') {
                return Err(NotEditable);
            }
            return Ok((block.end..block.end, written));
        };
        let lines = self.lines_of(idx)?;
        let field = &self.fields[idx];
        let one_line = written.trim_end_matches(['\r', '\n']);
        if let Some((from, to)) = field.inline
            && !one_line.contains('\n')
            && let Some(fresh) =
                one_line.split_once(": ").map(|(_, fresh)| fresh).filter(|_| !one_line.starts_with("? "))
        {
            // One scalar for another on one line: a comment after it stays.
            let line = &self.raw[lines.clone()];
            let offset = |chars: usize| line.char_indices().nth(chars).map_or(line.len(), |(at, _)| at);
            let old = line[offset(from)..offset(to)].trim_end();
            let start = lines.start + offset(from);
            let prefix_is_whole = one_line.len() > fresh.len();
            if prefix_is_whole && !old.is_empty() {
                return Ok((start..start + old.len(), fresh.to_owned()));
            }
        }
        Ok((lines, written))
    }

    /// Returns the bytes of a field's own lines: from its key to the next key, without comments and blank lines between.
    fn lines_of(&self, idx: usize) -> Result<Range<usize>, NotEditable> {
        let block = self.block.clone().filter(|_| self.fault.is_none()).ok_or(NotEditable)?;
        if self.fields.iter().any(|field| !field.at_margin) {
            return Err(NotEditable);
        }
        let text = &self.raw[block.clone()];
        let mut starts = vec![0];
        starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
        let start_of = |line: usize| starts.get(line).copied().unwrap_or(text.len());
        let first = start_of(self.fields[idx].line);
        let mut end = self.fields.get(idx + 1).map_or(text.len(), |next| start_of(next.line));
        if end < first {
            return Err(NotEditable);
        }
        // A comment at the margin, or a blank line, is no part of a value that is replaced whole.
        while let Some(last) = text[first..end].strip_suffix('\n').unwrap_or(&text[first..end]).rfind('\n') {
            let last = first + last + 1;
            if !text[last..end].starts_with('#') && !text[last..end].trim().is_empty() {
                break;
            }
            end = last;
        }
        Ok(block.start + first..block.start + end)
    }

    /// Replaces bytes of the block if the result reads as `expected`; else changes nothing.
    fn replace(&mut self, range: Range<usize>, with: &str, expected: &[(String, Value)]) -> Result<(), NotEditable> {
        let block = self.block.clone().ok_or(NotEditable)?;
        let mut raw = self.raw.clone();
        raw.replace_range(range.clone(), with);
        let end = block.end + with.len() - range.len();
        let fields = yaml::parse(&raw[block.start..end]).map_err(|_| NotEditable)?;
        if !fields.iter().map(|field| (&field.key, &field.value)).eq(expected.iter().map(|(key, value)| (key, value))) {
            return Err(NotEditable);
        }
        self.fields = locate(fields, &raw[block.start..end]);
        self.raw = raw;
        self.block = Some(block.start..end);
        Ok(())
    }

    /// Puts this block's byte order mark and line ending into `fresh`: for a file that had no block.
    pub(super) fn become_fresh<'a>(&mut self, fields: impl IntoIterator<Item = (&'a str, Value)>) {
        let mut fresh = Self::fresh(fields, self.newline);
        let lead = self.raw.len();
        fresh.raw.insert_str(0, &self.raw);
        fresh.block = fresh.block.map(|block| block.start + lead..block.end + lead);
        *self = fresh;
    }
}

/// Returns the fields with lines that count line feeds, as all of this crate does. To YAML a lone carriage return ends a line
/// as well; where there is one, keys cannot be found by their line, and are not edited.
fn locate(mut fields: Vec<Field>, block: &str) -> Vec<Field> {
    let feeds = block.bytes().filter(|byte| *byte == b'\n').count();
    let pairs = block.matches("\r\n").count();
    if block.bytes().filter(|byte| *byte == b'\r').count() > pairs {
        for field in &mut fields {
            field.at_margin = false;
            field.inline = None;
            field.line = field.line.min(feeds);
        }
    }
    fields
}

/// Returns the line that starts at `at`, with its ending; `None` at the end of the text.
pub(super) fn line_at(text: &str, at: usize) -> Option<Range<usize>> {
    if at >= text.len() {
        return None;
    }
    let end = text[at..].find('\n').map_or(text.len(), |offset| at + offset + 1);
    Some(at..end)
}

/// Tells whether a line is `---`, give or take blanks at its end.
fn is_delimiter(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.trim_matches([' ', '\t', '\r', '\n']).is_empty())
}

#[cfg(test)]
mod tests;
