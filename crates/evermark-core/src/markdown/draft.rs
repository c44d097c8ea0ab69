//! Entries to be written: which inline pairs and sections, in the order of contract §C.4.

use super::escape;
use crate::id::Kind;
use crate::memory::{Body, Memory};
use std::borrow::Cow;

/// An entry that has no id yet.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryDraft {
    pub owner_id: String,
    pub session_id: Option<String>,
    /// When it happened, microseconds since 1970 (UTC).
    pub timestamp_us: i64,
    /// `memcell`, `episode` or `cluster`, and the id there.
    pub parent_type: Option<String>,
    pub parent_id: Option<String>,
    pub sender_ids: Vec<String>,
    /// The messages it is made of. Ours: EverOS ignores it.
    pub message_ids: Vec<String>,
    /// One of the kinds that live in daily files.
    pub body: Body,
}

impl EntryDraft {
    /// Returns a draft that says what `memory` says.
    pub fn of(memory: &Memory) -> Self {
        Self {
            owner_id: memory.owner.id.clone(),
            session_id: memory.session_id.clone(),
            timestamp_us: memory.timestamp_us.unwrap_or_default(),
            parent_type: memory.parent_type.clone(),
            parent_id: memory.parent_id.clone(),
            sender_ids: memory.sender_ids.clone(),
            message_ids: memory.message_ids.clone(),
            body: memory.body.clone(),
        }
    }

    pub fn kind(&self) -> Kind {
        self.body.kind()
    }

    /// Returns the inline pairs, unescaped.
    fn inline(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let mut pairs: Vec<(&'static str, Cow<'_, str>)> = Vec::with_capacity(9);
        let session = self.session_id.as_deref().filter(|session| !session.is_empty()).map(Cow::Borrowed);
        let time = Cow::Owned(super::time::render(self.timestamp_us));
        let text = |value: &'_ Option<String>| value.clone().filter(|text| !text.is_empty()).map(Cow::Owned);
        let mut add =
            |key, value: Option<Cow<'_, str>>| pairs.extend(value.map(|value| (key, Cow::Owned(value.into_owned()))));
        add("owner_id", Some(Cow::Borrowed(&self.owner_id)));
        let is_fact = matches!(self.body, Body::AtomicFact { .. });
        if !is_fact {
            add("session_id", session.clone());
        }
        add("timestamp", Some(time));
        add("parent_type", text(&self.parent_type));
        add("parent_id", text(&self.parent_id));
        if is_fact {
            add("session_id", session);
        }
        match &self.body {
            Body::Foresight { start_time, end_time, duration_days, .. } => {
                add("start_time", text(start_time));
                add("end_time", text(end_time));
                add("duration_days", duration_days.map(|days| Cow::Owned(days.to_string())));
            }
            Body::AgentCase { quality_score, .. } => {
                add("quality_score", Some(Cow::Owned(format!("{quality_score:?}"))))
            }
            _ => {}
        }
        add("sender_ids", (!self.sender_ids.is_empty()).then(|| Cow::Owned(render_list(&self.sender_ids))));
        add("message_ids", (!self.message_ids.is_empty()).then(|| Cow::Owned(json_list(&self.message_ids))));
        pairs
    }

    /// Returns the sections, unescaped. Empty optional ones are left out.
    fn sections(&self) -> Vec<(&'static str, &str)> {
        let mut sections = Vec::with_capacity(3);
        let optional = |text: &'_ Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        match &self.body {
            Body::Episode { subject, summary, content } => {
                if optional(subject) {
                    sections.push(("Subject", subject.as_deref().unwrap_or_default()));
                }
                if optional(summary) {
                    sections.push(("Summary", summary.as_deref().unwrap_or_default()));
                }
                sections.push(("Content", content.as_str()));
            }
            Body::AtomicFact { fact, context } => {
                sections.push(("Fact", fact.as_str()));
                if optional(context) {
                    sections.push(("Context", context.as_deref().unwrap_or_default()));
                }
            }
            Body::Foresight { foresight, evidence, .. } => {
                sections.push(("Foresight", foresight.as_str()));
                sections.push(("Evidence", evidence.as_str()));
            }
            Body::AgentCase { task_intent, approach, key_insight, .. } => {
                sections.push(("TaskIntent", task_intent.as_str()));
                sections.push(("Approach", approach.as_str()));
                if optional(key_insight) {
                    sections.push(("KeyInsight", key_insight.as_deref().unwrap_or_default()));
                }
            }
            _ => {}
        }
        sections
    }

    /// Returns the entry as it stands in a file, from `<` of its open marker to `>` of its close marker.
    pub(super) fn render(&self, id: &str, newline: &str) -> String {
        let inline = self.inline();
        render_entry(id, inline.iter().map(|(key, value)| (*key, value.as_ref())), self.sections(), newline)
    }
}

/// Returns an entry of any kind; values are escaped here.
pub(super) fn render_entry<'a>(
    id: &str,
    inline: impl IntoIterator<Item = (&'a str, &'a str)>,
    sections: impl IntoIterator<Item = (&'a str, &'a str)>,
    newline: &str,
) -> String {
    let mut out = format!("<!-- entry:{id} -->{newline}## {id}{newline}{newline}");
    for (key, value) in inline {
        out.push_str("**");
        out.push_str(key);
        out.push_str("**: ");
        out.push_str(&escape::inline(value));
        out.push_str(newline);
    }
    for (name, text) in sections {
        out.push_str(newline);
        out.push_str("### ");
        out.push_str(name);
        out.push_str(newline);
        out.push_str(&escape::section(text, newline));
        out.push_str(newline);
    }
    out.push_str("<!-- /entry:");
    out.push_str(id);
    out.push_str(" -->");
    out
}

/// Returns `[a, b]` as EverOS writes lists, or JSON when an item would not survive that.
fn render_list(items: &[String]) -> String {
    let plain = |item: &String| {
        !item.is_empty()
            && item.trim() == item
            && !item.contains([',', '[', ']', '"', '\''])
            && !item.contains(char::is_control)
    };
    if items.iter().all(plain) { format!("[{}]", items.join(", ")) } else { json_list(items) }
}

/// Returns a JSON array of strings: what free text needs.
pub(super) fn json_list(items: &[String]) -> String {
    serde_json::Value::from(items).to_string()
}

/// Returns the items of a list written either way. Quotes around an item of a plain list are not part of it.
pub(super) fn parse_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.starts_with("[\"")
        && let Ok(items) = serde_json::from_str::<Vec<String>>(text)
    {
        return items;
    }
    let inside = text.strip_prefix('[').unwrap_or(text);
    let inside = inside.strip_suffix(']').unwrap_or(inside);
    let items = inside.split(',').map(|item| item.trim().trim_matches(['"', '\'']).trim());
    items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
