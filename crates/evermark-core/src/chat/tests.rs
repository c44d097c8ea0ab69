use super::*;
use serde_json::json;

fn check(text: &str, expected: Option<Value>) {
    assert_eq!(object_with(text, "ok").map(Value::Object), expected, "{text}");
}

#[test]
fn objects_are_found_in_what_models_write() {
    let yes = Some(json!({"ok": true}));
    check(r#"{"ok": true}"#, yes.clone());
    check("Sure! Here it is:\n```json\n{\"ok\": true}\n```\nAnything else?", yes.clone());
    check("<think>maybe {\"ok\": false} or {not json}</think>\n{\"ok\": true}", yes.clone());
    check(r#"{"other": 1} {"ok": true} {"other": 2}"#, yes.clone());
    check("{ {\"ok\": true}", yes);
    // Braces, fences and quotes inside strings are text.
    check(r#"{"ok": "a } b { c ``` \" }"}"#, Some(json!({"ok": "a } b { c ``` \" }"})));
    check(r#"{"ok": {"ok": 1}}"#, Some(json!({"ok": {"ok": 1}})));
}

#[test]
fn what_holds_no_such_object_gives_none() {
    for text in ["", "no", "{", "[1]", r#"{"ok": tru"#, r#"{"no": 1}"#, "\u{fe0f}{\u{1f600}"] {
        check(text, None);
    }
    // Hostile depth costs an error, not the stack.
    check(&"{\"a\":".repeat(100_000)[..60_000], None);
}
