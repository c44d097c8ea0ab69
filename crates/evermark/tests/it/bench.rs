//! Measurements that are long by nature, run for seconds: what they check must hold, and they must leave nothing behind.

use crate::kit::{Home, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// A home whose temporary files are its own, so that what is left behind is seen.
fn home() -> (Home, PathBuf) {
    let mut home = Home::new();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let name = temporary.to_str().expect("a plain path").to_owned();
    home.set("TMPDIR", &name);
    (home, temporary)
}

fn is_empty(folder: &PathBuf) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_none()
}

/// Fails unless every check of a report holds.
#[track_caller]
fn holds(report: &Value) {
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.len() > 8, "{report}");
    for check in checks {
        assert_eq!(check["holds"], true, "{check} in {}", report["health"]);
    }
}

#[test]
fn churn_keeps_the_bound_and_every_entry() {
    let (home, temporary) = home();
    let svg = home.path().join("churn.svg");
    let svg = svg.to_str().expect("a plain path");
    let args = ["--json", "bench", "churn", "--facts", "100", "--minutes", "0.1", "--rate", "40", "--svg", svg];
    let report = home.run(&args).json();
    holds(&report);
    assert_eq!(report["edits"]["n"], 240);
    assert!(report["bytes"]["looks"].as_u64().expect("a number") > 50, "{report}");
    let drawn = std::fs::read_to_string(svg).expect("a picture");
    assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n") && drawn.contains("edits end"));
    assert!(is_empty(&temporary), "nothing is left behind");
}

#[test]
fn churn_survives_sudden_deaths() {
    let (home, temporary) = home();
    let args = ["--json", "bench", "churn", "--facts", "100", "--minutes", "0.1", "--fault", "kill", "--every", "1"];
    let report = home.run(&args).json();
    holds(&report);
    assert!(report["faults"]["times"].as_u64().expect("a number") > 2, "{}", report["faults"]);
    assert!(is_empty(&temporary), "nothing is left behind");
}

#[test]
fn churn_that_is_interrupted_puts_everything_away() {
    let (home, temporary) = home();
    let mut child = home.command(&["bench", "churn", "--facts", "100"]).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let said = lines.by_ref().map_while(Result::ok).find(|line| line.contains("editing"));
    assert!(said.is_some(), "it came to editing");
    assert!(!is_empty(&temporary));
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(75));
    assert!(is_empty(&temporary), "the root is gone");
    eventually("no daemon is left", || {
        let processes = std::fs::read_dir("/proc").expect("processes").flatten();
        let mut commands = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        let root = temporary.to_str().expect("a plain path");
        !commands.any(|command| String::from_utf8_lossy(&command).contains(root))
    });
}

#[test]
fn single_commits_leave_no_more_than_what_is_live_needs() {
    let (home, temporary) = home();
    let args = ["--json", "bench", "commits", "--n", "400", "--live", "50", "--dim", "8"];
    let report = home.run(&args).json();
    assert_eq!(report["bounded"], true, "{report}");
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(20), "{report}");
    assert!(is_empty(&temporary), "nothing is left behind");
}
