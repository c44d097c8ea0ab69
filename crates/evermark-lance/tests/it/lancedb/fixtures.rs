//! The four directories that real LanceDB versions left behind.

use super::kit::{check_bound, checksum, compact, expected, fixture, prune, survey, verify};
use evermark_lance::lancedb::Class;
use std::path::Path;

/// Prunes and compacts, and checks rows and bytes. Returns what the compaction said.
fn mended(dir: &Path, name: &str) -> evermark_lance::lancedb::Compacted {
    let table = dir.join("atomic_fact.lance");
    let told = expected(name);
    let before = survey(dir);
    assert_eq!(before.version, told["newest_version"].as_u64().unwrap());
    assert_eq!(before.versions, told["manifests"].as_u64().unwrap());
    assert_eq!(before.fragments, told["fragments"].as_u64().unwrap());
    assert_eq!(before.rows, told["rows"].as_u64().unwrap());
    assert_eq!(before.dead_rows, told["deleted_rows_in_fragments"].as_u64().unwrap());
    assert_eq!(before.tally(Class::Unknown).files, 0, "{before:?}");

    let pruned = prune(dir);
    assert!(pruned.problems.is_empty(), "{pruned:?}");
    assert!(pruned.set_aside.files == 0 && pruned.stepped_down.is_empty());
    let after = survey(dir);
    assert_eq!((after.versions, after.rows, after.version), (1, before.rows, before.version));
    assert_eq!(after.allocated_bytes, pruned.allocated_after);
    for class in [Class::Superseded, Class::Orphan, Class::Debris] {
        assert_eq!(after.tally(class).files, 0, "{class:?}");
    }
    assert_eq!(prune(dir).freed_bytes(), 0, "a second prune finds nothing");

    let done = compact(dir);
    assert!(done.stopped.is_none() && done.problems.is_empty(), "{done:?}");
    check_bound(&table);
    let verified = verify(dir);
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    assert_eq!(verified.rows_read, done.rows_after);
    let wanted = if told["checksum"].is_null() { &told["checksum_readable"] } else { &told["checksum"] };
    assert_eq!(checksum(&table), wanted.as_str().unwrap());
    done
}

#[test]
fn a_bloated_table_shrinks_to_what_it_holds() {
    let Some((_dir, path)) = fixture("lance-bloated") else { return };
    let done = mended(&path, "lance-bloated");
    assert_eq!((done.fragments_before, done.fragments_after), (140, 1));
    assert!(done.lost.is_empty() && done.dropped_indexes.is_empty(), "{done:?}");
}

#[test]
fn copies_of_failed_compactions_go_and_the_list_bug_stops_nothing() {
    let Some((_dir, path)) = fixture("lance-listbug") else { return };
    let orphans = survey(&path).tally(Class::Orphan);
    assert!(orphans.bytes > 3_809_948, "three whole copies of the data, and indexes: {orphans:?}");
    let done = mended(&path, "lance-listbug");
    assert!(done.lost.is_empty() && done.dropped_indexes.is_empty(), "{done:?}");
    assert_eq!(done.rows_after, 6_300);
}

#[test]
fn a_truncated_fragment_is_set_aside_and_every_other_row_stays() {
    let Some((_dir, path)) = fixture("lance-truncated-fragment") else { return };
    let told = expected("lance-truncated-fragment");
    let problems = verify(&path).problems;
    assert!(problems.iter().any(|problem| problem.contains("fragment 14")), "{problems:?}");
    let done = mended(&path, "lance-truncated-fragment");
    assert_eq!(done.lost.len(), 1);
    let lost = &done.lost[0];
    assert_eq!((lost.fragment, lost.rows, lost.rows_saved), (14, 10, 0));
    let file = Path::new(told["truncated_file"].as_str().unwrap()).strip_prefix("atomic_fact.lance").unwrap();
    let kept = std::fs::metadata(lost.quarantine.join(file)).unwrap().len();
    assert_eq!(kept, told["truncated_size_now"].as_u64().unwrap());
    assert!(!lost.quarantine.starts_with(&path), "it lies outside of what is measured");
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lost.quarantine.join("record.json")).unwrap()).unwrap();
    assert_eq!(record["fragment"]["id"], 14);
}

#[test]
fn what_killed_compactions_left_goes_without_waiting_for_days() {
    let Some((_dir, path)) = fixture("lance-killed-compaction") else { return };
    let before = survey(&path);
    let told = expected("lance-killed-compaction");
    assert_eq!(before.tally(Class::Debris).files, told["tmp_files"].as_object().unwrap().len() as u64);
    let done = mended(&path, "lance-killed-compaction");
    assert!(done.lost.is_empty() && done.dropped_indexes.is_empty(), "{done:?}");
    assert_eq!(done.rows_after, 4_220);
}
