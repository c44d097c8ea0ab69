//! Measures the program: builds it the way the tests do, then hands the arguments to `evermark bench`.

use crate::chore::{self, Failure};
use std::process::Command;

/// Runs `evermark bench` with `args`; without any, or with `all`, everything that is aimed at, and then the peers.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    // The whole workspace is selected, though one binary is built: `--package evermark` would give the shared
    // dependencies other features, and compile Lance again.
    chore::run(&mut chore::cargo(["build", "--locked", "--workspace", "--bin", "evermark"]))?;
    // Built with the same profile, it lies beside us.
    let xtask = std::env::current_exe().map_err(|source| Failure::Start { command: "evermark".to_owned(), source })?;
    let bench = |args: &[&[String]]| {
        let mut command = Command::new(xtask.with_file_name("evermark"));
        command.arg("bench").args(args.concat());
        chore::run(&mut command)
    };
    let (figures, peers) = (["figures".to_owned()], ["peers".to_owned()]);
    match args.split_first() {
        None => bench(&[&figures]).and_then(|()| bench(&[&peers])),
        Some((first, rest)) if first == "all" => bench(&[&figures, rest]).and_then(|()| bench(&[&peers])),
        Some(_) => bench(&[args]),
    }
}
