//! Comparing the vault with the ledger: which files are new, changed or gone. Watcher and sweep feed one decision.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::status::{FileProblem, ProgressMark, SyncReport};
use crate::tasks::{Bell, Tick};
use evermark_core::markdown::{FileKind, place};
use evermark_core::reconcile::{self, Confirmed, Decision, Guard, Known, Policy, RootIdentity, Seen};
use evermark_store::jobs::{NewJob, Priority};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// How often it is looked whether index and ledger are still in their places: two `stat` calls.
const HEAL_INTERVAL: Duration = Duration::from_secs(1);
/// Files that the ledger is told of in one transaction.
const ENQUEUED_AT_ONCE: usize = 64;
/// For how long folders are looked at before single files have their turn.
const FOLDERS_AT_ONCE: Duration = Duration::from_millis(50);
/// Of the files that one round indexes, this share may become urgent at every look, however many already are.
const ALWAYS_SHARE: usize = 4;

/// What sweeps remember between rounds. Nothing of it matters after a restart.
#[derive(Default)]
pub(crate) struct Sweeps {
    /// When the last sweep ended that still counts, on the monotonic clock.
    swept_at: Option<Duration>,
    /// When the last one ended.
    ended_at: Option<Duration>,
    asked: bool,
    /// Paths to look at again, at these times (microseconds since 1970).
    later: HashMap<String, i64>,
    /// Folders to look at with all that is in them, when there is time.
    folders: BTreeSet<String>,
    /// Why removals are held back.
    held: Option<String>,
    /// A person has allowed the next removals.
    allowed: bool,
    /// Problems of files and folders found by the last sweep.
    pub(crate) findings: Vec<FileProblem>,
    pub(crate) files: u64,
    /// What the files take, by their lengths.
    bytes: u64,
}

/// What is to be known of the sweeps while one is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Swept {
    /// When everything was compared with the live generation; `None` when that is still to be done.
    pub(crate) at: Option<Duration>,
    pub(crate) ended_at: Option<Duration>,
    pub(crate) held: Option<String>,
    pub(crate) findings: Vec<FileProblem>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Sweeps {
    /// Asks for a sweep at the next tick.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Forgets that there ever was a sweep: everything has to be looked at again.
    pub(crate) fn forget(&mut self) {
        self.asked = true;
        self.swept_at = None;
    }
}

/// What one round of looking came to.
#[derive(Default)]
struct Looked {
    /// Files to be indexed that the ledger was not told of yet.
    new: Vec<NewJob>,
    /// The same, of files that were known, with how many bytes longer or shorter they are.
    changed: Vec<(u64, NewJob)>,
    suspects: Vec<String>,
    confirmed: Vec<String>,
}

impl Inner {
    pub(crate) fn policy(&self) -> Policy {
        Policy { settle: self.settings.settle, second_look: self.settings.second_look, ..Policy::default() }
    }

    /// Looks at what the watcher reported, at files that were being written, and at everything when a sweep is due.
    pub(crate) fn reconcile_tick(&self) -> Result<Tick, Error> {
        self.heal()?;
        self.tell_of_losses();
        let mut sweeps = self.reconciling.lock().expect(POISON);
        let now = self.world.monotonic();
        let mut overflow = false;
        let mut paths: BTreeSet<String> = BTreeSet::new();
        if let Some(watch) = &self.watch {
            let changes = watch.drain();
            overflow = changes.overflow;
            paths.extend(changes.paths);
            sweeps.folders.extend(changes.folders);
        }
        let due = sweeps.swept_at.is_none_or(|at| now >= at + self.settings.sweep_interval);
        // Nobody tells again of what was not looked at: what fails is followed by a look at everything.
        sweeps.asked |= overflow;
        if due || sweeps.asked {
            self.sweep(&mut sweeps)?;
        } else {
            let now_us = self.world.now_us();
            let ripe: Vec<String> =
                sweeps.later.iter().filter(|(_, at)| **at <= now_us).map(|(path, _)| path.clone()).collect();
            for path in ripe {
                sweeps.later.remove(&path);
                paths.insert(path);
            }
            if let Err(error) = self.look_at(&mut sweeps, paths) {
                sweeps.ask();
                return Err(error);
            }
        }
        self.publish(&sweeps);
        if !sweeps.folders.is_empty() {
            return Ok(Tick::Worked);
        }
        Ok(Tick::Idle(self.next_look(&sweeps).min(HEAL_INTERVAL)))
    }

    fn next_look(&self, sweeps: &Sweeps) -> Duration {
        let now = self.world.monotonic();
        let sweep =
            sweeps.swept_at.map_or(Duration::ZERO, |at| (at + self.settings.sweep_interval).saturating_sub(now));
        let now_us = self.world.now_us();
        let later = sweeps.later.values().min().map(|at| {
            Duration::from_micros(u64::try_from(at.saturating_sub(now_us)).unwrap_or(0)) + Duration::from_millis(1)
        });
        later.map_or(sweep, |later| later.min(sweep))
    }

    /// Looks at single files, then at folders that came, went or were renamed, with all that is in them: those files have no events
    /// of their own. Of many folders some are left for the next tick, so that a file that is saved meanwhile does not wait for all.
    fn look_at(&self, sweeps: &mut Sweeps, paths: BTreeSet<String>) -> Result<(), Error> {
        let ledger = self.ledger();
        let mut looked = Looked::default();
        let (files, folders): (Vec<String>, Vec<String>) = paths.into_iter().partition(|path| place(path).is_some());
        sweeps.folders.extend(folders);
        let done = files.iter().filter(|path| is_indexed_kind(path)).try_for_each(|path| {
            let known = ledger.file(path)?.map(|row| row.known);
            self.act(path, known.as_ref(), self.vault.look(path), sweeps, &mut looked)
        });
        // What was seen before something failed is not lost with it.
        self.settle(looked, sweeps).and(done)?;
        let mut looked = Looked::default();
        let began = self.world.monotonic();
        let mut done = Ok(());
        while done.is_ok()
            && self.world.monotonic().saturating_sub(began) < FOLDERS_AT_ONCE
            && let Some(folder) = sweeps.folders.pop_first()
        {
            // What is in it is looked at along with it.
            let below = format!("{folder}/");
            let inner = sweeps.folders.range(below.clone()..).take_while(|inner| inner.starts_with(&below));
            inner.cloned().collect::<Vec<_>>().iter().for_each(|inner| {
                sweeps.folders.remove(inner);
            });
            done = self.sweep_under(sweeps, &folder, &mut looked);
        }
        self.settle(looked, sweeps).and(done)
    }

    fn sweep_under(&self, sweeps: &mut Sweeps, under: &str, looked: &mut Looked) -> Result<(), Error> {
        let mut known = HashMap::new();
        self.ledger().files(under, &mut |row| {
            known.insert(row.path.clone(), row.known);
        })?;
        let mut seen = Vec::new();
        let report = self.vault.scan_under(under, &mut |path, stamp| seen.push((path.to_owned(), stamp)));
        let mut parked: HashSet<String> = self.ledger().parked_under(under)?.into_iter().collect();
        for (path, stamp) in seen {
            let before = known.remove(&path);
            parked.remove(&path);
            if is_indexed_kind(&path) {
                self.act(&path, before.as_ref(), Seen::Present(stamp), sweeps, looked)?;
            }
        }
        for (path, before) in known {
            let seen = Seen::Absent { parent_listed: report.proves_absence(&path) };
            parked.remove(&path);
            self.act(&path, Some(&before), seen, sweeps, looked)?;
        }
        for path in parked {
            let seen = Seen::Absent { parent_listed: report.proves_absence(&path) };
            self.act(&path, None, seen, sweeps, looked)?;
        }
        Ok(())
    }

    /// Looks at every file. Until one goes well, what asked for it still does.
    fn sweep(&self, sweeps: &mut Sweeps) -> Result<(), Error> {
        let mut known = HashMap::new();
        self.ledger().files("", &mut |row| {
            known.insert(row.path.clone(), row.known);
        })?;
        let mut seen = Vec::new();
        let report = self.vault.scan(&mut |path, stamp| seen.push((path.to_owned(), stamp)));
        sweeps.files = seen.len() as u64;
        sweeps.bytes = seen.iter().map(|(_, stamp)| stamp.size).sum();
        sweeps.findings = report.findings.iter().map(FileProblem::of_store).collect();
        sweeps.findings.extend(report.unknown.iter().map(|(path, reason)| FileProblem {
            path: path.clone(),
            entry: None,
            code: "unlistable".to_owned(),
            message: format!("cannot be looked at ({reason}); what was indexed from it stays"),
        }));
        let mut parked: HashSet<String> = self.ledger().parked_under("")?.into_iter().collect();
        let mut looked = Looked::default();
        for (path, stamp) in seen {
            let before = known.remove(&path);
            parked.remove(&path);
            if is_indexed_kind(&path) {
                self.act(&path, before.as_ref(), Seen::Present(stamp), sweeps, &mut looked)?;
            }
        }
        for (path, before) in known {
            let seen = Seen::Absent { parent_listed: report.proves_absence(&path) };
            parked.remove(&path);
            self.act(&path, Some(&before), seen, sweeps, &mut looked)?;
        }
        for path in parked {
            let seen = Seen::Absent { parent_listed: report.proves_absence(&path) };
            self.act(&path, None, seen, sweeps, &mut looked)?;
        }
        if looked.confirmed.is_empty() && looked.suspects.is_empty() {
            sweeps.held = None;
        }
        self.settle(looked, sweeps)?;
        self.vault.sweep(&report.leftovers);
        self.vault.tend();
        sweeps.asked = false;
        sweeps.folders.clear();
        sweeps.ended_at = Some(self.world.monotonic());
        sweeps.swept_at = sweeps.ended_at;
        self.publish(sweeps);
        Ok(())
    }

    pub(crate) fn publish(&self, sweeps: &Sweeps) {
        *self.swept.lock().expect(POISON) = Swept {
            at: sweeps.swept_at,
            ended_at: sweeps.ended_at,
            held: sweeps.held.clone(),
            findings: sweeps.findings.clone(),
            files: sweeps.files,
            bytes: sweeps.bytes,
        };
    }

    /// Carries out the decision about one file.
    fn act(
        &self,
        path: &str,
        known: Option<&Known>,
        seen: Seen,
        sweeps: &mut Sweeps,
        looked: &mut Looked,
    ) -> Result<(), Error> {
        let ledger = self.ledger();
        let now_us = self.world.now_us();
        match reconcile::decide(known, seen, &self.policy(), now_us) {
            Decision::Unchanged | Decision::Keep => {
                if known.is_some_and(|known| known.missing_since_us.is_some()) {
                    let again = now_us.saturating_add(micros(self.settings.second_look));
                    sweeps.later.insert(path.to_owned(), again);
                    looked.suspects.push(path.to_owned());
                } else if known.is_none()
                    && seen == (Seen::Absent { parent_listed: true })
                    && ledger.job(path)?.is_some()
                {
                    // It was never understood, and is gone: nothing else ends its job.
                    self.enqueue_seen(path, known, seen, looked)?;
                }
            }
            Decision::Hash => match self.vault.read(path, self.settings.file_bytes_max) {
                // A job is about what the file held in between: it is settled by looking once more.
                Ok(file) if known.is_some_and(|known| known.digest == file.digest) && ledger.job(path)?.is_none() => {
                    ledger.verified(&[(path.to_owned(), file.stamp)])?;
                }
                // What cannot be read is the indexer's to report, with the file's name on it.
                Ok(_) | Err(_) => self.enqueue_seen(path, known, seen, looked)?,
            },
            Decision::Enqueue => self.enqueue_seen(path, known, seen, looked)?,
            Decision::Settle(until_us) => {
                sweeps.later.insert(path.to_owned(), until_us);
            }
            Decision::SuspectGone => {
                ledger.suspect(&[path.to_owned()])?;
                sweeps.later.insert(path.to_owned(), now_us.saturating_add(micros(self.settings.second_look)));
                looked.suspects.push(path.to_owned());
            }
            Decision::ConfirmGone => looked.confirmed.push(path.to_owned()),
        }
        Ok(())
    }

    /// Has a file indexed. Those that were known wait until all are looked at.
    fn enqueue_seen(&self, path: &str, known: Option<&Known>, seen: Seen, looked: &mut Looked) -> Result<(), Error> {
        if let Some(known) = known {
            let by = if let Seen::Present(stamp) = seen { stamp.size.abs_diff(known.stamp.size) } else { u64::MAX };
            looked.changed.push((by, Self::job_of(path, seen, Priority::Background)));
            return Ok(());
        }
        looked.new.push(Self::job_of(path, seen, Priority::Background));
        if looked.new.len() >= ENQUEUED_AT_ONCE {
            self.enqueue_all(&looked.new)?;
            looked.new.clear();
        }
        Ok(())
    }

    /// Tells the ledger what is to be indexed. An edit comes before files that nobody has seen yet: of those there may be a whole
    /// vault. More edits at once than one round takes are no longer somebody's: those above that wait with the rest, so that the
    /// next one does not wait for them. Of many, those come first that have changed least in size: what a person saves
    /// amid a pile is likely among them, and they are the quickest to index.
    fn enqueue_looked(&self, looked: &mut Looked) -> Result<(), Error> {
        let ledger = self.ledger();
        let mut changed = Vec::new();
        for (by, job) in looked.changed.drain(..) {
            // What a sweep finds changed may have waited since the one before.
            if !ledger.has_job(&job)? {
                changed.push((by, job));
            }
        }
        if !changed.is_empty() {
            changed.sort_by_key(|(by, _)| *by);
            let at_once = self.settings.files_per_tick;
            let room = at_once.saturating_sub(ledger.urgent_jobs(at_once)?).max(at_once / ALWAYS_SHARE);
            changed.iter_mut().take(room).for_each(|(_, job)| job.priority = Priority::Interactive);
        }
        let mut jobs: Vec<NewJob> = changed.into_iter().map(|(_, job)| job).collect();
        jobs.append(&mut looked.new);
        jobs.chunks(ENQUEUED_AT_ONCE).try_for_each(|jobs| self.enqueue_all(jobs))
    }

    /// Ends a round of looking: has indexed what is new, and removes what is surely gone, unless so much is gone that it is more
    /// likely an accident.
    fn settle(&self, mut looked: Looked, sweeps: &mut Sweeps) -> Result<(), Error> {
        self.enqueue_looked(&mut looked)?;
        if looked.confirmed.is_empty() {
            return Ok(());
        }
        let counts = self.ledger().counts()?;
        let gone = counts.missing.max(looked.confirmed.len() as u64);
        let identity = match self.layout.identity() {
            Ok(Some(identity)) if identity.root_id == self.identity.root_id => RootIdentity::Same,
            Ok(Some(_)) => RootIdentity::Different,
            Ok(None) | Err(_) => RootIdentity::Missing,
        };
        let word = sweeps.allowed.then_some(Confirmed { files: gone });
        match reconcile::guard(counts.files, gone, identity, word, &self.policy()) {
            Guard::Hold { reason } => {
                tracing::warn!(%reason, "removals are held back until somebody confirms them");
                sweeps.held = Some(reason.to_string());
            }
            Guard::Proceed { .. } => {
                sweeps.held = None;
                let gone = |path: &String| Self::job_of(path, self.vault.look(path), Priority::Interactive);
                let jobs: Vec<NewJob> = looked.confirmed.iter().map(gone).collect();
                jobs.chunks(ENQUEUED_AT_ONCE).try_for_each(|jobs| self.enqueue_all(jobs))?;
            }
        }
        Ok(())
    }

    /// Brings everything up to date in this thread: looks at all files, twice where something is missing or being
    /// written, extracts what is due, and indexes until nothing is left that can be done now.
    pub(crate) fn sync(
        &self,
        allow_mass_delete: bool,
        progress: &mut dyn FnMut(ProgressMark),
    ) -> Result<SyncReport, Error> {
        self.heal()?;
        let before = self.indexing.lock().expect(POISON).tally();
        let embedded_before = self.texts_sent();
        while self.remember_tick()? == Tick::Worked {}
        self.reconciling.lock().expect(POISON).allowed = allow_mass_delete;
        let mut rounds = 0;
        let mut paused;
        loop {
            let wait = {
                let mut sweeps = self.reconciling.lock().expect(POISON);
                self.sweep(&mut sweeps)?;
                let now_us = self.world.now_us();
                sweeps.later.retain(|_, at| *at > now_us);
                sweeps.later.values().max().map(|at| at.saturating_sub(now_us))
            };
            // While the index takes no writes, files are still looked at twice: what is gone may be what makes room.
            paused = match self.index_all(progress) {
                Err(Error::Paused(why)) => Some(why),
                indexed => indexed.map(|()| None)?,
            };
            rounds += 1;
            let second_looks =
                (!self.shrunk.lock().expect(POISON).is_empty()).then(|| micros(self.settings.second_look));
            let wait = wait.max(second_looks);
            let Some(wait_us) = wait.filter(|_| rounds < 4) else { break };
            // Files being written and files being missed are looked at again as soon as that means something.
            // A bell of its own: nothing cuts this short.
            Bell::default().wait(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)) + Duration::from_millis(2));
        }
        let mut sweeps = self.reconciling.lock().expect(POISON);
        sweeps.allowed = false;
        if let Some(why) = paused {
            return Err(Error::Paused(why));
        }
        let after = self.indexing.lock().expect(POISON).tally();
        Ok(SyncReport {
            files_seen: sweeps.files,
            files_indexed: after.files_indexed - before.files_indexed,
            files_removed: after.files_removed - before.files_removed,
            rows_upserted: after.rows_upserted - before.rows_upserted,
            rows_removed: after.rows_removed - before.rows_removed,
            texts_embedded: self.texts_sent() - embedded_before,
            problems: self.problems(&sweeps.findings)?,
            held: sweeps.held.clone(),
        })
    }
}

/// Tells whether a file of this name is turned into rows.
pub(crate) fn is_indexed_kind(path: &str) -> bool {
    place(path).is_some_and(|place| matches!(place.kind, FileKind::Memories(_)))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
