//! Opening a root that is indexed already, as a daemon does each morning.

use super::generate::Made;
use super::ingest::find;
use super::measure::{self, ms};
use crate::clock;
use crate::config::{Config, Environment};
use crate::wiring;
use anyhow::ensure;
use serde_json::{Value, json};
use std::time::Duration;

/// The loops get this long to come to rest before memory is read.
const REST: Duration = Duration::from_secs(1);

pub(super) fn run(config: &Config, env: &Environment, made: &Made) -> anyhow::Result<Value> {
    let world = wiring::world_of(env)?;
    let (user, text) = made.samples.last().cloned().unwrap_or_default();
    let before = measure::process();
    let started = clock::now();
    let engine = wiring::open(config, world)?;
    engine.start()?;
    let open = started.elapsed();
    clock::pause(REST);
    let idle = measure::process();
    let asked = clock::now();
    ensure!(find(&engine, &user, &text)?, "the last fact is not found after opening again");
    let first_answer = open + asked.elapsed();
    let after = measure::process();
    engine.close()?;
    Ok(json!({
        "open_ms": ms(open),
        "first_answer_ms": ms(first_answer),
        "before": before,
        "idle": idle,
        "after_first_answer": after,
    }))
}
