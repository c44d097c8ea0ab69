//! Work for the daemon: batches of files that are dropped into its vault, one after the other, for as long as it shall be busy.
//!
//! There are two sets of files, each in two versions. A set is dropped only when the other is waiting, so that there is always
//! something to do, and never before it was indexed itself, so that all that is dropped is done.

use super::ask::Place;
use crate::bench::generate::{self, Spec};
use crate::bench::wire::Wire;
use crate::client::Client;
use crate::clock;
use anyhow::{Context, ensure};
use jiff::civil::{Date, date};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Long after the days of any root's own files.
const DAYS: [Date; 2] = [date(6000, 1, 1), date(8000, 1, 1)];
const VERSIONS: u64 = 2;
const GLANCE: Duration = Duration::from_millis(100);
/// Nobody waits for longer until a batch is indexed.
const PATIENCE: Duration = Duration::from_secs(900);
/// Facts that are asked for to see that a batch is searchable.
const PROBES: usize = 12;
/// ... and to see that most of it is: when three at random are found, a quarter is left on average.
const EARLY_PROBES: usize = 3;

/// One version of one set of files.
struct Batch {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// User and text of some facts.
    probes: Vec<(String, String)>,
}

/// All batches, and which is next.
pub(super) struct Stir {
    root: PathBuf,
    /// Set after set of the first version, then of the second.
    batches: Vec<Batch>,
    facts_per_batch: u32,
    next: usize,
}

impl Stir {
    /// Makes up batches of `n_facts` facts for the users of a root.
    pub(super) fn new(root: &Path, spec: Spec, n_facts: u32, stage: &Path) -> anyhow::Result<Self> {
        let mut batches = Vec::new();
        for version in 0..VERSIONS {
            for (set, first) in DAYS.into_iter().enumerate() {
                let folder = stage.join(format!("{set}-{version}"));
                fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
                let seed = spec.seed ^ (0x5717 + version * 2 + set as u64);
                let made = generate::root_from(&folder, Spec { n_facts, seed, ..spec }, first)?;
                let step = (made.samples.len() / PROBES).max(1);
                let probes = made.samples.iter().rev().step_by(step).take(PROBES).cloned().collect();
                batches.push(Batch { files: files(&folder)?, probes });
                fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        Ok(Self { root: root.to_owned(), batches, facts_per_batch: n_facts, next: 0 })
    }

    /// Puts the next batch's files in their places, each at once.
    fn drop_next(&mut self) -> anyhow::Result<usize> {
        let at = self.next % self.batches.len();
        self.next += 1;
        put(&self.root, &self.batches[at].files)?;
        Ok(at)
    }

    /// Drops one batch and waits until it is searchable. Returns how long that took.
    pub(super) fn one(&mut self, place: &Place) -> anyhow::Result<Duration> {
        let started = clock::now();
        let at = self.drop_next()?;
        self.wait_for(at, place)?;
        Ok(started.elapsed())
    }

    /// Drops batch after batch until it is `enough`, and waits until all are searchable. Returns when, and how many facts that were.
    pub(super) fn until(
        &mut self,
        place: &Place,
        enough: impl Fn() -> bool,
    ) -> anyhow::Result<((Instant, Instant), u64)> {
        let began = clock::now();
        let mut n_dropped = 0_u64;
        let last = loop {
            let last = self.drop_next()?;
            n_dropped += 1;
            // The set before this one is done by then: files are taken in the order in which they came.
            self.find(last, place, EARLY_PROBES)?;
            if enough() {
                break last;
            }
        };
        self.wait_for(last, place)?;
        Ok(((began, clock::now()), n_dropped * u64::from(self.facts_per_batch)))
    }

    /// Waits until the batch is found, and nothing waits.
    fn wait_for(&self, at: usize, place: &Place) -> anyhow::Result<()> {
        self.find(at, place, usize::MAX)?;
        let client = Client::new(&place.url, None);
        let asked = clock::now();
        while waiting(&client)? != Some(0) {
            ensure!(asked.elapsed() < PATIENCE, "what was dropped is not indexed");
            clock::pause(GLANCE);
        }
        Ok(())
    }

    /// Waits until so many of a batch's probes are found.
    fn find(&self, at: usize, place: &Place, n_probes: usize) -> anyhow::Result<()> {
        let mut wire = Wire::connect(&place.url)?;
        let asked = clock::now();
        for (user, text) in self.batches[at].probes.iter().take(n_probes) {
            let body = json!({ "user_id": user, "query": text, "method": "keyword", "top_k": 10 }).to_string();
            loop {
                let (status, answer) = wire.send(place.verb, "/api/v1/memory/search", &body)?;
                if status == 200 && String::from_utf8_lossy(answer).contains(text.as_str()) {
                    break;
                }
                ensure!(asked.elapsed() < PATIENCE, "a fact of a dropped file is not found: {text}");
                clock::pause(GLANCE);
            }
        }
        Ok(())
    }
}

/// Returns how many files wait; `None` when the daemon had no time to say.
pub(in crate::bench) fn waiting(client: &Client) -> anyhow::Result<Option<u64>> {
    let status = client.get("/api/v1/evermark/status")?;
    let queue = status.pointer("/data/queue").context("a status without a queue")?;
    let n = ["pending", "leased", "failing"].map(|state| queue[state].as_u64());
    Ok(n.into_iter().sum())
}

/// Puts files in their places below a root, each at once.
pub(in crate::bench) fn put(root: &Path, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()> {
    for (path, bytes) in files {
        let path = root.join(path);
        let beside = path.with_extension("md.new");
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| File::create(&beside)?.write_all(bytes))
            .and_then(|()| fs::rename(&beside, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns the Markdown files below a folder, by their names relative to it, the oldest day first.
pub(in crate::bench) fn files(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut open = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.push((path.strip_prefix(folder)?.to_owned(), bytes));
            }
        }
    }
    // As they would come.
    files.sort_unstable_by(|a, b| a.0.file_name().cmp(&b.0.file_name()).then_with(|| a.0.cmp(&b.0)));
    Ok(files)
}
