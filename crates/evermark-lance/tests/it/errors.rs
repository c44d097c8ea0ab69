//! Every disguise in which a full disk or a missing descriptor comes out of Lance is recognised.

use evermark_core::error::ErrorKind;
use evermark_lance::classify;
use std::error::Error;
use std::io;

fn check(error: impl Error + 'static, expected: ErrorKind) {
    assert_eq!(classify(&error), expected, "{error}");
}

/// As `object_store` and tokio wrap things: a type of their own around a boxed cause.
#[derive(Debug, thiserror::Error)]
#[error("generic local file system error")]
struct Wrapped(#[source] Box<dyn Error + Send + Sync>);

fn wrapped(error: impl Into<Box<dyn Error + Send + Sync>>) -> Wrapped {
    Wrapped(error.into())
}

#[test]
fn numbers_kinds_and_texts_are_recognised_however_deep() {
    for number in [28, 122, 27] {
        check(io::Error::from_raw_os_error(number), ErrorKind::NoSpace);
        check(wrapped(wrapped(io::Error::from_raw_os_error(number))), ErrorKind::NoSpace);
        check(io::Error::other(wrapped(io::Error::from_raw_os_error(number))), ErrorKind::NoSpace);
        check(lance::Error::io_source(Box::new(io::Error::from_raw_os_error(number))), ErrorKind::NoSpace);
        check(
            lance::Error::io(format!("failed to persist temp file: {}", io::Error::from_raw_os_error(number))),
            ErrorKind::NoSpace,
        );
    }
    for number in [24, 23, 5, 30] {
        check(io::Error::from_raw_os_error(number), ErrorKind::Unavailable);
        check(lance::Error::io_source(Box::new(wrapped(io::Error::from_raw_os_error(number)))), ErrorKind::Unavailable);
        check(
            lance::Error::io(format!("cannot open: {}", io::Error::from_raw_os_error(number))),
            ErrorKind::Unavailable,
        );
    }
    check(io::Error::from(io::ErrorKind::StorageFull), ErrorKind::NoSpace);
    check(io::Error::from(io::ErrorKind::QuotaExceeded), ErrorKind::NoSpace);
    check(io::Error::from(io::ErrorKind::TimedOut), ErrorKind::Unavailable);
    check(io::Error::from(io::ErrorKind::UnexpectedEof), ErrorKind::Corrupt);
    check(lance::Error::internal("No space left on device"), ErrorKind::NoSpace);
    check(lance::Error::internal("page out of bounds"), ErrorKind::Corrupt);
    check(lance::Error::io("failed to fill whole buffer"), ErrorKind::Corrupt);
    check(lance::Error::not_found("data/x.lance"), ErrorKind::Corrupt);
    check(lance::Error::invalid_input("we called it wrongly"), ErrorKind::Internal);
    check(io::Error::other("who knows"), ErrorKind::Internal);
}
