//! `evermark doctor`: what is wrong, and what mends it.

use crate::cli::DoctorArgs;
use crate::config::{Environment, Root};
use crate::doctor::{Finding, Level, examine};
use crate::exit::Exit;
use crate::logging;
use crate::output::{Out, tame};
use crate::wiring;
use serde_json::json;

/// Ends with [`Exit::Differs`] when something fails: the root is not as it should be.
pub(crate) fn run(
    args: &DoctorArgs,
    root: &Root,
    env: &Environment,
    verbose: u8,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    // What the libraries log of a broken root would come beside what is found.
    logging::start_quietly(verbose);
    let world = wiring::world_of(env)?;
    let found = examine(root, env, &world, args.offline);
    let verdict = found.verdict();
    if out.json {
        out.document(&json!({ "verdict": verdict, "root": root.path, "findings": found.all }));
    } else {
        found.all.iter().for_each(|finding| show(finding, out));
        let count = |level| found.all.iter().filter(|finding| finding.level == level).count();
        let paint = out.paint;
        let summary = match (count(Level::Fail), count(Level::Warn)) {
            (0, 0) => paint.green("nothing is wrong"),
            (0, warnings) => paint.yellow(format_args!("nothing fails; {warnings} to look at")),
            (fails, warnings) => paint.red(format_args!("{fails} to mend, {warnings} to look at")),
        };
        out.line(summary);
    }
    Ok(match verdict {
        Level::Ok | Level::Warn => Exit::Ok,
        Level::Fail => Exit::Differs,
    })
}

fn show(finding: &Finding, out: &mut Out) {
    let paint = out.paint;
    let mark = match finding.level {
        Level::Ok => paint.green("ok  "),
        Level::Warn => paint.yellow("warn"),
        Level::Fail => paint.red("FAIL"),
    };
    out.line(format_args!("{mark} {:8} {}", finding.area, tame(&finding.message)));
    if let Some(remedy) = finding.remedy.as_deref().filter(|remedy| !remedy.is_empty()) {
        out.line(format_args!("              → {}", tame(remedy)));
    }
}
