//! `evermark bench retrieval`: whether what answers a question is found, on a data set of conversations and questions.
//!
//! Flow: the data set is read whole → every haystack is added and flushed as its user would → everything is indexed → each
//! question is a search → the answers are mapped to the messages that were sent → shares, intervals, latencies.
//!
//! Invariant: what is measured sees messages, speakers, times and the questions' texts, and nothing else of the data set.

mod ask;
mod convert;
mod dataset;
mod load;
mod ranking;
mod report;
mod score;
mod when;

pub(super) use convert::run as convert;

use self::ask::Variant;
use self::dataset::Haystack;
use self::load::{Loaded, Tally};
use self::report::Measured;
use super::absolute;
use super::measure::{self, ms};
use crate::cli::{MethodArg, RetrievalArgs};
use crate::clock;
use crate::config::{Config, Environment, Flags, Root, Source};
use crate::exit::{Exit, Failure};
use crate::output::{Out, Progress, note};
use crate::wiring;
use anyhow::Context;
use evermark_engine::Engine;
use evermark_server::api::MethodName;
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

pub(super) fn run(args: &RetrievalArgs, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    crate::limits::raise_descriptors();
    let folder = tempfile::Builder::new().prefix("evermark-retrieval-").tempdir()?;
    let root = Root { path: absolute(folder.path())?, source: Source::Default };
    let flags = Flags { embedding: args.model.clone(), ..Flags::default() };
    let config = Config::load(root, env, &flags)?;
    let haystacks = read(args, &config)?;
    let engine = wiring::open(&config, wiring::world_of(env)?)?;
    let model = engine.model().cloned();
    let variants = variants(args, model.is_some())?;

    let (loaded, load) = load(&engine, &haystacks, out.json)?;
    let measured = measure(&engine, &haystacks, &loaded, variants, args.top_k, out.json)?;
    engine.close()?;

    let mut report = report::figures(&haystacks, &loaded, &measured);
    let sum = |of: fn(&Haystack) -> usize| haystacks.iter().map(of).sum::<usize>();
    report["bench"] = "retrieval".into();
    report["machine"] = measure::machine();
    report["dataset"] = name(&haystacks, &args.dataset).into();
    report["haystacks"] = haystacks.len().into();
    report["messages"] = sum(Haystack::n_messages).into();
    report["questions"] = sum(|haystack| haystack.questions.len()).into();
    report["without_gold"] = sum(|haystack| haystack.n_without_gold).into();
    report["model"] = model.map_or(Value::Null, |model| format!("{} ({})", model.name, model.dimension).into());
    report["top_k"] = args.top_k.into();
    report["load"] = load;
    if let Some(path) = &args.out {
        let mut whole = report.clone();
        whole["each"] = report::each(&haystacks, &measured);
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer(file, &whole).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if out.json {
        out.document(&report);
    } else {
        report::print(&report, out);
    }
    Ok(Exit::Ok)
}

/// Reads the data set, and refuses one that there is nothing to ask about.
fn read(args: &RetrievalArgs, config: &Config) -> anyhow::Result<Vec<Haystack>> {
    let path = args.dataset.display();
    let file = File::open(&args.dataset).map_err(|error| {
        let failure = Failure::new(Exit::Usage, format!("cannot read the data set {path}: {error}"));
        failure.hint("docs/retrieval.md says what a data set is, and how LoCoMo and LongMemEval are made into one")
    })?;
    let read = dataset::read(BufReader::new(file), &config.settings.timezone, args.limit);
    let mut haystacks = read.map_err(|malformed| Failure::new(Exit::Usage, format!("{path}, {malformed}")))?;
    for haystack in &mut haystacks {
        haystack.questions.truncate(args.queries.unwrap_or(usize::MAX));
    }
    if haystacks.iter().all(|haystack| haystack.questions.is_empty()) {
        return Err(
            Failure::new(Exit::Usage, format!("{path} has no question with gold, so there is nothing to ask")).into()
        );
    }
    Ok(haystacks)
}

/// Returns the ways to search that are measured, keyword first.
fn variants(args: &RetrievalArgs, has_model: bool) -> anyhow::Result<Vec<Variant>> {
    const ALL: [(MethodArg, MethodName); 3] = [
        (MethodArg::Keyword, MethodName::Keyword),
        (MethodArg::Vector, MethodName::Vector),
        (MethodArg::Hybrid, MethodName::Hybrid),
    ];
    let is_wanted = |(arg, _): &&(MethodArg, MethodName)| match args.method.as_slice() {
        [] => has_model || *arg == MethodArg::Keyword,
        named => named.contains(arg),
    };
    let wanted = ALL.iter().filter(is_wanted).collect::<Vec<_>>();
    if args.ablation {
        return Ok(Variant::ablation(has_model));
    }
    if !has_model && wanted.iter().any(|(arg, _)| *arg != MethodArg::Keyword) {
        let failure =
            Failure::new(Exit::Usage, "there is no embedding model, so only `--method keyword` can be measured");
        return Err(failure.hint("name one with --model, or set EVERMARK_EMBEDDING__PROVIDER").into());
    }
    if !has_model && args.method.is_empty() {
        note("note: there is no embedding model, so only keyword search is measured");
    }
    Ok(wanted.into_iter().map(|(_, method)| Variant::new(*method)).collect())
}

/// Remembers and indexes all haystacks. Returns where they are and what that took.
fn load(engine: &Engine, haystacks: &[Haystack], quiet: bool) -> anyhow::Result<(Vec<Loaded>, Value)> {
    let mut tally = Tally::default();
    let adding = clock::now();
    let progress = Progress::new("adding", quiet);
    for (nth, haystack) in haystacks.iter().enumerate() {
        progress.at(nth as u64, haystacks.len() as u64);
        load::load(engine, haystack, nth, &mut tally)?;
    }
    drop(progress);
    let added = adding.elapsed();
    let indexing = clock::now();
    let synced = engine.quiesce()?;
    let indexed = indexing.elapsed();
    let locate = |(nth, haystack)| load::locate(engine, haystack, nth);
    let loaded = haystacks.iter().enumerate().map(locate).collect::<anyhow::Result<_>>()?;
    let report = json!({
        "add_ms": ms(added),
        "index_ms": ms(indexed),
        "rows": synced.rows_upserted,
        "texts_embedded": synced.texts_embedded,
        "episodes": tally.episodes,
        "facts": tally.facts,
        "unextracted": tally.unextracted,
    });
    Ok((loaded, report))
}

fn measure(
    engine: &Engine,
    haystacks: &[Haystack],
    loaded: &[Loaded],
    variants: Vec<Variant>,
    top_k: u8,
    quiet: bool,
) -> anyhow::Result<Vec<Measured>> {
    let progress = Progress::new("asking", quiet);
    let total = (variants.len() * haystacks.len()) as u64;
    let mut done = 0;
    let mut all = Vec::new();
    for variant in variants {
        let mut asked = Vec::new();
        for (haystack, loaded) in haystacks.iter().zip(loaded) {
            progress.at(done, total);
            asked.extend(ask::ask(engine, haystack, loaded, &variant, top_k)?);
            done += 1;
        }
        all.push(Measured { variant, asked });
    }
    Ok(all)
}

/// Returns what the data set calls itself, else its file's name.
fn name(haystacks: &[Haystack], path: &Path) -> String {
    let said = haystacks.iter().map(|haystack| &haystack.dataset).find(|name| !name.is_empty()).cloned();
    said.unwrap_or_else(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}
