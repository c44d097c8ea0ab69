//! A memory's life by commands alone, with no daemon anywhere.

use crate::kit::{Home, body, texts};
use serde_json::json;

const SAID: [&str; 3] =
    ["I drink oolong tea every morning.", "My office is in Lisbon near the river.", "我下周三去上海出差。"];

fn told() -> Home {
    let home = Home::new();
    home.pipe(&["add", "--flush", "--wait", "indexed"], &body("s", "ana", &SAID)).ok();
    home
}

#[test]
fn what_was_said_is_written_and_found() {
    let home = told();
    let answer = home.search("oolong", "ana");
    let source = answer["episodes"][0]["source"]["path"].as_str().expect("a path").to_owned();
    let file = home.root().join(&source);
    assert!(std::fs::read_to_string(file).expect("the file it names").contains("oolong"));
    assert!(texts(&home.search("上海", "ana")).iter().any(|text| text.contains("上海")));
    assert_eq!(home.search("oolong", "nobody")["episodes"], json!([]));
    let human = home.run(&["search", "oolong", "--user", "ana"]);
    assert!(human.ok().stdout.contains(&source), "the file is named: {human:?}");
}

#[test]
fn an_edit_by_hand_is_what_is_found_next() {
    let home = told();
    for (path, text) in home.markdown() {
        home.write(&path, &text.replace("oolong", "jasmine"));
    }
    let found = texts(&home.search("jasmine tea", "ana"));
    assert!(found.iter().any(|text| text.contains("jasmine")));
    assert!(!found.iter().any(|text| text.contains("oolong")));
    home.run(&["verify"]).ok();
}

#[test]
fn the_index_may_be_deleted_between_any_two_commands() {
    let home = told();
    let before = home.search("tea in the morning", "ana");
    let markdown = home.markdown();
    std::fs::remove_dir_all(home.root().join(".index")).expect("an index");
    assert_eq!(home.search("tea in the morning", "ana"), before);
    std::fs::remove_dir_all(home.root().join(".index")).expect("an index");
    home.run(&["sync"]).ok();
    home.run(&["verify"]).ok();
    assert_eq!(home.markdown(), markdown, "nothing of the truth changed");
}

#[test]
fn a_damaged_ledger_costs_nothing() {
    let home = told();
    let before = home.search("tea in the morning", "ana");
    home.write(".index/evermark/ledger.db", "this is no database, and never was one, however long one looks at it");
    assert_eq!(home.search("tea in the morning", "ana"), before);
}

#[test]
fn messages_come_as_bodies_lists_and_lines() {
    let message =
        |text: &str| format!(r#"{{"sender_id":"ana","role":"user","timestamp":1795000000000,"content":"{text}"}}"#);
    let forms = [
        format!("[{}]", message("I collect old maps of Porto.")),
        format!("{}\n\n{}\n", message("I collect old maps of Porto."), message("I also collect stamps.")),
        message("I collect old maps of Porto."),
        body("t", "ana", &["I collect old maps of Porto."]),
    ];
    for form in forms {
        let home = Home::new();
        let answer = home.pipe(&["add", "--session", "t", "--flush", "--json"], &form).json();
        assert_eq!(answer["flushed"]["status"], "extracted", "{form}");
        assert!(texts(&home.search("maps", "ana")).iter().any(|text| text.contains("Porto")), "{form}");
    }
}

#[test]
fn more_messages_than_one_request_takes_are_split() {
    let home = Home::new();
    let texts = (0..501).map(|i| format!("I own book number {i} of the series.")).collect::<Vec<_>>();
    let texts = texts.iter().map(String::as_str).collect::<Vec<_>>();
    let answer = home.pipe(&["add", "--defer", "--json"], &body("s", "ana", &texts)).json();
    let stored = answer["added"].as_array().expect("answers").iter().map(|one| one["receipt"]["stored"].as_u64());
    assert_eq!(stored.collect::<Option<Vec<_>>>(), Some(vec![500, 1]));
}

#[test]
fn sending_again_stores_nothing_twice() {
    let home = Home::new();
    let sent = body("s", "ana", &SAID);
    home.pipe(&["add"], &sent).ok();
    let again = home.pipe(&["add", "--json"], &sent).json();
    assert_eq!(again["added"][0]["receipt"]["duplicates"], 3);
    home.run(&["flush", "--session", "s"]).ok();
    let late = home.pipe(&["add", "--flush", "--json"], &sent).json();
    assert_eq!(late["added"][0]["receipt"]["duplicates"], 3);
    assert_eq!(late["flushed"]["status"], "no_extraction");
}

#[test]
fn what_waits_is_shown_with_its_session() {
    let home = Home::new();
    home.run(&["add", "--session", "s", "--sender", "ana", "--message", "I keep bees on the roof.", "--defer"]).ok();
    let waiting = home.run(&["search", "bees", "--user", "ana", "--session", "s"]);
    assert!(waiting.ok().stdout.contains("I keep bees on the roof."), "{waiting:?}");
    let other = home.run(&["search", "bees", "--user", "ana", "--session", "other", "--json"]).json();
    assert_eq!(other["unprocessed_messages"], json!([]));
}

#[test]
fn get_lists_page_by_page() {
    let home = told();
    let page = home.run(&["get", "--user", "ana", "--json"]).json();
    assert_eq!((page["total_count"].clone(), page["count"].clone()), (json!(1), json!(1)));
    let human = home.run(&["get", "--user", "ana"]);
    assert!(human.ok().stdout.contains("1 to 1 of 1"), "{human:?}");
    home.run(&["get", "--user", "ana", "--kind", "agent-case"]).fails(2, "agent_case");
    home.run(&["get", "--user", "ana", "--filter", "{\"owner_id\":\"x\"}"]).fails(2, "owner_id");
}

#[test]
fn rebuild_and_verify_agree() {
    let home = told();
    let report = home.run(&["index", "rebuild", "--json"]).json();
    assert!(report["rows"].as_u64().is_some_and(|rows| rows >= 3), "{report}");
    let verdict = home.run(&["verify", "--json"]).json();
    assert_eq!(verdict["clean"], true);
    assert_eq!(verdict["memories"], verdict["rows"]);
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["verdict"], "ok");
}

#[test]
fn the_demo_holds_and_leaves_nothing_behind() {
    let mut home = Home::new();
    let tmp = home.path().join("tmp");
    std::fs::create_dir(&tmp).expect("a folder");
    home.set("TMPDIR", tmp.to_str().expect("a plain path"));
    let report = home.run(&["demo", "--json"]).json();
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(9));
    assert!(report["took_ms"].as_u64().is_some_and(|ms| ms < 10_000), "{report}");
    assert_eq!(std::fs::read_dir(&tmp).expect("a folder").count(), 0, "its folder is gone");
    assert!(!home.root().exists(), "the user's own root was not touched");
    let kept = home.run(&["demo", "--keep"]);
    assert!(kept.ok().stdout.contains("evermark-demo-"));
    assert_eq!(std::fs::read_dir(&tmp).expect("a folder").count(), 1);
    home.write("mine.md", "my notes");
    home.run(&["demo", "--root", home.root().to_str().expect("a plain path")]).fails(2, "not empty");
}
