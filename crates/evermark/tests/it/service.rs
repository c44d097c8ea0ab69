//! `evermark service …`: the right file in the right place, and nobody's own file lost.

use crate::kit::{Daemon, Home};
use serde_json::Value;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_evermark");

fn unit(home: &Home) -> std::path::PathBuf {
    home.path().join(".config/systemd/user/evermark.service")
}

#[test]
fn a_users_unit_is_written_kept_renewed_and_removed() {
    let home = Home::new();
    let install = ["service", "install", "--user", "--manager", "systemd"];
    let dry = home.run(&[&install[..], &["--dry-run"]].concat());
    assert!(dry.ok().stdout.contains("LimitNOFILE=65536"));
    assert!(!unit(&home).exists(), "a dry run writes nothing");
    let first = home.run(&install);
    assert!(first.ok().stdout.contains("systemctl --user enable --now evermark"), "{first:?}");
    let text = fs::read_to_string(unit(&home)).expect("it was written");
    assert_eq!(text, dry.stdout);
    assert!(text.contains(&format!("\nExecStart={PROGRAM} --root {} serve\n", home.root().display())), "{text}");
    for line in ["Restart=on-failure", "NoNewPrivileges=yes", "WatchdogSec=90", "WantedBy=default.target"] {
        assert!(text.contains(line), "{line} is missing: {text}");
    }
    assert!(!text.contains("User="), "a user's manager starts it as that user");
    assert!(home.run(&install).ok().stdout.starts_with("kept "));

    // Other paths: ours and unchanged, so it is renewed.
    let other = home.path().join("other");
    let moved = home.run(&[&["--root", other.to_str().expect("plain")], &install[..]].concat());
    assert!(moved.ok().stdout.starts_with("replaced "), "{moved:?}");
    let status = |code: i32, state: &str| {
        let ran = home.run(&["service", "status", "--manager", "systemd", "--json"]);
        assert_eq!(ran.code(), Some(code), "{ran:?}");
        let said: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(said["state"], state, "{ran:?}");
        assert_eq!(said["daemon"], Value::Null);
    };
    status(0, "outdated");
    home.run(&install).ok();
    status(0, "current");

    // A link that enabled it goes with it.
    let wants = unit(&home).parent().expect("a folder").join("default.target.wants");
    fs::create_dir(&wants).expect("a folder");
    std::os::unix::fs::symlink(unit(&home), wants.join("evermark.service")).expect("a link");
    let gone = home.run(&["service", "uninstall", "--manager", "systemd"]);
    assert!(gone.ok().stdout.contains("systemctl --user stop evermark"), "{gone:?}");
    assert!(!unit(&home).exists() && !wants.join("evermark.service").is_symlink());
    status(4, "absent");
    home.run(&["service", "uninstall", "--manager", "systemd"]).ok();
}

#[test]
fn a_file_that_somebody_else_wrote_or_changed_is_left_alone() {
    let home = Home::new();
    let install = ["service", "install", "--manager", "systemd"];
    let theirs = "[Service]\nExecStart=/opt/their/own\n";
    fs::create_dir_all(unit(&home).parent().expect("a folder")).expect("folders");
    fs::write(unit(&home), theirs).expect("a file");
    home.run(&install).fails(1, "not written by this program").fails(1, "--force");
    home.run(&["service", "uninstall", "--manager", "systemd"]).fails(1, "not written by this program");
    assert_eq!(fs::read_to_string(unit(&home)).expect("still there"), theirs);
    home.run(&[&install[..], &["--force"]].concat()).ok();
    let ours = fs::read_to_string(unit(&home)).expect("written");
    let changed = ours.replace("LimitNOFILE=65536", "LimitNOFILE=99999");
    assert_ne!(ours, changed);
    fs::write(unit(&home), &changed).expect("a file");
    home.run(&install).fails(1, "changed by hand");
    assert_eq!(fs::read_to_string(unit(&home)).expect("still there"), changed);
    home.run(&["service", "uninstall", "--manager", "systemd", "--force"]).ok();
    assert!(!unit(&home).exists());
}

#[test]
fn what_is_rendered_is_what_systemd_takes() {
    let home = Home::new();
    let strange = home.path().join("a root with 100% \"blanks\"");
    let roots = [home.root(), strange, Path::new("/var/lib/evermark").to_owned()];
    let dir = home.path().join("units");
    fs::create_dir(&dir).expect("a folder");
    let Ok(found) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("SKIPPED: no systemd-analyze here to ask");
        return;
    };
    assert!(found.status.success());
    for root in roots {
        for whose in ["--user", "--system"] {
            let root = root.to_str().expect("plain");
            let args = ["--root", root, "service", "install", whose, "--manager", "systemd", "--dry-run"];
            let text = home.run(&args).ok().stdout.clone();
            let file = dir.join("evermark.service");
            fs::write(&file, &text).expect("a file");
            let mut verify = Command::new("systemd-analyze");
            verify.arg("verify").env("XDG_RUNTIME_DIR", &dir);
            if whose == "--user" {
                verify.arg("--user");
            }
            let said = verify.arg(&file).output().expect("it runs");
            let words = String::from_utf8_lossy(&said.stderr);
            assert!(said.status.success(), "{whose} {root}: {words}\n{text}");
            assert!(!words.contains("evermark.service:"), "{whose} {root}: it complains: {words}");
            // The folder that systemd makes by itself is that one alone.
            assert_eq!(
                text.contains("\nStateDirectory="),
                whose == "--system" && root == "/var/lib/evermark",
                "{whose} {root}: {text}"
            );
        }
    }
}

#[test]
fn a_launchd_job_names_this_users_paths() {
    let home = Home::new();
    let install = ["service", "install", "--manager", "launchd"];
    home.run(&install).ok();
    let file = home.path().join("Library/LaunchAgents/io.github.evermark.plist");
    let text = fs::read_to_string(&file).expect("it was written");
    let root = home.root().display().to_string();
    let logs = home.path().join("Library/Logs/evermark");
    for part in [PROGRAM, &root, &format!("{}/evermark.log", logs.display()), "NumberOfFiles", "SuccessfulExit"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(!text.contains("UserName") && !text.contains("/usr/local"), "{text}");
    assert!(logs.is_dir(), "launchd makes no folder for the log");
    let whole = home.run(&[&install[..], &["--system", "--dry-run"]].concat());
    assert!(whole.ok().stdout.contains("<key>UserName</key>"), "{whole:?}");
    assert!(home.run(&install).ok().stdout.starts_with("kept "));
}

/// Reads what is said on the socket, one message after the other, until one begins like this.
#[track_caller]
fn hears(socket: &UnixDatagram, start: &str) -> String {
    let mut heard = Vec::new();
    loop {
        let mut words = [0; 512];
        match socket.recv(&mut words) {
            Ok(n) => {
                let text = String::from_utf8_lossy(&words[..n]).into_owned();
                if text.starts_with(start) {
                    return text;
                }
                heard.push(text);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("`{start}` was not said; there was {heard:?}")
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_manager_hears_that_it_is_ready_alive_and_ending() {
    let home = Home::new();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    let env = [("NOTIFY_SOCKET", path.to_str().expect("plain")), ("WATCHDOG_USEC", "600000")];
    let daemon = Daemon::start(&home, &env);
    assert!(hears(&socket, "READY=1").contains(&daemon.url));
    hears(&socket, "WATCHDOG=1");
    hears(&socket, "WATCHDOG=1");
    // One that hangs says nothing more, and its manager would end it.
    daemon.signal(rustix::process::Signal::STOP);
    socket.set_nonblocking(true).expect("it can");
    while socket.recv(&mut [0; 512]).is_ok() {}
    std::thread::sleep(Duration::from_millis(900));
    assert!(socket.recv(&mut [0; 512]).is_err(), "a stopped process says that it is alive");
    daemon.signal(rustix::process::Signal::CONT);
    socket.set_nonblocking(false).expect("it can");
    hears(&socket, "WATCHDOG=1");
    daemon.signal(rustix::process::Signal::TERM);
    hears(&socket, "STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_health_check_asks_the_daemon_and_opens_nothing() {
    let home = Home::new();
    home.run(&["status", "--daemon"]).fails(4, "there is no root");
    home.run(&["init"]).ok();
    home.run(&["status", "--daemon"]).fails(3, "no daemon answers");
    assert!(!home.root().join(".index").exists(), "it opened the root");
    let daemon = Daemon::start(&home, &[]);
    let status = home.run(&["status", "--daemon", "--json"]).json();
    assert_eq!(status["root"].as_str(), home.root().canonicalize().expect("a root").to_str());
    daemon.stop();
    home.run(&["status", "--daemon"]).fails(3, "no daemon answers");
}

#[test]
fn a_log_file_stays_within_its_bound() {
    let home = Home::new();
    let log = home.path().join("logs/evermark.log");
    let env = [
        ("EVERMARK_LOG__FILE", log.to_str().expect("plain")),
        ("EVERMARK_LOG__FILE_BYTES_MAX", "65536"),
        ("EVERMARK_LOG__LEVEL", "debug"),
    ];
    let daemon = Daemon::start(&home, &env);
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let before = log.with_file_name("evermark.log.1");
    let mut rounds = 0;
    while size(&before) == 0 {
        rounds += 1;
        assert!(rounds < 3000, "the file is never turned: {} bytes", size(&log));
        daemon.post("/api/v1/memory/search", r#"{"user_id":"ana","query":"tea"}"#).expect("an answer");
    }
    for _ in 0..500 {
        daemon.post("/api/v1/memory/search", r#"{"user_id":"ana","query":"tea"}"#).expect("an answer");
        assert!(size(&log) + size(&before) <= 65_536, "{} + {}", size(&log), size(&before));
    }
    daemon.stop();
    let text = fs::read_to_string(&log).expect("text");
    assert!(text.contains("closed"), "the newest lines are in the file: {text}");
}
