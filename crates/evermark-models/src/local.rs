//! A transformer on this machine: a folder with a BERT-like encoder's weights, as Hugging Face lays them out. It makes
//! vectors, or reranks (`cross`).
//!
//! Flow: a text is cut into pieces (`vocabulary`), at most as many as the model was made for; texts of like length go
//! through the encoder together (`bert`), on a bounded number of threads; the pieces' states become one vector (mean, or
//! the first one, as the model's folder says) of length 1. Nothing is ever fetched from here: see `fetch`. What was tried
//! instead: docs/decisions/0011.

mod bert;
mod cross;
mod folder;
mod tensors;
mod vocabulary;

pub use cross::LocalReranker;

use bert::{Bert, Pieces};
use evermark_core::embed::{EmbedError, Embedder, ModelId, Purpose};
use evermark_core::error::ErrorKind;
use evermark_core::world::World;
use folder::{Folder, Pooling};
use ndarray::{Array1, Axis, Slice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use vocabulary::Vocabulary;

/// Pieces that go through the encoder together: enough that the matrices are worth multiplying, few enough for the caches.
const PIECES_AT_ONCE: usize = 1024;

/// Threads of one call, whatever the machine has: searches and everything else need some too.
const THREADS_MAX: usize = 4;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("there is no model in {}", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot use {}: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
}

impl LocalError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Read { .. } => ErrorKind::Unavailable,
            Self::Unusable { .. } => ErrorKind::Invalid,
        }
    }
}

/// Makes vectors with weights from a folder.
pub struct LocalEmbedder {
    model: ModelId,
    bert: Bert,
    vocabulary: Vocabulary,
    pooling: Pooling,
    /// Most pieces of a text, the marks at its ends included.
    length_max: usize,
    query_prefix: String,
    passage_prefix: String,
    n_threads: usize,
    world: Arc<dyn World>,
}

impl LocalEmbedder {
    /// Reads a model. `name` is how people call it; what it is called in the index also says which weights these are.
    pub fn open(dir: &Path, name: &str, world: Arc<dyn World>) -> Result<Self, LocalError> {
        let folder = Folder::read(dir, name)?;
        let bert = Bert::read(&folder.tensors()?, &folder.shape)?;
        let vocabulary = Vocabulary::read(&folder)?;
        Ok(Self {
            model: ModelId { name: format!("{name}@{}", folder.fingerprint()?), dimension: folder.shape.width },
            bert,
            vocabulary,
            pooling: folder.pooling,
            length_max: folder.length_max,
            query_prefix: folder.query_prefix,
            passage_prefix: folder.passage_prefix,
            n_threads: threads(),
            world,
        })
    }

    /// Returns the vectors of texts of like length.
    fn vectors(&self, texts: &[&[u32]]) -> Vec<Vec<f32>> {
        let alone: Vec<Pieces<'_>> = texts.iter().map(|pieces| Pieces { pieces, second_at: pieces.len() }).collect();
        let hidden = self.bert.hidden(&alone);
        let mut at = 0;
        let pooled = texts.iter().map(|pieces| {
            let states = hidden.slice_axis(Axis(0), Slice::from(at..at + pieces.len()));
            at += pieces.len();
            let pooled: Array1<f32> = match self.pooling {
                Pooling::First => states.row(0).to_owned(),
                Pooling::Mean => states.sum_axis(Axis(0)) / pieces.len() as f32,
            };
            let length = pooled.dot(&pooled).sqrt().max(f32::MIN_POSITIVE);
            (pooled / length).to_vec()
        });
        pooled.collect()
    }
}

type Outcome = Result<Vec<f32>, EmbedError>;

impl Embedder for LocalEmbedder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn embed(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_each(texts, purpose, deadline).into_iter().collect()
    }

    fn embed_each(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Vec<Outcome> {
        let until = self.world.monotonic().saturating_add(deadline);
        let prefix = match purpose {
            Purpose::Query => &self.query_prefix,
            Purpose::Passage => &self.passage_prefix,
        };
        let pieces: Vec<Option<Vec<u32>>> =
            texts.iter().map(|text| self.vocabulary.pieces(prefix, text, self.length_max)).collect();
        let mut order: Vec<usize> = (0..texts.len()).filter(|&at| pieces[at].is_some()).collect();
        order.sort_by_key(|&at| pieces[at].as_ref().map_or(0, Vec::len));
        let batches = batches(&order, &pieces);
        let outcomes: Mutex<Vec<Outcome>> =
            Mutex::new(pieces.iter().map(|pieces| Err(if pieces.is_some() { late() } else { unreadable() })).collect());
        let taken = AtomicUsize::new(0);
        let work = || {
            // A batch takes a fraction of a second: what was begun is finished, what was not begun in time stays late.
            while let Some(batch) = batches.get(taken.fetch_add(1, Ordering::Relaxed)) {
                if self.world.monotonic() >= until {
                    return;
                }
                let texts: Vec<&[u32]> = batch.iter().filter_map(|&at| pieces[at].as_deref()).collect();
                let vectors = self.vectors(&texts);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                batch.iter().zip(vectors).for_each(|(&at, vector)| outcomes[at] = Ok(vector));
            }
        };
        std::thread::scope(|scope| {
            (1..self.n_threads.min(batches.len())).for_each(|_| {
                scope.spawn(work);
            });
            work();
        });
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds of a core each: a rebuild should not make them again.
    fn is_costly(&self) -> bool {
        true
    }
}

/// Returns how many threads a call may use.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Cuts texts that are in order of length into batches.
fn batches(order: &[usize], pieces: &[Option<Vec<u32>>]) -> Vec<Vec<usize>> {
    let (mut batches, mut batch, mut n_pieces) = (Vec::new(), Vec::new(), 0);
    for &at in order {
        let more = pieces[at].as_ref().map_or(0, Vec::len);
        if n_pieces + more > PIECES_AT_ONCE && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            n_pieces = 0;
        }
        batch.push(at);
        n_pieces += more;
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

fn unreadable() -> EmbedError {
    EmbedError {
        kind: ErrorKind::Invalid,
        class: EmbedError::UNREADABLE,
        message: "the model's vocabulary has no pieces for most of this text".to_owned(),
        retry_after: None,
    }
}

fn late() -> EmbedError {
    EmbedError {
        kind: ErrorKind::Unavailable,
        class: "timeout",
        message: "the model did not come to this text in time".to_owned(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
