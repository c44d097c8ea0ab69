//! `POST /memory/add`, `flush` and `get`.

use crate::api::add::{ContentPart, PartKind};
use crate::api::{AcceptedData, AddAnswer, AddBody, AddData, Code, Content, Envelope, Failure};
use crate::api::{FlushAnswer, FlushBody, FlushData, GetBody, GetData};
use crate::body::Json;
use crate::guard::RequestId;
use crate::respond::Refusal;
use crate::router::App;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Remembers messages.
///
/// 200 once they are durable and whatever they complete is extracted; 202 once they are durable.
#[utoipa::path(
    post,
    path = "/memory/add",
    tag = "memory",
    operation_id = "add_memory",
    params(
        ("wait" = Option<crate::api::Wait>, Query, description = "Answer once what was extracted can be searched."),
        ("wait_timeout_ms" = Option<u64>, Query, minimum = 1, maximum = 60000, description = "How long that may take.")
    ),
    request_body = AddBody,
    responses(
        (status = 200, description = "Stored", body = Envelope<AddData>),
        (status = 202, description = "Stored; extraction follows", body = Envelope<AcceptedData>),
        (status = 413, description = "Body over the limit", body = Failure),
        (status = 415, description = "A part holds nothing", body = Failure),
        (status = 422, description = "Not as it should be", body = Failure),
        (status = 429, description = "Inbox or server at its limit", body = Failure),
        (status = 503, description = "Not possible now, or a part that cannot be read", body = Failure),
        (status = 507, description = "No room on the disk", body = Failure)
    )
)]
pub(crate) async fn add(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let body = AddBody::read(&body)?;
    readable(&body)?;
    let limit = app.options().request_timeout + body.patience().unwrap_or_default();
    let receipt = app.run(app.writes(), limit, move |engine| engine.add(body.into())).await?;
    let data = AddAnswer::from(receipt);
    let status = match data {
        AddAnswer::Accepted(_) => StatusCode::ACCEPTED,
        AddAnswer::Done(_) => StatusCode::OK,
    };
    Ok((status, axum::Json(Envelope { request_id, data })).into_response())
}

/// Ends the open segment of a session: its messages become memories now.
#[utoipa::path(
    post,
    path = "/memory/flush",
    tag = "memory",
    operation_id = "flush_memory",
    params(
        ("wait" = Option<crate::api::Wait>, Query, description = "Answer once what was extracted can be searched."),
        ("wait_timeout_ms" = Option<u64>, Query, minimum = 1, maximum = 60000, description = "How long that may take.")
    ),
    request_body = FlushBody,
    responses(
        (status = 200, description = "Done", body = Envelope<FlushData>),
        (status = 202, description = "Queued behind messages of the session", body = Envelope<AcceptedData>),
        (status = 422, description = "Not as it should be", body = Failure),
        (status = 429, description = "Server at its limit", body = Failure),
        (status = 503, description = "Not possible now", body = Failure),
        (status = 507, description = "No room on the disk", body = Failure)
    )
)]
pub(crate) async fn flush(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let body = FlushBody::read(&body)?;
    let limit = app.options().request_timeout + body.patience().unwrap_or_default();
    let receipt = app.run(app.writes(), limit, move |engine| engine.flush(body.into())).await?;
    let data = FlushAnswer::from(receipt);
    let status = match data {
        FlushAnswer::Accepted(_) => StatusCode::ACCEPTED,
        FlushAnswer::Done(_) => StatusCode::OK,
    };
    Ok((status, axum::Json(Envelope { request_id, data })).into_response())
}

/// Lists an owner's memories of one kind, a page at a time.
#[utoipa::path(
    post,
    path = "/memory/get",
    tag = "memory",
    operation_id = "post_get",
    request_body = GetBody,
    responses(
        (status = 200, description = "One page", body = Envelope<GetData>),
        (status = 422, description = "Not as it should be, or a filter on a field this kind has not", body = Failure),
        (status = 429, description = "Server at its limit", body = Failure),
        (status = 503, description = "Not possible now", body = Failure)
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Json(body): Json,
) -> Result<axum::Json<Envelope<GetData>>, Refusal> {
    let body = GetBody::read(&body)?;
    let limit = app.options().request_timeout;
    let answer = app.run(app.reads(), limit, move |engine| engine.get(body.into())).await?;
    Ok(axum::Json(Envelope { request_id, data: GetData::of(answer, app.zone()) }))
}

/// Refuses parts that nobody could ever read back: accepting them would be a promise we do not keep.
fn readable(body: &AddBody) -> Result<(), Refusal> {
    let parts = body.messages.iter().filter_map(|message| match &message.content {
        Content::Parts(parts) => Some(parts),
        Content::Text(_) => None,
    });
    parts.flatten().try_for_each(|part| match part {
        ContentPart { text: Some(_), .. } | ContentPart { kind: PartKind::Text, .. } => Ok(()),
        ContentPart { uri: None, base64: None, .. } => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedFormat,
            format!("a part of type `{}` has neither text, uri nor base64", part.kind.name()),
        )),
        ContentPart { .. } => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::CapabilityUnavailable,
            format!("no parser for parts of type `{}`; send what it says in `text` too", part.kind.name()),
        )),
    })
}

#[cfg(test)]
mod tests;
