//! What this machine has.

#[cfg(test)]
mod tests;

use std::path::Path;

/// Where a container's limit on memory is written, by either version of control groups.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Returns how many bytes of memory this process may count on: the machine's, or its container's if that is less; `None` where
/// that cannot be told.
pub(crate) fn memory_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text))?;
    let limits = LIMITS.iter().filter_map(|path| read(path)?.trim().parse::<u64>().ok());
    Some(limits.fold(machine, u64::min))
}

/// Reads the total, in bytes, from what `/proc/meminfo` says.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
