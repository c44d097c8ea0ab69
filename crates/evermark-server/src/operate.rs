//! What an operator asks of a running daemon: status, sync, verify, and the care of the index.
//!
//! All but status and plan may run for long. Their answer starts at once and is one JSON object a line: progress while there is
//! some, a sign of life while there is none, and the report at the end. One of them runs at a time, except
//! pruning, which has a place of its own: it must work while something else hangs. They go on when the caller leaves.

use crate::api::work::{
    CompactData, DryRunBody, InspectData, PlanData, PruneData, RebuildData, SyncBody, SyncData, VerifyData, WorkEvent,
};
use crate::api::{Code, Envelope, Failure, StatusData};
use crate::body;
use crate::guard::RequestId;
use crate::health::look;
use crate::respond::Refusal;
use crate::router::App;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use evermark_engine::status::ProgressMark;
use evermark_engine::{Engine, Error};
use futures::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Interval, MissedTickBehavior};

/// How often progress is looked at: a bar needs no more.
const GLANCE: Duration = Duration::from_millis(100);
/// Glances without progress before a sign of life: five seconds, well within what proxies and clients wait.
const QUIET_GLANCES_MAX: u32 = 50;

/// Says everything the root knows of itself.
#[utoipa::path(
    get,
    path = "/api/v1/evermark/status",
    tag = "evermark",
    operation_id = "evermark_status",
    responses((status = 200, description = "The status", body = Envelope<StatusData>))
)]
pub(crate) async fn status(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
) -> Result<Json<Envelope<StatusData>>, Refusal> {
    Ok(Json(Envelope { request_id, data: look(&app).await? }))
}

/// Brings the index up to date with the Markdown now.
#[utoipa::path(
    post,
    path = "/api/v1/evermark/sync",
    tag = "evermark",
    operation_id = "evermark_sync",
    request_body = Option<SyncBody>,
    responses(
        (status = 200, description = "One JSON object a line", body = WorkEvent<SyncData>, content_type = "application/x-ndjson"),
        (status = 409, description = "Other work is running", body = Failure),
        (status = 422, description = "Not as it should be", body = Failure)
    )
)]
pub(crate) async fn sync(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().to_owned();
    let body = SyncBody::read(&body::json_or_nothing(request, &app).await?)?;
    start(app, Place::Work, path, move |engine, progress| {
        engine.sync(body.allow_mass_delete, progress).map(SyncData::from)
    })
}

/// Compares index and Markdown, changing nothing.
#[utoipa::path(
    post,
    path = "/api/v1/evermark/verify",
    tag = "evermark",
    operation_id = "evermark_verify",
    responses(
        (status = 200, description = "One JSON object a line", body = WorkEvent<VerifyData>, content_type = "application/x-ndjson"),
        (status = 409, description = "Other work is running", body = Failure)
    )
)]
pub(crate) async fn verify(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().to_owned();
    body::ignored(request, &app).await?;
    start(app, Place::Work, path, |engine, progress| engine.verify(progress).map(VerifyData::from))
}

/// Builds a new index beside the live one and swaps, while searches go on.
#[utoipa::path(
    post,
    path = "/api/v1/evermark/index/rebuild",
    tag = "evermark",
    operation_id = "evermark_rebuild",
    responses(
        (status = 200, description = "One JSON object a line", body = WorkEvent<RebuildData>, content_type = "application/x-ndjson"),
        (status = 409, description = "Other work is running", body = Failure)
    )
)]
pub(crate) async fn rebuild(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().to_owned();
    body::ignored(request, &app).await?;
    start(app, Place::Work, path, |engine, progress| engine.rebuild(progress).map(RebuildData::from))
}

/// Says what the next round of upkeep would do, and why.
#[utoipa::path(
    get,
    path = "/api/v1/evermark/index/plan",
    tag = "evermark",
    operation_id = "evermark_index_plan",
    responses((status = 200, description = "The plan", body = Envelope<PlanData>))
)]
pub(crate) async fn plan(
    State(app): State<App>,
    Extension(RequestId(request_id)): Extension<RequestId>,
) -> Result<Json<Envelope<PlanData>>, Refusal> {
    let limit = app.options().request_timeout;
    let plan = app.run(app.looks(), limit, |engine| Ok(engine.plan())).await?;
    Ok(Json(Envelope { request_id, data: plan.into() }))
}

/// Removes what no version in use needs. Works on a full disk, and while other work is running or merging fails.
#[utoipa::path(
    post,
    path = "/api/v1/evermark/index/prune",
    tag = "evermark",
    operation_id = "evermark_index_prune",
    request_body = Option<DryRunBody>,
    responses(
        (status = 200, description = "One JSON object a line", body = WorkEvent<PruneData>, content_type = "application/x-ndjson"),
        (status = 409, description = "A prune is running", body = Failure),
        (status = 422, description = "Not as it should be", body = Failure)
    )
)]
pub(crate) async fn prune(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().to_owned();
    let DryRunBody { dry_run } = DryRunBody::read(&body::json_or_nothing(request, &app).await?)?;
    start(app, Place::Prune, path, move |engine, progress| engine.prune(dry_run, progress).map(PruneData::from))
}

/// Prunes, then merges small and half-dead pieces until none is due.
#[utoipa::path(
    post,
    path = "/api/v1/evermark/index/compact",
    tag = "evermark",
    operation_id = "evermark_index_compact",
    request_body = Option<DryRunBody>,
    responses(
        (status = 200, description = "One JSON object a line", body = WorkEvent<CompactData>, content_type = "application/x-ndjson"),
        (status = 409, description = "Other work is running", body = Failure),
        (status = 422, description = "Not as it should be", body = Failure)
    )
)]
pub(crate) async fn compact(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().to_owned();
    let DryRunBody { dry_run } = DryRunBody::read(&body::json_or_nothing(request, &app).await?)?;
    start(app, Place::Work, path, move |engine, progress| engine.compact(dry_run, progress).map(CompactData::from))
}

/// Reads every piece of the index in full. Those that cannot be read are taken out, and their rows written again.
#[utoipa::path(
    post,
    path = "/api/v1/evermark/index/inspect",
    tag = "evermark",
    operation_id = "evermark_index_inspect",
    responses(
        (status = 200, description = "One JSON object a line", body = WorkEvent<InspectData>, content_type = "application/x-ndjson"),
        (status = 409, description = "Other work is running", body = Failure)
    )
)]
pub(crate) async fn inspect(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().to_owned();
    body::ignored(request, &app).await?;
    start(app, Place::Work, path, |engine, progress| engine.inspect(progress).map(InspectData::from))
}

/// What may run beside what.
enum Place {
    Work,
    Prune,
}

/// Starts `work` and returns the stream that tells of it.
fn start<R: Serialize + Send + 'static>(
    app: App,
    place: Place,
    path: String,
    work: impl FnOnce(&Engine, &mut dyn FnMut(ProgressMark)) -> Result<R, Error> + Send + 'static,
) -> Result<Response, Refusal> {
    let (places, message) = match place {
        Place::Work => (app.work(), "a sync, verify, compact, inspect or rebuild is running already"),
        Place::Prune => (app.pruning(), "a prune is running already"),
    };
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        return Err(Refusal::new(StatusCode::CONFLICT, Code::Conflict, message));
    };
    let (report, marks) = watch::channel(None);
    let engine = app.engine().clone();
    let running = tokio::task::spawn_blocking(move || {
        let answer = work(&engine, &mut |mark| {
            report.send_replace(Some(mark));
        });
        drop(place);
        answer
    });
    let mut glances = tokio::time::interval(GLANCE);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let tale = Tale { app, path, running, marks, glances, quiet: 0 };
    let lines = stream::unfold(Some(tale), |tale| async { Some(tale?.line().await) });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// Work under way, as its stream tells it.
struct Tale<R> {
    app: App,
    path: String,
    running: JoinHandle<Result<R, Error>>,
    marks: watch::Receiver<Option<ProgressMark>>,
    glances: Interval,
    /// Glances since the last line.
    quiet: u32,
}

impl<R: Serialize> Tale<R> {
    /// Returns the next line, and the tale if it goes on.
    async fn line(mut self) -> (Result<Bytes, Infallible>, Option<Self>) {
        loop {
            tokio::select! {
                biased;
                answer = &mut self.running => {
                    let event = self.ending(answer);
                    return (Ok(render(&event)), None);
                }
                () = self.app.closed() => {
                    let refusal = Refusal::unavailable("the daemon is closing; ask again once it is back");
                    return (Ok(render(&self.failed(refusal))), None);
                }
                _ = self.glances.tick() => {
                    let mark = if self.marks.has_changed().unwrap_or(false) { *self.marks.borrow_and_update() } else { None };
                    let event: WorkEvent<R> = match mark {
                        Some(mark) => WorkEvent::Progress { done: mark.done, total: mark.total },
                        None if self.quiet >= QUIET_GLANCES_MAX => WorkEvent::Alive,
                        None => {
                            self.quiet += 1;
                            continue;
                        }
                    };
                    self.quiet = 0;
                    return (Ok(render(&event)), Some(self));
                }
            }
        }
    }

    fn ending(&self, answer: Result<Result<R, Error>, JoinError>) -> WorkEvent<R> {
        match answer {
            Ok(Ok(report)) => WorkEvent::Done { report },
            Ok(Err(error)) => self.failed(self.app.refuse(error)),
            Err(fault) => self.failed(Refusal::internal(format!("work did not return: {fault}"))),
        }
    }

    fn failed(&self, refusal: Refusal) -> WorkEvent<R> {
        // The status code is out already, so nobody else logs this.
        let detail = refusal.detail.as_deref().unwrap_or(&refusal.message);
        tracing::error!(path = self.path, code = refusal.code.name(), detail, "work failed");
        WorkEvent::Failed {
            status: refusal.status.as_u16(),
            error: refusal.into_detail(self.app.now(), self.path.clone()),
        }
    }
}

fn render<R: Serialize>(event: &WorkEvent<R>) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("reports are plain maps with text keys");
    line.push(b'\n');
    line.into()
}
