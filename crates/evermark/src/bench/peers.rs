//! `evermark bench peers`: the same memories in Evermark, in EverOS and in basic-memory, measured in the same way one after the
//! other: each with the vectors of our built-in table, each searched over HTTP by the same client.
//!
//! From files to searchable is the time a program takes from its start until everything is found, less the time it takes to start
//! on nothing. What a program does not do, or what fails, is said in its place; nothing is made up.

mod base64;
mod notes;
mod programs;
mod python;
mod vectors;

use self::programs::{BasicMemory, EverOs, Evermark, Program};
use self::vectors::Endpoint;
use super::figures::ask::{self, Place, Request, all_at_once};
use super::figures::stir::files;
use super::generate;
use super::latency::ms;
use super::process::{self, Process};
use super::search::{Question, questions};
use super::wire::Wire;
use super::{aims, measure, table};
use crate::cli::{PeerArg, PeersArgs};
use crate::clock;
use crate::config::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

const METHODS: [&str; 3] = ["keyword", "vector", "hybrid"];
/// Searches of each method that are not counted: the first ones meet cold caches.
const WARMED: usize = 30;
/// Facts that are asked for to see that everything is searchable.
const PROBES: usize = 12;
const GLANCE: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_secs(2);

/// What is the same for all of them.
pub(super) struct Task {
    /// Markdown of an EverOS root.
    files: Vec<(PathBuf, Vec<u8>)>,
    n_facts: u32,
    n_episodes: usize,
    markdown_bytes: u64,
    questions: Vec<Question>,
    /// User and text of facts from everywhere.
    probes: Vec<Question>,
    clients: usize,
    patience: Duration,
}

pub(super) fn run(args: &PeersArgs, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    if args.facts < 20 || args.users == 0 || args.clients == 0 || args.queries == 0 {
        let message = "--facts needs at least 20; --users, --clients and --queries at least 1";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    crate::limits::raise_descriptors();
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("evermark-peers-");
    let folder = match &args.dir {
        Some(dir) => builder.tempdir_in(dir).with_context(|| format!("cannot make a folder in {}", dir.display()))?,
        None => builder.tempdir()?,
    };
    process::put_away_when_asked(folder.path())?;
    let task = task(args, folder.path())?;
    let endpoint = Endpoint::start()?;
    let mut programs = Vec::new();
    for peer in [PeerArg::Evermark, PeerArg::Everos, PeerArg::BasicMemory] {
        if !args.only.is_empty() && !args.only.contains(&peer) {
            continue;
        }
        let name = peer.name();
        note(format_args!("{name} …"));
        let place = folder.path().join(name);
        std::fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
        let measured =
            prepared(peer, args, env, &endpoint, &place).and_then(|program| one(&*program, &task, &endpoint));
        programs.push(measured.unwrap_or_else(|error| {
            note(format_args!("  {name} cannot be measured: {error:#}"));
            json!({ "name": name, "failed": format!("{error:#}") })
        }));
        std::fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    let report = json!({
        "bench": "peers", "machine": measure::machine(), "facts": task.n_facts, "episodes": task.n_episodes,
        "users": args.users, "seed": args.seed, "markdown_bytes": task.markdown_bytes, "clients": task.clients,
        "dimension": evermark_models::builtin::DIMENSION, "programs": programs,
    });
    if let Some(path) = &args.out {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer_pretty(file, &report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if out.json {
        out.document(&report);
    } else {
        out.line(title(&report));
        let (headings, rows) = aims::beside(&report);
        for line in table::text(headings.each_ref().map(String::as_str), &rows) {
            out.line(line);
        }
        for line in remarks(&report) {
            out.line(format_args!("  {line}"));
        }
    }
    let n_measured = programs.iter().filter(|program| program["failed"].is_null()).count();
    Ok(if n_measured > 0 { Exit::Ok } else { Exit::Failed })
}

/// Returns what was compared, as a title.
pub(super) fn title(report: &Value) -> String {
    let of = |key: &str| aims::count(report[key].as_f64().unwrap_or_default());
    format!(
        "{} facts and {} episodes of {} users, vectors of {} components, over HTTP",
        of("facts"),
        of("episodes"),
        of("users"),
        of("dimension")
    )
}

/// Returns why something was not measured, and how something was.
pub(super) fn remarks(report: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    for program in report["programs"].as_array().into_iter().flatten() {
        let name = program["name"].as_str().unwrap_or_default();
        remarks.extend(program["failed"].as_str().map(|why| format!("{name}: not measured: {why}")));
        let said = program["remarks"].as_array().into_iter().flatten().filter_map(Value::as_str);
        remarks.extend(said.map(|remark| format!("{name}: {remark}")));
    }
    remarks
}

fn task(args: &PeersArgs, folder: &Path) -> anyhow::Result<Task> {
    let made_in = folder.join("made");
    std::fs::create_dir(&made_in).with_context(|| format!("cannot make {}", made_in.display()))?;
    let spec = generate::Spec { n_facts: args.facts, n_users: args.users.min(args.facts), seed: args.seed };
    let made = generate::root(&made_in, spec)?;
    let step = (made.samples.len() / PROBES).max(1);
    let probes = made.samples.iter().rev().step_by(step).take(PROBES);
    Ok(Task {
        files: files(&made_in)?,
        n_facts: args.facts,
        n_episodes: made.n_episodes,
        markdown_bytes: made.n_bytes,
        questions: questions(&made, args.queries as usize, args.seed),
        probes: probes.map(|(user, query)| Question { user: user.clone(), query: query.clone() }).collect(),
        clients: usize::from(args.clients),
        patience: Duration::from_secs(args.patience_seconds),
    })
}

/// Installs a program where it is not there yet, and gives it a place.
fn prepared(
    peer: PeerArg,
    args: &PeersArgs,
    env: &Environment,
    endpoint: &Endpoint,
    place: &Path,
) -> anyhow::Result<Box<dyn Program>> {
    if peer == PeerArg::Evermark {
        return Ok(Box::new(Evermark::new(place)));
    }
    let cache = match (&args.cache, env.get("XDG_CACHE_HOME"), env.get("HOME")) {
        (Some(cache), _, _) => cache.clone(),
        (None, Some(cache), _) => Path::new(cache).join("evermark/peers"),
        (None, None, Some(home)) => Path::new(home).join(".cache/evermark/peers"),
        (None, None, None) => anyhow::bail!("HOME is not set: name a folder for other programs with --cache"),
    };
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let python = python::find(args.python.as_deref(), env.get("HOME"))?;
    Ok(match peer {
        PeerArg::Everos => Box::new(EverOs::prepare(&python, &cache, endpoint, place)?),
        _ => Box::new(BasicMemory::prepare(&python, &cache, endpoint, place)?),
    })
}

/// Measures one program.
fn one(program: &dyn Program, task: &Task, endpoint: &Endpoint) -> anyhow::Result<Value> {
    let empty = program.index_nothing()?;
    program.put(&task.files)?;
    let embedding = endpoint.spent();
    let started = clock::now();
    let served = program.index_all(task.patience)?;
    let (process, place, path) = (served.process, served.place, served.path);
    if served.is_indexing {
        let mut wire = Wire::connect(&place.url)?;
        for probe in &task.probes {
            let body = program.search(probe, "keyword").to_string();
            while !has(&mut wire, &place, &path, &body, &probe.query)? {
                ensure!(started.elapsed() < task.patience, "not searchable within {} s", task.patience.as_secs());
                clock::pause(GLANCE);
            }
        }
        while !program.is_idle(&place)? {
            ensure!(started.elapsed() < task.patience, "not at rest within {} s", task.patience.as_secs());
            clock::pause(GLANCE);
        }
    }
    let took = served.indexed.unwrap_or_else(|| started.elapsed());
    let embedding = endpoint.spent() - embedding;
    let indexing = took.saturating_sub(empty);
    note(format_args!("  searchable after {:.1} s; searching …", took.as_secs_f64()));
    let mut searches = Vec::new();
    let mut remarks = program.remarks();
    for method in METHODS {
        let request = |question| Request { path: path.clone(), body: program.search(question, method).to_string() };
        let requests = task.questions.iter().map(request).collect::<Vec<_>>();
        let mut wire = Wire::connect(&place.url)?;
        let warm = requests.iter().take(WARMED).try_for_each(|request| ask::ask(&mut wire, &place, request).map(drop));
        for n_clients in [1, task.clients] {
            let asked = match &warm {
                Ok(()) => all_at_once(&place, &requests, n_clients),
                Err(error) => Err(anyhow::anyhow!("{error:#}")),
            };
            match asked {
                Ok(mut search) => {
                    search["method"] = method.into();
                    searches.push(search);
                }
                Err(error) => {
                    remarks.push(format!("{method} by {n_clients} clients: {error:#}"));
                    break;
                }
            }
        }
    }
    clock::pause(REST);
    let memory = process.tree();
    let index_bytes = program.index_bytes();
    process.stop()?;
    Ok(json!({
        "name": program.name(), "version": program.version()?, "remarks": remarks,
        "start_ms": ms(empty), "searchable_ms": ms(took), "embedding_ms": ms(embedding),
        "facts_per_s": f64::from(task.n_facts) / indexing.as_secs_f64().max(1e-3),
        "search": searches, "memory": memory, "index_bytes": index_bytes,
    }))
}

/// Tells whether an answer holds the text.
fn has(wire: &mut Wire, place: &Place, path: &str, body: &str, text: &str) -> anyhow::Result<bool> {
    let (status, answer) = wire.send(place.verb, path, body)?;
    Ok(status == 200 && String::from_utf8_lossy(answer).contains(text))
}

/// A program that serves, and whether it still has to index.
pub(super) struct Served {
    process: Process,
    place: Place,
    path: String,
    is_indexing: bool,
    /// How long indexing took, where that was another process's work.
    indexed: Option<Duration>,
}
