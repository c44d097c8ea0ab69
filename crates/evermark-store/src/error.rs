//! What can go wrong with the local disk.

use crate::lock::Holder;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Digest32;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the vault, the ledger or the lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },

    #[error(transparent)]
    Finding(Finding),

    #[error("`{rel}` is not a path of this vault: {reason}")]
    Path { rel: String, reason: &'static str },

    #[error("`{rel}` is {}, not {}", said(*found), said(*expected))]
    Conflict { rel: String, expected: Option<Digest32>, found: Option<Digest32> },

    #[error("`{rel}` is being written by somebody else")]
    Busy { rel: String },

    #[error("{} is in use: {holder}", root.display())]
    Held { root: PathBuf, holder: Box<Holder> },

    #[error("{} is in use by an EverOS server, which holds {}", root.display(), lock.display())]
    HeldByEveros { root: PathBuf, lock: PathBuf },

    #[error("{} is not in its place any more: {reason}", root.display())]
    Lost { root: PathBuf, reason: &'static str },

    #[error("cannot look at `{rel}`: {reason}")]
    Unknown { rel: String, reason: String },

    #[error("{} is on a file system without locks", path.display())]
    NoLocks { path: PathBuf, source: io::Error },

    #[error("{} has format {found}; this program knows formats up to {known}", path.display())]
    NewerFormat { path: PathBuf, found: u64, known: u64 },

    #[error("{} cannot be understood: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },

    #[error("cannot {doing} in the ledger {}", path.display())]
    Ledger { doing: &'static str, path: PathBuf, source: rusqlite::Error },

    #[error("the ledger {} is damaged: {detail}", path.display())]
    LedgerDamaged { path: PathBuf, detail: String },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => io_kind(source),
            Self::Finding(_) | Self::Path { .. } | Self::NewerFormat { .. } | Self::Unreadable { .. } => {
                ErrorKind::Invalid
            }
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Busy { .. }
            | Self::Held { .. }
            | Self::HeldByEveros { .. }
            | Self::Lost { .. }
            | Self::Unknown { .. }
            | Self::NoLocks { .. } => ErrorKind::Unavailable,
            Self::Ledger { source, .. } => sqlite_kind(source),
            Self::LedgerDamaged { .. } => ErrorKind::Corrupt,
        }
    }

    /// Returns what is wrong with the file itself, where that is the cause.
    pub fn finding(&self) -> Option<&Finding> {
        match self {
            Self::Finding(finding) => Some(finding),
            _ => None,
        }
    }
}

/// Returns what an operating system's error means to us. What may pass by itself is never called permanent.
pub fn io_kind(error: &io::Error) -> ErrorKind {
    match (ErrorKind::of_io(error), error.kind()) {
        (Some(kind), _) => kind,
        (None, io::ErrorKind::NotFound) => ErrorKind::NotFound,
        (None, _) => ErrorKind::Unavailable,
    }
}

fn sqlite_kind(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::PermissionDenied,
        ) => ErrorKind::Unavailable,
        Some(_) | None => ErrorKind::Internal,
    }
}

fn said(digest: Option<Digest32>) -> String {
    match digest {
        None => "absent".to_owned(),
        Some(digest) => format!("at {}", &digest.hex()[..12]),
    }
}

/// Adds what was being done, and to what, to an operating system's error.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::Io { doing, path: path.to_owned(), source: error.into() })
    }
}

/// Something about one file or folder that a person should know. It stops nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the root, `/` between parts; bytes that are not UTF-8 are shown as `\xNN`.
    pub path: String,
    pub what: What,
}

/// What is the matter with a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Links are never followed below the root: the same file would have two names, or none of its own.
    SymbolicLink,
    /// A FIFO, a socket, a device or a folder where a file should be.
    NotAFile {
        found: &'static str,
    },
    TooLarge {
        size: u64,
        limit: u64,
    },
    /// The name is not UTF-8, or holds a control character.
    BadName,
    /// Another name in this folder differs in case or Unicode normalisation only: other file systems take both for one.
    SameName {
        other: String,
    },
    TooDeep {
        limit: usize,
    },
    /// Two edits met: this copy was put aside for a person to merge or delete.
    ConflictCopy,
}

impl What {
    /// Returns the name used in JSON, SQL and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SymbolicLink => "symbolic_link",
            Self::NotAFile { .. } => "not_a_file",
            Self::TooLarge { .. } => "too_large",
            Self::BadName => "bad_name",
            Self::SameName { .. } => "same_name",
            Self::TooDeep { .. } => "too_deep",
            Self::ConflictCopy => "conflict_copy",
        }
    }

    /// Tells whether the thing was passed over, so that its absence from a scan proves nothing.
    pub fn hides_content(&self) -> bool {
        match self {
            Self::SymbolicLink
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::BadName
            | Self::TooDeep { .. } => true,
            Self::SameName { .. } | Self::ConflictCopy => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.what {
            What::SymbolicLink => write!(f, "`{path}` is a symbolic link, and links are not followed"),
            What::NotAFile { found } => write!(f, "`{path}` is {found}, not a file"),
            What::TooLarge { size, limit } => write!(f, "`{path}` has {size} bytes; the limit is {limit}"),
            What::BadName => write!(f, "`{path}` has a name that is not plain UTF-8 text"),
            What::SameName { other } => write!(f, "`{path}` and `{other}` are one name on other file systems"),
            What::TooDeep { limit } => write!(f, "`{path}` lies more than {limit} folders deep"),
            What::ConflictCopy => write!(f, "`{path}` was kept when two edits met: merge it or delete it"),
        }
    }
}

impl std::error::Error for Finding {}
