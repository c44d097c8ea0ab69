//! `evermark index … --lancedb PATH`: looks after LanceDB directories that something else made.

use crate::cli::IndexCommand;
use crate::exit::{Exit, Failure};
use crate::output::Out;
use std::path::Path;

pub(crate) fn run(_command: &IndexCommand, path: &Path, _table: Option<&str>, _out: &mut Out) -> anyhow::Result<Exit> {
    Err(Failure::new(Exit::Failed, format!("{}: this is not built yet", path.display())).into())
}
