//! `evermark completions`: what the shell needs to finish our words.

use crate::cli::Cli;
use crate::output::Out;
use clap::CommandFactory;
use clap_complete::Shell;

pub(crate) fn run(shell: Shell, out: &mut Out) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "evermark", &mut script);
    out.bytes(&script);
}
