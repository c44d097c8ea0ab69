//! Damaged directories are said to be damaged: no panic, no silent loss.

use crate::support::{FaultWorld, contents, fact, files, key, matching, open, open_in, options, user};
use evermark_core::error::ErrorKind;
use evermark_core::id::MemoryKey;
use evermark_core::index::{Index, IndexError};
use evermark_core::memory::Digest32;
use evermark_core::world::RealWorld;
use evermark_lance::{LanceIndex, Options};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

fn filled(dir: &Path) {
    let amy = user("amy");
    let index = open(dir);
    for part in 0..3 {
        let rows: Vec<_> = (0..50).map(|id| fact(&amy, &format!("{part}-{id}"), &format!("tea {part} {id}"))).collect();
        index.upsert(rows.clone()).unwrap();
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
    check_corrupt("empty manifest", |table| std::fs::write(newest(table), []).unwrap());
    check_corrupt("garbage manifest", |table| std::fs::write(newest(table), [0xA5; 4096]).unwrap());
    check_corrupt("truncated manifest", |table| {
        let bytes = std::fs::read(newest(table)).unwrap();
        std::fs::write(newest(table), &bytes[..bytes.len() / 2]).unwrap();
    });
    check_corrupt("no manifest", |table| std::fs::remove_file(newest(table)).unwrap());
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

/// Returns an index of four pieces of fifty rows and one removal, closed, and what it holds.
fn four_pieces(dir: &Path) -> BTreeMap<MemoryKey, Digest32> {
    filled(dir);
    let index = open(dir);
    let rows: Vec<_> = (0..50).map(|id| fact(&user("amy"), &format!("3-{id}"), &format!("tea 3 {id}"))).collect();
    index.upsert(rows.clone()).unwrap();
    index.flush().unwrap();
    contents(&index)
}

/// Damages one data file of four and checks that the index opens, answers with the rest, says what happened, forgets the
/// file, and takes the rows again.
fn check_quarantine(what: &str, damage: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let whole = four_pieces(dir.path());
    let table = dir.path().join("memories.lance");
    let victim = files(&table.join("data")).into_iter().next_back().unwrap();
    damage(&victim);
    let index = reopen(dir.path()).unwrap_or_else(|error| panic!("{what}: {error}: {:?}", error.source));
    let inspected = index.inspect(&mut |_, _| {}).unwrap();
    let left = contents(&index);
    assert!(left.iter().all(|(key, digest)| whole.get(key) == Some(digest)), "{what}");
    assert_eq!(index.losses(), 1, "{what}");
    let info = index.info().unwrap();
    let name = victim.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(info.quarantine.len(), 1, "{what}: {info:?}");
    assert!(info.quarantine[0].name.ends_with(&name), "{what}: {info:?}");
    // One of the four has a removed row.
    let lost = info.quarantine[0].rows;
    assert!(lost == 50 || lost == 49, "{what}: {lost} rows");
    assert_eq!(left.len() as u64, whole.len() as u64 - lost, "{what}: the other pieces are all there");
    assert!(!info.quarantine[0].reason.is_empty(), "{what}");
    assert!(inspected.pieces >= 3, "{what}: {inspected:?}");
    // Neither merging nor reclaiming is in its way, and its file goes.
    index.upkeep().unwrap();
    index.reclaim().unwrap();
    assert!(!victim.exists(), "{what}: the damaged file is gone");
    let missing: Vec<_> = whole.keys().filter(|key| !left.contains_key(key)).collect();
    let again: Vec<_> =
        missing.iter().map(|key| fact(&amy, &key.id, &format!("tea {}", key.id.replace('-', " ")))).collect();
    index.upsert(again.clone()).unwrap();
    index.flush().unwrap();
    assert_eq!(contents(&index), whole, "{what}: written again");
    assert_eq!(matching(&index, &amy, "tea", 1000).len(), whole.len(), "{what}");
    drop(index);
    let index = open(dir.path());
    assert_eq!(contents(&index), whole, "{what}: after opening again");
    assert_eq!(index.losses(), 1, "{what}: losses outlive the process");
}

#[test]
fn a_damaged_piece_is_taken_out_and_the_others_stay() {
    check_quarantine("missing", |file| std::fs::remove_file(file).unwrap());
    check_quarantine("empty", |file| std::fs::write(file, []).unwrap());
    check_quarantine("cut in half", |file| {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
    // The same length: opening cannot see it. First everything but the footer, then ever less.
    for share in [1, 2, 4, 8] {
        check_quarantine(&format!("the first 1/{share} overwritten"), |file| {
            let mut bytes = std::fs::read(file).unwrap();
            let end = (bytes.len() - 400) / share;
            bytes[..end].fill(0xFF);
            std::fs::write(file, bytes).unwrap();
        });
    }
    check_quarantine("the footer overwritten", |file| {
        let mut bytes = std::fs::read(file).unwrap();
        let start = bytes.len() - 40;
        bytes[start..].fill(0);
        std::fs::write(file, bytes).unwrap();
    });
}

#[test]
fn a_single_flipped_bit_is_found_wherever_it_hurts() {
    let dir = tempfile::tempdir().unwrap();
    let whole = four_pieces(dir.path());
    let victim = files(&dir.path().join("memories.lance/data")).into_iter().next_back().unwrap();
    let healthy = std::fs::read(&victim).unwrap();
    let mut found = 0;
    let mut tried = 0;
    for position in (0..healthy.len() - 400).step_by(healthy.len() / 60) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let victim = copy.path().join(victim.strip_prefix(dir.path()).unwrap());
        let mut bytes = healthy.clone();
        bytes[position] ^= 0x10;
        std::fs::write(&victim, bytes).unwrap();
        let index = reopen(copy.path()).unwrap();
        index.inspect(&mut |_, _| {}).unwrap();
        tried += 1;
        found += usize::from(index.losses() == 1);
        // What was not found is harmless: padding, or columns that only other programs read.
        for (key, digest) in contents(&index) {
            assert_eq!(whole.get(&key), Some(&digest), "bit at {position}");
        }
        for hit in matching(&index, &user("amy"), "tea", 1000) {
            assert!(whole.keys().any(|key| key.id == hit.id), "bit at {position}");
        }
    }
    assert!(found * 2 > tried, "{found} of {tried} flipped bits were found");
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_file_that_rots_while_the_index_is_open_does_not_fail_the_search() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    let whole = four_pieces(dir.path());
    let index = open(dir.path());
    let data = files(&dir.path().join("memories.lance/data"));
    std::fs::remove_file(data.last().unwrap()).unwrap();
    // The directory is read, then the rows: both meet the hole.
    let found = matching(&index, &amy, "tea", 1000);
    assert!(!found.is_empty() && found.len() < whole.len(), "{} of {}", found.len(), whole.len());
    assert_eq!(index.losses(), 1);
    index.upsert(vec![fact(&amy, "new", "coffee")]).unwrap();
    index.flush().unwrap();
    assert_eq!(matching(&index, &amy, "coffee", 10).len(), 1);
    assert_eq!(contents(&index).len(), found.len() + 1);
}

#[test]
fn a_missing_deletion_file_raises_no_dead() {
    let dir = tempfile::tempdir().unwrap();
    four_pieces(dir.path());
    let deletions = files(&dir.path().join("memories.lance/_deletions"));
    assert!(!deletions.is_empty(), "a removal was marked");
    for file in deletions {
        std::fs::remove_file(file).unwrap();
    }
    let index = reopen(dir.path()).unwrap();
    let rows = contents(&index);
    assert!(!rows.contains_key(&key(&user("amy"), "0-1")), "what was removed stays so");
    assert!(index.losses() > 0 && rows.len() >= 50);
}

#[test]
fn a_damaged_newest_version_is_stepped_over_when_there_is_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    {
        let index = open(dir.path());
        for id in 0..3 {
            index.upsert(vec![fact(&amy, &id.to_string(), "tea")]).unwrap();
            index.flush().unwrap();
        }
    }
    let manifests = files(&dir.path().join("memories.lance/_versions"));
    assert!(manifests.len() > 1, "{manifests:?}");
    std::fs::write(&manifests[0], []).unwrap();
    let index = reopen(dir.path()).unwrap();
    assert_eq!(contents(&index).len(), 2);
    assert_eq!(index.losses(), 1, "somebody has to write the third row again");
    index.upsert(vec![fact(&amy, "2", "tea")]).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
    drop(index);
    assert_eq!(contents(&open(dir.path())).len(), 3);
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
