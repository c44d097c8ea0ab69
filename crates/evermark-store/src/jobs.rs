//! The queue: one job per path, saying that the index is behind the file.
//!
//! A job is claimed under a lease with a token, for the fingerprint the source had when it was enqueued. A run that lost its
//! lease, or whose source changed meanwhile, cannot finish the newer job. A failure that is not the file's own fault is tried
//! again for ever, ever more slowly; only content that cannot be understood is parked, until it changes.

use crate::error::Result;
use crate::ledger::Ledger;
use crate::ledger::catalog::range_of;
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Stamp;
use rusqlite::{OptionalExtension, Row, params};
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Passed before jobs are enqueued.
pub const ENQUEUE: &str = "jobs.enqueue";
/// Passed before jobs are claimed.
pub const CLAIM: &str = "jobs.claim";
/// Passed before the outcome of a run is noted.
pub const OUTCOME: &str = "jobs.outcome";

/// The first wait after a failure; each further one doubles it.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait we choose ourselves.
const BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);
/// The longest wait or lease anybody may ask for. A time further ahead than this is a clock that went back.
const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);
/// Of the jobs claimed at once, one in so many is for the newest urgent one: when many files are changed at a stroke, an edit
/// that comes after them does not wait for them all.
const NEWEST_SHARE: i64 = 4;
const COUNT_URGENT: &str = "SELECT count(*) FROM (SELECT 1 FROM jobs
    WHERE lease_token IS NULL AND parked = 0 AND priority = 0 AND next_at_us <= ?1 LIMIT ?2)";
/// How much of an error's text is kept.
const ERROR_CHARS_MAX: usize = 1000;

pub(crate) const END_ALL_LEASES: &str =
    "UPDATE jobs SET lease_token = NULL, lease_until_us = NULL WHERE lease_token IS NOT NULL";

/// Why a file is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    Changed,
    Gone,
    /// The index lost it, or is being built anew.
    Rebuild,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Gone => "gone",
            Self::Rebuild => "rebuild",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Changed, Self::Gone, Self::Rebuild].into_iter().find(|reason| reason.name() == name)
    }
}

/// Who waits for it. Somebody at a prompt comes before a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    Interactive,
    Background,
}

/// What the source was when the job was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fingerprint {
    Stamp(Stamp),
    Digest(Digest32),
    Gone,
    /// It could not be looked at: whatever it turns out to be is news.
    Unknown,
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stamp(Stamp { size, mtime_ns, inode, ctime_ns }) => {
                write!(f, "stamp:{size}:{mtime_ns}:{inode}:{ctime_ns}")
            }
            Self::Digest(digest) => write!(f, "digest:{}", digest.hex()),
            Self::Gone => f.write_str("gone"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub path: String,
    pub reason: Reason,
    pub priority: Priority,
    pub fingerprint: Fingerprint,
}

/// A job that is ours until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub path: String,
    pub reason: Reason,
    /// 1 for the first run.
    pub attempt: u32,
    token: String,
    fingerprint: String,
}

impl Claim {
    /// Tells whether the job was made for a source like this.
    pub fn is_for(&self, fingerprint: Fingerprint) -> bool {
        self.fingerprint == fingerprint.to_string()
    }
}

/// What became of a run's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// The source changed meanwhile: the job stays, for the newer source.
    Superseded,
    /// The lease had ended, or the job is gone: the result counts for nothing.
    LeaseLost,
}

/// A job as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    pub path: String,
    pub reason: Reason,
    pub enqueued_at_us: i64,
    pub attempts: u32,
    pub next_at_us: i64,
    pub first_failed_at_us: Option<i64>,
    pub error_class: Option<String>,
    pub error: Option<String>,
}

/// How the queue is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobStats {
    /// All but the parked.
    pub open: u64,
    /// Those that could be claimed now.
    pub due: u64,
    pub leased: u64,
    /// Those whose last run failed.
    pub failing: u64,
    pub parked: u64,
    /// How long the oldest open job has waited.
    pub oldest: Option<Duration>,
    /// How long the oldest failure has lasted.
    pub failing_for: Option<Duration>,
    /// How long ago the first lease ended that nobody has noticed yet.
    pub overdue: Option<Duration>,
    /// Failing jobs by class of error, most frequent first.
    pub by_class: Vec<(String, u64)>,
}

impl Ledger {
    /// Adds jobs, all together, and says of each whether it was new. A job for the same source is left as it is, parked or not; a
    /// job for another source of the same path is replaced, and un-parked.
    pub fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<bool>> {
        self.reach(ENQUEUE, "enqueue")?;
        let now_us = self.world().now_us();
        self.transaction("enqueue", |transaction| {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO jobs (path, reason, priority, fingerprint, enqueued_at_us, next_at_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (path) DO UPDATE SET reason = ?2, fingerprint = ?4, next_at_us = ?5, attempts = 0,
                     priority = iif(parked, ?3, min(priority, ?3)),
                     enqueued_at_us = iif(parked, ?5, enqueued_at_us),
                     parked = 0, first_failed_at_us = NULL, error_class = NULL, error = NULL
                 WHERE fingerprint <> ?4",
            )?;
            let mut put = |NewJob { path, reason, priority, fingerprint }: &NewJob| {
                let params = params![path, reason.name(), *priority as i64, fingerprint.to_string(), now_us];
                Ok(statement.execute(params)? > 0)
            };
            jobs.iter().map(&mut put).collect()
        })
        .inspect(|_| {
            self.seen_at_us.fetch_max(now_us, Ordering::AcqRel);
        })
    }

    /// Tells whether there is such a job already, for the same source.
    pub fn has_job(&self, job: &NewJob) -> Result<bool> {
        self.lock()
            .prepare_cached("SELECT 1 FROM jobs WHERE path = ?1 AND fingerprint = ?2")
            .and_then(|mut statement| statement.exists(params![job.path, job.fingerprint.to_string()]))
            .map_err(self.on("look up a job"))
    }

    /// Counts urgent jobs that are due, up to `limit`.
    pub fn urgent_jobs(&self, limit: usize) -> Result<usize> {
        let (now_us, limit) = (self.world().now_us(), i64::try_from(limit).unwrap_or(i64::MAX));
        self.lock()
            .prepare_cached(COUNT_URGENT)
            .and_then(|mut statement| statement.query_row([now_us, limit], |row| row.get::<_, i64>(0)))
            .map(|n| usize::try_from(n).unwrap_or_default())
            .map_err(self.on("count jobs"))
    }

    /// Takes up to `limit` jobs that are due: the urgent first, the oldest of them first; where more are urgent, a few of
    /// the newest too. A lease that has ended makes its job due again.
    pub fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Claim>> {
        self.claim_of(limit, lease, None)
    }

    /// As [`Self::claim`], of one reason only.
    pub fn claim_only(&self, reason: Reason, limit: usize, lease: Duration) -> Result<Vec<Claim>> {
        self.claim_of(limit, lease, Some(reason))
    }

    fn claim_of(&self, limit: usize, lease: Duration, only: Option<Reason>) -> Result<Vec<Claim>> {
        self.reach(CLAIM, "claim jobs")?;
        let now_us = self.world().now_us();
        // The first look cannot know.
        let went_back = now_us < self.seen_at_us.load(Ordering::Acquire);
        let far_us = after(now_us, AHEAD_MAX);
        let until_us = after(now_us, lease.min(AHEAD_MAX));
        let token = crate::durable::random_hex(self.world(), 16);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.transaction("claim jobs", |transaction| {
            // Times too far ahead were set before the clock went back.
            transaction
                .prepare_cached(
                    "UPDATE jobs SET lease_token = NULL, lease_until_us = NULL, next_at_us = ?1,
                         first_failed_at_us = coalesce(first_failed_at_us, ?1), error_class = 'lease_ended',
                         error = 'the run before did not finish in time'
                     WHERE lease_token IS NOT NULL AND (lease_until_us <= ?1 OR lease_until_us > ?2)",
                )?
                .execute([now_us, far_us])?;
            transaction
                .prepare_cached(
                    "UPDATE jobs SET next_at_us = ?1 WHERE lease_token IS NULL AND parked = 0 AND priority IN (0, 1)
                         AND next_at_us > ?2",
                )?
                .execute([now_us, far_us])?;
            if went_back {
                // What was never tried is due at once, whatever the clock said when it was enqueued.
                transaction
                    .prepare_cached(
                        "UPDATE jobs SET next_at_us = ?1 WHERE lease_token IS NULL AND parked = 0 AND next_at_us > ?1
                             AND error_class IS NULL",
                    )?
                    .execute([now_us])?;
            }
            let urgent: i64 = transaction
                .prepare_cached(COUNT_URGENT)?
                .query_row(params![now_us, limit.saturating_add(1)], |row| row.get(0))?;
            let newest = if urgent > limit { limit / NEWEST_SHARE } else { 0 };
            let mut statement = transaction.prepare_cached(
                "UPDATE jobs SET lease_token = ?1, lease_until_us = ?2, attempts = attempts + 1
                 WHERE path IN (SELECT path FROM (SELECT path FROM jobs
                                    WHERE lease_token IS NULL AND parked = 0 AND next_at_us <= ?3
                                        AND (?5 IS NULL OR reason = ?5)
                                    ORDER BY priority, next_at_us LIMIT ?4)
                                UNION SELECT path FROM (SELECT path FROM jobs
                                    WHERE lease_token IS NULL AND parked = 0 AND priority = 0 AND next_at_us <= ?3
                                        AND (?5 IS NULL OR reason = ?5)
                                    ORDER BY next_at_us DESC LIMIT ?6))
                 RETURNING path, reason, attempts, fingerprint, priority, next_at_us",
            )?;
            let mut rows =
                statement.query(params![token, until_us, now_us, limit - newest, only.map(Reason::name), newest])?;
            let mut claims = Vec::new();
            while let Some(row) = rows.next()? {
                let claim = Claim {
                    path: row.get(0)?,
                    reason: reason(row, 1)?,
                    attempt: row.get(2)?,
                    token: token.clone(),
                    fingerprint: row.get(3)?,
                };
                claims.push((row.get::<_, i64>(4)?, row.get::<_, i64>(5)?, claim));
            }
            claims.sort_by(|a, b| (a.0, a.1, &a.2.path).cmp(&(b.0, b.1, &b.2.path)));
            Ok(claims.into_iter().map(|(_, _, claim)| claim).collect())
        })
        .inspect(|_| self.seen_at_us.store(now_us, Ordering::Release))
    }

    /// Ends jobs that are done. Returns what became of each.
    pub fn complete(&self, claims: &[Claim]) -> Result<Vec<Outcome>> {
        self.outcomes("complete jobs", claims, |transaction, claim| {
            transaction
                .prepare_cached("DELETE FROM jobs WHERE path = ?1 AND lease_token = ?2 AND fingerprint = ?3")?
                .execute(params![claim.path, claim.token, claim.fingerprint])
        })
    }

    /// Notes that a run failed for a reason that may pass, and when to try again: after `retry_after` where the other side
    /// said so, else after a wait that doubles each time, up to five minutes.
    pub fn fail(&self, claim: &Claim, class: &str, error: &str, retry_after: Option<Duration>) -> Result<Outcome> {
        let now_us = self.world().now_us();
        let wait = retry_after.unwrap_or_else(|| backoff(claim.attempt, self.world().random()[0])).min(AHEAD_MAX);
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        self.outcome("note a failure", claim, |transaction, claim| {
            transaction
                .prepare_cached(
                    "UPDATE jobs SET lease_token = NULL, lease_until_us = NULL, next_at_us = ?4, error_class = ?5,
                         error = ?6, first_failed_at_us = coalesce(first_failed_at_us, ?7)
                     WHERE path = ?1 AND lease_token = ?2 AND fingerprint = ?3",
                )?
                .execute(params![claim.path, claim.token, claim.fingerprint, after(now_us, wait), class, error, now_us])
        })
    }

    /// Sets a job aside whose content cannot be understood, until the content changes.
    pub fn park(&self, claim: &Claim, finding: &str) -> Result<Outcome> {
        let finding: String = finding.chars().take(ERROR_CHARS_MAX).collect();
        self.outcome("park a job", claim, |transaction, claim| {
            transaction
                .prepare_cached(
                    "UPDATE jobs SET lease_token = NULL, lease_until_us = NULL, parked = 1, first_failed_at_us = NULL,
                         error_class = 'parked', error = ?4
                     WHERE path = ?1 AND lease_token = ?2 AND fingerprint = ?3",
                )?
                .execute(params![claim.path, claim.token, claim.fingerprint, finding])
        })
    }

    /// Gives jobs back as if they had not been claimed.
    pub fn release(&self, claims: &[Claim]) -> Result<Vec<Outcome>> {
        self.outcomes("release jobs", claims, |transaction, claim| {
            transaction
                .prepare_cached(
                    "UPDATE jobs SET lease_token = NULL, lease_until_us = NULL, attempts = max(attempts - 1, 0)
                     WHERE path = ?1 AND lease_token = ?2 AND fingerprint = ?3",
                )?
                .execute(params![claim.path, claim.token, claim.fingerprint])
        })
    }

    /// Ends every lease, as opening the ledger does: for when the one who works on jobs was lost in the middle.
    pub fn release_all(&self) -> Result<()> {
        self.transaction("release all jobs", |transaction| transaction.execute(END_ALL_LEASES, []).map(drop))
    }

    /// Makes failing jobs due at once: all, or those of one class. For when space, or a provider, is back.
    pub fn hasten(&self, class: Option<&str>) -> Result<u64> {
        let now_us = self.world().now_us();
        self.transaction("hasten jobs", |transaction| {
            transaction
                .prepare_cached(
                    "UPDATE jobs SET next_at_us = ?1 WHERE lease_token IS NULL AND parked = 0 AND next_at_us > ?1
                         AND error_class IS NOT NULL AND (?2 IS NULL OR error_class = ?2)",
                )?
                .execute(params![now_us, class])
                .map(|n| n as u64)
        })
    }

    /// Returns how long until there may be something to claim, zero if there is now, `None` while the queue is empty.
    pub fn next_due(&self) -> Result<Option<Duration>> {
        let now_us = self.world().now_us();
        let far_us = after(now_us, AHEAD_MAX);
        let next: Option<i64> = self.snapshot("look ahead", |transaction| {
            transaction
                .prepare_cached(
                    "SELECT min(at) FROM (
                         SELECT min(next_at_us) AS at FROM jobs WHERE lease_token IS NULL AND parked = 0
                         UNION ALL SELECT min(lease_until_us) FROM jobs WHERE lease_token IS NOT NULL)",
                )?
                .query_row([], |row| row.get(0))
        })?;
        Ok(next.map(|at_us| if at_us > far_us { Duration::ZERO } else { span(now_us, at_us) }))
    }

    /// Returns how the queue is doing.
    pub fn job_stats(&self) -> Result<JobStats> {
        let now_us = self.world().now_us();
        self.snapshot("count jobs", |transaction| {
            let mut stats = transaction
                .prepare_cached(
                    "SELECT count(*) FILTER (WHERE parked = 0),
                            count(*) FILTER (WHERE parked = 0 AND lease_token IS NULL AND next_at_us <= ?1),
                            count(lease_token),
                            count(*) FILTER (WHERE parked = 0 AND error_class IS NOT NULL),
                            count(*) FILTER (WHERE parked = 1),
                            min(enqueued_at_us) FILTER (WHERE parked = 0),
                            min(first_failed_at_us) FILTER (WHERE parked = 0),
                            min(lease_until_us) FILTER (WHERE lease_until_us <= ?1)
                     FROM jobs",
                )?
                .query_row([now_us], |row| {
                    let n = |idx| row.get::<_, i64>(idx).map(i64::unsigned_abs);
                    let age = |idx| row.get::<_, Option<i64>>(idx).map(|at| at.map(|at_us| span(at_us, now_us)));
                    Ok(JobStats {
                        open: n(0)?,
                        due: n(1)?,
                        leased: n(2)?,
                        failing: n(3)?,
                        parked: n(4)?,
                        oldest: age(5)?,
                        failing_for: age(6)?,
                        overdue: age(7)?,
                        by_class: Vec::new(),
                    })
                })?;
            let mut statement = transaction.prepare_cached(
                "SELECT error_class, count(*) FROM jobs WHERE parked = 0 AND error_class IS NOT NULL
                 GROUP BY error_class ORDER BY count(*) DESC, error_class",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            stats.by_class = rows.collect::<rusqlite::Result<_>>()?;
            Ok(stats)
        })
    }

    /// Returns one path's job.
    pub fn job(&self, path: &str) -> Result<Option<JobRow>> {
        self.lock()
            .prepare_cached(&format!("SELECT {JOB_COLUMNS} FROM jobs WHERE path = ?1"))
            .and_then(|mut statement| statement.query_row([path], job_row).optional())
            .map_err(self.on("look up a job"))
    }

    /// Returns jobs whose last run failed, the longest-failing first.
    pub fn failing_jobs(&self, limit: usize) -> Result<Vec<JobRow>> {
        self.job_rows("parked = 0 AND error_class IS NOT NULL ORDER BY first_failed_at_us, path", limit)
    }

    /// Returns jobs that wait for their content to change.
    pub fn parked_jobs(&self, limit: usize) -> Result<Vec<JobRow>> {
        self.job_rows("parked = 1 ORDER BY path", limit)
    }

    /// Returns the paths in a folder whose jobs wait for their content to change; the empty folder is everything.
    pub fn parked_under(&self, folder: &str) -> Result<Vec<String>> {
        let (low, high) = range_of(folder);
        self.lock()
            .prepare_cached("SELECT path FROM jobs WHERE path > ?1 AND path < ?2 AND parked = 1")
            .and_then(|mut statement| {
                statement.query_map([low, high], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
            })
            .map_err(self.on("list jobs"))
    }

    fn job_rows(&self, condition: &str, limit: usize) -> Result<Vec<JobRow>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lock()
            .prepare_cached(&format!("SELECT {JOB_COLUMNS} FROM jobs WHERE {condition} LIMIT ?1"))
            .and_then(|mut statement| statement.query_map([limit], job_row)?.collect::<rusqlite::Result<_>>())
            .map_err(self.on("list jobs"))
    }

    fn outcome(
        &self,
        doing: &'static str,
        claim: &Claim,
        run: impl Fn(&rusqlite::Transaction<'_>, &Claim) -> rusqlite::Result<usize>,
    ) -> Result<Outcome> {
        let all = self.outcomes(doing, std::slice::from_ref(claim), run)?;
        Ok(all.first().copied().unwrap_or(Outcome::LeaseLost))
    }

    /// Applies a statement that only touches the job as it was claimed; where it touched nothing, finds out why.
    fn outcomes(
        &self,
        doing: &'static str,
        claims: &[Claim],
        run: impl Fn(&rusqlite::Transaction<'_>, &Claim) -> rusqlite::Result<usize>,
    ) -> Result<Vec<Outcome>> {
        self.reach(OUTCOME, doing)?;
        let now_us = self.world().now_us();
        self.transaction(doing, |transaction| {
            let mut outcomes = Vec::with_capacity(claims.len());
            for claim in claims {
                if run(transaction, claim)? > 0 {
                    outcomes.push(Outcome::Accepted);
                    continue;
                }
                // Ours still, but for a newer source: give it back at once.
                let given_back = transaction
                    .prepare_cached(
                        "UPDATE jobs SET lease_token = NULL, lease_until_us = NULL, attempts = 0, next_at_us = ?3
                         WHERE path = ?1 AND lease_token = ?2",
                    )?
                    .execute(params![claim.path, claim.token, now_us])?;
                outcomes.push(if given_back > 0 { Outcome::Superseded } else { Outcome::LeaseLost });
            }
            Ok(outcomes)
        })
    }
}

const JOB_COLUMNS: &str = "path, reason, enqueued_at_us, attempts, next_at_us, first_failed_at_us, error_class, error";

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    Ok(JobRow {
        path: row.get(0)?,
        reason: reason(row, 1)?,
        enqueued_at_us: row.get(2)?,
        attempts: row.get(3)?,
        next_at_us: row.get(4)?,
        first_failed_at_us: row.get(5)?,
        error_class: row.get(6)?,
        error: row.get(7)?,
    })
}

fn reason(row: &Row<'_>, idx: usize) -> rusqlite::Result<Reason> {
    // Written by `Reason::name` only; a reader of the file decides by the file anyway.
    Ok(Reason::from_name(row.get_ref(idx)?.as_str()?).unwrap_or(Reason::Changed))
}

/// Returns a wait between half and all of 1 s, 2 s, 4 s … 5 min. `chance` spreads those that failed together.
fn backoff(attempt: u32, chance: u8) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(BACKOFF_MAX);
    full / 2 + full.mul_f64(f64::from(chance) / 510.0)
}

fn after(now_us: i64, wait: Duration) -> i64 {
    now_us.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the time from one moment to a later one; zero if it is not later.
fn span(from_us: i64, to_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(to_us.saturating_sub(from_us)).unwrap_or_default())
}
