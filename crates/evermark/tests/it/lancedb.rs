//! `evermark index … --lancedb`, and `adopt`'s neighbours: as typed, on directories that EverOS's LanceDB wrote.

use crate::kit::Home;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Unpacks a fixture beside the root, or says that there are none.
pub(crate) fn fixture(home: &Home, name: &str) -> Option<PathBuf> {
    let archive = std::env::current_dir().unwrap().join("../../../shared/fixtures").join(format!("{name}.tar.gz"));
    if !archive.is_file() {
        eprintln!("SKIPPED: {} is not there", archive.display());
        return None;
    }
    let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(home.path()).status().unwrap();
    assert!(done.success());
    Some(home.path().join(name).canonicalize().unwrap())
}

fn table(answer: &Value) -> &Value {
    let tables = answer["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"] == "atomic_fact").unwrap()
}

#[test]
fn a_foreign_directory_is_measured_pruned_compacted_and_verified_without_a_root() {
    let home = Home::new();
    let Some(path) = fixture(&home, "lance-truncated-fragment") else { return };
    let path = path.to_str().unwrap();
    let run = |args: &[&str]| home.run(&[&["index"], args, &["--lancedb", path]].concat());

    let status = run(&["status"]);
    status.ok();
    for word in ["atomic_fact", "total", "537", "lance 8.0.0", "fact_tokens_idx", "superseded"] {
        assert!(status.stdout.contains(word), "{word}: {}", status.stdout);
    }
    let before = run(&["status", "--json"]).json();
    assert_eq!(table(&before)["rows"], 537);
    assert_eq!(table(&before)["fragments"], 26);
    assert!(table(&before)["problems"][0].as_str().unwrap().contains("5592"));

    let verified = run(&["verify", "--json"]);
    assert_eq!(verified.code(), Some(5), "{verified:?}");
    assert!(verified.stdout.contains("fragment 14"));

    let dry = run(&["prune", "--dry-run", "--json"]).json();
    assert_eq!(run(&["status", "--json"]).json(), before, "a dry run changes nothing");
    let pruned = run(&["prune", "--json"]).json();
    assert_eq!(table(&dry)["freed"], table(&pruned)["freed"]);
    assert!(table(&pruned)["freed_bytes"].as_u64().unwrap() > 0);

    let compacted = run(&["compact"]);
    compacted.ok();
    assert!(compacted.stdout.contains("fragment 14 was damaged"), "{}", compacted.stdout);
    assert!(compacted.stdout.contains(".quarantine"), "{}", compacted.stdout);
    let after = run(&["status", "--json"]).json();
    assert_eq!((&table(&after)["rows"], &table(&after)["versions"]), (&527.into(), &1.into()));
    let (allocated, live) = (&table(&after)["allocated_bytes"], &table(&after)["live_bytes"]);
    assert!(allocated.as_u64().unwrap() <= live.as_u64().unwrap() * 13 / 10 + (1 << 20), "{after}");
    run(&["verify"]).ok();
    assert!(!home.root().exists(), "no root was needed, none was made");
}

#[test]
fn help_says_what_path_may_be() {
    for verb in ["status", "prune", "compact", "verify"] {
        let help = Home::new().run(&["index", verb, "--help"]);
        assert!(help.ok().stdout.contains("an EverOS root") && help.stdout.contains("Examples:"), "{}", help.stdout);
    }
}

#[test]
fn what_is_refused_says_why_and_how_it_ends() {
    let home = Home::new();
    let empty = home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let prune = |path: &str| home.run(&["index", "prune", "--lancedb", path]);
    prune(empty.to_str().unwrap()).fails(4, "no Lance table").fails(4, "hint:");
    prune("/no/such/place").fails(4, "there is nothing at");
    prune("gs://bucket/db").fails(1, "only tables on this machine");
    home.run(&["index", "rebuild", "--lancedb", "x"]).fails(2, "--lancedb");
    home.run(&["index", "status", "--table", "x"]).fails(2, "--lancedb");
}
