//! `evermark bench commits`: entries committed one by one, and what that leaves on disk.
//!
//! Every commit makes a version; the more pieces there are, the larger each version's manifest. What is watched is that both
//! stay in proportion to what is live, however many commits there were.

use super::generate::{self, Words};
use super::measure::{self, allocated, ms};
use crate::cli::CommitsArgs;
use crate::clock;
use crate::config::{Environment, VIEW_BYTES_MIN};
use crate::exit::{Exit, Failure};
use crate::output::{Out, size};
use crate::wiring;
use anyhow::{Context, ensure};
use evermark_core::embed::HashEmbedder;
use evermark_core::id::{Kind, MemoryKey};
use evermark_core::index::{Index, Indexable};
use evermark_core::memory::{Body, Memory};
use evermark_core::text;
use fastrand::Rng;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Commits between rounds of upkeep: the engine's own pace.
const COMMITS_PER_ROUND: u64 = 8;
/// Lines that are shown.
const STEPS: u64 = 20;
const USERS: u64 = 10;
/// How much more the later half of all commits may leave than the earlier half did, at most at any moment.
const GROWTH_MAX: f64 = 1.5;

pub(super) fn run(args: &CommitsArgs, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    if args.n < 2 * STEPS || args.live == 0 {
        let message = format!("--n must be at least {}, --live at least 1", 2 * STEPS);
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let folder = tempfile::Builder::new().prefix("evermark-commits-").tempdir()?;
    let index = wiring::indexes(wiring::world_of(env)?, VIEW_BYTES_MIN).open(folder.path(), Some(args.dim))?;
    let mut rows = Rows::new(args.dim);
    let first = (0..args.live).map(|i| rows.row(i)).collect::<Vec<_>>();
    index.upsert(first.clone())?;
    index.flush()?;

    if !out.json {
        out.line(format_args!("{} commits of one entry each to an index of {} rows", args.n, args.live));
        out.line("    commits   manifests  versions  pieces   allocated        live  ms/commit");
    }
    let mut steps = Vec::new();
    let mut since = Step::default();
    let mut began = clock::now();
    for n in 1..=args.n {
        index.upsert(vec![rows.row(n % args.live)])?;
        index.flush()?;
        if n % COMMITS_PER_ROUND == 0 {
            // Just before, when there is most.
            since.look(index.as_ref(), folder.path())?;
            index.upkeep()?;
        }
        if n % (args.n / STEPS) == 0 {
            since.commits = n;
            since.took = began.elapsed() / u32::try_from(args.n / STEPS).unwrap_or(u32::MAX);
            if !out.json {
                since.print(out);
                out.flush();
            }
            steps.push(std::mem::take(&mut since));
            began = clock::now();
        }
    }
    check_rows(index.as_ref(), args.live)?;
    let (early, late) = steps.split_at(steps.len() / 2);
    let most = |steps: &[Step], of: fn(&Step) -> u64| steps.iter().map(of).max().unwrap_or_default() as f64;
    let growth = |of: fn(&Step) -> u64| most(late, of) / most(early, of).max(1.0);
    let (manifests, all) = (growth(|step| step.manifests), growth(|step| step.allocated));
    let bounded = manifests <= GROWTH_MAX && all <= GROWTH_MAX;
    let report = json!({
        "bench": "commits", "machine": measure::machine(), "commits": args.n, "live": args.live, "dimension": args.dim,
        "growth_of_manifests": manifests, "growth_of_all": all, "bounded": bounded,
        "steps": steps.iter().map(Step::json).collect::<Vec<_>>(),
    });
    if let Some(path) = &args.out {
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer(file, &report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if out.json {
        out.document(&report);
    } else {
        let mark = if bounded { out.paint.green("bounded") } else { out.paint.red("GROWING") };
        out.line(format_args!(
            "  {mark}: the later half of the commits left at most {manifests:.2} times the manifests and {all:.2} times the bytes"
        ));
    }
    Ok(if bounded { Exit::Ok } else { Exit::Failed })
}

/// What was most since the step before.
#[derive(Clone, Debug, Default)]
struct Step {
    commits: u64,
    /// Bytes of manifests and of transaction files.
    manifests: u64,
    versions: u64,
    pieces: u64,
    allocated: u64,
    live: u64,
    took: Duration,
}

impl Step {
    fn look(&mut self, index: &dyn Index, folder: &Path) -> anyhow::Result<()> {
        let info = index.info()?;
        let table = folder.join("memories.lance");
        let manifests = ["_versions", "_transactions"].map(|dir| allocated(&table.join(dir))).into_iter().sum();
        self.manifests = self.manifests.max(manifests);
        self.versions = self.versions.max(info.versions);
        self.pieces = self.pieces.max(info.fragments);
        self.allocated = self.allocated.max(allocated(folder));
        self.live = self.live.max(info.live_bytes);
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "commits": self.commits, "manifest_bytes": self.manifests, "versions": self.versions, "pieces": self.pieces,
            "allocated_bytes": self.allocated, "live_bytes": self.live, "commit_ms": ms(self.took),
        })
    }

    fn print(&self, out: &mut Out) {
        out.line(format_args!(
            "  {:>9}  {:>10}  {:>8}  {:>6}  {:>10}  {:>10}  {:>9.2}",
            self.commits,
            size(self.manifests),
            self.versions,
            self.pieces,
            size(self.allocated),
            size(self.live),
            ms(self.took)
        ));
    }
}

/// Fails unless every row is there exactly once.
fn check_rows(index: &dyn Index, live: u64) -> anyhow::Result<()> {
    let mut keys: Vec<MemoryKey> = Vec::new();
    index.scan(&mut |key, _, _| keys.push(key))?;
    keys.sort_unstable();
    let n = keys.len();
    keys.dedup();
    ensure!(
        n as u64 == live && keys.len() == n,
        "{n} rows are there, {} of them different, instead of {live}",
        keys.len()
    );
    Ok(())
}

/// Makes rows up.
struct Rows {
    words: Words,
    rng: Rng,
    embedder: HashEmbedder,
}

impl Rows {
    fn new(dim: usize) -> Self {
        let mut rng = Rng::with_seed(1);
        Self { words: Words::new(&mut rng), rng, embedder: HashEmbedder::new(dim) }
    }

    /// Returns the `i`-th row, with another text each time.
    fn row(&mut self, i: u64) -> Indexable {
        let owner = generate::owner(u32::try_from(i % USERS).unwrap_or_default());
        let fact = self.words.sentence(&mut self.rng);
        let entry_id = format!("{}_20260101_{i:08}", Kind::AtomicFact.entry_prefix().unwrap_or_default());
        let tokens = text::joined(&fact);
        let vector = Some(self.embedder.vector(&fact));
        let memory = Memory {
            id: format!("{}_{entry_id}", owner.id),
            path: format!("default_app/default_project/users/{}/.atomic_facts/atomic_fact-2026-01-01.md", owner.id),
            owner,
            entry_id,
            session_id: Some("s".to_owned()),
            timestamp_us: Some(1_767_225_600_000_000),
            parent_type: None,
            parent_id: None,
            sender_ids: Vec::new(),
            message_ids: Vec::new(),
            deprecated_by: None,
            body: Body::AtomicFact { fact, context: None },
        };
        Indexable { memory, tokens, vector }
    }
}
