//! Compares docs/reliability.md with the tests it names: a table of promises must not outlive what proves them.
//!
//! Every row of a table that begins with a number is a scenario. It names at least one test, as `crate::module::name` in
//! backticks, or says in its last column that it is not covered.

use crate::chore::{self, Failure};
use std::collections::BTreeMap;
use std::path::Path;

const DOCUMENT: &str = "docs/reliability.md";
/// How many scenarios there are.
const SCENARIOS: u32 = 88;
/// What stands in the last column of a scenario without a test, before the reason.
const NOT_COVERED: &str = "not covered";

/// One row: its last column, and the tests named anywhere in it.
#[derive(Debug, PartialEq)]
struct Scenario<'a> {
    number: u32,
    tests: Vec<&'a str>,
    result: &'a str,
}

/// Fails where the document and the sources disagree.
pub(crate) fn run() -> Result<(), Failure> {
    let root = chore::root();
    let document = chore::read(&root.join(DOCUMENT))?;
    let scenarios = scenarios(&document);
    let mut broken = complaints(&document, &scenarios);
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for scenario in &scenarios {
        for test in &scenario.tests {
            let is_there = places(test).iter().any(|(file, name)| {
                let text = texts.entry(file.clone()).or_insert_with(|| std::fs::read_to_string(root.join(file)).ok());
                text.as_deref().is_some_and(|text| has_test(text, name))
            });
            if !is_there {
                broken.push(format!("scenario {}: there is no test `{test}`", scenario.number));
            }
        }
    }
    let covered = scenarios.iter().filter(|scenario| is_covered(scenario)).count();
    println!("{covered} of {} scenarios in {DOCUMENT} name tests, and the tests are there", scenarios.len());
    if broken.is_empty() { Ok(()) } else { Err(Failure::Broken(broken)) }
}

fn is_covered(scenario: &Scenario<'_>) -> bool {
    !scenario.tests.is_empty() && !scenario.result.starts_with(NOT_COVERED)
}

/// Returns what is wrong with the document by itself.
fn complaints(document: &str, scenarios: &[Scenario<'_>]) -> Vec<String> {
    let mut broken = Vec::new();
    for number in 1..=SCENARIOS {
        let n = scenarios.iter().filter(|scenario| scenario.number == number).count();
        if n != 1 {
            broken.push(format!("scenario {number} has {n} rows"));
        }
    }
    for scenario in scenarios {
        if scenario.tests.is_empty() && !scenario.result.starts_with(NOT_COVERED) {
            broken.push(format!("scenario {} names no test and does not say `{NOT_COVERED}`", scenario.number));
        }
    }
    let covered = scenarios.iter().filter(|scenario| is_covered(scenario)).count();
    let sentence = format!("**{covered} of {SCENARIOS}**");
    if !document.contains(&sentence) {
        broken.push(format!("{DOCUMENT} does not say {sentence}"));
    }
    broken
}

/// Returns the rows that begin with a number.
fn scenarios(document: &str) -> Vec<Scenario<'_>> {
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        let quoted = line.split('`').skip(1).step_by(2);
        let tests = quoted.filter(|word| word.starts_with("evermark") && word.contains("::")).collect();
        Some(Scenario { number, tests, result: cells.last()? })
    });
    rows.collect()
}

/// Returns the files in which a test may stand, with its name there.
fn places(test: &str) -> Vec<(String, String)> {
    let parts: Vec<&str> = test.split("::").collect();
    let (Some(krate), Some(name)) = (parts.first(), parts.last()) else { return Vec::new() };
    let modules = parts[1..parts.len() - 1].join("/");
    ["tests/it", "src"]
        .iter()
        .map(|folder| Path::new("crates").join(krate).join(folder).join(format!("{modules}.rs")))
        .map(|file| (file.display().to_string(), (*name).to_owned()))
        .collect()
}

/// Tells whether a file has a test of this name that is not ignored.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| head.iter().any(|head| line.starts_with(head.as_str())));
    let Some(at) = at else { return false };
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let attributes: Vec<&&str> = attributes.collect();
    let is_test = |line: &&&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    attributes.iter().any(is_test) && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

#[cfg(test)]
mod tests;
