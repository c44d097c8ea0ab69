//! Watches the bytes of the index and the descriptors of a process, all the time.

use crate::kit::{Home, get};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the index.
const LOOK: Duration = Duration::from_millis(15);
/// Between two questions of what is live.
const ASK: Duration = Duration::from_millis(250);

/// What the index may come to: `k` times what is live, and `c`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) k: f64,
    pub(crate) c: u64,
}

impl Bound {
    pub(crate) fn of(self, live: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "bytes"
        )]
        let bytes = (live as f64 * self.k) as u64;
        bytes + self.c
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) looks: u64,
    pub(crate) peak: u64,
    /// Of the peak, deleted files that the process still held open.
    pub(crate) peak_deleted: u64,
    pub(crate) live: u64,
    pub(crate) descriptors: usize,
    /// Looks at which the bound did not hold, the first few: bytes and what was live.
    pub(crate) beyond: Vec<(u64, u64)>,
}

pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
    bound: Bound,
}

impl Sampler {
    /// Watches the index below `root`, and the process `pid` that answers at `url`.
    pub(crate) fn start(root: &Path, pid: Option<u32>, url: Option<&str>, bound: Bound) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, url, ended) = (index_dir(root), url.map(str::to_owned), Arc::clone(&stop));
        let thread = std::thread::spawn(move || watch(&dir, pid, url.as_deref(), bound, &ended));
        Self { stop, thread: Some(thread), bound }
    }

    /// Ends it and fails where the bound did not hold at every look.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::SeqCst);
        let seen = self.thread.take().expect("it runs").join().expect("it never fails");
        assert!(seen.looks > 3, "nobody looked: {seen:?}");
        assert!(seen.beyond.is_empty(), "the index was larger than {:?} allows: {seen:?}", self.bound);
        seen
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

pub(crate) fn index_dir(root: &Path) -> PathBuf {
    root.join(".index/evermark")
}

/// Returns the folder of the live generation.
pub(crate) fn generation(home: &Home) -> PathBuf {
    let dir = index_dir(&home.root());
    let current = std::fs::read_to_string(dir.join("CURRENT")).expect("a live generation");
    dir.join(current.trim_end())
}

fn watch(dir: &Path, pid: Option<u32>, url: Option<&str>, bound: Bound, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut asked: Option<Instant> = None;
    // What is live changes while bytes are counted: the larger of two answers in a row is fair.
    let (mut live, mut before) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        if asked.is_none_or(|at| at.elapsed() > ASK) {
            asked = Some(Instant::now());
            let health = url.and_then(|url| get(url, "/health"));
            if let Some(now) = health.and_then(|health| health["evermark"]["index"]["live_bytes"].as_u64()) {
                (before, live) = (live, now);
            }
        }
        let deleted = pid.map_or(0, |pid| deleted_bytes(pid, dir));
        let bytes = allocated(dir) + deleted;
        let allowed = bound.of(live.max(before));
        seen.looks += 1;
        seen.live = live;
        if bytes > seen.peak {
            (seen.peak, seen.peak_deleted) = (bytes, deleted);
        }
        seen.descriptors = seen.descriptors.max(pid.map_or(0, descriptors));
        if bytes > allowed && seen.beyond.len() < 5 {
            seen.beyond.push((bytes, live));
        }
        std::thread::park_timeout(LOOK);
    }
    seen
}

/// Returns the bytes of disk in use below a folder. What vanishes meanwhile counts for nothing, and so does the ballast, which
/// is a constant of its own.
pub(crate) fn allocated(dir: &Path) -> u64 {
    let mut seen = HashSet::new();
    allocated_once(dir, &mut seen)
}

fn allocated_once(dir: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if entry.file_name().to_string_lossy().contains("ballast") {
            continue;
        }
        if seen.insert((metadata.dev(), metadata.ino())) {
            total += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            total += allocated_once(&entry.path(), seen);
        }
    }
    total
}

/// Counts files and folders below a folder.
pub(crate) fn names(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| 1 + if entry.path().is_dir() { names(&entry.path()) } else { 0 }).sum()
}

/// Returns how many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.flatten().count())
}

/// Returns the bytes of deleted files of a folder that a process still holds open.
pub(crate) fn deleted_bytes(pid: u32, dir: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut total = 0;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        if !target.ends_with(" (deleted)") || !Path::new(&target).starts_with(dir) {
            continue;
        }
        if let Ok(metadata) = std::fs::metadata(entry.path())
            && seen.insert((metadata.dev(), metadata.ino()))
        {
            total += metadata.blocks() * 512;
        }
    }
    total
}
