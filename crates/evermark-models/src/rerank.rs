//! Rerankers: a cross-encoder's weights on this machine, or one of three kinds of endpoint.
//!
//! Documents go out in batches of like length, several at once. A call succeeds as a whole or fails as a whole: scores of
//! half the documents would order nothing.

mod wire;

pub use wire::Dialect;

use crate::breaker::{BreakerSettings, Status};
use crate::endpoint::{Address, Endpoint, Read, class, cut};
use crate::local::LocalReranker;
use crate::retry::{Gate, Pause, Waiting};
use evermark_core::provider::{Figures, ProviderError};
use evermark_core::rerank::{Reranker, chance_of_logit};
use evermark_core::world::World;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Characters of one document that are sent: what rerankers read is a page at most, and most read 512 tokens.
pub const DOCUMENT_CHARS_MAX: usize = 4_000;
const QUERY_CHARS_MAX: usize = 2_000;
/// What is worth sending: the 512 tokens that most read.
const DOCUMENT_CHARS: usize = 2_000;

/// Bytes of one answer; some endpoints send the documents back.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Words of the setting `rerank.provider`.
pub const NAMES: [&str; 5] = ["none", "local", "deepinfra", "vllm", "dashscope"];

/// Who reranks.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// Weights in a folder of this machine, read when they are first needed.
    Local {
        /// What people call it.
        name: String,
        dir: PathBuf,
    },
    Endpoint(Box<Settings>),
}

impl Provider {
    /// Makes the reranker; nothing is read or sent yet.
    ///
    /// Errors: `Invalid` for settings that cannot work.
    pub fn connect(self, world: Arc<dyn World>) -> Result<Arc<dyn Reranker>, ProviderError> {
        Ok(match self {
            Self::Local { name, dir } => Arc::new(LocalReranker::new(&dir, &name, world)),
            Self::Endpoint(settings) => Arc::new(EndpointReranker::new(*settings, world)?),
        })
    }
}

/// Where and how to ask.
#[derive(Clone, PartialEq)]
pub struct Settings {
    pub dialect: Dialect,
    pub base_url: String,
    pub api_key: Option<String>,
    pub model: String,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Further attempts after the first, within a call's deadline.
    pub max_retries: u32,
    /// Documents in one request.
    pub batch_size: usize,
    /// Requests on their way at once.
    pub max_concurrent: usize,
    pub requests_per_minute: Option<u32>,
    pub breaker: BreakerSettings,
}

impl Settings {
    /// Returns settings with EverOS's bounds.
    pub fn new(dialect: Dialect, base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            dialect,
            base_url: base_url.into(),
            api_key: None,
            model: model.into(),
            timeout: Duration::from_secs(30),
            max_retries: 3,
            batch_size: 10,
            max_concurrent: 5,
            requests_per_minute: None,
            breaker: BreakerSettings::USUAL,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("dialect", &self.dialect)
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

type Scores = Result<Vec<f32>, ProviderError>;

/// A reranker behind an endpoint.
pub struct EndpointReranker {
    endpoint: Endpoint,
    dialect: Dialect,
    batch_size: usize,
    max_concurrent: usize,
    gate: Gate,
    /// Ends the waiting between attempts; `None` when the caller does that.
    waiting: Option<Arc<Waiting>>,
    /// Learned: it sends logits, not chances.
    sends_logits: AtomicBool,
}

impl EndpointReranker {
    /// Makes a client; nothing is sent yet.
    ///
    /// Errors: `Invalid` for an address that is none, an empty model name, or a key that does not fit into a header.
    pub fn new(settings: Settings, world: Arc<dyn World>) -> Result<Self, ProviderError> {
        let waiting = Arc::new(Waiting::new());
        let reranker = Self::with_pause(settings, world, Arc::clone(&waiting) as Arc<dyn Pause>)?;
        Ok(Self { waiting: Some(waiting), ..reranker })
    }

    /// Like [`Self::new`], with waiting that the caller replaces.
    pub fn with_pause(settings: Settings, world: Arc<dyn World>, pause: Arc<dyn Pause>) -> Result<Self, ProviderError> {
        let max_concurrent = settings.max_concurrent.max(1);
        let path = settings.dialect.path(&settings.base_url, &settings.model);
        let address = Address {
            section: "rerank",
            noun: "reranker",
            base_url: settings.base_url,
            path,
            api_key: settings.api_key,
            model: settings.model,
            timeout: settings.timeout,
            max_retries: settings.max_retries,
            requests_per_minute: settings.requests_per_minute,
            connections_max: max_concurrent,
            answer_bytes_max: ANSWER_BYTES_MAX,
            breaker: settings.breaker,
        };
        Ok(Self {
            endpoint: Endpoint::new(address, world, pause)?,
            dialect: settings.dialect,
            batch_size: settings.batch_size.max(1),
            max_concurrent,
            gate: Gate::new(max_concurrent),
            waiting: None,
            sends_logits: AtomicBool::new(false),
        })
    }

    /// Returns the figures of its breaker.
    pub fn status(&self) -> Status {
        self.endpoint.status()
    }

    fn batch(&self, until: Duration, query: &str, documents: &[&str]) -> Scores {
        let body = wire::request(self.dialect, &self.endpoint.model, query, documents);
        self.endpoint.request(until, &self.gate, &body, |bytes| {
            let scores = wire::scores(self.dialect, bytes, documents.len())
                .map_err(|detail| self.endpoint.error(class::BAD_ANSWER, detail))?;
            Ok(Read::whole(scores, documents.len()))
        })
    }
}

impl Reranker for EndpointReranker {
    fn model(&self) -> &str {
        &self.endpoint.model
    }

    fn document_chars(&self) -> usize {
        DOCUMENT_CHARS
    }

    fn rerank(&self, query: &str, documents: &[String], deadline: Duration) -> Result<Vec<f32>, ProviderError> {
        let until = self.endpoint.world.monotonic().saturating_add(deadline);
        let query = cut(query.trim(), QUERY_CHARS_MAX);
        let mut scores = vec![0.0; documents.len()];
        // What says nothing answers nothing, and some endpoints refuse it.
        let mut order: Vec<usize> = (0..documents.len()).filter(|&at| !documents[at].trim().is_empty()).collect();
        order.sort_by_key(|&at| documents[at].len());
        let batches: Vec<&[usize]> = order.chunks(self.batch_size).collect();
        let results: Mutex<Vec<(&[usize], Scores)>> = Mutex::default();
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || {
            while let Some(&batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                // One batch that fails fails the call: no more are paid for.
                if failed.load(Ordering::Relaxed) {
                    return;
                }
                let texts: Vec<&str> = batch.iter().map(|&at| cut(&documents[at], DOCUMENT_CHARS_MAX)).collect();
                let result = self.batch(until, query, &texts);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((batch, result));
            }
        };
        std::thread::scope(|scope| {
            (1..self.max_concurrent.min(batches.len())).for_each(|_| {
                scope.spawn(work);
            });
            work();
        });
        for (batch, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            for (&at, score) in batch.iter().zip(result?) {
                scores[at] = score;
            }
        }
        if order.iter().any(|&at| !(0.0..=1.0).contains(&scores[at])) {
            self.sends_logits.store(true, Ordering::Relaxed);
        }
        if self.sends_logits.load(Ordering::Relaxed) {
            order.iter().for_each(|&at| scores[at] = chance_of_logit(scores[at]));
        }
        Ok(scores)
    }

    fn figures(&self) -> Figures {
        self.endpoint.figures()
    }

    fn close(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.close();
        }
    }
}

#[cfg(test)]
mod tests;
