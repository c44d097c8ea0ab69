//! The embedding provider: what the daemon says of it, or else asked for one vector, as indexing would ask. And a local
//! reranker's files.

use super::Findings;
use super::holder::Running;
use crate::config::{Config, Embedding};
use crate::wiring;
use evermark_core::embed::{Embedder, Purpose};
use evermark_core::world::World;
use evermark_models::local::{LocalEmbedder, LocalReranker};
use evermark_models::openai::{OpenAiEmbedder, class};
use evermark_models::rerank::Provider as Reranking;
use std::sync::Arc;
use std::time::Duration;

/// Looks whether a local reranker is there. Endpoints that read memories are asked when a search wants it, and not for this.
pub(super) fn examine_reranker(config: &Config, world: &Arc<dyn World>, found: &mut Findings) {
    let Some(Reranking::Local { name, dir }) = &config.judges.rerank else { return };
    match LocalReranker::new(dir, name, Arc::clone(world)).load() {
        Ok(()) => found.ok("provider", "reranker", format!("`{name}` in {} can rerank", dir.display())),
        Err(error) => found.warn(
            "provider",
            "reranker_missing",
            format!("`{name}` cannot be used: {error}; searches that want it go without"),
            format!("`evermark model fetch {name}`, or mend `rerank.model`"),
        ),
    }
}

/// A model that is loaded first may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn examine(
    config: &Config,
    running: Option<&Running>,
    world: &Arc<dyn World>,
    offline: bool,
    found: &mut Findings,
) {
    let endpoint = match &config.embedding {
        Embedding::None => {
            return found.ok("provider", "none", "no embedding provider: memories are found by their words");
        }
        Embedding::BuiltIn => {
            return found.ok(
                "provider",
                "builtin",
                "the built-in model finds memories by what they mean (Latin script)",
            );
        }
        Embedding::Local { name, dir } => {
            let opened = LocalEmbedder::open(dir, name, Arc::clone(world));
            return match opened.map(|embedder| embedder.model().dimension) {
                Ok(dim) => found.ok("provider", "local", format!("`{name}` in {}: {dim} components", dir.display())),
                Err(error) => found.warn(
                    "provider",
                    "model_missing",
                    format!("`{name}` cannot be used: {error}; searches go by words"),
                    format!("`evermark model fetch {name}`, or mend `embedding.model`"),
                ),
            };
        }
        Embedding::Hash { dim } => {
            return found.warn(
                "provider",
                "for_tests",
                format!("vectors are a hash of the words, {dim} wide: repeatable, without meaning"),
                "set `embedding.provider` to `builtin`, `openai` or `none` in evermark.toml",
            );
        }
        Embedding::OpenAi(endpoint) => endpoint,
    };
    let named = format!("`{}` at {}", endpoint.model, host(&endpoint.base_url));
    if offline {
        return found.ok("provider", "skipped", format!("{named} was not asked (--offline)"));
    }
    // A daemon that uses it knows how it is, and it need not be paid for a question.
    if let Some(Running::Daemon(status)) = running
        && status.embedding.calls > 0
    {
        let error = status.embedding.last_error.as_deref().unwrap_or("no details");
        return match status.embedding.state.as_str() {
            "closed" => found.ok(
                "provider",
                "answers",
                format!("{named} answers the daemon ({} calls)", status.embedding.calls),
            ),
            _ => found.warn(
                "provider",
                "unreachable",
                format!("{named} fails the daemon: {error}"),
                "check `[embedding]` in evermark.toml; until it answers, searches go by words",
            ),
        };
    }
    let mut settings = wiring::openai(endpoint);
    settings.max_retries = 0;
    settings.timeout = settings.timeout.min(PATIENCE);
    let asked = OpenAiEmbedder::new(settings, Arc::clone(world))
        .and_then(|embedder| embedder.embed(&["evermark doctor".to_owned()], Purpose::Passage, PATIENCE));
    match asked {
        Ok(_) => {
            found.ok("provider", "answers", format!("{named} answers with vectors of {} components", endpoint.dim))
        }
        Err(error) => {
            let says = format!("{named}: {error}");
            match error.class {
                class::WRONG_DIMENSION => {
                    found.fail("provider", "wrong_dimension", says, "set `embedding.dim` to the model's width");
                }
                class::UNAUTHORIZED => found.fail("provider", "unauthorized", says, "set `embedding.api_key`"),
                class::NOT_FOUND => {
                    found.fail("provider", "not_found", says, "mend `embedding.base_url` or `embedding.model`");
                }
                class::SETTINGS => found.fail("provider", "settings", says, "mend `[embedding]` in evermark.toml"),
                // Memories are still stored and found by their words; vectors follow when it is back.
                _ => found.warn(
                    "provider",
                    "unreachable",
                    says,
                    format!("`curl {}/models`; until it answers, searches go by words", endpoint.base_url),
                ),
            }
        }
    }
}

/// Returns the part of an address that cannot hold a secret.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}
