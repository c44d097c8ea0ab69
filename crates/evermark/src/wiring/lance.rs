//! The index on disk, by Lance.

use crate::commands::lancedb::free_bytes;
use crate::config::Environment;
use crate::limits::attainable_descriptors;
use evermark_core::index::{Index, IndexError};
use evermark_core::world::World;
use evermark_engine::engine::OpenIndex;
use evermark_lance::lancedb::{Class, Run, Surroundings, prune_generations, survey_generation};
use evermark_lance::{LanceIndex, Options};
use evermark_server::api::PruneData;
use evermark_server::api::index::TableItem;
use evermark_server::api::work::FailureItem;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Says that this process was started anew with Lance's variables, so that it is never done twice.
const COMPLETE: &str = "EVERMARK_ENVIRONMENT";

/// What glibc's allocator reads. Loading an owner's rows takes tens of megabytes for a moment: what is large is given back to the
/// system at once, and of what is small all but sixteen megabytes. Measured with `bench search --facts 100000`: 414 MB resident
/// without. Given back to the last page, ingest is a tenth slower, waiting for new ones; with large pieces kept, a daemon at rest
/// with a million facts of a thousand users holds 260 MB instead of 170.
const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "16777216")];

/// Gives this process the environment that Lance needs, by starting it anew once: Lance reads its variables from the process,
/// and a running process cannot change its own without `unsafe`. Returns when there is nothing to add, or when it cannot be
/// done; Lance then goes by its defaults, which work and are less frugal.
pub(crate) fn complete_environment(env: &Environment) {
    if env.get(COMPLETE).is_some() {
        return;
    }
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    // Its scratch directory would have to exist before the root's lock is taken, and nothing we ask for writes there.
    let missing = evermark_lance::environment(cpus, attainable_descriptors(), Path::new(""))
        .into_iter()
        .filter(|variable| variable.name != "TMPDIR")
        .map(|variable| (variable.name, variable.value))
        .chain(ALLOCATOR.map(|(name, value)| (name, value.to_owned())))
        .filter(|(name, _)| env.get(name).is_none())
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return;
    }
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "evermark".into());
    let Ok(program) = std::env::current_exe() else { return };
    let error = Command::new(program).arg0(name).args(args).envs(missing).env(COMPLETE, "set").exec();
    crate::output::note(format_args!("note: Lance goes by its own limits: cannot start anew with ours: {error}"));
}

/// Says what a generation's folder holds, or why it cannot be used. Only reads.
pub(crate) fn look_at(dir: &Path) -> anyhow::Result<String> {
    Ok(evermark_lance::look_at(dir)?)
}

/// Measures a generation's table by its files and manifests, whoever has it open. Only reads.
pub(crate) fn survey(generation: &Path, world: &Arc<dyn World>) -> anyhow::Result<TableItem> {
    let found = survey_generation(generation, Surroundings::new(Arc::clone(world), free_bytes))?;
    let bytes = |classes: &[Class]| classes.iter().map(|class| found.tally(*class).bytes).sum::<u64>();
    let live_bytes = bytes(&[Class::Live, Class::Bookkeeping, Class::Pinned]);
    let all_rows = found.rows + found.dead_rows;
    Ok(TableItem {
        name: "memories".to_owned(),
        generation: generation.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        rows: found.rows,
        allocated_bytes: found.allocated_bytes,
        live_bytes,
        dead_bytes: (live_bytes * found.dead_rows).checked_div(all_rows).unwrap_or(0),
        orphan_bytes: bytes(&[Class::Superseded, Class::Orphan, Class::Debris]),
        versions: found.versions,
        fragments: found.fragments,
        ..TableItem::default()
    })
}

/// Removes what nobody needs by files alone: no database is opened, nothing is written. The caller holds the root's lock.
pub(crate) fn prune_files(index_dir: &Path, dry_run: bool, world: &Arc<dyn World>) -> anyhow::Result<PruneData> {
    let run = if dry_run { Run::Dry } else { Run::Real };
    let done = prune_generations(index_dir, run, Surroundings::new(Arc::clone(world), free_bytes))?;
    let table = done.table.as_ref();
    let problems = done.problems.iter().chain(table.into_iter().flat_map(|table| &table.problems));
    let failure = |message: &String| FailureItem {
        step: "reclaim".to_owned(),
        class: "unavailable".to_owned(),
        message: message.clone(),
    };
    Ok(PruneData {
        dry_run,
        versions: table.map_or(0, |table| table.before.versions.saturating_sub(1)),
        files: table.map_or(0, |table| table.freed.values().map(|tally| tally.files).sum()),
        freed_bytes: done.allocated_before.saturating_sub(done.allocated_after),
        before_bytes: done.allocated_before,
        after_bytes: done.allocated_after,
        failures: problems.map(failure).collect(),
    })
}

pub(crate) fn indexes(world: Arc<dyn World>, view_bytes_max: u64) -> Arc<dyn OpenIndex> {
    let view_bytes_max = usize::try_from(view_bytes_max).unwrap_or(usize::MAX);
    Arc::new(OnDisk { world, view_bytes_max })
}

struct OnDisk {
    world: Arc<dyn World>,
    view_bytes_max: usize,
}

impl OpenIndex for OnDisk {
    fn open(&self, dir: &Path, dimension: Option<usize>) -> Result<Arc<dyn Index>, IndexError> {
        let options = Options { dimension, view_bytes_max: self.view_bytes_max, ..Options::default() };
        Ok(Arc::new(LanceIndex::open(dir, options, Arc::clone(&self.world))?))
    }
}
