//! The four verbs on foreign tables.

use crate::cli::IndexCommand;
use crate::exit::{Exit, Failure};
use crate::output::{Out, Progress};
use crate::view::lancedb as view;
use crate::world::world;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use evermark_lance::lancedb::{EverosLock, LanceDb, Outcome, Run, Surroundings};
use std::io;
use std::path::Path;

pub(crate) fn run(command: &IndexCommand, path: &Path, table: Option<&str>, out: &mut Out) -> anyhow::Result<Exit> {
    let surroundings = Surroundings::new(world(None, None)?, free_bytes);
    let db = LanceDb::find(path, table, surroundings).map_err(refusal)?;
    let run = |dry: bool| if dry { Run::Dry } else { Run::Real };
    match command {
        IndexCommand::Status(_) => {
            let outcomes = db.survey();
            view::status(&db, &outcomes, out);
            Ok(worst(&outcomes))
        }
        IndexCommand::Prune(work) => {
            let progress = Progress::new("removing", out.json);
            let mut watch = |_: &str, done, total| progress.at(done, total);
            let outcomes = db.prune(run(work.dry_run), EverosLock::Take, &mut watch).map_err(refusal)?;
            drop(progress);
            view::pruned(&db, run(work.dry_run), &outcomes, out);
            let is_short = outcomes.iter().flat_map(|outcome| &outcome.result).any(|done| !done.problems.is_empty());
            Ok(if is_short { Exit::Temporary } else { worst(&outcomes) })
        }
        IndexCommand::Compact(work) => {
            let progress = Progress::new("merging", out.json);
            let mut watch = |_: &str, done, total| progress.at(done, total);
            let outcomes = db.compact(run(work.dry_run), EverosLock::Take, &mut watch).map_err(refusal)?;
            drop(progress);
            view::compacted(&db, run(work.dry_run), &outcomes, out);
            let is_short = outcomes.iter().flat_map(|outcome| &outcome.result).any(|done| done.stopped.is_some());
            Ok(if is_short { Exit::Temporary } else { worst(&outcomes) })
        }
        IndexCommand::Verify(_) => {
            let progress = Progress::new("reading", out.json);
            let outcomes = db.verify(&mut |_, done, total| progress.at(done, total));
            drop(progress);
            view::verified(&db, &outcomes, out);
            let is_clean = outcomes.iter().flat_map(|outcome| &outcome.result).all(|done| done.problems.is_empty());
            Ok(match worst(&outcomes) {
                Exit::Ok | Exit::Damaged if !is_clean => Exit::Differs,
                Exit::Damaged => Exit::Differs,
                other => other,
            })
        }
        IndexCommand::Plan | IndexCommand::Rebuild => {
            let failure = Failure::new(Exit::Usage, "only the root's own index is planned and rebuilt");
            Err(failure.hint("leave out --lancedb").into())
        }
    }
}

/// Returns the bytes that this process may still write below `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Returns how the command ends when some tables failed: the others were done and shown all the same.
fn worst<T>(outcomes: &[Outcome<T>]) -> Exit {
    outcomes.iter().find_map(|outcome| outcome.result.as_ref().err()).map_or(Exit::Ok, exit)
}

fn exit(error: &IndexError) -> Exit {
    match error.kind {
        // Somebody else has it open.
        ErrorKind::Conflict => Exit::Held,
        // A table that is left alone as it is.
        ErrorKind::Invalid => Exit::Failed,
        kind @ (ErrorKind::NotFound
        | ErrorKind::Unavailable
        | ErrorKind::NoSpace
        | ErrorKind::Corrupt
        | ErrorKind::Internal) => kind.into(),
    }
}

fn refusal(error: IndexError) -> anyhow::Error {
    let exit = exit(&error);
    let failure = Failure::new(exit, error.to_string());
    let failure = match exit {
        Exit::Held => failure.hint("nothing was changed"),
        Exit::NotFound => failure.hint("PATH is a LanceDB directory, one of its *.lance tables, or an EverOS root"),
        _ => failure,
    };
    match error.source {
        Some(source) => anyhow::Error::from_boxed(source).context(failure),
        None => failure.into(),
    }
}
