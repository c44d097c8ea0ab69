//! What code needs to know about a failure: its kind. People read the error's own sentence.

/// What the receiver of an error should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: mend it.
    Invalid,
    /// The thing asked for does not exist: stop.
    NotFound,
    /// Somebody else changed it: read again.
    Conflict,
    /// Not possible now (disk, provider, descriptors, shutting down): retry later.
    Unavailable,
    /// There is no room on the disk: free some, then retry.
    NoSpace,
    /// Derived data is damaged: rebuild it from the Markdown.
    Corrupt,
    /// A bug of ours: report it.
    Internal,
}

impl ErrorKind {
    /// Returns the name used in JSON, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::NoSpace => "no_space",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }

    /// Tells whether the same request may succeed later without anybody changing it.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Unavailable | Self::NoSpace | Self::Conflict => true,
            Self::Invalid | Self::NotFound | Self::Corrupt | Self::Internal => false,
        }
    }
}
