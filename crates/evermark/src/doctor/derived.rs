//! The index's files, as they lie there; and what an EverOS left beside them.

use super::Findings;
use super::holder::Running;
use crate::output::{size, span};
use crate::wiring;
use evermark_core::world::World;
use evermark_server::api::index::StepItem;
use evermark_store::layout::Layout;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// An old index this much larger than the Markdown is worth a word.
const EVEROS_RATIO: u64 = 4;
const EVEROS_SPARE: u64 = 64 << 20;

pub(super) fn examine(layout: &Layout, running: Running, world: &Arc<dyn World>, found: &mut Findings) {
    let markdown = markdown_bytes(layout.root());
    let index = allocated(&layout.index_dir());
    found.ok("index", "size", format!("{} beside {} of Markdown", size(index), size(markdown)));
    match running {
        Running::Daemon(status) => said(&status, found),
        Running::Somebody | Running::Nobody => lying_there(layout, world, found),
    }
    leftovers(layout, markdown, found);
}

/// What the daemon knows better than the files tell. Its reasons are findings already.
fn said(status: &evermark_server::api::StatusData, found: &mut Findings) {
    let Some(index) = &status.index else { return };
    let rows: u64 = index.rows.values().sum();
    let sweep = status.last_sweep_age_ms.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age)));
    found.ok(
        "index",
        "open",
        format!(
            "{} is open with {rows} rows, {} versions, {} fragments; last sweep {sweep}",
            status.generation, index.versions, index.fragments
        ),
    );
    let (allocated, bound) = (index.allocated_bytes, index.budget.bound_bytes);
    let says = format!(
        "{} of the {} it may have; {} may still be written",
        size(allocated),
        size(bound),
        size(index.budget.headroom_bytes)
    );
    if allocated > bound {
        found.fail(
            "index",
            "over_bound",
            says,
            "`evermark index plan` says what is done about it; `evermark index prune` frees what can go",
        );
    } else {
        found.ok("index", "bound", says);
    }
    match index.quarantine.last() {
        None => found.ok("index", "quarantine", "no piece of it was ever taken out as damaged"),
        Some(last) => found.warn(
            "index",
            "quarantine",
            format!(
                "{} damaged pieces were taken out, the last one {}: {}",
                index.quarantine.len(),
                last.name,
                last.reason
            ),
            "check the disk (`dmesg`, `smartctl`); `evermark index verify` tells whether all is there again",
        ),
    }
    let done = |step: &StepItem| Some(format!("{} {} ago", step.step, span(step.last_success_age_ms?)));
    let steps = index.steps.iter().filter_map(done).collect::<Vec<_>>();
    let steps = if steps.is_empty() { "no step of upkeep was due yet".to_owned() } else { steps.join(", ") };
    found.ok("index", "upkeep", format!("last successes: {steps}"));
}

/// Without a daemon: what the next start will find.
fn lying_there(layout: &Layout, world: &Arc<dyn World>, found: &mut Findings) {
    let rebuild = "nothing to do: the next start builds it from the Markdown; `evermark sync` does so now";
    if !layout.index_dir().is_dir() {
        return found.ok("index", "none", "there is no index yet; the next start builds it from the Markdown");
    }
    let generation = match layout.current() {
        Ok(Some(generation)) => generation,
        Ok(None) => return found.warn("index", "no_generation", "CURRENT names no generation that is there", rebuild),
        Err(error) => {
            return found.fail(
                "index",
                "unreadable",
                error.to_string(),
                "`ls -l` it: this user must be able to read it",
            );
        }
    };
    let dir = layout.generation_dir(generation);
    let read = wiring::look_at(&dir).and_then(|says| Ok((says, wiring::survey(&dir, world)?)));
    match read {
        Ok((says, table)) => found.ok(
            "index",
            "readable",
            format!(
                "{generation}: {says}; {} rows, {} versions, {} fragments; {} live, {} to be reclaimed",
                table.rows,
                table.versions,
                table.fragments,
                size(table.live_bytes),
                size(table.orphan_bytes)
            ),
        ),
        Err(error) => found.warn(
            "index",
            "damaged",
            format!("{generation} cannot be used as it is: {error:#}"),
            "`evermark index rebuild`; the next start does so by itself",
        ),
    }
    for stray in layout.generations().unwrap_or_default().into_iter().filter(|other| *other != generation) {
        found.warn(
            "index",
            "stray_generation",
            format!("{stray} ({}) is not the live generation", size(allocated(&layout.generation_dir(stray)))),
            "`evermark index prune`; the next start removes it by itself",
        );
    }
    let ledger = layout.ledger_file();
    match head(&ledger) {
        Ok(head) if head.starts_with(b"SQLite format 3\0") => {
            found.ok("index", "ledger", format!("the ledger has {}", size(allocated(&ledger))));
        }
        // An empty file is a database without tables.
        Ok(head) if head.is_empty() => found.ok("index", "ledger", "the ledger is empty"),
        Ok(_) => found.warn("index", "ledger_damaged", format!("{} is no SQLite database", ledger.display()), rebuild),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            found.warn("index", "ledger_missing", "there is no ledger beside the index", rebuild);
        }
        Err(error) => found.fail(
            "index",
            "ledger_unreadable",
            format!("cannot read {}: {error}", ledger.display()),
            format!("`ls -l {}`: this user must be able to read it", ledger.display()),
        ),
    }
}

/// An EverOS's own index is not ours to touch unasked; how large it is may surprise.
fn leftovers(layout: &Layout, markdown: u64, found: &mut Findings) {
    let theirs = layout.root().join(".index").join("lancedb");
    if !theirs.is_dir() {
        return;
    }
    let bytes = allocated(&theirs);
    let says = format!("EverOS's own index has {}", size(bytes));
    if bytes > markdown.saturating_mul(EVEROS_RATIO).saturating_add(EVEROS_SPARE) {
        let shown = theirs.display();
        let remedy =
            format!("`evermark index prune --lancedb {shown} --dry-run` says what can go; Evermark needs none of it");
        found.warn("everos", "index_bloated", format!("{says}, many times the Markdown's {}", size(markdown)), remedy);
    } else {
        found.ok("everos", "index", format!("{says}; Evermark does not use it"));
    }
}

fn head(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    fs::File::open(file)?.take(16).read_to_end(&mut head)?;
    Ok(head)
}

/// Returns the blocks in use at and below `path`; what cannot be read counts nothing.
pub(crate) fn allocated(path: &Path) -> u64 {
    sum(path, &|_| true)
}

fn markdown_bytes(root: &Path) -> u64 {
    let is_derived = |name: &std::ffi::OsStr| name == ".index" || name == ".evermark";
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| !is_derived(&entry.file_name()))
        .map(|entry| sum(&entry.path(), &|path| path.extension().is_some_and(|extension| extension == "md")))
        .sum()
}

fn sum(path: &Path, counts: &dyn Fn(&Path) -> bool) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let own = if counts(path) { metadata.blocks() * 512 } else { 0 };
    if !metadata.is_dir() {
        return own;
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| sum(&entry.path(), counts));
    own + below.sum::<u64>()
}
