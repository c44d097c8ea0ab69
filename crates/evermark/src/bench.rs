//! `evermark bench`: figures about ingest, search, what is found, and what the index comes to on disk, on roots made for it.
//!
//! What is measured runs in a process of its own, one for each size, and never in the one that indexed the root: memory that
//! was once used is not given back, and would be counted for what comes after.

mod aims;
mod churn;
mod commits;
mod embed;
mod figures;
mod generate;
mod ingest;
mod latency;
mod measure;
mod peers;
mod picture;
mod process;
mod report;
mod retrieval;
mod search;
mod start;
mod table;
mod wire;

use crate::cli::{BenchArgs, BenchCommand};
use crate::config::{Config, Embedding, Environment, Flags, Root, Source};
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use anyhow::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) fn run(command: &BenchCommand, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let (bench, args) = match command {
        BenchCommand::Ingest(args) => (Bench::Ingest, args),
        BenchCommand::Search(args) => (Bench::Search, args),
        BenchCommand::Start(args) => (Bench::Start, args),
        BenchCommand::Figures(args) => return figures::run(args, env, out),
        BenchCommand::Peers(args) => return peers::run(args, env, out),
        BenchCommand::Report(args) => return report::run(args, out),
        BenchCommand::Embed(args) => return embed::run(args, out),
        BenchCommand::Churn(args) => return churn::run(args, out),
        BenchCommand::Commits(args) => return commits::run(args, env, out),
        BenchCommand::Retrieval(args) => return retrieval::run(args, env, out),
        BenchCommand::RetrievalConvert(args) => return retrieval::convert(args, out),
    };
    let name = bench.name();
    let sizes = match args.facts.as_slice() {
        [] => return Err(Failure::new(Exit::Usage, "--facts needs a number").into()),
        [one] => vec![here(bench, args, *one, env)?],
        many => many
            .iter()
            .map(|n| {
                note(format_args!("{n} facts …"));
                let keep = args.keep.as_ref().map(|keep| keep.join(n.to_string()));
                in_child(name, args, *n, keep.as_deref())
            })
            .collect::<anyhow::Result<Vec<_>>>()?,
    };
    let report = json!({ "bench": name, "machine": measure::machine(), "sizes": sizes });
    if let Some(path) = &args.out {
        let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer_pretty(file, &report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if out.json {
        out.document(&report);
    } else {
        for size in &sizes {
            match bench {
                Bench::Ingest => ingest::print(size, out),
                Bench::Search => search::print(size, out),
                Bench::Start => out.document(size),
            }
        }
    }
    Ok(Exit::Ok)
}

/// What is measured on roots of several sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bench {
    Ingest,
    Search,
    Start,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Search => "search",
            Self::Start => "start",
        }
    }
}

fn here(bench: Bench, args: &BenchArgs, n_facts: u32, env: &Environment) -> anyhow::Result<Value> {
    crate::limits::raise_descriptors();
    let place = Place::new(args, n_facts)?;
    let spec = generate::Spec { n_facts, n_users: args.users.max(1), seed: args.seed };
    let made = generate::root(&place.path, spec)?;
    let root = Root { path: place.path.clone(), source: Source::Flag("--keep") };
    let mut config = Config::load(root, env, &Flags::default())?;
    if let Some(dim) = args.dim {
        config.embedding = Embedding::Hash { dim };
    }
    let child = |name| in_child(name, args, n_facts, Some(&place.path));
    let mut report = match bench {
        Bench::Ingest => {
            let mut report = ingest::run(&config, env, &made)?;
            report["start"] = child("start")?;
            report
        }
        Bench::Search => {
            child("ingest")?;
            search::run(&config, env, &made, args)?
        }
        Bench::Start => start::run(&config, env, &made)?,
    };
    report["facts"] = n_facts.into();
    report["episodes"] = made.n_episodes.into();
    report["users"] = spec.n_users.into();
    report["files"] = made.n_files.into();
    report["markdown_bytes"] = made.n_bytes.into();
    report["dimension"] = match &config.embedding {
        // Only the model's own files say.
        Embedding::None | Embedding::Local { .. } => Value::Null,
        Embedding::BuiltIn => evermark_models::builtin::DIMENSION.into(),
        Embedding::Hash { dim } => (*dim).into(),
        Embedding::OpenAi(endpoint) => endpoint.dim.into(),
    };
    Ok(report)
}

/// Measures one size in a process of its own.
fn in_child(name: &str, args: &BenchArgs, n_facts: u32, keep: Option<&Path>) -> anyhow::Result<Value> {
    let clients = args.clients.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut child = Command::new(std::env::current_exe().context("cannot find our own program")?);
    child.args(["--json", "bench", name]);
    child.args(["--facts", &n_facts.to_string(), "--users", &args.users.to_string(), "--seed", &args.seed.to_string()]);
    child.args(["--queries", &args.queries.to_string(), "--clients", &clients]);
    if let Some(dim) = args.dim {
        child.args(["--dim", &dim.to_string()]);
    }
    if args.http {
        child.arg("--http");
    }
    if let Some(keep) = keep {
        child.arg("--keep").arg(keep);
    }
    let done = child.stderr(Stdio::inherit()).output().context("cannot start ourselves")?;
    if !done.status.success() {
        return Err(Failure::new(Exit::Failed, format!("measuring {n_facts} facts failed ({})", done.status)).into());
    }
    let mut report: Value = serde_json::from_slice(&done.stdout).context("cannot read what was measured")?;
    Ok(report["sizes"][0].take())
}

/// Where a made-up root lies.
struct Place {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn new(args: &BenchArgs, n_facts: u32) -> anyhow::Result<Self> {
        if let Some(keep) = &args.keep {
            std::fs::create_dir_all(keep).with_context(|| format!("cannot make {}", keep.display()))?;
            return Ok(Self { path: absolute(keep)?, _temporary: None });
        }
        let folder = tempfile::Builder::new().prefix(&format!("evermark-bench-{n_facts}-")).tempdir()?;
        Ok(Self { path: absolute(folder.path())?, _temporary: Some(folder) })
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}
