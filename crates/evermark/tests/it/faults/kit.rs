//! What fault tests share: volumes, the shim, a sampler of bytes and descriptors, memories, and the oracle that is asked
//! after each fault.

pub(crate) mod corpus;
pub(crate) mod mount;
pub(crate) mod sampler;
pub(crate) mod shim;

use crate::kit::{Daemon, Home};
use corpus::hits;
use evermark_sim::stub_embeddings::StubEmbeddings;
use serde_json::Value;
use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

/// Says on standard error why a test cannot show anything here. It then passes.
pub(crate) fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("SKIPPED: {name}: {why}");
}

/// Unwraps, or ends the test as skipped.
macro_rules! or_skip {
    ($what:expr) => {
        match $what {
            Ok(value) => value,
            Err(why) => return $crate::faults::kit::skipped(&why),
        }
    };
}
pub(crate) use or_skip;

/// Tells whether this process may mount.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Tries until `is_so`, for so many seconds. Returns how long it took.
#[track_caller]
pub(crate) fn within(seconds: u64, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        std::thread::park_timeout(Duration::from_millis(30));
    }
    started.elapsed()
}

/// Long enough for everything that comes right by itself, on a busy machine.
pub(crate) const SOON: u64 = 100;

/// Returns how often a loop goes round: `n`, or that many times what `EVERMARK_TEST_EFFORT` says, for a long run by hand.
pub(crate) fn rounds(n: usize) -> usize {
    n * std::env::var("EVERMARK_TEST_EFFORT").ok().and_then(|effort| effort.parse::<usize>().ok()).unwrap_or(1)
}

/// A root on which daemons notice things quickly.
pub(crate) fn quick_home() -> Home {
    let mut home = Home::new();
    home.set("EVERMARK_SYNC__SWEEP_INTERVAL_SECONDS", "0.5").set("EVERMARK_SYNC__SETTLE_MS", "0");
    home.set("EVERMARK_SYNC__SECOND_LOOK_SECONDS", "0.3").set("EVERMARK_INDEX__FLUSH_AGE_MS", "20");
    home
}

/// As [`quick_home`], with vectors from a provider that counts.
pub(crate) fn stub_home(stub: &StubEmbeddings) -> Home {
    let mut home = quick_home();
    home.set("EVERMARK_EMBEDDING__BASE_URL", &stub.base_url()).set("EVERMARK_EMBEDDING__TIMEOUT_SECONDS", "1");
    home.set("EVERMARK_EMBEDDING__MODEL", "stub").set("EVERMARK_EMBEDDING__DIM", "32");
    home.set("EVERMARK_EMBEDDING__MAX_RETRIES", "0");
    home
}

/// Returns how many different texts a provider got: fewer than [`StubEmbeddings::texts`] when one was paid for twice.
pub(crate) fn distinct_texts(stub: &StubEmbeddings) -> usize {
    stub.requests().into_iter().flat_map(|request| request.texts).collect::<HashSet<String>>().len()
}

/// Returns `command` as run by `wrapper`, a program that ends by becoming what it is given.
pub(crate) fn wrapped(wrapper: &[&str], command: &Command) -> Command {
    let (program, args) = wrapper.split_first().expect("a program");
    let mut whole = Command::new(program);
    whole.args(args).arg(command.get_program()).args(command.get_args()).env_clear();
    whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    whole
}

/// Starts a daemon through a wrapper.
#[track_caller]
pub(crate) fn serve_under(home: &Home, wrapper: &[&str], env: &[(&str, &str)]) -> Daemon {
    let mut command = home.command(&["--json", "serve", "--port", "0"]);
    command.envs(env.iter().copied());
    Daemon::spawn(wrapped(wrapper, &command))
}

/// Returns the health of a daemon; `Null` when it does not answer.
pub(crate) fn health(daemon: &Daemon) -> Value {
    daemon.get("/health").unwrap_or_default()
}

/// Returns the codes of what a daemon says is wrong.
pub(crate) fn reasons(daemon: &Daemon) -> Vec<String> {
    let health = health(daemon);
    let reasons = health["reasons"].as_array().cloned().unwrap_or_default();
    reasons.iter().filter_map(|reason| Some(reason["code"].as_str()?.to_owned())).collect()
}

/// Waits until health names one of these codes.
#[track_caller]
pub(crate) fn names_fault(daemon: &Daemon, codes: &[&str]) -> Duration {
    let mut last = Vec::new();
    let started = Instant::now();
    while !last.iter().any(|code: &String| codes.contains(&code.as_str())) {
        assert!(started.elapsed() < Duration::from_secs(SOON), "health names none of {codes:?}, but {last:?}");
        std::thread::park_timeout(Duration::from_millis(50));
        last = reasons(daemon);
    }
    started.elapsed()
}

/// Waits until a daemon is well again and knows no work, having looked at all files since this was asked.
#[track_caller]
pub(crate) fn well_again(daemon: &Daemon) -> Duration {
    rested(daemon, |health| {
        // A low limit of descriptors is no fault of ours, and tests that run under one know it.
        let reasons = health["reasons"].as_array().cloned().unwrap_or_default();
        health["status"].is_string() && reasons.iter().all(|reason| reason["code"] == "descriptors_low")
    })
}

/// Waits until there is no work left and `is_well` is true of health.
#[track_caller]
fn rested(daemon: &Daemon, is_well: impl Fn(&Value) -> bool) -> Duration {
    /// Longer than a sweep of a small root takes: one that ended so much later than the question began later, too.
    const SWEEP: Duration = Duration::from_millis(100);
    let started = Instant::now();
    loop {
        let health = health(daemon);
        let root = &health["evermark"];
        let is_idle = ["pending", "leased", "failing", "parked"].iter().all(|key| root["queue"][*key] == 0);
        let swept = root["last_sweep_age_ms"].as_u64().map(Duration::from_millis);
        let has_looked = swept.is_some_and(|age| age + SWEEP < started.elapsed());
        if has_looked && is_idle && root["index"]["pending"] == 0 && is_well(&health) {
            return started.elapsed();
        }
        if started.elapsed() >= Duration::from_secs(SOON) {
            let status = daemon.get("/api/v1/evermark/status").unwrap_or_default();
            let findings = status.pointer("/data/findings").cloned().unwrap_or_default();
            panic!("no rest: {health:#}\nfindings {findings:#}\n{}", daemon.log_tail());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Waits until nothing is left to be indexed, whatever health says of merges.
#[track_caller]
pub(crate) fn indexed(daemon: &Daemon) {
    rested(daemon, |_| true);
}

/// The oracle: whatever happened, the index holds exactly what the Markdown says, each word is found exactly once, and
/// nobody touched the Markdown.
#[track_caller]
pub(crate) fn whole(home: &Home, daemon: &Daemon, user: &str, words: &[String], markdown: Option<&[(String, String)]>) {
    well_again(daemon);
    if let Some(before) = markdown {
        assert!(home.markdown() == before, "the Markdown was changed");
    }
    no_difference(home);
    for word in words {
        assert_eq!(hits(&daemon.url, user, word), Some(1), "episodes with {word}");
    }
    let limit = descriptor_limit(daemon.pid());
    assert!(sampler::descriptors(daemon.pid()) as u64 <= limit, "more descriptors than {limit}");
}

/// Waits until index and Markdown do not differ. An edit of a moment ago may not have been noticed yet.
#[track_caller]
pub(crate) fn no_difference(home: &Home) {
    let started = Instant::now();
    loop {
        let ran = home.run(&["verify", "--json"]);
        if ran.code() == Some(0) {
            return;
        }
        let verdict: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let n = |key: &str| verdict[key].as_array().map_or(0, Vec::len);
        assert!(
            started.elapsed() < Duration::from_secs(SOON),
            "code {:?}, {} missing, {} extra, {} different: {}",
            ran.code(),
            n("missing"),
            n("extra"),
            n("different"),
            ran.stderr
        );
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Returns the soft limit of open files of a process.
pub(crate) fn descriptor_limit(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX)
}

/// Sets the soft limit of open files of a running process, leaving the hard one.
pub(crate) fn limit_descriptors(pid: u32, soft: u64) -> Result<(), String> {
    mount::tool("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={soft}:")]).map(drop)
}
