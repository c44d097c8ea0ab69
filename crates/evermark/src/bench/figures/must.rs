//! What the work cannot do without: the bytes a search has to read, the texts that have to be embedded.
//!
//! A search passes over every vector of its owner's facts (and, as hybrid, of the episodes), and reads the postings of its terms.
//! How many there are is counted in the owner's own files.

use super::machine::rate;
use crate::bench::generate::{self, Spec};
use crate::bench::search::Question;
use crate::clock;
use anyhow::Context;
use evermark_core::embed::{Embedder, Purpose};
use evermark_core::id::{Kind, Owner};
use evermark_core::markdown::{path_for, read_file};
use evermark_core::memory::Memory;
use evermark_core::text;
use evermark_models::builtin::{BuiltinEmbedder, DIMENSION};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Texts of one call, as the indexer has them.
const CALL: usize = 2048;
/// What else the machine does makes a limit no lower: the quickest of so many times counts.
const EMBEDDED_TIMES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(600);
/// Questions whose terms are counted.
const ASKED_MAX: usize = 1000;
/// A row's number and how often it holds the term, as `core::shelf` keeps them.
const POSTING_BYTES: usize = 6;
/// The least that a pass over vectors can read of a component and find the same in the end: see decision 0014.
const COMPONENT_BYTES: usize = 1;

/// The rows of one kind: how many, and how many hold each term.
#[derive(Default)]
struct Rows {
    n: usize,
    holding: HashMap<String, usize>,
}

impl Rows {
    fn add(&mut self, memory: &Memory) {
        self.n += 1;
        let terms = text::terms(&memory.body.search_text()).into_iter().collect::<HashSet<_>>();
        terms.into_iter().for_each(|term| *self.holding.entry(term).or_default() += 1);
    }

    fn vector_bytes(&self) -> usize {
        self.n * DIMENSION * COMPONENT_BYTES
    }

    /// Returns the mean bytes of postings that a question's terms have.
    fn posting_bytes(&self, questions: &[Question]) -> f64 {
        let asked = questions.iter().take(ASKED_MAX);
        let n_asked = asked.len().max(1);
        let terms = asked.flat_map(|question| text::query_terms(&question.query));
        let n_postings: usize = terms.filter_map(|term| self.holding.get(&term)).sum();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let mean = (n_postings * POSTING_BYTES) as f64 / n_asked as f64;
        mean
    }
}

/// Returns what searching one owner has to read, and how fast the facts of this root can be embedded.
pub(super) fn measure(root: &Path, spec: Spec, questions: &[Question]) -> anyhow::Result<Value> {
    let memories = memories(root, &generate::owner(0), spec.n_facts.div_ceil(spec.n_users) as usize)?;
    let (mut facts, mut episodes) = (Rows::default(), Rows::default());
    for memory in &memories {
        if memory.kind() == Kind::AtomicFact { &mut facts } else { &mut episodes }.add(memory);
    }
    let words = (facts.posting_bytes(questions), episodes.posting_bytes(questions));
    #[expect(clippy::cast_precision_loss, reason = "bytes of one owner")]
    let hybrid = (facts.vector_bytes() + episodes.vector_bytes()) as f64 + words.0 + words.1;
    Ok(json!({
        "owner_facts": facts.n,
        "owner_episodes": episodes.n,
        "keyword_bytes": words.1.round(),
        "vector_bytes": facts.vector_bytes(),
        "hybrid_bytes": hybrid.round(),
        "embed_facts_per_s": rate(facts.n, embedding(&memories)?),
    }))
}

/// Returns how long all texts of the memories take to be embedded.
fn embedding(memories: &[Memory]) -> anyhow::Result<Duration> {
    let embedder = BuiltinEmbedder::new();
    // The first text finds the table packed.
    embedder.embed(&["garden".to_owned()], Purpose::Passage, PATIENCE)?;
    let mut took = Duration::ZERO;
    for call in memories.chunks(CALL) {
        let texts = call.iter().filter_map(|memory| memory.body.embed_text()).collect::<Vec<_>>();
        let mut least = Duration::MAX;
        for _ in 0..EMBEDDED_TIMES {
            let started = clock::now();
            embedder.embed(&texts, Purpose::Passage, PATIENCE)?;
            least = least.min(started.elapsed());
        }
        took += least;
    }
    Ok(took)
}

/// Reads an owner's facts, and their episodes, from the files.
fn memories(root: &Path, owner: &Owner, n_facts: usize) -> anyhow::Result<Vec<Memory>> {
    let mut memories = Vec::new();
    for (day, _) in generate::days(n_facts) {
        for kind in [Kind::AtomicFact, Kind::Episode] {
            let rel = path_for(owner, kind, day)?;
            let bytes = std::fs::read(root.join(&rel)).with_context(|| format!("cannot read {rel}"))?;
            memories.extend(read_file(&rel, &bytes, &jiff::tz::TimeZone::UTC, &[]).memories);
        }
    }
    Ok(memories)
}
