//! The walk: lock, measure, take over, offer to prune.

use super::vectors::{Taken, Taker};
use crate::cli::AdoptArgs;
use crate::commands::lancedb::free_bytes;
use crate::config::{Config, EVEROS_FILE, Embedding};
use crate::exit::{Exit, Failure};
use crate::output::{Out, Progress, note, size, tame};
use crate::session::held;
use crate::world::world;
use anyhow::Context;
use evermark_core::embed::ModelId;
use evermark_core::index::IndexError;
use evermark_core::world::World;
use evermark_lance::lancedb::{EverosLock, LanceDb, Run, Surroundings};
use evermark_models::cache::Cache;
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use evermark_store::vault::{Vault, VaultSettings};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn run(args: &AdoptArgs, config: &Config, out: &mut Out) -> anyhow::Result<Exit> {
    let root = &config.root.path;
    let is_everos = root.join(EVEROS_FILE).is_file() || root.join(".index/lancedb").is_dir();
    if !is_everos {
        let failure = Failure::new(Exit::NotFound, format!("no EverOS has been at {}", root.display()));
        return Err(failure.hint("name its root with --root, for example `--root ~/.everos`").into());
    }
    let world = world(None, None)?;
    let layout = Layout::open(root)?;
    // While it is held no EverOS starts, and no daemon of ours.
    let _lock = RootLock::take(&layout, world.as_ref(), None).map_err(|error| held(error.into()))?;
    layout.ensure_identity(world.as_ref())?;
    let settings = VaultSettings { file_bytes_max: config.settings.file_bytes_max, ..VaultSettings::default() };
    let vault = Vault::open(layout.root(), Arc::clone(&world), settings)?;
    let db = match LanceDb::find(root, None, Surroundings::new(Arc::clone(&world), free_bytes)) {
        Ok(db) => Some(db),
        Err(error) if error.kind == evermark_core::error::ErrorKind::NotFound => None,
        Err(error) => return Err(told(error)),
    };
    let measured = Measured::of(&vault, layout.root(), db.as_ref());
    if !out.json {
        measured.print(root, out);
    }
    let model = model(config);
    if let Some(model) = &model {
        refuse_other_model(root, model)?;
    }
    let taken = match (&db, &model) {
        (Some(db), Some(model)) => Some(take(config, &world, &layout, &vault, db, model, out.json)?),
        _ => None,
    };
    if !out.json {
        print_taken(model.as_ref(), taken.as_ref(), out);
    }
    let pruned = match &db {
        Some(db) => prune(args, db, out)?,
        None => None,
    };
    if out.json {
        out.document(&json!({
            "root": root,
            "measured": measured.json(),
            "model": model.as_ref().map(|model| json!({ "name": model.name, "dimension": model.dimension })),
            "vectors": taken.as_ref().map(Taken::json),
            "pruned": pruned,
        }));
    }
    Ok(Exit::Ok)
}

/// Bytes of disk, side by side.
struct Measured {
    lancedb: u64,
    live: u64,
    dead: u64,
    sqlite: u64,
    markdown: u64,
    files: u64,
    problems: Vec<String>,
}

impl Measured {
    fn of(vault: &Vault, root: &Path, db: Option<&LanceDb>) -> Self {
        let (mut markdown, mut files) = (0, 0);
        vault.scan(&mut |path, stamp| {
            if path.ends_with(".md") {
                markdown += stamp.size;
                files += 1;
            }
        });
        let sqlite = std::fs::read_dir(root.join(".index/sqlite")).into_iter().flatten().flatten();
        let sqlite = sqlite.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum();
        let mut measured = Self { lancedb: 0, live: 0, dead: 0, sqlite, markdown, files, problems: Vec::new() };
        let Some(db) = db else { return measured };
        measured.lancedb = db.allocated_bytes();
        for outcome in db.survey() {
            let table = outcome.table;
            match outcome.result {
                Ok(survey) => {
                    measured.live += survey.live_bytes();
                    let reclaimable = ["superseded", "orphan", "debris"];
                    let dead = survey.by_class.iter().filter(|(class, _)| reclaimable.contains(&class.name()));
                    measured.dead += dead.map(|(_, tally)| tally.bytes).sum::<u64>();
                    measured.problems.extend(survey.problems.iter().map(|problem| format!("{table}: {problem}")));
                }
                Err(error) => measured.problems.push(format!("{table}: {error}")),
            }
        }
        measured
    }

    fn print(&self, root: &Path, out: &mut Out) {
        out.line(format_args!("EverOS in {}", out.paint.bold(root.display())));
        out.line(format_args!("  markdown  {:>9}  in {} files", size(self.markdown), self.files));
        let (live, dead) = (size(self.live), size(self.dead));
        out.line(format_args!("  lancedb   {:>9}  {live} of it live, {dead} dead", size(self.lancedb)));
        out.line(format_args!("  sqlite    {:>9}", size(self.sqlite)));
        for problem in &self.problems {
            out.line(format_args!("  {} {}", out.paint.yellow("!"), tame(problem)));
        }
    }

    fn json(&self) -> Value {
        json!({
            "markdown_bytes": self.markdown, "markdown_files": self.files, "lancedb_bytes": self.lancedb,
            "lancedb_live_bytes": self.live, "lancedb_dead_bytes": self.dead, "sqlite_bytes": self.sqlite,
            "problems": self.problems,
        })
    }
}

/// Returns the model whose vectors are kept; `None` when there is none, or one whose vectors cost nothing.
fn model(config: &Config) -> Option<ModelId> {
    match &config.embedding {
        Embedding::OpenAi(endpoint) => Some(ModelId { name: endpoint.model.clone(), dimension: endpoint.dim }),
        Embedding::None | Embedding::BuiltIn | Embedding::Local { .. } | Embedding::Hash { .. } => None,
    }
}

/// Vectors of two models cannot be compared, and nothing in a vector tells whose it is.
fn refuse_other_model(root: &Path, ours: &ModelId) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root.join(EVEROS_FILE)).unwrap_or_default();
    let theirs: Option<String> = text.parse::<toml_edit::DocumentMut>().ok().and_then(|document| {
        let embedding = document.get("embedding")?;
        Some(embedding.get("model")?.as_str()?.to_owned()).filter(|model| !model.is_empty())
    });
    match theirs {
        Some(theirs) if theirs != ours.name => Err(mixed(&theirs, &ours.name)),
        _ => Ok(()),
    }
}

fn mixed(theirs: &str, ours: &str) -> anyhow::Error {
    let message = format!("EverOS's vectors are of the model `{theirs}`, ours is `{ours}`: they are not mixed");
    let hint =
        "set `embedding.model` to EverOS's to take them over, or start without `adopt` and have all texts embedded";
    Failure::new(Exit::Usage, message).hint(hint).into()
}

fn take(
    config: &Config,
    world: &Arc<dyn World>,
    layout: &Layout,
    vault: &Vault,
    db: &LanceDb,
    model: &ModelId,
    quiet: bool,
) -> anyhow::Result<Taken> {
    let shelf = Cache::open(layout.embeddings_dir(), Arc::clone(world)).shelf(model);
    let progress = Progress::new("taking vectors over", quiet);
    let mut taker = Taker::new(vault, &config.settings, &shelf);
    for (at, table) in Taker::TABLES.iter().enumerate() {
        progress.at(at as u64, Taker::TABLES.len() as u64);
        if let Some(theirs) = taker.take(db, table)?.filter(|theirs| *theirs != model.name) {
            return Err(mixed(&theirs, &model.name));
        }
    }
    let taken = taker.finish()?;
    shelf.sync().context("cannot make the vectors durable")?;
    Ok(taken)
}

fn print_taken(model: Option<&ModelId>, taken: Option<&Taken>, out: &mut Out) {
    match (model, taken) {
        (None, _) => out.line("vectors: no endpoint is configured, so there is nothing to take over"),
        (Some(_), None) => out.line("vectors: EverOS has no index here"),
        (Some(model), Some(taken)) => {
            let (name, width) = (tame(&model.name), model.dimension);
            out.line(format_args!("vectors of `{name}`, {width} wide, for {} memories:", taken.memories));
            for (n, what) in taken.told() {
                if n > 0 {
                    out.line(format_args!("  {n:>7}  {what}"));
                }
            }
            taken.problems.iter().for_each(|problem| out.line(format_args!("  ! {}", tame(problem))));
        }
    }
}

/// Prunes EverOS's index when asked to, or when somebody at a terminal says yes.
fn prune(args: &AdoptArgs, db: &LanceDb, out: &mut Out) -> anyhow::Result<Option<Value>> {
    let mut freed = 0;
    for outcome in db.prune(Run::Dry, EverosLock::Held, &mut |_, _, _| {}).map_err(told)? {
        freed += outcome.result.map_or(0, |pruned| pruned.freed_bytes());
    }
    if freed == 0 {
        return Ok(None);
    }
    if !args.prune && !agreed(freed, out)? {
        if !out.json {
            out.line(format_args!("EverOS's index could be {} smaller: `evermark adopt --prune`", size(freed)));
        }
        return Ok(None);
    }
    let progress = Progress::new("pruning EverOS's index", out.json);
    let mut watch = |_: &str, done, total| progress.at(done, total);
    let outcomes = db.prune(Run::Real, EverosLock::Held, &mut watch).map_err(told)?;
    drop(progress);
    let (mut freed, mut problems) = (0, Vec::new());
    for outcome in outcomes {
        match outcome.result {
            Ok(pruned) => {
                freed += pruned.freed_bytes();
                problems.extend(pruned.problems);
            }
            Err(error) => problems.push(format!("{}: {error}", outcome.table)),
        }
    }
    if !out.json {
        out.line(format_args!("EverOS's index: {} freed, {} left", size(freed), size(db.allocated_bytes())));
        problems.iter().for_each(|problem| out.line(format_args!("  ! {}", tame(problem))));
    }
    Ok(Some(json!({ "freed_bytes": freed, "allocated_bytes": db.allocated_bytes(), "problems": problems })))
}

fn agreed(freed: u64, out: &mut Out) -> anyhow::Result<bool> {
    if out.json || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    out.flush();
    write!(std::io::stderr(), "Prune EverOS's index? It would be {} smaller. [y/N] ", size(freed))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if !is_yes {
        note("left as it is");
    }
    Ok(is_yes)
}

fn told(error: IndexError) -> anyhow::Error {
    let failure = Failure::new(error.kind.into(), error.to_string());
    match error.source {
        Some(source) => anyhow::Error::from_boxed(source).context(failure),
        None => failure.into(),
    }
}
