//! `evermark bench churn`: entries come, change and go in a daemon's files for minutes, with or without faults, while its
//! index is measured from outside against the bound.
//!
//! Flow: a made-up root → a daemon on it, as a process of its own → edits by a timetable, searches, faults, looks at what is
//! on disk, each in a thread → the edits end → all must be indexed, found once, small and healthy again.
//!
//! Invariant: whatever ends a run (a failed check, an error, ^C), the daemon is ended, the disk unmounted and the made-up root
//! removed.

mod check;
mod daemon;
mod fault;
mod plot;
mod report;
mod run;
mod sample;
mod traffic;
mod vault;

use self::check::{Expected, Found, check};
use self::daemon::{Daemon, Launch};
use self::fault::Disk;
use self::report::Measured;
use self::run::{Happening, Phase, Reach, Run, held};
use self::sample::{Bound, Series, Word};
use self::traffic::Answer;
use self::vault::Vault;
use super::generate;
use crate::cli::{ChurnArgs, FaultArg};
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use crate::signals::Ending;
use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

pub(super) fn run(args: &ChurnArgs, out: &mut Out) -> anyhow::Result<Exit> {
    if !(args.minutes > 0.0 && args.rate > 0.0 && args.searches > 0.0) {
        return Err(Failure::new(Exit::Usage, "--minutes, --rate and --searches must be above zero").into());
    }
    let disk = (args.fault == Some(FaultArg::Enospc)).then(|| Disk::mount(args.disk)).transpose()?;
    let place = Place::new(args, disk.as_ref())?;
    let spec = generate::Spec { n_facts: args.facts, n_users: args.users.max(1), seed: args.seed };
    generate::root(&place.root, spec)?;
    if args.peer_root.is_some() && args.peer_pid.is_none() {
        note(format_args!(
            "{} is made; start something on it, and name its process with --peer-pid",
            place.root.display()
        ));
        return Ok(Exit::Ok);
    }
    // What is edited from here on is no longer what the seed makes.
    std::fs::remove_file(place.root.join(generate::MARKER)).context("cannot mark the root as used")?;
    let vault = Mutex::new(Vault::read(&place.root, spec, args.fault != Some(FaultArg::Enospc))?);
    let index = place.root.join(if args.peer_root.is_some() { &args.peer_index } else { Path::new(".index/evermark") });
    let run = Run::new(place.root.clone(), index);
    let measured = measure(args, &run, &vault, disk.as_ref(), &place)?;
    let report = measured.json();
    write_out(args, &report, &measured)?;
    if out.json {
        out.document(&report);
    } else {
        measured.print(&report, out);
    }
    Ok(if measured.all_holds() { Exit::Ok } else { Exit::Failed })
}

fn write_out(args: &ChurnArgs, report: &Value, measured: &Measured) -> anyhow::Result<()> {
    let write = |path: &Path, text: &str| {
        let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &args.out {
        write(path, &serde_json::to_string(report).context("cannot put the figures into words")?)?;
    }
    if let Some(path) = &args.svg {
        write(path, &plot::svg(&measured.figures()))?;
    }
    Ok(())
}

/// Where the root and the log lie.
struct Place {
    root: PathBuf,
    log: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Place {
    fn new(args: &ChurnArgs, disk: Option<&Disk>) -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("evermark-churn-").tempdir()?;
        let root = match (disk, args.peer_root.as_ref().or(args.keep.as_ref())) {
            (Some(disk), _) => disk.path().join("root"),
            (None, Some(named)) => named.clone(),
            (None, None) => temporary.path().join("root"),
        };
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        // The kernel tells of open files by their real names.
        let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
        let log = args.log.clone().unwrap_or_else(|| temporary.path().join("daemon.log"));
        Ok(Self { root, log, _temporary: temporary })
    }
}

/// Does everything that is measured.
fn measure(
    args: &ChurnArgs,
    run: &Run,
    vault: &Mutex<Vault>,
    disk: Option<&Disk>,
    place: &Place,
) -> anyhow::Result<Measured> {
    let bound = Bound { ratio: args.ratio, slack_bytes: args.slack << 20 };
    let word = Mutex::new(Word::default());
    let series = Mutex::new(Series::default());
    let launch = Launch {
        dim: args.dim,
        fault_at: (args.fault == Some(FaultArg::Compaction)).then_some(fault::MERGE_FAILS),
        files_max: (args.fault == Some(FaultArg::Fd)).then_some(fault::FILES_MAX),
        log: place.log.clone(),
    };
    let daemon = args.peer_root.is_none().then(|| Daemon::new(run, launch));
    if daemon.is_none() {
        run.set_reach(Reach { pid: args.peer_pid, url: args.peer_url.clone() });
    }
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || end_when_asked(run, finished));
        scope.spawn(|| sample::watch(run, &word, bound, &series));
        scope.spawn(|| if daemon.is_some() { sample::ask(run, &word) } else { sample::ask_peer(run, &word) });
        let result = act(args, run, vault, &word, &series, daemon.as_ref(), disk);
        run.advance(Phase::Over);
        done.send(()).ok();
        result
    });
    let Acted { edits, searches, faults, to_disk, written, found, sound, mut checks } = match result {
        Ok(acted) => acted,
        Err(error) => {
            if let Some(daemon) = daemon.filter(|_| Exit::of(&error) != Exit::Temporary) {
                note(format_args!("the daemon's log ends with:\n{}", daemon.log_tail()));
            }
            return Err(error);
        }
    };
    let series = series.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let entries = held(vault).live();
    let n_judged = series.n_looks - series.n_unjudged;
    // Without its live bytes there is nothing to hold a peer to.
    if daemon.is_some() || n_judged > 0 {
        let found = format!("{} of {n_judged} looks", series.n_violations);
        let held = series.n_violations == 0 && n_judged > 0;
        checks.insert(0, check("the index never was above the bound", held, found));
    }
    Ok(Measured {
        title: title(args),
        settings: settings(args),
        took: run.now(),
        edits,
        searches,
        faults,
        to_disk,
        written,
        entries,
        found,
        sound,
        series,
        bound,
        events: run.events(),
        checks,
    })
}

/// What came of the part that acts.
struct Acted {
    edits: traffic::Edits,
    searches: traffic::Searches,
    faults: fault::Done,
    to_disk: u64,
    written: u64,
    found: Found,
    sound: Option<Found>,
    checks: Vec<check::Check>,
}

/// Starts the daemon, edits, searches and breaks, and then looks at what came of it.
fn act(
    args: &ChurnArgs,
    run: &Run,
    vault: &Mutex<Vault>,
    word: &Mutex<Word>,
    series: &Mutex<Series>,
    daemon: Option<&Daemon<'_>>,
    disk: Option<&Disk>,
) -> anyhow::Result<Acted> {
    if let Some(daemon) = daemon {
        daemon.start()?;
        note("indexing the root …");
        check::settle(run)?;
    }
    let counters = || {
        let series = held(series);
        (series.to_disk, series.written)
    };
    let before = counters();
    note(format_args!("editing for {} minutes …", args.minutes));
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let (edits, searches, faults) = std::thread::scope(|scope| {
        let searcher = scope.spawn(|| traffic::search(run, vault, args.searches, args.seed));
        let faults = scope.spawn(|| {
            let done = fault::inflict(run, args.fault, args.every, daemon, disk, args.seed);
            // There is nothing to go on for.
            done.inspect_err(|_| run.advance(Phase::Checking))
        });
        let edits = traffic::edit(run, vault, args.rate, time);
        run.advance(Phase::Checking);
        run.note(Happening::EditsOver);
        let panicked = |what| move |_| anyhow!("the thread that {what} panicked");
        Ok::<_, anyhow::Error>((
            edits,
            searcher.join().map_err(panicked("searches"))?,
            faults.join().map_err(panicked("breaks things"))?,
        ))
    })?;
    if run.is_past(Phase::Checking) {
        return Err(Failure::new(Exit::Temporary, "ended before its time: nothing was checked").into());
    }
    note("looking at what came of it …");
    let mut checks = Vec::new();
    let faults = faults.unwrap_or_else(|error| {
        checks.push(check("what was to go wrong did", false, format!("{error:#}")));
        fault::Done::default()
    });
    if daemon.is_some() {
        let full = args.fault == Some(FaultArg::Enospc);
        checks.push(check(
            "every edit could be written",
            full || edits.n_refused() == 0,
            format!("{:?}", edits.refused),
        ));
        let n = |answer| searches.all.iter().filter(|search| search.answer == answer).count();
        let (refused, down) = (n(Answer::Refused), n(Answer::Down));
        let killed = args.fault == Some(FaultArg::Kill);
        let said = searches.errors.keys().next().map_or("", String::as_str);
        let answered = refused == 0 && (killed || down == 0);
        checks.push(check("searches went on", answered, format!("{refused} refused, {down} while it was down {said}")));
    }
    if let Some(daemon) = daemon {
        checks.push(check("the daemon lives", !daemon.has_ended(), ""));
    }
    let expected = match args.fault {
        Some(FaultArg::Compaction) => Expected::Ailing,
        Some(FaultArg::Fd) => Expected::Scant,
        Some(FaultArg::Enospc | FaultArg::Kill) | None => Expected::Sound,
    };
    let look = |expected| {
        let found = check::ours(run, vault, word, expected, faults.n_acknowledged, args.seed);
        found.unwrap_or_else(|error| Found::failed(run, word, &error))
    };
    let found = match daemon {
        Some(_) => look(expected),
        None => check::peer(run, vault, word, args.seed).unwrap_or_else(|error| Found::failed(run, word, &error)),
    };
    let after = counters();
    let mut sound = None;
    if let Some(daemon) = daemon {
        if matches!(args.fault, Some(FaultArg::Compaction | FaultArg::Fd)) {
            note("starting it again without the fault …");
            checks.push(ended("the failing daemon ends well", daemon.stop()));
            daemon.start_sound()?;
            sound = Some(look(Expected::Sound));
        }
        checks.push(ended("the daemon ends well", daemon.stop()));
    }
    let (to_disk, written) = (after.0 - before.0, after.1 - before.1);
    Ok(Acted { edits, searches, faults, to_disk, written, found, sound, checks })
}

fn ended(name: &'static str, stopped: anyhow::Result<()>) -> check::Check {
    let said = stopped.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
    check(name, stopped.is_ok(), said)
}

/// Ends the run at ^C or SIGTERM, so that everything is put away.
fn end_when_asked(run: &Run, finished: tokio::sync::oneshot::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(mut ending) = Ending::listen() else { return };
        tokio::select! {
            (signal, _) = ending.next() => {
                note(format_args!("{signal}: putting everything away"));
                run.advance(Phase::Over);
            }
            _ = finished => {}
        }
    });
}

fn title(args: &ChurnArgs) -> String {
    let fault = args.fault.map_or_else(String::new, |fault| format!(", fault: {}", fault.name()));
    let whose = if args.peer_root.is_some() { " (another program's root)" } else { "" };
    format!("Churn: {} edits/s for {} min on about {} facts{fault}{whose}", args.rate, args.minutes, args.facts)
}

fn settings(args: &ChurnArgs) -> Value {
    json!({
        "minutes": args.minutes, "rate": args.rate, "facts": args.facts, "users": args.users, "seed": args.seed,
        "dimension": args.dim, "searches": args.searches, "fault": args.fault.map(FaultArg::name), "every_s": args.every,
        "disk_mib": (args.fault == Some(FaultArg::Enospc)).then_some(args.disk),
        "ratio": args.ratio, "slack_mib": args.slack, "peer": args.peer_root.is_some(),
    })
}
