//! Sound tables of many shapes come out with the same rows, and small.

use super::kit::{Home, check_bound, compact, find, manifests, prune, rows, surroundings, survey, verify};
use evermark_core::error::ErrorKind;
use evermark_lance::lancedb::{Class, EverosLock, LanceDb, Run, Surroundings};
use std::fs;

/// Prunes and compacts a sound table, and checks that nothing but its bytes has changed.
fn check(home: &Home) {
    let before = rows(&home.table());
    prune(&home.db);
    assert_eq!(rows(&home.table()), before, "after the prune");
    let done = compact(&home.db);
    assert!(done.lost.is_empty() && done.problems.is_empty() && done.stopped.is_none(), "{done:?}");
    assert_eq!(rows(&home.table()), before, "after the compaction");
    assert_eq!(done.rows_after, before.len() as u64);
    check_bound(&home.table());
    assert!(verify(&home.db).problems.is_empty());
}

#[test]
fn many_small_fragments() {
    let home = Home::with(&[3; 70]);
    check(&home);
    assert_eq!(survey(&home.db).fragments, 1);
}

#[test]
fn deletes_and_columns_of_lists_structs_and_nulls() {
    let home = Home::with(&[200, 50, 50, 3, 1]);
    home.delete("n > 20 AND n < 150");
    home.delete("id = 'row_00210'");
    // A fragment whose rows are all gone.
    home.delete("id = 'row_00303'");
    check(&home);
    assert_eq!(survey(&home.db).dead_rows, 0);
}

#[test]
fn an_index_over_some_of_the_fragments() {
    let home = Home::with(&[300, 20]);
    home.index();
    home.append(320..340);
    home.append(340..360);
    home.delete("n >= 100 AND n < 120");
    check(&home);
    let after = survey(&home.db);
    assert_eq!(after.indexes.len(), 1, "{after:?}");
    assert_eq!(after.indexes[0].columns, ["vector"]);
    assert_eq!(after.fragments, 2, "indexed rows and others are not mixed");
}

#[test]
fn an_empty_table() {
    let home = Home::new();
    home.append(0..0);
    check(&home);
    assert_eq!(survey(&home.db).rows, 0);
}

#[test]
fn a_table_whose_rows_were_all_deleted() {
    let home = Home::with(&[40, 40]);
    home.delete("true");
    check(&home);
    assert_eq!(survey(&home.db).rows, 0);
}

#[test]
fn tags_keep_what_they_name() {
    let home = Home::with(&[30]);
    home.tag("first");
    home.append(30..60);
    home.append(60..90);
    home.delete("n < 20");
    check(&home);
    let after = survey(&home.db);
    assert_eq!(after.versions, 2);
    assert!(after.tally(Class::Pinned).bytes > 0);
    let tagged = super::kit::block(async {
        home.open().await.checkout_version("first").await.unwrap().count_rows(None).await.unwrap()
    });
    assert_eq!(tagged, 30);
    // Without the tag its version goes.
    super::kit::block(async { home.open().await.tags().delete("first").await }).unwrap();
    prune(&home.db);
    assert_eq!(survey(&home.db).versions, 1);
}

#[test]
fn a_version_hint_never_points_into_the_past() {
    // A reader that finds an old version by the hint looks for the next ones by number and stops at the first gap.
    let home = Home::with(&[30]);
    home.tag("first");
    home.append(30..60);
    home.append(60..90);
    let hint = home.table().join("_versions/latest_version_hint.json");
    fs::write(&hint, r#"{"version":1}"#).unwrap();
    prune(&home.db);
    assert!(!hint.exists());
    assert_eq!(rows(&home.table()).len(), 90);
}

#[test]
fn a_dry_run_says_what_a_real_one_does() {
    let home = Home::with(&[20; 12]);
    home.delete("n < 50");
    fs::write(home.table().join("data/.tmpAbC123"), [0; 9_000]).unwrap();
    let files = super::kit::allocated(&home.db);
    let dry = find(&home.db).prune(Run::Dry, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    let dry = dry.into_iter().next().unwrap().result.unwrap();
    assert_eq!(super::kit::allocated(&home.db), files, "nothing changed");
    let real = prune(&home.db);
    assert_eq!(dry.freed, real.freed);
    assert!(real.freed_bytes() > 0 && real.freed.contains_key(&Class::Debris));
    assert!(dry.allocated_after.abs_diff(real.allocated_after) <= 64 << 10, "directories may shrink too");
    let plan = find(&home.db).compact(Run::Dry, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    assert_eq!(plan[0].result.as_ref().unwrap().groups, 1);
    assert_eq!(manifests(&home.table()).len(), 1);
}

#[test]
fn without_space_merging_stops_and_reclaiming_goes_on() {
    let home = Home::with(&[20; 12]);
    let before = rows(&home.table());
    let full = Surroundings { free_bytes: |_| Ok(4_096), ..surroundings() };
    let db = LanceDb::find(&home.db, None, full).unwrap();
    let done = db.compact(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    let done = done[0].result.as_ref().unwrap();
    let why = done.stopped.as_ref().unwrap();
    assert!(why.contains("free space") && why.contains("4096"), "{why}");
    assert_eq!((done.groups, done.fragments_after), (0, 12));
    assert!(done.pruned.freed_bytes() > 0);
    assert_eq!(rows(&home.table()), before);
}

#[test]
fn a_single_table_and_a_name_narrow_the_work() {
    let home = Home::with(&[5, 5]);
    fs::create_dir(home.db.join("other.lance")).unwrap();
    let both = find(&home.db).survey();
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].result.as_ref().unwrap_err().kind, ErrorKind::NotFound, "it has no version");
    let one = LanceDb::find(&home.db, Some("facts"), surroundings()).unwrap();
    assert_eq!(one.survey().len(), 1);
    let direct = LanceDb::find(&home.table(), None, surroundings()).unwrap();
    assert_eq!(direct.survey().len(), 1);
    assert_eq!(direct.quarantine(), home.db.with_file_name("db.quarantine"));
}

#[test]
fn directories_shrink_with_what_they_hold() {
    let home = Home::with(&[20, 20]);
    let before = rows(&home.table());
    let dir = home.table().join("_transactions");
    let blocks = |dir: &std::path::Path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(dir).unwrap()) * 512;
    for n in 0..4_000 {
        fs::write(dir.join(format!("{n}-00000000-0000-0000-0000-000000000000.txn")), b"").unwrap();
    }
    let large = blocks(&dir);
    prune(&home.db);
    if large > 64 << 10 {
        assert!(blocks(&dir) <= 8 << 10, "{large} before, {} after", blocks(&dir));
    } else {
        eprintln!("SKIPPED: directories weigh nothing on this file system");
    }
    assert_eq!(rows(&home.table()), before);
    home.append(40..50);
    assert_eq!(rows(&home.table()).len(), 50);
}

#[test]
fn a_directory_that_was_half_replaced_is_put_back() {
    let home = Home::with(&[20, 20]);
    let before = rows(&home.table());
    for name in ["data", "_versions"] {
        let path = |suffix: &str| home.table().join(format!("{name}{suffix}"));
        fs::create_dir(path(".evermark-new")).unwrap();
        for entry in fs::read_dir(path("")).unwrap().flatten() {
            fs::hard_link(entry.path(), path(".evermark-new").join(entry.file_name())).unwrap();
        }
        fs::rename(path(""), path(".evermark-old")).unwrap();
    }
    prune(&home.db);
    assert_eq!(rows(&home.table()), before);
    assert_eq!(survey(&home.db).tally(Class::Unknown).files, 0);
}
