//! What can go wrong in a verb, and what the caller should do about it.

use evermark_core::embed::EmbedError;
use evermark_core::error::ErrorKind;
use evermark_core::filter::FilterError;
use evermark_core::index::IndexError;
use evermark_core::markdown::UnsafeName;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong; the text says what and where.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// An id cannot be part of a path.
    #[error(transparent)]
    Unsafe(#[from] UnsafeName),
    #[error("{0}")]
    NotFound(String),
    /// The feature needs a provider that is not configured.
    #[error("{feature} needs {provider}, which is not configured")]
    NotConfigured { feature: &'static str, provider: &'static str },
    /// A limit is reached or the daemon is closing; the same request may succeed later.
    #[error("{0}")]
    Busy(String),
    /// The disk is full; the text says what to free.
    #[error("{message}")]
    Full { message: String, source: Box<Error> },
    /// The index takes no writes for want of room; the text says why. What is stored stays stored.
    #[error("{0}")]
    Paused(String),
    /// The embedding provider failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Reading or writing files failed.
    #[error(transparent)]
    Store(#[from] evermark_store::error::Error),
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Unsafe(_) | Self::Filter(_) | Self::NotConfigured { .. } => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Busy(_) => ErrorKind::Unavailable,
            Self::Full { .. } | Self::Paused(_) => ErrorKind::NoSpace,
            Self::Embed(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}
