//! What the index weighs, and what looking after it did.

use crate::output::{Out, note, one_line, size, span, tame};
use evermark_server::api::index::{IndexItem, StepItem, TableItem, VolumeItem};
use evermark_server::api::status::{ReasonItem, VerdictName};
use evermark_server::api::work::FailureItem;
use evermark_server::api::{CompactData, InspectData, PlanData, PruneData};

/// The bound first, then where the bytes are, then how upkeep does.
pub(crate) fn status(index: &IndexItem, generation: &str, daemon: Option<&str>, reasons: &[ReasonItem], out: &mut Out) {
    let paint = out.paint;
    let source = daemon.map_or_else(|| "no daemon: as the files tell".to_owned(), |at| format!("daemon at {at}"));
    let budget = &index.budget;
    let within = if index.allocated_bytes <= budget.bound_bytes { paint.green("within") } else { paint.red("ABOVE") };
    out.line(format_args!(
        "{} on disk, {within} the bound of {} ({source})",
        paint.bold(size(index.allocated_bytes)),
        size(budget.bound_bytes),
    ));
    let cap = budget.cap_bytes.map_or_else(String::new, |cap| format!(", never above {}", size(cap)));
    out.line(format_args!(
        "bound      {} × {} live + {}{cap}; headroom {}",
        budget.ratio,
        size(budget.live_bytes),
        size(budget.slack_bytes),
        size(budget.headroom_bytes),
    ));
    out.line(format_args!(
        "bytes      {} live, {} of them dead; {} orphan, {} held by readers, {} deleted and still open, {} other",
        size(index.live_bytes),
        size(index.dead_bytes),
        size(index.orphan_bytes),
        size(index.held_bytes),
        size(index.deleted_open_bytes),
        size(index.other_bytes),
    ));
    index.tables.iter().for_each(|one| table(one, one.generation == generation, out));
    let ledger = &index.ledger;
    out.line(format_args!(
        "ledger     {}: {} used, {} free, {} log",
        size(ledger.allocated_bytes),
        size(ledger.used_bytes),
        size(ledger.free_bytes),
        size(ledger.wal_bytes),
    ));
    let ballast = &index.ballast;
    out.line(format_args!(
        "ballast    {} of {}, given back {} times",
        size(ballast.bytes),
        size(ballast.wanted_bytes),
        ballast.released_times
    ));
    let ratio = index.index_to_markdown_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
    out.line(format_args!(
        "markdown   {} in {} files; the index has {ratio} times that",
        size(index.markdown_bytes),
        index.markdown_files
    ));
    index.volumes.iter().for_each(|one| volume(one, out));
    if let (Some(used), Some(limit)) = (index.descriptors.used, index.descriptors.limit) {
        out.line(format_args!("files      {used} of {limit} descriptors in use"));
    }
    if let Some(pause) = &index.paused {
        let since = span(pause.since_ms);
        out.line(format_args!(
            "{} for {since}: {} ({})",
            paint.red("writes are paused"),
            tame(&pause.message),
            pause.why
        ));
    }
    let age = index.last_beat_age_ms.map_or_else(String::new, |age| format!(", the last {} ago", span(age)));
    if daemon.is_some() {
        out.line(format_args!("upkeep     {} rounds{age}", index.beats));
    }
    index.steps.iter().filter(|one| one.runs > 0 || one.running_ms.is_some()).for_each(|one| step(one, out));
    for piece in &index.quarantine {
        let (name, reason) = (tame(&piece.name), one_line(&piece.reason, 160));
        out.line(format_args!("  {} {name} was taken out with {} rows: {reason}", paint.yellow("!"), piece.rows));
    }
    for stuck in index.loops.iter().filter(|one| one.is_stuck) {
        let ticking = span(stuck.ticking_ms.unwrap_or(0));
        out.line(format_args!("  {} loop {} is in one round for {ticking}", paint.red("!"), stuck.name));
    }
    for reason in reasons {
        let mark = if reason.verdict == VerdictName::Failing { paint.red("!") } else { paint.yellow("!") };
        out.line(format_args!("  {mark} {} ({})", tame(reason.message.as_deref().unwrap_or_default()), reason.code));
        if let Some(hint) = &reason.hint {
            out.line(format_args!("    {}", tame(hint)));
        }
    }
}

fn table(table: &TableItem, is_live: bool, out: &mut Out) {
    let stray = if is_live { "" } else { ", not the live generation" };
    let readers = match table.readers {
        0 => String::new(),
        n => format!(", {n} readers, the oldest for {}", span(table.oldest_reader_ms.unwrap_or(0))),
    };
    out.line(format_args!(
        "table      {} in {}: {} rows, {}, {} versions, {} fragments, {} rows not yet durable{readers}{stray}",
        if table.name.is_empty() { "-" } else { &table.name },
        tame(&table.generation),
        table.rows,
        size(table.allocated_bytes),
        table.versions,
        table.fragments,
        table.pending_rows,
    ));
}

fn volume(volume: &VolumeItem, out: &mut Out) {
    let level = match volume.level.as_str() {
        "ample" => out.paint.green("ample"),
        "low" => out.paint.yellow("low: nothing is rewritten"),
        _ => out.paint.red("out: the index takes no writes"),
    };
    if volume.is_unknown {
        return out.line(format_args!("space      the volume of {} does not say", tame(&volume.path)));
    }
    let inodes = match volume.total_inodes {
        0 => String::new(),
        total => format!(", {} of {total} inodes", volume.free_inodes),
    };
    let read_only = if volume.is_read_only { ", mounted read-only" } else { "" };
    out.line(format_args!(
        "space      {level}: {} of {}{inodes} free under {}{read_only} (low {}, out {})",
        size(volume.free_bytes),
        size(volume.total_bytes),
        tame(&volume.path),
        size(volume.low_bytes),
        size(volume.out_bytes),
    ));
}

fn step(step: &StepItem, out: &mut Out) {
    let last =
        step.last_success_age_ms.map_or_else(|| "never done".to_owned(), |age| format!("done {} ago", span(age)));
    let streak = match step.streak {
        0 => String::new(),
        n => format!(", {}", out.paint.red(format_args!("failed {n} times in a row"))),
    };
    let hung = if step.is_hung { format!(", {}", out.paint.red("hangs")) } else { String::new() };
    out.line(format_args!(
        "  {:8} {last}; {} runs, {} failed{streak}{hung}; {} freed, {} written",
        step.step,
        step.runs,
        step.failures,
        size(step.freed_bytes),
        size(step.written_bytes),
    ));
    if let Some(error) = step.last_error.as_ref().filter(|_| step.streak > 0) {
        out.line(format_args!(
            "             {} ({} ago): {}",
            error.class,
            span(error.age_ms),
            one_line(&error.message, 200)
        ));
    }
}

/// What the next round of upkeep would do.
pub(crate) fn plan(plan: &PlanData, out: &mut Out) {
    let paint = out.paint;
    out.line(format_args!("room on the disk: {}", plan.level));
    if plan.steps.is_empty() && plan.held.is_empty() {
        out.line(paint.green("nothing is due"));
    }
    for planned in &plan.steps {
        let how = match plan.rebuild.as_deref().filter(|_| planned.step == "rebuild") {
            Some("in_place") => " (in place of the old one)",
            Some(_) => " (beside the old one)",
            None => "",
        };
        out.line(format_args!("{}  {:8} {}{how}", paint.green("do  "), planned.step, tame(&planned.reason)));
    }
    for planned in &plan.held {
        out.line(format_args!("{}  {:8} {}", paint.yellow("hold"), planned.step, tame(&planned.reason)));
    }
}

/// What `index prune` did.
pub(crate) fn pruned(done: &PruneData, out: &mut Out) {
    let verb = if done.dry_run { "would free" } else { "freed" };
    out.line(format_args!(
        "{verb} {}: {} before, {} after; {} old versions",
        out.paint.bold(size(done.freed_bytes)),
        size(done.before_bytes),
        size(done.after_bytes),
        done.versions,
    ));
    failures(&done.failures, out);
}

/// What `index compact` did.
pub(crate) fn compacted(done: &CompactData, out: &mut Out) {
    let verb = if done.dry_run { "would merge" } else { "merged" };
    out.line(format_args!(
        "{verb} {} pieces in {} groups ({} read, {} written); {} before, {} after",
        done.pieces,
        done.groups,
        size(done.read_bytes),
        size(done.written_bytes),
        size(done.before_bytes),
        size(done.after_bytes),
    ));
    if done.quarantined > 0 {
        let n = done.quarantined;
        out.line(format_args!(
            "  {} {n} damaged pieces were taken out; their rows are written again",
            out.paint.yellow("!")
        ));
    }
    if let Some(held) = &done.held {
        out.line(format_args!("  {} {}", out.paint.yellow("!"), tame(held)));
    }
    failures(&done.failures, out);
}

fn failures(all: &[FailureItem], out: &mut Out) {
    for failure in all {
        let (mark, text) = (out.paint.red("!"), tame(&failure.message));
        out.line(format_args!("  {mark} {} failed ({}): {text}", failure.step, failure.class));
    }
}

/// What reading every piece came to, before the comparison that is the answer.
pub(crate) fn inspected(found: &InspectData) {
    note(format_args!(
        "read {} pieces, {} rows, {}; {} damaged pieces were taken out",
        found.pieces,
        found.rows,
        size(found.bytes),
        found.quarantined.len()
    ));
    for piece in &found.quarantined {
        note(format_args!("  {} with {} rows: {}", tame(&piece.name), piece.rows, one_line(&piece.reason, 200)));
    }
}
