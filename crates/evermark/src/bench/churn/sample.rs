//! Measuring from outside: what the kernel says of the index's files and of the process.
//!
//! Only the live bytes are the daemon's own word, since only who reads manifests can know them. A look is not one moment:
//! a file that is replaced while others are counted may count twice, so what is measured errs on the high side.

use super::run::{Happening, Phase, Reach, Run, held};
use crate::bench::measure::{allocated, markdown, status_bytes, status_number};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// How often a sample is kept; in between, only peaks and violations count.
const KEPT_EVERY: Duration = Duration::from_millis(250);
/// After each look comes a rest this many times as long, so that looking takes a fortieth of a processor at most.
const REST: u32 = 39;
const REST_MIN: Duration = Duration::from_millis(5);
/// ... but on a machine that is busy with other things no longer than this.
const REST_MAX: Duration = Duration::from_millis(200);
/// What is kept in reserve for a full disk: nobody's data.
const BALLAST: &str = "ballast";
const MARKDOWN_EVERY: Duration = Duration::from_secs(2);
/// A survey reads every manifest: now and then is enough.
const SURVEYED_EVERY: Duration = Duration::from_secs(5);
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// The bound that is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) ratio: f64,
    pub(super) slack_bytes: u64,
}

impl Bound {
    /// What is allowed at any moment.
    pub(super) fn of(self, live: u64) -> u64 {
        scaled(self.ratio, live) + self.slack_bytes
    }
}

/// What is allowed when no work is pending, ballast aside: 1.3 x live + 16 MiB.
pub(super) fn steady(live: u64) -> u64 {
    scaled(1.3, live) + (16 << 20)
}

fn scaled(ratio: f64, bytes: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes")]
    let scaled = (ratio * bytes as f64) as u64;
    scaled
}

/// What the process says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    pub(super) live: Option<u64>,
}

/// One look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) at: Duration,
    /// Bytes below the index's folder, and of deleted files of it that are still open.
    pub(super) allocated: u64,
    /// The latter alone.
    pub(super) deleted: u64,
    pub(super) live: Option<u64>,
    pub(super) ballast: u64,
    pub(super) markdown: u64,
    pub(super) rss: u64,
    pub(super) descriptors: u64,
}

/// All looks.
#[derive(Default)]
pub(super) struct Series {
    pub(super) samples: Vec<Sample>,
    pub(super) n_looks: u64,
    /// Looks that found more than the bound allows, and the first of them.
    pub(super) n_violations: u64,
    pub(super) violation: Option<Sample>,
    /// Looks before the live bytes were known.
    pub(super) n_unjudged: u64,
    pub(super) peak: Sample,
    /// The highest share of the bound that was used.
    pub(super) bound_used: f64,
    pub(super) rss_max: u64,
    pub(super) descriptors_max: u64,
    /// Bytes sent to the disk, and bytes handed to `write`, by every process so far.
    pub(super) to_disk: u64,
    pub(super) written: u64,
    /// The process of the last look, and its two counters then.
    process: Option<(u32, u64, u64)>,
}

impl Series {
    fn take(&mut self, sample: Sample, bound: Bound) {
        self.n_looks += 1;
        self.rss_max = self.rss_max.max(sample.rss);
        self.descriptors_max = self.descriptors_max.max(sample.descriptors);
        if sample.allocated > self.peak.allocated {
            self.peak = sample;
        }
        let Some(live) = sample.live else {
            self.n_unjudged += 1;
            return;
        };
        let allowed = bound.of(live);
        #[expect(clippy::cast_precision_loss, reason = "bytes")]
        let used = sample.allocated as f64 / allowed.max(1) as f64;
        self.bound_used = self.bound_used.max(used);
        if sample.allocated > allowed {
            self.n_violations += 1;
            self.violation = self.violation.or(Some(sample));
        }
    }

    /// Adds what the process has written since it was last looked at.
    fn count_writes(&mut self, pid: u32) {
        let Ok(io) = fs::read_to_string(format!("/proc/{pid}/io")) else { return };
        let to_disk = status_number(&io, "write_bytes").unwrap_or_default();
        let written = status_number(&io, "wchar").unwrap_or_default();
        let before = self.process.filter(|(before, _, _)| *before == pid).map_or((0, 0), |(_, disk, all)| (disk, all));
        self.to_disk += to_disk.saturating_sub(before.0);
        self.written += written.saturating_sub(before.1);
        self.process = Some((pid, to_disk, written));
    }
}

/// Looks until the run is over.
pub(super) fn watch(run: &Run, word: &Mutex<Word>, bound: Bound, series: &Mutex<Series>) {
    let (mut kept_at, mut markdown_at) = (Duration::ZERO, Duration::ZERO);
    let mut markdown_bytes = 0;
    loop {
        let began = run.now();
        if began >= markdown_at {
            (_, markdown_bytes) = markdown(&run.root);
            markdown_at = began + MARKDOWN_EVERY;
        }
        let sample = look(run, *held(word), markdown_bytes);
        {
            let mut series = held(series);
            series.take(sample, bound);
            if let Some(pid) = run.reach().pid {
                series.count_writes(pid);
            }
            if began >= kept_at {
                series.samples.push(sample);
                kept_at = began + KEPT_EVERY;
            }
        }
        let rest = ((run.now() - began) * REST).clamp(REST_MIN, REST_MAX);
        if !run.wait(rest, Phase::Checking) {
            return;
        }
    }
}

/// Looks once.
pub(super) fn look(run: &Run, word: Word, markdown: u64) -> Sample {
    let at = run.now();
    let files = allocated(&run.index);
    let Reach { pid, .. } = run.reach();
    let (mut deleted, mut descriptors, mut rss) = (0, 0, 0);
    if let Some(pid) = pid {
        (deleted, descriptors) = open_files(pid, &run.index);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        rss = status_bytes(&status, "VmRSS").unwrap_or_default();
    }
    let Word { live } = word;
    let ballast = allocated(&run.index.join(BALLAST));
    Sample { at, allocated: files + deleted, deleted, live, ballast, markdown, rss, descriptors }
}

/// Returns the bytes of deleted files below `index` that the process holds open, and how many descriptors it has in all.
fn open_files(pid: u32, index: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return (0, 0) };
    let (mut bytes, mut n) = (0, 0);
    let mut seen = HashSet::new();
    for entry in entries.flatten() {
        n += 1;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if !target.starts_with(index) || !target.to_string_lossy().ends_with(" (deleted)") {
            continue;
        }
        // Through the link: the name is gone, the file is not.
        if let Ok(metadata) = fs::metadata(entry.path())
            && seen.insert((metadata.dev(), metadata.ino()))
        {
            bytes += metadata.blocks() * 512;
        }
    }
    (bytes, n)
}

/// Asks the process for its health until the run is over, and notes when that changes.
pub(super) fn ask(run: &Run, word: &Mutex<Word>) {
    let mut last = (String::new(), Vec::new());
    loop {
        if let Some(health) = run.client().and_then(|client| client.get("/health").ok()) {
            if let Some(live) = health.pointer("/evermark/index/live_bytes").and_then(Value::as_u64) {
                *held(word) = Word { live: Some(live) };
            }
            let now = verdict(&health);
            if now != last {
                run.note(Happening::Health { verdict: now.0.clone(), codes: now.1.clone() });
                last = now;
            }
        }
        if !run.wait(ASKED_EVERY, Phase::Checking) {
            return;
        }
    }
}

/// Measures what is live in a peer's index until the run is over: a LanceDB directory, surveyed by our own program.
pub(super) fn ask_peer(run: &Run, word: &Mutex<Word>) {
    loop {
        if let Some(live) = surveyed(&run.index) {
            *held(word) = Word { live: Some(live) };
        }
        if !run.wait(SURVEYED_EVERY, Phase::Checking) {
            return;
        }
    }
}

/// Returns the live bytes of all tables; `None` when one of them cannot be read at this moment, or none is there.
fn surveyed(index: &Path) -> Option<u64> {
    let mut survey = Command::new(std::env::current_exe().ok()?);
    survey.args(["--json", "index", "status", "--lancedb"]).arg(index).stdin(Stdio::null()).stderr(Stdio::null());
    let said: Value = serde_json::from_slice(&survey.output().ok()?.stdout).ok()?;
    let tables = said["tables"].as_array().filter(|tables| !tables.is_empty())?;
    tables.iter().map(|table| table["live_bytes"].as_u64()).sum()
}

/// Returns health's verdict and the codes of its reasons.
pub(super) fn verdict(health: &Value) -> (String, Vec<String>) {
    let verdict = health["status"].as_str().unwrap_or_default().to_owned();
    let reasons = health["reasons"].as_array().into_iter().flatten();
    let mut codes = reasons.filter_map(|reason| Some(reason["code"].as_str()?.to_owned())).collect::<Vec<_>>();
    codes.sort_unstable();
    codes.dedup();
    (verdict, codes)
}
