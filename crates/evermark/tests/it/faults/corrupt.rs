//! Damaged, swapped and missing derived files, while the program runs and while it does not.

use super::kit::corpus::{hits, owner, paths, words, write_day};
use super::kit::mount::{text, tool};
use super::kit::sampler::index_dir;
use super::kit::{SOON, names_fault, no_difference, quick_home, reasons, stub_home, well_again, whole, within};
use crate::kit::{Daemon, Home};
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const USER: &str = "ana";
const OTHER: &str = "ben";

/// Two users with some days each, indexed and paid for; the daemon is stopped.
fn two_users(stub: &StubEmbeddings) -> (Home, Vec<String>, Vec<String>) {
    let home = stub_home(stub);
    let (mine, theirs) = (words("mine", 30), words("theirs", 30));
    let daemon = Daemon::start(&home, &[]);
    for day in 0..3_i64 {
        write_day(&home, USER, day, &mine[day as usize * 10..][..10]);
        write_day(&home, OTHER, day, &theirs[day as usize * 10..][..10]);
        // Some commits, so that there are some pieces.
        well_again(&daemon);
    }
    daemon.stop();
    (home, mine, theirs)
}

fn data_files(home: &Home) -> Vec<PathBuf> {
    let dir = index_dir(&home.root());
    let current = std::fs::read_to_string(dir.join("CURRENT")).expect("a live generation");
    let data = dir.join(current.trim_end()).join("memories.lance/data");
    let mut files: Vec<PathBuf> = std::fs::read_dir(data).expect("data").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("inside the file");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
}

/// Everything of both users is there once, as the Markdown says, and no text was paid for again.
#[track_caller]
fn healed(home: &Home, daemon: &Daemon, mine: &[String], theirs: &[String], stub: &StubEmbeddings, paid: usize) {
    let markdown = home.markdown();
    whole(home, daemon, USER, mine, Some(&markdown));
    for word in theirs {
        assert_eq!(hits(&daemon.url, OTHER, word), Some(1), "episodes with {word}");
    }
    assert_eq!(stub.texts(), paid, "something was embedded again");
}

#[test]
fn a_flipped_byte_anywhere_is_healed_without_paying_again() {
    let stub = StubEmbeddings::start(32);
    let (home, mine, theirs) = two_users(&stub);
    let paid = stub.texts();
    // Places all over a data file: rows, vectors, column metadata, footer.
    for part in 0..8 {
        let files = data_files(&home);
        let file = &files[part % files.len()];
        let length = std::fs::metadata(file).expect("a data file").len();
        flip(file, (length - 1) * part as u64 / 7);
        let daemon = Daemon::start(&home, &[]);
        // Reading everything is what finds damage that no search meets.
        no_difference(&home);
        healed(&home, &daemon, &mine, &theirs, &stub, paid);
        for word in [&mine[4], &theirs[14]] {
            let ask = format!(
                r#"{{"user_id":"{}","query":"{word}","method":"keyword"}}"#,
                if word.starts_with("mine") { USER } else { OTHER }
            );
            let (_, found) = daemon.post("/api/v1/memory/search", &ask).expect("an answer");
            let text = found["data"]["episodes"][0]["episode"].as_str().unwrap_or_default().to_owned();
            assert!(text.contains(&format!("the word of the hour is {word}.")), "part {part}: {text}");
        }
        daemon.stop();
    }
}

#[test]
fn a_data_file_cut_or_removed_under_a_running_daemon_costs_nobody_anything() {
    let stub = StubEmbeddings::start(32);
    let (home, mine, theirs) = two_users(&stub);
    let paid = stub.texts();
    for what in ["cut", "removed", "zeroed"] {
        let daemon = Daemon::start(&home, &[]);
        // Their rows are in memory; mine have to be read from what is damaged now.
        assert_eq!(hits(&daemon.url, OTHER, &theirs[0]), Some(1));
        for file in data_files(&home).into_iter().take(1) {
            let length = std::fs::metadata(&file).expect("a data file").len();
            match what {
                "cut" => std::fs::File::options()
                    .write(true)
                    .open(&file)
                    .and_then(|file| file.set_len(length / 2))
                    .expect("cut"),
                "removed" => std::fs::remove_file(&file).expect("removed"),
                _ => std::fs::write(&file, vec![0; usize::try_from(length).expect("small")]).expect("zeroed"),
            }
        }
        assert_eq!(hits(&daemon.url, OTHER, &theirs[0]), Some(1), "{what}: what is in memory answers");
        within(SOON, "mine are found again", || hits(&daemon.url, USER, &mine[0]) == Some(1));
        no_difference(&home);
        healed(&home, &daemon, &mine, &theirs, &stub, paid);
        daemon.stop();
    }
}

#[test]
fn random_pages_in_a_running_ledger_cost_nothing() {
    let stub = StubEmbeddings::start(32);
    let (home, mine, theirs) = two_users(&stub);
    let paid = stub.texts();
    let daemon = Daemon::start(&home, &[]);
    well_again(&daemon);
    let ledger = index_dir(&home.root()).join("ledger.db");
    let length = std::fs::metadata(&ledger).expect("a ledger").len();
    let file = std::fs::File::options().write(true).open(&ledger).expect("a ledger");
    for page in (1..length / 4096).step_by(2) {
        file.write_all_at(&[0xC3; 4096], page * 4096).expect("written");
    }
    let more = words("late", 10);
    write_day(&home, USER, 50, &more);
    within(SOON, "what came later is found", || hits(&daemon.url, USER, &more[9]) == Some(1));
    // It may not have met a damaged page yet; the next start looks at all of them.
    daemon.stop();
    let daemon = Daemon::start(&home, &[]);
    no_difference(&home);
    healed(&home, &daemon, &[&mine[..], &more].concat(), &theirs, &stub, paid + 20);
    daemon.stop();
}

#[test]
fn a_removed_ledger_beside_a_kept_index_doubles_nothing() {
    let stub = StubEmbeddings::start(32);
    let (home, mine, theirs) = two_users(&stub);
    let paid = stub.texts();
    let remove = || {
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(index_dir(&home.root()).join(format!("ledger.db{suffix}"))).ok();
        }
    };
    remove();
    let daemon = Daemon::start(&home, &[]);
    healed(&home, &daemon, &mine, &theirs, &stub, paid);
    remove();
    within(SOON, "there is one again", || index_dir(&home.root()).join("ledger.db").exists());
    no_difference(&home);
    healed(&home, &daemon, &mine, &theirs, &stub, paid);
    daemon.stop();
}

#[test]
fn an_index_of_another_root_or_an_older_day_is_not_believed() {
    let stub = StubEmbeddings::start(32);
    let (home, mine, theirs) = two_users(&stub);
    let other = stub_home(&stub);
    write_day(&other, USER, 0, &words("strange", 10));
    other.run(&["sync"]).ok();
    // An older copy of our own index.
    let older = home.path().join("older");
    tool("cp", &["-a", text(&home.root().join(".index")), text(&older)]).expect("copied");
    std::fs::remove_file(home.root().join(&paths(&owner(USER), 2)[0])).expect("a file");
    std::fs::remove_file(home.root().join(&paths(&owner(USER), 2)[1])).expect("a file");
    let newer = words("newer", 10);
    write_day(&home, USER, 3, &newer);
    home.run(&["sync"]).ok();
    let paid = stub.texts();
    for index in [other.root().join(".index"), older] {
        std::fs::remove_dir_all(home.root().join(".index")).expect("an index");
        tool("cp", &["-a", text(&index), text(&home.root().join(".index"))]).expect("copied");
        let daemon = Daemon::start(&home, &[]);
        no_difference(&home);
        healed(&home, &daemon, &[&mine[..20], &newer].concat(), &theirs, &stub, paid);
        assert_eq!(hits(&daemon.url, USER, &words("strange", 1)[0]), Some(0));
        assert_eq!(hits(&daemon.url, USER, &mine[25]), Some(0));
        daemon.stop();
    }
}

#[test]
fn a_panic_in_the_background_is_told_and_passes() {
    for point in ["lance.merged:1-3=panic", "index.upserted:1-3=panic", "lance.writing:1-3=panic"] {
        let home = quick_home();
        let all = words("panic", 30);
        let daemon = Daemon::start(&home, &[("EVERMARK_FAULT_AT", point)]);
        let mut told = false;
        for round in 0..30_usize {
            write_day(&home, USER, i64::try_from(round % 15).expect("small"), &all[..1 + round % 3]);
            std::thread::park_timeout(std::time::Duration::from_millis(60));
            told |= reasons(&daemon).iter().any(|code| PANIC.contains(&code.as_str()));
        }
        if !told {
            // Three panics in a row pass within a second or two; one of them has to be in the log at least.
            within(SOON, "the panic is logged", || daemon.log().contains("panic"));
        }
        for day in 0..15 {
            write_day(&home, USER, day, &all[2 * day as usize..][..2]);
        }
        whole(&home, &daemon, USER, &all, None);
        daemon.stop();
    }
}

const PANIC: &[&str] = &["task_panicked", "compact_failing", "index_writes_failing"];

#[test]
fn damage_that_only_a_reader_meets_is_named_and_searches_of_others_go_on() {
    let stub = StubEmbeddings::start(32);
    let (home, mine, theirs) = two_users(&stub);
    let paid = stub.texts();
    let daemon = Daemon::start(&home, &[]);
    assert_eq!(hits(&daemon.url, OTHER, &theirs[0]), Some(1));
    for file in data_files(&home) {
        let length = usize::try_from(std::fs::metadata(&file).expect("a data file").len()).expect("small");
        let mut bytes = std::fs::read(&file).expect("a data file");
        bytes[..length / 2].fill(0xFF);
        // In place: the same file, as a disk that rots.
        std::fs::File::options()
            .write(true)
            .open(&file)
            .and_then(|file| file.write_all_at(&bytes, 0))
            .expect("written");
    }
    // Somebody's search meets it.
    hits(&daemon.url, USER, &mine[0]);
    assert_eq!(hits(&daemon.url, OTHER, &theirs[0]), Some(1), "others are answered from memory");
    names_fault(&daemon, &["corrupt", "index_rebuilding", "index_damaged", "quarantine", "task_failing", "findings"]);
    no_difference(&home);
    healed(&home, &daemon, &mine, &theirs, &stub, paid);
    daemon.stop();
}
