//! What a process and a folder weigh, and how figures are read back.

pub(super) use super::latency::{latencies, ms};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What this process holds now. Linux only; elsewhere the figures are null.
pub(super) fn process() -> Value {
    let mut held = held_by("self");
    // One of them is the look itself.
    held["descriptors"] = held["descriptors"].as_u64().map(|n| n - 1).into();
    held
}

/// What a process holds now, by its number. Linux only; elsewhere, and where there is no such process, the figures are null.
pub(super) fn held_by(pid: &str) -> Value {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    json!({
        "rss_bytes": status_bytes(&status, "VmRSS"),
        "rss_max_bytes": status_bytes(&status, "VmHWM"),
        "threads": status_number(&status, "Threads"),
        "descriptors": std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|entries| entries.count() as u64),
        // What was handed to the kernel, whether or not it has reached a disk.
        "written_bytes": status_number(&io, "wchar"),
    })
}

/// What a process and its descendants hold in memory now. Linux only.
pub(super) fn held_by_tree(root: u32) -> Value {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status_number(&status, "PPid").unwrap_or_default();
        all.push((pid, parent, status_bytes(&status, "VmRSS").unwrap_or_default()));
    }
    let (mut known, mut bytes) = (vec![root], 0);
    let mut at = 0;
    while let Some(&pid) = known.get(at) {
        at += 1;
        bytes += all.iter().filter(|process| process.0 == pid).map(|process| process.2).sum::<u64>();
        known.extend(all.iter().filter(|process| process.1 == u64::from(pid)).map(|process| process.0));
    }
    json!({ "rss_bytes": bytes, "processes": known.len() })
}

/// Returns a figure of a process's `status` file, in bytes.
pub(super) fn status_bytes(status: &str, key: &str) -> Option<u64> {
    status_number(status, key).map(|kilobytes| kilobytes * 1024)
}

/// Returns the number after a key, in the manner of the files below `/proc`.
pub(super) fn status_number(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// The machine, as far as figures depend on it.
pub(super) fn machine() -> Value {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.trim_start_matches([' ', '\t', ':']).to_owned()));
    json!({
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "model": model,
        "optimized": !cfg!(debug_assertions),
        "index": if cfg!(feature = "lance") { "lance" } else { "exact" },
    })
}

/// Returns the allocated bytes at or below `path`.
pub(super) fn allocated(path: &Path) -> u64 {
    let mut bytes = 0;
    walk(path, &mut |metadata, _| bytes += metadata.blocks() * 512);
    bytes
}

/// Returns the number and the size of the Markdown files below `path`.
pub(super) fn markdown(path: &Path) -> (u64, u64) {
    let (mut n_files, mut n_bytes) = (0, 0);
    walk(path, &mut |metadata, path| {
        if path.extension().is_some_and(|extension| extension == "md") {
            n_files += 1;
            n_bytes += metadata.len();
        }
    });
    (n_files, n_bytes)
}

fn walk(path: &Path, visit: &mut dyn FnMut(&std::fs::Metadata, &Path)) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    visit(&metadata, path);
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), visit);
        }
    }
}

/// Returns a figure of a report, for people.
pub(super) fn figure(report: &Value, pointer: &str, digits: usize) -> String {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
}

/// Returns a figure of a report in another unit, for people.
pub(super) fn figure_of(report: &Value, pointer: &str, unit: f64, digits: usize) -> String {
    let number = report.pointer(pointer).and_then(Value::as_f64);
    number.map_or_else(|| "-".to_owned(), |number| format!("{:.digits$}", number * unit))
}

/// Returns a number of bytes of a report, for people.
pub(super) fn bytes(report: &Value, pointer: &str) -> String {
    report.pointer(pointer).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), crate::output::size)
}
