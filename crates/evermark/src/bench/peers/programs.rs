//! The programs: how each is started on its own files, asked, and weighed.

use super::python::Venv;
use super::vectors::Endpoint;
use super::{Served, notes};
use crate::bench::figures::ask::Place;
use crate::bench::figures::stir::{put, waiting};
use crate::bench::measure::allocated;
use crate::bench::process::Process;
use crate::bench::search::Question;
use crate::client::Client;
use crate::clock;
use anyhow::{Context, ensure};
use evermark_models::builtin::DIMENSION;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SEARCH: &str = "/api/v1/memory/search";
const GLANCE: Duration = Duration::from_millis(50);
/// Starting, with nothing to do, takes no longer.
const START_MAX: Duration = Duration::from_secs(120);
/// The only version of EverOS whose contract we know; of basic-memory whichever is newest.
const EVEROS: &str = "everos==1.5.1";
const BASIC_MEMORY: &str = "basic-memory";
/// Texts of one request for vectors. Both ask for fewer when they are not told; more is quicker.
const BATCH: &str = "64";

/// What is asked of every program.
pub(super) trait Program {
    fn name(&self) -> &'static str;
    fn version(&self) -> anyhow::Result<String>;

    /// What a reader should know beside the figures.
    fn remarks(&self) -> Vec<String>;

    /// Starts on nothing, and ends. Returns how long it took until it was ready.
    fn index_nothing(&self) -> anyhow::Result<Duration>;

    /// Puts the memories where the program finds them.
    fn put(&self, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()>;

    /// Starts on them, and serves.
    fn index_all(&self, patience: Duration) -> anyhow::Result<Served>;

    /// Returns the body of a search.
    fn search(&self, question: &Question, method: &str) -> Value;

    /// Tells whether it says that nothing waits to be indexed.
    fn is_idle(&self, place: &Place) -> anyhow::Result<bool>;

    fn index_bytes(&self) -> u64;
}

fn everos_search(question: &Question, method: &str) -> Value {
    json!({ "user_id": question.user, "query": question.query, "method": method, "top_k": 10 })
}

/// Ourselves.
pub(super) struct Evermark {
    root: PathBuf,
    log: PathBuf,
}

impl Evermark {
    pub(super) fn new(place: &Path) -> Self {
        Self { root: place.join("root"), log: place.join("log") }
    }
}

impl Program for Evermark {
    fn name(&self) -> &'static str {
        "Evermark"
    }

    fn version(&self) -> anyhow::Result<String> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    fn index_nothing(&self) -> anyhow::Result<Duration> {
        let (daemon, _, listens) = Process::daemon(&self.root, &self.log)?;
        daemon.stop()?;
        Ok(listens)
    }

    fn put(&self, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()> {
        put(&self.root, files)
    }

    fn index_all(&self, _: Duration) -> anyhow::Result<Served> {
        let (process, url, _) = Process::daemon(&self.root, &self.log)?;
        let place = Place { url, verb: "POST", finds: "\"episodes\":[{" };
        Ok(Served { process, place, path: SEARCH.to_owned(), is_indexing: true, indexed: None })
    }

    fn search(&self, question: &Question, method: &str) -> Value {
        everos_search(question, method)
    }

    fn is_idle(&self, place: &Place) -> anyhow::Result<bool> {
        Ok(waiting(&Client::new(&place.url, None))? == Some(0))
    }

    /// Without the reserve for a full disk, which is nobody's data.
    fn index_bytes(&self) -> u64 {
        let index = self.root.join(".index");
        allocated(&index).saturating_sub(allocated(&index.join("evermark/ballast")))
    }
}

/// EverOS 1.5.1.
pub(super) struct EverOs {
    venv: Venv,
    root: PathBuf,
    log: PathBuf,
    vectors: String,
}

impl EverOs {
    pub(super) fn prepare(python: &Path, cache: &Path, endpoint: &Endpoint, place: &Path) -> anyhow::Result<Self> {
        let log = place.join("log");
        let venv = Venv::with(python, &cache.join("everos-1.5.1"), &[EVEROS], &log)?;
        let everos = Self { venv, root: place.join("root"), log, vectors: endpoint.url.clone() };
        let mut init = everos.command();
        init.arg("init").arg("--root").arg(&everos.root);
        Process::start(init, "everos init", &everos.log)?.finish(START_MAX)?;
        Ok(everos)
    }

    fn command(&self) -> Command {
        let mut command = self.venv.command("everos");
        command
            // Never asked: searches need no language model, and it does not start without one.
            .env("EVEROS_LLM__API_KEY", "none")
            .env("EVEROS_LLM__BASE_URL", "http://127.0.0.1:9/v1")
            .env("EVEROS_EMBEDDING__BASE_URL", &self.vectors)
            .env("EVEROS_EMBEDDING__API_KEY", "none")
            .env("EVEROS_EMBEDDING__MODEL", "evermark-builtin")
            .env("EVEROS_EMBEDDING__DIM", DIMENSION.to_string())
            .env("EVEROS_EMBEDDING__BATCH_SIZE", BATCH)
            .env("EVEROS_LOG_LEVEL", "WARNING")
            // On two cores Lance's default can hang when it makes its word index.
            .env("LANCE_CPU_THREADS", "4");
        command
    }

    fn serve(&self) -> anyhow::Result<(Process, String)> {
        let port = free_port()?;
        let mut command = self.command();
        command.args(["server", "start", "--host", "127.0.0.1", "--port", &port.to_string(), "--root"]).arg(&self.root);
        let url = format!("http://127.0.0.1:{port}");
        let process = listening(Process::start(command, "EverOS", &self.log)?, &url)?;
        Ok((process, url))
    }
}

impl Program for EverOs {
    fn name(&self) -> &'static str {
        "EverOS"
    }

    fn version(&self) -> anyhow::Result<String> {
        self.venv.version("everos")
    }

    fn remarks(&self) -> Vec<String> {
        vec![format!(
            "embedding.batch_size = {BATCH} instead of 10, LANCE_CPU_THREADS=4, log level WARNING: all in its favour"
        )]
    }

    fn index_nothing(&self) -> anyhow::Result<Duration> {
        let started = clock::now();
        let (process, _) = self.serve()?;
        let took = started.elapsed();
        process.stop()?;
        Ok(took)
    }

    fn put(&self, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()> {
        put(&self.root, files)
    }

    fn index_all(&self, _: Duration) -> anyhow::Result<Served> {
        let (process, url) = self.serve()?;
        let place = Place { url, verb: "POST", finds: "\"episodes\":[{" };
        Ok(Served { process, place, path: SEARCH.to_owned(), is_indexing: true, indexed: None })
    }

    fn search(&self, question: &Question, method: &str) -> Value {
        everos_search(question, method)
    }

    fn is_idle(&self, place: &Place) -> anyhow::Result<bool> {
        let health = Client::new(&place.url, None).get("/health")?;
        let n = |key: &str| health.pointer(&format!("/cascade/{key}")).and_then(Value::as_u64);
        ensure!(n("failed_permanent") == Some(0), "it failed on files: {}", health["cascade"]);
        Ok(n("pending") == Some(0) && n("failed_retryable") == Some(0))
    }

    fn index_bytes(&self) -> u64 {
        allocated(&self.root.join(".index"))
    }
}

/// basic-memory, whichever version PyPI has.
pub(super) struct BasicMemory {
    venv: Venv,
    config: PathBuf,
    notes: PathBuf,
    log: PathBuf,
    vectors: String,
}

impl BasicMemory {
    pub(super) fn prepare(python: &Path, cache: &Path, endpoint: &Endpoint, place: &Path) -> anyhow::Result<Self> {
        let log = place.join("log");
        let venv = Venv::with(python, &cache.join("basic-memory"), &[BASIC_MEMORY], &log)?;
        venv.with_extensions(&log)?;
        let (config, notes) = (place.join("config"), place.join("notes"));
        for folder in [&config, &notes] {
            std::fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { venv, config, notes, log, vectors: endpoint.url.clone() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.venv.command(program);
        let set = [
            ("SEMANTIC_EMBEDDING_PROVIDER", "openai"),
            ("SEMANTIC_EMBEDDING_API_BASE", &self.vectors),
            ("SEMANTIC_EMBEDDING_API_KEY", "none"),
            ("SEMANTIC_EMBEDDING_MODEL", "evermark-builtin"),
            ("SEMANTIC_EMBEDDING_DIMENSIONS", &DIMENSION.to_string()),
            ("SEMANTIC_EMBEDDING_BATCH_SIZE", BATCH),
            ("SEMANTIC_EMBEDDING_SYNC_BATCH_SIZE", BATCH),
            // Its threshold is another model's: everybody shall answer with ten.
            ("SEMANTIC_MIN_SIMILARITY", "0"),
            ("AUTO_UPDATE", "false"),
            ("LOG_LEVEL", "WARNING"),
        ];
        command.envs(set.map(|(key, value)| (format!("BASIC_MEMORY_{key}"), value.to_owned())));
        command.env("BASIC_MEMORY_CONFIG_DIR", &self.config).env("BASIC_MEMORY_HOME", &self.notes);
        // What it would keep in the home directory stays out of ours.
        command.env("HOME", &self.config).env("LOGFIRE_IGNORE_NO_CONFIG", "1");
        command
    }

    /// Brings its index up to date, with words and vectors.
    fn reindex(&self, patience: Duration) -> anyhow::Result<Duration> {
        let mut command = self.command("basic-memory");
        command.arg("reindex");
        let started = clock::now();
        Process::start(command, "basic-memory reindex", &self.log)?.finish(patience)?;
        Ok(started.elapsed())
    }
}

impl Program for BasicMemory {
    fn name(&self) -> &'static str {
        "basic-memory"
    }

    fn version(&self) -> anyhow::Result<String> {
        self.venv.version("basic-memory")
    }

    fn remarks(&self) -> Vec<String> {
        vec![
            format!(
                "a note for each episode, its facts as observations, a folder for each user; batches of {BATCH} instead of 2"
            ),
            "indexed by `basic-memory reindex`, searched through its own FastAPI app under uvicorn".to_owned(),
        ]
    }

    fn index_nothing(&self) -> anyhow::Result<Duration> {
        // The first run makes its database; the second is what starting costs.
        self.reindex(START_MAX)?;
        self.reindex(START_MAX)
    }

    fn put(&self, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()> {
        notes::write(files, &self.notes).map(drop)
    }

    fn index_all(&self, patience: Duration) -> anyhow::Result<Served> {
        let indexed = self.reindex(patience)?;
        let port = free_port()?;
        let mut command = self.command("python");
        command.args(["-m", "uvicorn", "basic_memory.api.app:app", "--host", "127.0.0.1", "--log-level", "warning"]);
        command.args(["--port", &port.to_string()]);
        let url = format!("http://127.0.0.1:{port}");
        let process = listening(Process::start(command, "basic-memory", &self.log)?, &url)?;
        let projects = Client::new(&url, None).get("/v2/projects/")?;
        let id = projects.pointer("/projects/0/external_id").and_then(Value::as_str).context("no project")?;
        let path = format!("/v2/projects/{id}/search/?page_size=10");
        let place = Place { url, verb: "QUERY", finds: "\"results\":[{" };
        Ok(Served { process, place, path, is_indexing: false, indexed: Some(indexed) })
    }

    fn search(&self, question: &Question, method: &str) -> Value {
        let mode = if method == "keyword" { "fts" } else { method };
        json!({ "text": question.query, "retrieval_mode": mode, "file_path_prefix": question.user })
    }

    fn is_idle(&self, _: &Place) -> anyhow::Result<bool> {
        Ok(true)
    }

    fn index_bytes(&self) -> u64 {
        ["memory.db", "memory.db-wal", "memory.db-shm"].map(|name| allocated(&self.config.join(name))).iter().sum()
    }
}

/// Returns a port that nobody listens on. Somebody may take it before it is used; then its program says so.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").context("cannot listen")?.local_addr()?.port())
}

/// Waits until a program answers.
fn listening(mut process: Process, url: &str) -> anyhow::Result<Process> {
    let client = Client::new(url, None);
    let started = clock::now();
    while !client.is_there() {
        if process.has_ended() || started.elapsed() > START_MAX {
            return Err(process.fails("does not listen"));
        }
        clock::pause(GLANCE);
    }
    Ok(process)
}
