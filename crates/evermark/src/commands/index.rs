//! `evermark index …`: looks after the root's own index. With `--lancedb` it is [`lancedb`](super::lancedb)'s work.

use super::{lancedb, on, upkeep};
use crate::cli::{Cli, IndexArgs, IndexCommand};
use crate::config::Environment;
use crate::exit::{Exit, Failure};
use crate::output::Out;
use crate::session::Missing;

pub(crate) fn run(command: &IndexCommand, cli: &Cli, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let foreign = match command {
        IndexCommand::Status(index) | IndexCommand::Verify(index) => index,
        IndexCommand::Prune(work) | IndexCommand::Compact(work) => &work.index,
        IndexCommand::Plan | IndexCommand::Rebuild => &IndexArgs { lancedb: None, table: None },
    };
    if let Some(path) = &foreign.lancedb {
        return lancedb::run(command, path, foreign.table.as_deref(), out);
    }
    match command {
        IndexCommand::Verify(_) => on(cli, env, Missing::Refuse, |session| upkeep::verify(session, out)),
        IndexCommand::Rebuild => on(cli, env, Missing::Refuse, |session| upkeep::rebuild(session, out)),
        IndexCommand::Status(_) | IndexCommand::Plan | IndexCommand::Prune(_) | IndexCommand::Compact(_) => {
            Err(Failure::new(Exit::Failed, "this is not built yet").into())
        }
    }
}
