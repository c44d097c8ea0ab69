//! Reclaims our own index when no daemon runs: the generations that are not in use, and what the one in use needs no more.
//!
//! Deletes only. Nothing is opened by SQLite, nothing is written, nothing is merged, so it works on a full disk. The caller
//! holds the root's lock.

use super::alive::Guard;
use super::find::Place;
use super::manifest;
use super::prune::{self, Pruned};
use super::survey::{self, Survey};
use super::{LanceDb, Run, Surroundings, census, io_failed};
use crate::room::Room;
use crate::sweep;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use std::fs;
use std::path::{Path, PathBuf};

/// What reclaiming our own index did, or would do.
#[derive(Debug, Default)]
pub struct GenerationsPruned {
    /// Folders of generations that nothing uses.
    pub generations: u64,
    pub generation_bytes: u64,
    /// Temporary files of writers that are gone.
    pub debris_bytes: u64,
    /// What was reclaimed inside the generation in use; `None` when it has no table that can be read.
    pub table: Option<Pruned>,
    pub allocated_before: u64,
    pub allocated_after: u64,
    pub problems: Vec<String>,
}

/// Reclaims below `index_dir`, which is `<root>/.index/evermark`.
///
/// Where `CURRENT` does not name a generation that is there, no generation is removed: which one serves is for the engine
/// to decide. A table that cannot be read is left as it is: it is rebuilt from the Markdown, not repaired.
pub fn prune_generations(
    index_dir: &Path,
    run: Run,
    surroundings: Surroundings,
) -> Result<GenerationsPruned, IndexError> {
    let mut done = GenerationsPruned { allocated_before: census::allocated(index_dir), ..GenerationsPruned::default() };
    let current = current(index_dir);
    let entries = match fs::read_dir(index_dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(done),
        other => other.map_err(|error| io_failed("list", index_dir, error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| io_failed("list", index_dir, error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        if is_dir && is_generation(&name) && current.as_ref().is_some_and(|current| *current != path) {
            let bytes = census::allocated(&path);
            if removed(run, &path, |path| fs::remove_dir_all(path), &mut done.problems) {
                done.generations += 1;
                done.generation_bytes += bytes;
            }
        } else if !is_dir && is_temporary(&name) {
            remove_debris(run, &path, &mut done);
        }
    }
    if let Some(current) = &current {
        prune_current(current, run, surroundings, &mut done)?;
    } else {
        done.problems.push("CURRENT names no generation that is there: no generation was removed".to_owned());
    }
    done.allocated_after = match run {
        Run::Real => census::allocated(index_dir),
        Run::Dry => {
            let table = done.table.as_ref().map_or(0, Pruned::freed_bytes);
            done.allocated_before.saturating_sub(done.generation_bytes + done.debris_bytes + table)
        }
    };
    Ok(done)
}

fn prune_current(
    current: &Path,
    run: Run,
    surroundings: Surroundings,
    done: &mut GenerationsPruned,
) -> Result<(), IndexError> {
    let scratch = current.join("tmp");
    done.debris_bytes += census::allocated(&scratch).saturating_sub(census::allocated_of(&scratch));
    if run == Run::Real {
        sweep::empty(&scratch)?;
    }
    remove_debris(run, &current.join("generation.json.tmp"), done);
    let place = table_of(current);
    if !place.path.is_dir() {
        return Ok(());
    }
    let db = LanceDb::of_one(place.clone(), Room::new()?, surroundings);
    match manifest::versions(&db, &place) {
        Ok(versions) if versions.is_uncertain() => {
            done.problems.push("the newest version of the index is damaged: it will be rebuilt".to_owned());
            return Ok(());
        }
        Ok(_) => {}
        Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::NotFound) => {
            done.problems.push(manifest::said(&error));
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let guard = Guard::take(vec![place.path.clone()], None)?;
    done.table = Some(prune::prune(&db, &place, &guard, run, &mut |_, _, _| {})?);
    Ok(())
}

/// Measures the table of one generation, whoever has it open. Reads names and manifests, and changes nothing.
pub fn survey_generation(generation: &Path, surroundings: Surroundings) -> Result<Survey, IndexError> {
    let place = table_of(generation);
    let db = LanceDb::of_one(place.clone(), Room::new()?, surroundings);
    survey::survey(&db, &place)
}

fn table_of(generation: &Path) -> Place {
    let (quarantine, path) = (generation.join("quarantine"), generation.join("memories.lance"));
    Place { name: "memories".to_owned(), quarantine, path }
}

/// Returns the generation that `CURRENT` names, when it is there.
fn current(index_dir: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(index_dir.join("CURRENT")).ok()?;
    let name = text.trim();
    let dir = index_dir.join(name);
    (is_generation(name) && dir.is_dir()).then_some(dir)
}

fn is_generation(name: &str) -> bool {
    let digits = name.strip_prefix("gen-").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Tells whether this is how a file is called until it is whole: `.<name>.tmp.<hex>`.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.').and_then(|name| name.rsplit_once(".tmp.")).is_some_and(|(base, suffix)| {
        !base.is_empty() && !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn remove_debris(run: Run, path: &Path, done: &mut GenerationsPruned) {
    let bytes = census::allocated_of(path);
    if path.exists() && removed(run, path, |path| fs::remove_file(path), &mut done.problems) {
        done.debris_bytes += bytes;
    }
}

fn removed(
    run: Run,
    path: &Path,
    remove: impl FnOnce(&Path) -> std::io::Result<()>,
    problems: &mut Vec<String>,
) -> bool {
    if run == Run::Dry {
        return true;
    }
    match remove(path) {
        Ok(()) => true,
        Err(error) => {
            problems.push(format!("cannot remove {}: {error}", path.display()));
            false
        }
    }
}
