//! The engine on the Lance index, as the simulation drives it.

use evermark_core::embed::Embedder;
use evermark_core::error::ErrorKind;
use evermark_core::id::{Owner, Scope};
use evermark_core::index::{Index, IndexError};
use evermark_core::maintenance::Budget;
use evermark_core::maintenance::plan::Policy;
use evermark_core::memory::{ContentItem, Role};
use evermark_core::world::World;
use evermark_engine::add::{AddRequest, FlushRequest, NewMessage};
use evermark_engine::embedding::Embeddings;
use evermark_engine::engine::{OpenIndex, Parts};
use evermark_engine::judges::Judges;
use evermark_engine::search::{Method, SearchRequest};
use evermark_engine::settings::Settings;
use evermark_engine::status::Verdict;
use evermark_engine::{Engine, Error, ticks};
use evermark_lance::{LanceIndex, Options};
use evermark_sim::simulation::embedder::Provider;
use evermark_sim::simulation::subject::{Health, Loop, Said, Subject, Ticked, Trouble, with_causes};
use evermark_sim::simulation::world::SimWorld;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long one operation of Lance may take before it is abandoned, where operations hang. Real time, and far more than any
/// operation here takes.
const PATIENCE: Duration = Duration::from_secs(4);

/// The constant of the bound on everything below the index's folder, the ledger and its log included.
const BUDGET_SLACK_BYTES: u64 = 8 << 20;

pub(crate) struct EvermarkSubject {
    root: PathBuf,
    world: Arc<SimWorld>,
    provider: Arc<Provider>,
    indexes: Arc<Indexes>,
    engine: Option<Engine>,
}

impl EvermarkSubject {
    pub(crate) fn new(root: &Path, world: Arc<SimWorld>, provider: Arc<Provider>, hangs: bool) -> Self {
        let indexes = Arc::new(Indexes { world: Arc::clone(&world), hangs, open: Mutex::default() });
        Self { root: root.to_owned(), world, provider, indexes, engine: None }
    }

    fn engine(&self) -> Result<&Engine, Trouble> {
        let closed = || Trouble { kind: ErrorKind::Unavailable, message: "it is closed".to_owned() };
        self.engine.as_ref().ok_or_else(closed)
    }
}

/// Opens indexes, and remembers them without keeping them.
struct Indexes {
    world: Arc<SimWorld>,
    hangs: bool,
    open: Mutex<HashMap<PathBuf, Weak<LanceIndex>>>,
}

impl OpenIndex for Indexes {
    fn open(&self, dir: &Path, dimension: Option<usize>) -> Result<Arc<dyn Index>, IndexError> {
        let mut options = Options { dimension, ..Options::default() };
        if self.hangs {
            options.deadline = PATIENCE;
        }
        let world = Arc::clone(&self.world) as Arc<dyn World>;
        let index = Arc::new(LanceIndex::open(dir, options, world)?);
        let name = dir.file_name().map(PathBuf::from).unwrap_or_default();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::downgrade(&index));
        Ok(index)
    }
}

impl Subject for EvermarkSubject {
    fn open(&mut self) -> Result<(), Trouble> {
        if self.engine.is_none() {
            // The day's file names come from the clock; all waits that would be real are the harness's to make.
            let upkeep = Policy {
                budget: Budget { ratio: 2.0, slack_bytes: BUDGET_SLACK_BYTES, cap_bytes: None },
                ballast_bytes: 64 << 10,
                ledger_slack_bytes: 1 << 20,
                ..Policy::default()
            };
            let settings = Settings { watch: false, files_per_tick: 4, upkeep, ..Settings::default() };
            let parts = Parts {
                root: self.root.clone(),
                settings,
                world: Arc::clone(&self.world) as Arc<dyn World>,
                indexes: Arc::clone(&self.indexes) as Arc<dyn OpenIndex>,
                embeddings: Embeddings::Own(Arc::clone(&self.provider) as Arc<dyn Embedder>),
                judges: Judges::default(),
            };
            self.engine = Some(Engine::open(parts).map_err(trouble)?);
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.engine.is_some()
    }

    fn close(&mut self) -> Result<(), Trouble> {
        match self.engine.take() {
            Some(engine) => engine.close().map_err(trouble),
            None => Ok(()),
        }
    }

    fn kill(&mut self) {
        self.engine = None;
    }

    fn tick(&mut self, which: Loop) -> Result<Ticked, Trouble> {
        let which = match which {
            Loop::Remember => ticks::Loop::Remember,
            Loop::Reconcile => ticks::Loop::Reconcile,
            Loop::Indexer => ticks::Loop::Indexer,
            Loop::Upkeep => ticks::Loop::Beat,
        };
        match self.engine()?.tick(which).map_err(trouble)? {
            ticks::Ticked::Worked => Ok(Ticked::Worked),
            ticks::Ticked::Idle => Ok(Ticked::Idle),
        }
    }

    fn add(&mut self, session: &str, said: &[Said]) -> Result<(), Trouble> {
        let message = |said: &Said| NewMessage {
            sender_id: said.sender.clone(),
            sender_name: None,
            role: Role::User,
            timestamp: said.timestamp_ms,
            items: vec![ContentItem {
                text: Some(said.text.clone()),
                raw: serde_json::json!({"type": "text", "text": said.text}),
            }],
            tool_calls: None,
            tool_call_id: None,
        };
        let request = AddRequest {
            scope: Scope::default(),
            session_id: session.to_owned(),
            messages: said.iter().map(message).collect(),
            defer_extraction: false,
            queued: false,
            wait_indexed: None,
        };
        self.engine()?.add(request).map(drop).map_err(trouble)
    }

    fn flush(&mut self, session: &str) -> Result<(), Trouble> {
        let request = FlushRequest { scope: Scope::default(), session_id: session.to_owned(), wait_indexed: None };
        self.engine()?.flush(request).map(drop).map_err(trouble)
    }

    fn search(&mut self, owner: &Owner, query: &str) -> Result<Vec<String>, Trouble> {
        let request =
            SearchRequest { method: Some(Method::Hybrid), top_k: Some(50), ..SearchRequest::new(owner.clone(), query) };
        let answer = self.engine()?.search(request).map_err(trouble)?;
        Ok(answer.episodes.into_iter().map(|hit| hit.episode.memory.id).collect())
    }

    fn index(&self) -> Option<Arc<dyn Index>> {
        self.engine.as_ref()?;
        let current = std::fs::read_to_string(self.root.join(".index/evermark/CURRENT")).ok()?;
        let open = self.indexes.open.lock().unwrap_or_else(PoisonError::into_inner);
        let index = open.get(Path::new(current.trim_end()))?.upgrade()?;
        Some(index)
    }

    fn verify(&mut self) -> Result<Vec<String>, Trouble> {
        let report = self.engine()?.verify(&mut |_| {}).map_err(trouble)?;
        let named = |what: &'static str, list: Vec<String>| list.into_iter().map(move |name| format!("{what} {name}"));
        Ok(named("missing", report.missing)
            .chain(named("extra", report.extra))
            .chain(named("different", report.different))
            .collect())
    }

    fn rebuild(&mut self) -> Result<(), Trouble> {
        self.engine()?.rebuild(&mut |_| {}).map(drop).map_err(trouble)
    }

    fn hasten(&mut self) -> Result<(), Trouble> {
        self.engine()?.hasten().map_err(trouble)
    }

    fn health(&mut self) -> Result<Health, Trouble> {
        let status = self.engine()?.status().map_err(trouble)?;
        let reasons = status.reasons.iter().map(|reason| format!("{}: {}", reason.code, reason.message));
        let findings = status.findings.iter().map(|finding| format!("{}: {}", finding.path, finding.message));
        Ok(Health {
            is_ok: status.verdict == Verdict::Ok,
            reasons: reasons.chain(findings).collect(),
            waiting: status.queue.pending,
            rebuilding: status.rebuilding,
        })
    }
}

fn trouble(error: Error) -> Trouble {
    Trouble { kind: error.kind(), message: with_causes(&error) }
}
