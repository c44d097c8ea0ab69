use super::*;
use evermark_core::error::ErrorKind;
use evermark_core::world::RealWorld;
use std::time::Duration;

/// A world where one named point fails with one error.
pub(crate) struct Broken(pub(crate) &'static str, pub(crate) io::ErrorKind);

impl World for Broken {
    fn now_us(&self) -> i64 {
        0
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn random(&self) -> [u8; 16] {
        [7; 16]
    }
    fn reach(&self, point: &'static str) -> io::Result<()> {
        if point == self.0 { Err(self.1.into()) } else { Ok(()) }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[test]
fn a_file_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    for text in [&b"one"[..], b"", b"three"] {
        write(&RealWorld::new(), &path, text).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn dying_before_the_rename_leaves_the_old_file_and_a_temporary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write(&RealWorld::new(), &path, b"old").unwrap();
    let error = write(&Broken(TEMP_WRITTEN, io::ErrorKind::Other), &path, b"new").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), [".a.tmp.0707070707070707", "a"]);
    assert_eq!(sweep(dir.path()).unwrap(), 1);
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn dying_after_the_rename_leaves_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write(&Broken(RENAMED, io::ErrorKind::Other), &path, b"new").unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn a_full_disk_is_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let error = write(&Broken(TEMP_WRITTEN, io::ErrorKind::StorageFull), &dir.path().join("a"), b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().starts_with("cannot write /"), "{error}");
}

#[test]
fn a_new_file_never_replaces_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    assert_eq!(create_new(&RealWorld::new(), &path, b"one").unwrap(), Created::New);
    assert_eq!(create_new(&RealWorld::new(), &path, b"two").unwrap(), Created::Existed);
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn removing_and_making_folders_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x/y/z");
    create_dirs(&deep).unwrap();
    create_dirs(&deep).unwrap();
    let path = deep.join("a");
    write(&RealWorld::new(), &path, b"one").unwrap();
    remove(&path).unwrap();
    remove(&path).unwrap();
    remove(&dir.path().join("no/such/folder/file")).unwrap();
    assert_eq!(sweep(&dir.path().join("nowhere")).unwrap(), 0);
    write(&RealWorld::new(), &path, b"a file").unwrap();
    assert!(create_dirs(&path.join("below a file")).is_err());
}

#[test]
fn temporaries_are_told_from_other_names() {
    for name in [".a.tmp.00ff00ff", ".user.md.tmp.0123456789abcdef0123456789abcdef"] {
        assert!(is_temp(OsStr::new(name)), "{name}");
    }
    for name in ["a.tmp.00ff00ff", ".a.tmp.00", ".a.tmp.xyzxyzxy", ".tmp.00ff00ff", ".a.md", "user.md", ".a.tmp."] {
        assert!(!is_temp(OsStr::new(name)), "{name}");
    }
}

#[test]
fn long_names_leave_room() {
    let dir = tempfile::tempdir().unwrap();
    let name = "é".repeat(127);
    let path = dir.path().join(&name);
    write(&RealWorld::new(), &path, b"x").unwrap();
    assert_eq!(names(dir.path()), [name]);
}
