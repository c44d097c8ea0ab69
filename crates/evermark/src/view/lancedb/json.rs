//! Foreign tables as scripts read them. Field names are the contract that docs/cli.md shows.

use super::causes;
use crate::exit::Exit;
use evermark_core::index::IndexError;
use evermark_lance::lancedb::{Class, Compacted, LanceDb, Outcome, Pruned, Run, Survey, Tally, Verified};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
pub(super) struct Answer<T> {
    dir: PathBuf,
    everos: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
    /// Processes that have the tables open.
    held_by: Vec<HolderItem>,
    /// Allocated bytes below the directory, now.
    allocated_bytes: u64,
    tables: Vec<TableItem<T>>,
}

#[derive(Serialize)]
struct HolderItem {
    pid: u32,
    command: String,
    file: PathBuf,
}

/// One table: its figures, or why there are none.
#[derive(Serialize)]
struct TableItem<T> {
    table: String,
    #[serde(flatten)]
    done: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorItem>,
}

#[derive(Serialize)]
struct ErrorItem {
    kind: &'static str,
    message: String,
    causes: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct SurveyItem {
    written_by: String,
    format: String,
    version: u64,
    versions: u64,
    fragments: u64,
    rows: u64,
    dead_rows: u64,
    indexes: Vec<IndexItem>,
    tags: BTreeMap<String, u64>,
    allocated_bytes: u64,
    live_bytes: u64,
    /// Class → files and bytes.
    classes: BTreeMap<&'static str, TallyItem>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct IndexItem {
    name: String,
    kind: String,
    columns: Vec<String>,
}

#[derive(Serialize)]
struct TallyItem {
    files: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(super) struct PrunedItem {
    version: u64,
    versions_before: u64,
    allocated_before: u64,
    allocated_after: u64,
    live_bytes: u64,
    freed_bytes: u64,
    freed: BTreeMap<&'static str, TallyItem>,
    stepped_down: Vec<SteppedDownItem>,
    set_aside: TallyItem,
    quarantine: Option<PathBuf>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct SteppedDownItem {
    version: u64,
    why: String,
}

#[derive(Serialize)]
pub(super) struct CompactedItem {
    pruned: PrunedItem,
    rows: u64,
    fragments_before: u64,
    fragments_after: u64,
    groups: u64,
    bytes_read: u64,
    allocated_after: u64,
    live_bytes: u64,
    lost: Vec<LostItem>,
    rows_revived: u64,
    dropped_indexes: Vec<DroppedItem>,
    stopped: Option<String>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct LostItem {
    fragment: u64,
    why: String,
    rows: u64,
    rows_saved: u64,
    ids: Vec<String>,
    quarantine: PathBuf,
}

#[derive(Serialize)]
struct DroppedItem {
    name: String,
    why: String,
}

#[derive(Serialize)]
pub(super) struct VerifiedItem {
    version: u64,
    rows: u64,
    rows_read: u64,
    fragments: u64,
    indexes_read: u64,
    clean: bool,
    problems: Vec<String>,
}

pub(super) fn status(db: &LanceDb, outcomes: &[Outcome<Survey>]) -> Answer<SurveyItem> {
    answer(db, None, outcomes, survey_item)
}

pub(super) fn pruned(db: &LanceDb, run: Run, outcomes: &[Outcome<Pruned>]) -> Answer<PrunedItem> {
    answer(db, Some(run), outcomes, pruned_item)
}

pub(super) fn compacted(db: &LanceDb, run: Run, outcomes: &[Outcome<Compacted>]) -> Answer<CompactedItem> {
    answer(db, Some(run), outcomes, compacted_item)
}

pub(super) fn verified(db: &LanceDb, outcomes: &[Outcome<Verified>]) -> Answer<VerifiedItem> {
    answer(db, None, outcomes, |done| VerifiedItem {
        version: done.survey.version,
        rows: done.survey.rows,
        rows_read: done.rows_read,
        fragments: done.survey.fragments,
        indexes_read: done.indexes_read,
        clean: done.problems.is_empty(),
        problems: done.problems.clone(),
    })
}

fn answer<T, U>(db: &LanceDb, run: Option<Run>, outcomes: &[Outcome<T>], item: impl Fn(&T) -> U) -> Answer<U> {
    let holder = |holder: evermark_lance::lancedb::Holder| HolderItem {
        pid: holder.pid,
        command: holder.command,
        file: holder.file,
    };
    let table = |outcome: &Outcome<T>| TableItem {
        table: outcome.table.clone(),
        done: outcome.result.as_ref().ok().map(&item),
        error: outcome.result.as_ref().err().map(error_item),
    };
    Answer {
        dir: db.dir().to_owned(),
        everos: db.is_everos(),
        dry_run: run.map(|run| run == Run::Dry),
        held_by: db.holders().into_iter().map(holder).collect(),
        allocated_bytes: db.allocated_bytes(),
        tables: outcomes.iter().map(table).collect(),
    }
}

fn error_item(error: &IndexError) -> ErrorItem {
    ErrorItem { kind: Exit::from(error.kind).name(), message: error.to_string(), causes: causes(error) }
}

fn survey_item(survey: &Survey) -> SurveyItem {
    let index = |index: &evermark_lance::lancedb::IndexSeen| IndexItem {
        name: index.name.clone(),
        kind: index.kind.clone(),
        columns: index.columns.clone(),
    };
    SurveyItem {
        written_by: survey.written_by.clone(),
        format: survey.format.clone(),
        version: survey.version,
        versions: survey.versions,
        fragments: survey.fragments,
        rows: survey.rows,
        dead_rows: survey.dead_rows,
        indexes: survey.indexes.iter().map(index).collect(),
        tags: survey.tags.clone(),
        allocated_bytes: survey.allocated_bytes,
        live_bytes: survey.live_bytes(),
        classes: tallies(&survey.by_class),
        problems: survey.problems.clone(),
    }
}

fn pruned_item(pruned: &Pruned) -> PrunedItem {
    let stepped = |stepped: &evermark_lance::lancedb::SteppedDown| SteppedDownItem {
        version: stepped.version,
        why: stepped.why.clone(),
    };
    PrunedItem {
        version: pruned.before.version,
        versions_before: pruned.before.versions,
        allocated_before: pruned.before.allocated_bytes,
        allocated_after: pruned.allocated_after,
        live_bytes: pruned.before.live_bytes(),
        freed_bytes: pruned.freed_bytes(),
        freed: tallies(&pruned.freed),
        stepped_down: pruned.stepped_down.iter().map(stepped).collect(),
        set_aside: tally(pruned.set_aside),
        quarantine: pruned.quarantine.as_deref().map(Path::to_owned),
        problems: pruned.problems.clone(),
    }
}

fn compacted_item(done: &Compacted) -> CompactedItem {
    let lost = |lost: &evermark_lance::lancedb::Lost| LostItem {
        fragment: lost.fragment,
        why: lost.why.clone(),
        rows: lost.rows,
        rows_saved: lost.rows_saved,
        ids: lost.ids.clone(),
        quarantine: lost.quarantine.clone(),
    };
    let dropped = |index: &evermark_lance::lancedb::DroppedIndex| DroppedItem {
        name: index.name.clone(),
        why: index.why.clone(),
    };
    CompactedItem {
        pruned: pruned_item(&done.pruned),
        rows: done.rows_after,
        fragments_before: done.fragments_before,
        fragments_after: done.fragments_after,
        groups: done.groups,
        bytes_read: done.bytes_read,
        allocated_after: done.allocated_after,
        live_bytes: done.live_after,
        lost: done.lost.iter().map(lost).collect(),
        rows_revived: done.rows_revived,
        dropped_indexes: done.dropped_indexes.iter().map(dropped).collect(),
        stopped: done.stopped.clone(),
        problems: done.problems.clone(),
    }
}

fn tallies(tallies: &BTreeMap<Class, Tally>) -> BTreeMap<&'static str, TallyItem> {
    tallies.iter().map(|(class, found)| (class.name(), tally(*found))).collect()
}

fn tally(tally: Tally) -> TallyItem {
    TallyItem { files: tally.files, bytes: tally.bytes }
}
