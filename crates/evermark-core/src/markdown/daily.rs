//! A daily file in memory: read whatever it holds, edited one entry at a time, every other byte kept.

use super::draft::EntryDraft;
use super::entry::{self, Entry, Scan};
use super::front_matter::{FrontMatter, Newline};
use super::{Finding, time};
use crate::id::{Kind, Owner, Track};
use jiff::civil::Date;
use serde_json::{Value, json};
use std::fmt;
use std::ops::Range;

/// A file of entries: front matter, then entries with free text between them.
///
/// Invariant: [`Self::render`] of a parsed text is that text, and after any edit `parse(render(x)) == x`.
#[derive(Clone, Debug, PartialEq)]
pub struct DailyFile {
    header: FrontMatter,
    body: String,
    scan: Scan,
}

/// Why an edit was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// No whole entry of this id.
    NoEntry(String),
    /// The kind does not live in daily files.
    WrongKind(Kind),
    /// A section or key name that would break the grammar.
    BadName(String),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry(id) => write!(f, "no entry `{id}` in this file"),
            Self::WrongKind(kind) => write!(f, "a memory of kind {kind} is not an entry of a daily file"),
            Self::BadName(name) => write!(f, "`{name}` cannot name a section or an inline value"),
        }
    }
}

impl std::error::Error for EditError {}

impl DailyFile {
    /// Returns the file that `text` is. Whatever is wrong with it is in [`Self::findings`].
    pub fn parse(text: &str) -> Self {
        let (header, start) = FrontMatter::split(text);
        let body = text[start..].to_owned();
        let scan = entry::scan(&body);
        Self { header, body, scan }
    }

    /// Returns the file to append to: `existing`, given front matter if it has none at all, or a new one.
    ///
    /// A block that is there but damaged stays as it is.
    pub fn open(existing: Option<&str>, owner: &Owner, kind: Kind, day: Date) -> Self {
        let mut file = Self::parse(existing.unwrap_or_default());
        if !file.header.is_present() && file.header.fault().is_none() {
            file.header.become_fresh(daily_fields(owner, kind, day));
        }
        file
    }

    /// Returns the bytes of the file.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(self.header.render().len() + self.body.len());
        text.push_str(self.header.render());
        text.push_str(&self.body);
        text
    }

    pub fn front_matter(&self) -> &FrontMatter {
        &self.header
    }

    /// Returns the front matter for editing; entries are not touched by that.
    pub fn front_matter_mut(&mut self) -> &mut FrontMatter {
        &mut self.header
    }

    /// Returns how many whole entries there are, each id counted once.
    pub fn entry_count(&self) -> usize {
        self.scan.slots.len()
    }

    /// Returns the whole entries in the order they stand; of entries with equal ids the first.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let view = self.view();
        self.scan.slots.iter().map(view)
    }

    /// Returns the ids of [`Self::entries`].
    pub fn entry_ids(&self) -> impl Iterator<Item = &str> {
        self.scan.slots.iter().map(|slot| &self.body[slot.id.clone()])
    }

    pub fn entry(&self, id: &str) -> Option<Entry<'_>> {
        self.slot(id).map(self.view())
    }

    fn slot(&self, id: &str) -> Option<&entry::Slot> {
        self.scan.slots.iter().find(|slot| &self.body[slot.id.clone()] == id)
    }

    fn view<'a>(&'a self) -> impl Fn(&entry::Slot) -> Entry<'a> {
        entry::viewer(self.header.render(), &self.body)
    }

    /// Returns what is wrong with the file's front matter and markers.
    pub fn findings(&self, path: &str) -> Vec<Finding> {
        findings(path, &self.header, &self.scan)
    }

    /// Returns the sequence number the next entry gets: one more than `entry_count` says and than any id shows.
    pub fn next_sequence(&self) -> u64 {
        let stated = self.header.get("entry_count").and_then(|count| match count {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        });
        let stated = stated.filter(|count| *count < 1_000_000_000_000_000).unwrap_or(0);
        stated.max(self.scan.sequence) + 1
    }

    /// Appends entries extracted on `day` and returns their ids; `entry_count` and `last_appended_at` (`at_us`,
    /// microseconds since 1970) follow where the front matter can be edited.
    ///
    /// Errors: [`EditError::WrongKind`], before anything is written.
    pub fn append(&mut self, day: Date, drafts: &[EntryDraft], at_us: i64) -> Result<Vec<String>, EditError> {
        let mut prefixes = Vec::with_capacity(drafts.len());
        for draft in drafts {
            prefixes.push(draft.kind().entry_prefix().ok_or(EditError::WrongKind(draft.kind()))?);
        }
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        if !matches!(self.body.as_bytes().last().or(self.header.render().as_bytes().last()), None | Some(b'\n')) {
            // Entries start on a line of their own. Rare enough to simply look at the file again.
            *self = Self::parse(&(self.render() + self.newline().as_str()));
        }
        let newline = self.newline().as_str();
        let mut ids = Vec::with_capacity(drafts.len());
        let date = day.strftime("%Y%m%d").to_string();
        let mut sequence = self.next_sequence();
        for (draft, prefix) in drafts.iter().zip(prefixes) {
            let id = format!("{prefix}_{date}_{sequence:08}");
            let start = self.body.len();
            let open = format!("<!-- entry:{id} -->").len();
            self.body.push_str(&draft.render(&id, newline));
            let end = self.body.len();
            let name = start + "<!-- entry:".len();
            self.scan.slots.push(entry::Slot {
                id: name..name + id.len(),
                span: start..end,
                inner: start + open..end - open - 1,
                line: self.scan.lines,
            });
            self.body.push_str(newline);
            self.scan.lines += entry::newlines(&self.body[start..]);
            self.scan.sequence = self.scan.sequence.max(sequence);
            ids.push(id);
            sequence += 1;
        }
        // A damaged front matter stays as it is: ids are still right, since they also follow from the entries.
        for (key, value) in [("entry_count", json!(sequence - 1)), ("last_appended_at", json!(time::render(at_us)))] {
            if self.header.set(key, &value).is_err() {
                break;
            }
        }
        Ok(ids)
    }

    fn newline(&self) -> Newline {
        self.header.newline()
    }

    /// Writes an entry anew under its id; nothing outside its markers changes.
    pub fn replace_entry(&mut self, id: &str, draft: &EntryDraft) -> Result<(), EditError> {
        if draft.kind().entry_prefix().is_none() {
            return Err(EditError::WrongKind(draft.kind()));
        }
        let span = self.slot(id).ok_or_else(|| EditError::NoEntry(id.to_owned()))?.span.clone();
        let text = draft.render(id, self.newline().as_str());
        self.splice(span, &text);
        Ok(())
    }

    /// Sets one section of an entry; a section it does not have goes last. Nothing else changes.
    pub fn set_section(&mut self, id: &str, section: &str, text: &str) -> Result<(), EditError> {
        if section.trim() != section || section.is_empty() || section.contains(['\n', '\r', '<', '\0']) {
            return Err(EditError::BadName(section.to_owned()));
        }
        self.edit_entry(id, |entry, newline| entry.section_edit(section, text, newline))
    }

    /// Sets one inline value of an entry; a key it does not have goes last. Nothing else changes.
    pub fn set_inline(&mut self, id: &str, key: &str, value: &str) -> Result<(), EditError> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(EditError::BadName(key.to_owned()));
        }
        self.edit_entry(id, |entry, newline| entry.inline_edit(key, value, newline))
    }

    fn edit_entry(
        &mut self,
        id: &str,
        edit: impl FnOnce(&Entry<'_>, &'static str) -> (Range<usize>, String),
    ) -> Result<(), EditError> {
        let slot = self.slot(id).ok_or_else(|| EditError::NoEntry(id.to_owned()))?;
        let (range, text) = edit(&self.view()(slot), self.newline().as_str());
        let start = slot.inner.start;
        self.splice(start + range.start..start + range.end, &text);
        Ok(())
    }

    /// Removes an entry and the lines it stands on; free text around it stays as it is.
    pub fn remove_entry(&mut self, id: &str) -> Result<(), EditError> {
        let mut span = self.slot(id).ok_or_else(|| EditError::NoEntry(id.to_owned()))?.span.clone();
        let at_margin = span.start == 0 || self.body[..span.start].ends_with('\n');
        let rest = &self.body[span.end..];
        let tail = rest.find('\n').map_or(rest.len(), |at| at + 1);
        if at_margin && rest[..tail].trim_matches([' ', '\t', '\r', '\n']).is_empty() {
            span.end += tail;
        }
        self.splice(span, "");
        Ok(())
    }

    fn splice(&mut self, span: Range<usize>, text: &str) {
        self.body.replace_range(span, text);
        *self = Self::parse(&self.render());
    }
}

/// Returns the findings about a file whose body was scanned.
pub(super) fn findings(path: &str, header: &FrontMatter, scan: &Scan) -> Vec<Finding> {
    let fault = header.fault().map(|fault| Finding {
        path: path.to_owned(),
        entry: None,
        line: Some(fault.line),
        code: fault.code,
        message: fault.message.clone(),
    });
    let before = entry::newlines(header.render());
    let flaws = scan.flaws.iter().map(|flaw| Finding {
        path: path.to_owned(),
        entry: flaw.entry.clone(),
        line: Some(before + flaw.line + 1),
        code: flaw.code,
        message: flaw.message.clone(),
    });
    fault.into_iter().chain(flaws).collect()
}

/// Returns the front matter of a new daily file. Source: contract §C.3.
fn daily_fields(owner: &Owner, kind: Kind, day: Date) -> Vec<(&'static str, Value)> {
    let name = format!("{kind}_daily");
    let owner_key = if owner.track == Track::Agent { "agent_id" } else { "user_id" };
    vec![
        ("id", json!(format!("{kind}_log_{}_{day}", owner.id))),
        ("type", json!(name)),
        ("file_type", json!(name)),
        ("schema_version", json!(1)),
        (owner_key, json!(owner.id)),
        ("track", json!(owner.track.name())),
        ("date", json!(day.to_string())),
        ("entry_count", json!(0)),
        ("last_appended_at", Value::Null),
    ]
}

#[cfg(test)]
mod tests;
