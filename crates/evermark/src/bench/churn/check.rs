//! What came of it: once all edits are indexed, every live entry is found exactly once and nothing else is.

use super::run::{Phase, Run, held};
use super::sample::{Sample, Word, look, steady, verdict};
use super::traffic::{body, episodes};
use super::vault::Vault;
use crate::bench::measure::markdown;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use anyhow::{Context, bail};
use evermark_server::api::{SyncData, VerifyData, WorkEvent};
use fastrand::Rng;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;

/// How long all of it may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(300);
/// ... and to become small and healthy again after that.
const RECOVERY: Duration = Duration::from_secs(150);
const GLANCE: Duration = Duration::from_millis(200);
/// Entries of each kind that are searched for.
const SEARCHED: usize = 200;
/// A peer that says that nothing waits is believed when its index has not changed for so long.
const PEER_REST: Duration = Duration::from_secs(10);

/// One thing that must be so, and whether it is.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) holds: bool,
    pub(super) found: String,
}

pub(super) fn check(name: &'static str, holds: bool, found: impl Into<String>) -> Check {
    Check { name, holds, found: found.into() }
}

/// What was found at the end.
pub(super) struct Found {
    pub(super) checks: Vec<Check>,
    /// How long it took until nothing waited.
    pub(super) quiet_after: Duration,
    /// The index when it had come to rest.
    pub(super) rest: Sample,
    pub(super) health: Value,
}

impl Found {
    /// What is left to say when looking failed: the figures of the run are not lost.
    pub(super) fn failed(run: &Run, word: &Mutex<Word>, error: &anyhow::Error) -> Self {
        Self {
            checks: vec![check("it can be looked at what came of it", false, format!("{error:#}"))],
            quiet_after: Duration::ZERO,
            rest: look(run, *held(word), markdown(&run.root).1),
            health: Value::Null,
        }
    }
}

/// Has the daemon index what is there before the first edit.
pub(super) fn settle(run: &Run) -> anyhow::Result<()> {
    let url = run.reach().url.context("the daemon is not there")?;
    if !quiesce(run, &Client::patient(&url, PATIENCE))? {
        bail!("the made-up root was not indexed within {} s", PATIENCE.as_secs());
    }
    Ok(())
}

/// How a daemon is expected to be when nothing waits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Small and healthy, by itself.
    Sound,
    /// Something still makes merging fail, and it says so.
    Ailing,
    /// Small, and it says that it was given too little.
    Scant,
}

/// Looks at a daemon of ours. `n_waiting` messages must be in its inbox.
pub(super) fn ours(
    run: &Run,
    vault: &Mutex<Vault>,
    word: &Mutex<Word>,
    expected: Expected,
    n_waiting: u64,
    seed: u64,
) -> anyhow::Result<Found> {
    let url = run.reach().url.context("the daemon is not there")?;
    let client = Client::patient(&url, PATIENCE);
    let began = run.now();
    let quiet = quiesce(run, &client)?;
    let quiet_after = run.now() - began;
    let mut checks = vec![check("every edit is indexed", quiet, format!("after {:.1} s", quiet_after.as_secs_f64()))];
    if !quiet {
        let health = again(|| client.get("/health"))?;
        checks[0].found = format!("not within {} s: {}", PATIENCE.as_secs(), health["reasons"]);
    }
    let live = held(vault).live();
    let report: VerifyData = again(|| work(&client, "/api/v1/evermark/verify"))?;
    checks.push(check(
        "index and Markdown agree",
        report.clean && report.memories == live && report.rows == live,
        format!(
            "{live} entries; memories {}, rows {}; missing {}, extra {}, different {}",
            report.memories,
            report.rows,
            report.missing.len(),
            report.extra.len(),
            report.different.len()
        ),
    ));
    checks.extend(searches(&client, vault, seed)?);

    let (rest, health) = settled(run, &client, word, expected)?;
    let (now, codes) = verdict(&health);
    let said = format!("{now} {}", codes.join(" "));
    if expected != Expected::Ailing {
        let live = rest.live.unwrap_or_default();
        let (used, allowed) = (rest.allocated.saturating_sub(rest.ballast), steady(live));
        let found =
            format!("{} of {} (live {}, reserve {} aside)", mib(used), mib(allowed), mib(live), mib(rest.ballast));
        checks.push(check("at rest, at most 1.3 x live + 16 MiB", used <= allowed, found));
    }
    checks.push(match expected {
        Expected::Sound => check("health is ok again", now == "ok", said),
        Expected::Ailing | Expected::Scant => {
            check("health names what is wrong", now != "ok" && !codes.is_empty(), said)
        }
    });
    let rows = health.pointer("/evermark/index/rows").and_then(Value::as_object);
    let n_rows: u64 = rows.map_or(0, |rows| rows.values().filter_map(Value::as_u64).sum());
    checks.push(check("no row is there twice", n_rows == live, format!("{n_rows} rows of {live} entries")));
    let waiting = health.pointer("/evermark/inbox_messages").and_then(Value::as_u64).unwrap_or_default();
    checks.push(check(
        "every acknowledged message is kept",
        waiting == n_waiting,
        format!("{waiting} wait, {n_waiting} were acknowledged"),
    ));
    Ok(Found { checks, quiet_after, rest, health })
}

/// Waits until it is as expected, if it ever is, and returns the last look and health.
fn settled(run: &Run, client: &Client, word: &Mutex<Word>, expected: Expected) -> anyhow::Result<(Sample, Value)> {
    let until = run.now() + RECOVERY;
    loop {
        let health = again(|| client.get("/health"))?;
        let rest = look(run, *held(word), markdown(&run.root).1);
        let is_ok = verdict(&health).0 == "ok";
        let is_small = rest.allocated.saturating_sub(rest.ballast) <= steady(rest.live.unwrap_or_default());
        let is_so = match expected {
            Expected::Sound => is_ok && is_small,
            Expected::Ailing => !is_ok,
            Expected::Scant => !is_ok && is_small,
        };
        if is_so || run.now() > until || !run.wait(GLANCE, Phase::Checking) {
            return Ok((rest, health));
        }
    }
}

/// Looks at somebody else's process.
pub(super) fn peer(run: &Run, vault: &Mutex<Vault>, word: &Mutex<Word>, seed: u64) -> anyhow::Result<Found> {
    let began = run.now();
    let client = run.client();
    let mut checks = Vec::new();
    let (mut last, mut since) = (0, run.now());
    let mut health = Value::Null;
    let until = began + PATIENCE;
    let quiet = loop {
        let now = look(run, *held(word), 0).allocated;
        let mut waits = 0;
        if let Some(client) = &client {
            health = client.get("/health").unwrap_or_default();
            waits = health.pointer("/cascade/pending").and_then(Value::as_u64).unwrap_or(u64::MAX);
        }
        if now != last || waits > 0 {
            (last, since) = (now, run.now());
        }
        if run.now() - since > PEER_REST {
            break true;
        }
        if run.now() > until || !run.wait(GLANCE, Phase::Checking) {
            break false;
        }
    };
    let quiet_after = since - began;
    checks.push(check("nothing waits", quiet, format!("after {:.1} s", quiet_after.as_secs_f64())));
    if let Some(client) = &client {
        checks.extend(searches(client, vault, seed)?);
    }
    let rest = look(run, *held(word), markdown(&run.root).1);
    Ok(Found { checks, quiet_after, rest, health })
}

fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "bytes")]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} MiB")
}

/// Has everything indexed, and tells whether nothing waits any more.
fn quiesce(run: &Run, client: &Client) -> anyhow::Result<bool> {
    let until = run.now() + PATIENCE;
    loop {
        // It may be refused while other work runs, or while what was broken is being mended: then once more.
        let synced = work::<SyncData>(client, "/api/v1/evermark/sync");
        let health = again(|| client.get("/health"))?;
        let none = |pointer: &str| health.pointer(pointer).and_then(Value::as_u64) == Some(0);
        let rests =
            ["/evermark/queue/pending", "/evermark/queue/leased", "/evermark/queue/failing", "/evermark/index/pending"];
        let rebuilding = health.pointer("/evermark/rebuilding").and_then(Value::as_bool) != Some(false);
        if synced.is_ok() && !rebuilding && rests.into_iter().all(none) {
            return Ok(true);
        }
        if run.now() > until || !run.wait(GLANCE, Phase::Checking) {
            return Ok(false);
        }
    }
}

/// Asks, and once more if that failed: a connection that was kept may have been closed in that very moment.
fn again<T>(mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    ask().or_else(|_| ask())
}

/// Has the daemon do long work and returns its report.
fn work<R: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<R> {
    let mut report = None;
    client.post_lines(path, &json!({}), |line| {
        match serde_json::from_value::<WorkEvent<R>>(line)? {
            WorkEvent::Done { report: done } => report = Some(done),
            WorkEvent::Failed { error, .. } => bail!("{}", error.message),
            WorkEvent::Progress { .. } | WorkEvent::Alive => {}
        }
        Ok(())
    })?;
    report.ok_or_else(|| Failure::new(Exit::Failed, format!("{path} ended without a report")).into())
}

/// Searches for some of what is there, by words that nothing else has.
fn searches(client: &Client, vault: &Mutex<Vault>, seed: u64) -> anyhow::Result<Vec<Check>> {
    let mut rng = Rng::with_seed(seed);
    let vault = held(vault);
    let mut episodes_of = vault.episodes().iter().collect::<Vec<_>>();
    rng.shuffle(&mut episodes_of);

    let worded = episodes_of.iter().filter_map(|episode| Some((episode, episode.word.as_ref()?)));
    let (mut n, mut once) = (0, 0);
    let mut odd = String::new();
    for (episode, word) in worded.take(SEARCHED) {
        let user = vault.user(episode.user);
        let answer = again(|| client.post("/api/v1/memory/search", &body(user, word, "keyword")))?;
        let ids = episodes(&answer).iter().filter_map(|found| found["id"].as_str()).collect::<Vec<_>>();
        n += 1;
        if ids == [format!("{user}_{}", episode.id)] {
            once += 1;
        } else if odd.is_empty() {
            odd = format!("; {word} finds {ids:?}, not {} of {user}", episode.id);
        }
    }
    let by_word = check("edited episodes are found once, by a word", n > 0 && n == once, format!("{once} of {n}{odd}"));

    let (mut n, mut close) = (0, 0);
    let mut odd = String::new();
    for episode in episodes_of.iter().filter(|episode| !episode.facts.is_empty()).take(SEARCHED) {
        let user = vault.user(episode.user);
        let Some(fact) = rng.choice(&episode.facts) else { continue };
        let answer = again(|| client.post("/api/v1/memory/search", &body(user, &fact.text, "vector")))?;
        let id = format!("{user}_{}", episode.id);
        let scores =
            episodes(&answer).iter().filter(|found| found["id"] == *id).filter_map(|found| found["score"].as_f64());
        let scores = scores.collect::<Vec<_>>();
        n += 1;
        // Its own text is as near as can be.
        if matches!(scores.as_slice(), [score] if *score > 0.999) {
            close += 1;
        } else if odd.is_empty() {
            odd = format!("; {} of {user} scores {scores:?}", fact.id);
        }
    }
    let by_text = check("facts are found by their text", n > 0 && n == close, format!("{close} of {n}{odd}"));
    Ok(vec![by_word, by_text])
}
