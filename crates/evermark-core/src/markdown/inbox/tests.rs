use super::{Batch, Mode, parse, render};
use crate::id::Scope;
use crate::memory::{ContentItem, Message, Role};
use proptest::prelude::*;
use serde_json::{Value, json};

fn message(text: &str) -> Message {
    Message {
        id: "m_tea 7_1801642470000_000".into(),
        sender_id: "mira".into(),
        sender_name: Some("Mira".into()),
        role: Role::User,
        timestamp_ms: 1_801_642_470_000,
        items: vec![ContentItem { text: Some(text.into()), raw: json!({"type": "text", "text": text}) }],
        tool_calls: None,
        tool_call_id: None,
    }
}

fn batch(messages: Vec<Message>) -> Batch {
    Batch {
        scope: Scope::new("clinic", "zh"),
        session_id: "tea 7".into(),
        accepted_at_us: 1_801_642_471_000_120,
        mode: Mode::Buffer,
        is_final: false,
        request_id: Some("r-1".into()),
        messages,
    }
}

#[test]
fn cat_explains_it() {
    let mut tool = message("ok");
    tool.role = Role::Tool;
    tool.tool_call_id = Some("call_1".into());
    tool.sender_name = None;
    tool.items.push(ContentItem { text: None, raw: json!({"type": "image", "uri": "x.png"}) });
    let text = render(&batch(vec![message("Reorder oolong.\n### for Friday"), tool]));
    let expected = "---
type: evermark_inbox
schema_version: 1
session_id: tea 7
app_id: clinic
project_id: zh
accepted_at: '2027-02-03T08:14:31.000120+00:00'
mode: buffer
final: false
request_id: r-1
message_count: 2
---
Messages that Evermark has accepted and not yet made into memories. It removes this file once it has.
Nothing else holds these words: deleting the file forgets them.

<!-- entry:msg_00000001 -->
## msg_00000001

**message_id**: m_tea 7_1801642470000_000
**sender_id**: mira
**sender_name**: Mira
**role**: user
**timestamp_ms**: 1801642470000

### Content
Reorder oolong.
\\### for Friday
<!-- /entry:msg_00000001 -->
<!-- entry:msg_00000002 -->
## msg_00000002

**message_id**: m_tea 7_1801642470000_000
**sender_id**: mira
**role**: tool
**timestamp_ms**: 1801642470000
**tool_call_id**: call_1

### Content
ok

### Items
[
{\"text\":\"ok\",\"raw\":{\"type\":\"text\",\"text\":\"ok\"}},
{\"text\":null,\"raw\":{\"type\":\"image\",\"uri\":\"x.png\"}}
]
<!-- /entry:msg_00000002 -->
";
    assert_eq!(text, expected);
}

#[test]
fn a_damaged_file_is_refused_with_one_finding() {
    let good = render(&batch(vec![message("one"), message("two")]));
    let check = |bytes: &[u8], code: &str| {
        let finding = parse("a/b/inbox/c/1.md", bytes).expect_err(code);
        assert_eq!((finding.code, finding.path.as_str()), (code, "a/b/inbox/c/1.md"), "{}", finding.message);
    };
    let replaced = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    check(b"", "wrong_type");
    check(&good.as_bytes()[..good.len() - 5], "entry_unterminated");
    check(&replaced("message_count: 2", "message_count: 3"), "field_invalid");
    check(&replaced("type: evermark_inbox", "type: other"), "wrong_type");
    check(&replaced("schema_version: 1", "schema_version: 2"), "wrong_type");
    check(&replaced("mode: buffer", "mode: maybe"), "field_invalid");
    check(&replaced("final: false", "final: perhaps"), "field_invalid");
    check(&replaced("accepted_at: '2", "accepted_at: 'x"), "field_invalid");
    check(&replaced("session_id: tea 7\n", ""), "field_invalid");
    check(&replaced("**role**: user", "**role**: judge"), "inline_missing");
    check(&replaced("**timestamp_ms**: 1", "**timestamp_ms**: x"), "inline_missing");
    check(&replaced("**message_id**", "**message**"), "inline_missing");
    check(&replaced("### Content\none", "### Content\n\n### Items\n{}"), "inline_missing");
    check(&replaced("one", "o\0e"), "nul");
    check(&[good.as_bytes(), b"\xff"].concat(), "not_utf8");
    check(&replaced("final: false", "final: ["), "front_matter_invalid");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,20}",
        proptest::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
        proptest::collection::vec(
            proptest::sample::select(vec![
                "\n",
                "\r",
                "\0",
                "\\",
                "### ",
                "---",
                " ",
                "<!-- entry:msg_00000001 -->",
                "<!-- /entry:msg_00000001 -->",
                "&#13;",
                "a"
            ]),
            0..8
        )
        .prop_map(|parts| parts.concat()),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..3)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn item() -> impl Strategy<Value = ContentItem> {
    prop_oneof![
        text().prop_map(|text| ContentItem { raw: json!({"type": "text", "text": text}), text: Some(text) }),
        (proptest::option::of(text()), json_value()).prop_map(|(text, raw)| ContentItem { text, raw }),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    (
        (
            text(),
            text(),
            proptest::option::of(text()),
            prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::Tool)],
        ),
        (
            any::<i64>(),
            proptest::collection::vec(item(), 0..3),
            proptest::option::of(json_value()),
            proptest::option::of(text()),
        ),
    )
        .prop_map(|((id, sender_id, sender_name, role), (timestamp_ms, items, tool_calls, tool_call_id))| {
            Message { id, sender_id, sender_name, role, timestamp_ms, items, tool_calls, tool_call_id }
        })
}

proptest! {
    #[test]
    fn any_batch_comes_back(
        (app, project, session_id) in (text(), text(), text()),
        accepted_at_us in -62_000_000_000_000_000i64..253_000_000_000_000_000,
        (queued, is_final, request_id) in (any::<bool>(), any::<bool>(), proptest::option::of(text())),
        messages in proptest::collection::vec(any_message(), 0..4),
    ) {
        let mode = if queued { Mode::Queued } else { Mode::Buffer };
        let batch = Batch { scope: Scope::new(app, project), session_id, accepted_at_us, mode, is_final, request_id, messages };
        let text = render(&batch);
        prop_assert!(!text.contains('\0'));
        prop_assert_eq!(parse("p", text.as_bytes()), Ok(batch), "{}", text);
    }
}
