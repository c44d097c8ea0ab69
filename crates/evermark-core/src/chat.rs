//! Asking a language model, and finding what it says in what it writes.

use crate::provider::{Figures, ProviderError};
use serde_json::{Map, Value};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// One question to a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// What is wanted: ours, never text from memories.
    pub system: String,
    /// What it is wanted of.
    pub user: String,
    pub temperature: f32,
    /// Longest answer; `None` leaves that to the provider.
    pub tokens_max: Option<u32>,
}

/// A language model. Calls block; implementations bound their own time.
pub trait ChatModel: Send + Sync {
    /// Returns the model's name.
    fn model(&self) -> &str;

    /// Returns what the model writes. `deadline` bounds the whole call, retries included.
    fn chat(&self, request: &ChatRequest, deadline: Duration) -> Result<String, ProviderError>;

    fn figures(&self) -> Figures;

    /// Ends all waiting between attempts.
    fn close(&self) {}
}

/// Bytes of an answer that are looked at: the objects asked for are a few hundred.
const ANSWER_BYTES_READ: usize = 1 << 16;

/// Returns the last JSON object with this key in a text.
///
/// Models write more than they are asked to: a fence of backticks around the object, a sentence before it, what they thought
/// on the way with drafts in it. Braces inside strings do not count.
pub fn object_with(text: &str, key: &str) -> Option<Map<String, Value>> {
    let mut found = None;
    let mut rest = &text[..text.floor_char_boundary(ANSWER_BYTES_READ)];
    while let Some(at) = rest.find('{') {
        rest = &rest[at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(Value::Object(object))) => {
                let end = values.byte_offset();
                if object.contains_key(key) {
                    found = Some(object);
                }
                rest = &rest[end..];
            }
            // No object begins here; one may begin further inside.
            _ => rest = &rest[1..],
        }
    }
    found
}
