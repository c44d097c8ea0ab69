//! A file's bytes into memories and findings, for every kind of file.

use super::decode::{Damage, Decoded};
use super::draft::parse_list;
use super::entry::{self, Entry};
use super::front_matter::FrontMatter;
use super::place::{FileKind, Place, place};
use super::{Finding, daily, time};
use crate::id::{Kind, Owner, Track};
use crate::memory::{Body, Memory};
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::HashMap;

/// Longest entry that becomes a memory, in bytes. A request body is bounded well below; what is longer was not written by
/// any version of this program and would only stall the tokeniser.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;
/// Most findings told of one file.
const FINDINGS_MAX: usize = 1000;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileReading {
    pub memories: Vec<Memory>,
    pub findings: Vec<Finding>,
    /// Whole entries, each id counted once, usable or not; 0 for files without entries.
    pub entry_count: usize,
}

/// Returns the memories in the file at `rel_path`, and what is wrong with it.
///
/// `zone` is where times without offset were written. `references` are a skill's `references/*.md`, name and text, in any
/// order; other kinds ignore them. Never fails: what cannot be used is a finding, and the rest is used.
pub fn read_file(rel_path: &str, bytes: &[u8], zone: &TimeZone, references: &[(String, String)]) -> FileReading {
    let mut reading = Reading { path: rel_path, ..Reading::default() };
    match place(rel_path) {
        Some(Place {
            kind: FileKind::Taxonomy | FileKind::Inbox | FileKind::Segment | FileKind::SkillReference,
            ..
        }) => {}
        Some(Place { kind: FileKind::Memories(kind), scope, owner_dir }) => {
            let owner = Owner { scope, track: super::place::track_of(kind), id: owner_dir };
            let decoded = Decoded::of(bytes);
            if kind.entry_prefix().is_some() {
                reading.daily(kind, owner, &decoded, zone);
            } else {
                reading.whole(kind, owner, &decoded, references);
            }
        }
        None => reading.tell(None, None, "not_ours", "not a file of memories"),
    }
    reading.finish()
}

#[derive(Default)]
struct Reading<'a> {
    path: &'a str,
    out: FileReading,
    omitted: usize,
}

impl Reading<'_> {
    fn tell(&mut self, entry: Option<&str>, line: Option<usize>, code: &'static str, message: impl Into<String>) {
        if self.out.findings.len() >= FINDINGS_MAX {
            self.omitted += 1;
            return;
        }
        let entry = entry.map(str::to_owned);
        self.out.findings.push(Finding { path: self.path.to_owned(), entry, line, code, message: message.into() });
    }

    fn finish(mut self) -> FileReading {
        if self.omitted > 0 {
            let message = format!("{} more findings in this file", self.omitted);
            self.out.findings.push(Finding {
                path: self.path.to_owned(),
                entry: None,
                line: None,
                code: "more_findings",
                message,
            });
        }
        self.out
    }

    fn tell_damage(&mut self, entry: Option<&str>, decoded: &Decoded<'_>, damage: &Damage) {
        self.tell(entry, Some(decoded.line(damage.span.start)), damage.code, damage.message());
    }

    /// Checks `type` and sets the owner's id from the front matter. `None`: the file is of another type.
    fn identify(&mut self, header: &FrontMatter, mut owner: Owner, expected: &str, must_state: bool) -> Option<Owner> {
        match string(header, "type") {
            Some(stated) if stated != expected => {
                let message = format!("its type is `{stated}`, and a file here is of type `{expected}`");
                self.tell(None, header.line("type"), "wrong_type", message);
                return None;
            }
            None if must_state => {
                self.tell(None, Some(1), "wrong_type", format!("its front matter does not say `type: {expected}`"));
                return None;
            }
            _ => {}
        }
        let key = match owner.track {
            Track::User => "user_id",
            Track::Agent => "agent_id",
            Track::Knowledge => return Some(owner),
        };
        match string(header, key).filter(|id| !id.is_empty()) {
            Some(id) => owner.id = id,
            // A damaged front matter has been told of already.
            None if header.fault().is_some() => {}
            None => {
                let message = format!("the front matter has no `{key}`: the directory's name is taken");
                self.tell(None, header.line(key).or(Some(1)), "owner_missing", message);
            }
        }
        Some(owner)
    }

    fn daily(&mut self, kind: Kind, owner: Owner, decoded: &Decoded<'_>, zone: &TimeZone) {
        // As `DailyFile::parse`, without a copy of the text.
        let (header, start) = FrontMatter::split(&decoded.text);
        let body = &decoded.text[start..];
        let scan = entry::scan(body);
        for finding in daily::findings(self.path, &header, &scan) {
            self.tell(finding.entry.as_deref(), finding.line, finding.code, finding.message);
        }
        self.out.entry_count = scan.slots.len();
        let Some(owner) = self.identify(&header, owner, &format!("{kind}_daily"), false) else { return };
        let deprecated = self.deprecated(&header);
        let mut spans = Vec::with_capacity(scan.slots.len());
        self.out.memories.reserve(scan.slots.len());
        for entry in scan.slots.iter().map(entry::viewer(header.render(), body)) {
            spans.push(entry.span.clone());
            if let Some(damage) = decoded.damage(entry.span.clone()) {
                self.tell_damage(Some(entry.id), decoded, damage);
            } else if entry.raw().len() > ENTRY_BYTES_MAX {
                let message = format!("entry `{}` is longer than {ENTRY_BYTES_MAX} bytes", entry.id);
                self.tell(Some(entry.id), Some(entry.line), "entry_too_large", message);
            } else if let Some(mut memory) = self.entry(kind, &owner, &entry, zone) {
                memory.deprecated_by = deprecated.get(entry.id).cloned();
                self.out.memories.push(memory);
            }
        }
        if let Some(damage) = decoded.damage_outside(&spans) {
            self.tell_damage(None, decoded, damage);
        }
    }

    /// Returns what `deprecated_entries` says: entry to replacing entry.
    fn deprecated(&mut self, header: &FrontMatter) -> HashMap<String, String> {
        let line = header.line("deprecated_entries");
        match header.get("deprecated_entries") {
            None | Some(Value::Null) => HashMap::new(),
            Some(Value::Object(map)) => {
                let mut entries = HashMap::with_capacity(map.len());
                for (entry, by) in map {
                    match by {
                        Value::String(by) if !by.is_empty() => {
                            entries.insert(entry.clone(), by.clone());
                        }
                        _ => self.tell(
                            Some(entry),
                            line,
                            "deprecated_invalid",
                            format!("`{entry}` is not replaced by one entry id"),
                        ),
                    }
                }
                entries
            }
            Some(_) => {
                self.tell(
                    None,
                    line,
                    "deprecated_invalid",
                    "deprecated_entries is not a mapping from entry to replacing entry",
                );
                HashMap::new()
            }
        }
    }

    fn entry(&mut self, kind: Kind, owner: &Owner, entry: &Entry<'_>, zone: &TimeZone) -> Option<Memory> {
        let time = self.required(entry, "timestamp")?;
        let Some(timestamp_us) = time::parse(&time, zone) else {
            self.invalid(entry, "timestamp", &time);
            return None;
        };
        let text = |key: &str| entry.inline(key).map(|value| value.into_owned()).filter(|value| !value.is_empty());
        let list = |key: &str| entry.inline(key).map(|value| parse_list(&value)).unwrap_or_default();
        let section = |name: &str| entry.section(name).filter(|text| !text.is_empty());
        let body = match kind {
            Kind::Episode => Body::Episode {
                subject: section("Subject"),
                summary: section("Summary"),
                content: self.main_section(entry, "Content")?,
            },
            Kind::AtomicFact => {
                Body::AtomicFact { fact: self.main_section(entry, "Fact")?, context: section("Context") }
            }
            Kind::Foresight => Body::Foresight {
                foresight: self.main_section(entry, "Foresight")?,
                evidence: entry.section("Evidence").unwrap_or_default(),
                start_time: text("start_time"),
                end_time: text("end_time"),
                duration_days: text("duration_days").and_then(|days| {
                    let parsed = days.trim().parse().ok();
                    if parsed.is_none() {
                        self.invalid(entry, "duration_days", &days);
                    }
                    parsed
                }),
            },
            Kind::AgentCase => {
                let score = self.required(entry, "quality_score")?;
                let Some(quality_score) = score.trim().parse::<f64>().ok().filter(|score| score.is_finite()) else {
                    self.invalid(entry, "quality_score", &score);
                    return None;
                };
                Body::AgentCase {
                    task_intent: self.main_section(entry, "TaskIntent")?,
                    approach: entry.section("Approach").unwrap_or_default(),
                    key_insight: section("KeyInsight"),
                    quality_score,
                }
            }
            Kind::Profile | Kind::AgentSkill | Kind::KnowledgeDocument | Kind::KnowledgeTopic => return None,
        };
        let mut sender_ids = list("sender_ids");
        if sender_ids.is_empty() {
            sender_ids.extend(text("speaker"));
        }
        Some(Memory {
            id: format!("{}_{}", owner.id, entry.id),
            entry_id: entry.id.to_owned(),
            path: self.path.to_owned(),
            session_id: text("session_id"),
            timestamp_us: Some(timestamp_us),
            parent_type: text("parent_type"),
            parent_id: text("parent_id"),
            sender_ids,
            message_ids: list("message_ids"),
            deprecated_by: None,
            owner: owner.clone(),
            body,
        })
    }

    /// Returns an inline value without which the entry is no memory.
    fn required(&mut self, entry: &Entry<'_>, key: &str) -> Option<String> {
        let value = entry.inline(key).map(|value| value.into_owned()).filter(|value| !value.is_empty());
        if value.is_none() {
            self.tell(
                Some(entry.id),
                Some(entry.line),
                "inline_missing",
                format!("entry `{}` has no `**{key}**`", entry.id),
            );
        }
        value
    }

    fn invalid(&mut self, entry: &Entry<'_>, key: &str, value: &str) {
        let value: String = value.chars().take(60).collect();
        let message = format!("entry `{}` has a `**{key}**` that cannot be read: `{value}`", entry.id);
        self.tell(Some(entry.id), Some(entry.line), "inline_invalid", message);
    }

    /// Returns the section that is the memory itself.
    fn main_section(&mut self, entry: &Entry<'_>, name: &str) -> Option<String> {
        let text = entry.section(name).filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.tell(
                Some(entry.id),
                Some(entry.line),
                "section_missing",
                format!("entry `{}` says nothing under `### {name}`", entry.id),
            );
        }
        text
    }

    /// Reads a kind that fills its file.
    fn whole(&mut self, kind: Kind, owner: Owner, decoded: &Decoded<'_>, references: &[(String, String)]) {
        if let Some(damage) = decoded.damage(0..decoded.text.len()) {
            return self.tell_damage(None, decoded, damage);
        }
        if decoded.text.len() > ENTRY_BYTES_MAX {
            return self.tell(
                None,
                None,
                "entry_too_large",
                format!("the file is longer than {ENTRY_BYTES_MAX} bytes"),
            );
        }
        let (header, start) = FrontMatter::split(&decoded.text);
        if let Some(fault) = header.fault() {
            return self.tell(None, Some(fault.line), fault.code, fault.message.clone());
        }
        if !header.is_present() {
            return self.tell(None, Some(1), "front_matter_missing", "there is no front matter");
        }
        let body = decoded.text[start..].replace("\r\n", "\n");
        let expected = if kind == Kind::Profile { "user_profile" } else { kind.name() };
        let knowledge = owner.track == Track::Knowledge;
        let Some(owner) = self.identify(&header, owner, expected, knowledge) else { return };
        let read = match kind {
            Kind::Profile => self.profile(&header, &owner),
            Kind::AgentSkill => self.skill(&header, &owner, &body, references),
            Kind::KnowledgeDocument => self.document(&header, &body),
            Kind::KnowledgeTopic => self.topic(&header, body),
            Kind::Episode | Kind::AtomicFact | Kind::Foresight | Kind::AgentCase => None,
        };
        let Some((id, body)) = read else { return };
        self.out.memories.push(Memory {
            owner,
            id,
            entry_id: String::new(),
            path: self.path.to_owned(),
            session_id: None,
            timestamp_us: None,
            parent_type: None,
            parent_id: None,
            sender_ids: Vec::new(),
            message_ids: Vec::new(),
            deprecated_by: None,
            body,
        });
    }

    fn profile(&mut self, header: &FrontMatter, owner: &Owner) -> Option<(String, Body)> {
        let list = |key: &str| {
            header.get(key).filter(|value| !value.is_null()).cloned().unwrap_or_else(|| Value::Array(Vec::new()))
        };
        let body = Body::Profile {
            summary: string(header, "summary").unwrap_or_default(),
            explicit_info: list("explicit_info"),
            implicit_traits: list("implicit_traits"),
            profile_timestamp_ms: self.integer(header, "profile_timestamp_ms"),
        };
        Some((owner.id.clone(), body))
    }

    fn skill(
        &mut self,
        header: &FrontMatter,
        owner: &Owner,
        body: &str,
        references: &[(String, String)],
    ) -> Option<(String, Body)> {
        let name = self.field(header, "name")?;
        if name.contains(['/', '\\']) || name == ".." {
            let message = format!("a skill cannot be named `{name}`");
            self.tell(None, header.line("name"), "name_unsafe", message);
            return None;
        }
        let mut sorted: Vec<&(String, String)> = references.iter().collect();
        sorted.sort();
        // Source: contract §C.8 hashes body and references; EverOS joins them by blank lines, in the order of their names.
        let parts = std::iter::once(body).chain(sorted.iter().map(|(_, text)| text.as_str())).map(str::trim_end);
        let content = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
        let id = format!("{}_{name}", owner.id);
        let body = Body::AgentSkill {
            description: string(header, "description").unwrap_or_default(),
            confidence: self.float(header, "confidence"),
            maturity_score: self.float(header, "maturity_score"),
            source_case_ids: strings(header, "source_case_ids"),
            cluster_id: string(header, "cluster_id").filter(|id| !id.is_empty()),
            name,
            content,
        };
        Some((id, body))
    }

    fn document(&mut self, header: &FrontMatter, body: &str) -> Option<(String, Body)> {
        let doc_id = match string(header, "doc_id").filter(|id| !id.is_empty()) {
            Some(id) => id,
            None => self.field(header, "id")?,
        };
        let body = Body::KnowledgeDocument {
            category_id: string(header, "category_id").unwrap_or_default(),
            title: string(header, "title").unwrap_or_default(),
            summary: body.trim().to_owned(),
            source_name: string(header, "source_name"),
            source_type: string(header, "source_type"),
        };
        Some((doc_id, body))
    }

    fn topic(&mut self, header: &FrontMatter, content: String) -> Option<(String, Body)> {
        let doc_id = self.field(header, "doc_id")?;
        let node_id = match string(header, "node_id").filter(|id| !id.is_empty()) {
            Some(id) => id,
            None => self.field(header, "id")?,
        };
        let text = |key: &str| string(header, key).unwrap_or_default();
        let body = Body::KnowledgeTopic {
            doc_id,
            category_id: text("category_id"),
            topic_index: self.integer(header, "topic_index"),
            topic_name: text("topic_name"),
            topic_path: text("topic_path"),
            summary: text("summary"),
            depth: self.integer(header, "depth"),
            parent_node_id: string(header, "parent_node_id").filter(|id| !id.is_empty()),
            children_node_ids: strings(header, "children_node_ids"),
            content_labels: strings(header, "content_labels"),
            content,
        };
        Some((node_id, body))
    }

    /// Returns a front matter value without which the file is no memory.
    fn field(&mut self, header: &FrontMatter, key: &str) -> Option<String> {
        let value = string(header, key).filter(|value| !value.is_empty());
        if value.is_none() {
            self.tell(None, header.line(key).or(Some(1)), "field_missing", format!("the front matter has no `{key}`"));
        }
        value
    }

    fn integer(&mut self, header: &FrontMatter, key: &str) -> i64 {
        let value = header.get(key).filter(|value| !value.is_null());
        let number = value.and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()));
        self.number(header, key, value.is_some(), number)
    }

    fn float(&mut self, header: &FrontMatter, key: &str) -> f64 {
        let value = header.get(key).filter(|value| !value.is_null());
        let number = value.and_then(|value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()));
        self.number(header, key, value.is_some(), number.filter(|number| number.is_finite()))
    }

    /// Returns the number, or 0 where there is none; one that is there but is no number is told.
    fn number<N: Default>(&mut self, header: &FrontMatter, key: &str, stated: bool, number: Option<N>) -> N {
        if stated && number.is_none() {
            self.tell(
                None,
                header.line(key),
                "field_invalid",
                format!("`{key}` in the front matter is not a number: 0 is taken"),
            );
        }
        number.unwrap_or_default()
    }
}

/// Returns a scalar of the front matter as text.
fn string(header: &FrontMatter, key: &str) -> Option<String> {
    match header.get(key)? {
        Value::String(text) => Some(text.clone()),
        _ => header.text(key).map(str::to_owned),
    }
}

/// Returns a list of the front matter; a single scalar counts as a list of one.
fn strings(header: &FrontMatter, key: &str) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match header.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(other) => text(other).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
