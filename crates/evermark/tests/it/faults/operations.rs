//! Providers, a second owner, commands beside the daemon, hangs, and a long run of everything.

use super::kit::corpus::{hits, save, tell, words, write_day};
use super::kit::mount::{Mount, text, tool};
use super::kit::shim::Shim;
use super::kit::{SOON, health, names_fault, or_skip, quick_home, stub_home, whole, within};
use crate::kit::{Daemon, body};
use evermark_sim::stub_embeddings::StubEmbeddings;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const USER: &str = "ana";

#[test]
fn commands_beside_a_daemon_change_nothing_that_they_should_not() {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let all = words("beside", 20);
    write_day(&home, USER, 0, &all);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let (calls, markdown) = (stub.calls(), home.markdown());
    let looking: [&[&str]; 5] = [
        &["status", "--json"],
        &["index", "status", "--json"],
        &["index", "plan", "--json"],
        &["index", "verify", "--json"],
        &["verify", "--json"],
    ];
    let working: [&[&str]; 3] =
        [&["index", "prune", "--json"], &["index", "compact", "--json"], &["index", "prune", "--dry-run", "--json"]];
    for _ in 0..3 {
        for args in looking.iter().chain(&working) {
            home.run(args).json();
        }
    }
    assert_eq!(stub.calls(), calls, "no command asks the provider");
    // It is the doctor's business to ask, and to change nothing all the same.
    home.run(&["doctor", "--json"]).json();
    let calls = stub.calls();
    whole(&home, &daemon, USER, &all, Some(&markdown));
    // And with no daemon there.
    daemon.stop();
    for args in looking.iter().chain(&working) {
        home.run(args).json();
    }
    assert_eq!(stub.calls(), calls, "no command asks the provider");
    assert!(home.markdown() == markdown);
}

#[test]
fn a_stopped_owner_keeps_the_root_and_a_woken_one_without_it_writes_nothing() {
    let home = quick_home();
    let all = words("stopped", 10);
    write_day(&home, USER, 0, &all[..5]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    daemon.signal(Signal::STOP);
    let second = home.run(&["serve", "--port", "0"]);
    second.fails(3, &daemon.pid().to_string());
    daemon.signal(Signal::CONT);
    whole(&home, &daemon, USER, &all[..5], None);
    // Stopped for good: its lock goes with it, and the next owner starts at once.
    daemon.signal(Signal::STOP);
    daemon.kill();
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..5], None);
    // Somebody removes the lock file of a stopped owner, and another takes the root: the woken one must not write.
    daemon.signal(Signal::STOP);
    std::fs::remove_file(home.root().join(".evermark/lock")).expect("a lock file");
    let other = Daemon::start(&home, &[]);
    daemon.signal(Signal::CONT);
    write_day(&home, USER, 1, &all[5..]);
    within(SOON, "the woken one refuses", || {
        let told = daemon.post("/api/v1/memory/add", &body("s", USER, &["Who owns this?"]));
        told.is_none_or(|(status, _)| status >= 400)
    });
    whole(&home, &other, USER, &all, None);
    daemon.kill();
    other.stop();
}

#[test]
fn pruning_all_the_time_holds_no_writer_up() {
    let home = quick_home();
    let daemon = Daemon::start(&home, &[]);
    let all = words("latency", 24);
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    let mut n_prunes = 0;
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::SeqCst) {
                home.run(&["index", "prune", "--json"]).json();
                n += 1;
            }
            n
        });
        for (i, word) in all.iter().enumerate() {
            let asked = Instant::now();
            assert_eq!(tell(&daemon, USER, &format!("s{i}"), word), [Some(200), Some(200)]);
            times.push(asked.elapsed());
        }
        stop.store(true, Ordering::SeqCst);
        n_prunes = pruner.join().expect("every prune went well");
    });
    times.sort_unstable();
    println!(
        "{n_prunes} prunes; an add and a flush took {:?}, at most {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(n_prunes > 2);
    // Two requests with a handful of syncs each; the processors have other work, too.
    assert!(times[times.len() / 2] < Duration::from_millis(700), "{times:?}");
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}

#[test]
fn a_backlog_on_a_slow_disk_holds_up_no_search_and_no_add() {
    let home = quick_home();
    let shim = or_skip!(Shim::new(home.path()));
    let first = words("first", 4);
    write_day(&home, USER, 0, &first);
    let mut env = shim.env().to_vec();
    env.push(("EVERMARK_SYNC__FILES_PER_TICK", "20"));
    let daemon = Daemon::start(&home, &env);
    whole(&home, &daemon, USER, &first, None);
    shim.rules(&["sync memories.lance 1 0 delay=60", "sync ledger.db 1 0 delay=30"]);
    let all = words("backlog", 600);
    for (i, word) in all.iter().enumerate() {
        write_day(&home, &format!("u{}", i % 20), i64::try_from(i / 20).expect("small"), std::slice::from_ref(word));
    }
    within(SOON, "the backlog is seen", || {
        health(&daemon)["evermark"]["queue"]["pending"].as_u64().is_some_and(|n| n > 100)
    });
    let mut slowest = Duration::ZERO;
    for i in 0..10 {
        let asked = Instant::now();
        assert_eq!(hits(&daemon.url, USER, &first[i % 4]), Some(1));
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "a search took {slowest:?}");
    let asked = Instant::now();
    assert_eq!(tell(&daemon, USER, "s", "interactiveq"), [Some(200), Some(200)]);
    assert!(asked.elapsed() < Duration::from_secs(5), "an add took {:?}", asked.elapsed());
    shim.lift();
    within(2 * SOON, "all is found", || hits(&daemon.url, "u19", &all[599]) == Some(1));
    whole(&home, &daemon, USER, &["interactiveq".to_owned()], None);
    daemon.stop();
}

#[test]
fn an_index_that_hangs_is_told_and_searches_and_adds_go_on() {
    let mut home = quick_home();
    home.set("EVERMARK_INDEX__LOOP_LIMIT_SECONDS", "2").set("EVERMARK_INDEX__STEP_LIMIT_SECONDS", "2");
    let shim = or_skip!(Shim::new(home.path()));
    let all = words("hang", 20);
    write_day(&home, USER, 0, &all[..10]);
    let daemon = Daemon::start(&home, &shim.env());
    whole(&home, &daemon, USER, &all[..2], None);
    shim.rules(&["sync memories.lance 1 0 hang"]);
    write_day(&home, USER, 1, &all[10..19]);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        assert_eq!(hits(&daemon.url, USER, &all[started.elapsed().as_secs() as usize]), Some(1));
        assert!(daemon.get("/health").is_some(), "it says how it is");
    }
    let (status, _) = daemon.post("/api/v1/memory/add", &body("s", USER, &[&all[19]])).expect("an answer");
    assert_eq!(status, 200, "the Markdown does not wait for the index");
    names_fault(&daemon, &["loop_stuck", "step_hung"]);
    shim.lift();
    daemon.post("/api/v1/memory/flush", r#"{"session_id":"s"}"#).expect("an answer");
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}

#[test]
fn a_read_only_markdown_volume_is_named_and_resumes() {
    let home = quick_home();
    let elsewhere = home.path().join("volume");
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    let place = home.root().join("default_app");
    let volume = or_skip!(Mount::bind(&place, &elsewhere));
    let all = words("readonly", 8);
    write_day(&home, USER, 0, &all[..6]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    volume.remount("bind,ro");
    let markdown = home.markdown();
    let (status, answer) = daemon.post("/api/v1/memory/add", &body("s", USER, &[&all[6]])).expect("an answer");
    assert!(status == 503 || status == 507, "{status}: {answer}");
    assert_eq!(hits(&daemon.url, USER, &all[0]), Some(1));
    assert!(home.markdown() == markdown);
    volume.remount("bind,rw");
    assert_eq!(tell(&daemon, USER, "s", &all[6]), [Some(200), Some(200)]);
    whole(&home, &daemon, USER, &all[..7], None);
    daemon.stop();
}

#[test]
fn a_markdown_volume_that_hangs_holds_up_only_its_own_writes() {
    let home = quick_home();
    let image = home.path().join("image");
    let place = home.root().join("default_app");
    let _volume = or_skip!(Mount::ext4(&place, &image, 32 << 20, None, "rw"));
    let all = words("frozen", 8);
    write_day(&home, USER, 0, &all[..6]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    struct Frozen(std::path::PathBuf);
    impl Drop for Frozen {
        fn drop(&mut self) {
            tool("fsfreeze", &["-u", text(&self.0)]).ok();
        }
    }
    or_skip!(tool("fsfreeze", &["-f", text(&place)]));
    let frozen = Frozen(place.clone());
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| tell(&daemon, USER, "s", &all[6]));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            assert_eq!(hits(&daemon.url, USER, &all[1]), Some(1), "searches go on");
            assert!(daemon.get("/health").is_some(), "and it says how it is");
        }
        assert!(!writer.is_finished(), "the volume does hang");
        drop(frozen);
        assert_eq!(writer.join().expect("an answer"), [Some(200), Some(200)]);
    });
    whole(&home, &daemon, USER, &all[..7], None);
    daemon.stop();
}

#[test]
fn a_root_or_ledger_of_a_newer_program_is_refused_or_left_aside_and_never_damaged() {
    let home = quick_home();
    let all = words("newer", 6);
    write_day(&home, USER, 0, &all);
    home.run(&["sync"]).ok();
    let markdown = home.markdown();
    let identity = home.root().join(".evermark/identity.json");
    let text = std::fs::read_to_string(&identity).expect("an identity");
    save(&identity, &text.replace("\"format\": 1", "\"format\": 99"));
    let newer = std::fs::read(&identity).expect("an identity");
    for args in [&["serve", "--port", "0"][..], &["sync"], &["status"]] {
        home.run(args).fails(2, "format 99");
    }
    assert_eq!(std::fs::read(&identity).expect("an identity"), newer, "it is left alone");
    assert!(home.markdown() == markdown);
    save(&identity, &text);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all, Some(&markdown));
    daemon.stop();
}

#[test]
fn health_answers_while_the_ledger_does_not_and_never_says_ok() {
    let home = quick_home();
    let shim = or_skip!(Shim::new(home.path()));
    let all = words("scrape", 8);
    write_day(&home, USER, 0, &all[..4]);
    let daemon = Daemon::start(&home, &shim.env());
    whole(&home, &daemon, USER, &all[..2], None);
    shim.rules(&["sync ledger.db 1 0 hang", "write ledger.db 1 0 hang"]);
    write_day(&home, USER, 1, &all[4..]);
    let said = within(SOON, "health is not well", || {
        let asked = Instant::now();
        let health = daemon.get("/health").expect("it answers");
        assert!(asked.elapsed() < Duration::from_secs(12), "a scrape took {:?}", asked.elapsed());
        health["status"] != "ok"
    });
    println!("told after {said:?}");
    shim.lift();
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}
