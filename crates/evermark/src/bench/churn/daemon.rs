//! The daemon under test: started, killed and started again as a process of its own.

use super::run::{Happening, Reach, Run, held};
use crate::bench::process::address_of;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::world::FAULT_AT;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// How long it may take to listen, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(120);
const GLANCE: Duration = Duration::from_millis(20);
/// What is shown of its log when it does not do as it should.
const LOG_TAIL: usize = 2000;

/// How it is started.
pub(super) struct Launch {
    pub(super) dim: usize,
    /// What `EVERMARK_FAULT_AT` says.
    pub(super) fault_at: Option<&'static str>,
    /// Most files it may have open, soft and hard.
    pub(super) files_max: Option<u64>,
    pub(super) log: PathBuf,
}

/// A daemon of ours; killed when dropped.
pub(super) struct Daemon<'run> {
    run: &'run Run,
    launch: Mutex<Launch>,
    child: Mutex<Option<Child>>,
}

impl<'run> Daemon<'run> {
    pub(super) fn new(run: &'run Run, launch: Launch) -> Self {
        Self { run, launch: Mutex::new(launch), child: Mutex::default() }
    }

    /// Starts it and returns how long it took to listen.
    pub(super) fn start(&self) -> anyhow::Result<Duration> {
        let mut child = held(&self.child);
        let started = clock::now();
        let mut new = self.command()?.spawn().context("cannot start the daemon")?;
        let stdout = new.stdout.take().context("the daemon has no standard output")?;
        let pid = new.id();
        *child = Some(new);
        let Some(url) = address_of(stdout, PATIENCE) else {
            return Err(Failure::new(Exit::Failed, format!("the daemon does not listen: {}", self.log_tail())).into());
        };
        self.run.set_reach(Reach { pid: Some(pid), url: Some(url) });
        Ok(started.elapsed())
    }

    fn command(&self) -> anyhow::Result<Command> {
        let launch = held(&self.launch);
        let program = std::env::current_exe().context("cannot find our own program")?;
        let mut command = match launch.files_max {
            None => Command::new(program),
            Some(max) => {
                let mut shell = Command::new("sh");
                // Without -S or -H it is both limits, and what is lowered cannot be raised again.
                shell.arg("-c").arg(format!("ulimit -n {max} && exec \"$0\" \"$@\"")).arg(program);
                shell
            }
        };
        let log = File::options().create(true).append(true).open(&launch.log);
        let log = log.with_context(|| format!("cannot write {}", launch.log.display()))?;
        command
            .args(["--json", "--root"])
            .arg(&self.run.root)
            .args(["serve", "--port", "0"])
            .env("EVERMARK_EMBEDDING__PROVIDER", "hash")
            .env("EVERMARK_EMBEDDING__DIM", launch.dim.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // ^C is for us: we end it, once we know how it does.
            .process_group(0);
        if let Some(fault_at) = launch.fault_at {
            command.env(FAULT_AT, fault_at);
        }
        Ok(command)
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        self.run.set_reach(Reach::default());
        let Some(mut child) = held(&self.child).take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).context("cannot kill the daemon")?;
        self.run.note(Happening::Killed);
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let Some(mut child) = held(&self.child).take() else { return Ok(()) };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
        kill_process(pid, Signal::TERM).context("cannot ask the daemon to end")?;
        let asked = clock::now();
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for the daemon")? {
                break Some(status);
            }
            if asked.elapsed() > PATIENCE {
                child.kill().and_then(|()| child.wait()).context("cannot kill the daemon")?;
                break None;
            }
            clock::pause(GLANCE);
        };
        self.run.set_reach(Reach::default());
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::new(Exit::Failed, format!("the daemon ended with {status}")).into()),
            None => Err(Failure::new(Exit::Failed, "the daemon did not end when it was asked to").into()),
        }
    }

    /// Starts it without what made it fail.
    pub(super) fn start_sound(&self) -> anyhow::Result<Duration> {
        {
            let mut launch = held(&self.launch);
            (launch.fault_at, launch.files_max) = (None, None);
        }
        self.start()
    }

    /// Tells whether it has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        held(&self.child).as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Returns the end of its log.
    pub(super) fn log_tail(&self) -> String {
        tail(&held(&self.launch).log)
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_TAIL)..]).into_owned()
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = held(&self.child).take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
