use super::ErrorKind::{NoSpace, Unavailable};
use super::*;

/// An error that is nothing but text, as Lance's local writer makes them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(&'static str);

#[derive(Debug, thiserror::Error)]
#[error("cannot write the data file")]
struct Around(#[source] io::Error);

fn check(error: io::Error, expected: Option<ErrorKind>) {
    assert_eq!(ErrorKind::of_io(&error), expected, "{error:?}");
}

#[test]
fn numbers_tell() {
    for number in [28, 27, 122] {
        check(io::Error::from_raw_os_error(number), Some(NoSpace));
    }
    for number in [24, 23, 5, 30, 13, 1, 12, 16, 116, 11] {
        check(io::Error::from_raw_os_error(number), Some(Unavailable));
    }
    for number in [2, 17, 20, 22] {
        check(io::Error::from_raw_os_error(number), None);
    }
}

#[test]
fn a_kind_that_lost_its_number_tells() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
        check(kind.into(), Some(NoSpace));
    }
    for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied, io::ErrorKind::OutOfMemory] {
        check(kind.into(), Some(Unavailable));
    }
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof] {
        check(kind.into(), None);
    }
}

#[test]
fn what_is_wrapped_is_found() {
    let full = || io::Error::from_raw_os_error(28);
    check(io::Error::other(full()), Some(NoSpace));
    check(io::Error::other(Around(full())), Some(NoSpace));
    check(io::Error::other(Around(io::Error::other(Around(full())))), Some(NoSpace));
    check(io::Error::new(io::ErrorKind::InvalidData, Around(io::Error::from_raw_os_error(24))), Some(Unavailable));
    check(io::Error::other(Words("failed to persist temp file: No space left on device (os error 28)")), Some(NoSpace));
    check(io::Error::new(io::ErrorKind::PermissionDenied, Words("something else")), Some(Unavailable));
    check(io::Error::other(Words("bad magic")), None);
}

#[test]
fn text_tells_when_nothing_else_is_left() {
    let check = |text: &str, expected| assert_eq!(ErrorKind::of_text(text), expected, "{text}");
    check("LanceError(IO): No space left on device (os error 28)", Some(NoSpace));
    check("write failed: os error 122", Some(NoSpace));
    check("File too large (os error 27), lance-io/src/local.rs:9", Some(NoSpace));
    check("Disk quota exceeded", Some(NoSpace));
    check("database or disk is full", Some(NoSpace));
    check("Generic LocalFileSystem error: Too many open files (os error 24)", Some(Unavailable));
    check("Read-only file system (os error 30)", Some(Unavailable));
    check("Input/output error", Some(Unavailable));
    check("os error 5", Some(Unavailable));
    // Not 5, and not 2 either.
    check("something (os error 55)", None);
    check("No such file or directory (os error 2)", None);
    check("two complaints: os error 24; os error 28", Some(NoSpace));
    check("Too many open files while there was no space left", Some(NoSpace));
    check("the spacecraft left on time", None);
    check("", None);
}
