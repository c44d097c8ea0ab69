//! How long searches take: per method, by one client and by several at once, in the process or over HTTP.

use super::generate::Made;
use super::measure::{self, allocated, bytes, figure, latencies, ms};
use crate::cli::BenchArgs;
use crate::client::Client;
use crate::clock;
use crate::config::{Config, Environment};
use crate::output::Out;
use crate::wiring;
use anyhow::{Context, anyhow};
use evermark_engine::Engine;
use evermark_server::api::{MethodName, SearchBody};
use evermark_server::{App, Options};
use fastrand::Rng;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const METHODS: [(&str, MethodName); 3] =
    [("keyword", MethodName::Keyword), ("vector", MethodName::Vector), ("hybrid", MethodName::Hybrid)];
const TOP_K: i64 = 10;

pub(super) fn run(config: &Config, env: &Environment, made: &Made, args: &BenchArgs) -> anyhow::Result<Value> {
    let world = wiring::world_of(env)?;
    let started = clock::now();
    let engine = wiring::open(config, Arc::clone(&world))?;
    engine.start()?;
    let start = started.elapsed();
    let server = if args.http { Some(Server::start(&engine, world)?) } else { None };
    let reach = || match &server {
        Some(server) => Reach::Http(Client::new(&server.url, None)),
        None => Reach::Here(engine.clone()),
    };

    let questions = questions(made, args.queries.max(1) as usize, args.seed);
    let first = first_per_user(&reach(), &questions)?;
    let mut methods = Vec::new();
    for (name, method) in METHODS {
        // Not counted: the first searches of a method meet cold caches.
        questions.iter().take(50).try_for_each(|question| reach().search(question, method).map(drop))?;
        for n_clients in &args.clients {
            let n_clients = usize::from((*n_clients).max(1));
            let clients = (0..n_clients).map(|_| reach()).collect::<Vec<_>>();
            let (took, whole) = ask_all(&clients, &questions, method)?;
            let n_found = took.iter().filter(|(_, found)| *found).count();
            let took = took.into_iter().map(|(took, _)| took).collect::<Vec<_>>();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let (rate, found) = (took.len() as f64 / whole.as_secs_f64(), n_found as f64 / took.len().max(1) as f64);
            methods
                .push(json!({ "method": name, "clients": n_clients, "per_s": rate.round(), "found": found, "took": latencies(took) }));
        }
    }
    let process = measure::process();
    drop(server);
    engine.close()?;
    Ok(json!({
        "over": if args.http { "http" } else { "process" },
        "start_ms": ms(start),
        "first_search_of_a_user": latencies(first),
        "methods": methods,
        "process": process,
        "index_bytes": allocated(&config.root.path.join(".index")),
    }))
}

/// A search to be made.
pub(super) struct Question {
    pub(super) user: String,
    pub(super) query: String,
}

/// Takes three to five words of facts, from every part of the root.
pub(super) fn questions(made: &Made, n: usize, seed: u64) -> Vec<Question> {
    let mut rng = Rng::with_seed(seed ^ 0x9e37_79b9);
    let one = |rng: &mut Rng| {
        let (user, text) = rng.choice(&made.samples)?;
        let mut words = text.trim_end_matches('.').split(' ').collect::<Vec<_>>();
        rng.shuffle(&mut words);
        words.truncate(rng.usize(3..=5));
        Some(Question { user: user.clone(), query: words.join(" ") })
    };
    (0..n).filter_map(|_| one(&mut rng)).collect()
}

/// Who is asked, and how.
enum Reach {
    Here(Engine),
    Http(Client),
}

impl Reach {
    /// Returns how long the answer took, and whether it held anything.
    fn search(&self, question: &Question, method: MethodName) -> anyhow::Result<(Duration, bool)> {
        let body = SearchBody {
            user_id: Some(question.user.clone()),
            app_id: "default".to_owned(),
            project_id: "default".to_owned(),
            query: question.query.clone(),
            method: Some(method),
            top_k: TOP_K,
            ..SearchBody::default()
        };
        match self {
            Self::Here(engine) => {
                let request = body.into();
                let started = clock::now();
                let answer = engine.search(request)?;
                Ok((started.elapsed(), !answer.episodes.is_empty()))
            }
            Self::Http(client) => {
                let body = serde_json::to_value(body)?;
                let started = clock::now();
                let answer = client.post("/api/v1/memory/search", &body)?;
                let episodes = answer["data"]["episodes"].as_array();
                Ok((started.elapsed(), episodes.is_some_and(|episodes| !episodes.is_empty())))
            }
        }
    }
}

/// Asks once for every user: whatever is built for a user in memory is built then.
fn first_per_user(reach: &Reach, questions: &[Question]) -> anyhow::Result<Vec<Duration>> {
    let mut seen = std::collections::BTreeSet::new();
    let firsts = questions.iter().filter(|question| seen.insert(question.user.clone()));
    firsts.map(|question| Ok(reach.search(question, MethodName::Hybrid)?.0)).collect()
}

/// Has every client ask its share of the questions, all at once.
fn ask_all(
    clients: &[Reach],
    questions: &[Question],
    method: MethodName,
) -> anyhow::Result<(Vec<(Duration, bool)>, Duration)> {
    let started: Instant = clock::now();
    let n_clients = clients.len();
    let shares = std::thread::scope(|scope| {
        let threads = clients.iter().enumerate().map(|(i, client)| {
            scope.spawn(move || {
                let share = questions.iter().skip(i).step_by(n_clients);
                share.map(|question| client.search(question, method)).collect::<anyhow::Result<Vec<_>>>()
            })
        });
        let threads = threads.collect::<Vec<_>>();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?)
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok((shares.concat(), started.elapsed()))
}

/// A server on the loopback, until it is dropped.
struct Server {
    url: String,
    _stop: tokio::sync::oneshot::Sender<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(engine: &Engine, world: Arc<dyn evermark_core::world::World>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("cannot listen")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async move {
            stopped.await.ok();
        };
        runtime.spawn(evermark_server::serve(App::new(engine.clone(), world, Options::default()), listener, stopped));
        Ok(Self { url, _stop: stop, _runtime: runtime })
    }
}

pub(super) fn print(size: &Value, out: &mut Out) {
    let fact = |pointer: &str, digits| figure(size, pointer, digits);
    out.line(format_args!(
        "{} facts and {} episodes of {} users, {} wide, {}",
        fact("/facts", 0),
        fact("/episodes", 0),
        fact("/users", 0),
        fact("/dimension", 0),
        if size["over"] == "http" { "over HTTP" } else { "in the process" },
    ));
    out.line("  method    clients      p50      p95      p99      max  searches/s  found");
    for method in size["methods"].as_array().into_iter().flatten() {
        let took = |key: &str| figure(method, &format!("/took/{key}_ms"), 2);
        out.line(format_args!(
            "  {:8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>11} {:>6}",
            method["method"].as_str().unwrap_or_default(),
            figure(method, "/clients", 0),
            took("p50"),
            took("p95"),
            took("p99"),
            took("max"),
            figure(method, "/per_s", 0),
            figure(method, "/found", 2),
        ));
    }
    out.line(format_args!(
        "  start {} ms; a user's first search {} ms (p50), {} ms (max)",
        fact("/start_ms", 0),
        fact("/first_search_of_a_user/p50_ms", 1),
        fact("/first_search_of_a_user/max_ms", 1),
    ));
    out.line(format_args!(
        "  {} resident, {} at most, {} descriptors; index {} on disk",
        bytes(size, "/process/rss_bytes"),
        bytes(size, "/process/rss_max_bytes"),
        fact("/process/descriptors", 0),
        bytes(size, "/index_bytes"),
    ));
}
