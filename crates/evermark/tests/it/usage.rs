//! What may be typed, what is said about it, and the exit code.

use crate::kit::{Home, body};
use std::process::Stdio;

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = Home::new().run(&["--help"]);
    help.ok();
    for word in [
        "init",
        "adopt",
        "serve",
        "add",
        "flush",
        "search",
        "get",
        "status",
        "sync",
        "verify",
        "index",
        "config",
        "model",
        "demo",
        "completions",
    ] {
        assert!(help.stdout.contains(&format!("\n  {word} ")), "{word} is missing from the help");
    }
    assert!(help.stdout.contains("75 try again later"));
}

#[test]
fn the_version_says_when_the_index_is_not_kept() {
    let version = Home::new().run(&["--version"]);
    assert!(version.ok().stdout.starts_with("evermark "));
    assert_eq!(version.stdout.contains("without Lance"), cfg!(not(feature = "lance")));
}

#[test]
fn wrong_usage_ends_with_2() {
    let home = Home::new();
    let bad = [
        &[][..],
        &["bogus"],
        &["search", "x"],
        &["search", "x", "--user", "a", "--agent", "b"],
        &["search", "x", "--user", "a", "--top-k", "0"],
        &["search", "x", "--user", "a", "--method", "psychic"],
        &["add", "--sender", "a"],
        &["add", "file.json", "--message", "x"],
        &["index"],
        &["status", "--no-such-flag"],
    ];
    for args in bad {
        assert_eq!(home.run(args).code(), Some(2), "{args:?}");
    }
    assert!(!home.root().exists(), "wrong usage makes no root");
}

#[test]
fn a_command_that_looks_makes_no_root() {
    let home = Home::new();
    for args in [
        &["search", "x", "--user", "a"][..],
        &["get", "--user", "a"],
        &["status"],
        &["verify"],
        &["sync"],
        &["index", "rebuild"],
    ] {
        home.run(args).fails(4, "there is no root at");
    }
    assert!(!home.root().exists());
}

#[test]
fn an_everos_root_in_its_usual_place_is_pointed_at_and_not_taken() {
    let home = Home::new();
    let theirs = home.path().join(".everos");
    std::fs::create_dir(&theirs).expect("a folder");
    std::fs::write(theirs.join("everos.toml"), "").expect("a file");
    let ran = home.command(&["status"]).env_remove("EVERMARK_ROOT").output().expect("it runs");
    assert_eq!(ran.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&ran.stderr).contains(".everos"));
    assert_eq!(std::fs::read_dir(&theirs).expect("a folder").count(), 1, "nothing was written there");
}

#[test]
fn what_cannot_be_read_as_messages_is_named_with_its_line() {
    let home = Home::new();
    home.pipe(&["add"], "").fails(2, "");
    home.pipe(&["add"], "not json").fails(2, "not JSON");
    home.pipe(&["add"], "[]").fails(2, "no message");
    home.pipe(&["add"], "7").fails(2, "neither a body");
    home.pipe(&["add"], "{\"sender_id\":\"a\"}\n{oops").fails(2, "line 2");
    home.pipe(&["add"], r#"[{"sender_id":"a/b","role":"user","timestamp":1795000000000,"content":"x"}]"#)
        .fails(2, "messages.0.sender_id");
    home.run(&["add", "no-such-file.json"]).fails(1, "no-such-file.json");
    home.run(&["add", "--message", "x"]).fails(2, "--sender");
    home.run(&["add", "--message", "x", "--sender", "a", "--time", "yesterday"]).fails(2, "yesterday");
}

#[test]
fn errors_are_json_where_answers_are() {
    let home = Home::new();
    let ran = home.run(&["--json", "status"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one JSON object");
    assert_eq!(error["error"]["kind"], "not_found");
    assert!(error["error"]["hint"].as_str().is_some_and(|hint| hint.contains("evermark init")));
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let home = Home::new();
    home.pipe(&["add", "--flush"], &body("s", "ana", &["I live in Lisbon near the river."])).ok();
    for args in [&["completions", "bash"][..], &["config", "show"], &["search", "Lisbon", "--user", "ana"]] {
        let mut child = home.command(args).stdout(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{args:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]);
        assert!(script.ok().stdout.contains("rebuild"), "{shell}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let mut home = Home::new();
    home.pipe(&["add", "--flush"], &body("s", "ana", &["I live in Lisbon near the river."])).ok();
    let search = ["search", "Lisbon", "--user", "ana"];
    assert!(!home.run(&search).stdout.contains('\u{1b}'));
    assert!(home.run(&["--color", "always", "search", "Lisbon", "--user", "ana"]).stdout.contains('\u{1b}'));
    home.set("NO_COLOR", "1");
    assert!(!home.run(&search).stdout.contains('\u{1b}'));
}

#[test]
fn what_strangers_said_cannot_steer_the_terminal() {
    let home = Home::new();
    home.pipe(&["add", "--flush"], &body("s", "ana", &[r"The word is \u001b[31m kaleidoscope \u001b[0m for today."]))
        .ok();
    let found = home.run(&["search", "kaleidoscope", "--user", "ana"]);
    assert!(found.ok().stdout.contains("kaleidoscope"));
    assert!(!found.stdout.contains('\u{1b}'));
}
