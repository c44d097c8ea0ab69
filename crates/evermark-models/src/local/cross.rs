//! A cross-encoder: question and memory go through the encoder together, and one number says how well they fit.
//!
//! Folders of `BertForSequenceClassification` with one label, such as the ms-marco-MiniLM family: the first piece's last state
//! goes through the pooler (a linear layer and a tanh) and the classifier. The weights are read when they are first needed.

use super::bert::{Bert, Head, Pieces};
use super::folder::Folder;
use super::vocabulary::Vocabulary;
use super::{LocalError, batches, threads};
use evermark_core::error::ErrorKind;
use evermark_core::provider::{Figures, ProviderError};
use evermark_core::rerank::{Reranker, chance_of_logit};
use evermark_core::world::World;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Characters of a memory that are read: some 150 pieces. A core reads two thousand a second of a MiniLM of six layers, near
/// what it can multiply, and a search hands over fifty memories.
const DOCUMENT_CHARS: usize = 600;

/// Reads question and memory together, with weights from a folder.
pub struct LocalReranker {
    name: String,
    dir: PathBuf,
    /// `None` until they are needed, or while they are not there.
    weights: Mutex<Option<Arc<Weights>>>,
    figures: Mutex<Figures>,
    /// Pieces a second in the last call; `None` before the first.
    speed: Mutex<Option<f64>>,
    n_threads: usize,
    world: Arc<dyn World>,
}

struct Weights {
    bert: Bert,
    head: Head,
    vocabulary: Vocabulary,
    length_max: usize,
}

impl Weights {
    fn read(dir: &Path, name: &str) -> Result<Self, LocalError> {
        let folder = Folder::read(dir, name)?;
        let tensors = folder.tensors()?;
        Ok(Self {
            bert: Bert::read(&tensors, &folder.shape)?,
            head: Head::read(&tensors, &folder.shape)?,
            vocabulary: Vocabulary::read(&folder)?,
            length_max: folder.length_max,
        })
    }
}

impl LocalReranker {
    /// Makes a reranker; its weights are read when they are first needed.
    pub fn new(dir: &Path, name: &str, world: Arc<dyn World>) -> Self {
        Self {
            name: name.to_owned(),
            dir: dir.to_path_buf(),
            weights: Mutex::default(),
            figures: Mutex::new(Figures { state: "closed", ..Figures::default() }),
            speed: Mutex::default(),
            n_threads: threads(),
            world,
        }
    }

    /// Reads the weights now.
    ///
    /// Errors: what [`LocalError`] tells; asked again it looks again, so that what was fetched meanwhile is found.
    pub fn load(&self) -> Result<(), LocalError> {
        self.weights().map(drop)
    }

    fn weights(&self) -> Result<Arc<Weights>, LocalError> {
        let mut weights = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*weights {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(Weights::read(&self.dir, &self.name)?);
        *weights = Some(Arc::clone(&read));
        Ok(read)
    }

    /// Refuses work that would not be done in time: what is begun and not finished has cost the time of all that follows.
    fn check_fits(&self, n_pieces: usize, until: Duration) -> Result<(), ProviderError> {
        let Some(speed) = *self.speed.lock().unwrap_or_else(PoisonError::into_inner) else { return Ok(()) };
        let needed = n_pieces as f64 / speed;
        let left = until.saturating_sub(self.world.monotonic());
        if needed <= left.as_secs_f64() {
            return Ok(());
        }
        Err(ProviderError {
            kind: ErrorKind::Unavailable,
            class: ProviderError::DEADLINE,
            message: format!("`{}` would take about {needed:.1} s, and {left:.1?} are left", self.name),
            retry_after: None,
        })
    }

    fn scores(&self, query: &str, documents: &[String], deadline: Duration) -> Result<Vec<f32>, ProviderError> {
        let until = self.world.monotonic().saturating_add(deadline);
        let weights = self.weights().map_err(|error| ProviderError {
            kind: ErrorKind::Unavailable,
            class: ProviderError::MODEL_MISSING,
            message: format!("the reranker `{}` cannot be used: {error}", self.name),
            retry_after: None,
        })?;
        let unreadable = || ProviderError {
            kind: ErrorKind::Invalid,
            class: ProviderError::UNREADABLE,
            message: format!("the vocabulary of `{}` has no pieces for most of the question", self.name),
            retry_after: None,
        };
        let asked = weights.vocabulary.question(query, weights.length_max / 2).ok_or_else(unreadable)?;
        let pairs: Vec<Option<Vec<u32>>> = documents
            .iter()
            .map(|text| Some(weights.vocabulary.with_document(&asked, text, weights.length_max)))
            .collect();
        let n_pieces: usize = pairs.iter().flatten().map(Vec::len).sum();
        self.check_fits(n_pieces, until)?;
        let begun = self.world.monotonic();
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|&at| pairs[at].as_ref().map_or(0, Vec::len));
        let batches = batches(&order, &pairs);
        let scores: Mutex<Vec<Option<f32>>> = Mutex::new(vec![None; documents.len()]);
        let taken = AtomicUsize::new(0);
        let work = || {
            while let Some(batch) = batches.get(taken.fetch_add(1, Ordering::Relaxed)) {
                if self.world.monotonic() >= until {
                    return;
                }
                let texts: Vec<Pieces<'_>> = batch
                    .iter()
                    .filter_map(|&at| Some(Pieces { pieces: pairs[at].as_deref()?, second_at: asked.len() }))
                    .collect();
                let logits = weights.head.of(&weights.bert.hidden(&texts), &texts);
                let mut scores = scores.lock().unwrap_or_else(PoisonError::into_inner);
                batch.iter().zip(logits).for_each(|(&at, logit)| scores[at] = Some(chance_of_logit(logit)));
            }
        };
        std::thread::scope(|scope| {
            (1..self.n_threads.min(batches.len())).for_each(|_| {
                scope.spawn(work);
            });
            work();
        });
        let scores = scores.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done: usize =
            pairs.iter().flatten().zip(&scores).filter(|(_, score)| score.is_some()).map(|(pair, _)| pair.len()).sum();
        let took = self.world.monotonic().saturating_sub(begun).as_secs_f64();
        if done > 0 && took > 0.0 {
            *self.speed.lock().unwrap_or_else(PoisonError::into_inner) = Some(done as f64 / took);
        }
        scores.into_iter().collect::<Option<Vec<f32>>>().ok_or_else(|| ProviderError {
            kind: ErrorKind::Unavailable,
            class: ProviderError::TIMEOUT,
            message: format!("`{}` did not read {} memories in {deadline:.1?}", self.name, documents.len()),
            retry_after: None,
        })
    }
}

impl Reranker for LocalReranker {
    fn model(&self) -> &str {
        &self.name
    }

    fn document_chars(&self) -> usize {
        DOCUMENT_CHARS
    }

    fn rerank(&self, query: &str, documents: &[String], deadline: Duration) -> Result<Vec<f32>, ProviderError> {
        let outcome = self.scores(query, documents, deadline);
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.calls += 1;
        match &outcome {
            Ok(scores) => figures.items += scores.len() as u64,
            Err(error) => {
                figures.failures += 1;
                figures.last_error = Some(format!("{}: {}", error.class, error.message));
            }
        }
        outcome
    }

    fn figures(&self) -> Figures {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
