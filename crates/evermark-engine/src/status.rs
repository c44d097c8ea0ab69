//! What the engine says of itself: health, counts, reports of long work.

use crate::beat::millis;
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::maintenance::{Maintenance, Writes};
use evermark_core::id::Kind;
use evermark_core::index::IndexInfo;
use evermark_core::markdown;
use evermark_store::jobs::JobStats;
use evermark_store::ledger::Ledger;
use evermark_store::watch::WatchState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod reasons;
mod upkeep;

/// The overall verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    Degraded,
    Failing,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// One thing that is wrong, in words a person can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub verdict: Verdict,
    /// Stable, machine-readable: `watcher_down`, `mass_delete_held`, `provider_down`, `index_rebuilding`, …
    pub code: &'static str,
    pub message: String,
    /// The command that mends it, where there is one.
    pub hint: Option<String>,
}

/// One problem of one file or entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileProblem {
    pub path: String,
    pub entry: Option<String>,
    pub code: String,
    pub message: String,
}

/// Queue of files waiting to be indexed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    pub pending: u64,
    pub leased: u64,
    pub failing: u64,
    pub parked: u64,
    pub oldest_age_ms: Option<u64>,
    /// Failures by class, with the newest message.
    pub errors: Vec<(String, u64, String)>,
}

/// How the embedding provider does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    pub model: Option<String>,
    pub dimension: Option<usize>,
    /// `closed`, `open`, `half_open`, `none` without a provider, `absent` without its model.
    pub state: String,
    pub calls: u64,
    pub texts: u64,
    pub failures: u64,
    pub last_error: Option<String>,
    pub cache_entries: u64,
    pub cache_bytes: u64,
}

/// How the reranker or the language model does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judge {
    pub model: Option<String>,
    /// `closed`, `open`, `half_open`, `none` without one.
    pub state: String,
    /// Requests, failed ones included.
    pub calls: u64,
    pub failures: u64,
    /// Answers, or memories read.
    pub items: u64,
    pub tokens_in: u64,
    pub tokens_out: u64,
    pub last_error: Option<String>,
}

/// Everything `status` and `/health` show.
#[derive(Clone, Debug)]
pub struct Status {
    pub verdict: Verdict,
    pub reasons: Vec<Reason>,
    pub root: String,
    pub root_id: String,
    pub generation: String,
    pub rebuilding: bool,
    pub uptime_ms: u64,
    pub files: u64,
    pub entries: Vec<(Kind, u64)>,
    pub findings: Vec<FileProblem>,
    pub findings_total: u64,
    pub queue: Queue,
    pub index: Option<IndexInfo>,
    pub embedding: Embedding,
    pub rerank: Judge,
    pub llm: Judge,
    /// Messages accepted but not extracted, and the sessions they belong to.
    pub inbox_messages: u64,
    pub inbox_sessions: u64,
    /// `watching`, `degraded: <why>` or `off`.
    pub watcher: String,
    pub last_sweep_age_ms: Option<u64>,
    /// Bytes and their bound, steps of upkeep, the disk, the loops.
    pub maintenance: Maintenance,
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    pub files_seen: u64,
    pub files_indexed: u64,
    pub files_removed: u64,
    pub rows_upserted: u64,
    pub rows_removed: u64,
    pub texts_embedded: u64,
    pub problems: Vec<FileProblem>,
    /// Why removals are being held back, when the mass-delete guard stopped them.
    pub held: Option<String>,
}

/// How index and Markdown differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub files: u64,
    pub memories: u64,
    pub rows: u64,
    /// `kind id (path)` of each.
    pub missing: Vec<String>,
    pub extra: Vec<String>,
    pub different: Vec<String>,
    pub problems: Vec<FileProblem>,
}

impl VerifyReport {
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.different.is_empty()
    }
}

/// What a rebuild did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    pub generation: String,
    pub files: u64,
    pub rows: u64,
    pub texts_embedded: u64,
    pub took_ms: u64,
}

/// How far long work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressMark {
    pub done: u64,
    pub total: u64,
}

impl FileProblem {
    pub(crate) fn of(finding: &markdown::Finding) -> Self {
        Self {
            path: finding.path.clone(),
            entry: finding.entry.clone(),
            code: finding.code.to_owned(),
            message: match finding.line {
                Some(line) => format!("line {line}: {}", finding.message),
                None => finding.message.clone(),
            },
        }
    }

    pub(crate) fn of_store(finding: &evermark_store::error::Finding) -> Self {
        Self {
            path: finding.path.clone(),
            entry: None,
            code: finding.what.name().to_owned(),
            message: finding.to_string(),
        }
    }
}

/// Problems listed in a status; all are counted.
const PROBLEMS_SHOWN: usize = 100;
/// Files whose problems are counted.
const PROBLEM_FILES_MAX: usize = 10_000;

/// What the ledger says, read in one go.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    queue: Queue,
    overdue: Option<Duration>,
    files: u64,
    entries: Vec<(Kind, u64)>,
    problems: Vec<FileProblem>,
}

impl Inner {
    pub(crate) fn status(self: &Arc<Self>) -> Result<Status, Error> {
        let now = self.world.monotonic();
        let swept = self.swept.lock().expect(POISON).clone();
        let (inner, findings) = (Arc::clone(self), swept.findings.clone());
        // Whatever may not answer is asked with a limit; what it said last stands in, and the reasons say so.
        let books = self.books.ask(&self.world, self.settings.status_limit, move || inner.read_books(&findings));
        let index = self.look_at_index();
        let live = self.live();
        let (inbox_messages, inbox_sessions) = self.inbox.totals();
        let known = books.value.clone();
        let problems = known.as_ref().map_or_else(|| swept.findings.clone(), |books| books.problems.clone());
        let maintenance = self.maintenance_status(&swept, &index, &books);
        let mut status = Status {
            verdict: Verdict::Ok,
            reasons: Vec::new(),
            root: self.layout.root().display().to_string(),
            root_id: self.identity.root_id.clone(),
            generation: live.generation.to_string(),
            rebuilding: self.rebuilding.load(Ordering::Acquire),
            uptime_ms: millis(now.saturating_sub(self.opened_at)),
            files: swept.files.max(known.as_ref().map_or(0, |books| books.files)),
            entries: known.as_ref().map(|books| books.entries.clone()).unwrap_or_default(),
            findings_total: problems.len() as u64,
            findings: problems.into_iter().take(PROBLEMS_SHOWN).collect(),
            queue: known.as_ref().map(|books| books.queue.clone()).unwrap_or_default(),
            index: index.value.as_ref().map(|seen| seen.info.clone()),
            embedding: self.embedding(),
            rerank: self.judges.rerank_status(),
            llm: self.judges.llm_status(),
            inbox_messages: inbox_messages as u64,
            inbox_sessions: inbox_sessions as u64,
            watcher: self.watcher(),
            last_sweep_age_ms: swept.ended_at.map(|at| millis(now.saturating_sub(at))),
            maintenance,
        };
        let overdue = known.as_ref().and_then(|books| books.overdue);
        let seen = reasons::Seen { held: swept.held, overdue, books: books.problem, index: index.problem };
        self.judge(&mut status, seen);
        Ok(status)
    }

    fn read_books(&self, findings: &[FileProblem]) -> Result<Books, Error> {
        let ledger = self.ledger();
        let stats = ledger.job_stats()?;
        let counts = ledger.counts()?;
        Ok(Books {
            overdue: stats.overdue,
            queue: queue_of(&ledger, stats)?,
            files: counts.files,
            entries: counts.entries_by,
            problems: self.problems(findings)?,
        })
    }

    /// What every answer should say, whatever was asked.
    pub(crate) fn standing_degradations(&self) -> Vec<crate::search::Degraded> {
        let waiting = self.pending.lock().expect(POISON).len();
        let mut all = Vec::new();
        if waiting > 0 {
            all.push(crate::search::Degraded {
                stage: "index",
                code: "stale",
                reason: format!("{waiting} changed files are not indexed yet"),
            });
        }
        if self.upkeep.is_filling.load(Ordering::Acquire) {
            all.push(crate::search::Degraded {
                stage: "index",
                code: "rebuilding",
                reason: "the index is being made anew in its place: what is not in it again yet is not found"
                    .to_owned(),
            });
        }
        if let Writes::Paused(pause) = self.upkeep.gate.writes(self.world.monotonic()) {
            all.push(crate::search::Degraded { stage: "index", code: "paused", reason: pause.message });
        }
        all
    }

    /// Problems of files, from the last sweep and from indexing.
    pub(crate) fn problems(&self, findings: &[FileProblem]) -> Result<Vec<FileProblem>, Error> {
        let mut all = findings.to_vec();
        all.extend(self.inbox.problems());
        let ledger = self.ledger();
        let texts = ledger.findings(PROBLEM_FILES_MAX)?.into_iter().map(|row| (row.path, row.finding));
        let parked = ledger.parked_jobs(PROBLEM_FILES_MAX)?.into_iter().map(|row| (row.path, row.error));
        for (path, text) in texts.chain(parked) {
            let text = text.unwrap_or_default();
            match serde_json::from_str::<Vec<FileProblem>>(&text) {
                Ok(problems) => all.extend(problems),
                Err(_) => all.push(FileProblem { path, entry: None, code: "unreadable".to_owned(), message: text }),
            }
        }
        all.dedup();
        all.sort_by(|a, b| (&a.path, &a.entry).cmp(&(&b.path, &b.entry)));
        Ok(all)
    }

    fn watcher(&self) -> String {
        match self.watch.as_ref().map(|watch| watch.state()) {
            None => "off".to_owned(),
            Some(WatchState::Starting | WatchState::Live) => "watching".to_owned(),
            Some(WatchState::Degraded(reason)) => format!("degraded: {reason}"),
        }
    }

    fn embedding(&self) -> Embedding {
        match &self.embedder {
            Some(embedder) => embedder.status(),
            None => Embedding {
                state: if self.absent.is_some() { "absent" } else { "none" }.to_owned(),
                last_error: self.absent.as_ref().map(|absent| absent.reason.clone()),
                ..Embedding::default()
            },
        }
    }
}

fn queue_of(ledger: &Ledger, stats: JobStats) -> Result<Queue, Error> {
    let failing = ledger.failing_jobs(100)?;
    let errors = stats
        .by_class
        .iter()
        .map(|(class, count)| {
            let newest = failing.iter().find(|job| job.error_class.as_ref() == Some(class));
            (class.clone(), *count, newest.and_then(|job| job.error.clone()).unwrap_or_default())
        })
        .collect();
    Ok(Queue {
        pending: stats.open,
        leased: stats.leased,
        failing: stats.failing,
        parked: stats.parked,
        oldest_age_ms: stats.oldest.map(millis),
        errors,
    })
}
