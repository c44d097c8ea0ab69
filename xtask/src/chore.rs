//! What the chores share: where the checkout is, how cargo is called, how a chore fails.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Why a chore did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    Usage(String),
    Start {
        command: String,
        source: io::Error,
    },
    Exit {
        command: String,
        status: ExitStatus,
    },
    Slow {
        command: String,
        limit: Duration,
    },
    Read {
        path: PathBuf,
        source: io::Error,
    },
    Write {
        path: PathBuf,
        source: io::Error,
    },
    /// Rules that do not hold, one sentence each.
    Broken(Vec<String>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Start { command, source } => write!(f, "cannot start `{command}`: {source}"),
            Self::Exit { command, status } => write!(f, "`{command}` failed ({status})"),
            Self::Slow { command, limit } => write!(f, "`{command}` took longer than {} s", limit.as_secs()),
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Write { path, source } => write!(f, "cannot write {}: {source}", path.display()),
            Self::Broken(rules) => {
                write!(f, "{} broken", rules.len())?;
                rules.iter().try_for_each(|rule| write!(f, "\n  {rule}"))
            }
        }
    }
}

/// Returns the root of the checkout that `cargo` was started in.
///
/// Read when the chore runs, not compiled in: checkouts that share a target directory share this binary too.
#[expect(clippy::disallowed_methods, reason = "cargo tells a program it runs where its package is in the environment")]
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("xtask is run by cargo, which sets CARGO_MANIFEST_DIR");
    Path::new(&package).parent().expect("xtask is a folder of the workspace").to_path_buf()
}

/// Returns a call of cargo as a person would make it at the root of the checkout.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(args).stdin(Stdio::null());
    // `cargo run` describes xtask to us in these. Build scripts that watch them (ring's does) would see them change
    // between a call from here and a call from a shell, and build again each time.
    for (name, _) in std::env::vars_os() {
        let described = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name == "CARGO"
                || name == "OUT_DIR"
        });
        if described {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs `command` with our own output and waits for it.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let name = name(command);
    let status = command.status().map_err(|source| Failure::Start { command: name.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Failure::Exit { command: name, status }) }
}

/// Runs `command` like [`run`], and ends it when it takes longer than `limit`.
#[expect(clippy::disallowed_methods, reason = "waits for another process; no test depends on it")]
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let name = name(command);
    let start = |source| Failure::Start { command: name.clone(), source };
    let mut child = command.spawn().map_err(start)?;
    let began = Instant::now();
    loop {
        match child.try_wait().map_err(start)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(Failure::Exit { command: name, status }),
            None if began.elapsed() > limit => {
                child.kill().and_then(|()| child.wait()).map_err(start)?;
                return Err(Failure::Slow { command: name, limit });
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Runs `command` and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = name(command);
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|source| Failure::Start { command: name.clone(), source })?;
    if !output.status.success() {
        return Err(Failure::Exit { command: name, status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|source| Failure::Read { path: path.to_path_buf(), source })
}

/// Returns the command as a person would type it.
fn name(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
