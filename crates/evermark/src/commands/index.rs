//! `evermark index …`: looks after the root's own index. With `--lancedb` it is [`super::lancedb`]'s work.
//!
//! Each goes through the daemon when one runs. Without one, `status` and `prune` go by the files alone, so that they work
//! where nothing opens; the others open the root.

use super::{lancedb, on, upkeep};
use crate::cli::{Cli, IndexArgs, IndexCommand};
use crate::clock;
use crate::config::{Config, Environment, Flags, Root};
use crate::exit::{Exit, Failure};
use crate::logging::{self, Voice};
use crate::output::{Out, Progress, note};
use crate::session::{LOOK_AGAIN, Missing, PATIENCE, Session, held};
use crate::{offline, view, wiring};
use evermark_server::api::{DryRunBody, PruneData};
use evermark_store::error::Error as StoreError;
use evermark_store::layout::Layout;
use serde_json::json;

pub(crate) fn run(command: &IndexCommand, cli: &Cli, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let foreign = match command {
        IndexCommand::Status(index) => index,
        IndexCommand::Verify(verify) => &verify.index,
        IndexCommand::Prune(work) | IndexCommand::Compact(work) => &work.index,
        IndexCommand::Plan | IndexCommand::Rebuild => &IndexArgs { lancedb: None, table: None },
    };
    if let Some(path) = &foreign.lancedb {
        return lancedb::run(command, path, foreign.table.as_deref(), out);
    }
    match command {
        IndexCommand::Status(_) => status(cli, env, out),
        IndexCommand::Plan => on(cli, env, Missing::Refuse, |session| plan(session, out)),
        IndexCommand::Prune(work) => prune(DryRunBody { dry_run: work.dry_run }, cli, env, out),
        IndexCommand::Compact(work) => {
            let body = DryRunBody { dry_run: work.dry_run };
            on(cli, env, Missing::Refuse, |session| compact(body, session, out))
        }
        IndexCommand::Verify(args) => on(cli, env, Missing::Refuse, |session| {
            if args.pieces {
                let found = session.inspect(&Progress::new("reading", out.json))?;
                view::index::inspected(&found);
            }
            upkeep::verify(session, out)
        }),
        IndexCommand::Rebuild => on(cli, env, Missing::Refuse, |session| upkeep::rebuild(session, out)),
    }
}

fn configured(cli: &Cli, env: &Environment) -> anyhow::Result<(Config, Layout)> {
    let config = Config::load(Root::choose(cli.root.as_deref(), env)?, env, &Flags::default())?;
    config.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    logging::start(&config, Voice::Command, cli.verbose)?;
    let layout = Layout::open(&config.root.path).map_err(|_| {
        let message = format!("there is no root at {}", config.root.path.display());
        Failure::new(Exit::NotFound, message).hint("`evermark init` makes one; --root or EVERMARK_ROOT name another")
    })?;
    Ok((config, layout))
}

/// Asks the daemon; where none answers, measures the files. Opens nothing and takes no lock.
fn status(cli: &Cli, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let (config, layout) = configured(cli, env)?;
    let session = Session::daemon_of(&config).ok();
    let (index, generation, reasons) = match &session {
        Some(session) => {
            let data = session.status()?;
            (data.index.unwrap_or_default(), data.generation, data.reasons)
        }
        None => {
            let current = layout.current().ok().flatten().map_or_else(String::new, |current| current.to_string());
            (offline::look(&layout, &config, &wiring::world_of(env)?), current, Vec::new())
        }
    };
    let daemon = session.as_ref().and_then(Session::daemon);
    if out.json {
        out.document(&json!({
            "root": layout.root(), "daemon": daemon, "generation": generation, "reasons": reasons, "index": index,
        }));
    } else {
        view::index::status(&index, &generation, daemon, &reasons, out);
    }
    Ok(Exit::Ok)
}

fn plan(session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let plan = session.plan()?;
    if out.json {
        out.document(&plan);
    } else {
        view::index::plan(&plan, out);
    }
    Ok(Exit::Ok)
}

/// Prunes through the daemon, or by the files alone. Never opens the root: on a full disk that may not be possible.
fn prune(body: DryRunBody, cli: &Cli, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let (config, layout) = configured(cli, env)?;
    let world = wiring::world_of(env)?;
    let started = clock::now();
    let done = loop {
        let error = match offline::lock(&layout, world.as_ref()) {
            Ok(_lock) => break offline::prune(&layout, &config, body.dry_run, &world)?,
            Err(error) => error,
        };
        let StoreError::Held { .. } = &error else { return Err(held(error.into())) };
        if let Ok(session) = Session::daemon_of(&config) {
            break session.prune(body, &Progress::new("removing", out.json))?;
        }
        // A holder without an address is another command, soon done, or a daemon that is starting or ending.
        if started.elapsed() > PATIENCE {
            return Err(held(error.into()));
        }
        clock::pause(LOOK_AGAIN);
    };
    if out.json {
        out.document(&done);
    } else {
        view::index::pruned(&done, out);
    }
    Ok(exit_of(&done))
}

/// What was done was done; what failed is a failure all the same.
fn exit_of(done: &PruneData) -> Exit {
    if done.failures.is_empty() { Exit::Ok } else { Exit::Failed }
}

fn compact(body: DryRunBody, session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let done = session.compact(body, &Progress::new("merging", out.json))?;
    if out.json {
        out.document(&done);
    } else {
        view::index::compacted(&done, out);
    }
    Ok(match (done.failures.is_empty(), &done.held) {
        (false, _) => Exit::Failed,
        (true, Some(_)) => Exit::Temporary,
        (true, None) => Exit::Ok,
    })
}
