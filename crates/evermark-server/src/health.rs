//! `GET /health` and `GET /metrics`.

mod watch;

pub(crate) use watch::Watch;

use crate::api::Health;
use crate::api::StatusData;
use crate::api::health::Audience;
use crate::guard::Caller;
use crate::metrics;
use crate::respond::Refusal;
use crate::router::App;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Says how the daemon is doing. Always 200; read `status`.
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    operation_id = "health",
    responses((status = 200, description = "The verdict and its reasons", body = Health))
)]
pub(crate) async fn health(State(app): State<App>, Extension(caller): Extension<Caller>) -> Json<Health> {
    let audience = match caller {
        Caller::Trusted => Audience::Trusted,
        Caller::Unknown => Audience::Anybody,
    };
    let version = &app.options().version;
    Json(match look(&app).await {
        Ok(status) => Health::of(status, version, !app.is_closing(), audience),
        Err(refusal) => {
            // The status code stays 200, so nobody else logs this.
            let detail = refusal.detail.unwrap_or_else(|| refusal.message.clone());
            tracing::error!(detail, "the root does not say how it is");
            Health::silent("status_unavailable", refusal.message, version, audience)
        }
    })
}

/// Shows counters and gauges as Prometheus text.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "metrics",
    operation_id = "metrics",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let status = look(&app).await.ok();
    let page = metrics::page(app.requests(), status.as_ref(), &app.options().version);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

/// Asks the root how it is; what it said last stands in when it does not answer in time.
pub(crate) async fn look(app: &App) -> Result<StatusData, Refusal> {
    app.watch().look(app).await
}
