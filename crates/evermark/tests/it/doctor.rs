//! `evermark doctor`: finds what is broken, names what mends it, and changes nothing.

use crate::kit::{Daemon, Home, Ran};
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {ran:?}"))
}

/// Returns the finding's level and remedy.
fn finding(report: &Value, area: &str, code: &str) -> Option<(String, String)> {
    let all = report["findings"].as_array().expect("a list");
    let found = all.iter().find(|finding| finding["area"] == area && finding["code"] == code)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("level"), text("remedy")))
}

/// A root with a memory in it and nobody on it.
fn home() -> Home {
    let home = Home::new();
    let said = crate::kit::body("s", "ana", &["I drink oolong tea every morning."]);
    home.pipe(&["add", "--flush", "--wait", "indexed"], &said).ok();
    home
}

/// Everything about the files below `dir` that a look must not change.
fn picture(dir: &Path) -> Vec<(PathBuf, u64, i64, i64, u32)> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            let metadata = entry.metadata().expect("a file");
            if metadata.is_dir() {
                open.push(entry.path());
            }
            all.push((entry.path(), metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.mode()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_sound_root_is_left_as_it_is() {
    let home = home();
    let before = picture(&home.root());
    let ran = home.run(&["doctor", "--json"]);
    assert_eq!(ran.code(), Some(0), "{ran:?}");
    let report = report(&ran);
    assert_ne!(report["verdict"], "fail");
    for (area, code) in [("root", "identity"), ("index", "readable"), ("index", "ledger"), ("holder", "nobody")] {
        assert_eq!(
            finding(&report, area, code).map(|(level, _)| level).as_deref(),
            Some("ok"),
            "{area} {code}: {ran:?}"
        );
    }
    assert_eq!(picture(&home.root()), before);
    let told = home.run(&["doctor"]);
    assert!(told.ok().stdout.contains(&home.root().display().to_string()), "{told:?}");
}

#[test]
fn a_root_that_is_not_there_is_not_made() {
    let home = Home::new();
    let ran = home.run(&["doctor", "--json"]);
    assert_eq!(ran.code(), Some(5), "{ran:?}");
    let (level, remedy) = finding(&report(&ran), "root", "missing").expect("it is found");
    assert_eq!(level, "fail");
    assert!(remedy.contains("init"), "{remedy}");
    assert!(!home.root().exists());
}

/// What is done to a root, and what is found of it.
type Sabotage = (&'static str, fn(&Path), &'static str, &'static str, &'static str);

fn generation(root: &Path) -> PathBuf {
    root.join(".index/evermark").join(fs::read_to_string(root.join(".index/evermark/CURRENT")).expect("a file").trim())
}

#[test]
fn each_thing_that_is_broken_is_found_with_what_mends_it() {
    let cases: &[Sabotage] = &[
        (
            "settings that are no TOML",
            |root| fs::write(root.join("evermark.toml"), "[api\n").expect("a file"),
            "settings",
            "invalid",
            "fail",
        ),
        (
            "a value that is not allowed",
            |root| fs::write(root.join("evermark.toml"), "[api]\nport = 70000\n").expect("a file"),
            "settings",
            "invalid",
            "fail",
        ),
        (
            "a key that is not known",
            |root| fs::write(root.join("evermark.toml"), "[api]\nprot = 1\n").expect("a file"),
            "settings",
            "doubtful",
            "warn",
        ),
        (
            "open to strangers",
            |root| fs::write(root.join("evermark.toml"), "[api]\nhost = \"0.0.0.0\"\n").expect("a file"),
            "settings",
            "open_to_strangers",
            "fail",
        ),
        (
            "a token for all to read",
            |root| {
                let file = root.join("evermark.toml");
                fs::write(&file, "[api]\ntoken = \"sixteen-characters\"\n").expect("a file");
                fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("it is ours");
            },
            "settings",
            "secrets_readable",
            "warn",
        ),
        (
            "a newer format",
            |root| {
                fs::write(
                    root.join(".evermark/identity.json"),
                    r#"{"format":99,"root_id":"x","created_at":"2026-01-01T00:00:00Z"}"#,
                )
                .expect("a file")
            },
            "root",
            "format_newer",
            "fail",
        ),
        (
            "an identity that says nothing",
            |root| fs::write(root.join(".evermark/identity.json"), "oops").expect("a file"),
            "root",
            "identity_unreadable",
            "fail",
        ),
        (
            "no identity",
            |root| fs::remove_file(root.join(".evermark/identity.json")).expect("it was there"),
            "root",
            "identity_missing",
            "warn",
        ),
        (
            "a CURRENT that names nothing",
            |root| fs::write(root.join(".index/evermark/CURRENT"), "gen-999999\n").expect("a file"),
            "index",
            "no_generation",
            "warn",
        ),
        (
            "a damaged generation",
            |root| fs::write(generation(root).join("generation.json"), "{").expect("a file"),
            "index",
            "damaged",
            "warn",
        ),
        (
            "a generation beside",
            |root| fs::create_dir(root.join(".index/evermark/gen-000077")).expect("a folder"),
            "index",
            "stray_generation",
            "warn",
        ),
        (
            "a ledger that is none",
            |root| fs::write(root.join(".index/evermark/ledger.db"), "not a database at all").expect("a file"),
            "index",
            "ledger_damaged",
            "warn",
        ),
        ("no index", |root| fs::remove_dir_all(root.join(".index")).expect("it was there"), "index", "none", "ok"),
        (
            "a folder open to all",
            |root| fs::set_permissions(root, fs::Permissions::from_mode(0o777)).expect("it is ours"),
            "root",
            "open_to_all",
            "warn",
        ),
        (
            "a file where a folder should be",
            |root| {
                fs::remove_dir_all(root.join(".index/evermark")).expect("it was there");
                fs::write(root.join(".index/evermark"), "").expect("a file");
            },
            "root",
            "not_a_folder",
            "fail",
        ),
        (
            "a file where the root should be",
            |root| {
                fs::remove_dir_all(root).expect("it was there");
                fs::write(root, "").expect("a file");
            },
            "root",
            "not_a_folder",
            "fail",
        ),
    ];
    for (what, sabotage, area, code, level) in cases {
        let home = home();
        sabotage(&home.root());
        let ran = home.run(&["doctor", "--json"]);
        let report = report(&ran);
        let (found, remedy) = finding(&report, area, code).unwrap_or_else(|| panic!("{what}: {area} {code}: {ran:?}"));
        assert_eq!(found, *level, "{what}: {ran:?}");
        assert_eq!(found == "ok", remedy.is_empty(), "{what}: what is wrong has a remedy: {remedy}");
        let fails = report["findings"].as_array().expect("a list").iter().any(|finding| finding["level"] == "fail");
        assert_eq!(ran.code(), Some(if fails { 5 } else { 0 }), "{what}: {ran:?}");
    }
}

#[test]
fn a_daemon_is_asked_and_one_that_hangs_is_named() {
    let home = home();
    let daemon = Daemon::start(&home, &[]);
    let ran = home.run(&["doctor", "--json"]);
    assert_eq!(ran.code(), Some(0), "{ran:?}");
    for (area, code) in [("holder", "daemon"), ("index", "open"), ("index", "bound"), ("index", "upkeep")] {
        assert!(finding(&report(&ran), area, code).is_some(), "{area} {code}: {ran:?}");
    }
    daemon.signal(Signal::STOP);
    let ran = home.run(&["doctor", "--json"]);
    daemon.signal(Signal::CONT);
    let (level, remedy) = finding(&report(&ran), "holder", "silent").unwrap_or_else(|| panic!("{ran:?}"));
    assert_eq!(level, "warn");
    assert!(remedy.contains(&daemon.pid().to_string()), "{remedy}");
    daemon.stop();
    assert!(finding(&report(&home.run(&["doctor", "--json"])), "holder", "nobody").is_some());
}

#[test]
fn a_provider_is_asked_for_one_vector_unless_offline() {
    let stub = StubEmbeddings::start(32);
    let mut home = home();
    home.set("EVERMARK_EMBEDDING__BASE_URL", &stub.base_url()).set("EVERMARK_EMBEDDING__MODEL", "stub");
    home.set("EVERMARK_EMBEDDING__DIM", "32").set("EVERMARK_EMBEDDING__TIMEOUT_SECONDS", "2");
    let cases = [
        (None, "answers", "ok"),
        (Some(Answer::status(503, "down")), "unreachable", "warn"),
        (Some(Answer::status(401, "who are you")), "unauthorized", "fail"),
        (Some(Answer::status(404, "no such model")), "not_found", "fail"),
        (Some(Answer::Dimension(16)), "wrong_dimension", "fail"),
    ];
    for (answer, code, level) in cases {
        stub.always(answer);
        let ran = home.run(&["doctor", "--json"]);
        assert_eq!(finding(&report(&ran), "provider", code).map(|(level, _)| level).as_deref(), Some(level), "{ran:?}");
    }
    let calls = stub.calls();
    let ran = home.run(&["doctor", "--json", "--offline"]);
    assert!(finding(&report(&ran), "provider", "skipped").is_some(), "{ran:?}");
    assert_eq!(stub.calls(), calls);
}

#[test]
fn limits_that_are_too_low_are_told() {
    let home = home();
    let limited = |limit: &str| {
        let program = env!("CARGO_BIN_EXE_evermark");
        let mut command = home.command(&[]);
        let env = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let env = env.collect::<Vec<_>>();
        command = std::process::Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit {limit}; exec \"$0\" doctor --json"), program]).env_clear().envs(env);
        let ran = command.output().expect("it runs");
        serde_json::from_slice::<Value>(&ran.stdout).expect("JSON")
    };
    let few = limited("-n 200");
    assert_eq!(finding(&few, "limits", "descriptors_low").map(|(level, _)| level).as_deref(), Some("warn"));
    let small = limited("-f 2000");
    assert_eq!(finding(&small, "limits", "file_size_low").map(|(level, _)| level).as_deref(), Some("fail"));
}

#[test]
fn an_everos_index_that_outgrew_its_files_is_pointed_at() {
    let home = home();
    let theirs = home.root().join(".index/lancedb/episode.lance/data");
    fs::create_dir_all(&theirs).expect("folders");
    fs::write(theirs.join("0.lance"), vec![7; 80 << 20]).expect("a file");
    let ran = home.run(&["doctor", "--json"]);
    let (level, remedy) = finding(&report(&ran), "everos", "index_bloated").unwrap_or_else(|| panic!("{ran:?}"));
    assert_eq!(level, "warn");
    assert!(remedy.contains("--lancedb"), "{remedy}");
}
