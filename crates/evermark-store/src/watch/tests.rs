use super::*;

#[test]
fn only_what_matters_is_news() {
    let check = |rel: &str, sort, expected| assert_eq!(news(rel, sort), expected, "{rel} {sort:?}");
    let (above, below) = (News::Folder { register: true }, News::Folder { register: false });
    check("a/b/users/lin/user.md", Sort::Content, News::File);
    check("a/b/users/lin/user.md", Sort::Name, News::File);
    check("a/b/users/lin/user.txt", Sort::Content, News::None);
    check("a/b/users/lin/.user.md.tmp.0123456789abcdef", Sort::Name, News::None);
    check("a/b/users/lin/.user.md.swap.0123456789abcdef-0123456789abcdef-0123456789abcdef", Sort::Name, News::None);
    check("a/b/users/lin/user.md.conflict-20260101T000000Z", Sort::Name, News::None);
    check("a/b/users/lin", Sort::Folder, below);
    check("a/b/users/lin", Sort::Name, News::Folder { register: false });
    check("a/b/users/x.md", Sort::Folder, News::Folder { register: false });
    check("a/b/users", Sort::Folder, above);
    check("a/b", Sort::Name, News::Folder { register: true });
    check("a", Sort::Folder, News::Folder { register: true });
    check("a/b/notes", Sort::Folder, News::None);
    for rel in [".index", ".evermark", ".git", ".index/evermark", "a/b/users/.git"] {
        check(rel, Sort::Folder, News::None);
    }
    check("README.md", Sort::Content, News::None);
}

#[test]
fn reading_is_no_news() {
    assert_eq!(Sort::of(EventKind::Access(AccessKind::Open(AccessMode::Any))), None);
    assert_eq!(Sort::of(EventKind::Access(AccessKind::Close(AccessMode::Read))), None);
    assert_eq!(Sort::of(EventKind::Access(AccessKind::Close(AccessMode::Write))), Some(Sort::Content));
}

#[test]
fn limits_have_a_name() {
    let error = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
    assert_eq!(trouble(&error), Trouble::Limit);
    assert!(matches!(trouble(&notify::Error::generic("x")), Trouble::Failed(_)));
}

#[cfg(target_os = "linux")]
#[test]
fn remote_file_systems_are_known() {
    assert_eq!(remote_by_magic(0x6969), Some("NFS"));
    assert_eq!(remote_by_magic(0xef53), None, "ext4");
    assert_eq!(remote_by_magic(0x0102_1994), None, "tmpfs");
}

#[test]
fn a_watcher_that_dies_is_noticed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let watch = Watch::start(dir.path(), WatchSettings::default(), || {}).expect("a watch");
    assert!(watch.wait(Duration::from_secs(10)) && watch.drain().overflow);
    assert_eq!(watch.state(), WatchState::Live);
    drop(Sink { shared: Arc::clone(&watch.running.shared) });
    assert_eq!(watch.state(), WatchState::Degraded(Trouble::Stopped));
    assert!(watch.drain().overflow);
}
