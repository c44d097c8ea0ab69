//! What a build without Lance can say.

use crate::cli::IndexCommand;
use crate::exit::{Exit, Failure};
use crate::output::Out;
use std::path::Path;

pub(crate) fn run(_command: &IndexCommand, _path: &Path, _table: Option<&str>, _out: &mut Out) -> anyhow::Result<Exit> {
    let failure =
        Failure::new(Exit::Failed, "this build of evermark has no Lance, so it cannot read LanceDB directories");
    Err(failure.hint("build it with its default features (`cargo build -p evermark`)").into())
}
