//! How fast the built-in model is, or one from a folder: texts per second, and what its first use costs.

use super::generate::Words;
use super::measure::{self, ms};
use crate::cli::EmbedArgs;
use crate::clock;
use crate::exit::Exit;
use crate::output::Out;
use crate::world::world;
use anyhow::ensure;
use evermark_core::embed::{Embedder, Purpose};
use evermark_models::builtin::BuiltinEmbedder;
use evermark_models::local::LocalEmbedder;
use fastrand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

/// Words that facts about people are made of.
const ENGLISH: &str = "the a to and of in is was for with on at from has have her his their plans bought moved started \
    likes works visited sister brother mother doctor garden kitchen guitar mountain weekend morning yesterday Tuesday \
    birthday adopted puppy kittens painting marathon interview apartment Barcelona Stockholm allergic peanuts vegetarian \
    promoted engineer hospital concert photography camping scholarship graduated renovating bicycle insurance invoice";

/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Texts of one call, as the indexer has them.
const CALL: usize = 2048;

pub(super) fn run(args: &EmbedArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let mut rng = Rng::with_seed(args.seed);
    let before = measure::process();
    let started = clock::now();
    let embedder: Box<dyn Embedder> = match &args.model {
        Some(dir) => Box::new(LocalEmbedder::open(dir, &dir.display().to_string(), world(None, None)?)?),
        None => Box::new(BuiltinEmbedder::new()),
    };
    let embedder = embedder.as_ref();
    let made = started.elapsed();
    embedder.embed(&["garden".to_owned()], Purpose::Passage, PATIENCE)?;
    let first_word = started.elapsed();
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
        "english": rate(embedder, &plain)?,
        "unknown_words": rate(embedder, &strange)?,
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
        out.line(format_args!("  {what}: {rate} texts/s ({mean} characters each)"));
    }
    Ok(Exit::Ok)
}

/// Measures these texts. The built-in model uses one thread, one from a folder as many as it would anywhere.
fn rate(embedder: &dyn Embedder, texts: &[String]) -> anyhow::Result<Value> {
    let chars: usize = texts.iter().map(String::len).sum();
    let started = clock::now();
    for call in texts.chunks(CALL) {
        let vectors = embedder.embed(call, Purpose::Passage, PATIENCE)?;
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
