//! Proves the arrows between the crates, as absences.
//!
//! `cargo tree` tells what each room is linked with, as if it were built alone; the tables below tell what it must not
//! be. Development dependencies are left out: tests may reach anywhere. So are procedural macros, which run in the
//! compiler and not in the program. What a room must not *do* is in [`crate::sources`].

use crate::chore::{self, Failure};
use crate::sources;
use std::collections::{BTreeMap, BTreeSet};

/// Which rooms a room is built on. Every member of the workspace has a row.
const ARROWS: &[(&str, &[&str])] = &[
    ("evermark-core", &[]),
    ("evermark-store", &["evermark-core"]),
    ("evermark-models", &["evermark-core"]),
    ("evermark-lance", &["evermark-core"]),
    ("evermark-engine", &["evermark-core", "evermark-store", "evermark-models"]),
    ("evermark-server", &["evermark-core", "evermark-engine"]),
    (
        "evermark",
        &["evermark-core", "evermark-store", "evermark-models", "evermark-lance", "evermark-engine", "evermark-server"],
    ),
    // For tests: no other room names it here, so none can be linked with it.
    ("evermark-sim", &["evermark-core"]),
    // Runs before anything else is compiled.
    ("xtask", &[]),
];

/// What a room may not be linked with, by any road. A trailing `*` stands for any ending.
const ABSENT: &[(&[&str], &[&str], &str)] = &[
    (
        &["evermark-core"],
        &["arrow*", "axum*", "hyper*", "lance*", "libsqlite3-sys", "notify", "rusqlite", "tokio*", "ureq*"],
        "core decides and does no I/O",
    ),
    (&["evermark-store", "evermark-models", "evermark-engine"], &["tokio*"], "the rooms below the server are sync"),
    (&["xtask"], &["*"], "chores use the standard library alone"),
];

/// What only one room names. Others meet it by standing on that room, or not at all.
const FENCED: &[(&[&str], &str, &str)] = &[
    (&["rusqlite", "libsqlite3-sys"], "evermark-store", "the ledger is the only owner of SQLite"),
    (&["axum*"], "evermark-server", "HTTP is one surface, not a habit"),
    (&["arrow*", "lance*", "datafusion*"], "evermark-lance", "another index must be able to take its place"),
];

/// Checks every member of the workspace, and the sources of the libraries.
pub(crate) fn run() -> Result<(), Failure> {
    let cargo_tree = |more: &[&str]| {
        let common = ["tree", "--locked", "--target", "all", "--edges", "normal,no-proc-macro", "--color", "never"];
        chore::output(&mut chore::cargo(common.iter().chain(more).copied()))
    };
    let members = cargo_tree(&["--workspace", "--depth", "0", "--prefix", "none"])?;
    let mut broken = Vec::new();
    let mut rooms = 0;
    for line in members.lines().filter(|line| !line.is_empty()) {
        let member = name(line);
        let tree = Tree::parse(&cargo_tree(&["--package", member, "--prefix", "depth"])?);
        rooms += 1;
        broken.extend(violations(&tree));
    }
    broken.extend(sources::violations(&chore::root())?);
    if !broken.is_empty() {
        return Err(Failure::Broken(broken));
    }
    println!("{rooms} rooms stand where they should");
    Ok(())
}

/// Returns each rule that the tree's room breaks, as a sentence with the road to the culprit.
fn violations(tree: &Tree) -> Vec<String> {
    let room = name(&tree.root);
    let Some((_, may)) = ARROWS.iter().find(|(row, _)| *row == room) else {
        return vec![format!("`{room}` has no row in the table of arrows (xtask/src/layers.rs)")];
    };
    let mut found = Vec::new();
    for package in tree.edges.get(&tree.root).into_iter().flatten().map(|package| name(package)) {
        if ARROWS.iter().any(|(row, _)| *row == package) && !may.contains(&package) {
            found.push(format!("`{room}` may not be built on `{package}`: that arrow is not in the table"));
        }
    }
    for (_, fenced, because) in ABSENT.iter().filter(|(rooms, ..)| rooms.contains(&room)) {
        if let Some(road) = tree.road(fenced, None) {
            found.push(format!("{}: {because}", road.join(" → ")));
        }
    }
    for (fenced, door, because) in FENCED {
        if let Some(road) = tree.road(fenced, Some(door)) {
            found.push(format!("{}, not through `{door}`: {because}", road.join(" → ")));
        }
    }
    found
}

/// What one package is linked with, as `cargo tree` prints it. Packages are told apart by name and version.
struct Tree {
    root: String,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Tree {
    /// Reads the output of `cargo tree --prefix depth`: on each line the depth, the name, the version and more.
    ///
    /// A package that has been printed before comes again as a leaf; its edges are where it stood first.
    fn parse(text: &str) -> Self {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut above: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            // No package name begins with a digit.
            let (depth, rest) = line.split_at(line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len()));
            let depth: usize = depth.parse().expect("`cargo tree --prefix depth` begins each line with a number");
            let package = rest.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            above.truncate(depth);
            if let Some(parent) = above.last() {
                edges.entry(parent.clone()).or_default().insert(package.clone());
            }
            edges.entry(package.clone()).or_default();
            above.push(package);
        }
        let root = above.first().cloned().expect("`cargo tree` prints at least the package it was asked for");
        Self { root, edges }
    }

    /// Returns the packages between the root and the first one that a pattern of `fenced` names, both included.
    ///
    /// Roads through `door` do not count.
    fn road(&self, fenced: &[&str], door: Option<&str>) -> Option<Vec<String>> {
        let mut seen = BTreeSet::new();
        let mut open = vec![vec![&self.root]];
        while let Some(road) = open.pop() {
            let last = *road.last().expect("a road begins at the root");
            if door == Some(name(last)) || !seen.insert(last) {
                continue;
            }
            if road.len() > 1 && fenced.iter().any(|pattern| matches(pattern, name(last))) {
                return Some(road.into_iter().map(|package| format!("`{}`", name(package))).collect());
            }
            let next = self.edges.get(last).into_iter().flatten();
            open.extend(next.map(|package| road.iter().copied().chain([package]).collect::<Vec<_>>()));
        }
        None
    }
}

/// Returns the name in `name version …`.
fn name(package: &str) -> &str {
    package.split_whitespace().next().unwrap_or(package)
}

/// Tells whether `pattern` names the package.
fn matches(pattern: &str, package: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => package.starts_with(start),
        None => package == pattern,
    }
}

#[cfg(test)]
mod tests;
