//! Reading a question together with each of a few memories, and saying how well each answers it.

use crate::provider::{Figures, ProviderError};
use std::time::Duration;

/// A cross-encoder. Calls block; implementations bound their own time.
pub trait Reranker: Send + Sync {
    /// Returns the model's name.
    fn model(&self) -> &str;

    /// Returns how many characters of a document are worth handing over.
    fn document_chars(&self) -> usize;

    /// Returns one score per document, in order.
    ///
    /// Units: the chance that the document answers the query, in `[0, 1]`; of a document each by itself, so scores of several
    /// calls with one query can be compared. `deadline` bounds the whole call, retries included.
    fn rerank(&self, query: &str, documents: &[String], deadline: Duration) -> Result<Vec<f32>, ProviderError>;

    fn figures(&self) -> Figures;

    /// Ends all waiting between attempts.
    fn close(&self) {}
}

/// Returns the chance that a logit stands for.
pub fn chance_of_logit(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
