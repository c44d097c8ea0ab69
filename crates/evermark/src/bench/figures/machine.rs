//! What this machine can do, so that each figure stands beside its limit: memory read, a file hashed, a disk written.

use crate::bench::latency::{latencies, ms};
use crate::clock;
use anyhow::{Context, ensure};
use evermark_core::memory::Digest32;
use serde_json::{Value, json};
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Each of the two buffers that are compared: both together are far more than any cache holds.
const BUFFER: usize = 256 << 20;
const TRIES: usize = 5;
const HASHED: usize = 64 << 20;
const WRITTEN: usize = 256 << 20;
const SYNCED: usize = 50;

/// Measures memory and disk; `folder` says which disk.
pub(super) fn measure(folder: &Path) -> anyhow::Result<Value> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Written, so that each page is a page of its own.
    let (left, right) = (vec![1_u8; BUFFER], vec![1_u8; BUFFER]);
    let one = read_rate(&left, &right, 1)?;
    let all = read_rate(&left, &right, n_threads)?;
    let hashed = best(|| {
        black_box(Digest32::of(black_box(&left[..HASHED])));
        Ok(())
    })?;
    let (write, sync) = disk(folder, &left)?;
    Ok(json!({
        "threads": n_threads,
        "memory_bytes_per_s": one,
        "memory_bytes_per_s_all": all,
        "hash_bytes_per_s": rate(HASHED, hashed),
        "disk_bytes_per_s": write,
        "sync": sync,
        "load": load(),
    }))
}

/// Returns the bytes a second at which memory is read from end to end: two equal buffers are compared, in one part per thread.
fn read_rate(left: &[u8], right: &[u8], n_threads: usize) -> anyhow::Result<f64> {
    let part = left.len().div_ceil(n_threads);
    let took = best(|| {
        let equal = std::thread::scope(|scope| {
            let parts = left.chunks(part).zip(right.chunks(part));
            let threads = parts.map(|(a, b)| scope.spawn(move || black_box(a) == black_box(b))).collect::<Vec<_>>();
            threads.into_iter().all(|thread| thread.join().unwrap_or(false))
        });
        ensure!(equal, "memory does not hold what was written to it");
        Ok(())
    })?;
    Ok(rate(2 * left.len(), took))
}

fn best(mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..TRIES {
        let started = clock::now();
        act()?;
        least = least.min(started.elapsed());
    }
    Ok(least)
}

/// Returns the bytes a second of one long durable write, and how long it takes to make a small one durable.
fn disk(folder: &Path, bytes: &[u8]) -> anyhow::Result<(f64, Value)> {
    let path = folder.join("disk.probe");
    let probe = || -> std::io::Result<(Duration, Vec<Duration>)> {
        let mut file = File::create(&path)?;
        let started = clock::now();
        file.write_all(&bytes[..WRITTEN])?;
        file.sync_all()?;
        let long = started.elapsed();
        let mut short = Vec::with_capacity(SYNCED);
        for _ in 0..SYNCED {
            let started = clock::now();
            file.write_all(&bytes[..4096])?;
            file.sync_all()?;
            short.push(started.elapsed());
        }
        Ok((long, short))
    };
    let done = probe();
    std::fs::remove_file(&path).ok();
    let (long, short) = done.with_context(|| format!("cannot measure the disk of {}", folder.display()))?;
    Ok((rate(WRITTEN, long), latencies(short)))
}

/// Returns how long the disk's Markdown takes to read once more, bytes and milliseconds: from the page cache, where there is room.
pub(super) fn read_files(folder: &Path) -> anyhow::Result<Value> {
    let mut open = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    let started = clock::now();
    let mut n_bytes = 0_usize;
    for file in &files {
        n_bytes += std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    }
    let took = started.elapsed();
    Ok(json!({ "files": files.len(), "bytes": n_bytes, "took_ms": ms(took), "bytes_per_s": rate(n_bytes, took) }))
}

/// Returns the machine's load over the last minute: what else was going on.
fn load() -> Value {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|load| load.parse::<f64>().ok()).into()
}

pub(super) fn rate(n: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let rate = n as f64 / took.as_secs_f64().max(1e-9);
    rate.round()
}
