use super::*;
use evermark_core::embed::EmbedError;
use evermark_core::index::IndexError;
use std::io;

fn check(error: Error, status: u16, code: &str, message: &str) {
    let refusal = Refusal::from(error);
    assert_eq!((refusal.status.as_u16(), refusal.code.name(), refusal.message.as_str()), (status, code, message));
}

fn index(kind: ErrorKind) -> Error {
    let source = Some(io::Error::other("secret cause").into());
    Error::Index(IndexError { kind, message: "cannot write rows".to_owned(), source })
}

fn embed(kind: ErrorKind) -> Error {
    let message = "the provider refused".to_owned();
    Error::Embed(EmbedError { kind, class: "x", message, retry_after: None })
}

#[test]
fn each_failure_has_the_status_and_code_of_the_table() {
    check(Error::Invalid("bad".into()), 422, "INVALID_INPUT", "bad");
    check(Error::NotFound("gone".into()), 404, "NOT_FOUND", "gone");
    check(
        Error::NotConfigured { feature: "vector", provider: "embedding" },
        422,
        "PROVIDER_NOT_CONFIGURED",
        "vector needs embedding, which is not configured",
    );
    check(Error::Busy("the inbox is full".into()), 429, "QUEUE_SATURATED", "the inbox is full");
    let full = Error::Full { message: "there is no room".into(), source: Box::new(index(ErrorKind::NoSpace)) };
    check(full, 507, "INSUFFICIENT_STORAGE", "there is no room");
    check(Error::Paused("no room now".into()), 507, "INSUFFICIENT_STORAGE", "no room now");
    check(embed(ErrorKind::Unavailable), 503, "EXTERNAL_SERVICE_UNAVAILABLE", "the provider refused");
    check(embed(ErrorKind::Invalid), 422, "INVALID_INPUT", "the provider refused");
    check(index(ErrorKind::Invalid), 500, "CONFIGURATION_ERROR", "cannot write rows");
    check(index(ErrorKind::Conflict), 409, "CONFLICT", "cannot write rows");
    check(index(ErrorKind::Unavailable), 503, "EXTERNAL_SERVICE_UNAVAILABLE", "cannot write rows");
    check(index(ErrorKind::Internal), 500, "INTERNAL_ERROR", "Internal server error");
    check(
        index(ErrorKind::NoSpace),
        507,
        "INSUFFICIENT_STORAGE",
        "cannot write rows; free some space on the disk of the root and send the request again",
    );
    check(
        index(ErrorKind::Corrupt),
        503,
        "EXTERNAL_SERVICE_UNAVAILABLE",
        "cannot write rows; derived data is damaged, `evermark index rebuild` makes it anew from the Markdown",
    );
}

#[test]
fn a_full_disk_and_a_pause_are_told_in_the_engines_words() {
    let sentence = "the message cannot be stored: no space on the disk of /r; free 64 MB there";
    check(Error::Paused(sentence.to_owned()), 507, "INSUFFICIENT_STORAGE", sentence);
    let source = Box::new(Error::Busy("secret cause".to_owned()));
    check(Error::Full { message: sentence.to_owned(), source }, 507, "INSUFFICIENT_STORAGE", sentence);
}

#[test]
fn a_read_that_was_ended_for_its_space_may_be_sent_again_at_once() {
    let refusal = Refusal::from(index(ErrorKind::Unavailable));
    let response = refusal.render("id".to_owned(), "now".to_owned(), "/p".to_owned());
    assert_eq!(
        (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
        (503, &HeaderValue::from_static("1"))
    );
}

#[test]
fn the_cause_goes_to_the_log_and_not_to_the_client() {
    let refusal = Refusal::from(index(ErrorKind::Internal));
    assert_eq!(refusal.detail.as_deref(), Some("cannot write rows: secret cause"));
    let response = refusal.render("id".to_owned(), "now".to_owned(), "/p".to_owned());
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
}

#[test]
fn every_code_is_written_as_it_is_named() {
    let codes = [
        Code::InvalidInput,
        Code::ProviderNotConfigured,
        Code::BadRequest,
        Code::Unauthorized,
        Code::Forbidden,
        Code::NotFound,
        Code::Conflict,
        Code::PayloadTooLarge,
        Code::UnsupportedFormat,
        Code::QueueSaturated,
        Code::ExternalServiceUnavailable,
        Code::CapabilityUnavailable,
        Code::InsufficientStorage,
        Code::ConfigurationError,
        Code::InternalError,
    ];
    for code in codes {
        assert_eq!(serde_json::to_value(code).unwrap(), code.name());
    }
}
