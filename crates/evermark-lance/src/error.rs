//! Classifies what Lance reports, once: every other module hands its failures to [`failed`].
//!
//! Lance has no variant for a full disk or for missing descriptors. They arrive as `io::Error` somewhere in the chain of
//! causes, as `io::ErrorKind` without the number (tokio's files), or as text only (its local writer). So: walk the chain,
//! ask [`ErrorKind::of_io`] about each, then Lance's own variants, and read text last.

use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use std::error::Error as StdError;
use std::io;

/// Returns the error people and code see for `doing` having failed with `cause`.
pub(crate) fn failed(doing: &str, cause: impl StdError + Send + Sync + 'static) -> IndexError {
    let kind = classify(&cause);
    IndexError { kind, message: format!("cannot {doing} ({})", class(kind)), source: Some(Box::new(cause)) }
}

/// As [`failed`], for reading what is on the disk already: what nothing else explains is damage there.
pub(crate) fn unreadable(doing: &str, cause: impl StdError + Send + Sync + 'static) -> IndexError {
    let error = failed(doing, cause);
    match error.kind {
        ErrorKind::Internal | ErrorKind::Invalid => {
            IndexError { kind: ErrorKind::Corrupt, message: format!("cannot {doing} (damaged)"), ..error }
        }
        _ => error,
    }
}

/// Returns the error for a file that is shorter than its writer believes. Lance's local writer drops the error that
/// would tell why; a full disk, a quota or a size limit is what cuts a file's end off.
pub(crate) fn cut_short(file: &str) -> IndexError {
    IndexError::new(ErrorKind::NoSpace, format!("the index's new file {file} was cut short (no space on the disk?)"))
}

/// Returns the error for derived data that is not as it must be.
pub(crate) fn corrupt(message: impl Into<String>) -> IndexError {
    IndexError::new(ErrorKind::Corrupt, message)
}

/// Returns an error's sentence followed by those of its causes.
pub(crate) fn with_causes(error: &IndexError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn class(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not found",
        ErrorKind::Conflict => "another writer",
        ErrorKind::Unavailable => "not possible now",
        ErrorKind::NoSpace => "no space on the disk",
        ErrorKind::Corrupt => "damaged",
        ErrorKind::Internal => "unexpected",
    }
}

/// Returns what kind of failure `error` is, looking through everything that wraps it.
pub fn classify(error: &(dyn StdError + 'static)) -> ErrorKind {
    // The most telling cause wins: a full disk below "internal error" is still a full disk.
    let mut found = None;
    let mut seen = 0;
    walk(error, &mut seen, &mut |cause| {
        let kind = of_io(cause).or_else(|| of_lance(cause));
        if let Some(kind) = kind
            && found.is_none_or(|before| rank(kind) > rank(before))
        {
            found = Some(kind);
        }
    });
    match found {
        // These two say least; the text may know better.
        None | Some(ErrorKind::Internal | ErrorKind::Corrupt) => of_text(&error_text(error)).or(found),
        told => told,
    }
    .unwrap_or(ErrorKind::Internal)
}

fn rank(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NoSpace => 6,
        ErrorKind::Unavailable => 5,
        ErrorKind::Conflict => 4,
        ErrorKind::Corrupt => 3,
        ErrorKind::NotFound => 2,
        ErrorKind::Invalid => 1,
        ErrorKind::Internal => 0,
    }
}

/// Chains longer than this are cyclic or absurd.
const CAUSES_MAX: usize = 64;

fn walk(error: &(dyn StdError + 'static), seen: &mut usize, visit: &mut dyn FnMut(&(dyn StdError + 'static))) {
    *seen += 1;
    if *seen > CAUSES_MAX {
        return;
    }
    visit(error);
    // `io::Error::source` skips the error it wraps and goes straight to that error's cause.
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        walk(inner, seen, visit);
        return;
    }
    if let Some(lance::Error::Wrapped { error, .. }) = error.downcast_ref::<lance::Error>() {
        walk(error.as_ref(), seen, visit);
        return;
    }
    if let Some(cause) = error.source() {
        walk(cause, seen, visit);
    }
}

fn of_io(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let error = error.downcast_ref::<io::Error>()?;
    ErrorKind::of_io(error).or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound | io::ErrorKind::InvalidData => Some(ErrorKind::Corrupt),
        _ => None,
    })
}

fn of_lance(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    use lance::Error;
    match error.downcast_ref::<Error>()? {
        Error::DiskCapExceeded { .. } => Some(ErrorKind::NoSpace),
        Error::Timeout { .. } | Error::TooMuchWriteContention { .. } => Some(ErrorKind::Unavailable),
        Error::CommitConflict { .. }
        | Error::RetryableCommitConflict { .. }
        | Error::IncompatibleTransaction { .. } => Some(ErrorKind::Conflict),
        Error::CorruptFile { .. }
        | Error::NotFound { .. }
        | Error::DatasetNotFound { .. }
        | Error::SchemaMismatch { .. }
        | Error::Schema { .. }
        | Error::Arrow { .. }
        | Error::Internal { .. } => Some(ErrorKind::Corrupt),
        // The rest either wrap a cause that is looked at by itself, or mean that we called Lance wrongly.
        _ => None,
    }
}

fn error_text(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    let mut seen = 0;
    walk(error, &mut seen, &mut |cause| {
        text.push_str(&cause.to_string());
        text.push('\n');
    });
    text.make_ascii_lowercase();
    text
}

fn of_text(text: &str) -> Option<ErrorKind> {
    const CORRUPT: [&str; 4] = ["failed to fill whole buffer", "unexpected end of file", "corrupt", "os error 2)"];
    ErrorKind::of_text(text)
        .or_else(|| CORRUPT.iter().any(|needle| text.contains(needle)).then_some(ErrorKind::Corrupt))
}
