//! Programs of their own: what is weighed and what is timed from its start may share no process with what measures.

use super::measure;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::output::note;
use crate::signals::Ending;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long one may take to listen, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(300);
const GLANCE: Duration = Duration::from_millis(20);
/// What is shown of its log when it does not do as it should.
const LOG_TAIL: usize = 2000;

/// Those that run, by number, for whoever puts everything away.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn running<R>(act: impl FnOnce(&mut BTreeSet<u32>) -> R) -> R {
    act(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From here on ^C or SIGTERM ends what we started, removes `folder`, and ends this process.
///
/// Errors: when nobody can listen for signals.
pub(super) fn put_away_when_asked(folder: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let folder = folder.to_owned();
    let mut ending = {
        let _entered = runtime.enter();
        Ending::listen().context("cannot listen for signals")?
    };
    std::thread::spawn(move || {
        let (signal, code) = runtime.block_on(ending.next());
        note(format_args!("{signal}: putting everything away"));
        // Held to the end: nothing is started any more.
        running(|pids| {
            for pid in pids.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
                kill_process_group(pid, Signal::KILL).ok();
            }
            // Whoever still writes there may make this fail once.
            for _ in 0..3 {
                if std::fs::remove_dir_all(&folder).is_ok() {
                    break;
                }
            }
            at_once(code);
        });
    });
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread is in the middle of measuring, and there is nothing left to save"
)]
fn at_once(code: i32) {
    std::process::exit(code);
}

/// Waits for a daemon of ours, started with `--json`, to say where it listens; reads on for as long as it speaks.
pub(super) fn address_of(stdout: ChildStdout, patience: Duration) -> Option<String> {
    let (say, said) = sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        // An empty line means that it ended.
        let read = lines.read_line(&mut line);
        say.send(read.map(|_| line)).ok();
        lines.read_to_end(&mut Vec::new()).ok();
    });
    let line = said.recv_timeout(patience).ok()?.ok()?;
    let ready: Value = serde_json::from_str(&line).ok()?;
    ready["address"].as_str().map(str::to_owned)
}

/// A program that we started; killed when dropped.
pub(super) struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it says on standard error goes to `log`, and on standard output, too, unless that is `read`.
    fn spawn(mut command: Command, name: &'static str, log: &Path, read: bool) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let stdout = if read { Stdio::piped() } else { file.try_clone()?.into() };
        command.stdin(Stdio::null()).stdout(stdout).stderr(file);
        // ^C is for us: we end it.
        command.process_group(0);
        let child = running(|pids| {
            let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
            pids.insert(child.id());
            Ok::<_, anyhow::Error>(child)
        })?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// Starts a program that is spoken to over the network, or not at all.
    pub(super) fn start(command: Command, name: &'static str, log: &Path) -> anyhow::Result<Self> {
        Self::spawn(command, name, log, false)
    }

    /// Starts our own daemon on `root`. Returns where it listens and how long it took until then.
    pub(super) fn daemon(root: &Path, log: &Path) -> anyhow::Result<(Self, String, Duration)> {
        let mut command = Command::new(std::env::current_exe().context("cannot find our own program")?);
        command.args(["--json", "--root"]).arg(root).args(["serve", "--port", "0"]);
        let started = clock::now();
        let mut daemon = Self::spawn(command, "the daemon", log, true)?;
        let stdout = daemon.child.stdout.take().context("the daemon has no standard output")?;
        let url = address_of(stdout, PATIENCE);
        let listens = started.elapsed();
        let Some(url) = url else {
            return Err(daemon.fails("does not listen"));
        };
        Ok((daemon, url, listens))
    }

    /// Returns what it holds now.
    pub(super) fn held(&self) -> Value {
        measure::held_by(&self.child.id().to_string())
    }

    /// Returns what it and everything it started hold in memory now.
    pub(super) fn tree(&self) -> Value {
        measure::held_by_tree(self.child.id())
    }

    /// Tells whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it has ended by itself, and fails unless it ended well.
    pub(super) fn finish(mut self, limit: Duration) -> anyhow::Result<()> {
        match self.wait(limit)? {
            Some(true) => Ok(()),
            Some(false) => Err(self.fails("failed")),
            None => Err(self.fails("did not end in time")),
        }
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot ask {} to end", self.name))?;
        match self.wait(PATIENCE)? {
            Some(_) => Ok(()),
            None => Err(self.fails("did not end when it was asked to")),
        }
    }

    /// Waits; tells whether it ended well, or `None` when it did not end.
    fn wait(&mut self, limit: Duration) -> anyhow::Result<Option<bool>> {
        let asked = clock::now();
        while asked.elapsed() < limit {
            if let Some(status) = self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))? {
                return Ok(Some(status.success()));
            }
            clock::pause(GLANCE);
        }
        Ok(None)
    }

    /// Returns the failure of this program, with the end of what it said.
    pub(super) fn fails(&self, how: &str) -> anyhow::Error {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(LOG_TAIL)..]).into_owned();
        Failure::new(Exit::Failed, format!("{} {how}; it said:\n{said}", self.name)).into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        running(|pids| pids.remove(&self.child.id()));
    }
}
