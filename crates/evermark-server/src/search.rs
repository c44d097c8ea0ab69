//! `POST /memory/search`.

use crate::api::{Envelope, Failure, SearchBody, SearchData};
use crate::body::Json;
use crate::guard::RequestId;
use crate::respond::Refusal;
use crate::router::App;
use axum::extract::{Extension, State};
use std::time::Duration;

/// How long after its own time is over a search may still answer: with what it has by then.
const GRACE: Duration = Duration::from_secs(15);

/// Returns the time that a search takes for itself: its deadline, or what those may take that ask a model.
fn own_limit(app: &App, body: &SearchBody) -> Duration {
    let asked = body.deadline_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    asked.unwrap_or(app.engine().settings().judges.limit)
}

/// Searches one owner's memories, and shows a session's messages that are not extracted yet.
#[utoipa::path(
    post,
    path = "/memory/search",
    tag = "memory",
    operation_id = "post_search",
    request_body = SearchBody,
    responses(
        (status = 200, description = "What was found; `degraded` says what was skipped", body = Envelope<SearchData>),
        (status = 422, description = "Not as it should be, or a method whose provider is missing", body = Failure),
        (status = 429, description = "Server at its limit", body = Failure),
        (status = 503, description = "Not possible now", body = Failure)
    )
)]
pub(crate) async fn search(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Json(body): Json,
) -> Result<axum::Json<Envelope<SearchData>>, Refusal> {
    let body = SearchBody::read(&body)?;
    let limit = app.options().request_timeout.max(own_limit(&app, &body) + GRACE);
    let answer = app.run(app.reads(), limit, move |engine| engine.search(body.into())).await?;
    Ok(axum::Json(Envelope { request_id, data: SearchData::of(answer, app.zone()) }))
}
