//! What is not safe is refused, in words, before anything changes.

use super::kit::{Home, allocated, find, manifests, rows, surroundings};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use evermark_lance::lancedb::{EverosLock, LanceDb, Run};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

fn refused(path: &Path) -> IndexError {
    LanceDb::find(path, None, surroundings()).err().expect("it is refused")
}

#[test]
fn what_is_no_directory_of_tables() {
    let home = Home::new();
    assert_eq!(refused(&home.db).kind, ErrorKind::NotFound, "it is empty");
    assert_eq!(refused(&home.db.join("nothing")).kind, ErrorKind::NotFound);
    fs::write(home.db.join("file"), b"x").unwrap();
    assert_eq!(refused(&home.db.join("file")).kind, ErrorKind::Invalid);
    let store = refused(Path::new("s3://bucket/db"));
    assert!(store.kind == ErrorKind::Invalid && store.message.contains("s3://"), "{store}");
}

#[test]
fn our_own_index() {
    let home = Home::new();
    let own = home.db.join(".index/evermark/gen-000001/memories.lance/_versions");
    fs::create_dir_all(&own).unwrap();
    let error = refused(own.parent().unwrap());
    assert!(error.kind == ErrorKind::Invalid && error.message.contains("--lancedb"), "{error}");
}

#[test]
fn a_process_that_has_a_file_open() {
    let home = Home::with(&[10, 10]);
    let file = home.data_file(0);
    // Reads a line from us, so it ends with this test whatever happens.
    let mut child = Command::new("sh")
        .args(["-c", "exec 3<\"$0\"; echo open; read line"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "open\n");
    let db = find(&home.db);
    assert_eq!(db.holders()[0].pid, child.id());
    let before = allocated(&home.db);
    let error = db.prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap_err();
    assert!(error.kind == ErrorKind::Conflict && error.message.contains(&child.id().to_string()), "{error}");
    assert_eq!(allocated(&home.db), before);
    assert_eq!(db.survey().len(), 1, "looking is allowed");
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(db.prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).is_ok());
}

#[test]
fn a_running_everos() {
    let home = Home::with(&[10, 10]);
    let root = home.db.join("root");
    fs::create_dir_all(root.join(".index/sqlite")).unwrap();
    fs::create_dir_all(root.join(".index/lancedb")).unwrap();
    fs::rename(home.table(), root.join(".index/lancedb/atomic_fact.lance")).unwrap();
    let lock = root.join(".index/sqlite/ome.db.lock");
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let db = find(&root);
    assert!(db.is_everos());
    let error = db.prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap_err();
    assert!(error.kind == ErrorKind::Conflict && error.message.contains("EverOS"), "{error}");
    // Who holds the lock already says so.
    assert!(db.prune(Run::Dry, EverosLock::Held, &mut |_, _, _| {}).is_ok());
    drop(held);
    assert!(db.prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).is_ok());
}

#[test]
fn somebody_who_commits_meanwhile() {
    let home = Home::with(&[1; 100]);
    let mut done = false;
    let db = find(&home.db);
    let outcomes = db
        .prune(Run::Real, EverosLock::Take, &mut |_, _, _| {
            if !std::mem::replace(&mut done, true) {
                home.append(100..120);
            }
        })
        .unwrap();
    let error = outcomes[0].result.as_ref().unwrap_err();
    assert!(error.kind == ErrorKind::Conflict && error.message.contains("committed"), "{error}");
    assert_eq!(rows(&home.table()).len(), 120);
    assert!(manifests(&home.table()).len() > 60, "it stopped half-way");
}

/// Refused as a table, with this word in the message, and left as it is.
fn check(home: &Home, word: &str) {
    let before = allocated(&home.db);
    let outcomes = find(&home.db).prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    let error = outcomes[0].result.as_ref().unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.message.contains(word), "{error}");
    let outcomes = find(&home.db).compact(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    assert_eq!(outcomes[0].result.as_ref().unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(allocated(&home.db), before);
}

#[test]
fn branches_write_ahead_logs_and_damaged_tags() {
    for (path, word) in [
        ("tree/one/_versions/1.manifest", "branches"),
        ("_refs/branches/one.json", "branches"),
        ("_mem_wal/shard/log", "MemWAL"),
        ("_refs/tags/broken.json", "tag"),
    ] {
        let home = Home::with(&[10, 10]);
        let path = home.table().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"{}").unwrap();
        check(&home, word);
    }
}

#[test]
fn a_newer_format_is_left_alone_and_not_taken_for_damage() {
    // Raises the reader's feature flags in the newest manifest: protobuf field 9, as a varint.
    let home = Home::with(&[10, 10]);
    home.delete("n < 4");
    let path = home.newest_manifest();
    let bytes = fs::read(&path).unwrap();
    let at = position(&bytes, &[9 << 3, 1]).expect("the flag of deletion files");
    let mut newer = bytes.clone();
    newer[at + 1] = 0x41;
    fs::write(&path, &newer).unwrap();
    check(&home, "newer Lance");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(rows(&home.table()).len(), 17);

    // An unknown version of the data files.
    let at = position(&bytes, b"\x12\x032.").expect("the version of the file format");
    let mut newer = bytes.clone();
    newer[at + 4] = b'9';
    fs::write(&path, &newer).unwrap();
    check(&home, "format");
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}
