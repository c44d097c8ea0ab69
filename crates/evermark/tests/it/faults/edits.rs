//! Edits in every way that people and tools make them, and clocks that do not help.

use super::kit::corpus::{day_files, hits, owner, paths, words, write_day};
use super::kit::mount::{Mount, text, tool};
use super::kit::shim::Shim;
use super::kit::{
    SOON, health, is_root, names_fault, no_difference, or_skip, quick_home, serve_under, stub_home, well_again, whole,
    within,
};
use crate::kit::{Daemon, Home};
use evermark_core::id::{Owner, Scope};
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const USER: &str = "ana";

fn users(home: &Home) -> PathBuf {
    home.root().join("default_app/default_project/users")
}

#[test]
fn a_file_that_is_written_slowly_keeps_its_old_entries_until_it_is_whole() {
    let mut home = quick_home();
    home.set("EVERMARK_SYNC__SETTLE_MS", "300").set("EVERMARK_SYNC__SECOND_LOOK_SECONDS", "2");
    let (old, new) = (words("slow", 20), words("fast", 5));
    write_day(&home, USER, 0, &old);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &old[..2], None);
    let both = [&old[..], &new].concat();
    for (path, text) in day_files(&owner(USER), 0, &both, "") {
        // In place and in pieces, as an editor without atomic saves, or a slow copy.
        let mut file = std::fs::File::create(home.root().join(path)).expect("a file");
        for piece in text.as_bytes().chunks(text.len() / 12) {
            file.write_all(piece).and_then(|()| file.flush()).expect("written");
            for word in [&old[0], &old[19]] {
                assert_eq!(hits(&daemon.url, USER, word), Some(1), "{word} while its file is written");
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    within(SOON, "what is new is found", || hits(&daemon.url, USER, &new[4]) == Some(1));
    whole(&home, &daemon, USER, &both, None);
    daemon.stop();
}

#[test]
fn the_last_of_many_edits_in_one_instant_is_what_is_found() {
    let home = quick_home();
    let other = home.path().join("other");
    let volume = Mount::tmpfs(&other, 8 << 20);
    let folders = [Some(users(&home)), volume.is_ok().then(|| other.clone())];
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let all = words("instant", 200);
    for (place, folder) in folders.into_iter().flatten().enumerate() {
        let user = format!("user{place}");
        let _bound = (place == 1).then(|| Mount::bind(&users(&home).join(&user), &folder));
        for (round, word) in all.iter().enumerate() {
            let word = if round + 1 == all.len() { format!("last{place}q") } else { word.clone() };
            // The same length each time, and written in place: only the content tells.
            let files = day_files(&owner(&user), 0, &[format!("{word:_<12}")], "");
            for (path, text) in files {
                let path = home.root().join(path);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
                std::fs::write(path, text).expect("written");
            }
        }
        within(SOON, "the last one is found", || hits(&daemon.url, &user, &format!("last{place}q")) == Some(1));
        well_again(&daemon);
        assert_eq!(hits(&daemon.url, &user, &all[150]), Some(0));
        no_difference(&home);
    }
    daemon.stop();
    assert!(volume.is_ok() || !is_root(), "{:?}", volume.err());
}

#[test]
fn clocks_that_jump_for_years_stop_nothing_and_remove_nothing() {
    let home = quick_home();
    let shim = or_skip!(Shim::new(home.path()));
    let all = words("clock", 40);
    write_day(&home, USER, 0, &all[..10]);
    let daemon = Daemon::start(&home, &shim.env());
    whole(&home, &daemon, USER, &all[..2], None);
    let year = 365 * 86_400;
    for (round, seconds) in [year, -year, 0, 3600, -3600, 0].into_iter().enumerate() {
        shim.rules(&[&format!("clock {seconds}")]);
        let some = &all[10 + round * 5..][..5];
        write_day(&home, USER, i64::try_from(1 + round).expect("small"), some);
        within(SOON, "an edit after the jump is found", || hits(&daemon.url, USER, &some[4]) == Some(1));
        assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
    }
    whole(&home, &daemon, USER, &all[..40], None);
    let versions = health(&daemon)["evermark"]["index"]["versions"].as_u64();
    assert!(versions.is_some_and(|n| n < 20), "reclaiming goes on: {versions:?} versions");
    daemon.stop();
}

/// Returns the seconds of processor time that a process has used.
fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    // utime and stime, in hundredths.
    (fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number")) / 100.0
}

#[test]
fn files_from_the_future_are_indexed_once_and_keep_nobody_busy() {
    let home = quick_home();
    let all = words("future", 10);
    write_day(&home, USER, 0, &all);
    for path in paths(&owner(USER), 0) {
        or_skip!(tool("touch", &["-d", "2099-01-01", text(&home.root().join(path))]));
    }
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all, None);
    let before = processor_seconds(daemon.pid());
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let used = processor_seconds(daemon.pid()) - before;
    assert!(used < 1.0, "{used} s of processor time in 3 s of rest");
    daemon.stop();
}

#[test]
fn a_file_moved_between_scopes_is_never_without_a_place_and_is_not_paid_for_again() {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let all = words("move", 6);
    write_day(&home, USER, 0, &all);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let paid = stub.texts();
    let elsewhere = Owner::user(Scope { app: "default".into(), project: "garden".into() }, USER);
    let (here, there) = (paths(&owner(USER), 0), paths(&elsewhere, 0));
    let found = |project: &str, word: &str| {
        let ask = serde_json::json!({"user_id": USER, "project_id": project, "query": word, "method": "keyword"});
        let (status, answer) = daemon.post("/api/v1/memory/search", &ask.to_string()).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer["data"]["episodes"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(found("default", &all[0]), 1);
    for (from, to, project) in [(&here, &there, "garden"), (&there, &here, "default"), (&here, &there, "garden")] {
        for (from, to) in from.iter().zip(to) {
            let to = home.root().join(to);
            std::fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
            std::fs::rename(home.root().join(from), to).expect("moved");
        }
        let other = if project == "garden" { "default" } else { "garden" };
        within(SOON, "it is found where it is now and only there", || {
            let now = found(project, &all[0]);
            let both = now + found(other, &all[0]);
            assert!(both >= 1, "{project}: it is nowhere for a moment");
            now == 1 && both == 1
        });
    }
    well_again(&daemon);
    no_difference(&home);
    assert_eq!(stub.texts(), paid, "nothing is embedded again");
    daemon.stop();
}

#[test]
fn without_a_single_watch_edits_are_found_by_sweeping_and_health_says_so() {
    let home = quick_home();
    let none = "echo 0 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let wrapper = ["unshare", "-Ur", "sh", "-c", none, "sh"];
    or_skip!(tool("unshare", &["-Ur", "sh", "-c", none, "sh", "true"]));
    let all = words("inotify", 20);
    write_day(&home, USER, 0, &all[..10]);
    let daemon = serve_under(&home, &wrapper, &[]);
    names_fault(&daemon, &["watcher_down"]);
    within(SOON, "the words are found", || hits(&daemon.url, USER, &all[9]) == Some(1));
    write_day(&home, USER, 1, &all[10..]);
    within(SOON, "an edit is found", || hits(&daemon.url, USER, &all[19]) == Some(1));
    no_difference(&home);
    daemon.stop();
}

#[test]
fn without_events_an_edit_is_found_within_a_sweep() {
    let mut home = quick_home();
    home.set("EVERMARK_SYNC__WATCH", "false");
    let all = words("noevent", 8);
    write_day(&home, USER, 0, &all[..2]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    for (i, word) in all.iter().enumerate().skip(2) {
        write_day(&home, USER, i64::try_from(i).expect("small"), std::slice::from_ref(word));
        let took = within(SOON, "it is found", || hits(&daemon.url, USER, word) == Some(1));
        // Half a second between sweeps; the rest is the work, on a machine that has other work too.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}

#[test]
fn a_storm_of_new_files_is_one_pass_and_few_commits() {
    let home = quick_home();
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let made = home.path().join("made");
    let all = words("storm", 1500);
    for (i, word) in all.iter().enumerate() {
        let user = format!("u{:02}", i % 50);
        for (path, text) in
            day_files(&owner(&user), i64::try_from(i / 50).expect("small"), std::slice::from_ref(word), "")
        {
            let path = made.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::write(path, text).expect("written");
        }
    }
    let started = Instant::now();
    tool("cp", &["-a", &format!("{}/.", text(&made)), text(&home.root())]).expect("copied");
    within(2 * SOON, "the last one is found", || hits(&daemon.url, "u49", &all[1499]) == Some(1));
    well_again(&daemon);
    println!("3000 files in {:?}", started.elapsed());
    for i in (0..1500).step_by(211) {
        assert_eq!(hits(&daemon.url, &format!("u{:02}", i % 50), &all[i]), Some(1));
    }
    no_difference(&home);
    let fragments = health(&daemon)["evermark"]["index"]["fragments"].as_u64();
    assert!(fragments.is_some_and(|n| n < 60), "{fragments:?} pieces");
    daemon.stop();
}
