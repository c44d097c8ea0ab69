use super::*;
use serde_json::{Value, json};

fn check(part: Value, expected: Result<(), u16>) {
    let body = json!({
        "session_id": "s",
        "messages": [{ "sender_id": "ann", "role": "user", "timestamp": 1, "content": [part] }],
    });
    let body = AddBody::read(&body).unwrap();
    assert_eq!(readable(&body).map_err(|refusal| refusal.status.as_u16()), expected);
}

#[test]
fn parts_that_cannot_be_read_are_refused() {
    check(json!({ "type": "text", "text": "a" }), Ok(()));
    check(json!({ "type": "text" }), Ok(()));
    check(json!({ "type": "image", "text": "a red house", "uri": "https://x/y.png" }), Ok(()));
    check(json!({ "type": "image" }), Err(415));
    check(json!({ "type": "pdf", "base64": "AAAA" }), Err(503));
}
