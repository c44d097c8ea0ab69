//! Repository chores, with the standard library alone: what CI runs is what a person runs.
//!
//! `ci` runs every check, light first. `layers` proves the arrows between the crates, `lockfile` holds the number of
//! packages, `reliability` compares docs/reliability.md with the tests it names, `bench` builds the program and measures it,
//! `distill` makes the embedding table that is built in, `sim` runs the simulation by hand.
#![expect(clippy::print_stdout, reason = "a command-line tool speaks on standard output")]

mod bench;
mod chore;
mod ci;
mod distill;
mod layers;
mod lockfile;
mod reliability;
mod sim;
mod sources;

use chore::Failure;
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask <chore>

  ci [STEP…]    every check that guards a commit, light first; or only the named ones
  layers        the arrows between the crates, and what libraries must not do
  lockfile      the number of packages in Cargo.lock, against its ceiling
  reliability   every scenario of docs/reliability.md, and that the tests it names are there
  bench ARG…    build the program, then run `evermark bench ARG…`; without any, figures and peers
  distill ARG…  the built-in embedding table, from the weights of all-MiniLM-L6-v2
  sim ARG…      the simulation: --seeds N fresh ones, --seed S again, --minutes M of them";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (chore, rest) = args.split_first().map_or(("help", &[][..]), |(first, rest)| (first.as_str(), rest));
    let done = match chore {
        "ci" => ci::run(rest),
        "layers" => layers::run(),
        "lockfile" => lockfile::run(),
        "reliability" => reliability::run(),
        "bench" => bench::run(rest),
        "distill" => distill::run(rest),
        "sim" => sim::run(rest),
        "help" | "-h" | "--help" => {
            println!("{HELP}");
            Ok(())
        }
        other => Err(Failure::Usage(format!("no chore is called `{other}`\n\n{HELP}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {chore}: {failure}");
            ExitCode::FAILURE
        }
    }
}
