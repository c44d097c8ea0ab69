//! The request's body as JSON.

use crate::api::Code;
use crate::json;
use crate::respond::Refusal;
use crate::router::App;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Query, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use std::collections::BTreeMap;

/// A body that is JSON, or an empty one (`None`) where the route allows that.
pub(crate) struct Json(pub(crate) Value);

/// Query parameters that stand for keys of the body.
const QUERY_KEYS: [&str; 2] = ["wait", "wait_timeout_ms"];

impl FromRequest<App> for Json {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let query = Query::<BTreeMap<String, String>>::try_from_uri(request.uri())
            .map(|Query(query)| query)
            .map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidInput, error.to_string()))?;
        let is_json = is_json(request.headers());
        let bytes = read(request, app).await?;
        let mut value = if is_json || bytes.is_empty() {
            json::read(&bytes)?
        } else {
            // As EverOS: what is not declared to be JSON is text, which no route takes. Web pages cannot send JSON to
            // a stranger without asking first, but can send text.
            Value::Null
        };
        if let Value::Object(body) = &mut value {
            for key in QUERY_KEYS {
                if let Some(text) = query.get(key) {
                    body.insert(key.to_owned(), Value::String(text.clone()));
                }
            }
        }
        Ok(Self(value))
    }
}

/// Returns a body, or an empty object when there is none.
pub(crate) async fn json_or_nothing(request: Request, app: &App) -> Result<Value, Refusal> {
    let is_json = is_json(request.headers());
    let bytes = read(request, app).await?;
    match (bytes.is_empty(), is_json) {
        (true, _) => Ok(Value::Object(serde_json::Map::new())),
        (false, true) => Ok(json::read(&bytes)?),
        (false, false) => Ok(Value::Null),
    }
}

/// Reads the body of a request that needs none, to its end.
///
/// A body left unread ends the connection if it arrives after the answer, and the client's next request with it.
pub(crate) async fn ignored(request: Request, app: &App) -> Result<(), Refusal> {
    read(request, app).await.map(drop)
}

async fn read(request: Request, app: &App) -> Result<Bytes, Refusal> {
    let limit = app.options().body_bytes_max;
    let reading = tokio::time::timeout(app.options().request_timeout, Bytes::from_request(request, app));
    let Ok(read) = reading.await else {
        return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::BadRequest, "the body took too long to arrive"));
    };
    read.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::PayloadTooLarge,
            format!("the body exceeds {limit} bytes; send it in several requests"),
        ),
        rejection => Refusal::new(StatusCode::BAD_REQUEST, Code::BadRequest, rejection.body_text()),
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
