//! What goes wrong meanwhile: the daemon is killed over and over, or its disk is filled and freed.
//!
//! The other faults are in how the daemon is started (see [`super::daemon::Launch`]) and need nobody to do anything.

use super::daemon::Daemon;
use super::run::{Happening, Phase, Run};
use crate::cli::FaultArg;
use crate::exit::{Exit, Failure};
use anyhow::Context;
use fastrand::Rng;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Files that the daemon may have open under `--fault fd`.
pub(super) const FILES_MAX: u64 = 128;
/// The point at which every merge of pieces fails under `--fault compaction`, once it has written all it writes.
pub(super) const MERGE_FAILS: &str = "lance.merged=EIO";
/// How often a full disk is looked after, so that what was freed is taken, too.
const TOP_UP_EVERY: Duration = Duration::from_millis(250);

/// What was done, and what was said to it.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) times: u64,
    /// The longest and the sum of what it took the daemon to listen again.
    pub(super) restart_max: Duration,
    pub(super) restart_sum: Duration,
    /// What adds were answered while the disk was full, by status.
    pub(super) adds: BTreeMap<String, u64>,
    /// Messages of those that were acknowledged: they wait in the inbox.
    pub(super) n_acknowledged: u64,
}

/// Does what `fault` says until the edits are over; the daemon runs again, on a disk with room, when it returns.
pub(super) fn inflict(
    run: &Run,
    fault: Option<FaultArg>,
    every: Option<f64>,
    daemon: Option<&Daemon<'_>>,
    disk: Option<&Disk>,
    seed: u64,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    match (fault, daemon, disk) {
        (Some(FaultArg::Kill), Some(daemon), _) => kill(run, daemon, every.unwrap_or(15.0), seed, &mut done)?,
        (Some(FaultArg::Enospc), _, Some(disk)) => {
            let filled = fill(run, disk, every.unwrap_or(60.0), &mut done);
            disk.free()?;
            filled?;
        }
        _ => {}
    }
    Ok(done)
}

fn kill(run: &Run, daemon: &Daemon<'_>, every: f64, seed: u64, done: &mut Done) -> anyhow::Result<()> {
    let mut rng = Rng::with_seed(seed);
    while run.wait(Duration::from_secs_f64(every * (0.5 + rng.f64())), Phase::Editing) {
        daemon.kill()?;
        let took = daemon.start()?;
        run.note(Happening::Back(took));
        done.times += 1;
        done.restart_max = done.restart_max.max(took);
        done.restart_sum += took;
    }
    Ok(())
}

/// Two thirds of each cycle there is room, one third there is none. In every other cycle the filler also takes what the
/// daemon frees, so that even its reserve is gone.
fn fill(run: &Run, disk: &Disk, every: f64, done: &mut Done) -> anyhow::Result<()> {
    let third = Duration::from_secs_f64(every / 3.0);
    while run.wait(third * 2, Phase::Editing) {
        disk.fill()?;
        run.note(Happening::DiskFull);
        done.times += 1;
        let until = run.now() + third;
        try_add(run, done);
        while run.now() < until && run.wait(TOP_UP_EVERY, Phase::Editing) {
            if done.times.is_multiple_of(2) {
                disk.fill()?;
            }
        }
        try_add(run, done);
        disk.free()?;
        run.note(Happening::DiskFreed);
    }
    Ok(())
}

/// Adds one message that is to wait in the inbox, and counts what is answered.
fn try_add(run: &Run, done: &mut Done) {
    let Some(client) = run.client() else { return };
    let n: u64 = 1 + done.adds.values().sum::<u64>();
    let message = json!({
        "sender_id": "user_000", "role": "user", "timestamp": 1_795_000_000_000_u64 + n, "content": format!("Said while full: {n}."),
    });
    let body = json!({ "session_id": "full", "defer_extraction": true, "messages": [message] });
    let said = match client.post("/api/v1/memory/add", &body) {
        Ok(_) => {
            done.n_acknowledged += 1;
            "accepted".to_owned()
        }
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => failure.to_string(),
            None => format!("{error:#}"),
        },
    };
    // The same sentence with other numbers and names is the same answer.
    let gist = said.split(": ").next().unwrap_or_default().split(" of /").next().unwrap_or_default();
    *done.adds.entry(gist.to_owned()).or_default() += 1;
}

/// A small disk in memory; unmounted when dropped.
pub(super) struct Disk {
    mount: tempfile::TempDir,
}

impl Disk {
    /// Mounts one of `mib` MiB.
    ///
    /// Errors: [`Exit::Usage`] when this is not root.
    pub(super) fn mount(mib: u64) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            let failure = Failure::new(Exit::Usage, "--fault enospc mounts a disk in memory, which only root may do");
            return Err(failure.hint("run it as root, or choose another fault").into());
        }
        let mount = tempfile::Builder::new().prefix("evermark-churn-disk-").tempdir()?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "evermark-churn"]).arg(mount.path());
        let status = command.status().context("cannot run `mount`")?;
        if !status.success() {
            return Err(Failure::new(Exit::Failed, format!("`mount` failed ({status})")).into());
        }
        Ok(Self { mount })
    }

    pub(super) fn path(&self) -> &Path {
        self.mount.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves no byte free.
    fn fill(&self) -> anyhow::Result<()> {
        let path = self.filler();
        let filled = || -> io::Result<()> {
            let file = File::options().create(true).append(true).open(&path)?;
            loop {
                let disk = statvfs(self.path())?;
                let free = disk.f_bavail * disk.f_frsize;
                if free == 0 {
                    return Ok(());
                }
                match fallocate(&file, FallocateFlags::empty(), file.metadata()?.len(), free) {
                    // Somebody was faster: what is left now?
                    Ok(()) | Err(Errno::NOSPC | Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        };
        match filled() {
            // Not even the filler's own entry fits: the disk is full.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other.with_context(|| format!("cannot fill {}", path.display())),
        }
    }

    fn free(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("cannot free the disk"),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, should anything still look at it.
        let gone =
            |args: &[&str]| Command::new("umount").args(args).arg(self.path()).status().is_ok_and(|s| s.success());
        if !gone(&[]) && !gone(&["-l"]) {
            crate::output::note(format_args!("warning: {} is still mounted", self.path().display()));
        }
    }
}
