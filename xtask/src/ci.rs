//! Every check that guards a commit, light first, so that what can fail in a second does not wait for Lance.
//!
//! The order follows cost. Cargo keeps two copies of each dependency: one that can only be checked against (clippy and
//! rustdoc share it) and one that can be linked (the tests, the doctests and the program share that). Clippy of the
//! default members needs no Lance. Clippy of everything pays for Lance's metadata, rustdoc rides on it, and only then
//! do the tests pay for compiling all of it. Each of these selects the whole workspace, because Cargo decides features
//! by what is selected: `--package evermark` would compile most dependencies once more, with other features.

use crate::chore::{self, Failure};
use crate::{layers, lockfile, reliability};
use std::time::{Duration, Instant};

/// How long the advisory database may take to arrive; it is some ten megabytes.
const FETCH_MAX: Duration = Duration::from_secs(120);

/// How a step ended, when it did not fail.
enum Outcome {
    Passed,
    Skipped(&'static str),
}

struct Step {
    name: &'static str,
    check: fn() -> Result<Outcome, Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", check: || cargo(&["fmt", "--all", "--check"]) },
    Step { name: "layers", check: || layers::run().map(|()| Outcome::Passed) },
    Step { name: "lockfile", check: || lockfile::run().map(|()| Outcome::Passed) },
    Step { name: "reliability", check: || reliability::run().map(|()| Outcome::Passed) },
    Step { name: "deny", check: || cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"]) },
    Step { name: "advisories", check: advisories },
    Step { name: "clippy", check: || cargo(&["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]) },
    Step {
        name: "clippy-all",
        check: || cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Step { name: "rustdoc", check: rustdoc },
    Step { name: "tests", check: || cargo(&["nextest", "run", "--locked", "--workspace", "--profile", "ci"]) },
    Step { name: "doctests", check: || cargo(&["test", "--locked", "--workspace", "--doc"]) },
];

/// Runs the named steps, or all of them, and stops at the first that fails.
#[expect(clippy::disallowed_methods, reason = "says how long each step took; nothing depends on it")]
pub(crate) fn run(only: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|step| step.name != *name)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(Failure::Usage(format!("no step is called `{unknown}`; there are {}", names.join(", "))));
    }
    let began = Instant::now();
    let mut report = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)) {
        println!("── {}", step.name);
        let began = Instant::now();
        let outcome = (step.check)();
        let line = format!("{:<11}{:>8.1} s", step.name, began.elapsed().as_secs_f64());
        match outcome {
            Ok(Outcome::Passed) => report.push(line),
            Ok(Outcome::Skipped(why)) => report.push(format!("{line}  SKIPPED: {why}")),
            Err(failure) => {
                report.push(format!("{line}  FAILED, later steps did not run"));
                println!("── ci\n{}", report.join("\n"));
                return Err(failure);
            }
        }
        println!("{}", report.last().expect("a line was pushed above"));
    }
    println!("── ci\n{}\n{:<11}{:>8.1} s", report.join("\n"), "all", began.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(args: &[&str]) -> Result<Outcome, Failure> {
    chore::run(&mut chore::cargo(args.iter().copied()))?;
    Ok(Outcome::Passed)
}

/// Checks for known vulnerabilities. A database that cannot be fetched skips the step; a finding in one fails it.
fn advisories() -> Result<Outcome, Failure> {
    // Git must neither ask for a password nor wait for a server that has gone quiet.
    let mut fetch = chore::cargo(["deny", "--locked", "fetch", "db"]);
    fetch.env("GIT_TERMINAL_PROMPT", "0").env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "20");
    match chore::run_within(&mut fetch, FETCH_MAX) {
        Ok(()) => cargo(&["deny", "--locked", "--offline", "check", "advisories"]),
        Err(Failure::Exit { .. } | Failure::Slow { .. }) => {
            Ok(Outcome::Skipped("the advisory database cannot be fetched from here"))
        }
        Err(failure) => Err(failure),
    }
}

/// Builds the documentation, private items included, with every warning an error.
fn rustdoc() -> Result<Outcome, Failure> {
    let mut doc = chore::cargo(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    chore::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}
