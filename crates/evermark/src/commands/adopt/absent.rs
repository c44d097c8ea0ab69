//! What a build without Lance can say.

use crate::cli::AdoptArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::Out;

pub(crate) fn run(_args: &AdoptArgs, _config: &Config, _out: &mut Out) -> anyhow::Result<Exit> {
    let failure = Failure::new(Exit::Failed, "this build of evermark has no Lance, so it cannot read EverOS's index");
    Err(failure.hint("`evermark init` adopts the Markdown; vectors are made anew").into())
}
