//! A person saves again and again while we append.

use evermark_core::world::RealWorld;
use evermark_store::error::Error;
use evermark_store::vault::{Vault, VaultSettings};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const REL: &str = "app/project/users/lin/user.md";
const N_APPENDS: usize = 1000;

/// How an editor saves.
#[derive(Clone, Copy, Debug)]
enum Style {
    WriteTempRename,
    TruncateInPlace,
}

/// What the person wrote, and the lines that are ours.
fn parse(text: &str) -> (Option<u64>, Vec<&str>) {
    let person = text.lines().find_map(|line| line.strip_prefix("person: ")).and_then(|n| n.parse().ok());
    (person, text.lines().filter(|line| line.starts_with("ours: ")).collect())
}

fn save(path: &Path, style: Style, text: &str) {
    match style {
        Style::WriteTempRename => {
            let temp = path.with_extension("editor");
            std::fs::File::create(&temp).unwrap().write_all(text.as_bytes()).unwrap();
            std::fs::rename(temp, path).unwrap();
        }
        Style::TruncateInPlace => {
            let mut file = std::fs::File::create(path).unwrap();
            // In two parts, so that half-written states exist.
            let (head, tail) = text.split_at(text.len() / 2);
            file.write_all(head.as_bytes()).unwrap();
            file.write_all(tail.as_bytes()).unwrap();
        }
    }
}

/// Returns the person's numbers that are anywhere to be found: in the file, and in copies.
fn kept(path: &Path) -> Vec<u64> {
    let folder = path.parent().unwrap();
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "user.md" || name.contains(".conflict-") {
            all.extend(std::fs::read_to_string(entry.path()).ok().and_then(|text| parse(&text).0));
        }
    }
    all
}

/// Saves until told to stop, and after each save waits to see it again. Returns the number of saves.
fn person(path: PathBuf, style: Style, stop: Arc<AtomicBool>) -> u64 {
    let mut random = 1_u64;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::park_timeout(Duration::from_micros((random >> 33) % 6000));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let (_, ours) = parse(&text);
        n += 1;
        save(&path, style, &format!("person: {n}\n{}\n", ours.join("\n")));
        // Our exchange may show an older version for some microseconds. The save must come back.
        let came_back = (0..2000).any(|_| {
            let found = kept(&path).contains(&n);
            if !found {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            found
        });
        assert!(came_back, "save {n} was lost");
    }
    n
}

fn check(style: Style) {
    let dir = tempfile::tempdir().unwrap();
    let settings = VaultSettings {
        update_tries: 1000,
        quiet: Duration::from_millis(2),
        patience: Duration::from_millis(20),
        ..VaultSettings::default()
    };
    let vault = Vault::open(dir.path(), Arc::new(RealWorld::new()), settings).unwrap();
    let append = |idx: usize| {
        vault.update(REL, |current| {
            let mut text = String::from_utf8(current.unwrap_or_default().to_vec()).unwrap();
            text.push_str(&format!("ours: {idx}\n"));
            Ok::<_, Error>(text.into_bytes())
        })
    };
    append(0).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let hammer = std::thread::spawn({
        let (path, stop) = (dir.path().join(REL), Arc::clone(&stop));
        move || person(path, style, stop)
    });
    let mut n_copies = 0;
    for idx in 1..=N_APPENDS {
        append(idx).unwrap();
        n_copies += vault.tend().len();
    }
    stop.store(true, Ordering::Relaxed);
    // The last save may be a late write, too, and is waited for: it is found as any other is, by tending.
    while !hammer.is_finished() {
        n_copies += vault.tend().len();
        std::thread::yield_now();
    }
    let n_saves = hammer.join().unwrap();
    append(N_APPENDS + 1).unwrap();
    n_copies += vault.tend().len();

    let found = kept(&dir.path().join(REL));
    assert!(found.contains(&n_saves), "{style:?}: the last save, {n_saves}, is not among {found:?}");
    let text = std::fs::read_to_string(dir.path().join(REL)).unwrap();
    let last = format!("ours: {}", N_APPENDS + 1);
    assert_eq!(parse(&text).1.last(), Some(&&*last));
    let copies = found.len() - 1;
    assert!(n_saves > 50, "{style:?}: only {n_saves} saves");
    tracing::info!(?style, n_saves, copies, n_copies, "hammered");
    let leftover = std::fs::read_dir(dir.path().join(REL).parent().unwrap())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
        .count();
    assert_eq!(leftover, 0, "{style:?}");
}

#[test]
fn no_save_by_rename_is_lost() {
    check(Style::WriteTempRename);
}

#[test]
fn no_save_in_place_is_lost() {
    check(Style::TruncateInPlace);
}
