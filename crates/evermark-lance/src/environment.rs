//! What Lance reads from the process environment, and what it must find there.

use std::path::Path;

/// Below this many descriptors fewer files are read at once; macOS starts programs with 256.
const FEW_DESCRIPTORS: u64 = 512;

/// One variable, and why it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: &'static str,
    pub value: String,
    pub reason: &'static str,
}

/// Returns what the program has to set before its first thread starts (Lance reads most of it once).
///
/// `cpus` is what the process may use, `descriptors` how many files it may have open, `index` the directory that holds the
/// generations. What the user has set wins.
pub fn environment(cpus: usize, descriptors: u64, index: &Path) -> Vec<Variable> {
    let set = |name, value: String, reason| Variable { name, value, reason };
    let files_at_once = if descriptors < FEW_DESCRIPTORS { 2 } else { 4 };
    vec![
        set(
            "LANCE_CPU_THREADS",
            cpus.max(2).to_string(),
            "the default is two fewer than there are; with one thread a producer and its encoder wait for each other",
        ),
        set("LANCE_IO_THREADS", files_at_once.to_string(), "bounds the files that are open at once"),
        set("LANCE_DEFAULT_FRAGMENT_READAHEAD", files_at_once.to_string(), "bounds the files that a scan opens ahead"),
        set(
            "LANCE_DEFAULT_IO_BUFFER_SIZE",
            (32 << 20).to_string(),
            "a scan may otherwise hold 2 GiB that it has read but not decoded",
        ),
        set("LANCE_MEM_POOL_SIZE", (64 << 20).to_string(), "bounds what a sort inside Lance holds in memory"),
        set(
            "LANCE_MAX_TEMP_DIRECTORY_SIZE",
            (256 << 20).to_string(),
            "the default lets scratch files grow to 100 GB; nothing we ask for spills",
        ),
        set(
            "LANCE_COMMIT_RETRY_TIMEOUT_SECS",
            "5".to_owned(),
            "one process writes: a conflict will not go away by waiting",
        ),
        set(
            "LANCE_USE_VERSION_HINT",
            "0".to_owned(),
            "saves a rewritten file per commit; with a handful of versions listing them is free",
        ),
        set(
            "TMPDIR",
            index.join("tmp").to_string_lossy().into_owned(),
            "scratch files count as the index's bytes and are removed at the next start",
        ),
    ]
}
