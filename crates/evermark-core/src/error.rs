//! What code needs to know about a failure: its kind. People read the error's own sentence.
//!
//! What the disk says arrives in many disguises: as a number, as the kind of an `io::Error` that lost its number, wrapped in
//! errors of errors, or as text only. [`ErrorKind::of_io`] and [`ErrorKind::of_text`] see through all of them, for everybody.

use std::error::Error as StdError;
use std::io;

#[cfg(test)]
mod tests;

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

    /// Returns what an operating system's error says of the disk, the descriptors or the rights: [`Self::NoSpace`] or
    /// [`Self::Unavailable`]. `None` when it says nothing about them, as "not found" does not.
    pub fn of_io(error: &io::Error) -> Option<Self> {
        if let Some(number) = error.raw_os_error() {
            return of_number(number);
        }
        // An error that wraps another knows less than the one inside.
        let inner = error.get_ref().and_then(|inner| of_wrapped(inner, WRAPPED_MAX));
        inner.or_else(|| of_io_kind(error.kind()))
    }

    /// Returns what a text says that is all that is left of an operating system's error; `None` when that is nothing.
    pub fn of_text(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let numbers = text.match_indices("os error ").filter_map(|(at, found)| {
            let rest = &text[at + found.len()..];
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            of_number(digits.parse().ok()?)
        });
        let words = |kind: Self, needles: &'static [&'static str]| {
            needles.iter().any(|needle| text.contains(needle)).then_some(kind)
        };
        // A full disk among several complaints is what has to be mended first.
        let told = numbers.max_by_key(|kind| *kind == Self::NoSpace);
        [words(Self::NoSpace, &NO_SPACE), told, words(Self::Unavailable, &UNAVAILABLE)]
            .into_iter()
            .flatten()
            .max_by_key(|kind| *kind == Self::NoSpace)
    }
}

/// How deep errors may be wrapped in each other before nobody looks further.
const WRAPPED_MAX: usize = 16;

fn of_wrapped(error: &(dyn StdError + 'static), depth: usize) -> Option<ErrorKind> {
    if depth == 0 {
        return None;
    }
    let own = match error.downcast_ref::<io::Error>() {
        Some(error) => ErrorKind::of_io(error),
        None => ErrorKind::of_text(&error.to_string()),
    };
    own.or_else(|| error.source().and_then(|cause| of_wrapped(cause, depth - 1)))
}

/// Numbers as Linux has them; those that macOS has otherwise are told apart below.
const fn of_number(number: i32) -> Option<ErrorKind> {
    if cfg!(target_os = "macos") {
        match number {
            // EDQUOT; ESTALE, EAGAIN, ETIMEDOUT
            69 => return Some(ErrorKind::NoSpace),
            70 | 35 | 60 => return Some(ErrorKind::Unavailable),
            11 | 110 | 116 | 117 | 122 => return None,
            _ => {}
        }
    }
    match number {
        // ENOSPC, EFBIG (a limit of the process), EDQUOT
        28 | 27 | 122 => Some(ErrorKind::NoSpace),
        // EPERM, EINTR, EIO, ENXIO, EAGAIN, ENOMEM, EACCES, EBUSY, ENODEV, ENFILE, EMFILE, EROFS, ETIMEDOUT, ESTALE, EUCLEAN
        1 | 4 | 5 | 6 | 11 | 12 | 13 | 16 | 19 | 23 | 24 | 30 | 110 | 116 | 117 => Some(ErrorKind::Unavailable),
        _ => None,
    }
}

fn of_io_kind(kind: io::ErrorKind) -> Option<ErrorKind> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some(ErrorKind::NoSpace)
        }
        io::ErrorKind::TimedOut
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::ResourceBusy
        | io::ErrorKind::OutOfMemory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::StaleNetworkFileHandle
        | io::ErrorKind::Interrupted => Some(ErrorKind::Unavailable),
        _ => None,
    }
}

/// Texts of the C library on Linux and macOS, of Rust's kinds, and of SQLite.
const NO_SPACE: [&str; 7] = [
    "no space left",
    "no storage space",
    "disk quota exceeded",
    "quota exceeded",
    "file too large",
    "disc quota exceeded",
    "database or disk is full",
];
const UNAVAILABLE: [&str; 8] = [
    "too many open files",
    "too many files open",
    "read-only file system",
    "read-only filesystem",
    "input/output error",
    "stale file handle",
    "cannot allocate memory",
    "resource temporarily unavailable",
];
