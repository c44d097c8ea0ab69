//! An embedder that asks its inner one only for what is not kept already.

use crate::cache::{Cache, Shelf};
use evermark_core::embed::{EmbedError, Embedder, ModelId, Purpose};
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use evermark_core::world::World;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Texts sent before their vectors are kept: what a crash can cost. Some requests' worth, so that they overlap.
const PIECE: usize = 512;

/// Queries remembered in memory: people refine, and page through, the same few.
const QUERIES_MAX: usize = 256;

/// How an embedder was used since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Calls of the inner embedder.
    pub calls: u64,
    /// Texts given to the inner embedder.
    pub texts_sent: u64,
    /// Texts answered from disk, from memory, or by an equal text of the same call.
    pub texts_spared: u64,
    /// Times that vectors could not be kept.
    pub write_errors: u64,
    pub last_write_error: Option<(ErrorKind, String)>,
}

/// Wraps an embedder with the cache on disk (passages) and a small one in memory (queries), when its vectors are costly.
///
/// Where they are not, every call goes straight to the inner embedder: to look for equal texts would cost more than to embed
/// them. Otherwise equal texts of one call are sent once. Vectors are kept piece by piece, before an error of a later piece is returned.
/// A cache that cannot be written makes no call fail; [`Self::uses`] tells.
pub struct CachedEmbedder {
    inner: Arc<dyn Embedder>,
    world: Arc<dyn World>,
    shelf: Option<Arc<Shelf>>,
    queries: Mutex<Recent>,
    calls: AtomicU64,
    texts_sent: AtomicU64,
    texts_spared: AtomicU64,
    write_errors: AtomicU64,
    last_write_error: Mutex<Option<(ErrorKind, String)>>,
}

type Outcome = Result<Vec<f32>, EmbedError>;

impl CachedEmbedder {
    pub fn new(inner: Arc<dyn Embedder>, cache: &Cache) -> Self {
        let shelf = inner.is_costly().then(|| cache.shelf(inner.model()));
        Self {
            inner,
            world: Arc::clone(cache.world()),
            shelf,
            queries: Mutex::default(),
            calls: AtomicU64::new(0),
            texts_sent: AtomicU64::new(0),
            texts_spared: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            last_write_error: Mutex::default(),
        }
    }

    /// Returns where passages are kept; `None` when the inner embedder is cheap.
    pub fn shelf(&self) -> Option<&Arc<Shelf>> {
        self.shelf.as_ref()
    }

    pub fn uses(&self) -> Uses {
        Uses {
            calls: self.calls.load(Ordering::Relaxed),
            texts_sent: self.texts_sent.load(Ordering::Relaxed),
            texts_spared: self.texts_spared.load(Ordering::Relaxed),
            write_errors: self.write_errors.load(Ordering::Relaxed),
            last_write_error: self.last_write_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn queries(&self) -> MutexGuard<'_, Recent> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, keys: &[Digest32], purpose: Purpose) -> Vec<Option<Vec<f32>>> {
        match (purpose, &self.shelf) {
            (_, None) => keys.iter().map(|_| None).collect(),
            (Purpose::Passage, Some(shelf)) => shelf.get_many(keys),
            (Purpose::Query, Some(_)) => {
                let mut queries = self.queries();
                keys.iter().map(|key| queries.get(key)).collect()
            }
        }
    }

    fn keep(&self, keys: &[Digest32], outcomes: &[Outcome], purpose: Purpose) {
        let Some(shelf) = &self.shelf else { return };
        let good =
            keys.iter().zip(outcomes).filter_map(|(key, outcome)| Some((*key, outcome.as_ref().ok()?.as_slice())));
        match purpose {
            Purpose::Query => {
                let mut queries = self.queries();
                good.for_each(|(key, vector)| queries.put(key, vector));
            }
            Purpose::Passage => {
                if let Err(error) = shelf.put_many(&good.collect::<Vec<_>>()) {
                    // The vectors are good; only the next rebuild is dearer.
                    self.write_errors.fetch_add(1, Ordering::Relaxed);
                    let told = match std::error::Error::source(&error) {
                        Some(cause) => format!("{error}: {cause}"),
                        None => error.to_string(),
                    };
                    let mut last = self.last_write_error.lock().unwrap_or_else(PoisonError::into_inner);
                    if last.as_ref().is_none_or(|(_, before)| *before != told) {
                        tracing::warn!(error = %told, "embeddings could not be kept; a rebuild will make them again");
                    }
                    *last = Some((error.kind(), told));
                }
            }
        }
    }
}

impl Embedder for CachedEmbedder {
    fn model(&self) -> &ModelId {
        self.inner.model()
    }

    fn embed(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_each(texts, purpose, deadline).into_iter().collect()
    }

    fn embed_each(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Vec<Outcome> {
        if self.shelf.is_none() {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.texts_sent.fetch_add(texts.len() as u64, Ordering::Relaxed);
            return self.inner.embed_each(texts, purpose, deadline);
        }
        let until = self.world.monotonic().saturating_add(deadline);
        // Distinct texts, in order of appearance.
        let mut places: HashMap<Digest32, usize> = HashMap::with_capacity(texts.len());
        let (mut keys, mut firsts) = (Vec::new(), Vec::new());
        let which: Vec<usize> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| {
                *places.entry(Digest32::of(text.as_bytes())).or_insert_with_key(|key| {
                    keys.push(*key);
                    firsts.push(at);
                    keys.len() - 1
                })
            })
            .collect();
        let mut outcomes: Vec<Option<Outcome>> =
            self.recall(&keys, purpose).into_iter().map(|vector| vector.map(Ok)).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|&at| outcomes[at].is_none()).collect();
        self.texts_spared.fetch_add((texts.len() - missing.len()) as u64, Ordering::Relaxed);
        for piece in missing.chunks(PIECE) {
            let piece_texts: Vec<String> = piece.iter().map(|&at| texts[firsts[at]].clone()).collect();
            let piece_keys: Vec<Digest32> = piece.iter().map(|&at| keys[at]).collect();
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.texts_sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            let left = until.saturating_sub(self.world.monotonic());
            let answered = self.inner.embed_each(&piece_texts, purpose, left);
            self.keep(&piece_keys, &answered, purpose);
            for (&at, outcome) in piece.iter().zip(answered) {
                outcomes[at] = Some(outcome);
            }
        }
        let nothing = || EmbedError {
            kind: ErrorKind::Internal,
            class: "bad_answer",
            message: "the embedder returned too few outcomes".to_owned(),
            retry_after: None,
        };
        which.into_iter().map(|at| outcomes[at].clone().unwrap_or_else(|| Err(nothing()))).collect()
    }

    fn is_costly(&self) -> bool {
        self.inner.is_costly()
    }
}

/// The vectors used last.
#[derive(Default)]
struct Recent {
    uses: u64,
    vectors: HashMap<Digest32, (u64, Vec<f32>)>,
}

impl Recent {
    fn get(&mut self, key: &Digest32) -> Option<Vec<f32>> {
        self.uses += 1;
        let (used, vector) = self.vectors.get_mut(key)?;
        *used = self.uses;
        Some(vector.clone())
    }

    fn put(&mut self, key: Digest32, vector: &[f32]) {
        self.uses += 1;
        self.vectors.insert(key, (self.uses, vector.to_vec()));
        if self.vectors.len() > QUERIES_MAX {
            let oldest = self.vectors.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.and_then(|oldest| self.vectors.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests;
