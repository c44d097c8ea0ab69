//! Which embeddings a root uses, as the configuration says, and the parts that belong to the choice.

use crate::breaker::Status;
use crate::builtin::{self, BuiltinEmbedder};
use crate::cache::Cache;
use crate::cached::CachedEmbedder;
use crate::local::LocalEmbedder;
use crate::openai::{OpenAiEmbedder, Settings};
use crate::retry::Waiting;
use evermark_core::embed::{EmbedError, ModelId};
use evermark_core::error::ErrorKind;
use evermark_core::world::World;
use std::path::PathBuf;
use std::sync::Arc;

/// Where vectors come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// Keyword search only.
    None,
    /// The table that is part of the program.
    BuiltIn,
    /// Weights in a folder of this machine.
    Local {
        /// What people call it.
        name: String,
        dir: PathBuf,
    },
    /// Any endpoint that speaks OpenAI's `/embeddings`.
    OpenAi(Box<Settings>),
}

/// Words of the setting `embedding.provider`.
pub const NAMES: [&str; 4] = ["none", "builtin", "local", "openai"];

/// Class of the failure to connect to local weights that are not there, or cannot be used.
pub const MODEL_MISSING: &str = "model_missing";

impl Provider {
    /// Returns the word of the setting `embedding.provider`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BuiltIn => "builtin",
            Self::Local { .. } => "local",
            Self::OpenAi(_) => "openai",
        }
    }

    /// Returns the model without making the embedder; `None` when there are no vectors, or when only its files tell.
    pub fn model(&self) -> Option<ModelId> {
        match self {
            Self::None | Self::Local { .. } => None,
            Self::BuiltIn => Some(builtin::model()),
            Self::OpenAi(settings) => Some(ModelId { name: settings.model.clone(), dimension: settings.dimension }),
        }
    }

    /// Makes the embedder; nothing is sent yet, and only local weights are read. `Ok(None)` when there are no vectors.
    ///
    /// Errors: [`ErrorKind::Invalid`] for settings that cannot work; class [`MODEL_MISSING`] for local weights that cannot be had.
    pub fn connect(self, cache: &Cache, world: Arc<dyn World>) -> Result<Option<Embedding>, EmbedError> {
        match self {
            Self::None => Ok(None),
            Self::BuiltIn => {
                let embedder = Arc::new(CachedEmbedder::new(Arc::new(BuiltinEmbedder::new()), cache));
                Ok(Some(Embedding { embedder, source: Source::BuiltIn }))
            }
            Self::Local { name, dir } => {
                let embedder = LocalEmbedder::open(&dir, &name, world).map_err(|error| EmbedError {
                    kind: match error.kind() {
                        ErrorKind::NotFound => ErrorKind::Unavailable,
                        kind => kind,
                    },
                    class: MODEL_MISSING,
                    message: format!("the model `{name}` cannot be used: {error}"),
                    retry_after: None,
                })?;
                let place = dir.display().to_string();
                let embedder = Arc::new(CachedEmbedder::new(Arc::new(embedder), cache));
                Ok(Some(Embedding { embedder, source: Source::Local { place } }))
            }
            Self::OpenAi(settings) => {
                let waiting = Arc::new(Waiting::new());
                let endpoint = Arc::new(OpenAiEmbedder::with_pause(*settings, world, waiting.clone())?);
                let embedder = Arc::new(CachedEmbedder::new(endpoint.clone(), cache));
                Ok(Some(Embedding { embedder, source: Source::OpenAi { endpoint, waiting } }))
            }
        }
    }
}

/// A connected provider.
pub struct Embedding {
    /// What the engine embeds with.
    pub embedder: Arc<CachedEmbedder>,
    source: Source,
}

enum Source {
    BuiltIn,
    Local { place: String },
    OpenAi { endpoint: Arc<OpenAiEmbedder>, waiting: Arc<Waiting> },
}

impl Embedding {
    /// Returns the figures that health shows; `None` when nothing can fail.
    pub fn status(&self) -> Option<Status> {
        match &self.source {
            Source::BuiltIn | Source::Local { .. } => None,
            Source::OpenAi { endpoint, .. } => Some(endpoint.status()),
        }
    }

    /// Returns where requests go, for people.
    pub fn place(&self) -> &str {
        match &self.source {
            Source::BuiltIn => "this program",
            Source::Local { place } => place,
            Source::OpenAi { endpoint, .. } => endpoint.host(),
        }
    }

    /// Ends all waiting between attempts, so that shutting down does not wait for a provider's backoff.
    pub fn close(&self) {
        match &self.source {
            Source::BuiltIn | Source::Local { .. } => {}
            Source::OpenAi { waiting, .. } => waiting.close(),
        }
    }
}

#[cfg(test)]
mod tests;
