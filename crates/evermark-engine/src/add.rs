//! Adding messages and flushing sessions: from the wire to durable Markdown.

use evermark_core::id::Scope;
use evermark_core::memory::{ContentItem, Role};
use serde_json::Value;
use std::time::Duration;

/// Messages of one session to be remembered.
#[derive(Clone, Debug)]
pub struct AddRequest {
    pub scope: Scope,
    pub session_id: String,
    pub messages: Vec<NewMessage>,
    /// Keep the messages in the inbox; extract later.
    pub defer_extraction: bool,
    /// Answer once the messages are durable; extraction follows in the background.
    pub queued: bool,
    /// Wait until what was extracted can be searched, at most this long.
    pub wait_indexed: Option<Duration>,
}

/// What the smallest file takes on most disks, its folder and its name.
pub(crate) const FILE_BYTES: u64 = 8 << 10;

impl AddRequest {
    /// Returns about how many bytes of disk it will take to store this.
    pub(crate) fn size_bytes(&self) -> u64 {
        let text = |message: &NewMessage| {
            let items = message.items.iter().map(|item| item.raw.to_string().len()).sum::<usize>();
            items + message.tool_calls.as_ref().map_or(0, |calls| calls.to_string().len())
        };
        // Once as it came, and once as what is made of it.
        FILE_BYTES + 2 * self.messages.iter().map(text).sum::<usize>() as u64
    }
}

/// A message as sent.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub sender_id: String,
    pub sender_name: Option<String>,
    pub role: Role,
    /// As sent: milliseconds, or seconds when below 10^12.
    pub timestamp: i64,
    pub items: Vec<ContentItem>,
    pub tool_calls: Option<Value>,
    pub tool_call_id: Option<String>,
}

/// Ends the open segment of a session.
#[derive(Clone, Debug)]
pub struct FlushRequest {
    pub scope: Scope,
    pub session_id: String,
    pub wait_indexed: Option<Duration>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Durable in the inbox, nothing extracted yet.
    Accumulated,
    /// At least one episode is on disk.
    Extracted,
    /// A flush found nothing to extract.
    NothingToExtract,
    /// Durable in the inbox; extraction runs in the background.
    Queued,
}

/// What is true of a request when it is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    pub progress: Progress,
    /// Messages in the request.
    pub message_count: usize,
    /// Messages written to the inbox by this request, and those that were there or had been extracted already.
    pub stored: usize,
    pub duplicates: usize,
    /// Messages of the session still waiting in the inbox.
    pub open: usize,
    /// Memories written by this request.
    pub episodes: Vec<Extracted>,
    pub facts: usize,
    /// Whether everything this request wrote can be searched now; `None` when it wrote nothing.
    pub indexed: Option<bool>,
}

/// A memory that a request made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    pub id: String,
    pub owner_id: String,
    /// Markdown file, relative to the root.
    pub path: String,
}
