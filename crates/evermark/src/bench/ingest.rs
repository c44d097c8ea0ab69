//! From Markdown files to searchable facts: a root that was never indexed.

use super::generate::Made;
use super::measure::{self, allocated, bytes, figure, ms};
use crate::clock;
use crate::config::{Config, Environment};
use crate::output::Out;
use crate::wiring;
use anyhow::ensure;
use evermark_core::id::{Owner, Scope};
use evermark_engine::Engine;
use evermark_engine::search::{Method, SearchRequest};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn run(config: &Config, env: &Environment, made: &Made) -> anyhow::Result<Value> {
    let world = wiring::world_of(env)?;
    let index = config.root.path.join(".index");
    if index.exists() {
        std::fs::remove_dir_all(&index)?;
    }
    let (user, text) = made.samples.last().cloned().unwrap_or_default();

    let started = clock::now();
    let engine = wiring::open(config, world)?;
    let open = started.elapsed();
    let indexing = clock::now();
    let report = engine.quiesce()?;
    let indexed = indexing.elapsed();
    ensure!(find(&engine, &user, &text)?, "the last fact is not found after indexing");
    let after = measure::process();
    engine.close()?;

    let n_rows = report.rows_upserted;
    Ok(json!({
        "open_ms": ms(open),
        "index_ms": ms(indexed),
        "facts_per_s": per_second(facts_of(made, n_rows), indexed),
        "rows_per_s": per_second(n_rows, indexed),
        "rows": n_rows,
        "index_bytes": allocated(&index),
        "process": after,
    }))
}

fn facts_of(made: &Made, n_rows: u64) -> u64 {
    n_rows.saturating_sub(made.n_episodes as u64)
}

fn per_second(n: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let rate = n as f64 / took.as_secs_f64().max(1e-9);
    rate.round()
}

/// Tells whether a search by a fact's own words finds an episode.
pub(super) fn find(engine: &Engine, user: &str, text: &str) -> anyhow::Result<bool> {
    let answer = engine.search(SearchRequest {
        method: Some(Method::Keyword),
        top_k: Some(10),
        ..SearchRequest::new(Owner::user(Scope::default(), user), text)
    })?;
    Ok(!answer.episodes.is_empty())
}

pub(super) fn print(size: &Value, out: &mut Out) {
    let fact = |pointer: &str, digits| figure(size, pointer, digits);
    out.line(format_args!(
        "{} facts and {} episodes of {} users in {} files ({})",
        fact("/facts", 0),
        fact("/episodes", 0),
        fact("/users", 0),
        fact("/files", 0),
        bytes(size, "/markdown_bytes"),
    ));
    out.line(format_args!(
        "  ingest     {} ms: {} facts/s, {} rows/s",
        fact("/index_ms", 0),
        fact("/facts_per_s", 0),
        fact("/rows_per_s", 0)
    ));
    out.line(format_args!(
        "  start      {} ms; first answer after {} ms",
        fact("/start/open_ms", 1),
        fact("/start/first_answer_ms", 1)
    ));
    for (name, at) in [("ingested", "/process"), ("idle", "/start/idle"), ("one user", "/start/after_first_answer")] {
        out.line(format_args!(
            "  {name:10} {} resident, {} at most, {} descriptors, {} threads",
            bytes(size, &format!("{at}/rss_bytes")),
            bytes(size, &format!("{at}/rss_max_bytes")),
            fact(&format!("{at}/descriptors"), 0),
            fact(&format!("{at}/threads"), 0),
        ));
    }
    out.line(format_args!("  index      {} on disk", bytes(size, "/index_bytes")));
}
