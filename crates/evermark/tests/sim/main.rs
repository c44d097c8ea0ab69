//! The simulation on the real engine and the real index: seeds in plenty, each replayable.
//!
//! ```text
//! cargo xtask sim                  some fresh seeds
//! cargo xtask sim --seed 42        one seed, with its trace
//! cargo xtask sim --seeds 5000     many
//! ```

#![cfg(feature = "lance")]

mod subject;

use evermark_sim::simulation::ops::{self, Op, Temper};
use evermark_sim::simulation::{Limits, Report, Setup, Violation, run};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use subject::EvermarkSubject;

/// Fresh seeds in every run of the tests: a few minutes on two cores.
const SEEDS: u64 = 200;
/// Seeds that are lived at once. More than there are cores only makes each slower.
const THREADS: usize = 2;

/// The bounds, with constants that a few hundred rows can break.
const LIMITS: Limits = Limits {
    live_percent: 200,
    slack_bytes: 2 << 20,
    rest_live_percent: 130,
    rest_slack_bytes: 256 << 10,
    rest_versions: 1,
    descriptors: 96,
};

/// What a seed is like: most are troubled, some hardly at all, a few meet operations that hang.
fn setup(seed: u64) -> Setup {
    let trouble = [25, 25, 15, 40, 5][(seed % 5) as usize];
    Setup { seed, temper: Temper { trouble, length: 36, hangs: seed % 16 == 3 }, limits: LIMITS }
}

fn live(setup: Setup) -> Result<Report, Violation> {
    live_ops(setup, &ops::generate(setup.seed, setup.temper))
}

/// Lives one life in a folder of its own, in memory where the machine has such a place.
fn live_ops(setup: Setup, ops: &[Op]) -> Result<Report, Violation> {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.expect("a temporary folder");
    let make = |root: &Path, world, provider| EvermarkSubject::new(root, world, provider, setup.temper.hangs);
    run(setup, ops, dir.path(), make)
}

/// Tells the shortest list of operations, taken from a seed's, that still breaks the same.
#[expect(clippy::print_stdout, reason = "whoever asks for the shortest list reads it here")]
fn shorten(setup: Setup, violation: &Violation) {
    let ops = ops::generate(setup.seed, setup.temper);
    let short = ops::shrink(&ops, 300, |ops| live_ops(setup, ops).is_err_and(|other| other.is_like(violation)));
    match live_ops(setup, &short) {
        Ok(_) => println!("seed {} does not fail every time", setup.seed),
        Err(violation) => println!("in short, {violation}\n{short:#?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is told what to do in its environment")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[expect(clippy::disallowed_methods, reason = "fresh seeds come from the clock, and are told")]
fn fresh() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64 % 1_000_000_000 * 1000)
}

/// Returns what tells that so many minutes are over.
#[expect(clippy::disallowed_methods, reason = "a run by hand lasts as long as it is told to")]
fn deadline(minutes: Option<u64>) -> impl Fn() -> bool {
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    move || end.is_some_and(|end| Instant::now() >= end)
}

/// Everything that must hold holds, whatever happens in whatever order.
#[test]
fn every_seed_keeps_every_promise() {
    let one = asked("EVERMARK_SIM_SEED").filter(|_| asked("EVERMARK_SIM_SEEDS").is_none());
    let first = asked("EVERMARK_SIM_SEED").unwrap_or_else(fresh);
    let minutes = asked("EVERMARK_SIM_MINUTES");
    let n_seeds = if one.is_some() {
        1
    } else {
        asked("EVERMARK_SIM_SEEDS").unwrap_or(if minutes.is_some() { u64::MAX / 2 } else { SEEDS })
    };
    println!("seeds from {first}");
    let is_over = deadline(minutes);
    let (next, total, failed) = (AtomicU64::new(first), Mutex::new(Total::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + n_seeds || is_over() {
                        return;
                    }
                    match live(setup(seed)) {
                        Ok(report) => {
                            if one.is_some() {
                                println!("{}", report.trace.join("\n"));
                            }
                            total.lock().expect("no panic").add(&report);
                        }
                        Err(violation) => {
                            println!("{violation}\nreplay: cargo xtask sim --seed {seed}");
                            if asked("EVERMARK_SIM_SHRINK").is_some() {
                                shorten(setup(seed), &violation);
                            }
                            failed.lock().expect("no panic").push(seed);
                        }
                    }
                }
            });
        }
    });
    println!("{}", total.into_inner().expect("no panic"));
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "seeds that broke a promise: {failed:?}");
}

/// The same seed lives the same life.
#[test]
fn a_seed_replays_exactly() {
    let first = asked("EVERMARK_SIM_SEED").unwrap_or_else(fresh);
    for seed in first..first + 6 {
        let setup = Setup { temper: Temper { hangs: false, ..setup(seed).temper }, ..setup(seed) };
        let (once, again) = (live(setup), live(setup));
        let trace = |lived: &Result<Report, Violation>| match lived {
            Ok(report) => (report.trace.clone(), report.digest.clone()),
            Err(violation) => (violation.trace.clone(), violation.what.clone()),
        };
        let (once, again) = (trace(&once), trace(&again));
        let parted = once.0.iter().zip(&again.0).position(|(a, b)| a != b);
        assert_eq!(parted.map(|n| (&once.0[n], &again.0[n])), None, "seed {seed} parts from itself at line {parted:?}");
        assert_eq!(once, again, "seed {seed}");
    }
}

/// Sums over all seeds.
#[derive(Default)]
struct Total {
    seeds: u64,
    settles: u64,
    crashes: u64,
    strikes: u64,
    rows: u64,
    texts: u64,
    slack_bytes: u64,
    descriptors: usize,
    points: BTreeMap<&'static str, u64>,
    struck: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.settles += u64::from(report.settles);
        self.crashes += u64::from(report.crashes);
        self.strikes += u64::from(report.strikes);
        self.rows += report.rows as u64;
        self.texts += report.texts_sent;
        self.slack_bytes = self.slack_bytes.max(report.slack_bytes);
        self.descriptors = self.descriptors.max(report.descriptors);
        for (from, to) in [(&report.points, &mut self.points), (&report.struck, &mut self.struck)] {
            for (point, n) in from {
                *to.entry(point).or_default() += n;
            }
        }
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} seeds kept every promise: {} rests checked, {} crashes, {} faults struck, {} rows at the end, {} texts \
             embedded, at most {} bytes over the bound's share, at most {} descriptors",
            self.seeds,
            self.settles,
            self.crashes,
            self.strikes,
            self.rows,
            self.texts,
            self.slack_bytes,
            self.descriptors
        )?;
        writeln!(f, "passed and struck, by point:")?;
        for (point, passed) in &self.points {
            writeln!(f, "  {point:<22} {passed:>9} {:>7}", self.struck.get(point).unwrap_or(&0))?;
        }
        Ok(())
    }
}
