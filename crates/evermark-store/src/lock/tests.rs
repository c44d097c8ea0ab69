use super::*;
use evermark_core::world::RealWorld;

fn root() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    (dir, layout)
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let (_dir, layout) = root();
    let world = RealWorld::new();
    let mut lock = RootLock::take(&layout, &world, None).unwrap();
    let pid = std::process::id();
    let error = RootLock::take(&layout, &world, None).unwrap_err();
    assert!(error.to_string().ends_with(&format!("is in use: held by pid {pid}")), "{error}");
    lock.set_address("http://127.0.0.1:8000").unwrap();
    let error = RootLock::take(&layout, &world, None).unwrap_err();
    assert!(error.to_string().ends_with(&format!("running at http://127.0.0.1:8000 (pid {pid})")), "{error}");
    assert_eq!(RootLock::last_holder(&layout).as_ref(), Some(lock.holder()));
    drop(lock);
    RootLock::take(&layout, &world, None).unwrap();
}

#[test]
fn stale_text_without_a_lock_is_ignored() {
    let (_dir, layout) = root();
    durable::create_dirs(&layout.own_dir()).unwrap();
    for text in [&br#"{"pid":1,"address":"http://127.0.0.1:1","started_at_us":1}"#[..], b"\x00garbage", b""] {
        durable::write(&RealWorld::new(), &layout.lock_file(), text).unwrap();
        let lock = RootLock::take(&layout, &RealWorld::new(), None).unwrap();
        assert_eq!(lock.holder().pid, Some(std::process::id()));
    }
}

#[test]
fn a_holder_that_says_nothing_is_still_a_holder() {
    let (_dir, layout) = root();
    durable::create_dirs(&layout.own_dir()).unwrap();
    let file = File::create(layout.lock_file()).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = RootLock::take(&layout, &RealWorld::new(), None).unwrap_err();
    assert!(error.to_string().ends_with("is in use: held by another process"), "{error}");
}

#[test]
fn the_file_once_made_asks_for_no_more_space() {
    let (_dir, layout) = root();
    let size = || std::fs::metadata(layout.lock_file()).unwrap().len();
    let mut lock = RootLock::take(&layout, &RealWorld::new(), None).unwrap();
    let first = size();
    lock.set_address("http://127.0.0.1:65535").unwrap();
    assert_eq!((first, size()), (512, 512));
    drop(lock);
    assert_eq!(size(), 512, "a file that shrinks may not grow again on a full disk");
    let nobody = RootLock::last_holder(&layout).unwrap();
    assert_eq!(nobody, Holder::default());
    RootLock::take(&layout, &RealWorld::new(), None).unwrap();
}

#[test]
fn a_deleted_lock_file_is_noticed() {
    let (_dir, layout) = root();
    let lock = RootLock::take(&layout, &RealWorld::new(), None).unwrap();
    assert!(lock.still_held());
    std::fs::remove_file(layout.lock_file()).unwrap();
    assert!(!lock.still_held());
    let thief = RootLock::take(&layout, &RealWorld::new(), Some("http://127.0.0.1:2")).unwrap();
    drop(lock);
    assert_eq!(RootLock::last_holder(&layout).as_ref(), Some(thief.holder()));
}

#[test]
fn a_deleted_lock_file_is_made_again_by_whoever_comes_first() {
    let (_dir, layout) = root();
    let mut lock = RootLock::take(&layout, &RealWorld::new(), None).unwrap();
    std::fs::remove_file(layout.lock_file()).unwrap();
    lock.take_again().unwrap();
    assert!(lock.still_held());
    RootLock::take(&layout, &RealWorld::new(), None).unwrap_err();
    std::fs::remove_file(layout.lock_file()).unwrap();
    let thief = RootLock::take(&layout, &RealWorld::new(), None).unwrap();
    assert!(matches!(lock.take_again(), Err(Error::Held { .. })));
    assert!(!lock.still_held() && thief.still_held());
}

#[test]
fn an_everos_server_and_we_exclude_each_other() {
    let (_dir, layout) = root();
    let path = layout.everos_lock_file();
    assert!(!RootLock::take(&layout, &RealWorld::new(), None).unwrap().holds_everos());
    assert!(!path.exists() && !layout.root().join(".index").exists());

    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let everos = File::create(&path).unwrap();
    flock(&everos, FlockOperation::NonBlockingLockExclusive).unwrap();
    let error = RootLock::take(&layout, &RealWorld::new(), None).unwrap_err();
    assert!(matches!(error, Error::HeldByEveros { .. }), "{error}");
    flock(&everos, FlockOperation::Unlock).unwrap();

    let lock = RootLock::take(&layout, &RealWorld::new(), None).unwrap();
    assert!(lock.holds_everos());
    assert!(flock(&everos, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(lock);
    flock(&everos, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn a_link_in_place_of_the_lock_is_not_followed() {
    let (dir, layout) = root();
    durable::create_dirs(&layout.own_dir()).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), layout.lock_file()).unwrap();
    assert!(matches!(RootLock::take(&layout, &RealWorld::new(), None), Err(Error::Io { .. })));
    assert!(!dir.path().join("elsewhere").exists());
}
