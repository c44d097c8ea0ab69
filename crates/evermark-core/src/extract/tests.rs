use super::*;
use crate::memory::ContentItem;
use serde_json::json;

fn message(at_s: i64, sender: &str, role: Role, text: &str) -> Message {
    Message {
        id: format!("m_s_{}_{}", at_s * 1000, sender),
        sender_id: sender.into(),
        sender_name: None,
        role,
        timestamp_ms: at_s * 1000,
        items: vec![ContentItem { text: Some(text.into()), raw: json!({"type": "text", "text": text}) }],
        tool_calls: None,
        tool_call_id: None,
    }
}

fn policy() -> SegmentPolicy {
    SegmentPolicy { gap: Duration::from_secs(1800), messages_max: 4, chars_max: 1000 }
}

fn facts_of(text: &str) -> Vec<String> {
    statements(&[message(0, "mira", Role::User, text)])
        .into_iter()
        .map(|statement| statement.text.strip_prefix("mira: ").expect("speaker comes first").to_owned())
        .collect()
}

#[test]
fn a_silence_closes_a_segment_and_the_tail_stays_open() {
    let said = vec![
        message(0, "mira", Role::User, "a"),
        message(60, "bot", Role::Assistant, "b"),
        message(60 + 1801, "mira", Role::User, "c"),
    ];
    let (closed, open) = split(said, policy(), false);
    assert_eq!(closed.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    assert_eq!(open.len(), 1);
}

#[test]
fn a_silence_of_exactly_the_gap_does_not_close() {
    let said = vec![message(0, "mira", Role::User, "a"), message(1800, "mira", Role::User, "b")];
    assert_eq!(split(said, policy(), false).0.len(), 0);
}

#[test]
fn size_closes_a_segment_and_a_flush_closes_the_tail() {
    let said: Vec<_> = (0..6).map(|i| message(i, "mira", Role::User, "a")).collect();
    let (closed, open) = split(said.clone(), policy(), false);
    assert_eq!((closed.len(), open.len()), (1, 2));
    let (closed, open) = split(said, policy(), true);
    assert_eq!((closed.len(), open.len()), (2, 0));
}

#[test]
fn words_of_an_assistant_alone_wait_for_a_user() {
    let said = vec![message(0, "bot", Role::Assistant, "a"), message(9000, "mira", Role::User, "b")];
    let (closed, open) = split(said[..1].to_vec(), policy(), true);
    assert_eq!((closed.len(), open.len()), (0, 1));
    let (closed, _) = split(said, policy(), true);
    assert_eq!(closed.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
}

#[test]
fn every_message_ends_in_exactly_one_place() {
    for n in 0..40_i64 {
        let said: Vec<_> = (0..n)
            .map(|i| {
                message(
                    i * 700,
                    "x",
                    if i % 3 == 0 { Role::Assistant } else { Role::User },
                    "word ".repeat((i % 7) as usize * 20).as_str(),
                )
            })
            .collect();
        for last in [false, true] {
            let (closed, open) = split(said.clone(), policy(), last);
            let all: Vec<Message> = closed.into_iter().flatten().chain(open).collect();
            assert_eq!(all, said);
        }
    }
}

#[test]
fn statements_are_facts_and_courtesies_and_questions_are_not() {
    let cases: &[(&str, &[&str])] = &[
        ("I moved the relay to port 9443 this morning.", &["I moved the relay to port 9443 this morning."]),
        ("Hi! Could you help me? I am allergic to peanuts.", &["I am allergic to peanuts."]),
        ("Thanks a lot!", &[]),
        ("OK, great.", &[]),
        ("Good morning everyone", &[]),
        (
            "I met Dr. Smith at 4 p.m. on Monday. We agreed on v2.1 of the plan.",
            &["I met Dr. Smith at 4 p.m. on Monday.", "We agreed on v2.1 of the plan."],
        ),
        ("We went to Rome last spring. It rained.", &["We went to Rome last spring. It rained."]),
        ("我下周要去北京旅游。你有什么建议吗？谢谢！", &["我下周要去北京旅游。"]),
        ("好的。", &[]),
        ("你知道怎么去吗", &[]),
        (
            "My number is 3.14 exactly and the site is example.com now",
            &["My number is 3.14 exactly and the site is example.com now"],
        ),
        (
            "first line is here for you\nsecond line is here too",
            &["first line is here for you", "second line is here too"],
        ),
        ("...", &[]),
        ("", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(facts_of(text), *expected, "{text}");
    }
}

#[test]
fn an_episode_tells_who_said_what_when() {
    let mut first = message(0, "u1", Role::User, "Hello! I keep bees on the roof.");
    first.sender_name = Some("Mira".into());
    let said = [first, message(1, "bot", Role::Assistant, "How many hives?"), message(2, "bot", Role::Tool, "ignored")];
    let text = episode(&said, &|ms| format!("T{ms}"));
    assert_eq!(text.subject, "I keep bees on the roof.");
    assert_eq!(text.content, "T0, Mira: Hello! I keep bees on the roof.\nT1000, bot: How many hives?");
    assert_eq!(owners(&said), ["u1"]);
}

#[test]
fn an_episode_without_statements_still_has_a_subject() {
    let text = episode(&[message(0, "u", Role::User, "Could you  help me?")], &|_| String::new());
    assert_eq!(text.subject, "Could you help me?");
    assert_eq!(text.summary, "Could you help me?");
}

#[test]
fn long_text_is_shortened_between_words() {
    let long = "word ".repeat(100);
    let short = shorten(&long, 20);
    assert_eq!(short, "word word word…");
    assert_eq!(shorten(&"字".repeat(30), 10).chars().count(), 10);
}
