#![expect(clippy::disallowed_methods, reason = "tests make the files that they measure")]

use super::*;
use evermark_core::world::RealWorld;

const MIB: u64 = 1 << 20;

#[test]
fn a_volume_says_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&RealWorld::new(), dir.path()).unwrap();
    assert!(volume.total_bytes >= volume.free_bytes && volume.free_bytes > 0, "{volume:?}");
    assert!(share_volume(dir.path(), dir.path()));
    assert!(!share_volume(dir.path(), &dir.path().join("absent")));
}

#[test]
fn a_footprint_counts_blocks_in_all_folders_below() {
    let dir = tempfile::tempdir().unwrap();
    let before = footprint(dir.path());
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    std::fs::write(dir.path().join("a/b/c"), vec![7; 1 << 20]).unwrap();
    std::fs::write(dir.path().join("d"), vec![7; 1 << 20]).unwrap();
    let after = footprint(dir.path());
    assert_eq!(after.files - before.files, 2);
    let grown = after.bytes - before.bytes;
    assert!((2 * MIB..2 * MIB + 64 * 1024).contains(&grown), "{grown}");
    // A hole takes nothing.
    File::create(dir.path().join("hole")).unwrap().set_len(64 * MIB).unwrap();
    assert!(footprint(dir.path()).bytes < after.bytes + MIB);
    assert_eq!(footprint(&dir.path().join("absent")), Footprint::default());
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_deleted_and_open_is_counted_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone");
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    let held = (File::open(&path).unwrap(), File::open(&path).unwrap());
    assert_eq!(deleted_open_bytes(dir.path()), 0);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(deleted_open_bytes(dir.path()), MIB, "once, though it is open twice");
    assert_eq!(deleted_open_bytes(&dir.path().join("elsewhere")), 0);
    drop(held);
    assert_eq!(deleted_open_bytes(dir.path()), 0);
}

#[test]
fn descriptors_are_counted() {
    let (used, limit) = descriptors();
    assert!(used.is_none_or(|used| used >= 3), "{used:?}");
    assert!(limit.is_none_or(|limit| limit >= used.unwrap_or(0)), "{limit:?}");
}

#[test]
fn the_ballast_takes_its_bytes_and_gives_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let ballast = Ballast::at(dir.path().join("ballast"));
    assert_eq!((ballast.bytes(), ballast.release().unwrap()), (0, 0));
    ballast.make(&RealWorld::new(), MIB).unwrap();
    assert_eq!(ballast.bytes(), MIB);
    ballast.make(&RealWorld::new(), 2 * MIB).unwrap();
    assert_eq!(ballast.bytes(), 2 * MIB);
    assert_eq!(ballast.release().unwrap(), 2 * MIB);
    assert_eq!(ballast.bytes(), 0);
    assert!(Ballast::at(dir.path().join("absent/ballast")).make(&RealWorld::new(), MIB).is_err());
}

#[test]
fn a_ballast_that_does_not_fit_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let ballast = Ballast::at(dir.path().join("ballast"));
    assert!(ballast.make(&RealWorld::new(), 1 << 60).is_err());
    assert!(!dir.path().join("ballast").exists());
}
