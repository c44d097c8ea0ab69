//! The Markdown's side: volumes that vanish, files that are odd, and edits in every way that people and tools make them.

use super::kit::corpus::{day_files, hits, owner, paths, save, tell, words, write_day};
use super::kit::mount::{Mount, text, tool};
use super::kit::{
    SOON, health, names_fault, no_difference, or_skip, quick_home, reasons, serve_under, stub_home, well_again, whole,
    within,
};
use crate::kit::{Daemon, Home};
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const USER: &str = "ana";

fn users(home: &Home) -> PathBuf {
    home.root().join("default_app/default_project/users")
}

/// Ten days of two words each: enough files for the guard against mass removal.
fn ten_days(home: &Home, prefix: &str) -> Vec<String> {
    let all = words(prefix, 20);
    for day in 0..10_i64 {
        write_day(home, USER, day, &all[day as usize * 2..][..2]);
    }
    all
}

#[test]
fn a_volume_that_goes_away_takes_nothing_with_it() {
    let home = quick_home();
    let elsewhere = home.path().join("volume");
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    let volume = or_skip!(Mount::bind(&users(&home), &elsewhere));
    let all = ten_days(&home, "volume");
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let markdown = home.markdown();
    volume.away();
    assert_eq!(home.markdown(), [], "an empty folder stands in its place");
    names_fault(&daemon, &["mass_delete_held"]);
    for word in &all {
        assert_eq!(hits(&daemon.url, USER, word), Some(1), "{word} while its volume is away");
    }
    let volume = Mount::bind(&users(&home), &elsewhere).expect("as before");
    whole(&home, &daemon, USER, &all, Some(&markdown));
    // The same for a daemon that starts while it is away.
    daemon.stop();
    volume.away();
    let daemon = Daemon::start(&home, &[]);
    names_fault(&daemon, &["mass_delete_held"]);
    assert_eq!(hits(&daemon.url, USER, &all[3]), Some(1));
    let _volume = Mount::bind(&users(&home), &elsewhere).expect("as before");
    whole(&home, &daemon, USER, &all, Some(&markdown));
    daemon.stop();
}

#[test]
fn a_whole_root_that_goes_away_is_named_and_taken_up_again() {
    let home = quick_home();
    let elsewhere = home.path().join("volume");
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    let volume = or_skip!(Mount::bind(&home.root(), &elsewhere));
    let all = ten_days(&home, "root");
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let markdown = home.markdown();
    volume.away();
    within(SOON, "health is not well", || health(&daemon)["status"] != "ok");
    // Nothing may be stored where the volume is not: it would be hidden when that comes back.
    let told = tell(&daemon, USER, "s", &words("lost", 1)[0]);
    assert!(told[0].is_none_or(|status| status >= 400), "{told:?}");
    let _volume = Mount::bind(&home.root(), &elsewhere).expect("as before");
    whole(&home, &daemon, USER, &all, Some(&markdown));
    daemon.stop();
}

#[test]
fn files_that_vanish_for_a_sweep_and_return_with_their_old_times_stay_indexed() {
    let stub = StubEmbeddings::start(32);
    let mut home = stub_home(&stub);
    home.set("EVERMARK_SYNC__WATCH", "false").set("EVERMARK_SYNC__SECOND_LOOK_SECONDS", "0.1");
    // Few enough not to be held back: they are really forgotten, and have to come back all the same.
    let all = words("vanish", 6);
    write_day(&home, USER, 0, &all[..3]);
    write_day(&home, "ben", 0, &all[3..]);
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..3], None);
    let paid = stub.texts();
    let markdown = home.markdown();
    let aside = home.path().join("aside");
    for _ in 0..2 {
        std::fs::rename(users(&home).join(USER), &aside).expect("away");
        within(SOON, "they are forgotten", || hits(&daemon.url, USER, &all[0]) == Some(0));
        std::fs::rename(&aside, users(&home).join(USER)).expect("back");
        within(SOON, "they are found again", || hits(&daemon.url, USER, &all[0]) == Some(1));
    }
    whole(&home, &daemon, USER, &all[..3], Some(&markdown));
    assert_eq!(stub.texts(), paid, "nothing is embedded again");
    daemon.stop();
}

/// A user without the right to read everything: root, less one capability.
const PLAIN: [&str; 3] = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"];

#[test]
fn one_folder_and_one_file_that_cannot_be_read_stop_nobody_else() {
    let home = quick_home();
    or_skip!(tool(PLAIN[0], &[PLAIN[1], PLAIN[2], "true"]));
    let all = words("locked", 30);
    for (i, user) in ["ana", "ben", "cem"].into_iter().enumerate() {
        write_day(&home, user, 0, &all[i * 10..][..10]);
    }
    let daemon = serve_under(&home, &PLAIN, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    let markdown = home.markdown();
    let mode = |path: PathBuf, mode: &str| tool("chmod", &[mode, text(&path)]).expect("a file of ours");
    let locked = users(&home).join("ben");
    let one = home.root().join(&paths(&owner("cem"), 0)[1]);
    mode(locked.clone(), "000");
    mode(one.clone(), "000");
    // Its time changes, so that it has to be read again.
    tool("touch", &[text(&one)]).expect("touched");
    within(SOON, "health tells of it", || health(&daemon)["status"] != "ok");
    // The others' edits are found meanwhile, and what was known stays known.
    write_day(&home, USER, 1, &words("others", 3));
    within(SOON, "an edit of others is found", || hits(&daemon.url, USER, &words("others", 3)[2]) == Some(1));
    assert_eq!(hits(&daemon.url, "ben", &all[10]), Some(1));
    assert_eq!(hits(&daemon.url, "cem", &all[20]), Some(1));
    mode(locked, "755");
    mode(one, "644");
    well_again(&daemon);
    let now = home.markdown();
    assert!(markdown.iter().all(|file| now.contains(file)), "the Markdown was changed");
    whole(&home, &daemon, "cem", &all[20..23], None);
    daemon.stop();
}

#[test]
fn a_folder_with_an_io_error_is_unknown_and_not_empty() {
    let home = quick_home();
    let all = words("eio", 6);
    write_day(&home, USER, 0, &all);
    let first = Daemon::start(&home, &[]);
    whole(&home, &first, USER, &all[..2], None);
    first.stop();
    for error in ["EIO", "EMFILE"] {
        // Twenty listings fail: several sweeps' worth of folders.
        let fault = format!("vault.list_dir:3-60={error}");
        let daemon = Daemon::start(&home, &[("EVERMARK_FAULT_AT", &fault)]);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            for word in &all {
                assert_eq!(hits(&daemon.url, USER, word), Some(1), "{error}");
            }
        }
        whole(&home, &daemon, USER, &all, None);
        daemon.stop();
    }
}

#[test]
fn links_fifos_and_huge_files_are_told_of_and_block_nobody() {
    let home = quick_home();
    let all = words("odd", 10);
    write_day(&home, USER, 0, &all);
    let day = |n: i64| home.root().join(&paths(&owner(USER), n)[0]);
    let outside = home.path().join("outside.md");
    let secret = words("secret", 1);
    save(&outside, &day_files(&owner(USER), 1, &secret, "")[0].1);
    for n in 10..18 {
        or_skip!(tool("mkfifo", &[text(&day(n))]));
    }
    std::os::unix::fs::symlink(&outside, day(20)).expect("a link to outside");
    std::os::unix::fs::symlink(day(21), day(21)).expect("a loop");
    std::os::unix::fs::symlink("nowhere", day(22)).expect("a dangling link");
    std::os::unix::fs::symlink(users(&home), users(&home).join("again")).expect("a loop of folders");
    std::fs::create_dir(day(23)).expect("a folder");
    let _socket = std::os::unix::net::UnixListener::bind(day(24)).expect("a socket");
    std::fs::File::create(day(25)).and_then(|file| file.set_len(10 << 30)).expect("a sparse file");
    let daemon = Daemon::start(&home, &[]);
    within(SOON, "the words are found", || all.iter().all(|word| hits(&daemon.url, USER, word) == Some(1)));
    assert_eq!(hits(&daemon.url, USER, &secret[0]), Some(0), "nothing from outside");
    within(SOON, "health tells of them", || reasons(&daemon).iter().any(|code| code == "findings"));
    let found = health(&daemon)["evermark"]["findings_total"].as_u64();
    assert!(found.is_some_and(|n| n >= 13), "{found:?}");
    // And once more while it runs, when the watcher sees them come.
    or_skip!(tool("mkfifo", &[text(&day(30))]));
    write_day(&home, USER, 31, &words("later", 2));
    within(SOON, "later words are found", || hits(&daemon.url, USER, &words("later", 2)[1]) == Some(1));
    no_difference(&home);
    daemon.stop();
}

#[test]
fn twenty_thousand_entries_in_one_file_are_indexed_in_bounded_steps() {
    let home = quick_home();
    let daemon = Daemon::start(&home, &[]);
    let all = words("many", 10_000);
    for (path, text) in day_files(&owner(USER), 0, &all, "") {
        save(&home.root().join(path), &text);
    }
    within(2 * SOON, "the last one is found", || hits(&daemon.url, USER, &all[9_999]) == Some(1));
    whole(&home, &daemon, USER, &[&all[..2], &all[5000..5002]].concat(), None);
    daemon.stop();
}

#[test]
fn odd_bytes_and_names_cost_only_themselves() {
    let home = quick_home();
    let all = words("bytes", 12);
    write_day(&home, USER, 0, &all[..4]);
    let [(path, text), _] = day_files(&owner("bom"), 0, &all[4..6], "");
    save(&home.root().join(path), &format!("\u{feff}{text}"));
    let [(path, text), _] = day_files(&owner("crlf"), 0, &all[6..8], "");
    save(&home.root().join(path), &text.replace('\n', "\r\n"));
    let [(path, text), _] = day_files(&owner("nul"), 0, &all[8..10], "");
    save(&home.root().join(path), &text.replace("hour is", "hour\0is"));
    let [(path, text), _] = day_files(&owner("latin"), 0, &all[10..12], "");
    let bytes: Vec<u8> = text.bytes().chain(*b"\xff\xfe\n").collect();
    std::fs::create_dir_all(home.root().join(&path).parent().expect("a folder")).expect("folders");
    std::fs::write(home.root().join(path), bytes).expect("written");
    // One name in two cases: two users here, and told of, as other file systems take both for one.
    write_day(&home, "Jose", 0, &words("upper", 1));
    write_day(&home, "jose", 0, &words("lower", 1));
    // Names that no id can have, in two normal forms of Unicode and in none at all.
    for name in ["jos\u{e9}".as_bytes(), "jose\u{301}".as_bytes(), b"jos\xe9", b"a\nb"] {
        let folder = users(&home).join(std::ffi::OsStr::from_bytes(name)).join("episodes");
        std::fs::create_dir_all(&folder).expect("folders");
        std::fs::write(folder.join("episode-2026-03-01.md"), &day_files(&owner("x"), 0, &words("x", 1), "")[0].1)
            .expect("written");
    }
    let daemon = Daemon::start(&home, &[]);
    within(SOON, "the plain words are found", || all[..4].iter().all(|word| hits(&daemon.url, USER, word) == Some(1)));
    // An entry with a NUL in it is no text: it costs itself, is told of, and nothing else.
    for (user, word) in [("bom", &all[4]), ("crlf", &all[6])] {
        within(SOON, user, || hits(&daemon.url, user, word) == Some(1));
    }
    within(SOON, "both are found", || {
        hits(&daemon.url, "Jose", &words("upper", 1)[0]) == Some(1)
            && hits(&daemon.url, "jose", &words("lower", 1)[0]) == Some(1)
    });
    no_difference(&home);
    daemon.stop();
}
