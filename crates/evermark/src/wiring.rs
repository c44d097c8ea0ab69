//! Puts the concrete parts together: which index, which embedder, which world.

use crate::config::{Config, Embedding, Endpoint, Environment};
use crate::world::{CRASH_AT, FAULT_AT, world};
use evermark_core::chat::ChatModel;
use evermark_core::embed::HashEmbedder;
use evermark_core::world::World;
use evermark_engine::Engine;
use evermark_engine::embedding::Embeddings;
use evermark_engine::engine::{OpenIndex, Parts};
use evermark_engine::judges::Judges;
use evermark_models::chat::OpenAiChat;
use evermark_models::openai;
use evermark_models::provider::Provider;
use std::sync::Arc;

#[cfg(not(feature = "lance"))]
mod exact;
#[cfg(feature = "lance")]
mod lance;

#[cfg(not(feature = "lance"))]
use exact as index;
#[cfg(feature = "lance")]
use lance as index;

pub(crate) use index::{complete_environment, look_at, prune_files, survey};

/// Returns the world that this process lives in.
pub(crate) fn world_of(env: &Environment) -> anyhow::Result<Arc<dyn World>> {
    world(env.get(CRASH_AT), env.get(FAULT_AT))
}

/// Opens the configured root in this process. Nothing runs in the background yet.
pub(crate) fn open(config: &Config, world: Arc<dyn World>) -> anyhow::Result<Engine> {
    let parts = Parts {
        root: config.root.path.clone(),
        settings: config.settings.clone(),
        indexes: indexes(Arc::clone(&world), config.view_bytes_max),
        embeddings: embeddings(&config.embedding),
        judges: judges(config, &world)?,
        world,
    };
    Ok(Engine::open(parts)?)
}

/// Returns what opens generations of the index. `view_bytes_max`: memory for the rows of owners in use.
pub(crate) fn indexes(world: Arc<dyn World>, view_bytes_max: u64) -> Arc<dyn OpenIndex> {
    index::indexes(world, view_bytes_max)
}

/// Makes who reads memories on request. Nothing is read or sent yet.
fn judges(config: &Config, world: &Arc<dyn World>) -> anyhow::Result<Judges> {
    let configured = config.judges.clone();
    let chat = |settings| -> anyhow::Result<Arc<dyn ChatModel>> {
        Ok(Arc::new(OpenAiChat::new(settings, Arc::clone(world))?))
    };
    Ok(Judges {
        reranker: configured.rerank.map(|provider| provider.connect(Arc::clone(world))).transpose()?,
        llm: configured.llm.map(chat).transpose()?,
        decider: configured.decider.map(chat).transpose()?,
    })
}

fn embeddings(embedding: &Embedding) -> Embeddings {
    match embedding {
        Embedding::None => Embeddings::None,
        Embedding::BuiltIn => Embeddings::Provider(Provider::BuiltIn),
        Embedding::Local { name, dir } => {
            Embeddings::Provider(Provider::Local { name: name.clone(), dir: dir.clone() })
        }
        Embedding::Hash { dim } => Embeddings::Own(Arc::new(HashEmbedder::new(*dim))),
        Embedding::OpenAi(endpoint) => Embeddings::Provider(Provider::OpenAi(Box::new(openai(endpoint)))),
    }
}

/// Returns the provider's settings for an endpoint.
pub(crate) fn openai(endpoint: &Endpoint) -> openai::Settings {
    let mut settings = openai::Settings::new(&endpoint.base_url, &endpoint.model, endpoint.dim);
    settings.api_key = endpoint.api_key.clone();
    settings.send_dimensions = endpoint.dimensions;
    settings.batch_size = endpoint.batch_size;
    settings.timeout = endpoint.timeout;
    settings.max_retries = endpoint.max_retries;
    settings.max_concurrent = endpoint.max_concurrent;
    settings
}
