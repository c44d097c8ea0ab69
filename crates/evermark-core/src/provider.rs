//! What all providers of models have in common: embeddings, a reranker, a language model.

use crate::error::ErrorKind;
use std::time::Duration;

/// Why a provider did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    pub kind: ErrorKind,
    /// A stable class for metrics and health: `timeout`, `rate_limited`, `unauthorized`, `wrong_dimension`, `unreadable`, …
    pub class: &'static str,
    pub message: String,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// The class of a text that the model cannot read, such as one in another script. No fault of anybody's: asked again it
    /// would be refused again, and what has no vector is found by its words.
    pub const UNREADABLE: &'static str = "unreadable";

    /// The class of a model whose files are not there, or cannot be used.
    pub const MODEL_MISSING: &'static str = "model_missing";

    /// The class of what was not done in the time given.
    pub const TIMEOUT: &'static str = "timeout";

    /// The class of what was not begun, because it would not be done in the time given.
    pub const DEADLINE: &'static str = "deadline";

    /// The class of an answer that cannot be understood.
    pub const BAD_ANSWER: &'static str = "bad_answer";

    pub fn is_unreadable(&self) -> bool {
        self.class == Self::UNREADABLE
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// What a provider was asked for since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether it is asked at all now: `closed` (it is), `open`, `half_open`.
    pub state: &'static str,
    /// Requests, failed ones included.
    pub calls: u64,
    pub failures: u64,
    /// Things that came back: answers of a language model, scores of a reranker.
    pub items: u64,
    /// Tokens sent and received, as far as it says.
    pub tokens_in: u64,
    pub tokens_out: u64,
    pub last_error: Option<String>,
}
