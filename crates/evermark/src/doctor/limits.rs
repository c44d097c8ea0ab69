//! What the system grants this process, and so a daemon started the same way.

use super::Findings;
use crate::limits::attainable_descriptors;
use crate::output::size;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// Below this the daemon takes fewer clients and reads fewer files at once.
const DESCRIPTORS_GOOD: u64 = 2048;
/// Below this it has not been tried.
const DESCRIPTORS_MIN: u64 = 96;
/// The largest file is one that the index writes in one commit or merge: tens of megabytes.
const FILE_SIZE_MIN: u64 = 256 << 20;
/// Two users' memories in use, and a rewrite; see README, "How fast, how large".
const MEMORY_MIN: u64 = 256 << 20;

pub(super) fn examine(found: &mut Findings) {
    descriptors(found);
    file_size(found);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let quota = cgroup("cpu.max").and_then(|text| cpu_quota(&text));
    let within = quota.map_or_else(String::new, |cpus| format!(", a control group allows the time of {cpus:.1}"));
    found.ok("limits", "cpus", format!("{cpus} processors to use{within}"));
    memory(found);
}

fn descriptors(found: &mut Findings) {
    let limit = getrlimit(Resource::Nofile);
    let granted = attainable_descriptors();
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let figures = format!("{} open files at the start, {} attainable", shown(limit.current), shown(Some(granted)));
    let remedy = "`ulimit -n 65536`, LimitNOFILE=65536 in the unit, or `--ulimit nofile=65536` for a container";
    match granted {
        ..DESCRIPTORS_MIN => found.fail("limits", "descriptors_few", format!("only {figures}"), remedy),
        DESCRIPTORS_MIN..DESCRIPTORS_GOOD => {
            found.warn("limits", "descriptors_low", format!("only {figures}: fewer clients and slower"), remedy);
        }
        _ => found.ok("limits", "descriptors", figures),
    }
}

fn file_size(found: &mut Findings) {
    match getrlimit(Resource::Fsize).current {
        None => found.ok("limits", "file_size", "no limit on the size of a file"),
        Some(limit) if limit < FILE_SIZE_MIN => found.fail(
            "limits",
            "file_size_low",
            format!("no file may grow beyond {}: the index cannot be written", size(limit)),
            "`ulimit -f unlimited`, or LimitFSIZE=infinity in the unit",
        ),
        Some(limit) => found.ok("limits", "file_size", format!("files may grow to {}", size(limit))),
    }
}

fn memory(found: &mut Findings) {
    let limit = cgroup("memory.max").and_then(|text| text.trim().parse::<u64>().ok());
    match limit {
        Some(limit) if limit < MEMORY_MIN => found.warn(
            "limits",
            "memory_low",
            format!("a control group allows {} of memory; {} is the least that suits", size(limit), size(MEMORY_MIN)),
            "raise MemoryMax= in the unit, or the container's memory limit",
        ),
        Some(limit) => found.ok("limits", "memory", format!("a control group allows {} of memory", size(limit))),
        None => found.ok("limits", "memory", "no control group limits the memory"),
    }
}

/// Returns a file of this process's control group (version 2), the nearest one upwards that has it.
fn cgroup(file: &str) -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut dir = std::path::Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
    loop {
        match fs::read_to_string(dir.join(file)) {
            Ok(text) if !text.starts_with("max") => return Some(text),
            // Without a limit of its own the group above decides.
            Ok(_) | Err(_) if dir.as_os_str().len() > "/sys/fs/cgroup".len() => {
                dir.pop();
            }
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Reads `cpu.max`: microseconds allowed in a period of so many.
fn cpu_quota(text: &str) -> Option<f64> {
    let mut parts = text.split_whitespace();
    let quota: f64 = parts.next()?.parse().ok()?;
    let period: f64 = parts.next()?.parse().ok()?;
    (period > 0.0).then_some(quota / period)
}
