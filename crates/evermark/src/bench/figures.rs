//! `evermark bench figures`: everything that is aimed at, in one run, each beside what this machine allows.
//!
//! Flow, for each size: a made-up root → what its work cannot do without → indexed in a process of its own → searched in this
//! process → a daemon as a process of its own, started afresh a few times, weighed, searched over HTTP, edited, and searched
//! while files rain in, while it merges and while it rebuilds.

pub(super) mod ask;
mod edits;
mod machine;
mod must;
pub(super) mod stir;
mod trial;

use super::generate;
use super::measure::{self, allocated};
use super::{absolute, aims, in_child, process, search, table};
use crate::cli::{BenchArgs, FiguresArgs};
use crate::clock;
use crate::config::{Config, Environment, Flags, Root, Source};
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use anyhow::Context;
use serde_json::{Value, json};
use std::fs::File;

const DAYS_MIN: usize = 8;

pub(super) fn run(args: &FiguresArgs, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    // Some of a root's days are replaced as a whole, others are edited.
    let days = |n_facts: u32| {
        let share = n_facts / args.users.max(1);
        let per_day = generate::FACTS_PER_EPISODE * generate::EPISODES_PER_DAY;
        args.users as usize * (share as usize).div_ceil(per_day)
    };
    if args.users == 0 || args.facts.iter().any(|n| days(*n) < DAYS_MIN) {
        let message = "--users needs at least 1, --facts enough for eight days of all users: fifty make a day of one";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    crate::limits::raise_descriptors();
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("evermark-figures-");
    let folder = match &args.dir {
        Some(dir) => builder.tempdir_in(dir).with_context(|| format!("cannot make a folder in {}", dir.display()))?,
        None => builder.tempdir()?,
    };
    process::put_away_when_asked(folder.path())?;
    note("memory and disk …");
    let limits = machine::measure(folder.path())?;
    let mut sizes = Vec::new();
    for n_facts in &args.facts {
        let place = tempfile::Builder::new().prefix(&format!("{n_facts}-")).tempdir_in(folder.path())?;
        sizes.push(one(args, *n_facts, place.path(), env)?);
        if let Some(path) = &args.out {
            // After each size: what comes later may be stopped.
            write(path, &report(&limits, &sizes))?;
        }
    }
    let report = report(&limits, &sizes);
    if out.json {
        out.document(&report);
        return Ok(Exit::Ok);
    }
    for line in described(&limits) {
        out.line(line);
    }
    for size in &sizes {
        out.line("");
        out.line(title(size));
        for line in table::text(aims::HEADINGS, &rows(size, &limits)) {
            out.line(line);
        }
        for line in remarks(size, &limits) {
            out.line(format_args!("  {line}"));
        }
    }
    Ok(Exit::Ok)
}

fn report(limits: &Value, sizes: &[Value]) -> Value {
    json!({ "bench": "figures", "machine": measure::machine(), "limits": limits, "sizes": sizes })
}

fn write(path: &std::path::Path, report: &Value) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    serde_json::to_writer_pretty(file, report).with_context(|| format!("cannot write {}", path.display()))
}

/// Measures one size in an empty folder.
fn one(args: &FiguresArgs, n_facts: u32, folder: &std::path::Path, env: &Environment) -> anyhow::Result<Value> {
    let spec = generate::Spec { n_facts, n_users: args.users.min(n_facts), seed: args.seed };
    let root = folder.join("root");
    std::fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let root = absolute(&root)?;
    note(format_args!("{n_facts} facts: writing the root …"));
    let started = clock::now();
    let made = generate::root(&root, spec)?;
    note(format_args!(
        "  {} files in {:.1} s; what must be read and embedded …",
        made.n_files,
        started.elapsed().as_secs_f64()
    ));
    let config = Config::load(Root { path: root.clone(), source: Source::Flag("--dir") }, env, &Flags::default())?;
    let searched = bench_args(args, n_facts);
    let questions = search::questions(&made, args.queries.max(1) as usize, args.seed);
    let read = machine::read_files(&root)?;
    let must = must::measure(&root, spec, &questions)?;

    note("  indexing …");
    let ingest = in_child("ingest", &searched, n_facts, Some(&root))?;
    note(format_args!("  {} facts/s; searching in the process …", ingest["facts_per_s"]));
    let mut inside = search::run(&config, env, &made, &searched)?;
    let mut all = inside["methods"].take().as_array().cloned().unwrap_or_default();
    all.iter_mut().for_each(|search| search["over"] = "process".into());

    let mut trial = trial::Trial::new(args, spec, &made, &root, folder)?;
    let start = trial.starts()?;
    let (over_http, memory, disk, during, edits) = trial.serve()?;
    all.extend(over_http);
    let dimension = evermark_models::builtin::DIMENSION;
    let n_rows = u64::from(n_facts) + made.n_episodes as u64;
    let mut disk = disk;
    disk["text_bytes"] = made.n_bytes.into();
    disk["vector_bytes"] = (n_rows * dimension as u64 * 4).into();
    disk["cache_bytes"] = allocated(&root.join(".evermark")).into();
    Ok(json!({
        "facts": n_facts, "episodes": made.n_episodes, "users": spec.n_users, "files": made.n_files,
        "markdown_bytes": made.n_bytes, "dimension": dimension, "seed": args.seed,
        "settle_ms": clock::millis(config.settings.settle),
        "read": read, "must": must, "ingest": ingest, "search": all, "start": start, "memory": memory,
        "disk": disk, "during": during, "edits": edits,
    }))
}

/// What `bench ingest` and `bench search` would be asked for.
fn bench_args(args: &FiguresArgs, n_facts: u32) -> BenchArgs {
    BenchArgs {
        facts: vec![n_facts],
        users: args.users.min(n_facts),
        seed: args.seed,
        queries: args.queries,
        clients: vec![1, args.clients],
        dim: None,
        http: false,
        out: None,
        keep: None,
    }
}

/// Returns the table's cells.
pub(super) fn rows(size: &Value, limits: &Value) -> Vec<[String; 7]> {
    aims::lines(size, limits).iter().map(aims::cells).collect()
}

/// Returns what a size is, as a title.
pub(super) fn title(size: &Value) -> String {
    let of = |key: &str| aims::count(size[key].as_f64().unwrap_or_default());
    format!(
        "{} facts and {} episodes of {} users in {} files, vectors of {} components",
        of("facts"),
        of("episodes"),
        of("users"),
        of("files"),
        of("dimension")
    )
}

/// Returns what the machine can do, in words.
pub(super) fn described(limits: &Value) -> Vec<String> {
    let per_s = |pointer: &str| measure::figure_of(limits, pointer, 1e-9, 1);
    let sync = |key: &str| measure::figure(limits, &format!("/sync/{key}"), 2);
    vec![
        format!(
            "memory is read at {} GB/s by one thread, at {} GB/s by {}",
            per_s("/memory_bytes_per_s"),
            per_s("/memory_bytes_per_s_all"),
            limits["threads"]
        ),
        format!(
            "SHA-256 {} GB/s; the disk takes {} GB/s, and a small write is durable after {} ms (p50), {} ms (p99)",
            per_s("/hash_bytes_per_s"),
            per_s("/disk_bytes_per_s"),
            sync("p50_ms"),
            sync("p99_ms")
        ),
        format!("load before: {}", measure::figure(limits, "/load", 2)),
    ]
}

/// Returns what the table has no room for.
pub(super) fn remarks(size: &Value, limits: &Value) -> Vec<String> {
    let parts = aims::ingest_limits(size, limits);
    let parts = parts.iter().map(|(name, rate)| format!("{name} {} facts/s", aims::digits(*rate)));
    let n = |pointer: &str| measure::figure(size, pointer, 0);
    let bytes = |pointer: &str| measure::bytes(size, pointer);
    let mut remarks = vec![
        format!("ingest cannot be faster than: {}", parts.collect::<Vec<_>>().join(", ")),
        format!(
            "samples: {} edits idle, {} under ingest, {} beside replaced files; searches during ingest {}, replacing {}, \
             compaction {} ({} s of it), rebuild {}",
            n("/edits/idle/n"),
            n("/edits/ingest/n"),
            n("/edits/replacing/n"),
            n("/during/ingest/took/n"),
            n("/during/replacing/took/n"),
            n("/during/compaction/took/n"),
            measure::figure(size, "/during/compaction/seconds", 1),
            n("/during/rebuild/took/n")
        ),
        format!(
            "index: {} live, reserve of {} for a full disk not counted; embedding cache {}",
            bytes("/disk/live_bytes"),
            bytes("/disk/reserve_bytes"),
            bytes("/disk/cache_bytes")
        ),
    ];
    remarks.extend(
        size.pointer("/during/failed").and_then(Value::as_str).map(|why| format!("what is missing failed: {why}")),
    );
    remarks
}
