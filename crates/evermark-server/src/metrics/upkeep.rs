//! The index on the page: its bytes and their bound, its steps, the disk, the descriptors, the loops.

use super::{Page, flag};
use crate::api::IndexItem;
use crate::api::index::{StepItem, TableItem, VolumeItem};

/// States that a volume may be in, and reasons why writes may be paused: each has a series, so that an alert can end.
const LEVELS: [&str; 3] = ["ample", "low", "out"];
const PAUSES: [&str; 5] = ["space_out", "read_only", "index_cap_reached", "refused", "failing"];

/// A family of samples: its name, its help, and what one of many things shows in it.
type Figure<T> = (&'static str, &'static str, fn(&T) -> f64);

pub(super) fn render(page: &mut Page, index: &IndexItem) {
    bytes(page, index);
    page.family("evermark_index_cap_bytes", "gauge", "The hard limit; absent without one.");
    if let Some(cap) = index.budget.cap_bytes {
        page.sample("evermark_index_cap_bytes", &[], cap as f64);
    }
    tables(page, &index.tables);
    steps(page, &index.steps);
    room(page, index);
    loops(page, index);
    page.family("evermark_index_rows", "gauge", "Rows in the index, by kind.");
    for (kind, count) in &index.rows {
        page.sample("evermark_index_rows", &[("kind", kind)], *count as f64);
    }
    page.single("evermark_index_answers", "gauge", "Whether the index answered in time.", flag(index.answers));
    page.single("evermark_index_versions", "gauge", "Versions of the index kept.", index.versions as f64);
    page.single("evermark_index_fragments", "gauge", "Pieces the index is made of.", index.fragments as f64);
    page.single("evermark_index_unflushed_rows", "gauge", "Rows accepted, not yet durable.", index.pending as f64);
    page.single("evermark_view_bytes", "gauge", "Bytes in memory for owners in use.", index.view_bytes as f64);
    page.single("evermark_view_bytes_max", "gauge", "Limit of evermark_view_bytes.", index.view_bytes_max as f64);
}

fn bytes(page: &mut Page, index: &IndexItem) {
    let name = "evermark_index_bytes";
    page.family(name, "gauge", "Bytes of disk: allocated is all below the index's folder and never exceeds the bound.");
    let states = [
        ("allocated", index.allocated_bytes),
        ("live", index.live_bytes),
        ("dead", index.dead_bytes),
        ("orphan", index.orphan_bytes),
        ("held", index.held_bytes),
        ("deleted_open", index.deleted_open_bytes),
        ("other", index.other_bytes),
    ];
    for (state, bytes) in states {
        page.sample(name, &[("state", state)], bytes as f64);
    }
    let budget = &index.budget;
    page.single("evermark_index_bound_bytes", "gauge", "What may be allocated now.", budget.bound_bytes as f64);
    page.single("evermark_index_headroom_bytes", "gauge", "What may still be written.", budget.headroom_bytes as f64);
    let rounds = f64::from(budget.over_bound_rounds);
    page.single("evermark_index_over_bound_rounds", "gauge", "Rounds in a row that ended above the bound.", rounds);
    page.family("evermark_ledger_bytes", "gauge", "Bytes of the ledger.");
    let ledger = &index.ledger;
    let states = [
        ("allocated", ledger.allocated_bytes),
        ("used", ledger.used_bytes),
        ("free", ledger.free_bytes),
        ("wal", ledger.wal_bytes),
    ];
    for (state, bytes) in states {
        page.sample("evermark_ledger_bytes", &[("state", state)], bytes as f64);
    }
    let ballast = &index.ballast;
    page.single("evermark_ballast_bytes", "gauge", "Bytes in reserve for a full disk.", ballast.bytes as f64);
    page.single("evermark_ballast_wanted_bytes", "gauge", "What there should be.", ballast.wanted_bytes as f64);
    let released = ballast.released_times as f64;
    page.single("evermark_ballast_releases_total", "counter", "Times the reserve was given back.", released);
    page.single("evermark_markdown_bytes", "gauge", "Bytes of the Markdown.", index.markdown_bytes as f64);
    page.single("evermark_markdown_files", "gauge", "Markdown files.", index.markdown_files as f64);
    page.family(
        "evermark_index_to_markdown_ratio",
        "gauge",
        "Bytes of the index, the reserve aside, per byte of Markdown.",
    );
    if let Some(ratio) = index.index_to_markdown_ratio {
        page.sample("evermark_index_to_markdown_ratio", &[], ratio);
    }
}

fn tables(page: &mut Page, tables: &[TableItem]) {
    let name = "evermark_index_table_bytes";
    page.family(name, "gauge", "Bytes of disk by table and state.");
    for table in tables {
        let states = [
            ("allocated", table.allocated_bytes),
            ("live", table.live_bytes),
            ("dead", table.dead_bytes),
            ("orphan", table.orphan_bytes),
            ("held", table.held_bytes),
        ];
        for (state, bytes) in states {
            page.sample(
                name,
                &[("table", &table.name), ("generation", &table.generation), ("state", state)],
                bytes as f64,
            );
        }
    }
    let figures: [Figure<TableItem>; 7] = [
        ("evermark_index_table_rows", "Rows by table.", |table| table.rows as f64),
        ("evermark_index_table_versions", "Versions kept, by table.", |table| table.versions as f64),
        ("evermark_index_table_fragments", "Pieces, by table.", |table| table.fragments as f64),
        ("evermark_index_table_pending_rows", "Rows not yet durable, by table.", |table| table.pending_rows as f64),
        ("evermark_index_table_unindexed_rows", "Rows that no search covers, by table.", |table| {
            table.unindexed_rows as f64
        }),
        ("evermark_index_readers", "Readers at work, by table.", |table| table.readers as f64),
        ("evermark_index_oldest_reader_seconds", "Since the oldest reader began; 0 without one.", |table| {
            table.oldest_reader_ms.unwrap_or(0) as f64 / 1000.0
        }),
    ];
    for (name, help, figure) in figures {
        page.family(name, "gauge", help);
        for table in tables {
            page.sample(name, &[("table", &table.name), ("generation", &table.generation)], figure(table));
        }
    }
}

fn steps(page: &mut Page, steps: &[StepItem]) {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    type Told<'a> = (&'a str, &'a str, &'a str, &'a dyn Fn(&StepItem) -> Option<f64>);
    let figures: [Told<'_>; 9] = [
        ("evermark_step_runs_total", "counter", "Runs of a step of upkeep.", &|step| Some(step.runs as f64)),
        ("evermark_step_failures_total", "counter", "Runs that failed.", &|step| Some(step.failures as f64)),
        ("evermark_step_failure_streak", "gauge", "Failures since the last success.", &|step| Some(step.streak as f64)),
        (
            "evermark_step_last_success_age_seconds",
            "gauge",
            "Since the last success; absent before the first.",
            &|step| step.last_success_age_ms.map(seconds),
        ),
        ("evermark_step_running_seconds", "gauge", "How long it has been running; 0 when it is not.", &|step| {
            Some(seconds(step.running_ms.unwrap_or(0)))
        }),
        ("evermark_step_hung", "gauge", "Whether it gives no sign of life.", &|step| Some(flag(step.is_hung))),
        ("evermark_step_panics_total", "counter", "Runs that panicked.", &|step| Some(step.panics as f64)),
        ("evermark_step_freed_bytes_total", "counter", "Bytes freed.", &|step| Some(step.freed_bytes as f64)),
        ("evermark_step_written_bytes_total", "counter", "Bytes written.", &|step| Some(step.written_bytes as f64)),
    ];
    for (name, kind, help, figure) in figures {
        page.family(name, kind, help);
        for step in steps {
            if let Some(value) = figure(step) {
                page.sample(name, &[("step", &step.step)], value);
            }
        }
    }
    page.family("evermark_step_last_error", "gauge", "1 for the class of the error of a step that fails now.");
    for step in steps.iter().filter(|step| step.streak > 0) {
        if let Some(error) = &step.last_error {
            page.sample("evermark_step_last_error", &[("step", &step.step), ("class", &error.class)], 1.0);
        }
    }
}

fn room(page: &mut Page, index: &IndexItem) {
    let known = || index.volumes.iter().filter(|volume| !volume.is_unknown);
    let figures: [Figure<VolumeItem>; 5] = [
        ("evermark_disk_free_bytes", "Free bytes of the volume.", |volume| volume.free_bytes as f64),
        ("evermark_disk_total_bytes", "Size of the volume.", |volume| volume.total_bytes as f64),
        ("evermark_disk_free_inodes", "Files that can still be made there.", |volume| volume.free_inodes as f64),
        ("evermark_disk_total_inodes", "All of them; 0 without a fixed number.", |volume| volume.total_inodes as f64),
        ("evermark_disk_read_only", "Whether it is mounted read-only.", |volume| flag(volume.is_read_only)),
    ];
    for (name, help, figure) in figures {
        page.family(name, "gauge", help);
        for volume in known() {
            page.sample(name, &[("volume", &volume.role)], figure(volume));
        }
    }
    page.family("evermark_disk_level", "gauge", "1 for how much room there is, 0 for the others.");
    for volume in known() {
        for level in LEVELS {
            let is = flag(level == volume.level);
            page.sample("evermark_disk_level", &[("volume", &volume.role), ("level", level)], is);
        }
    }
    page.family(
        "evermark_index_writes_paused",
        "gauge",
        "1 for the reason why the index takes no writes, 0 for the others.",
    );
    let why = index.paused.as_ref().map(|pause| pause.why.as_str());
    for pause in PAUSES {
        page.sample("evermark_index_writes_paused", &[("why", pause)], flag(why == Some(pause)));
    }
    page.family("evermark_descriptors_used", "gauge", "Open files of this process.");
    index.descriptors.used.into_iter().for_each(|used| page.sample("evermark_descriptors_used", &[], used as f64));
    page.family("evermark_descriptors_limit", "gauge", "Files that it may open.");
    index.descriptors.limit.into_iter().for_each(|limit| page.sample("evermark_descriptors_limit", &[], limit as f64));
}

fn loops(page: &mut Page, index: &IndexItem) {
    page.single("evermark_beats_total", "counter", "Rounds of upkeep.", index.beats as f64);
    page.family("evermark_beat_age_seconds", "gauge", "Since the last round; absent before the first.");
    if let Some(age) = index.last_beat_age_ms {
        page.sample("evermark_beat_age_seconds", &[], age as f64 / 1000.0);
    }
    let rows: u64 = index.quarantine.iter().map(|piece| piece.rows).sum();
    let pieces = index.quarantine.len() as f64;
    page.single("evermark_quarantine_pieces", "gauge", "Damaged pieces that were taken out.", pieces);
    page.single("evermark_quarantine_rows", "gauge", "Rows that went with them, to be written again.", rows as f64);
    page.single("evermark_index_losses_total", "counter", "Times rows left the index by damage.", index.losses as f64);
    page.single(
        "evermark_repair_pending",
        "gauge",
        "Whether some are not written again yet.",
        flag(index.repair_pending),
    );
    page.family("evermark_loop_stuck", "gauge", "Whether a background loop does not end its round.");
    for one in &index.loops {
        page.sample("evermark_loop_stuck", &[("loop", &one.name)], flag(one.is_stuck));
    }
    page.family("evermark_loop_ticking_seconds", "gauge", "How long its round has taken; 0 while it waits.");
    for one in &index.loops {
        let ticking = one.ticking_ms.unwrap_or(0) as f64 / 1000.0;
        page.sample("evermark_loop_ticking_seconds", &[("loop", &one.name)], ticking);
    }
    page.family("evermark_loop_restarts_total", "counter", "Times it panicked and was started again.");
    for one in &index.loops {
        page.sample("evermark_loop_restarts_total", &[("loop", &one.name)], one.restarts as f64);
    }
}
