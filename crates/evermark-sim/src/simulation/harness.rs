//! Lets a list of operations happen to a subject, and looks at everything after each.

use super::disk;
use super::embedder::Provider;
use super::fault::{At, Effect, Fault, errno};
use super::invariants::Limits;
use super::model::{Model, SCOPE};
use super::ops::{Op, Temper};
use super::subject::{Loop, Said, Subject, Ticked, Trouble};
use super::world::{Killed, SimWorld, unknown_points};
use evermark_core::error::ErrorKind;
use evermark_core::id::MemoryKey;
use evermark_core::index::Index;
use evermark_core::memory::Digest32;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Rounds after which everything must have come to rest.
const ROUNDS_MAX: u32 = 30;
/// Ticks of one loop in one round.
const TICKS_MAX: u32 = 60;
/// Sessions that clients use.
const SESSIONS: u32 = 4;
/// How long a round of the loops lasts when everything settles: longer than a sweep, a second look and a flush take.
pub(super) const ROUND: Duration = Duration::from_secs(45);

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub temper: Temper,
    pub limits: Limits,
}

/// What a run came to when nothing was wrong.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub trace: Vec<String>,
    /// A digest of the trace and of everything found at each rest: equal for equal runs.
    pub digest: String,
    pub settles: u32,
    pub crashes: u32,
    pub strikes: u32,
    pub rows: usize,
    /// Passes of each point.
    pub points: BTreeMap<&'static str, u64>,
    /// Strikes by point.
    pub struck: BTreeMap<&'static str, u64>,
    /// The most bytes the index had beyond its bound's share of live bytes: what the bound's constant must cover.
    pub slack_bytes: u64,
    pub texts_sent: u64,
    pub descriptors: usize,
}

/// What was wrong, and what had happened until then.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
    pub trace: Vec<String>,
}

impl Violation {
    /// Tells whether this is likely the same as another one: it begins alike but for names and numbers.
    pub fn is_like(&self, other: &Self) -> bool {
        let words = |what: &str| -> Vec<String> {
            let plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase()) && !word.starts_with("zq");
            what.split_whitespace().filter(plain).take(5).map(str::to_owned).collect()
        };
        words(&self.what) == words(&other.what)
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)?;
        self.trace.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// How a call of the subject ended.
pub(super) enum Outcome<T> {
    Done(T),
    Failed(Trouble),
    Killed,
}

/// Lives the life that `ops` tells in `dir`, which must be empty.
pub fn run<S: Subject>(
    setup: Setup,
    ops: &[Op],
    dir: &Path,
    make: impl FnOnce(&Path, Arc<SimWorld>, Arc<Provider>) -> S,
) -> Result<Report, Violation> {
    let (root, aside) = (dir.join("root"), dir.join("aside"));
    let violation = |what: String, trace: Vec<String>| Violation { seed: setup.seed, what, trace };
    fs::create_dir_all(&root).map_err(|error| violation(format!("cannot make the root: {error}"), Vec::new()))?;
    let world = Arc::new(SimWorld::new(setup.seed, &root, &aside));
    let provider = Provider::new();
    let subject = make(&root, Arc::clone(&world), Arc::clone(&provider));
    let mut run = Run {
        root,
        world,
        provider,
        subject,
        model: Model::default(),
        limits: setup.limits,
        report: Report::default(),
        is_fresh: false,
        is_damaged: false,
        live_bytes: 0,
        away: false,
        accepted: Vec::new(),
    };
    let mut lived = Ok(());
    for (n, op) in ops.iter().enumerate() {
        run.report.trace.push(format!("{n}: {op:?}"));
        lived = run.step(op);
        if lived.is_err() {
            break;
        }
    }
    let lived = lived.and_then(|()| run.end());
    // Whatever hangs must end before its folder goes.
    run.world.lift();
    run.subject.kill();
    match lived {
        Ok(()) => {
            run.report.digest = Digest32::of(run.report.trace.join("\n").as_bytes()).hex();
            Ok(run.report)
        }
        Err(what) => Err(violation(what, run.report.trace)),
    }
}

pub(super) struct Run<S> {
    pub(super) root: PathBuf,
    pub(super) world: Arc<SimWorld>,
    pub(super) provider: Arc<Provider>,
    pub(super) subject: S,
    pub(super) model: Model,
    pub(super) limits: Limits,
    pub(super) report: Report,
    /// The process has just begun: what others left over must be gone.
    pub(super) is_fresh: bool,
    /// Derived files were damaged since everything was last at rest: calls may fail until that is mended.
    pub(super) is_damaged: bool,
    pub(super) live_bytes: u64,
    /// The Markdown is somewhere else right now.
    pub(super) away: bool,
    /// What was accepted, by session.
    pub(super) accepted: Vec<(String, Vec<Said>)>,
}

pub(super) type Step<T = ()> = Result<T, String>;

impl<S: Subject> Run<S> {
    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.report.trace.push(format!("   {}", line.into()));
    }

    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// Calls the subject, and looks at everything that the call may have done.
    pub(super) fn call<T>(&mut self, name: &str, act: impl FnOnce(&mut S) -> Result<T, Trouble>) -> Step<Outcome<T>> {
        let acted = catch_unwind(AssertUnwindSafe(|| act(&mut self.subject)));
        self.after(name, acted)
    }

    pub(super) fn after<T>(&mut self, name: &str, acted: std::thread::Result<Result<T, Trouble>>) -> Step<Outcome<T>> {
        let strikes = self.world.take_strikes();
        for (point, effect) in &strikes {
            *self.report.struck.entry(point).or_default() += 1;
            self.report.strikes += 1;
            if self.report.trace.len() < 4000 {
                self.note(format!("{name}: {effect:?} at {point}"));
            }
        }
        let passed = self.world.take_passed();
        let unknown = unknown_points(&passed);
        for (point, n) in passed {
            *self.report.points.entry(point).or_default() += n;
        }
        if !unknown.is_empty() {
            return Err(format!("{name} passes points that nobody breaks: {unknown:?} (add them to fault.rs)"));
        }
        // What was paid for could not be kept, or died with the process before it was.
        if strikes.iter().any(|(point, effect)| point.starts_with("cache.") || *effect == Effect::Crash) {
            self.provider.excuse_fresh();
        }
        let outcome = if let Some(point) = self.world.killed_at() {
            self.subject.kill();
            self.world.revive().map_err(|error| format!("cannot restore the disk: {error}"))?;
            self.report.crashes += 1;
            self.note(format!("{name}: killed at {point}"));
            Outcome::Killed
        } else {
            match acted {
                Ok(Ok(done)) => Outcome::Done(done),
                Ok(Err(trouble)) => {
                    self.note(format!("{name}: {}", trouble.kind.name()));
                    let is_excused = !strikes.is_empty()
                        || self.is_damaged
                        || self.world.hanging() > 0
                        || (name == "scan across" && trouble.kind == ErrorKind::Unavailable)
                        || (trouble.kind == ErrorKind::NoSpace && self.world.is_short())
                        // A new generation must not be poorer than the old one.
                        || (name == "rebuild" && self.provider.is_down());
                    if !is_excused || trouble.kind == ErrorKind::Internal {
                        return Err(format!("{name} failed, and nothing was wrong: {}", trouble.message));
                    }
                    Outcome::Failed(trouble)
                }
                Err(panic) if panic.is::<Killed>() => return Err(format!("{name} was killed without a point")),
                Err(panic) => {
                    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                    return Err(format!("{name} panicked: {text}"));
                }
            }
        };
        self.look(name)?;
        Ok(outcome)
    }

    /// Returns the files of memories as they are on the disk.
    pub(super) fn markdown(&self) -> Step<BTreeMap<String, String>> {
        let scope = self.root.join(SCOPE);
        let is_ours = |rel: &str| {
            let name = rel.rsplit('/').next().unwrap_or(rel);
            !rel.starts_with(&format!("{SCOPE}/inbox/")) && !name.starts_with('.')
        };
        let mut files = BTreeMap::new();
        for path in disk::listing(&self.root, &scope, &is_ours).into_keys() {
            let text =
                fs::read_to_string(self.root.join(&path)).map_err(|error| format!("cannot read {path}: {error}"))?;
            files.insert(path, text);
        }
        Ok(files)
    }

    /// Opens the subject if it is closed. Tells whether it is open then.
    pub(super) fn ensure_open(&mut self) -> Step<bool> {
        if self.subject.is_open() {
            return Ok(true);
        }
        Ok(matches!(self.call("open", S::open)?, Outcome::Done(())))
    }

    /// Makes one tick; `None` when it did not succeed.
    pub(super) fn tick(&mut self, which: Loop) -> Step<Option<Ticked>> {
        if !self.ensure_open()? {
            return Ok(None);
        }
        match self.call(&format!("tick {which:?}"), |subject| subject.tick(which))? {
            Outcome::Done(ticked) => Ok(Some(ticked)),
            Outcome::Failed(_) => {
                self.is_told()?;
                Ok(None)
            }
            Outcome::Killed => Ok(None),
        }
    }

    /// A loop that failed must show in health.
    fn is_told(&mut self) -> Step {
        if let Outcome::Done(health) = self.call("health", S::health)?
            && health.is_ok
        {
            return Err("a loop failed, and health says that all is well".to_owned());
        }
        Ok(())
    }

    /// Ticks every loop until it idles. Tells whether anything was done.
    pub(super) fn round(&mut self) -> Step<bool> {
        let mut worked = false;
        for which in Loop::ALL {
            for _ in 0..TICKS_MAX {
                match self.tick(which)? {
                    Some(Ticked::Worked) => worked = true,
                    Some(Ticked::Idle) | None => break,
                }
            }
        }
        Ok(worked)
    }

    pub(super) fn lift(&mut self) {
        self.world.lift();
        // What hung goes on in a thread of its own; it is over when the thread says so.
        for _ in 0..10_000 {
            if self.world.hanging() == 0 {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Ends all trouble, and checks that everything promised comes true by itself.
    pub(super) fn settle(&mut self) -> Step {
        self.lift();
        self.provider.set_down(false);
        let saves = self.model.mend();
        self.save_all(saves)?;
        if !self.ensure_open()? {
            return Err("the root does not open although all trouble is over".to_owned());
        }
        self.rest()?;
        for session in 0..SESSIONS {
            let session = session_of(session);
            let Outcome::Done(()) = self.call("flush", |subject| subject.flush(&session))? else {
                return Err("a flush fails although all trouble is over".to_owned());
            };
        }
        self.rest()?;
        if self.is_damaged && self.check().is_err() {
            // Damage that nobody has met yet is met at the next start at the latest.
            self.note("opened anew");
            self.call("close", S::close)?;
            if !self.ensure_open()? {
                return Err("a damaged root does not open".to_owned());
            }
            self.rest()?;
        }
        self.is_damaged = false;
        self.check()?;
        self.report.settles += 1;
        Ok(())
    }

    /// Lets the loops run until nothing is left to do.
    pub(super) fn rest(&mut self) -> Step {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            self.world.pass_time(ROUND);
            self.call("hasten", S::hasten)?;
            let worked = self.round()?;
            let Outcome::Done(health) = self.call("health", S::health)? else { continue };
            quiet = if worked || health.waiting > 0 || health.rebuilding { 0 } else { quiet + 1 };
            // Twice, so that what is looked at a second time is.
            if quiet >= 3 {
                return Ok(());
            }
        }
        let health = self.call("health", S::health)?;
        let Outcome::Done(health) = health else { return Err("health does not answer".to_owned()) };
        Err(format!("nothing comes to rest: {} files wait, {:?}", health.waiting, health.reasons))
    }

    /// The last act: all is well after a restart too, and an idle day changes nothing, though upkeep fails all day.
    fn end(&mut self) -> Step {
        self.settle()?;
        self.call("close", S::close)?;
        if !self.ensure_open()? {
            return Err("the root does not open again".to_owned());
        }
        self.rest()?;
        self.is_fresh = true;
        self.check()?;
        let is_quiet_file = |rel: &str| !rel.starts_with(".index/evermark/ledger.db");
        let before = disk::listing(&self.root, &self.root, &is_quiet_file);
        for at in ["lance.reclaiming", "lance.merged", "lance.writing", "rebuild.file"] {
            let effect = Effect::Errno(errno::EIO);
            self.world.arm(Fault { at: At::Point(at), effect, skip: 0, times: None, every: 1 });
        }
        for _ in 0..48 {
            self.world.pass_time(Duration::from_secs(1800));
            self.round()?;
        }
        self.world.lift();
        let after = disk::listing(&self.root, &self.root, &is_quiet_file);
        if before != after {
            let changed: Vec<_> =
                after.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp)).map(|(path, _)| path).collect();
            let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
            return Err(format!("an idle day changed files: {changed:?}, and removed {gone:?}"));
        }
        Ok(())
    }
}

pub(super) fn session_of(session: u32) -> String {
    format!("session-{}", session % SESSIONS)
}

/// Reads the key and path of every row, in order; `during` runs at each.
pub(super) fn keys(index: &dyn Index, during: &mut dyn FnMut()) -> Result<Vec<(MemoryKey, String)>, Trouble> {
    let mut keys = Vec::new();
    index
        .scan(&mut |key, path, _| {
            during();
            keys.push((key, path.to_owned()));
        })
        .map_err(Trouble::of)?;
    keys.sort();
    Ok(keys)
}
