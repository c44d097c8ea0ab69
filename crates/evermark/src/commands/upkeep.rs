//! `evermark status`, `sync`, `verify` and `index rebuild`.

use crate::cli::{Cli, SyncArgs};
use crate::config::{Config, Environment, Flags, Root};
use crate::exit::Exit;
use crate::logging::{self, Voice};
use crate::output::{Out, Progress};
use crate::session::Session;
use crate::view;
use evermark_server::api::SyncBody;
use evermark_server::api::status::VerdictName;

/// Ends with [`Exit::Differs`] when the verdict is failing, so that a monitor needs no JSON.
pub(crate) fn status(session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let data = session.status()?;
    if out.json {
        out.document(&data);
    } else {
        view::status(&data, session.daemon(), out);
    }
    Ok(if data.verdict == VerdictName::Failing { Exit::Differs } else { Exit::Ok })
}

/// Asks the daemon that has the root open, and opens nothing itself. Ends with [`Exit::Held`] when none answers.
pub(crate) fn daemon_status(cli: &Cli, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let config = Config::load(Root::choose(cli.root.as_deref(), env)?, env, &Flags::default())?;
    logging::start(&config, Voice::Command, cli.verbose)?;
    status(&Session::daemon_of(&config)?, out)
}

pub(crate) fn sync(args: &SyncArgs, session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let body = SyncBody { allow_mass_delete: args.allow_mass_delete };
    let data = session.sync(body, &Progress::new("indexing", out.json))?;
    if out.json {
        out.document(&data);
    } else {
        view::sync(&data, out);
    }
    Ok(if data.held.is_some() { Exit::Temporary } else { Exit::Ok })
}

pub(crate) fn verify(session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let data = session.verify(&Progress::new("comparing", out.json))?;
    if out.json {
        out.document(&data);
    } else {
        view::verify(&data, out);
    }
    Ok(if data.clean { Exit::Ok } else { Exit::Differs })
}

pub(crate) fn rebuild(session: &Session, out: &mut Out) -> anyhow::Result<Exit> {
    let data = session.rebuild(&Progress::new("rebuilding", out.json))?;
    if out.json {
        out.document(&data);
    } else {
        view::rebuild(&data, out);
    }
    Ok(Exit::Ok)
}
