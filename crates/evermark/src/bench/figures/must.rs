//! What the work cannot do without: the bytes a search has to read, the texts that have to be embedded.
//!
//! A search reads every vector of its owner's facts (and, as hybrid, of the episodes), and the postings of its terms. Both
//! are taken from a shelf made of the owner's own files, as the index makes it: its bytes of vectors, and six bytes for each
//! row that holds a term.

use super::machine::rate;
use crate::bench::generate::{self, Spec};
use crate::bench::search::Question;
use crate::clock;
use anyhow::Context;
use evermark_core::embed::{Embedder, Purpose};
use evermark_core::id::{Kind, Owner};
use evermark_core::markdown::{path_for, read_file};
use evermark_core::memory::Memory;
use evermark_core::shelf::{Payloads, Shelf, ShelfRow};
use evermark_core::text;
use evermark_models::builtin::BuiltinEmbedder;
use serde_json::{Value, json};
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
const POSTING_BYTES: f64 = 6.0;

/// Returns what searching one owner has to read, and how fast the facts of this root can be embedded.
pub(super) fn measure(root: &Path, spec: Spec, questions: &[Question]) -> anyhow::Result<Value> {
    let owner = generate::owner(0);
    let n_facts = spec.n_facts.div_ceil(spec.n_users) as usize;
    let memories = memories(root, &owner, n_facts)?;
    let embedder = BuiltinEmbedder::new();
    let width = embedder.model().dimension;
    // The first text finds the table packed.
    embedder.embed(&["garden".to_owned()], Purpose::Passage, PATIENCE)?;
    let mut of = [Kind::AtomicFact, Kind::Episode].map(|kind| (kind, Vec::new()));
    let mut embedding = Duration::ZERO;
    for call in memories.chunks(CALL) {
        let texts = call.iter().map(|memory| memory.body.embed_text().unwrap_or_default()).collect::<Vec<_>>();
        let (mut least, mut vectors) = (Duration::MAX, Vec::new());
        for _ in 0..EMBEDDED_TIMES {
            let started = clock::now();
            vectors = embedder.embed(&texts, Purpose::Passage, PATIENCE)?;
            least = least.min(started.elapsed());
        }
        embedding += least;
        for (memory, vector) in call.iter().zip(vectors) {
            let tokens = text::joined(&memory.body.search_text());
            let rows = of.iter_mut().find(|(kind, _)| *kind == memory.kind());
            rows.context("a made-up root holds facts and episodes")?.1.push((memory, tokens, vector));
        }
    }
    let mut shelves = Vec::new();
    for (kind, rows) in &of {
        let rows = rows.iter().map(|(memory, tokens, vector)| ShelfRow {
            tokens,
            vector: Some(vector),
            memory: None,
            ..row(memory)
        });
        shelves.push((*kind, Shelf::build(owner.clone(), Some(width), Payloads::LeaveOut, rows)?));
    }
    let words = |(kind, shelf): &(Kind, Shelf)| posting_bytes(shelf, *kind, questions);
    let vectors = |(_, shelf): &(Kind, Shelf)| shelf.bytes_by_part().vectors;
    let [facts, episodes] = &shelves[..] else { anyhow::bail!("two shelves") };
    #[expect(clippy::cast_precision_loss, reason = "bytes of one owner")]
    let (fact_vectors, episode_vectors) = (vectors(facts) as f64, vectors(episodes) as f64);
    Ok(json!({
        "owner_facts": of[0].1.len(),
        "owner_episodes": of[1].1.len(),
        "keyword_bytes": words(episodes).round(),
        "vector_bytes": fact_vectors,
        "hybrid_bytes": (fact_vectors + episode_vectors + words(facts) + words(episodes)).round(),
        "embed_facts_per_s": rate(of[0].1.len(), embedding),
    }))
}

fn row(memory: &Memory) -> ShelfRow<'_> {
    ShelfRow {
        kind: memory.kind(),
        id: &memory.id,
        parent_type: memory.parent_type.as_deref(),
        parent_id: memory.parent_id.as_deref(),
        session_id: memory.session_id.as_deref(),
        timestamp_us: memory.timestamp_us,
        sender_ids: &memory.sender_ids,
        deprecated: false,
        path: &memory.path,
        digest: memory.digest(),
        tokens: "",
        vector: None,
        memory: None,
    }
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

/// Returns the mean bytes of postings that a question's terms have on a shelf.
fn posting_bytes(shelf: &Shelf, kind: Kind, questions: &[Question]) -> f64 {
    let asked = questions.iter().take(ASKED_MAX);
    let n_asked = asked.len().max(1);
    let n_postings: u64 = asked.flat_map(|question| shelf.holding(kind, &text::query_terms(&question.query))).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let mean = n_postings as f64 / n_asked as f64;
    mean * POSTING_BYTES
}
