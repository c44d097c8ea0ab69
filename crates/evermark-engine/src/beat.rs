//! The beat: one round of upkeep at a time. Observe → plan → take the steps → assess.
//!
//! What is done is decided by `core::maintenance::plan`; here it is seen, carried out, and counted. A step that fails or hangs
//! keeps no other from being taken: freeing comes first and waits for nothing. A round is made after a few commits, when
//! somebody found no space, when something is damaged, and a while after the last commit. When nothing has changed nothing is
//! done, and nothing is written, whatever is failing.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::pause::Gate;
use crate::probe::Probe;
use crate::space::IndexSeen;
use crate::steps::{Alive, Done, Steps};
use crate::tasks::Tick;
use evermark_core::error::ErrorKind;
use evermark_core::index::Merge;
use evermark_core::maintenance::plan::{Cause, Observation, Plan, Rebuild, Step, assess, plan};
use evermark_core::maintenance::space::Level;
use evermark_store::ledger::size::Size;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Groups merged in one round at most: the next round goes on.
const GROUPS_PER_ROUND: usize = 8;
/// How often free space is looked at while it, or the reserve, is short. Looking writes nothing.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// A generation is made anew for the same reason at most this often at first; each further time it is twice as long.
const REBUILD_INTERVAL: Duration = Duration::from_secs(60);
const REBUILD_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Damage that merging meets this often in a row is damage of the whole.
const COMPACT_DAMAGED_MAX: u64 = 3;

/// From so many pieces on, a generation whose merging failed so often in a row is made anew. Merging keeps some dozens of
/// pieces; every commit writes a manifest that names them all.
const UNMERGED_PIECES: u64 = 1024;
const UNMERGED_FAILURES: u64 = 3;

/// What upkeep knows and remembers.
#[derive(Default)]
pub(crate) struct Upkeep {
    pub(crate) steps: Steps,
    /// Held during a round: one at a time.
    beating: Mutex<Beating>,
    pub(crate) beats: AtomicU64,
    /// When the last round ended, in milliseconds of the monotonic clock; 0 before the first.
    pub(crate) beat_ms: AtomicU64,
    /// Commits since the engine was opened, and when the last one was, in milliseconds of the monotonic clock.
    pub(crate) commits: AtomicU64,
    pub(crate) committed_ms: AtomicU64,
    /// Somebody found no space, and nothing has been done about it yet.
    pub(crate) space_was_refused: AtomicBool,
    /// Somebody asked for a round.
    pub(crate) is_wanted: AtomicBool,
    pub(crate) over_bound_rounds: AtomicU32,
    /// Times the reserve was given up.
    pub(crate) released: AtomicU64,
    /// Losses of the live generation that have been made good.
    pub(crate) losses_mended: AtomicU64,
    /// How many losses the beat was told of: a search finds some while nothing else goes on.
    pub(crate) losses_told: AtomicU64,
    /// The index was found to hold fewer rows than the ledger says.
    pub(crate) rows_are_missing: AtomicBool,
    /// A generation was made anew in its place, and is being filled.
    pub(crate) is_filling: AtomicBool,
    /// Held while generations are removed, and when a rebuild begins.
    pub(crate) generations: Mutex<()>,
    pub(crate) gate: Gate,
    pub(crate) index: Arc<Probe<IndexSeen>>,
    pub(crate) ledger_size: Arc<Probe<Size>>,
}

/// What one round leaves for the next.
#[derive(Default)]
struct Beating {
    /// Commits there were when the last round began.
    commits: u64,
    has_begun: bool,
    level: Option<Level>,
    /// The generation itself, not something beside it, is above its share.
    generation_is_over: bool,
    rebuilt_at: Option<Duration>,
    rebuild_wait: Duration,
}

impl Inner {
    pub(crate) fn commits(&self) -> u64 {
        self.upkeep.commits.load(Ordering::Acquire)
    }

    /// Makes a round of upkeep if one is due, and says when to look again.
    pub(crate) fn beat_tick(self: &Arc<Self>) -> Result<Tick, Error> {
        if self.rebuilding.load(Ordering::Acquire) {
            return Ok(Tick::Idle(Duration::from_secs(5)));
        }
        // Told at the end: what cannot be removed for want of space must not keep the steps that make some from running.
        let purged = self.purge_strays_when_caught_up();
        if let Err(error) = self.collect_embeddings() {
            tracing::warn!(%error, "unused embeddings could not be looked for");
        }
        let mut beating = self.upkeep.beating.lock().expect(POISON);
        let has_more = self.is_beat_due(&beating) && self.beat(&mut beating);
        purged?;
        Ok(if has_more { Tick::Worked } else { Tick::Idle(self.next_beat(&beating)) })
    }

    /// Makes a round of upkeep now. Steps that fail are counted and shown; they fail nothing else.
    pub(crate) fn beat_now(self: &Arc<Self>) -> Result<(), Error> {
        let purged = self.purge_strays_when_caught_up();
        let collected = self.collect_embeddings();
        let mut beating = self.upkeep.beating.lock().expect(POISON);
        self.beat(&mut beating);
        purged.and(collected)
    }

    /// Reclaims what this process left behind, so that a root used only by short commands stays small too.
    pub(crate) fn beat_at_close(self: &Arc<Self>) {
        let mut beating = self.upkeep.beating.lock().expect(POISON);
        if self.commits() > beating.commits {
            self.beat(&mut beating);
        }
    }

    /// Returns what a round would do now.
    pub(crate) fn plan_beat(self: &Arc<Self>) -> Plan {
        // A round that runs, or hangs, must not keep anybody from seeing the plan.
        match self.upkeep.beating.try_lock() {
            Ok(beating) => plan(&self.observe(&beating), &self.upkeep_policy()),
            Err(_) => plan(&self.observe(&Beating { has_begun: true, ..Beating::default() }), &self.upkeep_policy()),
        }
    }

    /// Returns how a generation would be made anew for somebody who asks for it; `None` when there is no room at all.
    pub(crate) fn how_to_rebuild(self: &Arc<Self>) -> Option<Rebuild> {
        let seen = self.observe(&Beating { has_begun: true, ..Beating::default() });
        // Whoever asks need not wait for what waits.
        let seen = Observation { cause: Some(Cause::Damaged), waiting: Vec::new(), ..seen };
        plan(&seen, &self.upkeep_policy()).rebuild
    }

    /// Tells whether a generation should be made anew before anything else: it is damaged, or its vectors are not those of
    /// the configured model and there is room beside it. What answers is not given up for another model.
    pub(crate) fn should_rebuild_now(self: &Arc<Self>) -> bool {
        self.rebuild_wanted.load(Ordering::Acquire)
            || (self.has_other_model() && self.how_to_rebuild() == Some(Rebuild::Beside))
    }

    fn is_beat_due(&self, beating: &Beating) -> bool {
        let now = self.world.monotonic();
        let commits = self.commits();
        let new = commits.saturating_sub(beating.commits);
        let is_quiet =
            millis(now) >= self.upkeep.committed_ms.load(Ordering::Acquire) + millis(self.settings.beat_after);
        !beating.has_begun
            || new >= self.settings.beat_commits
            || (new > 0 && is_quiet)
            || self.upkeep.is_wanted.load(Ordering::Acquire)
            || self.upkeep.space_was_refused.load(Ordering::Acquire)
            || self.has_losses()
            || self.cause(beating).is_some()
            || self.upkeep.steps.next_retry(now, commits).is_some_and(|wait| wait.is_zero())
            || beating.level != Some(self.level())
            || self.wants_ballast()
            || self.ledger_is_large()
    }

    fn next_beat(&self, beating: &Beating) -> Duration {
        let now = self.world.monotonic();
        let commits = self.commits();
        let mut next = Duration::from_secs(3600);
        if commits > beating.commits {
            next = next.min(self.settings.beat_after);
        }
        if let Some(wait) = self.upkeep.steps.next_retry(now, commits) {
            next = next.min(wait.max(Duration::from_millis(100)));
        }
        let policy = self.upkeep_policy();
        let has_doubts = self.has_losses() || self.strays_possible.load(Ordering::Acquire);
        if beating.level != Some(Level::Ample) || self.ballast().bytes() < policy.ballast_bytes || has_doubts {
            next = next.min(LOOK_INTERVAL);
        }
        next
    }

    fn wants_ballast(&self) -> bool {
        let policy = self.upkeep_policy();
        let missing = policy.ballast_bytes.saturating_sub(self.ballast().bytes());
        let may_try = self.upkeep.steps.streak(Step::Ballast) == 0;
        missing > 0
            && may_try
            && self.index_volume().is_some_and(|volume| policy.watermarks.has_room_for_ballast(&volume, missing))
    }

    /// Only the file system is asked: many free pages are found by the next round.
    fn ledger_is_large(&self) -> bool {
        self.upkeep.steps.streak(Step::Ledger) == 0
            && self.ledger().log_bytes() > self.settings.upkeep.ledger_slack_bytes
    }

    /// Tells why the live generation has to be replaced, unless it was a moment ago.
    fn cause(&self, beating: &Beating) -> Option<Cause> {
        let now = self.world.monotonic();
        if beating.rebuilt_at.is_some_and(|at| now < at + beating.rebuild_wait) {
            return None;
        }
        if self.rebuild_wanted.load(Ordering::Acquire) {
            return Some(Cause::Damaged);
        }
        self.has_other_model().then_some(Cause::OtherModel)
    }

    /// Tells whether pieces pile up because merging goes on failing.
    fn is_piling_up(&self, index: &IndexSeen) -> bool {
        self.upkeep.steps.streak(Step::Compact) >= UNMERGED_FAILURES && index.info.fragments >= UNMERGED_PIECES
    }

    fn observe(self: &Arc<Self>, beating: &Beating) -> Observation {
        let now = self.world.monotonic();
        let index = self.look_at_index();
        let ledger = self.look_at_ledger_size();
        // What did not answer now is not known.
        let current = index.value.as_ref().filter(|_| index.age.is_none());
        let whole = self.whole(current);
        let size = ledger.value.unwrap_or_default();
        let over = self.upkeep.over_bound_rounds.load(Ordering::Acquire);
        let may_rebuild = beating.rebuilt_at.is_none_or(|at| now >= at + beating.rebuild_wait);
        let (descriptors_used, descriptors_max) = evermark_store::space::descriptors();
        Observation {
            volume: self.index_volume(),
            is_first: !beating.has_begun,
            commits: self.commits().saturating_sub(beating.commits),
            space_was_refused: self.upkeep.space_was_refused.load(Ordering::Acquire),
            index: current.map(IndexSeen::weight),
            due: current.and_then(|seen| seen.due.as_ref()).map(|due| (due.pieces, due.bytes)),
            total_bytes: whole.total_bytes,
            live_bytes: Self::live_bytes(current, Some(&size)),
            ledger_wal_bytes: size.wal_bytes,
            ledger_free_bytes: size.free_bytes,
            ballast_bytes: self.ballast().bytes(),
            debris: self.debris(),
            has_losses: self.has_losses(),
            cause: self.cause(beating).or_else(|| {
                let piles_up = may_rebuild && current.is_some_and(|seen| self.is_piling_up(seen));
                piles_up.then_some(Cause::Unmerged)
            }),
            over_bound_rounds: if beating.generation_is_over && may_rebuild { over } else { 0 },
            descriptors_used: descriptors_used.unwrap_or(0),
            descriptors_max,
            failed: self.upkeep.steps.failed(),
            beside_found_no_room: self.upkeep.steps.last_failed_for(Step::Rebuild) == Some(ErrorKind::NoSpace),
            waiting: self.upkeep.steps.waiting(now, self.commits()),
        }
    }

    /// Makes one round. Returns whether there is more of the same to do.
    fn beat(self: &Arc<Self>, beating: &mut Beating) -> bool {
        let level = self.level();
        if beating.level.is_some_and(|before| before > level) {
            // There is room again: what failed is tried at once.
            self.upkeep.steps.hasten();
        } else if self.upkeep.space_was_refused.load(Ordering::Acquire) {
            // Somebody needs some: what frees is tried at once.
            self.upkeep.steps.hasten_freeing();
        }
        let seen = self.observe(beating);
        let policy = self.upkeep_policy();
        let plan = plan(&seen, &policy);
        self.upkeep.steps.forgive(|step| match step {
            Step::Compact => seen.index.is_some() && seen.due.is_none(),
            Step::Repair => !seen.has_losses,
            Step::Rebuild => {
                !self.rebuild_wanted.load(Ordering::Acquire)
                    && !self.has_other_model()
                    && self.upkeep.over_bound_rounds.load(Ordering::Acquire) == 0
            }
            Step::Release | Step::Janitor | Step::Reclaim | Step::Ledger | Step::Ballast | Step::Measure => false,
        });
        beating.has_begun = true;
        beating.level = Some(plan.level);
        beating.commits = self.commits();
        self.upkeep.is_wanted.store(false, Ordering::Release);
        self.upkeep.space_was_refused.store(false, Ordering::Release);
        let mut has_more = false;
        for planned in &plan.steps {
            // Whoever waits for the end of the process waits for what frees, not for what could be done as well.
            if self.is_closing() && matches!(planned.step, Step::Repair | Step::Ballast | Step::Rebuild) {
                continue;
            }
            tracing::debug!(step = planned.step.name(), reason = planned.reason, "upkeep");
            let ballast_bytes = policy.ballast_bytes;
            let taken = match planned.step {
                Step::Release => self.take_step(Step::Release, |inner, _| {
                    Ok(Done { freed_bytes: inner.release_ballast()?, ..Done::default() })
                }),
                Step::Janitor => self.take_step(Step::Janitor, |inner, _| inner.clear_debris()),
                Step::Reclaim => self.take_step(Step::Reclaim, |inner, _| inner.reclaim()),
                Step::Compact => self.take_step(Step::Compact, |inner, alive| inner.compact_some(alive)),
                Step::Ledger => self.take_step(Step::Ledger, |inner, _| {
                    let before = inner.ledger().size_bytes();
                    inner.ledger().tidy()?;
                    let freed_bytes = before.saturating_sub(inner.ledger().size_bytes());
                    Ok(Done { freed_bytes, ..Done::default() })
                }),
                Step::Repair => self.take_step(Step::Repair, |inner, alive| inner.repair(alive)),
                Step::Ballast => self.take_step(Step::Ballast, move |inner, _| {
                    inner.ballast().make(inner.world.as_ref(), ballast_bytes)?;
                    Ok(Done { written_bytes: ballast_bytes, ..Done::default() })
                }),
                Step::Measure => self.measure(beating),
                Step::Rebuild => self.rebuild_step(beating, plan.rebuild),
            };
            has_more |= taken.is_ok_and(|done| done.has_more);
        }
        self.keep_budget();
        self.upkeep.beats.fetch_add(1, Ordering::AcqRel);
        self.upkeep.beat_ms.store(millis(self.world.monotonic()).max(1), Ordering::Release);
        self.tasks.indexer.ring();
        has_more && !self.is_closing()
    }

    /// Removes what no version in use names.
    pub(crate) fn reclaim(&self) -> Result<Done, Error> {
        let reclaimed = self.noticing_damage(self.live().index.reclaim().map_err(Error::from))?;
        if reclaimed.bytes > 0 {
            self.upkeep.gate.space_was_freed();
        }
        Ok(Done { freed_bytes: reclaimed.bytes, ..Done::default() })
    }

    /// Merges a few groups, and removes what they replaced.
    fn compact_some(&self, alive: &Alive) -> Result<Done, Error> {
        let mut done = Done::default();
        for round in 1..=GROUPS_PER_ROUND {
            let live = self.live();
            let merged = match live.index.compact() {
                Err(error) if error.kind() == ErrorKind::Corrupt && !self.compact_is_beyond_repair() => {
                    return Err(error.into());
                }
                merged => self.noticing_damage(merged.map_err(Error::from))?,
            };
            alive.touch();
            match merged {
                Merge::NothingDue => break,
                Merge::NoRoom { wanted_bytes } => {
                    let message = format!("merging needs {wanted_bytes} bytes that the index's budget has no room for");
                    return Err(evermark_core::index::IndexError::new(ErrorKind::NoSpace, message).into());
                }
                Merge::Done { bytes_written, .. } => {
                    done.written_bytes += bytes_written;
                    done.freed_bytes += self.reclaim()?.freed_bytes;
                    done.has_more = round == GROUPS_PER_ROUND;
                }
            }
        }
        Ok(done)
    }

    /// One damaged piece is the index's own to find and take out. When merging goes on failing, the whole is made anew.
    fn compact_is_beyond_repair(&self) -> bool {
        self.upkeep.steps.streak(Step::Compact) + 1 >= COMPACT_DAMAGED_MAX
    }

    /// Compares what is there with the bound.
    fn measure(self: &Arc<Self>, beating: &mut Beating) -> Result<Done, crate::maintenance::StepFailure> {
        let budget = self.upkeep_policy().budget;
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let measured = self.take_step(Step::Measure, move |inner, _| {
            let index = inner.look_at_index();
            let size = inner.look_at_ledger_size();
            if let Some(problem) = &index.problem {
                let message = format!("the index does not say what it weighs: {problem}");
                return Err(evermark_core::index::IndexError::new(ErrorKind::Unavailable, message).into());
            }
            let index = index.value;
            let whole = inner.whole(index.as_ref());
            let live = Self::live_bytes(index.as_ref(), size.value.as_ref());
            let is_over = assess(whole.total_bytes, live, &budget).is_over;
            let own =
                index.is_some_and(|seen| seen.info.bound_bytes.is_some_and(|bound| seen.info.allocated_bytes > bound));
            answer.send((is_over, own)).ok();
            Ok(Done::default())
        });
        if let Ok((is_over, own)) = answered.try_recv() {
            beating.generation_is_over = own;
            let rounds = self.upkeep.over_bound_rounds.load(Ordering::Acquire);
            let rounds = if is_over { rounds.saturating_add(1) } else { 0 };
            self.upkeep.over_bound_rounds.store(rounds, Ordering::Release);
            if is_over {
                // Two in a row make a new generation: the second must not wait for the next commit.
                self.upkeep.is_wanted.store(rounds < self.settings.upkeep.over_bound_rounds_max, Ordering::Release);
                self.tasks.beat.ring();
            }
        }
        measured
    }

    fn rebuild_step(
        self: &Arc<Self>,
        beating: &mut Beating,
        how: Option<Rebuild>,
    ) -> Result<Done, crate::maintenance::StepFailure> {
        let how = how.unwrap_or(Rebuild::Beside);
        let done = self.take_step(Step::Rebuild, move |inner, alive| {
            let report = inner.rebuild_as(how, &mut |_| alive.touch())?;
            tracing::info!(?report, "a new generation of the index is live");
            Ok(Done::default())
        });
        if done.is_ok() {
            // The same again and again would be a loop of rewriting.
            let wait = if beating.rebuild_wait.is_zero() { REBUILD_INTERVAL } else { beating.rebuild_wait * 2 };
            beating.rebuild_wait = wait.min(REBUILD_INTERVAL_MAX);
            beating.rebuilt_at = Some(self.world.monotonic());
            beating.generation_is_over = false;
            self.upkeep.over_bound_rounds.store(0, Ordering::Release);
        }
        done
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
