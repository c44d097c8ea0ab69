//! Upkeep by hand: prune, compact, inspect. The same steps as the beat's, taken now, each failing by itself.

use crate::engine::Inner;
use crate::error::Error;
use crate::maintenance::{CompactReport, PruneReport, StepFailure};
use crate::space::IndexSeen;
use crate::status::ProgressMark;
use crate::steps::Done;
use evermark_core::error::ErrorKind;
use evermark_core::index::{Inspection, Merge};
use evermark_core::maintenance::plan::Step;
use evermark_core::maintenance::space::Level;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Groups that one call merges at most. More than a hundred gigabytes are in so many.
const GROUPS_MAX: u64 = 4096;

impl Inner {
    /// Removes what no version in use needs, and what belongs to nothing.
    pub(crate) fn prune(
        self: &Arc<Self>,
        dry_run: bool,
        progress: &mut dyn FnMut(ProgressMark),
    ) -> Result<PruneReport, Error> {
        const TOTAL: u64 = 3;
        let before = self.look_at_index().value;
        let mut report =
            PruneReport { dry_run, before_bytes: self.whole(before.as_ref()).total_bytes, ..PruneReport::default() };
        if dry_run {
            let info = before.as_ref().map(|seen| &seen.info);
            report.versions = info.map_or(0, |info| info.versions.saturating_sub(1));
            report.freed_bytes = info.map_or(0, |info| info.orphan_bytes);
            report.after_bytes = report.before_bytes.saturating_sub(report.freed_bytes);
            return Ok(report);
        }
        let steps: [(Step, Work); 2] =
            [(Step::Janitor, |inner| inner.clear_debris()), (Step::Reclaim, |inner| inner.reclaim())];
        for (done, (step, work)) in steps.into_iter().enumerate() {
            progress(ProgressMark { done: done as u64, total: TOTAL });
            match self.take_step_in_turn(step, move |inner, _| work(inner)) {
                Ok(done) => report.freed_bytes += done.freed_bytes,
                Err(failure) => report.failures.push(failure),
            }
        }
        // Emptying the log needs space of its own: at a full disk it is left for later.
        if self.level() != Level::Out {
            progress(ProgressMark { done: 2, total: TOTAL });
            let tidied = self.take_step_in_turn(Step::Ledger, |inner, _| {
                let before = inner.ledger().size_bytes();
                inner.ledger().tidy()?;
                Ok(Done { freed_bytes: before.saturating_sub(inner.ledger().size_bytes()), ..Done::default() })
            });
            match tidied {
                Ok(done) => report.freed_bytes += done.freed_bytes,
                Err(failure) => report.failures.push(failure),
            }
        }
        progress(ProgressMark { done: TOTAL, total: TOTAL });
        let after = self.look_at_index().value;
        report.after_bytes = self.whole(after.as_ref()).total_bytes;
        let versions = |seen: &Option<IndexSeen>| seen.as_ref().map_or(0, |seen| seen.info.versions);
        report.versions = versions(&before).saturating_sub(versions(&after));
        self.keep_budget();
        self.tasks.indexer.ring();
        Ok(report)
    }

    /// Prunes, then merges until nothing is due.
    pub(crate) fn compact(
        self: &Arc<Self>,
        dry_run: bool,
        progress: &mut dyn FnMut(ProgressMark),
    ) -> Result<CompactReport, Error> {
        let seen = self.look_at_index().value;
        let mut report =
            CompactReport { dry_run, before_bytes: self.whole(seen.as_ref()).total_bytes, ..CompactReport::default() };
        let level = self.level();
        if level != Level::Ample {
            report.held = Some(format!(
                "nothing is rewritten while free space is {}: free some, and `evermark index prune` first",
                level.name()
            ));
        }
        if dry_run {
            if let Some(due) = seen.as_ref().and_then(|seen| seen.due.as_ref()) {
                (report.groups, report.pieces, report.read_bytes) = (1, due.pieces, due.bytes);
            }
            report.freed_bytes = seen.as_ref().map_or(0, |seen| seen.info.orphan_bytes + seen.info.dead_bytes);
            report.after_bytes = report.before_bytes.saturating_sub(report.freed_bytes);
            return Ok(report);
        }
        let pruned = self.prune(false, &mut |_| {})?;
        report.freed_bytes = pruned.freed_bytes;
        report.failures = pruned.failures;
        while report.held.is_none() && report.groups < GROUPS_MAX {
            progress(ProgressMark { done: report.groups, total: report.groups + 1 });
            let (answer, answered) = std::sync::mpsc::sync_channel(1);
            let taken = self.take_step(Step::Compact, move |inner, _| {
                let merged = inner.live().index.compact()?;
                let freed_bytes = inner.reclaim()?.freed_bytes;
                let written_bytes = match merged {
                    Merge::Done { bytes_written, .. } => bytes_written,
                    Merge::NothingDue | Merge::NoRoom { .. } => 0,
                };
                answer.send(merged).ok();
                Ok(Done { freed_bytes, written_bytes, has_more: false })
            });
            match taken {
                Ok(done) => report.freed_bytes += done.freed_bytes,
                Err(failure) => {
                    report.failures.push(failure);
                    break;
                }
            }
            match answered.try_recv() {
                Ok(Merge::Done { pieces, bytes_read, bytes_written, quarantined }) => {
                    report.groups += 1;
                    report.pieces += pieces;
                    report.read_bytes += bytes_read;
                    report.written_bytes += bytes_written;
                    report.quarantined += quarantined;
                }
                Ok(Merge::NoRoom { wanted_bytes }) => {
                    report.held =
                        Some(format!("the next group needs {wanted_bytes} bytes that the bound has no room for"));
                }
                Ok(Merge::NothingDue) | Err(_) => break,
            }
        }
        progress(ProgressMark { done: report.groups, total: report.groups });
        if report.quarantined > 0 {
            self.upkeep.is_wanted.store(true, Ordering::Release);
            self.tasks.beat.ring();
        }
        report.after_bytes = self.whole(self.look_at_index().value.as_ref()).total_bytes;
        self.keep_budget();
        Ok(report)
    }

    /// Reads every piece of the index; rows of those that were taken out are written again.
    pub(crate) fn inspect(self: &Arc<Self>, progress: &mut dyn FnMut(ProgressMark)) -> Result<Inspection, Error> {
        let found = self.live().index.inspect(&mut |done, total| progress(ProgressMark { done, total }));
        let inspection = self.noticing_damage(found.map_err(Error::from))?;
        if self.has_losses() {
            self.take_step(Step::Repair, |inner, alive| inner.repair(alive)).map_err(failed)?;
            self.tasks.beat.ring();
        }
        Ok(inspection)
    }
}

type Work = fn(&Arc<Inner>) -> Result<Done, Error>;

/// Returns a step's failure as a verb's.
fn failed(failure: StepFailure) -> Error {
    match failure.kind {
        ErrorKind::NoSpace => Error::Paused(failure.message),
        kind => evermark_core::index::IndexError::new(kind, failure.message).into(),
    }
}
