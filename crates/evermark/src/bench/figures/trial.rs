//! The daemon on trial: what it does from its start to its end, measured from outside.

use super::ask::{self, Place, Request, all_at_once, keep_asking, within};
use super::edits::Files;
use super::stir::{Groups, Stir, waiting};
use crate::bench::generate::{Made, Spec};
use crate::bench::latency::latencies;
use crate::bench::measure::allocated;
use crate::bench::process::Process;
use crate::bench::search::{METHODS, Question, questions};
use crate::bench::wire::Wire;
use crate::cli::FiguresArgs;
use crate::client::Client;
use crate::clock;
use crate::output::note;
use anyhow::{Context, anyhow, ensure};
use fastrand::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SEARCH: &str = "/api/v1/memory/search";
/// What an answer says that found something.
const FINDS: &str = "\"episodes\":[{";
/// The daemon gets this long to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(2);
/// A person looks this often; it is also how exactly an edit is timed.
const GLANCE: Duration = Duration::from_millis(2);
const GLANCE_BUSY: Duration = Duration::from_millis(20);
/// People who save files while others rain in.
const EDITORS: usize = 2;
/// Searches a second beside other work, at most.
const PACE: f64 = 100.0;
/// Merging and rebuilding are repeated until so many searches met them, or it takes too long.
const SAMPLES: u32 = 1000;
/// Files rain in for this long at most, whatever edits are left.
const LONG: Duration = Duration::from_secs(120);

/// One size's daemon, and what is needed to keep it busy.
pub(super) struct Trial<'a> {
    args: &'a FiguresArgs,
    spec: Spec,
    root: &'a Path,
    folder: &'a Path,
    log: PathBuf,
    questions: Vec<Question>,
    /// A search for each question, per method.
    requests: Vec<Vec<Request>>,
}

/// Searches over HTTP, memory, disk, searches beside other work, edits.
type Served = (Vec<Value>, Value, Value, Value, Value);

impl<'a> Trial<'a> {
    pub(super) fn new(
        args: &'a FiguresArgs,
        spec: Spec,
        made: &Made,
        root: &'a Path,
        folder: &'a Path,
    ) -> anyhow::Result<Self> {
        let questions = questions(made, args.queries.max(1) as usize, args.seed);
        ensure!(!questions.is_empty(), "a root without facts");
        let of = |(name, _)| questions.iter().map(|question| request(question, name)).collect();
        let requests = METHODS.into_iter().map(of).collect();
        Ok(Self { args, spec, root, folder, log: folder.join("daemon.log"), questions, requests })
    }

    /// Starts a new process again and again, and asks it once.
    pub(super) fn starts(&self) -> anyhow::Result<Value> {
        note(format_args!("  starting {} times …", self.args.starts));
        let mut rng = Rng::with_seed(self.args.seed);
        let (mut listens, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..self.args.starts.max(1) {
            let question = rng.choice(&self.questions).context("no questions")?;
            let request = request(question, "hybrid");
            let started = clock::now();
            let (daemon, url, listening) = Process::daemon(self.root, &self.log)?;
            let place = Place { url, verb: "POST", finds: FINDS };
            let (_, found) = ask::ask(&mut Wire::connect(&place.url)?, &place, &request)?;
            answers.push(started.elapsed());
            listens.push(listening);
            ensure!(found, "the first answer after a start is empty");
            daemon.stop()?;
        }
        Ok(json!({ "listens": latencies(listens), "first_answer": latencies(answers) }))
    }

    /// Does everything else with one daemon.
    pub(super) fn serve(&mut self) -> anyhow::Result<Served> {
        let (daemon, url, _) = Process::daemon(self.root, &self.log)?;
        let done = self.act(&daemon, &Place { url, verb: "POST", finds: FINDS });
        match done {
            Ok(served) => daemon.stop().map(|()| served),
            Err(error) => Err(daemon.fails("could not be measured").context(error)),
        }
    }

    fn act(&self, daemon: &Process, place: &Place) -> anyhow::Result<Served> {
        let mut memory = Map::new();
        clock::pause(REST);
        memory.insert("idle".to_owned(), daemon.held());
        let disk = self.disk(place)?;
        note("  searching over HTTP …");
        let first = self.ask_every_user(place)?;
        memory.insert("searched".to_owned(), daemon.held());
        let mut searches = Vec::new();
        for ((name, _), requests) in METHODS.iter().zip(&self.requests) {
            for n_clients in [1, usize::from(self.args.clients.max(1))] {
                let mut search = all_at_once(place, requests, n_clients)?;
                (search["method"], search["over"]) = ((*name).into(), "http".into());
                note(format_args!(
                    "    {name}, {n_clients} clients: p50 {} ms, {}/s",
                    search["took"]["p50_ms"], search["per_s"]
                ));
                searches.push(search);
            }
        }
        if self.args.rest_minutes > 0 {
            note(format_args!("  resting for {} minutes …", self.args.rest_minutes));
            clock::pause(Duration::from_secs(60 * u64::from(self.args.rest_minutes)));
            memory.insert("rested".to_owned(), daemon.held());
        }
        memory.insert("before_edits".to_owned(), daemon.held());

        // What was measured so far is worth keeping, whatever becomes of the rest.
        let (during, edits) = self.beside_work(place).unwrap_or_else(|error| {
            note(format_args!("  the rest could not be measured: {error:#}"));
            (json!({ "failed": format!("{error:#}") }), Value::Null)
        });
        memory.insert("end".to_owned(), daemon.held());
        memory.insert("first_search_of_a_user".to_owned(), first);
        Ok((searches, memory.into(), disk, during, edits))
    }

    /// Edits, and searches beside other work.
    fn beside_work(&self, place: &Place) -> anyhow::Result<(Value, Value)> {
        note(format_args!("  {} edits, idle …", self.args.edits));
        let groups = Groups::new(self.spec, self.args.batch);
        let mut files = Files::new(self.root, self.spec, groups, self.args.seed);
        let idle = self.edits_idle(&mut files, place)?;
        note(format_args!("  p99 {} ms; writing files anew …", idle["p99_ms"]));
        let mut stir = Stir::new(self.root, self.spec, groups, &self.folder.join("stage"))?;
        let stop = AtomicBool::new(false);
        let (spans, asked) = std::thread::scope(|scope| {
            let searcher = scope.spawn(|| keep_asking(place, &self.requests, PACE, &stop));
            let done = self.disturb(files, &mut stir, place);
            stop.store(true, Ordering::Release);
            let asked = searcher.join().map_err(|_| anyhow!("the thread that searches panicked"))??;
            Ok::<_, anyhow::Error>((done?, asked))
        })?;
        let names = METHODS.map(|(name, _)| name);
        let mut during = Map::new();
        let all = [
            ("ingest", &spans.ingest.spans),
            ("replacing", &spans.replacing.spans),
            ("compaction", &spans.compaction),
            ("rebuild", &spans.rebuild),
        ];
        for (name, spans) in all {
            during.insert(name.to_owned(), within(&asked, spans, &names));
        }
        let mut edits = Map::from_iter([("idle".to_owned(), idle)]);
        for (name, busy) in [("ingest", spans.ingest), ("replacing", spans.replacing)] {
            during[name]["facts_per_s"] = busy.facts_per_s.round().into();
            edits.insert(name.to_owned(), latencies(busy.edits));
        }
        Ok((during.into(), edits.into()))
    }

    /// Asks once for every user: whatever is kept for a user in memory is there then.
    fn ask_every_user(&self, place: &Place) -> anyhow::Result<Value> {
        let mut wire = Wire::connect(&place.url)?;
        let mut seen = BTreeSet::new();
        let firsts = self.questions.iter().filter(|question| seen.insert(&question.user));
        let took = firsts.map(|question| Ok(ask::ask(&mut wire, place, &request(question, "hybrid"))?.0));
        Ok(latencies(took.collect::<anyhow::Result<_>>()?))
    }

    fn disk(&self, place: &Place) -> anyhow::Result<Value> {
        let status = Client::new(&place.url, None).get("/api/v1/evermark/status")?;
        let index = status.pointer("/data/index").context("a status without an index")?;
        let reserve = index["ballast"]["bytes"].as_u64().unwrap_or_default();
        let all = allocated(&self.root.join(".index"));
        Ok(json!({
            "index_bytes": all.saturating_sub(reserve),
            "reserve_bytes": reserve,
            "live_bytes": index["live_bytes"],
            "dead_bytes": index["dead_bytes"],
        }))
    }

    fn edits_idle(&self, files: &mut Files, place: &Place) -> anyhow::Result<Value> {
        let mut wire = Wire::connect(&place.url)?;
        let mut rng = Rng::with_seed(self.args.seed);
        let mut took = Vec::new();
        for _ in 0..self.args.edits {
            // Nobody saves in step with the daemon's own clock.
            clock::pause(Duration::from_millis(rng.u64(0..100)));
            took.push(files.edit(&mut wire, place, GLANCE)?);
        }
        Ok(latencies(took))
    }

    /// Drops files while people edit, merges, rebuilds, and drops files that are new while people edit.
    fn disturb(&self, files: Files, stir: &mut Stir, place: &Place) -> anyhow::Result<Spans> {
        let mut spans = Spans::default();
        let mut files = files.split(EDITORS);
        note("  dropping them while others are edited …");
        let replacing = self.edit_beside(&mut files, place, |enough| stir.until(place, enough))?;
        note("  merging …");
        let limit = Duration::from_secs(self.args.repeat_seconds.into());
        spans.compaction = repeated(limit, || {
            stir.one(place)?;
            work(place, "/api/v1/evermark/index/compact")
        })?;
        note("  rebuilding …");
        spans.rebuild = repeated(limit, || work(place, "/api/v1/evermark/index/rebuild"))?;
        let client = Client::new(&place.url, None);
        ensure!(waiting(&client)? == Some(0), "files wait after a rebuild");
        note("  dropping files that are new while others are edited …");
        let ingest = self.edit_beside(&mut files, place, |enough| stir.import(place, enough))?;
        Ok(Spans { ingest, replacing, ..spans })
    }

    /// Has people edit files, each their own, while `drop` drops others, until it is told that it is enough.
    fn edit_beside(
        &self,
        files: &mut [Files],
        place: &Place,
        drop: impl FnOnce(&dyn Fn() -> bool) -> anyhow::Result<((Instant, Instant), u64)>,
    ) -> anyhow::Result<Busy> {
        let left = AtomicU32::new(self.args.edits);
        let over = AtomicBool::new(false);
        let began = clock::now();
        std::thread::scope(|scope| {
            let editors = files.iter_mut().map(|part| {
                let (left, over) = (&left, &over);
                scope.spawn(move || -> anyhow::Result<Vec<Duration>> {
                    let mut wire = Wire::connect(&place.url)?;
                    let mut took = Vec::new();
                    while !over.load(Ordering::Acquire) && take_one(left) {
                        took.push(part.edit(&mut wire, place, GLANCE_BUSY)?);
                    }
                    Ok(took)
                })
            });
            let editors = editors.collect::<Vec<_>>();
            let dropped = drop(&|| {
                editors.iter().all(|editor| editor.is_finished()) || began.elapsed() > LONG || self.args.edits == 0
            });
            over.store(true, Ordering::Release);
            let mut edits = Vec::new();
            for editor in editors {
                edits.extend(editor.join().map_err(|_| anyhow!("a thread that edits panicked"))??);
            }
            let (span, n_facts) = dropped?;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let facts_per_s = n_facts as f64 / (span.1 - span.0).as_secs_f64();
            Ok(Busy { spans: vec![span], facts_per_s, edits })
        })
    }
}

/// Files dropped while others were edited.
#[derive(Default)]
struct Busy {
    spans: Vec<(Instant, Instant)>,
    facts_per_s: f64,
    edits: Vec<Duration>,
}

/// When what went on.
#[derive(Default)]
struct Spans {
    ingest: Busy,
    replacing: Busy,
    compaction: Vec<(Instant, Instant)>,
    rebuild: Vec<(Instant, Instant)>,
}

fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok()
}

/// Repeats until so much time was taken that enough searches fell into it.
fn repeated(
    limit: Duration,
    mut act: impl FnMut() -> anyhow::Result<(Instant, Instant)>,
) -> anyhow::Result<Vec<(Instant, Instant)>> {
    let wanted = Duration::from_secs_f64(f64::from(SAMPLES) / PACE);
    let began = clock::now();
    let mut spans = Vec::new();
    loop {
        spans.push(act()?);
        let taken: Duration = spans.iter().map(|(from, to)| *to - *from).sum();
        if taken >= wanted || began.elapsed() >= limit {
            return Ok(spans);
        }
    }
}

/// Has the daemon do long work. Returns when that was.
fn work(place: &Place, path: &str) -> anyhow::Result<(Instant, Instant)> {
    let client = Client::new(&place.url, None);
    let started = clock::now();
    let mut last = Value::Null;
    client.post_lines(path, &json!({}), |line| {
        last = line;
        Ok(())
    })?;
    ensure!(last["event"] == "done", "{path} failed: {last}");
    Ok((started, clock::now()))
}

fn request(question: &Question, method: &str) -> Request {
    let body = json!({ "user_id": question.user, "query": question.query, "method": method, "top_k": 10 });
    Request { path: SEARCH.to_owned(), body: body.to_string() }
}
