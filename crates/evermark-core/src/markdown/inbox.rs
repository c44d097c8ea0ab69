//! Messages that were accepted and are not memories yet: one file for each accepted batch, written once, never edited,
//! removed when memories have been made of it. EverOS looks nowhere near it.
//!
//! Any message comes back exactly as it went in, and `cat` shows what was said and why the file is there.

use super::daily::DailyFile;
use super::decode::Decoded;
use super::draft::render_entry;
use super::entry::Entry;
use super::front_matter::{FrontMatter, Newline};
use super::{Finding, time};
use crate::id::Scope;
use crate::memory::{ContentItem, Message, Role};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

const TYPE: &str = "evermark_inbox";

/// What was accepted in one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub scope: Scope,
    pub session_id: String,
    /// Microseconds since 1970 (UTC).
    pub accepted_at_us: i64,
    pub mode: Mode,
    /// Whether the session's messages up to here are to be made into memories without waiting for more. A flush that had
    /// to queue is a batch without messages where this is set.
    pub is_final: bool,
    pub request_id: Option<String>,
    pub messages: Vec<Message>,
}

/// What the messages wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For the end of their segment: they are part of the conversation so far.
    Buffer,
    /// For their turn: they have only been accepted.
    Queued,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Queued => "queued",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Buffer, Self::Queued].into_iter().find(|mode| mode.name() == name)
    }
}

/// Returns the file that keeps a batch.
pub fn render(batch: &Batch) -> String {
    let header = FrontMatter::fresh(
        [
            ("type", json!(TYPE)),
            ("schema_version", json!(1)),
            ("session_id", json!(batch.session_id)),
            ("app_id", json!(batch.scope.app)),
            ("project_id", json!(batch.scope.project)),
            ("accepted_at", json!(time::render(batch.accepted_at_us))),
            ("mode", json!(batch.mode.name())),
            ("final", json!(batch.is_final)),
            ("request_id", json!(batch.request_id)),
            ("message_count", json!(batch.messages.len())),
        ],
        Newline::Lf,
    );
    let mut out = header.render().to_owned();
    out.push_str(
        "Messages that Evermark has accepted and not yet made into memories. It removes this file once it has.\n\
         Nothing else holds these words: deleting the file forgets them.\n\n",
    );
    for (idx, message) in batch.messages.iter().enumerate() {
        out.push_str(&render_message(idx, message));
        out.push('\n');
    }
    out
}

fn render_message(idx: usize, message: &Message) -> String {
    let timestamp = message.timestamp_ms.to_string();
    let text = message.text();
    let items = (!is_plain(message)).then(|| render_items(&message.items));
    let tool_calls = message.tool_calls.as_ref().map(Value::to_string);
    let mut inline = vec![("message_id", message.id.as_str()), ("sender_id", message.sender_id.as_str())];
    inline.extend(message.sender_name.as_deref().map(|name| ("sender_name", name)));
    inline.push(("role", message.role.name()));
    inline.push(("timestamp_ms", &timestamp));
    inline.extend(message.tool_call_id.as_deref().map(|id| ("tool_call_id", id)));
    let mut sections = vec![("Content", text.as_str())];
    sections.extend(items.as_deref().map(|items| ("Items", items)));
    sections.extend(tool_calls.as_deref().map(|calls| ("ToolCalls", calls)));
    render_entry(&format!("msg_{:08}", idx + 1), inline, sections, "\n")
}

/// Tells whether a message is one text item and nothing more, so that its text says all.
fn is_plain(message: &Message) -> bool {
    match message.items.as_slice() {
        [ContentItem { text: Some(text), raw }] => *raw == json!({"type": "text", "text": text}),
        _ => false,
    }
}

/// Returns the items as JSON, one a line: what was read of each, and each as it was sent.
fn render_items(items: &[ContentItem]) -> String {
    let lines: Vec<String> = items.iter().map(|item| json!({"text": item.text, "raw": item.raw}).to_string()).collect();
    if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", lines.join(",\n")) }
}

/// Returns the batch a file keeps.
///
/// Errors: the first thing wrong with it; a batch is whole or it is not used.
pub fn parse(path: &str, bytes: &[u8]) -> Result<Batch, Finding> {
    let decoded = Decoded::of(bytes);
    if let Some(damage) = decoded.damage(0..decoded.text.len()) {
        return Err(finding(path, None, Some(decoded.line(damage.span.start)), damage.code, damage.message()));
    }
    let file = DailyFile::parse(&decoded.text);
    if let Some(first) = file.findings(path).into_iter().next() {
        return Err(first);
    }
    let header = Header { path, header: file.front_matter() };
    header.check_type(TYPE)?;
    let batch = Batch {
        scope: header.scope()?,
        session_id: header.string("session_id")?,
        accepted_at_us: header.time("accepted_at")?,
        mode: Mode::from_name(&header.string("mode")?).ok_or_else(|| header.invalid("mode"))?,
        is_final: header.header.get("final").and_then(Value::as_bool).ok_or_else(|| header.invalid("final"))?,
        request_id: header.optional("request_id"),
        messages: file.entries().map(|entry| parse_message(path, &entry)).collect::<Result<_, _>>()?,
    };
    if header.header.get("message_count") != Some(&json!(batch.messages.len())) {
        return Err(header.invalid("message_count"));
    }
    Ok(batch)
}

fn parse_message(path: &str, entry: &Entry<'_>) -> Result<Message, Finding> {
    let missing = |key: &str| {
        finding(
            path,
            Some(entry.id),
            Some(entry.line),
            "inline_missing",
            &format!("message `{}` has no readable `{key}`", entry.id),
        )
    };
    let text = |key: &str| entry.inline(key).map(|value| value.into_owned());
    let required = |key: &str| text(key).ok_or_else(|| missing(key));
    let content = entry.section("Content").ok_or_else(|| missing("Content"))?;
    let items = match entry.section("Items") {
        Some(items) => parse_items(&items).ok_or_else(|| missing("Items"))?,
        None => vec![ContentItem { raw: json!({"type": "text", "text": content}), text: Some(content) }],
    };
    let tool_calls = match entry.section("ToolCalls") {
        Some(calls) => Some(serde_json::from_str(&calls).map_err(|_| missing("ToolCalls"))?),
        None => None,
    };
    Ok(Message {
        id: required("message_id")?,
        sender_id: required("sender_id")?,
        sender_name: text("sender_name"),
        role: Role::from_name(&required("role")?).ok_or_else(|| missing("role"))?,
        timestamp_ms: required("timestamp_ms")?.parse().map_err(|_| missing("timestamp_ms"))?,
        items,
        tool_calls,
        tool_call_id: text("tool_call_id"),
    })
}

fn parse_items(text: &str) -> Option<Vec<ContentItem>> {
    let items: Vec<Value> = serde_json::from_str(text).ok()?;
    let item = |mut item: Value| {
        let raw = item.get_mut("raw")?.take();
        let text = match item.get("text")? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => return None,
        };
        Some(ContentItem { text, raw })
    };
    items.into_iter().map(item).collect()
}

pub(super) fn finding(
    path: &str,
    entry: Option<&str>,
    line: Option<usize>,
    code: &'static str,
    message: &str,
) -> Finding {
    Finding { path: path.to_owned(), entry: entry.map(str::to_owned), line, code, message: message.to_owned() }
}

/// The front matter of a file of ours, read strictly.
pub(super) struct Header<'a> {
    pub(super) path: &'a str,
    pub(super) header: &'a FrontMatter,
}

impl Header<'_> {
    pub(super) fn check_type(&self, expected: &str) -> Result<(), Finding> {
        if self.header.get("type") == Some(&json!(expected)) && self.header.get("schema_version") == Some(&json!(1)) {
            return Ok(());
        }
        let message = format!("not a file of type `{expected}`, version 1");
        Err(finding(self.path, None, self.header.line("type").or(Some(1)), "wrong_type", &message))
    }

    pub(super) fn invalid(&self, key: &str) -> Finding {
        let message = format!("the front matter has no usable `{key}`");
        finding(self.path, None, self.header.line(key).or(Some(1)), "field_invalid", &message)
    }

    pub(super) fn optional(&self, key: &str) -> Option<String> {
        self.header.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    pub(super) fn string(&self, key: &str) -> Result<String, Finding> {
        self.optional(key).ok_or_else(|| self.invalid(key))
    }

    pub(super) fn scope(&self) -> Result<Scope, Finding> {
        Ok(Scope::new(self.string("app_id")?, self.string("project_id")?))
    }

    fn time(&self, key: &str) -> Result<i64, Finding> {
        time::parse(&self.string(key)?, &TimeZone::UTC).ok_or_else(|| self.invalid(key))
    }
}

#[cfg(test)]
mod tests;
