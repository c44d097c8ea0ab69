//! A server over a root in a temporary folder.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use evermark_core::embed::HashEmbedder;
use evermark_core::exact::ExactIndex;
use evermark_core::index::{Index, IndexError};
use evermark_core::world::{RealWorld, World};
use evermark_engine::embedding::Embeddings;
use evermark_engine::engine::{Engine, OpenIndex, Parts};
use evermark_engine::judges::Judges;
use evermark_engine::settings::Settings;
use evermark_server::{App, Options, Token, router};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

/// An index per generation, in memory.
struct Shelves;

impl OpenIndex for Shelves {
    fn open(&self, _dir: &Path, dimension: Option<usize>) -> Result<Arc<dyn Index>, IndexError> {
        Ok(Arc::new(ExactIndex::new(dimension)))
    }
}

/// What a server under test is made of.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) vectors: bool,
    pub(crate) settings: Settings,
    pub(crate) judges: Judges,
    /// A root to take over; a fresh folder without.
    pub(crate) dir: Option<tempfile::TempDir>,
}

/// A server under test.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) app: App,
    routes: Router,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Closing twice is fine; a failure shows in the test that closes on purpose.
        drop(self.engine.close());
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns `data` of a success.
    pub(crate) fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["data"].clone()
    }

    /// Asserts a failure of this status and code, and returns its message.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        let error = &body["error"];
        assert_eq!(error["code"], code, "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"), "{body}");
        assert!(error["timestamp"].as_str().unwrap().contains("+00:00"), "{body}");
        assert!(error["path"].as_str().unwrap().starts_with('/'), "{body}");
        error["message"].as_str().unwrap().to_owned()
    }
}

impl Server {
    /// Returns a server over a fresh root, without vectors.
    pub(crate) fn new() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let dir = setup.dir.unwrap_or_else(|| tempfile::tempdir().unwrap());
        let world: Arc<dyn World> = Arc::new(RealWorld::new());
        let engine = Engine::open(Parts {
            root: dir.path().to_owned(),
            settings: Settings { watch: false, settle: Duration::ZERO, ..setup.settings },
            world: Arc::clone(&world),
            indexes: Arc::new(Shelves),
            embeddings: if setup.vectors { Embeddings::Own(Arc::new(HashEmbedder::new(64))) } else { Embeddings::None },
            judges: setup.judges,
        })
        .unwrap();
        engine.quiesce().unwrap();
        engine.start().unwrap();
        let app = App::new(engine.clone(), world, setup.options);
        let routes = router(app.clone());
        Self { dir, engine, app, routes }
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.call(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Adds a short conversation, flushes it and waits until it can be searched.
    pub(crate) async fn remember(&self, session: &str, said: &[(&str, &str)]) -> Value {
        self.post("/api/v1/memory/add", &conversation(session, said)).await.data();
        self.post("/api/v1/memory/flush?wait=indexed&wait_timeout_ms=20000", &json!({ "session_id": session }))
            .await
            .data()
    }
}

/// Returns the body of an add: what each sender said, half a minute apart. Senders ending in `bot` are assistants.
pub(crate) fn conversation(session: &str, said: &[(&str, &str)]) -> Value {
    let messages: Vec<Value> = said
        .iter()
        .zip(0..)
        .map(|((sender, text), index)| {
            json!({
                "sender_id": sender,
                "role": if sender.ends_with("bot") { "assistant" } else { "user" },
                "timestamp": 1_750_000_000_000_i64 + index * 30_000,
                "content": text,
            })
        })
        .collect();
    json!({ "session_id": session, "messages": messages })
}

pub(crate) fn token(secret: &str) -> Option<Token> {
    Some(Token::new(secret).unwrap())
}

/// Returns a shared folder beside the checkout, or says that there is none.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not there", path.display());
    None
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
