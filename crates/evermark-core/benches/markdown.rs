//! How long the Markdown codec takes on a day of 20,000 facts, and on input made to hurt. Prints; judges nothing.
//! `cargo bench -p evermark-core --bench markdown [-- PART_OF_A_NAME]` (or `--profile dev`: the crate is optimised there too).

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::markdown::{DailyFile, EntryDraft, FrontMatter, inbox, read_file};
use evermark_core::memory::{Body, ContentItem, Message, Role};
use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;

const FACTS: &str = "default_app/default_project/users/mira/.atomic_facts/atomic_fact-2027-02-03.md";
const PROFILE: &str = "default_app/default_project/users/mira/user.md";

fn time<T>(name: &str, bytes: usize, mut run: impl FnMut() -> T) {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        black_box(run());
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<48} {:>9.2} ms {:>8.1} MB/s", best * 1e3, bytes as f64 / best / 1e6);
}

fn fact(n: usize) -> EntryDraft {
    EntryDraft {
        owner_id: "mira".into(),
        session_id: Some("tea-7".into()),
        timestamp_us: 1_801_642_470_000_000 + n as i64,
        parent_type: Some("episode".into()),
        parent_id: Some("ep_20270203_00000001".into()),
        sender_ids: vec!["mira".into()],
        message_ids: vec![format!("m_tea-7_1801642470000_{n:03}")],
        body: Body::AtomicFact {
            fact: format!("Mira said for the {n}th time that she prefers oolong, and that Friday is fine."),
            context: None,
        },
    }
}

fn main() {
    let day = date(2027, 2, 3);
    let owner = Owner::user(Scope::default(), "mira");
    let drafts: Vec<EntryDraft> = (0..20_000).map(fact).collect();
    let mut file = DailyFile::open(None, &owner, Kind::AtomicFact, day);
    file.append(day, &drafts, 0).expect("facts are entries");
    let text = file.render();
    let id = "af_20270203_00010000";
    println!("20,000 facts, {:.1} MB", text.len() as f64 / 1e6);
    time("append 20,000 to an empty file", text.len(), || {
        let mut file = DailyFile::open(None, &owner, Kind::AtomicFact, day);
        file.append(day, &drafts, 0).expect("facts are entries");
        file
    });
    time("parse", text.len(), || DailyFile::parse(&text));
    time("read_file", text.len(), || read_file(FACTS, text.as_bytes(), &TimeZone::UTC, &[]));
    time("parse, append 1, render", text.len(), || {
        let mut file = DailyFile::parse(&text);
        file.append(day, &drafts[..1], 0).expect("facts are entries");
        file.render()
    });
    time("parse, set one section, render", text.len(), || {
        let mut file = DailyFile::parse(&text);
        file.set_section(id, "Fact", "new").expect("there");
        file.render()
    });

    let hostile = |name: &str, text: String| {
        time(name, text.len(), || read_file(FACTS, text.as_bytes(), &TimeZone::UTC, &[]));
    };
    hostile("100,000 open markers, one id", "<!-- entry:a -->\n".repeat(100_000));
    hostile("100,000 open markers, ids of their own", (0..100_000).map(|n| format!("<!-- entry:e{n} -->\n")).collect());
    hostile("100,000 close markers", "<!-- /entry:a -->\n".repeat(100_000));
    hostile(
        "one entry around 100,000",
        format!("<!-- entry:z -->\n{}<!-- /entry:z -->", "<!-- entry:a -->\n".repeat(100_000)),
    );
    hostile(
        "100,000 headings in one entry",
        format!("<!-- entry:z -->\n**timestamp**: 2027-02-03\n{}<!-- /entry:z -->", "### Fact\n".repeat(100_000)),
    );
    hostile(
        "100,000 inline pairs in one entry",
        format!("<!-- entry:z -->\n{}<!-- /entry:z -->", "**timestamp**: x\n".repeat(100_000)),
    );
    hostile(
        "100,000 unterminated, 100,000 whole",
        "<!-- entry:a -->\n<!-- entry:b -->\n<!-- /entry:b -->\n".repeat(100_000),
    );
    hostile("4 MB of NUL", "\0".repeat(4 << 20));
    hostile("4 MB of <!-- ", "<!-- ".repeat(800_000));

    let front = |name: &str, block: String| {
        let text = format!("---\n{block}\n---\n");
        time(name, text.len(), || read_file(PROFILE, text.as_bytes(), &TimeZone::UTC, &[]));
    };
    front("front matter: 50,000 keys", (0..50_000).map(|n| format!("k{n}: v\n")).collect());
    front("front matter: 1 MB of [", "a: ".to_owned() + &"[".repeat(1 << 20));
    front("front matter: 1 MB of '- '", "- ".repeat(1 << 19));
    front("front matter: 1 MB of '? '", "? ".repeat(1 << 19));
    front("front matter: 1 MB of blank lines", "a: |\n".to_owned() + &"\n".repeat(1 << 20));
    front("front matter: 1 MB of spaces", "a:".to_owned() + &" ".repeat(1 << 20));
    front("front matter: 1 MB of quotes", "a: ".to_owned() + &"'".repeat(1 << 20));
    front("front matter: 1 MB in one list", "a: [".to_owned() + &"x,".repeat(1 << 19) + "]");
    front("front matter: 1 MB of anchors", "a:\n".to_owned() + &"- &a x\n".repeat(150_000));
    front("front matter: 1 MB of tags", "a: ".to_owned() + &"!".repeat(1 << 20));
    front("front matter: 1 MB of colons", ":".repeat(1 << 20));
    front("front matter: 1 MB in one key", "x".repeat(1 << 20) + ": 1");
    front("front matter: 1 MB of {", "a: ".to_owned() + &"{a: ".repeat(1 << 18));
    front("front matter: 1 MB of tabs", "a:\n".to_owned() + &"\t".repeat(1 << 20));
    front("front matter: 1 MB of # lines", "#\n".repeat(1 << 19) + "a: 1");
    let many: serde_json::Map<String, serde_json::Value> =
        (0..20_000).map(|n| (format!("ep_20270203_{n:08}"), json!("ep_20270203_99999999"))).collect();
    let header = FrontMatter::fresh(
        [("user_id", json!("mira")), ("entry_count", json!(1)), ("deprecated_entries", json!(many))],
        Default::default(),
    );
    time("front matter: one key beside 20,000 deprecated", header.render().len(), || {
        let mut header = header.clone();
        header.set("entry_count", &json!(2)).expect("editable");
        header
    });

    let item = |text: String| ContentItem { raw: json!({"type": "text", "text": text}), text: Some(text) };
    let message = |n: usize, text: String| Message {
        id: format!("m_{n}"),
        sender_id: "mira".into(),
        sender_name: None,
        role: Role::User,
        timestamp_ms: n as i64,
        items: vec![item(text)],
        tool_calls: None,
        tool_call_id: None,
    };
    let batch = |messages| inbox::Batch {
        scope: Scope::default(),
        session_id: "tea-7".into(),
        accepted_at_us: 0,
        mode: inbox::Mode::Buffer,
        is_final: false,
        request_id: None,
        messages,
    };
    let plain = batch((0..500).map(|n| message(n, "Reorder the oolong for Friday, please.".repeat(10))).collect());
    let hurt = batch(vec![message(0, "\\<!-- entry:x -->\r\n### \n---\n&#13;".repeat(100_000))]);
    for (name, batch) in [("inbox: 500 messages", plain), ("inbox: 3 MB to be escaped", hurt)] {
        let text = inbox::render(&batch);
        time(name, text.len(), || inbox::parse("p", inbox::render(&batch).as_bytes()).expect("ours"));
    }
}
