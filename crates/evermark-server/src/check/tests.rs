//! Compares our reading of requests with a table of what EverOS 1.5.1 answers to them.
//!
//! The table was made by sending each request to EverOS's own application (its real models, its services replaced by
//! something that reports what arrived). A line holds a request and either the text of its 422 or what it was read as.

use crate::api::{AddBody, FlushBody, GetBody, SearchBody};
use crate::check::Invalid;
use crate::json;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    route: String,
    body: Option<Value>,
    text: Option<String>,
    message: Option<String>,
    accepted: Option<Value>,
}

fn read(route: &str, body: &Value) -> Result<Value, Invalid> {
    Ok(match route {
        "add" => {
            let body = AddBody::read(body)?;
            let last = body.messages.last().expect("there is at least one message");
            json!({
                "session_id": body.session_id,
                "app_id": body.app_id,
                "project_id": body.project_id,
                "defer_extraction": body.defer_extraction,
                "last": {
                    "sender_id": last.sender_id,
                    "sender_name": last.sender_name,
                    "role": last.role,
                    "timestamp": last.timestamp,
                    "tool_calls": last.tool_calls,
                    "tool_call_id": last.tool_call_id,
                },
            })
        }
        "flush" => {
            let body = FlushBody::read(body)?;
            json!({ "session_id": body.session_id, "app_id": body.app_id, "project_id": body.project_id })
        }
        "search" => {
            let body = SearchBody::read(body)?;
            json!({
                "user_id": body.user_id,
                "agent_id": body.agent_id,
                "app_id": body.app_id,
                "project_id": body.project_id,
                "query": body.query,
                "method": body.method.map_or(json!("hybrid"), |method| json!(method)),
                "top_k": body.top_k,
                "radius": body.radius,
                "min_score": body.min_score,
                "include_profile": body.include_profile,
                "enable_llm_rerank": body.enable_llm_rerank,
            })
        }
        "get" => {
            let body = GetBody::read(body)?;
            json!({
                "user_id": body.user_id,
                "agent_id": body.agent_id,
                "app_id": body.app_id,
                "project_id": body.project_id,
                "memory_type": body.memory_type,
                "page": body.page,
                "page_size": body.page_size,
                "sort_by": body.sort_by,
                "sort_order": body.sort_order,
            })
        }
        other => panic!("no such route: {other}"),
    })
}

/// Tells lines in which we differ on purpose. Not JSON: NaN, lone surrogates. Beyond 64 bits: times and pages nobody has.
fn is_ours(line: &str) -> bool {
    [
        "NaN",
        "Infinity",
        "\\\\ud800",
        "10000000000000000000000000",
        "1180591620717411303424",
        "1208925819614629174706176",
    ]
    .iter()
    .any(|sign| line.contains(sign))
}

#[test]
fn requests_are_read_as_everos_reads_them() {
    let table = include_str!("../../tests/it/validation.jsonl");
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in table.lines() {
        if is_ours(line) {
            continue;
        }
        let case: Case = serde_json::from_str(line).unwrap();
        count += 1;
        let body = match (&case.body, &case.text) {
            (Some(body), None) => Ok(body.clone()),
            (None, Some(text)) => json::read(text.as_bytes()),
            _ => Ok(Value::Null),
        };
        let ours = match body.and_then(|body| read(&case.route, &body)) {
            Ok(read) => json!({ "accepted": read }),
            Err(error) => json!({ "message": error.message() }),
        };
        let theirs = match (&case.message, &case.accepted) {
            (Some(message), _) => json!({ "message": message }),
            (None, accepted) => json!({ "accepted": accepted }),
        };
        if ours != theirs {
            wrong.push(format!("{line}\n  ours:   {ours}\n  theirs: {theirs}"));
        }
    }
    assert!(count > 1000, "the table shrank to {count} lines");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_request_holds_at_most_500_messages() {
    let message = json!({ "sender_id": "ann", "role": "user", "timestamp": 1, "content": "hi" });
    let body = |count: usize| json!({ "session_id": "s", "messages": vec![message.clone(); count] });
    assert_eq!(AddBody::read(&body(500)).unwrap().messages.len(), 500);
    let error = AddBody::read(&body(501)).unwrap_err();
    assert_eq!(error.message(), "List should have at most 500 items after validation, not 501: messages");
}

#[test]
fn waiting_is_bounded() {
    let body = |wait: Value, timeout: Value| {
        FlushBody::read(&json!({ "session_id": "s", "wait": wait, "wait_timeout_ms": timeout }))
    };
    let patience = |wait, timeout| body(wait, timeout).unwrap().patience().map(|patience| patience.as_millis());
    assert_eq!(patience(json!("indexed"), json!(null)), Some(10_000));
    assert_eq!(patience(json!("indexed"), json!("250")), Some(250));
    assert_eq!(patience(json!(null), json!(250)), None);
    let message = |wait, timeout| body(wait, timeout).unwrap_err().message().to_owned();
    assert_eq!(message(json!("forever"), json!(1)), "Input should be 'indexed': wait");
    assert_eq!(message(json!(null), json!(60_001)), "Input should be less than or equal to 60000: wait_timeout_ms");
    assert_eq!(message(json!(null), json!(0)), "Input should be greater than or equal to 1: wait_timeout_ms");
}

#[test]
fn times_beyond_the_calendar_are_refused() {
    let read = |timestamp: i64| {
        let message = json!({ "sender_id": "ann", "role": "user", "timestamp": timestamp, "content": "hi" });
        AddBody::read(&json!({ "session_id": "s", "messages": [message] })).map_err(|error| error.message().to_owned())
    };
    // Milliseconds and seconds of the year 9999, and one more of each.
    assert!(read(253_402_300_799_999).is_ok() && read(253_402_300_799).is_ok());
    let refused = Err("Input should be less than or equal to 253402300799999: messages.0.timestamp".to_owned());
    assert_eq!(read(253_402_300_800_000), refused);
    assert_eq!(read(253_402_300_800), refused);
}
