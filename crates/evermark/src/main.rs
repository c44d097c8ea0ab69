//! Evermark: long-term memory for AI agents, in files that people own.
//!
//! The program is the only room that knows every concrete type: it reads the environment, chooses the root, opens the engine
//! or finds the daemon that has it open, and speaks to people.

mod bench;
mod cli;
mod client;
mod clock;
mod commands;
mod config;
mod doctor;
mod exit;
mod limits;
mod logging;
mod machine;
mod notify;
mod offline;
mod output;
mod service;
mod session;
mod signals;
mod view;
mod wiring;
mod world;

use clap::Parser;
use cli::Cli;
use config::Environment;
use exit::Exit;
use output::Out;
use std::process::ExitCode;

fn main() -> ExitCode {
    let env = Environment::of_process();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, with exit code 0.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    if cli.command.opens_engine() {
        wiring::complete_environment(&env);
        if let Err(error) = signals::outlive_size_limit() {
            output::note(format_args!("note: a limit of file sizes (ulimit -f) would end this process: {error}"));
        }
    }
    let mut out = Out::new(cli.json, cli.color, env.get("NO_COLOR").is_some());
    let result = commands::run(&cli, &env, &mut out);
    let exit = result.unwrap_or_else(|error| {
        out.flush();
        tell(&error, cli.json);
        Exit::of(&error)
    });
    match out.finish() {
        Ok(()) => exit.into(),
        Err(error) => {
            output::note(format_args!("error: cannot write to standard output: {error}"));
            Exit::Failed.into()
        }
    }
}

/// Says what went wrong on standard error: a sentence, its causes, and what to try.
fn tell(error: &anyhow::Error, json: bool) {
    let hint = exit::hint(error);
    if json {
        let causes = error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>();
        output::note(serde_json::json!({
            "error": { "kind": Exit::of(error).name(), "message": error.to_string(), "causes": causes, "hint": hint }
        }));
        return;
    }
    output::note(format_args!("error: {}", output::tame(&error.to_string())));
    for cause in error.chain().skip(1) {
        output::note(format_args!("  because: {}", output::tame(&cause.to_string())));
    }
    if let Some(hint) = hint {
        output::note(format_args!("hint: {hint}"));
    }
}
