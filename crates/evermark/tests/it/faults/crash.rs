//! Sudden ends at any moment, lost power, and what half a work leaves behind.

use super::kit::corpus::{day_files, hits, owner, reword, save, tell, words, write_day};
use super::kit::mount::{Mount, text, tool};
use super::kit::sampler::{Bound, Sampler, allocated, generation, index_dir};
use super::kit::{SOON, distinct_texts, health, or_skip, quick_home, rounds, stub_home, well_again, whole, within};
use crate::kit::{Daemon, Home, body};
use evermark_sim::stub_embeddings::StubEmbeddings;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const USER: &str = "ana";
const CRASH_AT: &str = "EVERMARK_CRASH_AT";

/// Fails where the live generation holds anything but what its newest version needs.
#[track_caller]
fn nothing_left_behind(home: &Home, daemon: &Daemon) {
    let dir = generation(home);
    within(SOON, "what the kill left is gone", || {
        let live = health(daemon)["evermark"]["index"]["live_bytes"].as_u64().unwrap_or(0);
        allocated(&dir) <= Bound { k: 1.3, c: 1 << 20 }.of(live)
    });
    let odd = || {
        let folders = ["data", "_versions", "_transactions", "_deletions"].into_iter();
        let entries = folders.flat_map(|folder| std::fs::read_dir(dir.join("memories.lance").join(folder)));
        let names = entries.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".tmp") || name.contains('#')).collect::<Vec<_>>()
    };
    within(SOON, "no temporary of a dead process is left", || odd().is_empty());
}

#[test]
fn kill_9_at_random_moments_of_churn_leaves_nothing_behind() {
    let home = quick_home();
    let all = words("kill", 200);
    for day in 0..4_i64 {
        write_day(&home, USER, day, &all[day as usize * 50..][..50]);
    }
    let sampler = Sampler::start(&home.root(), None, None, Bound { k: 0.0, c: 64 << 20 });
    let mut state = 42_u64;
    let kills = rounds(12);
    for kill in 0..kills {
        let daemon = Daemon::start(&home, &[]);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = Duration::from_millis(50 + (state >> 33) % 900);
        let started = Instant::now();
        let mut round = kill;
        while started.elapsed() < life {
            reword(&home, USER, i64::try_from(round % 4).expect("small"), round / 4);
            round += 1;
            std::thread::park_timeout(Duration::from_millis(10));
        }
        daemon.kill();
        if kill % 10 == 9 || kill + 1 == kills {
            let daemon = Daemon::start(&home, &[]);
            let markdown = home.markdown();
            whole(&home, &daemon, USER, &[&all[..3], &all[197..]].concat(), Some(&markdown));
            nothing_left_behind(&home, &daemon);
            daemon.kill();
        }
    }
    println!("{kills} kills: {:?}", sampler.finish());
}

#[test]
fn a_crash_loop_rewrites_nothing_and_grows_nothing() {
    let home = quick_home();
    let all = words("loop", 400);
    for day in 0..8_i64 {
        for (path, text) in day_files(&owner(USER), day, &all[day as usize * 50..][..50], &"padding ".repeat(200)) {
            save(&home.root().join(path), &text);
        }
    }
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    daemon.kill();
    let index = index_dir(&home.root());
    let mut sizes = Vec::new();
    let mut written = Vec::new();
    for round in 0..rounds(20) {
        let daemon = Daemon::start(&home, &[]);
        // Ready means that the start is over: what it wrote until now is what each restart costs.
        let io = std::fs::read_to_string(format!("/proc/{}/io", daemon.pid())).unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap_or("0");
        written.push(line.parse::<u64>().expect("a number"));
        write_day(&home, USER, 100, &words("news", 1 + round % 3));
        daemon.kill();
        sizes.push(allocated(&index));
    }
    let settled = sizes[sizes.len() / 4];
    assert!(sizes.iter().skip(sizes.len() / 4).all(|size| *size <= settled + (1 << 20)), "{sizes:?}");
    written.sort_unstable();
    let live = allocated(&generation(&home));
    assert!(written[written.len() / 2] < live / 2, "a start writes {written:?}, the index has {live}");
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..3], None);
    nothing_left_behind(&home, &daemon);
    daemon.stop();
}

#[test]
fn commands_that_write_at_the_same_time_take_turns() {
    let home = quick_home();
    let all = words("turns", 16);
    home.run(&["init"]).ok();
    std::thread::scope(|scope| {
        for half in all.chunks(8) {
            let home = &home;
            scope.spawn(move || {
                for word in half {
                    let said = body(&format!("s-{word}"), USER, &[&format!("The word of the day is {word}.")]);
                    home.pipe(&["add", "--flush"], &said).ok();
                }
            });
        }
    });
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all, None);
    nothing_left_behind(&home, &daemon);
    daemon.stop();
}

/// What a volume's device holds at one moment is what a power cut leaves: the file below a loop device is copied while the
/// program stands still, and the copy is mounted and looked at. What was never synced is not in it.
#[test]
fn lost_power_loses_nothing_that_was_acknowledged() {
    let home = quick_home();
    let image = home.path().join("image");
    let options = "rw,commit=300";
    let _volume = or_skip!(Mount::ext4(&home.root(), &image, 192 << 20, None, options));
    let all = words("power", 40);
    let daemon = Daemon::start(&home, &[]);
    let acknowledged = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let copies: Vec<(PathBuf, usize)> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for (i, word) in all.iter().enumerate() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                assert_eq!(tell(&daemon, USER, &format!("s{i}"), word), [Some(200), Some(200)]);
                acknowledged.store(i + 1, Ordering::SeqCst);
            }
        });
        let copies = (1..=4).map(|n| {
            within(SOON, "more words are acknowledged", || acknowledged.load(Ordering::SeqCst) >= n * 4);
            // Something that nobody syncs, to see that the copy would lose it.
            std::fs::write(home.root().join(format!("unsynced-{n}")), vec![0x5A; 5000]).expect("a file");
            daemon.signal(Signal::STOP);
            let count = acknowledged.load(Ordering::SeqCst);
            let copy = home.path().join(format!("copy{n}"));
            let copied = tool("cp", &["--sparse=always", text(&image), text(&copy)]);
            daemon.signal(Signal::CONT);
            copied.expect("copied");
            (copy, count)
        });
        let copies = copies.collect();
        stop.store(true, Ordering::SeqCst);
        copies
    });
    daemon.stop();
    let mut n_lost = 0;
    for (n, (copy, count)) in copies.into_iter().enumerate() {
        let after = quick_home();
        let _volume = Mount::image(&after.root(), &copy, options).expect("the journal is replayed");
        n_lost += usize::from(
            !std::fs::read(after.root().join(format!("unsynced-{}", n + 1))).is_ok_and(|b| b.len() == 5000),
        );
        let facts: String = after
            .markdown()
            .into_iter()
            .filter(|(path, _)| path.contains(".atomic_facts") || path.contains("inbox"))
            .map(|(_, text)| text)
            .collect();
        for word in &all[..count] {
            assert!(facts.contains(word.as_str()), "{word} of {count} was acknowledged before power {n} was lost");
        }
        let daemon = Daemon::start(&after, &[]);
        for i in 0..=count.min(all.len() - 1) {
            let again = serde_json::json!({"session_id": format!("s{i}")}).to_string();
            daemon.post("/api/v1/memory/flush", &again);
        }
        whole(&after, &daemon, USER, &all[..count], None);
        daemon.stop();
    }
    assert!(n_lost > 0, "the copies hold even what was never synced: this test shows nothing");
}

type Damage = fn(&Path);

#[test]
fn a_torn_manifest_is_healed_without_paying_again() {
    let damages: [(&str, Damage); 4] = [
        ("cut", |path| {
            let length = std::fs::metadata(path).expect("a manifest").len();
            std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(length / 2)).expect("cut");
        }),
        ("emptied", |path| std::fs::write(path, "").expect("emptied")),
        ("garbage", |path| std::fs::write(path, [0xA5; 3000]).expect("written")),
        ("gone", |path| std::fs::remove_file(path).expect("removed")),
    ];
    for (what, damage) in damages {
        let stub = StubEmbeddings::start(32);
        let home = stub_home(&stub);
        let all = words("torn", 12);
        write_day(&home, USER, 0, &all);
        let daemon = Daemon::start(&home, &[]);
        whole(&home, &daemon, USER, &all[..2], None);
        let paid = stub.texts();
        daemon.kill();
        let versions = generation(&home).join("memories.lance/_versions");
        let newest = std::fs::read_dir(&versions).expect("versions").flatten().map(|entry| entry.path());
        // Lance numbers backwards: the smallest name is the newest.
        let newest = newest.filter(|path| path.extension().is_some_and(|kind| kind == "manifest")).min();
        damage(&newest.expect("a manifest"));
        let markdown = home.markdown();
        let daemon = Daemon::start(&home, &[]);
        whole(&home, &daemon, USER, &all, Some(&markdown));
        assert_eq!(stub.texts(), paid, "{what}: nothing is embedded again");
        daemon.stop();
    }
}

#[test]
fn a_rebuild_killed_at_any_tenth_leaves_the_old_index_answering() {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let all = words("tenth", 50);
    for day in 0..5_i64 {
        write_day(&home, USER, day, &all[day as usize * 10..][..10]);
    }
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    daemon.stop();
    let paid = stub.texts();
    let before = generation(&home);
    for tenth in (1..=10).step_by(2) {
        let at = format!("rebuild.file:{tenth}");
        let dead = home.run_with(&["index", "rebuild"], &[(CRASH_AT, &at)]);
        assert_eq!(dead.code(), None, "{at} was not passed: {dead:?}");
        assert_eq!(generation(&home), before, "{at}: never half visible");
        let found = home.run(&["search", &all[7], "--user", USER, "--method", "keyword", "--json"]).json();
        assert_eq!(found["episodes"].as_array().map(Vec::len), Some(1), "{at}: {found}");
        let generations = std::fs::read_dir(index_dir(&home.root())).expect("an index").flatten();
        let n = generations.filter(|entry| entry.file_name().to_string_lossy().starts_with("gen-")).count();
        assert_eq!(n, 1, "{at}: the half generation is gone with the next start");
    }
    home.run(&["index", "rebuild"]).ok();
    assert_ne!(generation(&home), before);
    assert_eq!(stub.texts(), paid, "nothing is embedded again");
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..5], None);
    daemon.stop();
}

#[test]
fn an_index_of_another_format_is_replaced_and_a_kill_meanwhile_only_delays_it() {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let all = words("format", 20);
    write_day(&home, USER, 0, &all);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let paid = stub.texts();
    daemon.stop();
    for (file, from, to) in [
        ("generation.json", "\"schema_version\": ", "\"schema_version\": 9"),
        ("model.json", "\"analyzer\": ", "\"analyzer\": 9"),
    ] {
        let before = generation(&home);
        let path = before.join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{text}");
        save(&path, &text.replace(from, to));
        for point in ["index.claimed", "index.upserted", "lance.committed", "ledger.record"] {
            let dead = home.run_with(&["sync"], &[(CRASH_AT, point)]);
            assert_eq!(dead.code(), None, "{file}, {point} was not passed: {dead:?}");
        }
        let daemon = Daemon::start(&home, &[]);
        whole(&home, &daemon, USER, &all, None);
        assert_ne!(generation(&home), before, "{file}: a new one");
        assert!(!before.exists(), "{file}: the old one is gone");
        assert_eq!(stub.texts(), paid, "{file}: nothing is embedded again");
        daemon.stop();
    }
}

#[test]
fn an_edit_that_dies_at_any_point_is_found_once_old_or_new() {
    let points = [
        "index.claimed",
        "index.embedded",
        "index.upserted",
        "lance.committed",
        "lance.appended",
        "index.flushed",
        "ledger.record",
        "index.recorded",
        "lance.appended",
        "ledger.record",
    ];
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let all = words("edit", 10);
    write_day(&home, USER, 0, &all);
    home.run(&["sync"]).ok();
    for (round, point) in points.into_iter().enumerate() {
        reword(&home, USER, 0, 0);
        let dead = home.run_with(&["sync"], &[(CRASH_AT, point)]);
        assert_eq!(dead.code(), None, "{point} was not passed: {dead:?}");
        // Every other time the edit is taken back: the file is what the ledger knows, and the index may be ahead of both.
        if round % 2 == 1 {
            reword(&home, USER, 0, 1);
        }
        // A daemon answers from what is on disk before it has looked at the files.
        let daemon = Daemon::start(&home, &[]);
        for _ in 0..3 {
            assert_eq!(hits(&daemon.url, USER, &all[3]), Some(1), "after a death at {point}");
        }
        whole(&home, &daemon, USER, &all[..2], None);
        daemon.kill();
        reword(&home, USER, 0, 1);
        home.run(&["sync"]).ok();
    }
    assert_eq!(stub.texts(), distinct_texts(&stub), "no text was paid for twice");
}
