//! Work for the daemon: files of the root are written anew, set after set, for as long as it shall be busy.
//!
//! The root's days are dealt out to groups. Two groups are sets of files that are replaced as a whole, each in two versions; the
//! others are for those who edit. So the root stays as large as it was made. A set is dropped only when the other is nearly done,
//! so that there is always something to do, and never before it was indexed itself, so that all that is dropped is done.
//!
//! At the very end the same files come once more, as those of other users: files that nobody has seen. The root grows by them.

use super::ask::Place;
use crate::bench::generate::{self, FIRST_DAY, Spec};
use crate::bench::wire::Wire;
use crate::client::Client;
use crate::clock;
use anyhow::{Context, ensure};
use evermark_core::markdown::DailyFile;
use jiff::civil::Date;
use serde_json::json;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SETS: usize = 2;
const VERSIONS: u64 = 2;
/// At least so many groups: half of the root's days are left to those who edit.
pub(super) const GROUPS_MIN: usize = 4;
/// What made-up users are called, and what the number of those who come later begins with: more than a root has.
const USER: &str = "user_";
const LATER: u32 = 91;
const GLANCE: Duration = Duration::from_millis(100);
/// Nobody waits for longer until a batch is indexed.
const PATIENCE: Duration = Duration::from_secs(900);
/// Facts that are asked for to see that a batch is searchable.
const PROBES: usize = 12;
/// ... and to see that most of it is: when three at random are found, a quarter is left on average.
const EARLY_PROBES: usize = 3;

/// How the days of a root are dealt out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Groups(usize);

impl Groups {
    /// Returns groups of which two have no more than `n_facts_max` facts together.
    pub(super) fn new(spec: Spec, n_facts_max: u32) -> Self {
        let n = (u64::from(spec.n_facts) * SETS as u64).div_ceil(u64::from(n_facts_max.max(1)));
        Self(usize::try_from(n).unwrap_or(usize::MAX).max(GROUPS_MIN))
    }

    /// Returns the set that a user's day belongs to; `None` when it is for those who edit.
    pub(super) fn set(self, user: u32, day: Date) -> Option<usize> {
        let days = (day - FIRST_DAY).get_days().unsigned_abs();
        let group = (days as usize).wrapping_add(user as usize) % self.0;
        (group < SETS).then_some(group)
    }
}

/// One version of one set of files.
struct Batch {
    files: Vec<(PathBuf, Vec<u8>)>,
    n_facts: u64,
    /// User and text of some facts.
    probes: Vec<(String, String)>,
}

/// All batches, and which is next.
pub(super) struct Stir {
    root: PathBuf,
    /// Set after set of the first version, then of the second.
    batches: Vec<Batch>,
    next: usize,
}

impl Stir {
    /// Makes new versions of some files of a root.
    pub(super) fn new(root: &Path, spec: Spec, groups: Groups, stage: &Path) -> anyhow::Result<Self> {
        let mut batches = Vec::new();
        for version in 1..=VERSIONS {
            let folder = stage.join(version.to_string());
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // The same days and ids with other words.
            generate::root(&folder, Spec { seed: spec.seed ^ (0x5717 * version), ..spec })?;
            let mut sets = [const { Vec::new() }; SETS];
            for file in files(&folder)? {
                let (user, day) = whose(&file.0).with_context(|| format!("nobody's file: {}", file.0.display()))?;
                if let Some(set) = groups.set(user, day) {
                    sets[set].push(file);
                }
            }
            batches.extend(sets.map(Batch::of));
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        ensure!(batches.iter().all(|batch| batch.n_facts > 0), "the root has too few days to replace some of them");
        Ok(Self { root: root.to_owned(), batches, next: 0 })
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
        let mut n_dropped = 0;
        let last = loop {
            let last = self.drop_next()?;
            n_dropped += self.batches[last].n_facts;
            // The set before this one is done by then: files are taken in the order in which they came.
            self.find(last, place, EARLY_PROBES)?;
            if enough() {
                break last;
            }
        };
        self.wait_for(last, place)?;
        Ok(((began, clock::now()), n_dropped))
    }

    /// Drops files that are new, batch after batch, until it is `enough` or there are no more, and waits until all are searchable.
    /// Returns when, and how many facts that were.
    pub(super) fn import(
        &mut self,
        place: &Place,
        enough: impl Fn() -> bool,
    ) -> anyhow::Result<((Instant, Instant), u64)> {
        let batches = std::mem::take(&mut self.batches).into_iter().zip(LATER..);
        self.batches = batches.map(|(batch, number)| batch.renamed(&format!("{USER}{number}"))).collect();
        self.next = 0;
        let n_batches = self.batches.len();
        let n_dropped = Cell::new(0);
        self.until(place, || {
            n_dropped.set(n_dropped.get() + 1);
            enough() || n_dropped.get() == n_batches
        })
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

impl Batch {
    fn of(files: Vec<(PathBuf, Vec<u8>)>) -> Self {
        let mut facts = Vec::new();
        for (path, bytes) in &files {
            let Some((user, _)) = whose(path).filter(|_| path.to_string_lossy().contains("atomic_fact-")) else {
                continue;
            };
            let file = DailyFile::parse(&String::from_utf8_lossy(bytes));
            facts.extend(file.entries().filter_map(|entry| Some((generate::owner(user).id, entry.section("Fact")?))));
        }
        let step = (facts.len() / PROBES).max(1);
        // Not in the order of the days: the first ones shall say something of the whole.
        let mut probes = facts.iter().step_by(step).take(PROBES).cloned().collect::<Vec<_>>();
        fastrand::Rng::with_seed(facts.len() as u64).shuffle(&mut probes);
        Self { n_facts: facts.len() as u64, files, probes }
    }

    /// Returns the same files of users whose names begin like this.
    fn renamed(self, users: &str) -> Self {
        let renamed = |(path, bytes): (PathBuf, Vec<u8>)| {
            // What is called like a user is not always one: `user_id` stays what it is.
            let text = String::from_utf8_lossy(&bytes).replace(USER, users).replace(&format!("{users}id"), "user_id");
            (PathBuf::from(path.to_string_lossy().replace(USER, users)), text.into_bytes())
        };
        Self::of(self.files.into_iter().map(renamed).collect())
    }
}

/// Returns the user and the day of a made-up root's file.
fn whose(path: &Path) -> Option<(u32, Date)> {
    let user = path.components().find_map(|part| part.as_os_str().to_str()?.strip_prefix(USER)?.parse().ok())?;
    let name = path.file_stem()?.to_str()?;
    let day = name.get(name.len().checked_sub("2026-01-01".len())?..)?.parse().ok()?;
    Some((user, day))
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
