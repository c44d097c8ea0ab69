//! Damage costs the rows it hit, and no others.

use super::kit::{Home, check_bound, compact, find, manifests, prune, rows, spoil, survey, truncate, verify};
use evermark_core::error::ErrorKind;
use evermark_lance::lancedb::{Class, Compacted, EverosLock, Run};
use std::collections::BTreeMap;
use std::fs;

/// Compacts, and checks that exactly the rows in `lost` are gone and the table is sound.
fn check(home: &Home, before: &BTreeMap<String, String>, lost: std::ops::Range<usize>) -> Compacted {
    assert!(!verify(&home.db).problems.is_empty(), "the damage is seen");
    prune(&home.db);
    let done = compact(&home.db);
    assert!(done.problems.is_empty() && done.stopped.is_none(), "{done:?}");
    let mut wanted = before.clone();
    lost.clone().for_each(|id| {
        wanted.remove(&format!("row_{id:05}"));
    });
    assert_eq!(rows(&home.table()), wanted);
    check_bound(&home.table());
    let problems = verify(&home.db).problems;
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(done.lost.iter().map(|lost| lost.rows).sum::<u64>(), before.len() as u64 - wanted.len() as u64);
    done
}

#[test]
fn a_truncated_file() {
    let home = Home::with(&[100, 20, 20]);
    let before = rows(&home.table());
    truncate(&home.data_file(1), 700);
    let done = check(&home, &before, 100..120);
    assert_eq!(done.lost[0].fragment, 1);
    assert!(home.quarantined().iter().any(|path| path.starts_with("fragment-1/data/")));
}

#[test]
fn an_empty_file_and_a_missing_one() {
    let home = Home::with(&[100, 20, 20]);
    let before = rows(&home.table());
    truncate(&home.data_file(1), 0);
    fs::remove_file(home.data_file(2)).unwrap();
    check(&home, &before, 100..140);
}

#[test]
fn only_fragment_gone() {
    let home = Home::with(&[60]);
    let before = rows(&home.table());
    fs::remove_file(home.data_file(0)).unwrap();
    check(&home, &before, 0..60);
}

#[test]
fn a_spoiled_page_costs_its_rows_and_no_others() {
    // Large enough for several pages per column: 64 bytes of text and more a row.
    let home = Home::with(&[40, 60_000, 40]);
    let before = rows(&home.table());
    let file = home.data_file(1);
    let length = fs::metadata(&file).unwrap().len() as usize;
    spoil(&file, length / 3..length / 3 + 4_096);
    let problems = verify(&home.db).problems;
    if problems.is_empty() {
        panic!("{length} bytes: a spoiled page went unnoticed; choose another place");
    }
    let done = compact(&home.db);
    assert!(done.problems.is_empty(), "{done:?}");
    let after = rows(&home.table());
    assert!(after.iter().all(|(id, row)| before.get(id) == Some(row)), "no row was changed");
    assert!((0..40).chain(60_040..60_080).all(|id| after.contains_key(&format!("row_{id:05}"))));
    let lost = &done.lost[0];
    assert_eq!(lost.rows + after.len() as u64, before.len() as u64);
    assert!(lost.rows_saved > 0 && lost.rows > 0, "{} saved, {} lost", lost.rows_saved, lost.rows);
    assert!(verify(&home.db).problems.is_empty());
}

#[test]
fn ids_of_lost_rows_are_told_where_they_can_be_read() {
    let home = Home::with(&[300, 40]);
    let before = rows(&home.table());
    // The columns lie one after another; the last one's pages are just before the metadata at the end.
    let file = home.data_file(0);
    let length = fs::metadata(&file).unwrap().len() as usize;
    let mut noticed = false;
    for at in (0..length).step_by(2_000) {
        let copy = fs::read(&file).unwrap();
        spoil(&file, at..(at + 2_000).min(length));
        let problems = verify(&home.db).problems;
        if problems.len() == 1 && problems[0].contains("cannot read `fact`") {
            noticed = true;
            break;
        }
        fs::write(&file, copy).unwrap();
    }
    assert!(noticed, "no place in the file spoils the texts alone");
    let done = compact(&home.db);
    let ids = &done.lost[0].ids;
    assert_eq!(ids.len() as u64, done.lost[0].rows);
    assert!(ids.iter().all(|id| before.contains_key(id) && !rows(&home.table()).contains_key(id)));
}

#[test]
fn a_missing_list_of_deleted_rows_loses_no_live_row() {
    for damage in ["missing", "empty", "short"] {
        let home = Home::with(&[100, 20]);
        let all = rows(&home.table());
        home.delete("id IN ('row_00003', 'row_00004', 'row_00005')");
        let file = home.deletion_file(0);
        match damage {
            "missing" => fs::remove_file(&file).unwrap(),
            "empty" => truncate(&file, 0),
            _ => truncate(&file, fs::metadata(&file).unwrap().len() / 2),
        }
        assert!(!verify(&home.db).problems.is_empty(), "{damage}");
        let done = compact(&home.db);
        assert!(done.lost.is_empty() && done.problems.is_empty(), "{damage}: {done:?}");
        assert_eq!(done.rows_revived, 3, "{damage}");
        assert_eq!(rows(&home.table()), all, "{damage}");
        check_bound(&home.table());
    }
}

#[test]
fn bad_old_manifests_stop_nothing() {
    let home = Home::with(&[10; 6]);
    let before = rows(&home.table());
    let files = manifests(&home.table());
    truncate(&files[2], 0);
    fs::write(&files[3], b"no manifest at all, but some bytes that are not one").unwrap();
    truncate(&files[4], 100);
    let transactions: Vec<_> = fs::read_dir(home.table().join("_transactions")).unwrap().flatten().collect();
    transactions.iter().for_each(|entry| fs::write(entry.path(), b"garbage").unwrap());
    let pruned = prune(&home.db);
    assert!(pruned.stepped_down.is_empty() && pruned.problems.is_empty(), "{pruned:?}");
    assert_eq!(survey(&home.db).versions, 1);
    compact(&home.db);
    assert_eq!(rows(&home.table()), before);
    check_bound(&home.table());
}

#[test]
fn a_bad_newest_manifest_is_stepped_over_and_what_it_may_name_is_kept() {
    for damage in ["empty", "garbage", "cut", "spoiled"] {
        let home = Home::with(&[50, 10]);
        home.append(60..70);
        let before = rows(&home.table());
        let debris = home.table().join("_versions/.tmp1234");
        fs::write(&debris, b"x").unwrap();
        home.append(70..80);
        let newest = home.newest_manifest();
        let length = fs::metadata(&newest).unwrap().len();
        match damage {
            "empty" => truncate(&newest, 0),
            "garbage" => fs::write(&newest, vec![0xa5; 900]).unwrap(),
            "cut" => truncate(&newest, length - 7),
            _ => spoil(&newest, 200..length as usize - 100),
        }
        let problems = survey(&home.db).problems;
        assert!(problems.iter().any(|problem| problem.contains("newest manifest")), "{damage}: {problems:?}");
        let pruned = prune(&home.db);
        assert_eq!(pruned.stepped_down.len(), 1, "{damage}");
        assert_eq!(pruned.set_aside.files, 2, "{damage}: the manifest, and the data that only it can name");
        let kept = home.quarantined();
        assert!(kept.iter().any(|path| path.ends_with(".manifest")), "{damage}: {kept:?}");
        assert!(kept.iter().any(|path| path.contains("/data/")), "{damage}: {kept:?}");
        assert!(!debris.exists());
        assert_eq!(rows(&home.table()), before, "{damage}");
        let done = compact(&home.db);
        assert!(done.lost.is_empty() && done.problems.is_empty(), "{damage}: {done:?}");
        assert_eq!(rows(&home.table()), before, "{damage}");
        check_bound(&home.table());
        // The table goes on: a writer commits to it as if nothing had been.
        home.append(100..105);
        assert_eq!(rows(&home.table()).len(), before.len() + 5, "{damage}");
    }
}

#[test]
fn a_bad_manifest_under_a_tag_lets_nothing_be_deleted_that_it_may_need() {
    let home = Home::with(&[30]);
    home.tag("first");
    home.delete("n < 10");
    let before = rows(&home.table());
    let tagged = manifests(&home.table()).pop().unwrap();
    truncate(&tagged, 40);
    let pruned = prune(&home.db);
    assert!(pruned.before.problems.iter().any(|problem| problem.contains("tag")), "{:?}", pruned.before.problems);
    assert!(tagged.exists());
    assert!(!pruned.freed.contains_key(&Class::Orphan));
    assert_eq!(rows(&home.table()), before);
}

#[test]
fn no_readable_manifest_is_an_error_and_deletes_nothing() {
    let home = Home::with(&[30, 30]);
    manifests(&home.table()).iter().for_each(|file| truncate(file, 0));
    let files = super::kit::allocated(&home.db);
    let outcomes = find(&home.db).prune(Run::Real, EverosLock::Take, &mut |_, _, _| {}).unwrap();
    assert_eq!(outcomes[0].result.as_ref().unwrap_err().kind, ErrorKind::Corrupt);
    assert_eq!(super::kit::allocated(&home.db), files);
}

#[test]
fn debris_of_every_kind_goes() {
    let home = Home::with(&[20, 20]);
    home.delete("n < 10");
    home.index();
    let before = rows(&home.table());
    let index = fs::read_dir(home.table().join("_indices")).unwrap().next().unwrap().unwrap().file_name();
    let index = index.to_str().unwrap().to_owned();
    let names = [
        "data/.tmpAbCdEf",
        "data/00112233.lance-stage",
        "data/aaaabbbb.lance#1",
        "data/0101010101010101010101010101010101010101010101010101.lance",
        "_versions/.tmpXyZ",
        "_versions/18446744073709551000.manifest#1",
        "_transactions/.tmp123",
        "_transactions/7-0000.txn#2",
        "_deletions/.tmpQQ",
        "_deletions/99-1-2.arrow",
        "_refs/tags/.tmpTag",
        "_indices/00000000-1111-2222-3333-444444444444/part_0_tokens.lance",
    ];
    let live_index = format!("_indices/{index}/.tmpLive");
    for name in names.into_iter().chain([live_index.as_str()]) {
        let path = home.table().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [1; 5_000]).unwrap();
    }
    fs::create_dir(home.table().join("_indices/aaaaaaaa-1111-2222-3333-444444444444")).unwrap();
    // A stage that was linked to the live manifest: removing it must not take the manifest.
    let stage = home.newest_manifest().with_extension("manifest#1");
    fs::hard_link(home.newest_manifest(), stage).unwrap();
    // What nobody knows is nobody's to delete.
    let strange = home.table().join("data/README");
    fs::write(&strange, b"mine").unwrap();
    let pruned = prune(&home.db);
    for name in names.into_iter().chain([live_index.as_str()]) {
        assert!(!home.table().join(name).exists(), "{name} is still there");
    }
    assert!(!home.table().join("_indices/aaaaaaaa-1111-2222-3333-444444444444").exists());
    assert!(strange.exists());
    assert_eq!(pruned.before.tally(Class::Unknown).files, 1);
    assert_eq!(rows(&home.table()), before);
    assert_eq!(survey(&home.db).indexes.len(), 1);
    assert!(verify(&home.db).problems.is_empty());
}

#[test]
fn a_broken_index_is_dropped_and_named() {
    for damage in ["missing", "truncated", "empty"] {
        let home = Home::with(&[300, 20]);
        home.index();
        home.append(320..330);
        let before = rows(&home.table());
        let dir = fs::read_dir(home.table().join("_indices")).unwrap().next().unwrap().unwrap().path();
        let part = fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()).max().unwrap();
        match damage {
            "missing" => fs::remove_dir_all(&dir).unwrap(),
            "truncated" => truncate(&part, fs::metadata(&part).unwrap().len() / 2),
            _ => truncate(&part, 0),
        }
        let done = check(&home, &before, 0..0);
        assert_eq!(done.dropped_indexes.len(), 1, "{damage}");
        assert_eq!(done.dropped_indexes[0].name, "vector_idx", "{damage}");
        assert!(survey(&home.db).indexes.is_empty(), "{damage}");
    }
}
