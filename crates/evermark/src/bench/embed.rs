//! How fast the built-in model is: texts per second on one thread, and what its first use costs.

use super::generate::Words;
use super::measure::{self, ms};
use crate::cli::EmbedArgs;
use crate::clock;
use crate::exit::Exit;
use crate::output::Out;
use anyhow::{Context, ensure};
use evermark_core::embed::{Embedder, Purpose};
use evermark_models::builtin::BuiltinEmbedder;
use fastrand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

/// Words that facts about people are made of.
const ENGLISH: &str = "the a to and of in is was for with on at from has have her his their plans bought moved started \
    likes works visited sister brother mother doctor garden kitchen guitar mountain weekend morning yesterday Tuesday \
    birthday adopted puppy kittens painting marathon interview apartment Barcelona Stockholm allergic peanuts vegetarian \
    promoted engineer hospital concert photography camping scholarship graduated renovating bicycle insurance invoice";

/// Texts of one call, as the indexer has them.
const CALL: usize = 2048;

pub(super) fn run(args: &EmbedArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let mut rng = Rng::with_seed(args.seed);
    let before = measure::process();
    let started = clock::now();
    let embedder = BuiltinEmbedder::new();
    let made = started.elapsed();
    let first = embedder.word("garden").context("the built-in model reads English")?;
    let first_word = started.elapsed();
    ensure!(first.len() == embedder.model().dimension, "a vector has another width than the model");
    let english: Vec<&str> = ENGLISH.split_whitespace().collect();
    let sentence = |rng: &mut Rng| {
        let words = (0..rng.usize(8..=16)).map(|_| english[rng.usize(0..english.len())]);
        words.collect::<Vec<_>>().join(" ") + "."
    };
    let (mut plain, mut strange) = (Vec::new(), Vec::new());
    let words = Words::new(&mut rng);
    for _ in 0..args.texts.max(1) {
        plain.push(sentence(&mut rng));
        strange.push(words.sentence(&mut rng));
    }
    let report = json!({
        "bench": "embed",
        "machine": measure::machine(),
        "model": embedder.model().name,
        "dimension": embedder.model().dimension,
        "open_ms": ms(made),
        "first_word_ms": ms(first_word),
        "english": rate(&embedder, &plain)?,
        "unknown_words": rate(&embedder, &strange)?,
        "before": before,
        "after": measure::process(),
    });
    if out.json {
        out.document(&report);
        return Ok(Exit::Ok);
    }
    out.line(format_args!("{} ({} components)", embedder.model().name, embedder.model().dimension));
    out.line(format_args!("  opened in {} ms, first word after {} ms", report["open_ms"], report["first_word_ms"]));
    for (name, what) in [("english", "sentences of common words"), ("unknown_words", "sentences of unknown words")] {
        let (rate, mean) = (&report[name]["texts_per_second"], &report[name]["mean_chars"]);
        out.line(format_args!("  {what}: {rate} texts/s on one thread ({mean} characters each)"));
    }
    Ok(Exit::Ok)
}

/// Measures one thread over these texts.
fn rate(embedder: &BuiltinEmbedder, texts: &[String]) -> anyhow::Result<Value> {
    let chars: usize = texts.iter().map(String::len).sum();
    let started = clock::now();
    for call in texts.chunks(CALL) {
        let vectors = embedder.embed(call, Purpose::Passage, Duration::ZERO)?;
        ensure!(vectors.len() == call.len(), "a text has no vector");
    }
    let took = started.elapsed();
    Ok(json!({
        "texts": texts.len(),
        "mean_chars": chars / texts.len(),
        "took_ms": ms(took),
        "texts_per_second": texts.len() as u128 * 1_000_000 / took.as_micros().max(1),
    }))
}
