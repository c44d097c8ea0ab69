//! Turns failures into status codes and envelopes: the one place that knows EverOS's error table.

use crate::api::{Code, Failure, FailureDetail, Invalid};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evermark_core::error::ErrorKind;
use evermark_engine::Error;

/// What the client is told of a fault of ours; the log has the rest, under the request's id.
const INTERNAL: &str = "Internal server error";

/// A request that is not carried out.
///
/// As a response it is only a promise: the envelope needs the request's id, which `guard::identify` knows and fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: Code,
    pub message: String,
    /// What the log is told beyond the message; for faults of ours.
    pub detail: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), detail: None }
    }

    /// Returns a fault of ours: the client gets a fixed text, the log gets `detail`.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, INTERNAL);
        refusal.detail = Some(detail.into());
        refusal
    }

    /// Returns the refusal of something that may work in a moment.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::ExternalServiceUnavailable, message)
    }

    /// Returns the refusal of more work than there is room for.
    pub(crate) fn saturated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::QueueSaturated, message)
    }

    /// Returns the error as the envelope's inner object.
    pub(crate) fn into_detail(self, timestamp: String, path: String) -> FailureDetail {
        FailureDetail { code: self.code, message: self.message, timestamp, path }
    }

    /// Returns the finished response.
    pub(crate) fn render(self, request_id: String, timestamp: String, path: String) -> Response {
        let (status, challenge) = (self.status, self.code == Code::Unauthorized);
        let mut response = Json(Failure { request_id, error: self.into_detail(timestamp, path) }).into_response();
        *response.status_mut() = status;
        if challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidInput, invalid.message())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        match error {
            Error::Invalid(message) => Self::invalid(message),
            Error::Filter(error) => Self::invalid(error.to_string()),
            Error::Unsafe(error) => Self::invalid(error.to_string()),
            Error::NotFound(message) => Self::new(StatusCode::NOT_FOUND, Code::NotFound, message),
            Error::NotConfigured { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::ProviderNotConfigured, error.to_string())
            }
            Error::Busy(message) => Self::saturated(message),
            Error::Full { message, source } => {
                let mut refusal = Self::new(StatusCode::INSUFFICIENT_STORAGE, Code::InsufficientStorage, message);
                refusal.detail = Some(causes(source.as_ref()));
                refusal
            }
            Error::Paused(message) => Self::new(StatusCode::INSUFFICIENT_STORAGE, Code::InsufficientStorage, message),
            // A provider says `Invalid` of the text it was given, so that is the request's fault, as in EverOS.
            Error::Embed(_) => Self::of(kind, &error),
            // The index says `Invalid` of vectors that have not its width: a matter of configuration.
            Error::Index(_) if kind == ErrorKind::Invalid => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::ConfigurationError, error.to_string())
            }
            Error::Index(_) => Self::of(kind, &error),
            // A file that was there a moment ago: nothing the client named, and it may be back in a moment.
            Error::Store(_) if kind == ErrorKind::NotFound => Self::of(ErrorKind::Unavailable, &error),
            Error::Store(_) => Self::of(kind, &error),
        }
    }
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidInput, message)
    }

    /// Returns what a failure of this kind comes to when nothing more is known of it.
    fn of(kind: ErrorKind, error: &Error) -> Self {
        let mut refusal = match kind {
            ErrorKind::Invalid => Self::invalid(error.to_string()),
            ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, Code::NotFound, error.to_string()),
            ErrorKind::Conflict => Self::new(StatusCode::CONFLICT, Code::Conflict, error.to_string()),
            ErrorKind::Unavailable => Self::unavailable(error.to_string()),
            ErrorKind::NoSpace => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                Code::InsufficientStorage,
                format!("{error}; free some space on the disk of the root and send the request again"),
            ),
            ErrorKind::Corrupt => Self::unavailable(format!(
                "{error}; derived data is damaged, `evermark index rebuild` makes it anew from the Markdown"
            )),
            ErrorKind::Internal => Self::internal(String::new()),
        };
        refusal.detail = Some(causes(error));
        refusal
    }
}

/// Returns an error and its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests;
