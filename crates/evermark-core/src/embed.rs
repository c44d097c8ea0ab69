//! Turning text into vectors, as the rest of the program sees it.

mod hash;

#[cfg(test)]
mod tests;

pub use hash::HashEmbedder;

use crate::provider::ProviderError;
use std::time::Duration;

/// Names a model and the width of what it makes: the two things a vector's meaning depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelId {
    pub name: String,
    pub dimension: usize,
}

/// What the text is for; some models prefix queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Query,
    Passage,
}

/// Why text could not be embedded.
pub type EmbedError = ProviderError;

/// Makes vectors from texts. Calls block; implementations bound their own time.
pub trait Embedder: Send + Sync {
    fn model(&self) -> &ModelId;

    /// Returns one vector of [`ModelId::dimension`] finite components per text, in order.
    ///
    /// `deadline` bounds the whole call, retries included.
    fn embed(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Result<Vec<Vec<f32>>, EmbedError>;

    /// Returns one outcome per text, in order: a text that is refused costs only itself, and vectors that were already
    /// paid for survive a later failure.
    ///
    /// `deadline` bounds the whole call, retries included.
    fn embed_each(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Vec<Result<Vec<f32>, EmbedError>> {
        match self.embed(texts, purpose, deadline) {
            Ok(vectors) => vectors.into_iter().map(Ok).collect(),
            Err(error) => texts.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Tells whether vectors are worth caching on disk (they cost money or much time).
    fn is_costly(&self) -> bool;
}
