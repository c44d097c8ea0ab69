//! What the demo talks about.

use evermark_core::world::{RealWorld, World};
use serde_json::{Value, json};

pub(super) const SESSION: &str = "demo";
pub(super) const USER: &str = "mira";
pub(super) const USER_FOLDER: &str = "default_app/default_project/users/mira";
pub(super) const FACTS_FOLDER: &str = "default_app/default_project/users/mira/.atomic_facts";

pub(super) const QUESTION: &str = "Which tea does Mira drink in the morning?";
pub(super) const FACT: &str = "oolong";
pub(super) const EDITED: &str = "jasmine";
/// Shares no word with its answer.
pub(super) const QUESTION_MEANT: &str = "Who must avoid nuts?";
pub(super) const FACT_MEANT: &str = "peanuts";
pub(super) const QUESTION_ZH: &str = "她下周去哪里出差？";
pub(super) const FACT_ZH: &str = "上海";

pub(super) const MESSAGES: [(&str, &str); 8] = [
    ("mira", "Hi, good morning!"),
    ("mira", "I moved to Lisbon in March and rent a small office near the river."),
    ("helper", "Good to know. Shall I order anything for the office?"),
    ("mira", "Tea, please: I drink oolong tea every morning, never coffee."),
    ("mira", "My sister Ana visits on Friday, and she is allergic to peanuts."),
    ("helper", "No peanuts on Friday, then."),
    ("mira", "我下周三去上海出差，周五回来。"),
    ("mira", "Thanks, bye!"),
];

/// Returns the conversation as the API takes it: half a minute between messages, the last one just now.
pub(super) fn body() -> Value {
    const APART_MS: i64 = 30_000;
    let now_ms = RealWorld::new().now_us() / 1000;
    let mut left = i64::try_from(MESSAGES.len()).unwrap_or_default();
    let messages = MESSAGES.map(|(who, what)| {
        left -= 1;
        let role = if who == USER { "user" } else { "assistant" };
        json!({ "sender_id": who, "role": role, "timestamp": now_ms - left * APART_MS, "content": what })
    });
    json!({ "session_id": SESSION, "messages": messages })
}
