//! Reclaiming our own index when no daemon runs.

use super::kit::{allocated, surroundings};
use crate::support::{contents, fact, open, user};
use evermark_core::index::Index;
use evermark_lance::lancedb::{Run, prune_generations};
use std::fs;

#[test]
fn other_generations_debris_and_old_versions_go() {
    let dir = tempfile::tempdir().unwrap();
    let index_dir = dir.path().canonicalize().unwrap().join("evermark");
    let current = index_dir.join("gen-000002");
    let index = open(&current);
    for n in 0..30 {
        index.upsert(vec![fact(&user("amy"), &n.to_string(), "tea")]).unwrap();
        index.flush().unwrap();
    }
    let before = contents(&index);
    drop(index);
    fs::create_dir_all(index_dir.join("gen-000001/memories.lance/data")).unwrap();
    fs::write(index_dir.join("gen-000001/memories.lance/data/old.lance"), vec![1; 200_000]).unwrap();
    fs::write(index_dir.join(".CURRENT.tmp.00ff"), b"gen").unwrap();
    fs::write(index_dir.join("ledger.db"), b"not ours to read").unwrap();
    fs::write(current.join("tmp/spill"), vec![1; 50_000]).unwrap();
    fs::write(current.join("memories.lance/data/.tmpX"), vec![1; 50_000]).unwrap();

    // Without CURRENT nobody knows which generation serves.
    let careful = prune_generations(&index_dir, Run::Real, surroundings()).unwrap();
    assert_eq!(careful.generations, 0);
    assert!(index_dir.join("gen-000001").exists());

    fs::write(index_dir.join("CURRENT"), b"gen-000002\n").unwrap();
    let bytes = allocated(&index_dir);
    let dry = prune_generations(&index_dir, Run::Dry, surroundings()).unwrap();
    assert_eq!(allocated(&index_dir), bytes);
    let done = prune_generations(&index_dir, Run::Real, surroundings()).unwrap();
    assert_eq!((dry.generations, dry.generation_bytes), (1, done.generation_bytes));
    assert!(done.generation_bytes > 200_000 && done.problems.is_empty(), "{done:?}");
    let table = done.table.unwrap();
    assert!(table.freed_bytes() > 50_000, "{table:?}");
    assert!(!index_dir.join("gen-000001").exists());
    assert!(!index_dir.join(".CURRENT.tmp.00ff").exists());
    assert!(index_dir.join("ledger.db").exists());
    assert_eq!(done.allocated_after, allocated(&index_dir));
    assert_eq!(contents(&open(&current)), before);
}
