//! Reclaim and compaction: bytes stay bounded, rows stay where they belong, idle means idle.

use crate::support::{contents, fact, files, key, open, user};
use evermark_core::index::Index;
use std::fs;
use std::time::SystemTime;

#[test]
fn two_thousand_single_row_flushes_stay_within_twice_the_live_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let mut random = fastrand::Rng::with_seed(11);
    let mut worst: f64 = 0.0;
    for n in 0..2_000 {
        let owner = user(&format!("u{}", n % 3));
        let id = random.u32(0..600).to_string();
        match n % 10 {
            9 => index.remove(&[key(&owner, &id)]).unwrap(),
            _ => index.upsert(vec![fact(&owner, &id, &format!("tea {n}"))]).unwrap(),
        }
        index.flush().unwrap();
        if n % 16 == 15 {
            let before = index.info().unwrap();
            let over = before.allocated_bytes as f64 - 2.0 * before.live_bytes as f64;
            worst = worst.max(over);
            index.upkeep().unwrap();
            let after = index.info().unwrap();
            assert!(after.allocated_bytes <= 2 * after.live_bytes + (64 << 10), "after upkeep at {n}: {after:?}");
            assert_eq!(after.versions, 1);
            assert!(after.fragments <= 32, "{after:?}");
        }
    }
    assert!(worst < (2 << 20) as f64, "{worst} bytes above twice the live ones");
    let before = contents(&index);
    drop(index);
    assert_eq!(contents(&open(dir.path())), before);
}

#[test]
fn idle_upkeep_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let amy = user("amy");
    index.upsert(vec![fact(&amy, "1", "tea")]).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
    let stamps = || -> Vec<(std::path::PathBuf, SystemTime)> {
        ["data", "_versions", "_transactions", "."]
            .iter()
            .map(|name| dir.path().join("memories.lance").join(name))
            .map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap()))
            .collect()
    };
    let before = stamps();
    for _ in 0..100 {
        assert_eq!(index.upkeep().unwrap(), Default::default());
        index.flush().unwrap();
    }
    assert_eq!(stamps(), before);
}

#[test]
fn debris_of_any_name_goes_and_live_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let amy = user("amy");
    {
        let index = open(dir.path());
        for id in 0..5 {
            index.upsert(vec![fact(&amy, &id.to_string(), "tea")]).unwrap();
            index.flush().unwrap();
        }
        index.remove(&[key(&amy, "3")]).unwrap();
        index.flush().unwrap();
    }
    let table = dir.path().join("memories.lance");
    let debris = [
        "data/.tmpAbc123",
        "data/orphan.lance",
        "data/orphan.lance-stage",
        "data/x#1",
        "_versions/.tmpXyz",
        "_versions/18446744073709551000.manifest#1",
        "_versions/.tmp_7.manifest_abc",
        "_transactions/.tmpQ",
        "_transactions/999-abc.txn",
        "_deletions/.tmpD",
        "_deletions/9-9-9.arrow",
    ];
    fs::create_dir_all(table.join("_deletions")).unwrap();
    for name in debris {
        fs::write(table.join(name), vec![1; 10_000]).unwrap();
    }
    fs::create_dir_all(dir.path().join("tmp/.tmpSpill")).unwrap();
    let index = open(dir.path());
    let before = contents(&index);
    let done = index.upkeep().unwrap();
    assert!(done.bytes_freed >= debris.len() as u64 * 10_000, "{done:?}");
    for name in debris {
        assert!(!table.join(name).exists(), "{name} is still there");
    }
    assert!(files(&dir.path().join("tmp")).is_empty());
    assert_eq!(contents(&index), before);
    drop(index);
    assert_eq!(contents(&open(dir.path())), before);
}

#[test]
fn removing_almost_everything_shrinks_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    let amy = user("amy");
    let rows: Vec<_> =
        (0..5_000).map(|id| fact(&amy, &id.to_string(), &format!("tea {id} {}", "x".repeat(200)))).collect();
    index.upsert(rows.clone()).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
    let full = index.info().unwrap().allocated_bytes;
    index.remove(&(0..4_900).map(|id| key(&amy, &id.to_string())).collect::<Vec<_>>()).unwrap();
    index.flush().unwrap();
    index.upkeep().unwrap();
    let left = index.info().unwrap();
    assert!(left.allocated_bytes < full / 5, "{full} bytes before, {} after", left.allocated_bytes);
    assert_eq!(contents(&index).len(), 100);
}
