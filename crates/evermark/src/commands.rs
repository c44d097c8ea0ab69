//! One file per command: read the arguments, have it done, show the answer.

mod add;
mod adopt;
mod completions;
mod config;
mod demo;
mod doctor;
mod get;
mod index;
mod init;
pub(crate) mod lancedb;
mod model;
mod search;
mod serve;
mod service;
mod upkeep;

use crate::cli::{Cli, Command, ConfigCommand, ModelCommand};
use crate::config::{Config, Environment, Flags, Root};
use crate::exit::Exit;
use crate::limits;
use crate::logging::{self, Voice};
use crate::output::{Out, note};
use crate::session::{Missing, Session};

/// Does what the command line asks for.
pub(crate) fn run(cli: &Cli, env: &Environment, out: &mut Out) -> anyhow::Result<Exit> {
    let root = || Root::choose(cli.root.as_deref(), env);
    match &cli.command {
        Command::Init(args) => init::run(args, &root()?, out),
        Command::Adopt(args) => {
            let config = Config::load(root()?, env, &Flags::default())?;
            config.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
            logging::start(&config, Voice::Command, cli.verbose)?;
            adopt::run(args, &config, out)
        }
        Command::Serve(args) => serve::run(args, root()?, env, cli.verbose, out),
        Command::Add(args) => on(cli, env, Missing::Create, |session| add::add(args, session, out)),
        Command::Flush(args) => on(cli, env, Missing::Refuse, |session| add::flush(args, session, out)),
        Command::Search(args) => on(cli, env, Missing::Refuse, |session| search::run(args, session, out)),
        Command::Get(args) => on(cli, env, Missing::Refuse, |session| get::run(args, session, out)),
        Command::Status(args) if args.daemon => upkeep::daemon_status(cli, env, out),
        Command::Status(_) => on(cli, env, Missing::Refuse, |session| upkeep::status(session, out)),
        Command::Sync(args) => on(cli, env, Missing::Refuse, |session| upkeep::sync(args, session, out)),
        Command::Verify => on(cli, env, Missing::Refuse, |session| upkeep::verify(session, out)),
        Command::Index(command) => index::run(command, cli, env, out),
        Command::Doctor(args) => doctor::run(args, &root()?, env, cli.verbose, out),
        Command::Service(command) => service::run(command, &root()?, env, out),
        Command::Model(ModelCommand::Fetch(args)) => model::fetch(args, &root()?, env, out),
        Command::Config(ConfigCommand::Show) => config::show(root()?, env, out),
        Command::Demo(args) => demo::run(args, cli.root.as_deref(), env, cli.verbose, out),
        Command::Completions { shell } => {
            completions::run(*shell, out);
            Ok(Exit::Ok)
        }
        Command::Bench(command) => crate::bench::run(command, env, out),
    }
}

/// Opens the root (or finds the daemon that has it open), does `act`, and lets go of it, whatever came of it.
fn on(
    cli: &Cli,
    env: &Environment,
    missing: Missing,
    act: impl FnOnce(&Session) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let config = Config::load(Root::choose(cli.root.as_deref(), env)?, env, &Flags::default())?;
    config.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    logging::start(&config, Voice::Command, cli.verbose)?;
    limits::raise_descriptors();
    let session = Session::open(&config, env, missing)?;
    let done = act(&session);
    let closed = session.close();
    let exit = done?;
    closed.map(|()| exit)
}
