//! A root in a temporary folder, and a world that tests can steer.

#![expect(clippy::disallowed_methods, reason = "tests write the files that people and other programs would write")]

use crate::script::{Script, Scripted};
use evermark_core::embed::Embedder;
use evermark_core::exact::ExactIndex;
use evermark_core::id::{Owner, Scope};
use evermark_core::index::{Index, IndexError};
use evermark_core::maintenance::plan::Policy;
use evermark_core::maintenance::space::Volume;
use evermark_core::memory::{ContentItem, Role};
use evermark_core::world::{RealWorld, World};
use evermark_engine::add::{AddRequest, FlushRequest, NewMessage, Receipt};
use evermark_engine::embedding::Embeddings;
use evermark_engine::engine::{Engine, OpenIndex, Parts};
use evermark_engine::judges::Judges;
use evermark_engine::search::{Method, SearchAnswer, SearchRequest};
use evermark_engine::settings::Settings;
use evermark_models::provider::Provider;
use serde_json::json;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time that moves when told, and points that fail when armed.
pub(crate) struct TestWorld {
    real: RealWorld,
    /// How far the clocks were moved on.
    moved: Mutex<Duration>,
    /// What every volume is said to have; `None`: what it has.
    volume: Mutex<Option<Volume>>,
    /// Point → how many more times it is passed before it fails, once.
    armed: Mutex<HashMap<&'static str, usize>>,
    /// Point → the number of the error that it fails with, and how many more times.
    broken: Mutex<HashMap<&'static str, (i32, usize)>>,
    /// Every point passed, in order.
    pub(crate) passed: Mutex<Vec<&'static str>>,
}

impl TestWorld {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            real: RealWorld::new(),
            moved: Mutex::default(),
            volume: Mutex::default(),
            armed: Mutex::default(),
            broken: Mutex::default(),
            passed: Mutex::default(),
        })
    }

    /// Moves the clocks on.
    pub(crate) fn pass(&self, time: Duration) {
        *self.moved.lock().expect("not poisoned") += time;
    }

    /// Has a point fail with this error, every time, until it is mended.
    pub(crate) fn break_at(&self, point: &'static str, errno: i32) {
        self.break_times(point, errno, usize::MAX);
    }

    /// Has a point fail with this error, so many times.
    pub(crate) fn break_times(&self, point: &'static str, errno: i32, times: usize) {
        self.broken.lock().expect("not poisoned").insert(point, (errno, times));
    }

    pub(crate) fn mend(&self) {
        self.broken.lock().expect("not poisoned").clear();
    }

    /// Has every volume say that it has so many bytes free of a hundred gigabytes.
    pub(crate) fn set_free(&self, free_bytes: u64) {
        *self.volume.lock().expect("not poisoned") = Some(Volume {
            free_bytes,
            total_bytes: 100 << 30,
            free_inodes: 900_000,
            total_inodes: 1_000_000,
            is_read_only: false,
        });
    }

    pub(crate) fn set_read_only(&self, is_read_only: bool) {
        if let Some(volume) = self.volume.lock().expect("not poisoned").as_mut() {
            volume.is_read_only = is_read_only;
        }
    }

    /// Makes a point fail when it is passed for the `nth` time from now, counting from 1.
    pub(crate) fn arm(&self, point: &'static str, nth: usize) {
        self.armed.lock().expect("not poisoned").insert(point, nth);
    }

    pub(crate) fn is_armed(&self, point: &str) -> bool {
        self.armed.lock().expect("not poisoned").contains_key(point)
    }

    pub(crate) fn disarm(&self) {
        self.armed.lock().expect("not poisoned").clear();
    }
}

impl World for TestWorld {
    fn now_us(&self) -> i64 {
        let moved = self.moved.lock().expect("not poisoned").as_micros();
        self.real.now_us() + i64::try_from(moved).expect("a test's time")
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic() + *self.moved.lock().expect("not poisoned")
    }

    fn random(&self) -> [u8; 16] {
        self.real.random()
    }

    fn reach(&self, point: &'static str) -> io::Result<()> {
        self.passed.lock().expect("not poisoned").push(point);
        if let Some((errno, left)) = self.broken.lock().expect("not poisoned").get_mut(point)
            && *left > 0
        {
            *left -= 1;
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let mut armed = self.armed.lock().expect("not poisoned");
        match armed.get_mut(point) {
            Some(1) => {
                armed.remove(point);
                Err(io::Error::other("armed by the test"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn volume(&self, _path: &Path, measured: Volume) -> Volume {
        self.volume.lock().expect("not poisoned").unwrap_or(measured)
    }
}

/// Indexes that live as long as their folder: what a durable index is to the engine. Counts commits.
#[derive(Default)]
pub(crate) struct Shelves {
    open: Mutex<HashMap<PathBuf, Arc<ExactIndex>>>,
    pub(crate) script: Arc<Script>,
}

impl Shelves {
    pub(crate) fn flushes(&self) -> u64 {
        self.script.flushes.load(Ordering::SeqCst)
    }

    /// Returns the rows of a generation, behind the engine's back.
    pub(crate) fn rows_in(&self, dir: &Path) -> Arc<ExactIndex> {
        let dir = dir.canonicalize().expect("it is there");
        Arc::clone(self.open.lock().expect("not poisoned").get(&dir).expect("it was opened"))
    }
}

impl OpenIndex for Shelves {
    fn open(&self, dir: &Path, dimension: Option<usize>) -> Result<Arc<dyn Index>, IndexError> {
        let mut open = self.open.lock().expect("not poisoned");
        let marker = dir.join("rows");
        if !marker.is_file() {
            open.remove(dir);
            std::fs::write(&marker, "").expect("the generation's folder is there");
        }
        let index = open.entry(dir.to_owned()).or_insert_with(|| Arc::new(ExactIndex::new(dimension)));
        Ok(Arc::new(Scripted { rows: Arc::clone(index), script: Arc::clone(&self.script) }))
    }
}

/// A root under test.
pub(crate) struct Kit {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) world: Arc<TestWorld>,
    pub(crate) shelves: Arc<Shelves>,
    pub(crate) embedder: Option<Arc<dyn Embedder>>,
    pub(crate) provider: Option<Provider>,
    pub(crate) judges: Judges,
    pub(crate) settings: Settings,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let world = TestWorld::new();
        // Whatever is left on the machine that runs the tests.
        world.set_free(50 << 30);
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
            world,
            shelves: Arc::default(),
            embedder: None,
            provider: None,
            judges: Judges::default(),
            settings: Settings {
                watch: false,
                settle: Duration::ZERO,
                // No reserve, unless a test wants one: it would be written for every root.
                upkeep: Policy { ballast_bytes: 0, ..Policy::default() },
                ..Settings::default()
            },
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn open(&self) -> Engine {
        self.try_open().expect("the root opens")
    }

    pub(crate) fn try_open(&self) -> Result<Engine, evermark_engine::Error> {
        Engine::open(Parts {
            root: self.root().to_owned(),
            settings: self.settings.clone(),
            world: Arc::clone(&self.world) as Arc<dyn World>,
            indexes: Arc::clone(&self.shelves) as Arc<dyn OpenIndex>,
            embeddings: match (&self.embedder, &self.provider) {
                (Some(embedder), _) => Embeddings::Own(Arc::clone(embedder)),
                (None, Some(provider)) => Embeddings::Provider(provider.clone()),
                (None, None) => Embeddings::None,
            },
            judges: self.judges.clone(),
        })
    }

    pub(crate) fn path(&self, rel: &str) -> PathBuf {
        self.root().join(rel)
    }

    pub(crate) fn write(&self, rel: &str, text: &str) {
        let path = self.path(rel);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub(crate) fn read(&self, rel: &str) -> String {
        std::fs::read_to_string(self.path(rel)).expect("there and UTF-8")
    }
}

/// `(seconds, sender, role, text)` as messages.
pub(crate) fn messages(said: &[(i64, &str, Role, &str)]) -> Vec<NewMessage> {
    said.iter()
        .map(|(at_s, sender, role, text)| NewMessage {
            sender_id: (*sender).to_owned(),
            sender_name: None,
            role: *role,
            timestamp: (1_750_000_000 + at_s) * 1000,
            items: vec![ContentItem { text: Some((*text).to_owned()), raw: json!({"type": "text", "text": text}) }],
            tool_calls: None,
            tool_call_id: None,
        })
        .collect()
}

pub(crate) fn add(engine: &Engine, session: &str, said: &[(i64, &str, Role, &str)]) -> Receipt {
    try_add(engine, session, said).expect("added")
}

pub(crate) fn try_add(
    engine: &Engine,
    session: &str,
    said: &[(i64, &str, Role, &str)],
) -> Result<Receipt, evermark_engine::Error> {
    engine.add(AddRequest {
        scope: Scope::default(),
        session_id: session.to_owned(),
        messages: messages(said),
        defer_extraction: false,
        queued: false,
        wait_indexed: None,
    })
}

pub(crate) fn flush(engine: &Engine, session: &str) -> Receipt {
    engine.flush(flush_of(session)).expect("flushed")
}

pub(crate) fn flush_of(session: &str) -> FlushRequest {
    FlushRequest {
        scope: Scope::default(),
        session_id: session.to_owned(),
        wait_indexed: Some(Duration::from_secs(20)),
    }
}

pub(crate) fn ask(user: &str, query: &str, method: Method) -> SearchRequest {
    SearchRequest {
        method: Some(method),
        top_k: Some(10),
        ..SearchRequest::new(Owner::user(Scope::default(), user), query)
    }
}

pub(crate) fn search(engine: &Engine, user: &str, query: &str) -> SearchAnswer {
    engine.search(ask(user, query, Method::Keyword)).expect("searched")
}

/// Returns the subjects found, best first.
pub(crate) fn subjects(answer: &SearchAnswer) -> Vec<String> {
    answer
        .episodes
        .iter()
        .map(|hit| match &hit.episode.memory.body {
            evermark_core::memory::Body::Episode { subject, .. } => subject.clone().unwrap_or_default(),
            _ => String::new(),
        })
        .collect()
}
