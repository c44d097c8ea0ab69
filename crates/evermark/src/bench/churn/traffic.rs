//! What is done to the root and its daemon: edits by a timetable, and searches meanwhile.

use super::run::{Phase, Run, held};
use super::vault::{Vault, What};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

const METHODS: [&str; 3] = ["keyword", "vector", "hybrid"];

/// What the edits came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits {
    pub(super) appends: u64,
    pub(super) changes: u64,
    pub(super) deletes: u64,
    pub(super) entries: u64,
    pub(super) changed_bytes: u64,
    pub(super) written_bytes: u64,
    /// What could not be written, by the error.
    pub(super) refused: BTreeMap<String, u64>,
    /// The furthest that it fell behind its timetable.
    pub(super) late_max: Duration,
    pub(super) took: Duration,
}

impl Edits {
    pub(super) fn n(&self) -> u64 {
        self.appends + self.changes + self.deletes
    }

    pub(super) fn n_refused(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Edits at `rate` a second for `time`: the n-th at its own moment, whenever the one before was done.
pub(super) fn edit(run: &Run, vault: &Mutex<Vault>, rate: f64, time: Duration) -> Edits {
    let mut edits = Edits::default();
    let began = run.now();
    for n in 0_u32.. {
        let due = Duration::from_secs_f64(f64::from(n) / rate);
        if due >= time || !run.wait_until(began + due, Phase::Editing) {
            break;
        }
        edits.late_max = edits.late_max.max(run.now().saturating_sub(began + due));
        match held(vault).edit() {
            Ok(edit) => {
                match edit.what {
                    What::Append => edits.appends += 1,
                    What::Change => edits.changes += 1,
                    What::Delete => edits.deletes += 1,
                }
                edits.entries += edit.entries;
                edits.changed_bytes += edit.changed_bytes;
                edits.written_bytes += edit.written_bytes;
            }
            Err(error) => *edits.refused.entry(error.to_string()).or_default() += 1,
        }
    }
    edits.took = run.now() - began;
    edits
}

/// One search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    pub(super) at: Duration,
    pub(super) took: Duration,
    pub(super) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Hits,
    Nothing,
    /// The daemon answered that it cannot.
    Refused,
    /// No daemon was there, or it went away.
    Down,
}

/// What the searches came to.
#[derive(Default)]
pub(super) struct Searches {
    pub(super) all: Vec<Search>,
    /// What was said instead of an answer, and how often.
    pub(super) errors: BTreeMap<String, u64>,
}

/// Searches at `rate` a second until the edits are over.
pub(super) fn search(run: &Run, vault: &Mutex<Vault>, rate: f64, seed: u64) -> Searches {
    let mut searches = Searches::default();
    let mut rng = Rng::with_seed(seed);
    let mut client = None;
    let pace = Duration::from_secs_f64(1.0 / rate);
    let mut due = run.now();
    for n in 0_usize.. {
        if !run.wait_until(due, Phase::Editing) {
            break;
        }
        // A search that took long is not made up for: it counts once, as for the person who waited.
        due = (due + pace).max(run.now());
        let Some((user, query)) = held(vault).question(&mut rng) else { continue };
        let reach = run.reach();
        let at = run.now();
        if client.as_ref().map(|(url, _)| url) != reach.url.as_ref() {
            client = reach.url.clone().zip(run.client());
        }
        let Some((_, client)) = &client else {
            searches.all.push(Search { at, took: Duration::ZERO, answer: Answer::Down });
            continue;
        };
        let method = METHODS[n % METHODS.len()];
        let answer = match client.post("/api/v1/memory/search", &body(&user, &query, method)) {
            Ok(answer) if episodes(&answer).is_empty() => Answer::Nothing,
            Ok(_) => Answer::Hits,
            Err(_) if run.reach().url != reach.url => Answer::Down,
            Err(error) => {
                *searches.errors.entry(format!("{error:#}")).or_default() += 1;
                Answer::Refused
            }
        };
        searches.all.push(Search { at, took: run.now() - at, answer });
    }
    searches
}

/// Returns the body of a search. EverOS takes the same.
pub(super) fn body(user: &str, query: &str, method: &str) -> Value {
    json!({ "user_id": user, "query": query, "method": method, "top_k": 10 })
}

/// Returns the episodes of an answer.
pub(super) fn episodes(answer: &Value) -> &[Value] {
    answer.pointer("/data/episodes").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
