//! The engine's embedder: a provider behind the cache, and what health shows of it.

use crate::error::Error;
use crate::status;
use evermark_core::embed::{EmbedError, Embedder, ModelId, Purpose};
use evermark_core::world::World;
use evermark_models::cache::{Cache, Shelf};
use evermark_models::cached::CachedEmbedder;
use evermark_models::provider::{self, MODEL_MISSING, Provider};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where vectors come from.
pub enum Embeddings {
    /// Keyword search only.
    None,
    Provider(Provider),
    /// An embedder made by the caller.
    Own(Arc<dyn Embedder>),
}

/// A model that is configured and cannot be had: memories are found by their words until it is there.
pub(crate) struct Absent {
    pub(crate) reason: String,
}

/// An embedder in use.
pub(crate) struct Embedding {
    embedder: Arc<CachedEmbedder>,
    provider: Option<provider::Embedding>,
}

impl Embedding {
    /// Connects; nothing is sent yet. `dir` is where paid vectors are kept. A model that is not on this machine keeps no root
    /// from opening.
    pub(crate) fn open(
        from: Embeddings,
        dir: &Path,
        world: &Arc<dyn World>,
    ) -> Result<(Option<Self>, Option<Absent>), Error> {
        let cache = Cache::open(dir, Arc::clone(world));
        let embedding = match from {
            Embeddings::None => None,
            Embeddings::Own(embedder) => {
                Some(Self { embedder: Arc::new(CachedEmbedder::new(embedder, &cache)), provider: None })
            }
            Embeddings::Provider(provider) => match provider.connect(&cache, Arc::clone(world)) {
                Ok(connected) => connected
                    .map(|provider| Self { embedder: Arc::clone(&provider.embedder), provider: Some(provider) }),
                Err(error) if error.class == MODEL_MISSING => {
                    tracing::warn!(%error, "memories are found by their words alone");
                    return Ok((None, Some(Absent { reason: error.message })));
                }
                Err(error) => return Err(error.into()),
            },
        };
        Ok((embedding, None))
    }

    pub(crate) fn model(&self) -> &ModelId {
        self.embedder.model()
    }

    pub(crate) fn query(&self, text: &str, deadline: Duration) -> Result<Vec<f32>, EmbedError> {
        let mut vectors = self.embedder.embed(&[text.to_owned()], Purpose::Query, deadline)?;
        vectors.pop().ok_or_else(|| EmbedError {
            kind: evermark_core::error::ErrorKind::Internal,
            class: "bad_answer",
            message: "the embedder returned nothing".to_owned(),
            retry_after: None,
        })
    }

    /// Returns one outcome per text: what could be embedded, or is in the cache, whatever fails beside it.
    pub(crate) fn passages(&self, texts: &[String], deadline: Duration) -> Vec<Result<Vec<f32>, EmbedError>> {
        self.embedder.embed_each(texts, Purpose::Passage, deadline)
    }

    /// Returns how many texts were given to the provider.
    pub(crate) fn texts_sent(&self) -> u64 {
        self.embedder.uses().texts_sent
    }

    /// Returns where paid vectors are kept; `None` when the model is cheap.
    pub(crate) fn shelf(&self) -> Option<&Arc<Shelf>> {
        self.embedder.shelf()
    }

    /// Ends all waiting between attempts, and makes the cache durable.
    pub(crate) fn close(&self) {
        if let Some(provider) = &self.provider {
            provider.close();
        }
        if let Some(Err(error)) = self.embedder.shelf().map(|shelf| shelf.sync()) {
            tracing::warn!(%error, "the newest embeddings may have to be made again");
        }
    }

    pub(crate) fn status(&self) -> status::Embedding {
        let uses = self.embedder.uses();
        let kept = self.embedder.shelf().map(|shelf| shelf.stats()).unwrap_or_default();
        let mut shown = status::Embedding {
            model: Some(self.model().name.clone()),
            dimension: Some(self.model().dimension),
            state: "closed".to_owned(),
            calls: uses.calls,
            texts: uses.texts_sent,
            failures: 0,
            last_error: uses.last_write_error.map(|(_, text)| format!("vectors cannot be kept: {text}")),
            cache_entries: kept.entries,
            cache_bytes: kept.size_bytes,
        };
        if let Some(status) = self.provider.as_ref().and_then(provider::Embedding::status) {
            shown.state = status.state.name().to_owned();
            shown.calls = status.calls;
            shown.failures = status.failures;
            if let Some(error) = status.last_error {
                shown.last_error = Some(format!("{}: {}", error.class, error.message));
            }
        }
        shown
    }
}
