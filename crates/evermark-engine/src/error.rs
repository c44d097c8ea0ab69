//! What can go wrong in a verb, and what the caller should do about it.

use evermark_core::error::ErrorKind;
use evermark_core::filter::FilterError;
use evermark_core::index::IndexError;
use evermark_core::embed::EmbedError;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong; the text says what and where.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("{0}")]
    NotFound(String),
    /// The feature needs a provider that is not configured.
    #[error("{feature} needs {provider}, which is not configured")]
    NotConfigured { feature: &'static str, provider: &'static str },
    /// A limit is reached or the daemon is closing; the same request may succeed later.
    #[error("{0}")]
    Busy(String),
    #[error("the disk is full: {0}")]
    NoSpace(String),
    /// The embedding provider failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Reading or writing files failed.
    #[error("{context}")]
    Store {
        kind: ErrorKind,
        context: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Filter(_) | Self::NotConfigured { .. } => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Busy(_) => ErrorKind::Unavailable,
            Self::NoSpace(_) => ErrorKind::NoSpace,
            Self::Embed(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Store { kind, .. } => *kind,
        }
    }
}
