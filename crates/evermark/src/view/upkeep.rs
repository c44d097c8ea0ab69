//! What a root says of itself, and what long work did.

use crate::output::{Out, one_line, size, span, tame};
use evermark_server::api::status::{QueueItem, VerdictName};
use evermark_server::api::{IndexItem, Problem, RebuildData, StatusData, SyncData, VerifyData};

/// Differences and problems shown of each sort; `--json` has all.
const SHOWN_MAX: usize = 20;

/// Health first, with what to do about it; then the figures.
///
/// `daemon` is the address of the one that answered.
pub(crate) fn status(data: &StatusData, daemon: Option<&str>, out: &mut Out) {
    let paint = out.paint;
    let verdict = match data.verdict {
        VerdictName::Ok => paint.green("ok"),
        VerdictName::Degraded => paint.yellow("degraded"),
        VerdictName::Failing => paint.red("failing"),
    };
    let running = match daemon {
        Some(address) => format!("daemon at {address} for {}", span(data.uptime_ms)),
        None => "no daemon".to_owned(),
    };
    out.line(format_args!("{verdict}  {}  {running}", paint.bold(tame(&data.root))));
    for reason in &data.reasons {
        let mark = if reason.verdict == VerdictName::Failing { paint.red("!") } else { paint.yellow("!") };
        let message = reason.message.as_deref().unwrap_or_default();
        out.line(format_args!("  {mark} {} ({})", tame(message), reason.code));
        if let Some(hint) = &reason.hint {
            out.line(format_args!("    {}", tame(hint)));
        }
    }
    let kinds = data.entries.iter().filter(|(_, n)| **n > 0).map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>();
    let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
    out.line(format_args!("memories   {kinds}; {} files", data.files));
    out.line(format_args!("inbox      {} messages of {} sessions", data.inbox_messages, data.inbox_sessions));
    queue(&data.queue, out);
    index(data.index.as_ref(), data, out);
    let embedding = &data.embedding;
    match &embedding.model {
        None => out.line("embedding  none: memories are found by their words"),
        Some(model) => out.line(format_args!(
            "embedding  {}, {} wide: {} calls, {} failed; cache {} in {} entries",
            tame(model),
            embedding.dimension.unwrap_or_default(),
            embedding.calls,
            embedding.failures,
            size(embedding.cache_bytes),
            embedding.cache_entries,
        )),
    }
    if let Some(error) = &embedding.last_error {
        out.line(format_args!("             last failure: {}", one_line(error, 200)));
    }
    for (name, judge) in [("reranker ", &data.rerank), ("llm      ", &data.llm)] {
        let Some(model) = &judge.model else { continue };
        out.line(format_args!("{name}  {}: {} calls, {} failed", tame(model), judge.calls, judge.failures));
        if let Some(error) = &judge.last_error {
            out.line(format_args!("             last failure: {}", one_line(error, 200)));
        }
    }
    let sweep = data.last_sweep_age_ms.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age)));
    out.line(format_args!("watcher    {}; last sweep {sweep}", tame(&data.watcher)));
    problems(&data.findings, data.findings_total, out);
}

fn queue(queue: &QueueItem, out: &mut Out) {
    let oldest = queue.oldest_age_ms.map_or_else(String::new, |age| format!(", the oldest for {}", span(age)));
    let QueueItem { pending, leased, failing, parked, .. } = queue;
    out.line(format_args!(
        "queue      {pending} waiting{oldest}, {leased} running, {failing} failing, {parked} parked"
    ));
    for error in &queue.errors {
        out.line(format_args!("             {} × {}: {}", error.count, error.class, one_line(&error.message, 200)));
    }
}

fn index(index: Option<&IndexItem>, data: &StatusData, out: &mut Out) {
    let rebuilding = if data.rebuilding { ", being rebuilt" } else { "" };
    let Some(index) = index else {
        out.line(format_args!("index      none{rebuilding}"));
        return;
    };
    let bound = match index.budget.bound_bytes {
        0 => String::new(),
        bound => format!(" of {} allowed", size(bound)),
    };
    out.line(format_args!(
        "index      {} on disk{bound}, {} live, {} versions, {} fragments, {} rows not yet durable; {}{rebuilding}",
        size(index.allocated_bytes),
        size(index.live_bytes),
        index.versions,
        index.fragments,
        index.pending,
        tame(&data.generation),
    ));
    out.line(format_args!("             {} of {} held in memory", size(index.view_bytes), size(index.view_bytes_max)));
}

fn problems(problems: &[Problem], total: u64, out: &mut Out) {
    for problem in problems.iter().take(SHOWN_MAX) {
        let entry = problem.entry.as_deref().map_or_else(String::new, |entry| format!(":{entry}"));
        let place = format!("{}{entry}", problem.path);
        out.line(format_args!("  {} {}: {}", out.paint.yellow("!"), tame(&place), tame(&problem.message)));
    }
    let hidden = total.saturating_sub(problems.len().min(SHOWN_MAX) as u64);
    if hidden > 0 {
        out.line(format_args!("  and {hidden} more"));
    }
}

/// What `sync` did.
pub(crate) fn sync(data: &SyncData, out: &mut Out) {
    out.line(format_args!(
        "{} files seen, {} indexed, {} removed; {} rows written, {} removed; {} texts embedded",
        data.files_seen,
        data.files_indexed,
        data.files_removed,
        data.rows_upserted,
        data.rows_removed,
        data.texts_embedded,
    ));
    problems(&data.problems, data.problems.len() as u64, out);
    if let Some(held) = &data.held {
        out.line(format_args!("  {} {}", out.paint.red("!"), tame(held)));
        out.line("    `evermark sync --allow-mass-delete` lets it happen");
    }
}

/// How index and Markdown differ.
pub(crate) fn verify(data: &VerifyData, out: &mut Out) {
    let lists = [
        (&data.missing, "not in the index"),
        (&data.extra, "in the index, not in the Markdown"),
        (&data.different, "in the index, not as the Markdown says"),
    ];
    let n_differences = lists.iter().map(|(list, _)| list.len()).sum::<usize>();
    let verdict = match n_differences {
        0 => out.paint.green("the same"),
        n => out.paint.red(format_args!("{n} differences")),
    };
    out.line(format_args!(
        "{verdict}: {} memories in {} files, {} rows in the index",
        data.memories, data.files, data.rows
    ));
    for (list, what) in lists {
        for memory in list.iter().take(SHOWN_MAX) {
            out.line(format_args!("  {what}: {}", tame(memory)));
        }
        if list.len() > SHOWN_MAX {
            out.line(format_args!("  {what}: {} more", list.len() - SHOWN_MAX));
        }
    }
    problems(&data.problems, data.problems.len() as u64, out);
}

/// What `index rebuild` did.
pub(crate) fn rebuild(data: &RebuildData, out: &mut Out) {
    out.line(format_args!(
        "{} is live: {} rows of {} files, {} texts embedded, in {}",
        tame(&data.generation),
        data.rows,
        data.files,
        data.texts_embedded,
        span(data.took_ms),
    ));
}
