//! The server's state and its routes.

use crate::guard;
use crate::health::Watch;
use crate::metrics::Requests;
use crate::options::Options;
use crate::respond::Refusal;
use crate::{health, memories, openapi, operate, search, stamp};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use evermark_core::world::World;
use evermark_engine::{Engine, Error};
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;

/// A server's state. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    world: Arc<dyn World>,
    zone: TimeZone,
    options: Options,
    reads: Lane,
    writes: Lane,
    /// Looks have a lane of their own: they must be possible when the others are full.
    looks: Lane,
    /// Sync, verify, compact, inspect and rebuild: one at a time.
    work: Arc<Semaphore>,
    /// Pruning must work while one of those hangs.
    pruning: Arc<Semaphore>,
    watch: Watch,
    requests: Requests,
    closing: watch::Sender<bool>,
}

/// A bound on what runs at once, and on what waits for that.
pub(crate) struct Lane {
    /// Those that run and those that wait.
    room: Arc<Semaphore>,
    /// Those that run.
    slots: Arc<Semaphore>,
}

impl Lane {
    fn new(running: usize, waiting: usize) -> Self {
        let running = running.max(1);
        Self { room: Arc::new(Semaphore::new(running + waiting)), slots: Arc::new(Semaphore::new(running)) }
    }

    async fn enter(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Refusal> {
        let full = || Refusal::saturated("too many requests are waiting; send this one again in a moment");
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| full())?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| full())?;
        Ok((room, slot))
    }
}

impl App {
    /// Returns the state of a server over `engine`. `world` tells the time and makes ids.
    pub fn new(engine: Engine, world: Arc<dyn World>, options: Options) -> Self {
        let zone = engine.settings().timezone.clone();
        let inner = Inner {
            reads: Lane::new(options.reads_max, options.waiting_max),
            writes: Lane::new(options.writes_max, options.waiting_max),
            looks: Lane::new(2, options.waiting_max),
            work: Arc::new(Semaphore::new(1)),
            pruning: Arc::new(Semaphore::new(1)),
            watch: Watch::default(),
            requests: Requests::default(),
            closing: watch::Sender::new(false),
            engine,
            world,
            zone,
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn world(&self) -> &dyn World {
        self.inner.world.as_ref()
    }

    pub(crate) fn zone(&self) -> &TimeZone {
        &self.inner.zone
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.inner.requests
    }

    /// Searches and listings.
    pub(crate) fn reads(&self) -> &Lane {
        &self.inner.reads
    }

    /// Adds and flushes.
    pub(crate) fn writes(&self) -> &Lane {
        &self.inner.writes
    }

    /// Looks at the root itself.
    pub(crate) fn looks(&self) -> &Lane {
        &self.inner.looks
    }

    pub(crate) fn work(&self) -> &Arc<Semaphore> {
        &self.inner.work
    }

    pub(crate) fn pruning(&self) -> &Arc<Semaphore> {
        &self.inner.pruning
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.inner.watch
    }

    /// Returns now, as envelopes write it.
    pub(crate) fn now(&self) -> String {
        stamp::envelope(self.inner.world.now_us(), &self.inner.zone)
    }

    /// Says that the server closes: streams end, health says so.
    pub(crate) fn close(&self) {
        self.inner.closing.send_replace(true);
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.inner.closing.borrow()
    }

    /// Returns once the server closes.
    pub(crate) async fn closed(&self) {
        let mut closing = self.inner.closing.subscribe();
        // The sender lives in `self`: the wait cannot fail while we are here.
        if closing.wait_for(|closing| *closing).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs a verb on a thread that may block, when its lane has room, within `limit`.
    ///
    /// A verb that has begun goes on when the caller leaves or the time is over; only the answer is lost.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        lane: &Lane,
        limit: Duration,
        verb: impl FnOnce(&Engine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let answer = async {
            let places = lane.enter().await?;
            let engine = self.inner.engine.clone();
            let running = tokio::task::spawn_blocking(move || {
                let answer = verb(&engine);
                drop(places);
                answer
            });
            match running.await {
                Ok(answer) => answer.map_err(|error| self.refuse(error)),
                Err(fault) => Err(Refusal::internal(format!("a verb did not return: {fault}"))),
            }
        };
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
            Err(Refusal::unavailable(format!(
                "no answer within {} s; what was accepted is kept, and sending it again does no harm",
                limit.as_secs()
            )))
        })
    }

    /// Returns what the engine's error comes to, knowing whether we close.
    pub(crate) fn refuse(&self, error: Error) -> Refusal {
        let refusal = Refusal::from(error);
        if self.is_closing() && refusal.status == StatusCode::TOO_MANY_REQUESTS {
            return Refusal::unavailable(refusal.message);
        }
        refusal
    }
}

/// Every route, for the labels of metrics.
pub(crate) const ROUTES: [&str; 19] = [
    "/health",
    "/metrics",
    "/openapi.json",
    "/api/v1/evermark/status",
    "/api/v1/evermark/sync",
    "/api/v1/evermark/verify",
    "/api/v1/evermark/index/plan",
    "/api/v1/evermark/index/prune",
    "/api/v1/evermark/index/compact",
    "/api/v1/evermark/index/inspect",
    "/api/v1/evermark/index/rebuild",
    "/api/v1/memory/add",
    "/api/v1/memory/flush",
    "/api/v1/memory/get",
    "/api/v1/memory/search",
    "/api/v2/memory/add",
    "/api/v2/memory/flush",
    "/api/v2/memory/get",
    "/api/v2/memory/search",
];

/// Returns the routes over `app`, guarded.
pub fn router(app: App) -> Router {
    let memory = Router::new()
        .route("/memory/add", post(memories::add))
        .route("/memory/flush", post(memories::flush))
        .route("/memory/get", post(memories::get))
        .route("/memory/search", post(search::search));
    let evermark = Router::new()
        .route("/status", get(operate::status))
        .route("/sync", post(operate::sync))
        .route("/verify", post(operate::verify))
        .route("/index/plan", get(operate::plan))
        .route("/index/prune", post(operate::prune))
        .route("/index/compact", post(operate::compact))
        .route("/index/inspect", post(operate::inspect))
        .route("/index/rebuild", post(operate::rebuild));
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::serve))
        .nest("/api/v1/evermark", evermark)
        .nest("/api/v1", memory.clone())
        .nest("/api/v2", memory)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(app.options().body_bytes_max))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::admit))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::count))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::identify))
        .with_state(app)
}

async fn not_found() -> Response {
    bare(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#)
}

async fn wrong_method() -> Response {
    bare(StatusCode::METHOD_NOT_ALLOWED, r#"{"detail":"Method Not Allowed"}"#)
}

/// Returns what EverOS answers before any of its routes is reached: no envelope.
fn bare(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

#[cfg(test)]
mod tests;
