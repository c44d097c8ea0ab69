use super::{DailyFile, EditError};
use crate::id::{Kind, Owner, Scope};
use crate::markdown::EntryDraft;
use crate::memory::Body;
use jiff::civil::{Date, date};
use proptest::prelude::*;
use serde_json::json;

const DAY: Date = date(2027, 2, 3);
const NOW_US: i64 = 1_801_642_500_120_000;

fn owner() -> Owner {
    Owner::user(Scope::default(), "mira")
}

fn fact(text: &str) -> EntryDraft {
    EntryDraft {
        owner_id: "mira".into(),
        session_id: Some("tea-7".into()),
        timestamp_us: 1_801_642_470_000_000,
        parent_type: Some("episode".into()),
        parent_id: Some("ep_20270203_00000001".into()),
        sender_ids: Vec::new(),
        message_ids: vec!["m_1".into()],
        body: Body::AtomicFact { fact: text.into(), context: None },
    }
}

fn parse(text: &str) -> DailyFile {
    let file = DailyFile::parse(text);
    assert_eq!(file.render(), text);
    file
}

/// Appends and checks that what is kept in memory is what a reader of the file would see.
fn append(file: &mut DailyFile, drafts: &[EntryDraft]) -> Vec<String> {
    let ids = file.append(DAY, drafts, NOW_US).expect("facts are entries");
    assert_eq!(*file, parse(&file.render()));
    ids
}

#[test]
fn a_new_file_starts_as_everos_starts_it() {
    let mut file = DailyFile::open(None, &owner(), Kind::AtomicFact, DAY);
    assert_eq!(append(&mut file, &[fact("one"), fact("two")]), ["af_20270203_00000001", "af_20270203_00000002"]);
    let expected = "---
id: atomic_fact_log_mira_2027-02-03
type: atomic_fact_daily
file_type: atomic_fact_daily
schema_version: 1
user_id: mira
track: user
date: '2027-02-03'
entry_count: 2
last_appended_at: '2027-02-03T08:15:00.120000+00:00'
---
<!-- entry:af_20270203_00000001 -->
## af_20270203_00000001
";
    assert!(file.render().starts_with(expected), "{}", file.render());
    assert!(file.render().ends_with("### Fact\ntwo\n<!-- /entry:af_20270203_00000002 -->\n"));
    let agent = DailyFile::open(None, &Owner::agent(Scope::default(), "bot"), Kind::AgentCase, DAY).render();
    assert!(agent.contains("id: agent_case_log_bot_2027-02-03\n") && agent.contains("agent_id: bot\ntrack: agent\n"));
}

#[test]
fn the_next_number_is_above_every_mark() {
    let check = |text: &str, expected: u64| assert_eq!(parse(text).next_sequence(), expected, "{text:?}");
    check("", 1);
    check("---\nentry_count: 7\n---\n", 8);
    check("---\nentry_count: '7'\n---\n", 8);
    check("---\nentry_count: -7\n---\n", 1);
    check("---\nentry_count: many\n---\n", 1);
    check("---\nentry_count: 18446744073709551615\n---\n", 1);
    check("---\nentry_count: 2\n---\n<!-- entry:af_20270203_00000050 --><!-- /entry:af_20270203_00000050 -->", 51);
    check("---\nentry_count: 2\n---\n<!-- entry:af_20270203_00000050 -->", 51);
    check("---\nentry_count: 60\n---\n<!-- entry:af_20270203_00000050 --><!-- /entry:af_20270203_00000050 -->", 61);
}

#[test]
fn appending_keeps_what_is_there() {
    let head = "\u{feff}---\r\n# kept\r\nuser_id: mira\r\nentry_count: 4 # high\r\nreviewed: yes\r\n---\r\nfree text without an end";
    let mut file = parse(head);
    assert_eq!(append(&mut file, &[fact("a\nb")]), ["af_20270203_00000005"]);
    let expected = "\u{feff}---\r\n# kept\r\nuser_id: mira\r\nentry_count: 5 # high\r\nreviewed: yes\r\nlast_appended_at: '2027-02-03T08:15:00.120000+00:00'\r\n---\r\nfree text without an end\r\n<!-- entry:af_20270203_00000005 -->\r\n";
    assert!(file.render().starts_with(expected), "{:?}", file.render());
    assert!(file.render().ends_with("### Fact\r\na\r\nb\r\n<!-- /entry:af_20270203_00000005 -->\r\n"));
    assert_eq!(file.entry("af_20270203_00000005").and_then(|entry| entry.section("Fact")).as_deref(), Some("a\nb"));
}

#[test]
fn appending_works_in_any_file() {
    for text in [
        "",
        "\u{feff}",
        "text",
        "---",
        "---\n",
        "---\n---",
        "---\n---\n",
        "---\n- a\n---\n",
        "text\r",
        "---\n---\r",
        "---\t\r",
        "---\n{entry_count: 3}\n---\n",
        "<!-- entry:a -->",
        "\r\n",
        "### x\n",
        "<!-- entry:a -->\n<!-- /entry:b -->",
        "---\na: [\n---\n<!-- entry:af_20270203_00000001 -->",
    ] {
        let mut file = parse(text);
        let before = file.entry_count();
        let ids = append(&mut file, &[fact("one"), fact("two")]);
        assert_eq!(file.entry_count(), before + 2, "{text:?}");
        assert_eq!(file.entry(&ids[1]).and_then(|entry| entry.section("Fact")).as_deref(), Some("two"));
    }
    // Without any front matter one is made, and what was there stays behind it.
    let mut file = DailyFile::open(Some("\u{feff}loose text"), &owner(), Kind::AtomicFact, DAY);
    append(&mut file, &[fact("one")]);
    assert!(file.render().starts_with("\u{feff}---\nid: atomic_fact_log_mira_2027-02-03\n"));
    assert!(file.render().contains("---\nloose text\n<!-- entry:"));
    // A damaged one is left for its owner to mend.
    let mut file = DailyFile::open(Some("---\nbroken: [\n---\n"), &owner(), Kind::AtomicFact, DAY);
    append(&mut file, &[fact("one")]);
    assert!(file.render().starts_with("---\nbroken: [\n---\n<!-- entry:"));
}

#[test]
fn edits_that_make_no_sense_are_refused() {
    let mut file = DailyFile::open(None, &owner(), Kind::AtomicFact, DAY);
    append(&mut file, &[fact("one")]);
    let before = file.clone();
    let profile = EntryDraft {
        body: Body::Profile {
            summary: String::new(),
            explicit_info: json!([]),
            implicit_traits: json!([]),
            profile_timestamp_ms: 0,
        },
        ..fact("x")
    };
    let id = "af_20270203_00000001";
    assert_eq!(file.append(DAY, std::slice::from_ref(&profile), NOW_US), Err(EditError::WrongKind(Kind::Profile)));
    assert_eq!(file.replace_entry(id, &profile), Err(EditError::WrongKind(Kind::Profile)));
    assert_eq!(file.replace_entry("none", &fact("x")), Err(EditError::NoEntry("none".into())));
    assert_eq!(file.remove_entry("none"), Err(EditError::NoEntry("none".into())));
    assert_eq!(file.set_section("none", "Fact", "x"), Err(EditError::NoEntry("none".into())));
    for name in ["", " Fact", "a\nb", "<!-- entry:x -->"] {
        assert_eq!(file.set_section(id, name, "x"), Err(EditError::BadName(name.into())));
    }
    assert_eq!(file.set_inline(id, "a*", "x"), Err(EditError::BadName("a*".into())));
    assert_eq!(file, before);
}

#[test]
fn removing_takes_the_entrys_lines_and_no_more() {
    let check = |text: &str, expected: &str| {
        let mut file = parse(text);
        file.remove_entry("a").expect("there");
        assert_eq!(file.render(), expected);
    };
    check("x\n<!-- entry:a -->\nt\n<!-- /entry:a -->\n\ny\n", "x\n\ny\n");
    check("<!-- entry:a -->\r\nt\r\n<!-- /entry:a -->\r\ny", "y");
    check("x\n<!-- entry:a -->\nt\n<!-- /entry:a -->", "x\n");
    check("x <!-- entry:a -->t<!-- /entry:a --> y\n", "x  y\n");
    check("<!-- entry:a -->t<!-- /entry:a --> y\n", " y\n");
    check(
        "<!-- entry:a -->1<!-- /entry:a -->\n<!-- entry:a -->2<!-- /entry:a -->\n",
        "<!-- entry:a -->2<!-- /entry:a -->\n",
    );
}

#[test]
fn sections_and_values_are_set_in_place() {
    let text = "<!-- entry:a -->\n## a\n\n**k**:  old \n\nnote\n\n### Fact\n\n  old\n\nold 2 \n\n\n### Empty\n### Last\nx<!-- /entry:a -->\n";
    let check = |edit: &dyn Fn(&mut DailyFile) -> Result<(), EditError>, from: &str, to: &str| {
        let mut file = parse(text);
        edit(&mut file).expect("possible");
        assert_eq!(file.render(), text.replacen(from, to, 1));
    };
    check(&|file| file.set_section("a", "Fact", "new"), "  old\n\nold 2 ", "new");
    check(&|file| file.set_section("a", "Fact", "### new"), "  old\n\nold 2 ", "\\### new");
    check(&|file| file.set_section("a", "Fact", ""), "  old\n\nold 2 ", "");
    check(&|file| file.set_section("a", "Empty", "new"), "### Empty\n", "### Empty\nnew\n");
    check(&|file| file.set_section("a", "Last", "new"), "x<!--", "new<!--");
    check(&|file| file.set_section("a", "More", "new"), "x<!--", "x\n\n### More\nnew\n<!--");
    check(&|file| file.set_inline("a", "k", "new"), "**k**:  old ", "**k**:  new ");
    check(&|file| file.set_inline("a", "j", "new"), "**k**:  old \n", "**k**:  old \n**j**: new\n");
    let mut file = parse("<!-- entry:a -->\n### Fact<!-- /entry:a -->");
    file.set_section("a", "Fact", "x").expect("there");
    file.set_inline("a", "k", "v").expect("there");
    assert_eq!(file.render(), "<!-- entry:a -->\n**k**: v\n\n### Fact\nx\n<!-- /entry:a -->");
}

#[test]
fn findings_tell_lines_of_the_file() {
    let file = parse("---\na: 1\n---\n\n<!-- entry:x -->\n<!-- entry:y -->\n<!-- /entry:y -->\n");
    let finding = &file.findings("p")[0];
    assert_eq!(
        (finding.path.as_str(), finding.entry.as_deref(), finding.line, finding.code),
        ("p", Some("x"), Some(5), "entry_unterminated")
    );
    assert_eq!(file.entry("y").map(|entry| (entry.line, entry.span)), Some((6, 31..65)));
    assert_eq!(parse("---\na: [\n---\n").findings("p")[0].code, "front_matter_invalid");
}

/// A piece of a body, in the simple model that the edits are checked against.
#[derive(Clone, Debug)]
enum Piece {
    Free(String),
    Entry { id: String, text: String },
}

#[derive(Clone, Debug)]
enum Edit {
    Append(Vec<String>),
    Replace(usize, String),
    SetSection(usize, &'static str, String),
    SetInline(usize, &'static str, String),
    Remove(usize),
}

fn free_text() -> impl Strategy<Value = String> {
    // Free text must not hold markers: they would be entries. Lines are whole.
    "([a-z#*: -]{0,12}\n){0,3}".prop_filter("front matter", |text| !text.starts_with("---"))
}

fn wild_text() -> impl Strategy<Value = String> {
    let hostile = vec![
        "\n",
        "\r",
        "\0",
        "\\",
        "### ",
        "### Fact\n",
        "---\n",
        " ",
        "<!-- entry:af_20270203_00000001 -->",
        "<!-- /entry:af_20270203_00000001 -->",
        "**k**: v\n",
        "a",
        "茶",
    ];
    prop_oneof![
        ".{0,30}",
        proptest::collection::vec(proptest::sample::select(hostile), 0..8).prop_map(|parts| parts.concat())
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        proptest::collection::vec(wild_text(), 0..3).prop_map(Edit::Append),
        (any::<usize>(), wild_text()).prop_map(|(at, text)| Edit::Replace(at, text)),
        (any::<usize>(), prop_oneof![Just("Fact"), Just("Note")], wild_text())
            .prop_map(|(at, name, text)| Edit::SetSection(at, name, text)),
        (any::<usize>(), prop_oneof![Just("session_id"), Just("extra")], wild_text())
            .prop_map(|(at, key, text)| Edit::SetInline(at, key, text)),
        any::<usize>().prop_map(Edit::Remove),
    ]
}

fn concat(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Free(text) | Piece::Entry { text, .. } => text.as_str(),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_kept(text in "(---\n[a-z: \n]{0,20}\n---\n)?(<!-- /?entry:[ab] -->|[a-z#*:\\- \r\n]|\u{feff}|.){0,40}") {
        let file = DailyFile::parse(&text);
        prop_assert_eq!(file.render(), text);
        for entry in file.entries() {
            prop_assert!(file.render()[entry.span].starts_with("<!-- entry:"));
        }
    }

    #[test]
    fn edits_change_what_they_name_and_nothing_else(
        start in proptest::collection::vec((free_text(), wild_text()), 0..4),
        edits in proptest::collection::vec(edit(), 1..8),
        crlf in any::<bool>(),
    ) {
        let newline = if crlf { "\r\n" } else { "\n" };
        let header = "---\n# kept\nuser_id: mira # who\nentry_count: 40 # high\nodd key: [x, y]\nlast_appended_at: null\n---\n".replace('\n', newline);
        let mut pieces = Vec::new();
        for (idx, (free, text)) in start.iter().enumerate() {
            pieces.push(Piece::Free(free.replace('\n', newline)));
            let id = format!("af_20270203_{:08}", idx + 1);
            pieces.push(Piece::Entry { text: fact(text).render(&id, newline) + newline, id });
        }
        let mut file = DailyFile::parse(&format!("{header}{}", concat(&pieces)));
        let mut next = 41;
        for edit in edits {
            let entries: Vec<usize> = (0..pieces.len()).filter(|at| matches!(pieces[*at], Piece::Entry { .. })).collect();
            let pick = |at: usize| entries[at % entries.len()];
            match edit {
                Edit::Append(texts) => {
                    let drafts: Vec<_> = texts.iter().map(|text| fact(text)).collect();
                    let ids = file.append(DAY, &drafts, NOW_US).expect("facts are entries");
                    for (id, draft) in ids.iter().zip(&drafts) {
                        prop_assert_eq!(id, &format!("af_20270203_{next:08}"));
                        pieces.push(Piece::Entry { id: id.clone(), text: draft.render(id, newline) + newline });
                        next += 1;
                    }
                    if !texts.is_empty() {
                        prop_assert_eq!(file.front_matter().get("entry_count"), Some(&json!(next - 1)));
                    }
                }
                _ if entries.is_empty() => continue,
                Edit::Replace(at, text) => {
                    let Piece::Entry { id, text: old } = &mut pieces[pick(at)] else { continue };
                    file.replace_entry(id, &fact(&text)).expect("there");
                    *old = fact(&text).render(id, newline) + newline;
                }
                Edit::Remove(at) => {
                    let Piece::Entry { id, .. } = pieces.remove(pick(at)) else { continue };
                    file.remove_entry(&id).expect("there");
                }
                Edit::SetSection(at, name, text) => {
                    let Piece::Entry { id, text: old } = &mut pieces[pick(at)] else { continue };
                    let others = |file: &DailyFile| {
                        let entry = file.entry(id).expect("there");
                        let keep = |other: &&str| *other != name;
                        (
                            entry.section_names().filter(keep).map(|other| entry.section(other)).collect::<Vec<_>>(),
                            entry.inline_keys().map(|key| entry.inline(key).map(String::from)).collect::<Vec<_>>(),
                        )
                    };
                    let kept = others(&file);
                    file.set_section(id, name, &text).expect("there");
                    prop_assert_eq!(file.entry(id).and_then(|entry| entry.section(name)), Some(text));
                    prop_assert_eq!(others(&file), kept);
                    let span = file.entry(id).expect("there").span;
                    *old = file.render()[span].to_owned() + newline;
                }
                Edit::SetInline(at, key, value) => {
                    let Piece::Entry { id, text: old } = &mut pieces[pick(at)] else { continue };
                    let others = |file: &DailyFile| {
                        let entry = file.entry(id).expect("there");
                        let keep = |other: &&str| *other != key;
                        (
                            entry.section_names().map(|name| entry.section(name)).collect::<Vec<_>>(),
                            entry.inline_keys().filter(keep).map(|other| entry.inline(other).map(String::from)).collect::<Vec<_>>(),
                        )
                    };
                    let kept = others(&file);
                    file.set_inline(id, key, &value).expect("there");
                    prop_assert_eq!(file.entry(id).and_then(|entry| entry.inline(key).map(String::from)), Some(value));
                    prop_assert_eq!(others(&file), kept);
                    let span = file.entry(id).expect("there").span;
                    *old = file.render()[span].to_owned() + newline;
                }
            }
            let text = file.render();
            // Everything but the two keys that an append moves is as the model has it.
            let expected_header = header
                .replace("entry_count: 40", &format!("entry_count: {}", next - 1))
                .replace("last_appended_at: null", if next == 41 { "last_appended_at: null" } else { "last_appended_at: '2027-02-03T08:15:00.120000+00:00'" });
            prop_assert_eq!(&text, &format!("{expected_header}{}", concat(&pieces)));
            prop_assert_eq!(&file, &DailyFile::parse(&text));
            let ids: Vec<&str> = pieces.iter().filter_map(|piece| match piece { Piece::Entry { id, .. } => Some(id.as_str()), Piece::Free(_) => None }).collect();
            prop_assert_eq!(file.entry_ids().collect::<Vec<_>>(), ids);
            prop_assert!(file.findings("p").is_empty());
        }
    }
}
