//! The index looked after by its files alone: without a daemon, without opening the root.
//!
//! Looking takes no lock, writes nothing and uses no network, so it works whoever has the root. Pruning takes the root's lock
//! and nothing else: SQLite and logs may fail on a full disk, removing files does not.

use crate::config::Config;
use crate::output::note;
use crate::wiring;
use evermark_core::maintenance::space::{Level, Watermarks};
use evermark_core::world::World;
use evermark_server::api::PruneData;
use evermark_server::api::index::{BallastItem, BudgetItem, IndexItem, LedgerItem, TableItem, VolumeItem};
use evermark_server::api::work::FailureItem;
use evermark_store::error::Error;
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use evermark_store::space::{Ballast, Footprint, file_bytes, footprint, share_volume, volume};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Measures the index as it lies there.
pub(crate) fn look(layout: &Layout, config: &Config, world: &Arc<dyn World>) -> IndexItem {
    let policy = config.settings.upkeep;
    let dir = layout.index_dir();
    let current = layout.current().ok().flatten();
    let mut tables = Vec::new();
    for generation in layout.generations().unwrap_or_default() {
        let folder = layout.generation_dir(generation);
        let measured = wiring::survey(&folder, world).unwrap_or_else(|error| {
            note(format_args!("note: {generation} cannot be measured in full: {error:#}"));
            TableItem::default()
        });
        let allocated_bytes = footprint(&folder).bytes;
        let generation = generation.to_string();
        // What is not live belongs to nobody.
        let is_live = current.is_some_and(|current| current.to_string() == generation);
        let (live_bytes, orphan_bytes) = match is_live {
            true => (measured.live_bytes, measured.orphan_bytes),
            false => (0, allocated_bytes),
        };
        tables.push(TableItem { generation, allocated_bytes, live_bytes, orphan_bytes, ..measured });
    }
    let total = sum(&tables);
    let ledger = ledger(layout);
    let ballast = Ballast::at(layout.ballast_file()).bytes();
    let allocated_bytes = if dir.is_dir() { footprint(&dir).bytes } else { 0 };
    let live_bytes = total.live_bytes + ledger.used_bytes;
    let bound_bytes = policy.budget.bound(live_bytes);
    let markdown = markdown(layout.root());
    let parts = total.allocated_bytes + ledger.allocated_bytes + ballast;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = allocated_bytes.saturating_sub(ballast) as f64 / markdown.bytes as f64;
    IndexItem {
        answers: false,
        versions: total.versions,
        fragments: total.fragments,
        allocated_bytes,
        live_bytes,
        dead_bytes: total.dead_bytes,
        orphan_bytes: total.orphan_bytes,
        other_bytes: allocated_bytes.saturating_sub(parts),
        budget: BudgetItem {
            ratio: policy.budget.ratio,
            slack_bytes: policy.budget.slack_bytes,
            cap_bytes: policy.budget.cap_bytes,
            live_bytes,
            bound_bytes,
            headroom_bytes: bound_bytes.saturating_sub(allocated_bytes),
            over_bound_rounds: 0,
        },
        tables,
        total,
        ledger,
        ballast: BallastItem { bytes: ballast, wanted_bytes: policy.ballast_bytes, released_times: 0 },
        markdown_bytes: markdown.bytes,
        markdown_files: markdown.files,
        index_to_markdown_ratio: (markdown.bytes > 0).then_some(ratio),
        volumes: volumes(layout, &policy.watermarks, world.as_ref()),
        ..IndexItem::default()
    }
}

fn sum(tables: &[TableItem]) -> TableItem {
    let mut total = TableItem::default();
    for table in tables {
        total.rows += table.rows;
        total.allocated_bytes += table.allocated_bytes;
        total.live_bytes += table.live_bytes;
        total.dead_bytes += table.dead_bytes;
        total.orphan_bytes += table.orphan_bytes;
        total.versions += table.versions;
        total.fragments += table.fragments;
    }
    total
}

/// Free pages cannot be told from used ones without opening the file: all of it counts as used.
fn ledger(layout: &Layout) -> LedgerItem {
    let beside = |ending: &str| {
        let mut path = layout.ledger_file().into_os_string();
        path.push(ending);
        file_bytes(Path::new(&path))
    };
    let (used_bytes, wal_bytes) = (beside(""), beside("-wal") + beside("-shm"));
    LedgerItem { allocated_bytes: used_bytes + wal_bytes, used_bytes, free_bytes: 0, wal_bytes }
}

fn volumes(layout: &Layout, marks: &Watermarks, world: &dyn World) -> Vec<VolumeItem> {
    let dir = layout.index_dir();
    let dir = if dir.is_dir() { dir } else { layout.root().to_owned() };
    let item = |role: &str, path: &Path| {
        let known = volume(world, path);
        let (is_unknown, found) = (known.is_err(), known.unwrap_or_default());
        let level = if is_unknown { Level::Ample } else { marks.level(&found) };
        VolumeItem {
            role: role.to_owned(),
            path: path.display().to_string(),
            level: level.name().to_owned(),
            free_bytes: found.free_bytes,
            total_bytes: found.total_bytes,
            free_inodes: found.free_inodes,
            total_inodes: found.total_inodes,
            is_read_only: found.is_read_only,
            low_bytes: marks.low.bytes_of(&found),
            out_bytes: marks.out.bytes_of(&found),
            low_inodes: marks.low.inodes_of(&found),
            out_inodes: marks.out.inodes_of(&found),
            is_unknown,
        }
    };
    let mut all = vec![item("index", &dir)];
    if !share_volume(layout.root(), &dir) {
        all.push(item("markdown", layout.root()));
    }
    all
}

/// Returns what the Markdown files below the root take. Links are not followed.
fn markdown(root: &Path) -> Footprint {
    let mut total = Footprint::default();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let is_ours = entry.file_name() == ".index" || entry.file_name() == ".evermark";
            let path: PathBuf = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.extend((!is_ours).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "md") {
                total.bytes += file_bytes(&path);
                total.files += 1;
            }
        }
    }
    total
}

/// Takes the root, for pruning alone. Where the lock's own file cannot be made for want of space, nobody else can make it either.
///
/// Errors: as [`RootLock::take`].
pub(crate) fn lock(layout: &Layout, world: &dyn World) -> Result<Option<RootLock>, Error> {
    match RootLock::take(layout, world, None) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == evermark_core::error::ErrorKind::NoSpace => {
            note(format_args!("note: pruning without the root's lock, for which there is no space: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Removes what nobody needs. The reserve goes first when there is no room: it is there for this.
pub(crate) fn prune(
    layout: &Layout,
    config: &Config,
    dry_run: bool,
    world: &Arc<dyn World>,
) -> anyhow::Result<PruneData> {
    let dir = layout.index_dir();
    if !dir.is_dir() {
        return Ok(PruneData { dry_run, ..PruneData::default() });
    }
    let before_bytes = footprint(&dir).bytes;
    let ballast = Ballast::at(layout.ballast_file());
    let is_full = volume(world.as_ref(), &dir)
        .is_ok_and(|volume| config.settings.upkeep.watermarks.level(&volume) == Level::Out && !volume.is_read_only);
    let mut failures = Vec::new();
    let mut released = 0;
    if is_full {
        released = ballast.bytes();
        if !dry_run && let Err(error) = ballast.release() {
            released = 0;
            let (step, class) = ("release".to_owned(), error.kind().name().to_owned());
            failures.push(FailureItem { step, class, message: error.to_string() });
        }
    }
    let mut done = wiring::prune_files(&dir, dry_run, world)?;
    done.files += u64::from(released > 0);
    done.before_bytes = before_bytes;
    done.after_bytes = if dry_run { done.after_bytes.saturating_sub(released) } else { footprint(&dir).bytes };
    done.freed_bytes = before_bytes.saturating_sub(done.after_bytes);
    done.failures.splice(0..0, failures);
    Ok(done)
}
