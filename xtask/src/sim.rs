//! Runs the simulation: fresh seeds, many of them, or one again.

use crate::chore::{self, Failure};

const USAGE: &str = "usage: cargo xtask sim [--seeds N] [--seed S] [--minutes M] [--shrink]";

/// Runs the simulation's test with what `args` ask for in its environment.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let mut variables = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let name = match arg.as_str() {
            "--seeds" => "EVERMARK_SIM_SEEDS",
            "--seed" => "EVERMARK_SIM_SEED",
            "--minutes" => "EVERMARK_SIM_MINUTES",
            "--shrink" => {
                variables.push(("EVERMARK_SIM_SHRINK", "1"));
                continue;
            }
            _ => return Err(Failure::Usage(USAGE.to_owned())),
        };
        let value = args.next().filter(|value| value.parse::<u64>().is_ok());
        variables.push((name, value.ok_or_else(|| Failure::Usage(USAGE.to_owned()))?.as_str()));
    }
    let test = "every_seed_keeps_every_promise";
    // The whole workspace is selected, though one test is built: features are decided by what is selected.
    let mut command =
        chore::cargo(["test", "--locked", "--workspace", "--test", "sim", "--", "--nocapture", "--exact", test]);
    chore::run(command.envs(variables))
}
