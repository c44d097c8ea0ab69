//! Taking over a root that EverOS wrote: its Markdown is used as it is; messages that lived only in its database are put
//! into our inbox, once.

use crate::engine::Inner;
use crate::error::Error;
use crate::inbox::Session;
use evermark_core::id::Scope;
use evermark_core::markdown::inbox::{self, Batch, Mode};
use evermark_core::markdown::inbox_path;
use evermark_core::memory::{ContentItem, Message, Role};
use evermark_store::durable;
use evermark_store::everos::{self, Buffered};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::BTreeMap;

/// Says that EverOS's buffer has been taken over; while it is there, it is not looked at again.
const MARKER: &str = "everos-buffer-adopted";

impl Inner {
    pub(crate) fn adopt_everos_buffer(&self) -> Result<(), Error> {
        let marker = self.layout.own_dir().join(MARKER);
        if marker.is_file() {
            return Ok(());
        }
        let buffered = everos::buffered(&self.layout)?;
        let mut sessions: BTreeMap<Session, Vec<Message>> = BTreeMap::new();
        for row in buffered {
            let session = Session { scope: Scope::new(&row.app_id, &row.project_id), id: row.session_id.clone() };
            match message_of(row) {
                Ok(message) => sessions.entry(session).or_default().push(message),
                Err((id, reason)) => tracing::warn!(id, reason, "a message in EverOS's buffer cannot be taken over"),
            }
        }
        for (session, messages) in sessions {
            tracing::info!(
                session = session.id,
                n_messages = messages.len(),
                "taking over messages from EverOS's buffer"
            );
            let path = inbox_path(&session.scope, &session.id, 1)?;
            let batch = Batch {
                scope: session.scope,
                session_id: session.id,
                accepted_at_us: messages.first().map_or(0, |message| message.timestamp_ms.saturating_mul(1000)),
                mode: Mode::Buffer,
                is_final: false,
                request_id: None,
                messages,
            };
            // The same rows give the same bytes, so that a run cut short can be repeated.
            self.create_file(&path, inbox::render(&batch).as_bytes())?;
        }
        durable::write(self.world.as_ref(), &marker, b"messages from .index/sqlite/system.db are in the inbox\n")?;
        Ok(())
    }
}

fn message_of(row: Buffered) -> Result<Message, (String, String)> {
    let id = row.message_id.clone();
    let wrong = |what: &str, detail: String| (id.clone(), format!("{what}: {detail}"));
    let role = Role::from_name(&row.role).ok_or_else(|| wrong("role", row.role.clone()))?;
    let at: DateTime = row.timestamp.parse().map_err(|error: jiff::Error| wrong("timestamp", error.to_string()))?;
    let at = at.to_zoned(TimeZone::UTC).map_err(|error| wrong("timestamp", error.to_string()))?;
    let items: Vec<Value> =
        serde_json::from_str(&row.content_items).map_err(|error| wrong("content", error.to_string()))?;
    let items = items
        .into_iter()
        .map(|raw| ContentItem { text: raw.get("text").and_then(Value::as_str).map(str::to_owned), raw })
        .collect();
    let tool_calls = match row.tool_calls.as_deref().map(serde_json::from_str).transpose() {
        Ok(value) => value.filter(|value: &Value| !value.is_null()),
        Err(error) => return Err(wrong("tool calls", error.to_string())),
    };
    Ok(Message {
        id: row.message_id,
        sender_id: row.sender_id,
        sender_name: row.sender_name,
        role,
        timestamp_ms: at.timestamp().as_millisecond(),
        items,
        tool_calls,
        tool_call_id: row.tool_call_id,
    })
}
