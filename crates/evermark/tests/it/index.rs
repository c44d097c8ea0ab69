//! `evermark index …` on the root's own index: through a daemon, without one, and where nothing opens.

use crate::kit::{Daemon, Home, body};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A root with a memory in it and nobody on it.
fn home() -> Home {
    let home = Home::new();
    let said = body("s", "ana", &["I drink oolong tea every morning.", "My bicycle is green and has eight gears."]);
    home.pipe(&["add", "--flush", "--wait", "indexed"], &said).ok();
    home
}

fn index_dir(home: &Home) -> PathBuf {
    home.root().join(".index/evermark")
}

/// Blocks in use at and below `path`.
fn allocated(path: &Path) -> u64 {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let below = if metadata.is_dir() { fs::read_dir(path).expect("a folder").flatten().collect() } else { Vec::new() };
    metadata.blocks() * 512 + below.iter().map(|entry| allocated(&entry.path())).sum::<u64>()
}

/// Names, sizes and times of everything below the root.
fn picture(home: &Home) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut all = Vec::new();
    let mut open = vec![home.root()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a folder").flatten() {
            let metadata = entry.metadata().expect("a file");
            open.extend(metadata.is_dir().then(|| entry.path()));
            all.push((entry.path(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    all.sort();
    all
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

#[test]
fn status_tells_the_bound_with_a_daemon_without_one_and_beside_one_that_hangs() {
    let home = home();
    let before = picture(&home);
    let alone = home.run(&["index", "status", "--json"]).json();
    assert_eq!(picture(&home), before, "it only looks");
    assert_eq!(alone["daemon"], Value::Null);
    let weighed = |said: &Value| {
        let index = &said["index"];
        let (allocated, bound) = (number(&index["allocated_bytes"]), number(&index["budget"]["bound_bytes"]));
        assert!(allocated > 0 && allocated <= bound, "{said}");
        assert_eq!(number(&index["total"]["rows"]), 3, "{said}");
        assert!(number(&index["markdown_bytes"]) > 0 && index["index_to_markdown_ratio"].as_f64() > Some(0.0));
        assert!(number(&index["volumes"][0]["free_bytes"]) > 0, "{said}");
        allocated
    };
    assert_eq!(weighed(&alone), allocated(&index_dir(&home)));
    home.run(&["index", "status"]).ok();

    let daemon = Daemon::start(&home, &[]);
    let through = home.run(&["index", "status", "--json"]).json();
    assert_eq!(through["daemon"].as_str(), Some(daemon.url.as_str()));
    weighed(&through);
    assert!(home.run(&["index", "status"]).ok().stdout.contains("within"));
    daemon.signal(Signal::STOP);
    let beside = home.run(&["index", "status", "--json"]);
    daemon.signal(Signal::CONT);
    assert_eq!(beside.json()["daemon"], Value::Null);
    weighed(&beside.json());
    daemon.stop();
}

#[test]
fn plan_says_what_is_next_and_why() {
    let home = home();
    let check = || {
        let plan = home.run(&["index", "plan", "--json"]).json();
        assert!(["ample", "low", "out"].contains(&plan["level"].as_str().unwrap_or_default()), "{plan}");
        for planned in plan["steps"].as_array().into_iter().chain(plan["held"].as_array()).flatten() {
            assert!(planned["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{plan}");
        }
        home.run(&["index", "plan"]).ok();
    };
    check();
    let daemon = Daemon::start(&home, &[]);
    check();
    daemon.stop();
}

/// Puts beside the index what dead processes leave: a generation of nobody and a file that was not finished.
fn litter(home: &Home) -> u64 {
    let dir = index_dir(home);
    fs::create_dir(dir.join("gen-000077")).expect("a folder");
    fs::write(dir.join("gen-000077/big"), vec![7; 3 << 20]).expect("a file");
    fs::write(dir.join(".CURRENT.tmp.0123456789abcdef"), vec![7; 1 << 20]).expect("a file");
    4 << 20
}

#[test]
fn prune_without_a_daemon_goes_by_the_files_alone_and_says_what_it_freed() {
    let home = home();
    let least = litter(&home);
    // Nothing of this would open.
    fs::write(index_dir(&home).join("ledger.db"), "not a database").expect("a file");
    let before = picture(&home);
    let dry = home.run(&["index", "prune", "--dry-run", "--json"]).json();
    let unlocked = |picture: Vec<(PathBuf, u64, i64, i64)>| {
        picture.into_iter().filter(|(path, ..)| !path.ends_with(".evermark/lock")).collect::<Vec<_>>()
    };
    assert_eq!(unlocked(picture(&home)), unlocked(before), "a dry run changes nothing");
    let (was, said) = (allocated(&index_dir(&home)), number(&dry["freed_bytes"]));
    assert!(said >= least, "{dry}");
    let done = home.run(&["index", "prune", "--json"]).json();
    assert_eq!(done["failures"], Value::Array(Vec::new()), "{done}");
    let freed = was - allocated(&index_dir(&home));
    assert_eq!((number(&done["freed_bytes"]), said), (freed, freed), "{done} {dry}");
    assert_eq!(fs::read_to_string(index_dir(&home).join("ledger.db")).expect("left alone"), "not a database");
    assert!(!index_dir(&home).join("gen-000077").exists());
    assert!(home.run(&["index", "prune"]).ok().stdout.starts_with("freed 0 B"));
    // What was needed is still there.
    home.run(&["sync"]).ok();
    home.run(&["index", "verify"]).ok();
    assert!(!crate::kit::texts(&home.search("bicycle", "ana")).is_empty());
}

#[test]
fn a_daemon_prunes_merges_and_reads_every_piece_when_it_is_asked() {
    let home = home();
    let daemon = Daemon::start(&home, &[]);
    for i in 0..12 {
        let more = body(&format!("t{i}"), "ana", &[&format!("The code word of day {i} is walrus{i}q.")]);
        home.pipe(&["add", "--flush", "--wait", "indexed"], &more).ok();
    }
    let dry = home.run(&["index", "compact", "--dry-run", "--json"]).json();
    assert_eq!(dry["dry_run"], true);
    let done = home.run(&["index", "prune", "--json"]).json();
    assert_eq!(done["failures"], Value::Array(Vec::new()), "{done}");
    let done = home.run(&["index", "compact", "--json"]).json();
    assert_eq!(done["failures"], Value::Array(Vec::new()), "{done}");
    let status = home.run(&["index", "status", "--json"]).json();
    assert!(number(&status["index"]["versions"]) <= 4, "{status}");
    let ran = home.run(&["index", "verify", "--pieces"]);
    assert!(ran.ok().stderr.contains("0 damaged pieces"), "{ran:?}");
    for i in 0..12 {
        assert!(!crate::kit::texts(&home.search(&format!("walrus{i}q"), "ana")).is_empty(), "day {i}");
    }
    daemon.stop();
    home.run(&["index", "compact"]).ok();
    home.run(&["index", "verify"]).ok();
}

#[test]
fn verify_names_every_difference() {
    let mut home = home();
    home.run(&["index", "verify"]).ok();
    // Edited behind its back, and nobody has looked yet.
    for (path, text) in home.markdown() {
        home.write(&path, &text.replace("oolong", "jasmine"));
    }
    home.set("EVERMARK_SYNC__WATCH", "false");
    let ran = home.run(&["index", "verify", "--json"]);
    assert_eq!(ran.code(), Some(5), "{ran:?}");
    let said: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(!said["different"].as_array().expect("a list").is_empty(), "{said}");
}

#[test]
fn a_prune_waits_for_a_short_command_and_names_a_holder_that_hangs() {
    let home = home();
    let daemon = Daemon::start(&home, &[]);
    daemon.signal(Signal::STOP);
    let ran = home.run(&["index", "prune"]);
    daemon.signal(Signal::CONT);
    ran.fails(3, &daemon.pid().to_string());
    daemon.stop();
    home.run(&["index", "prune"]).ok();
}

#[test]
fn what_is_not_there_is_not_looked_after() {
    let home = Home::new();
    for args in [&["index", "status"][..], &["index", "plan"], &["index", "prune"], &["index", "compact"]] {
        home.run(args).fails(4, "there is no root at");
    }
    assert!(!home.root().exists());
    home.run(&["init"]).ok();
    assert!(home.run(&["index", "prune"]).ok().stdout.starts_with("freed 0 B"));
    home.run(&["index", "status"]).ok();
    assert!(!home.root().join(".index").exists(), "looking makes nothing");
}
