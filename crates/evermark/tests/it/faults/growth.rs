//! Growth: an index that is written, rebuilt, emptied or left alone must not become larger than it has to be.

use super::kit::corpus::{day_files, hits, owner, padding, paths, reword, save, words, write_day};
use super::kit::sampler::{Bound, Sampler, allocated, deleted_bytes, generation, index_dir, names};
use super::kit::shim::Shim;
use super::kit::{SOON, health, indexed, names_fault, or_skip, quick_home, well_again, whole, within};
use crate::kit::{Daemon, Home};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const USER: &str = "ana";

/// Small tests have a small bound: what is live twice over, and a handful of megabytes.
const TIGHT: Bound = Bound { k: 2.0, c: 24 << 20 };

/// A root whose index is held to [`TIGHT`], nothing in reserve.
fn tight_home() -> Home {
    let mut home = quick_home();
    home.set("EVERMARK_INDEX__SLACK_BYTES", &TIGHT.c.to_string()).set("EVERMARK_INDEX__BALLAST_BYTES", "0");
    home
}

#[test]
fn rebuilds_leave_no_files_or_folders_behind() {
    let home = quick_home();
    write_day(&home, USER, 0, &words("again", 20));
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let index = index_dir(&home.root());
    home.run(&["index", "rebuild"]).ok();
    well_again(&daemon);
    let before = (names(&index), allocated(&index));
    for _ in 0..12 {
        home.run(&["index", "rebuild"]).ok();
    }
    well_again(&daemon);
    within(SOON, "as many files as before", || names(&index) <= before.0 + 4);
    assert!(allocated(&index) <= before.1 + (1 << 20), "{} bytes, {} before", allocated(&index), before.1);
    whole(&home, &daemon, USER, &words("again", 3), None);
    daemon.stop();
}

#[test]
fn deleting_most_files_shrinks_the_index() {
    let home = quick_home();
    let all = words("mass", 20 * 30);
    for day in 0..20_i64 {
        let some = &all[day as usize * 30..][..30];
        for (path, text) in day_files(&owner(USER), day, some, &padding(day as usize, 3000)) {
            save(&home.root().join(path), &text);
        }
    }
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let before = allocated(&generation(&home));
    assert!(before > 1 << 20, "there is something to shrink: {before} bytes");
    for path in (1..20).flat_map(|day| paths(&owner(USER), day)) {
        std::fs::remove_file(home.root().join(path)).expect("a file of ours");
    }
    home.run(&["sync", "--allow-mass-delete"]).ok();
    whole(&home, &daemon, USER, &all[..5], None);
    assert_eq!(hits(&daemon.url, USER, &all[100]), Some(0));
    within(SOON, "the index is a fraction of what it was", || allocated(&generation(&home)) < before / 5);
    daemon.stop();
}

#[test]
fn a_bloated_directory_is_back_within_bounds_after_a_start() {
    let home = quick_home();
    let all = words("bloat", 40);
    write_day(&home, USER, 0, &all);
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    daemon.stop();
    let index = index_dir(&home.root());
    let clean = allocated(&index);
    let table = generation(&home).join("memories.lance");
    let data = std::fs::read_dir(table.join("data")).expect("data").flatten().next().expect("a data file").path();
    let bytes = std::fs::read(data).expect("a data file");
    let junk = padding(1, 4 << 20);
    let put = |path: PathBuf, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    };
    for i in 0..40 {
        put(table.join(format!("data/copy{i}.lance")), &bytes);
    }
    for name in
        ["data/.tmpAbC123", "data/x.lance-stage", "_transactions/.tmpQ", "_deletions/.tmpR", "_versions/9.manifest#1"]
    {
        put(table.join(name), junk.as_bytes());
    }
    put(index.join("gen-000099/memories.lance/data/old.lance"), junk.as_bytes());
    put(index.join("gen-000098/model.json"), b"{}");
    put(generation(&home).join("tmp/spill/part"), junk.as_bytes());
    assert!(allocated(&index) > clean + (25 << 20));
    let daemon = Daemon::start(&home, &[]);
    within(SOON, "the junk is gone", || allocated(&index) <= clean + (1 << 20));
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}

#[test]
fn churn_on_the_same_files_stays_within_the_bound_and_holds_nothing_deleted() {
    let home = tight_home();
    let all = words("churn", 400);
    for day in 0..4_i64 {
        write_day(&home, USER, day, &all[day as usize * 100..][..100]);
    }
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let sampler = Sampler::start(&home.root(), Some(daemon.pid()), Some(&daemon.url), TIGHT);
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < Duration::from_secs(12) {
        reword(&home, USER, i64::try_from(round % 4).expect("small"), round / 4);
        round += 1;
        assert_eq!(hits(&daemon.url, USER, &all[round % 400]), Some(1), "never a gap");
    }
    let markdown = home.markdown();
    whole(&home, &daemon, USER, &[&all[..4], &all[396..]].concat(), Some(&markdown));
    let index = index_dir(&home.root());
    within(SOON, "no deleted file is held open", || deleted_bytes(daemon.pid(), &index) == 0);
    let seen = sampler.finish();
    assert!(round > 20, "{round} rounds of edits");
    let live = health(&daemon)["evermark"]["index"]["live_bytes"].as_u64().expect("bytes");
    within(SOON, "at rest it is small", || allocated(&index) <= Bound { k: 1.3, c: 16 << 20 }.of(live));
    println!("{round} rounds, {seen:?}");
    daemon.stop();
}

#[test]
fn a_merge_that_always_fails_stops_no_reclaim() {
    let home = tight_home();
    let all = words("stuck", 200);
    const DAYS: usize = 20;
    for (day, words) in (0..).zip(all.chunks(all.len() / DAYS)) {
        write_day(&home, USER, day, words);
    }
    let daemon = Daemon::start(&home, &[("EVERMARK_FAULT_AT", "lance.merged:1-1000000=EIO")]);
    indexed(&daemon);
    let sampler = Sampler::start(&home.root(), Some(daemon.pid()), Some(&daemon.url), TIGHT);
    let started = Instant::now();
    let mut round = 0;
    // One by one, each day leaves a piece, however quick or slow the indexer is: so many want to be merged.
    let day = |round: usize| i64::try_from(round % DAYS).expect("small");
    while round < DAYS {
        reword(&home, USER, day(round), round / DAYS);
        indexed(&daemon);
        round += 1;
    }
    while started.elapsed() < Duration::from_secs(20) {
        reword(&home, USER, day(round), round / DAYS);
        round += 1;
        assert_eq!(hits(&daemon.url, USER, &all[round % 200]), Some(1));
    }
    names_fault(&daemon, MERGE_FAILS);
    indexed(&daemon);
    let index = health(&daemon)["evermark"]["index"].clone();
    assert!(index["versions"].as_u64().is_some_and(|n| n <= 12), "old versions went: {index}");
    sampler.finish();
    daemon.stop();
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..5], None);
    daemon.stop();
}

/// Codes that say that merging fails.
const MERGE_FAILS: &[&str] = &["task_failing", "compact_failing"];

#[test]
fn an_idle_week_with_failing_maintenance_grows_nothing() {
    let home = quick_home();
    let shim = or_skip!(Shim::new(home.path()));
    let all = words("idle", 40);
    write_day(&home, USER, 0, &all);
    let [preload, control] = shim.env();
    let env = [preload, control, ("EVERMARK_FAULT_AT", "lance.merged:1-1000000=EIO")];
    let daemon = Daemon::start(&home, &env);
    for (round, word) in all.iter().enumerate().take(24) {
        reword(&home, USER, 0, round);
        within(SOON, "it is found", || hits(&daemon.url, USER, word) == Some(1));
        indexed(&daemon);
    }
    let index = index_dir(&home.root());
    let listing = |dir: &Path| {
        let mut all = Vec::new();
        list(dir, &mut all);
        all
    };
    // The first beats after the edits may still tidy up.
    let mut before = listing(&index);
    within(SOON, "it comes to rest", || {
        std::thread::park_timeout(Duration::from_millis(1500));
        let now = listing(&index);
        std::mem::replace(&mut before, now.clone()) == now
    });
    let size = allocated(&index);
    for day in 1..=7 {
        shim.rules(&[&format!("clock {}", day * 86_400)]);
        std::thread::park_timeout(Duration::from_millis(900));
        assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
        // The ledger's log may take a few pages more before it is folded in.
        let now = allocated(&index);
        assert!(now <= size + (64 << 10), "day {day}: {now} bytes, {size} before");
    }
    // Failing again and again must not write again and again.
    assert_eq!(listing(&index), before, "files came or went while nothing was done");
    daemon.stop();
}

/// Lists names and sizes of the index's files; the ledger's log is its own business.
fn list(dir: &Path, all: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, all);
        } else if !entry.file_name().to_string_lossy().starts_with("ledger.db") {
            all.push((path, entry.metadata().map_or(0, |metadata| metadata.len())));
        }
    }
    all.sort();
}
