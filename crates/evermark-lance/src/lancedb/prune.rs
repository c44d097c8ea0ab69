//! Reclaims by set difference: what neither the newest readable version nor a tag names goes.
//!
//! Needs no free space and no commit, reads no old manifest that it must trust, and never runs Lance's cleanup, which stops
//! at one bad manifest. What an unreadable version alone may have named is set aside, not deleted:
//!
//! - the newest manifest is damaged: the next readable one below it becomes the newest, the damaged one moves to the
//!   quarantine, and so do whole data, deletion and index files that no readable version names: they may be what the lost
//!   commit wrote. Files that readable past versions name are past: a commit names what its parent names and what is new;
//! - a manifest that a tag keeps is damaged: what it needs may be among the past files too, so these move as well.
//!
//! Temporary files are deleted in any case: no version can name them.

use super::alive::{Guard, in_use};
use super::census::{self, Census, Class, Entry, HINT, Tally};
use super::find::Place;
use super::manifest::{self, Versions, said};
use super::quarantine::Aside;
use super::survey::{self, Survey};
use super::{LanceDb, Run, Watch, shrink};
use evermark_core::index::IndexError;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Files removed between two looks at whether somebody has committed.
const LOOK_EVERY: usize = 128;

/// A damaged version that was the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteppedDown {
    pub version: u64,
    pub why: String,
}

/// What a prune did, or would do.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The table as it was found.
    pub before: Survey,
    /// Damaged newest versions that were set aside, newest first.
    pub stepped_down: Vec<SteppedDown>,
    /// What was deleted, or would be.
    pub freed: BTreeMap<Class, Tally>,
    /// What was moved to the quarantine, or would be, and where to.
    pub set_aside: Tally,
    pub quarantine: Option<PathBuf>,
    /// Allocated bytes of the table afterwards; what they would be, in a dry run.
    pub allocated_after: u64,
    /// What did not work; everything else was done.
    pub problems: Vec<String>,
}

impl Pruned {
    pub fn freed_bytes(&self) -> u64 {
        self.freed.values().map(|tally| tally.bytes).sum()
    }
}

/// What is to be done with which file.
#[derive(Default)]
struct Plan {
    delete: Vec<Entry>,
    set_aside: Vec<Entry>,
}

impl Plan {
    fn new(versions: &Versions, census: &Census) -> Self {
        let damaged: Vec<String> =
            versions.damaged.iter().map(|unread| format!("_versions/{}", unread.found.file)).collect();
        let mut plan = Self::default();
        for entry in &census.entries {
            let is_content = ["data/", "_deletions/", "_indices/"].iter().any(|dir| entry.path.starts_with(dir));
            let aside = damaged.contains(&entry.path)
                || (entry.class == Class::Orphan && versions.is_uncertain())
                || (entry.class == Class::Superseded && is_content && !versions.pinned_damaged.is_empty());
            match entry.class {
                _ if aside => plan.set_aside.push(entry.clone()),
                Class::Superseded | Class::Orphan | Class::Debris => plan.delete.push(entry.clone()),
                Class::Live | Class::Pinned | Class::Bookkeeping | Class::Unknown => {}
            }
        }
        // Manifests last: until then every one that can be read is as true as before.
        plan.delete.sort_by_key(|entry| entry.path.starts_with("_versions/"));
        plan
    }
}

pub(super) fn prune(
    db: &LanceDb,
    place: &Place,
    guard: &Guard,
    run: Run,
    watch: Watch<'_>,
) -> Result<Pruned, IndexError> {
    // Our own table keeps so few versions that its directories stay small.
    let is_foreign = !db.places.is_ours;
    if run == Run::Real && is_foreign {
        shrink::resume(place)?;
    }
    let listed = manifest::list(place)?;
    let (versions, census) = survey::look(db, place)?;
    let before = survey::describe(place, &versions, &census);
    let plan = Plan::new(&versions, &census);
    let mut pruned = Pruned {
        stepped_down: versions
            .damaged
            .iter()
            .map(|unread| SteppedDown { version: unread.found.version, why: said(&unread.error) })
            .collect(),
        freed: BTreeMap::new(),
        set_aside: Tally::default(),
        quarantine: None,
        allocated_after: before.allocated_bytes,
        problems: Vec::new(),
        before,
    };
    if run == Run::Dry {
        plan.delete.iter().for_each(|entry| pruned.freed.entry(entry.class).or_default().add(entry.bytes));
        plan.set_aside.iter().for_each(|entry| pruned.set_aside.add(entry.bytes));
        pruned.quarantine = (!plan.set_aside.is_empty()).then(|| place.quarantine.clone());
        pruned.allocated_after =
            pruned.before.allocated_bytes.saturating_sub(pruned.freed_bytes() + pruned.set_aside.bytes);
        return Ok(pruned);
    }
    guard.check()?;
    let unchanged = || match manifest::newest(&manifest::list(place)?) == manifest::newest(&listed) {
        true => Ok(()),
        false => Err(in_use(format!("somebody has committed to the table `{}` meanwhile: stopped", place.name))),
    };
    unchanged()?;
    drop_stale_hint(place, &versions, &mut pruned);
    let total = plan.delete.len() as u64;
    for (at, entry) in plan.delete.iter().enumerate() {
        if at % LOOK_EVERY == 0 {
            unchanged()?;
            watch(&place.name, at as u64, total);
        }
        let path = place.path.join(&entry.path);
        match fs::remove_file(&path) {
            Ok(()) => pruned.freed.entry(entry.class).or_default().add(entry.bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // One file that will not go must not keep the others.
            Err(error) => pruned.problems.push(format!("cannot remove {}: {error}", path.display())),
        }
    }
    // Only now: making a directory may need the space that was just freed.
    set_aside(db, place, &versions, &plan.set_aside, &mut pruned)?;
    drop_empty_dirs(place, &census);
    if is_foreign {
        shrink::shrink(place);
    }
    pruned.allocated_after = census::allocated(&place.path);
    Ok(pruned)
}

/// Removes the hint where it does not name the newest version: a reader that finds an old version by it looks upwards from
/// there one by one, and would stop at the first that is gone.
fn drop_stale_hint(place: &Place, versions: &Versions, pruned: &mut Pruned) {
    let path = place.path.join(HINT);
    let hint: Option<Value> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let named = hint.and_then(|hint| hint.get("version").and_then(Value::as_u64));
    if named == Some(versions.newest.found.version) && versions.damaged.is_empty() {
        return;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            pruned.problems.push(format!("cannot remove {}: {error}", path.display()));
        }
        _ => {}
    }
}

fn set_aside(
    db: &LanceDb,
    place: &Place,
    versions: &Versions,
    entries: &[Entry],
    pruned: &mut Pruned,
) -> Result<(), IndexError> {
    if entries.is_empty() {
        return Ok(());
    }
    let label = match pruned.stepped_down.first() {
        Some(stepped) => format!("version-{}", stepped.version),
        None => "damaged-tag".to_owned(),
    };
    let aside = Aside::new(place, &label)?;
    let damaged = |unread: &manifest::Unread| json!({ "version": unread.found.version, "why": said(&unread.error) });
    aside.record(&json!({
        "at_us": db.surroundings.world.now_us(),
        "table": place.path,
        "newest_readable_version": versions.newest.found.version,
        "damaged_versions": versions.damaged.iter().chain(&versions.pinned_damaged).map(damaged).collect::<Vec<_>>(),
        "why": "files that only a damaged version can have named; delete this directory when nothing in it is missed",
        "files": entries.iter().map(|entry| &entry.path).collect::<Vec<_>>(),
    }))?;
    // Manifests first: with the damaged one gone the table opens again.
    let (manifests, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.path.starts_with("_versions/"));
    for entry in manifests.into_iter().chain(others) {
        aside.take(&entry.path)?;
        pruned.set_aside.add(entry.bytes);
    }
    pruned.quarantine = Some(aside.dir);
    Ok(())
}

/// Removes directories that hold nothing any more; those that Lance expects to be there stay.
fn drop_empty_dirs(place: &Place, census: &Census) {
    for dir in census.dirs.iter().filter(|dir| dir.starts_with("_indices/") || dir.starts_with("data/")) {
        // One that is not empty says so, and stays.
        fs::remove_dir(place.path.join(dir)).ok();
    }
}
