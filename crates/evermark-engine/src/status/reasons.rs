//! The reasons for a verdict: what is wrong, in words a person can act on, and the command that helps.
//!
//! Each is found by a function of its own. docs/operations.md lists all codes.

use super::{Reason, Status, Verdict};
use crate::engine::Inner;
use crate::maintenance::{Maintenance, StepStatus, Why, Writes};
use evermark_core::error::ErrorKind;
use evermark_core::maintenance::plan::Step;
use evermark_core::maintenance::space::Level;
use std::time::Duration;

/// A sweep is overdue when it is later than so many intervals, and so much more.
const SWEEP_INTERVALS: u32 = 3;
const SWEEP_GRACE: Duration = Duration::from_secs(60);
/// A lease that ended this long ago should have been noticed.
const LEASE_GRACE: Duration = Duration::from_secs(300);
/// Fewer descriptors than this make everything slower; a larger share of them in use is close to running out.
const DESCRIPTORS_LOW: u64 = 256;
const DESCRIPTORS_HIGH_PERCENT: u64 = 80;
/// A missing reserve matters when free space is below so many times of it.
const BALLAST_TIMES: u64 = 16;

/// What was seen beside the status itself.
pub(super) struct Seen {
    /// Why removals are held back.
    pub(super) held: Option<String>,
    /// How long ago the first lease ended that nobody noticed.
    pub(super) overdue: Option<Duration>,
    /// Why ledger and index did not answer.
    pub(super) books: Option<String>,
    pub(super) index: Option<String>,
}

/// Collects reasons.
struct Reasons(Vec<Reason>);

impl Reasons {
    fn add(&mut self, verdict: Verdict, code: &'static str, message: String, hint: Option<&str>) {
        self.0.push(Reason { verdict, code, message, hint: hint.map(str::to_owned) });
    }

    fn degraded(&mut self, code: &'static str, message: String, hint: Option<&str>) {
        self.add(Verdict::Degraded, code, message, hint);
    }

    fn failing(&mut self, code: &'static str, message: String, hint: Option<&str>) {
        self.add(Verdict::Failing, code, message, hint);
    }
}

impl Inner {
    /// Finds the reasons, and the verdict that follows from them.
    pub(super) fn judge(&self, status: &mut Status, seen: Seen) {
        let mut reasons = Reasons(Vec::new());
        self.of_files(status, &seen, &mut reasons);
        self.of_loops(status, &seen, &mut reasons);
        self.of_index(status, &seen, &mut reasons);
        of_space(&status.maintenance, &mut reasons);
        of_steps(&status.maintenance.steps, &mut reasons);
        of_descriptors(&status.maintenance, &mut reasons);
        of_provider(status, &mut reasons);
        status.verdict = reasons.0.iter().map(|reason| reason.verdict).max().unwrap_or(Verdict::Ok);
        status.reasons = reasons.0;
    }

    fn of_files(&self, status: &Status, seen: &Seen, reasons: &mut Reasons) {
        if let Err(error) = self.still_ours() {
            reasons.failing(
                "root_lost",
                format!("{error}; nothing is written meanwhile"),
                Some("bring its volume back; if another process took the root over, stop one of them"),
            );
        }
        if let Some(held) = &seen.held {
            reasons.failing(
                "mass_delete_held",
                format!("{held}; their memories stay searchable until you decide"),
                Some("bring the files back, or run `evermark sync --allow-mass-delete`"),
            );
        }
        for (class, count, message) in &status.queue.errors {
            reasons.degraded(
                "files_failing",
                format!("{count} files wait after `{class}`: {message}"),
                Some("they are tried again by themselves; `evermark sync` tries at once"),
            );
        }
        if status.queue.parked > 0 {
            reasons.degraded(
                "files_parked",
                format!("{} files cannot be understood and keep their last good memories", status.queue.parked),
                Some("mend the files that `evermark status --json` lists under findings"),
            );
        }
        if status.findings_total > 0 {
            reasons.degraded(
                "findings",
                format!("{} problems in files; everything else in them is used", status.findings_total),
                Some("evermark status --json lists them"),
            );
        }
        let limit = self.settings.sweep_interval * SWEEP_INTERVALS + SWEEP_GRACE;
        let age = status.last_sweep_age_ms.unwrap_or(status.uptime_ms);
        if !status.maintenance.loops.is_empty() && Duration::from_millis(age) > limit {
            reasons.failing(
                "sweep_overdue",
                format!(
                    "the files were last looked at {} s ago, and should be every {} s",
                    age / 1000,
                    self.settings.sweep_interval.as_secs()
                ),
                Some("read the log for the reason; `evermark sync` looks at once"),
            );
        }
        if let Some(reason) = status.watcher.strip_prefix("degraded: ") {
            reasons.degraded(
                "watcher_down",
                format!("edits are found by sweeping only: {reason}"),
                Some("raise fs.inotify.max_user_watches, or live with the sweep's interval"),
            );
        }
    }

    fn of_loops(&self, status: &Status, seen: &Seen, reasons: &mut Reasons) {
        for (task, ailment) in self.ailments.all() {
            let (verdict, code) = match (ailment.panicked, ailment.kind) {
                (true, _) => (Verdict::Failing, "task_panicked"),
                (false, ErrorKind::NoSpace) => (Verdict::Failing, "no_space"),
                (false, ErrorKind::Corrupt) => (Verdict::Failing, "corrupt"),
                (false, _) => (Verdict::Degraded, "task_failing"),
            };
            let age_s = (self.world.now_us() - ailment.since_us) / 1_000_000;
            let hint = match code {
                "task_panicked" => Some("please report this, with the log"),
                "no_space" => Some("free some space; `evermark index prune` may help"),
                "corrupt" => Some("evermark index rebuild"),
                _ => None,
            };
            let message = format!("{task}: {} ({} times in {age_s} s)", ailment.message, ailment.count);
            reasons.add(verdict, code, message, hint);
        }
        for stuck in status.maintenance.loops.iter().filter(|one| one.is_stuck) {
            reasons.failing(
                "loop_stuck",
                format!("the {} loop has been in one round for {} s", stuck.name, stuck.ticking_ms.unwrap_or(0) / 1000),
                Some("restart the daemon; nothing that was acknowledged is lost"),
            );
        }
        let is_paused = matches!(status.maintenance.writes, Writes::Paused(_));
        if let Some(overdue) = seen.overdue.filter(|overdue| *overdue > LEASE_GRACE && !is_paused) {
            reasons.failing(
                "job_stuck",
                format!("a file has been in work without an end since {} s after its time was up", overdue.as_secs()),
                Some("restart the daemon; the file is indexed again"),
            );
        }
    }

    fn of_index(&self, status: &Status, seen: &Seen, reasons: &mut Reasons) {
        let upkeep = &status.maintenance;
        if let Some(problem) = &seen.books {
            let age = upkeep.ledger_age_ms.map_or("never".to_owned(), |age| format!("{} s ago", age / 1000));
            reasons.failing(
                "ledger_unreadable",
                format!("the ledger does not answer ({problem}); what is shown of it was read {age}"),
                Some("evermark doctor"),
            );
        }
        if let Some(problem) = &seen.index {
            let age = upkeep.index_age_ms.map_or("never".to_owned(), |age| format!("{} s ago", age / 1000));
            reasons.failing(
                "index_unreadable",
                format!("the index does not answer ({problem}); what is shown of it was read {age}"),
                Some("evermark index rebuild"),
            );
        }
        if status.rebuilding {
            reasons.degraded(
                "index_rebuilding",
                "a new generation of the index is being built; the old one answers meanwhile".to_owned(),
                None,
            );
        }
        if self.upkeep.is_filling.load(std::sync::atomic::Ordering::Acquire) {
            reasons.degraded(
                "index_filling",
                "the index was made anew in its place; searches find what is in it again already".to_owned(),
                None,
            );
        }
        if upkeep.repair_pending {
            reasons.degraded(
                "quarantine",
                format!(
                    "{} damaged pieces were taken out of the index; their rows are being written again from the Markdown",
                    upkeep.quarantine.len()
                ),
                Some("check the disk; `evermark index verify` tells when all is there"),
            );
        }
        let budget = &upkeep.budget;
        if budget.over_bound_rounds > 0 {
            let verdict = if budget.over_bound_rounds > 1 { Verdict::Failing } else { Verdict::Degraded };
            reasons.add(
                verdict,
                "index_over_bound",
                format!(
                    "{} bytes are allocated under the index, {} may be ({} of them belong to nothing it knows)",
                    upkeep.allocated_bytes, budget.bound_bytes, upkeep.other_bytes
                ),
                Some("evermark index prune"),
            );
        }
        if let Writes::Paused(pause) = &upkeep.writes {
            let (verdict, code, hint) = match pause.why {
                Why::SpaceOut => {
                    (Verdict::Failing, "space_out", "free space on that volume; everything goes on by itself")
                }
                Why::ReadOnly => (Verdict::Failing, "read_only", "mount it writable; everything goes on by itself"),
                Why::CapReached => (
                    Verdict::Failing,
                    "index_cap_reached",
                    "raise `index.bytes_max`, or remove memories; then it goes on",
                ),
                Why::Refused => (Verdict::Failing, "no_space", "free some space; `evermark index prune` may help"),
                Why::Failing => {
                    (Verdict::Degraded, "index_writes_failing", "it is tried again by itself; the log has more")
                }
            };
            let message = format!("{}; {} files wait", pause.message, status.queue.pending);
            reasons.add(verdict, code, message, Some(hint));
        }
    }
}

fn of_space(upkeep: &Maintenance, reasons: &mut Reasons) {
    let volumes = std::iter::once(&upkeep.space.index).chain(&upkeep.space.root);
    for (position, volume) in volumes.enumerate() {
        let free = format!(
            "{} of {} bytes and {} of {} inodes are free on the volume of {}",
            volume.free_bytes, volume.total_bytes, volume.free_inodes, volume.total_inodes, volume.path
        );
        if volume.is_unknown {
            reasons.degraded("space_unknown", format!("the volume of {} does not say what is free", volume.path), None);
        } else if volume.is_read_only {
            // A pause says it already where it is the index's.
            if position > 0 || upkeep.writes == Writes::Going {
                let message = format!("the file system of {} is mounted read-only: nothing can be stored", volume.path);
                reasons.failing("read_only", message, Some("mount it writable; everything goes on by itself"));
            }
        } else {
            match volume.level {
                Level::Ample => {}
                Level::Low => reasons.degraded(
                    "space_low",
                    format!("{free}: nothing is rewritten below {} bytes", volume.low_bytes),
                    Some("free some space there; `evermark index prune` gives back what the index does not need"),
                ),
                Level::Out => {
                    let is_told = matches!(&upkeep.writes, Writes::Paused(pause) if pause.why == Why::SpaceOut);
                    if position > 0 || !is_told {
                        reasons.failing(
                            "space_out",
                            format!("{free}: the index takes no writes below {} bytes", volume.out_bytes),
                            Some("free space there; everything goes on by itself"),
                        );
                    }
                }
            }
        }
    }
    let (ballast, volume) = (&upkeep.ballast, &upkeep.space.index);
    let matters = volume.free_bytes < ballast.wanted_bytes.saturating_mul(BALLAST_TIMES);
    if ballast.bytes < ballast.wanted_bytes && matters && ballast.released_times > 0 {
        reasons.degraded(
            "ballast_missing",
            format!(
                "the {} bytes kept for a full disk were given up, and there is no room for them yet",
                ballast.wanted_bytes
            ),
            Some("free some space; the reserve is made again by itself"),
        );
    }
}

fn of_steps(steps: &[StepStatus], reasons: &mut Reasons) {
    for step in steps {
        let name = step.step.name();
        if step.is_hung {
            reasons.failing(
                "step_hung",
                format!(
                    "{name} has shown no sign of life for {} s and was left alone",
                    step.running_ms.unwrap_or(0) / 1000
                ),
                Some("everything else goes on; restart the daemon to be rid of it"),
            );
        }
        if step.streak == 0 {
            continue;
        }
        let Some(error) = &step.last_error else { continue };
        // What frees space is what the bound hangs on.
        let verdict = match step.step {
            Step::Reclaim | Step::Rebuild if step.streak > 2 => Verdict::Failing,
            _ => Verdict::Degraded,
        };
        let message = format!(
            "{name} failed {} times in a row, the last time {} s ago ({}): {}",
            step.streak,
            error.age_ms / 1000,
            error.kind.name(),
            error.message
        );
        reasons.add(verdict, failing_code(step.step), message, Some(mending(step.step)));
    }
}

fn failing_code(step: Step) -> &'static str {
    match step {
        Step::Release => "release_failing",
        Step::Janitor => "janitor_failing",
        Step::Reclaim => "reclaim_failing",
        Step::Compact => "compact_failing",
        Step::Ledger => "ledger_failing",
        Step::Repair => "repair_failing",
        Step::Ballast => "ballast_failing",
        Step::Measure => "measure_failing",
        Step::Rebuild => "rebuild_failing",
    }
}

fn mending(step: Step) -> &'static str {
    match step {
        Step::Release | Step::Ballast => "remove `.index/evermark/ballast` if it is in the way",
        Step::Janitor | Step::Reclaim => "`evermark index prune` tries now and says what is in the way",
        Step::Compact => "`evermark index compact` tries now; space is reclaimed all the same",
        Step::Ledger => "`evermark doctor` looks at the ledger; removing it costs one pass over the files",
        Step::Repair => "`evermark index verify` names what is missing; `evermark index rebuild` makes all of it anew",
        Step::Measure => "`evermark doctor` looks at the index's folder",
        Step::Rebuild => "`evermark index rebuild` tries now and says what is in the way",
    }
}

fn of_descriptors(upkeep: &Maintenance, reasons: &mut Reasons) {
    let Some(limit) = upkeep.descriptors.limit else { return };
    if limit < DESCRIPTORS_LOW {
        reasons.degraded(
            "descriptors_low",
            format!("this process may open {limit} files at once: it works, slower"),
            Some("raise the limit (`ulimit -n 4096`, LimitNOFILE= in a unit)"),
        );
    }
    if let Some(used) = upkeep.descriptors.used
        && used.saturating_mul(100) > limit.saturating_mul(DESCRIPTORS_HIGH_PERCENT)
    {
        reasons.degraded(
            "descriptors_high",
            format!("{used} of {limit} descriptors are in use"),
            Some("raise the limit (`ulimit -n 4096`, LimitNOFILE= in a unit)"),
        );
    }
}

fn of_provider(status: &Status, reasons: &mut Reasons) {
    if status.embedding.state == "absent" {
        reasons.degraded(
            "model_missing",
            status.embedding.last_error.as_deref().unwrap_or("the model is not there").to_owned(),
            Some("`evermark model fetch OWNER/NAME`, or mend `embedding.model`; then start again"),
        );
    }
    if matches!(status.embedding.state.as_str(), "open" | "half_open") {
        let error = status.embedding.last_error.as_deref().unwrap_or("no details");
        reasons.degraded(
            "provider_down",
            format!("the embedding provider fails: {error}"),
            Some("check [embedding] in the configuration"),
        );
    }
}
