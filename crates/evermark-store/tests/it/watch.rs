use crate::world::save;
use evermark_core::world::{RealWorld, World};
use evermark_store::watch::{Changes, Watch, WatchSettings, WatchState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Drains until the changes are as wished.
fn until(watch: &Watch, wish: impl Fn(&Changes) -> bool) -> Changes {
    let start = RealWorld::new();
    let mut all = Changes::default();
    while !wish(&all) {
        assert!(start.monotonic() < PATIENCE, "only {all:?}");
        watch.wait(Duration::from_millis(100));
        let more = watch.drain();
        all.paths.extend(more.paths);
        all.folders.extend(more.folders);
        all.overflow |= more.overflow;
    }
    all
}

fn live(root: &Path, settings: WatchSettings) -> Watch {
    let watch = Watch::start(root, settings, || {}).unwrap();
    until(&watch, |changes| changes.overflow);
    assert_eq!(watch.state(), WatchState::Live);
    watch
}

#[test]
fn edits_are_noticed_and_our_own_folders_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = |rel: &str| dir.path().join(rel);
    save(&at("a/b/users/lin/user.md"), "x");
    save(&at("a/b/users/lin/old.md"), "x");
    save(&at(".index/evermark/ledger.db"), "x");
    let watch = live(dir.path(), WatchSettings::default());
    save(&at(".index/evermark/ledger.db"), "y");
    save(&at(".evermark/lock"), "y");
    save(&at("a/b/users/lin/user.md"), "y");
    std::fs::remove_file(at("a/b/users/lin/old.md")).unwrap();
    let changes = until(&watch, |changes| changes.paths.len() >= 2);
    assert_eq!(changes.paths.iter().collect::<Vec<_>>(), ["a/b/users/lin/old.md", "a/b/users/lin/user.md"]);
    assert!(changes.folders.is_empty() && !changes.overflow, "{changes:?}");
}

#[test]
fn new_folders_are_watched_however_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let at = |rel: &str| dir.path().join(rel);
    let watch = live(dir.path(), WatchSettings::default());
    save(&at("a/b/users/lin/user.md"), "x");
    let seen = |changes: &Changes, rel: &str| {
        changes.paths.contains(rel) || rel.match_indices('/').any(|(end, _)| changes.folders.contains(&rel[..end]))
    };
    until(&watch, |changes| seen(changes, "a/b/users/lin/user.md"));
    // Until the new folder is registered: an edit in it is then told by its own path.
    let start = RealWorld::new();
    loop {
        save(&at("a/b/users/lin/user.md"), "again");
        watch.wait(Duration::from_millis(50));
        if watch.drain().paths.contains("a/b/users/lin/user.md") {
            break;
        }
        assert!(start.monotonic() < PATIENCE);
    }
    // A whole project moved in, and away again.
    let elsewhere = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
    save(&elsewhere.path().join("p/agents/x/y.md"), "x");
    std::fs::rename(elsewhere.path().join("p"), at("a/p")).unwrap();
    until(&watch, |changes| seen(changes, "a/p/agents/x/y.md"));
    std::fs::rename(at("a/p"), elsewhere.path().join("p")).unwrap();
    until(&watch, |changes| seen(changes, "a/p/agents/x/y.md"));
}

#[test]
fn too_many_changes_are_one_request_to_sweep() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b/users/lin")).unwrap();
    let watch = live(dir.path(), WatchSettings { pending_max: 10 });
    for n in 0..100 {
        save(&dir.path().join(format!("a/b/users/lin/{n}.md")), "x");
    }
    let start = RealWorld::new();
    while !watch.drain().overflow {
        assert!(start.monotonic() < PATIENCE);
        watch.wait(Duration::from_millis(100));
    }
}

#[test]
fn the_waker_is_called_once_per_silence() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/b/users/lin")).unwrap();
    let n_calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_calls);
    let watch = Watch::start(dir.path(), WatchSettings::default(), move || {
        counted.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    until(&watch, |changes| changes.overflow);
    // Who waits is told before the waker is called: only after that call is the silence complete.
    let first = RealWorld::new();
    while n_calls.load(Ordering::SeqCst) == 0 {
        assert!(first.monotonic() < PATIENCE);
        watch.wait(Duration::from_millis(1));
    }
    let before = n_calls.load(Ordering::SeqCst);
    for n in 0..20 {
        save(&dir.path().join(format!("a/b/users/lin/{n}.md")), "x");
    }
    let last = RealWorld::new();
    while n_calls.load(Ordering::SeqCst) == before {
        assert!(last.monotonic() < PATIENCE);
        watch.wait(Duration::from_millis(10));
    }
    assert_eq!(n_calls.load(Ordering::SeqCst), before + 1, "nothing was drained");
}

#[test]
fn a_root_that_is_not_there_is_an_error_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Watch::start(&dir.path().join("nowhere"), WatchSettings::default(), || {}).is_err());
    let outside = tempfile::tempdir().unwrap();
    save(&outside.path().join("user.md"), "x");
    std::fs::create_dir_all(dir.path().join("a/b/users")).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("a/b/users/away")).unwrap();
    let watch = live(dir.path(), WatchSettings::default());
    save(&outside.path().join("user.md"), "y");
    save(&dir.path().join("a/b/users/x.md"), "y");
    let changes = until(&watch, |changes| changes.paths.contains("a/b/users/x.md"));
    assert_eq!(changes.paths.len(), 1, "{changes:?}");
}
