//! The daemon: who owns the root, how it is reached, how it ends.

use crate::kit::{Daemon, Home, body, eventually, post, texts};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn commands_reach_the_daemon_and_answer_the_same() {
    let home = Home::new();
    home.pipe(&["add", "--flush"], &body("s", "ana", &["I drink oolong tea every morning."])).ok();
    let alone = home.search("oolong", "ana");
    let page = home.run(&["get", "--user", "ana", "--json"]).json();
    let daemon = Daemon::start(&home, &[]);
    eventually("the daemon finds it", || home.search("oolong", "ana") == alone);
    assert_eq!(home.run(&["get", "--user", "ana", "--json"]).json(), page);
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["root"].as_str(), daemon.ready["root"].as_str());
    let more = body("t", "ana", &["My bicycle is green and has eight gears."]);
    home.pipe(&["add", "--flush", "--wait", "indexed"], &more).ok();
    assert!(texts(&home.search("bicycle", "ana")).iter().any(|text| text.contains("green")));
    for args in [&["sync"][..], &["verify"], &["index", "rebuild"], &["verify"]] {
        home.run(args).ok();
    }
    home.run(&["search", "", "--user", "ana"]).fails(2, "");
    daemon.stop();
    assert!(texts(&home.search("bicycle", "ana")).iter().any(|text| text.contains("green")));
}

#[test]
fn a_log_is_about_what_happens_not_about_every_file() {
    let mut home = Home::new();
    let log = home.path().join("evermark.log");
    home.set("EVERMARK_LOG__FILE", log.to_str().expect("a plain path"));
    let added = |session: &str| body(session, "ana", &["I drink oolong tea every morning."]);
    for (session, level, tells) in [("s", "", false), ("t", "info", true)] {
        let daemon = Daemon::start(&home, &[("EVERMARK_LOG", level)]);
        home.pipe(&["add", "--flush", "--wait", "indexed"], &added(session)).ok();
        daemon.stop();
        let logged = std::fs::read_to_string(&log).expect("a log");
        assert!(logged.contains("listening"), "{logged}");
        assert_eq!(logged.contains("lance::"), tells, "log level `{level}`: {logged}");
    }
}

#[test]
fn one_root_has_one_owner() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let second = home.run(&["serve", "--port", "0"]);
    second.fails(3, &daemon.url);
    second.fails(3, &daemon.pid().to_string());
    // Another name of the same root is the same root.
    let link = home.path().join("link");
    std::os::unix::fs::symlink(home.root(), &link).expect("a link");
    home.run(&["--root", link.to_str().expect("a plain path"), "serve", "--port", "0"]).fails(3, &daemon.url);
    home.run(&["init"]).ok();
    daemon.kill();
    // The kernel let go of the lock with the process, whatever the lock file says.
    Daemon::start(&home, &[]).stop();
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let port = daemon.url.rsplit(':').next().expect("a port").to_owned();
    let other = Home::new();
    other.run(&["serve", "--port", &port]).fails(1, &port).fails(1, "--port");
}

#[test]
fn strangers_are_kept_out() {
    let home = Home::new();
    home.run(&["serve", "--host", "0.0.0.0", "--port", "0"]).fails(2, "token");
    assert!(!home.root().exists(), "what is refused touches nothing");
    let secret = [("EVERMARK_API__TOKEN", "swordfish-swordfish")];
    let daemon = Daemon::start(&home, &secret);
    home.run(&["status"]).fails(2, "").fails(2, "EVERMARK_API__TOKEN");
    home.run_with(&["status"], &[("EVERMARK_API__TOKEN", "not-the-right-one")]).fails(2, "api.token");
    home.run_with(&["status"], &secret).ok();
    daemon.stop();
}

#[test]
fn an_edit_by_hand_reaches_a_running_daemon() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    home.pipe(&["add", "--flush", "--wait", "indexed"], &body("s", "ana", &["I drink oolong tea every morning."])).ok();
    for (path, text) in home.markdown() {
        home.write(&path, &text.replace("oolong", "jasmine"));
    }
    eventually("the edit is found", || {
        let found = texts(&home.search("jasmine tea", "ana"));
        found.iter().any(|text| text.contains("jasmine")) && !found.iter().any(|text| text.contains("oolong"))
    });
    daemon.stop();
}

#[test]
fn the_index_may_be_deleted_under_a_running_daemon() {
    let mut home = Home::new();
    home.set("EVERMARK_SYNC__SWEEP_INTERVAL_SECONDS", "0.5");
    let daemon = Daemon::start(&home, &[]);
    let said = ["I drink oolong tea every morning.", "My office is in Lisbon near the river."];
    home.pipe(&["add", "--flush", "--wait", "indexed"], &body("s", "ana", &said)).ok();
    let before = home.search("tea in the morning", "ana");
    for _ in 0..2 {
        std::fs::remove_dir_all(home.root().join(".index")).expect("an index");
        eventually("the index is back", || home.root().join(".index/evermark/CURRENT").exists());
        eventually("the same answer", || home.search("tea in the morning", "ana") == before);
        eventually("no difference", || home.run(&["verify"]).code() == Some(0));
    }
    let more = body("t", "ana", &["My bicycle is green and has eight gears."]);
    home.pipe(&["add", "--flush", "--wait", "indexed"], &more).ok();
    assert!(!texts(&home.search("bicycle", "ana")).is_empty());
    daemon.stop();
}

/// Adds messages until the daemon is gone; returns those that were acknowledged.
fn keep_adding(url: &str, who: usize, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for i in 0..10_000 {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let text = format!("The number of box {who} is token{who}x{i}y.");
        let at = 1_795_000_000_000_u64 + i;
        let sent = format!(
            r#"{{"session_id":"w{who}","messages":[{{"sender_id":"ana","role":"user","timestamp":{at},"content":"{text}"}}]}}"#
        );
        match post(url, "/api/v1/memory/add", &sent) {
            Some((200, _)) => acknowledged.push(format!("token{who}x{i}y")),
            _ => break,
        }
    }
    acknowledged
}

fn ended_while_adding(end: impl FnOnce(Daemon)) {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..3).map(|who| {
        let (url, stop) = (daemon.url.clone(), Arc::clone(&stop));
        std::thread::spawn(move || keep_adding(&url, who, &stop))
    });
    let writers = writers.collect::<Vec<_>>();
    std::thread::sleep(Duration::from_millis(700));
    end(daemon);
    stop.store(true, Ordering::SeqCst);
    let acknowledged = writers.into_iter().flat_map(|writer| writer.join().expect("it ends")).collect::<Vec<_>>();
    assert!(acknowledged.len() > 10, "there was something to lose");
    for who in 0..3 {
        home.run(&["flush", "--session", &format!("w{who}")]).ok();
    }
    let facts: String =
        home.markdown().into_iter().filter(|(path, _)| path.contains(".atomic_facts")).map(|(_, text)| text).collect();
    for token in &acknowledged {
        assert_eq!(facts.matches(token).count(), 1, "{token} of {} acknowledged ones", acknowledged.len());
    }
    home.run(&["sync"]).ok();
    home.run(&["verify"]).ok();
}

#[test]
fn sigterm_during_adds_loses_nothing_that_was_acknowledged() {
    ended_while_adding(Daemon::stop);
}

#[test]
fn kill_9_during_adds_loses_nothing_that_was_acknowledged() {
    ended_while_adding(Daemon::kill);
}

#[test]
fn a_second_signal_ends_at_once() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    // A reader that never reads holds a request open, and with it the graceful end.
    let address = daemon.url.trim_start_matches("http://").to_owned();
    let mut stuck = std::net::TcpStream::connect(&address).expect("it listens");
    std::io::Write::write_all(
        &mut stuck,
        b"POST /api/v1/memory/add HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n",
    )
    .expect("it takes that");
    std::thread::sleep(Duration::from_millis(200));
    daemon.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    let asked = std::time::Instant::now();
    daemon.signal(Signal::INT);
    let status = daemon.wait();
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Some(130));
    drop(stuck);
}

#[test]
fn wait_indexed_means_found() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    for i in 0..10 {
        let text = format!("The code word of day {i} is walrus{i}q.");
        let (status, _) =
            daemon.post("/api/v1/memory/add", &body(&format!("s{i}"), "ana", &[&text])).expect("an answer");
        assert_eq!(status, 200);
        let flush = format!(r#"{{"session_id":"s{i}","wait":"indexed","wait_timeout_ms":15000}}"#);
        let (status, answer) = daemon.post("/api/v1/memory/flush", &flush).expect("an answer");
        assert_eq!((status, &answer["data"]["receipt"]["indexed"]), (200, &serde_json::json!(true)), "{answer}");
        let ask = format!(r#"{{"user_id":"ana","query":"walrus{i}q","method":"keyword"}}"#);
        let (_, found) = daemon.post("/api/v1/memory/search", &ask).expect("an answer");
        assert!(texts(&found["data"]).iter().any(|text| text.contains(&format!("walrus{i}q"))), "{found}");
    }
    daemon.stop();
}
