//! Damaged directories are said to be damaged: no panic, no silent loss.

use crate::support::{FaultWorld, contents, fact, files, key, open, open_in, options, user};
use evermark_core::error::ErrorKind;
use evermark_core::id::Kind;
use evermark_core::index::{Index, IndexError};
use evermark_core::world::RealWorld;
use evermark_lance::{LanceIndex, Options};
use std::path::Path;
use std::sync::Arc;

fn filled(dir: &Path) {
    let amy = user("amy");
    let index = open(dir);
    for part in 0..3 {
        let rows: Vec<_> = (0..50).map(|id| fact(&amy, &format!("{part}-{id}"), &format!("tea {part} {id}"))).collect();
        index.upsert(&rows).unwrap();
        index.flush().unwrap();
    }
    index.remove(&[key(&amy, "0-1")]).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
}

fn reopen(dir: &Path) -> Result<LanceIndex, IndexError> {
    open_in(dir, FaultWorld::new())
}

fn check_corrupt(what: &str, damage: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    damage(&dir.path().join("memories.lance"));
    let error = reopen(dir.path()).err().unwrap_or_else(|| panic!("{what}: opened"));
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}: {:?}", error.source);
}

#[test]
fn a_damaged_directory_is_corrupt_when_it_is_opened() {
    let newest = |table: &Path| files(&table.join("_versions")).into_iter().next().unwrap();
    let data = |table: &Path| files(&table.join("data")).into_iter().next().unwrap();
    check_corrupt("empty manifest", |table| std::fs::write(newest(table), []).unwrap());
    check_corrupt("garbage manifest", |table| std::fs::write(newest(table), [0xA5; 4096]).unwrap());
    check_corrupt("truncated manifest", |table| {
        let bytes = std::fs::read(newest(table)).unwrap();
        std::fs::write(newest(table), &bytes[..bytes.len() / 2]).unwrap();
    });
    check_corrupt("no manifest", |table| std::fs::remove_file(newest(table)).unwrap());
    check_corrupt("missing data file", |table| std::fs::remove_file(data(table)).unwrap());
    check_corrupt("truncated data file", |table| {
        let bytes = std::fs::read(data(table)).unwrap();
        std::fs::write(data(table), &bytes[..bytes.len() - 100]).unwrap();
    });
    check_corrupt("missing deletion file", |table| {
        for file in files(&table.join("_deletions")) {
            std::fs::remove_file(file).unwrap();
        }
    });
    check_corrupt("no table", |table| std::fs::remove_dir_all(table).unwrap());
    check_corrupt("no generation.json", |table| std::fs::remove_file(table.with_file_name("generation.json")).unwrap());
    check_corrupt("bad generation.json", |table| std::fs::write(table.with_file_name("generation.json"), "{").unwrap());
}

#[test]
fn another_width_of_vectors_is_another_generation() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let other = Options { dimension: Some(16), ..options() };
    let error = LanceIndex::open(dir.path(), other, Arc::new(RealWorld::new())).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("width 8, not 16"), "{error}");
}

#[test]
fn bytes_that_rot_inside_a_file_are_an_error_where_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let data = files(&dir.path().join("memories.lance/data"));
    for file in &data {
        // Everything but the footer, and of the same length: opening cannot see it.
        let mut bytes = std::fs::read(file).unwrap();
        let end = bytes.len() / 2;
        bytes[..end].fill(0xFF);
        std::fs::write(file, bytes).unwrap();
    }
    let index = reopen(dir.path()).unwrap();
    let amy = user("amy");
    let outcomes = [
        index.fetch(&amy, Kind::AtomicFact, &["1-1".to_owned()]).map(|_| ()),
        index.scan(&mut |_, _, _| {}),
        index.upsert(&[fact(&amy, "1-1", "coffee")]).and_then(|()| index.flush()),
    ];
    for outcome in outcomes {
        let error = outcome.expect_err("damaged columns cannot be read");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}: {:?}", error.source);
    }
}

#[test]
fn an_interrupted_creation_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    std::fs::remove_file(dir.path().join("generation.json")).unwrap();
    let index = open(dir.path());
    assert!(contents(&index).is_empty());
    assert!(dir.path().join("generation.json").exists());
}
