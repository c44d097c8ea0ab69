//! Other programs from PyPI, each in a virtual environment of its own in a cache folder, installed once.

use crate::bench::process::Process;
use crate::exit::{Exit, Failure};
use crate::output::note;
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What both programs need.
const PYTHON_MIN: (u32, u32) = (3, 12);
/// Installing takes no longer; on a slow line it does, and goes on where it was the next time.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Finds a Python that is new enough.
pub(super) fn find(named: Option<&Path>, home: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut candidates = named.map(Path::to_owned).into_iter().collect::<Vec<_>>();
    if candidates.is_empty() {
        candidates.extend(["python3.12", "python3.13", "python3.14", "python3"].map(PathBuf::from));
        let versions = Path::new(home.unwrap_or_default()).join(".pyenv/versions");
        let mut found = std::fs::read_dir(versions).into_iter().flatten().flatten().collect::<Vec<_>>();
        found.sort_unstable_by_key(std::fs::DirEntry::file_name);
        candidates.extend(found.into_iter().map(|version| version.path().join("bin/python")));
    }
    let new_enough = candidates.into_iter().find(|python| {
        let said = Command::new(python).args(["-c", "import sys; print(*sys.version_info[:2])"]).output();
        let said = said.ok().filter(|said| said.status.success()).map(|said| said.stdout).unwrap_or_default();
        version(&String::from_utf8_lossy(&said)).is_some_and(|version| version >= PYTHON_MIN)
    });
    new_enough.ok_or_else(|| {
        let message = format!("no Python {}.{} or newer is here", PYTHON_MIN.0, PYTHON_MIN.1);
        Failure::new(Exit::NotFound, message).hint("name one with --python").into()
    })
}

fn version(said: &str) -> Option<(u32, u32)> {
    let (major, minor) = said.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A virtual environment.
pub(super) struct Venv {
    dir: PathBuf,
}

impl Venv {
    /// Makes an environment that holds `packages`, or finds it made.
    pub(super) fn with(python: &Path, dir: &Path, packages: &[&str], log: &Path) -> anyhow::Result<Self> {
        let venv = Self { dir: dir.to_owned() };
        let mark = dir.join(".evermark-made");
        let wanted = packages.join(" ");
        if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
            return Ok(venv);
        }
        note(format_args!("installing {wanted} into {} …", dir.display()));
        let mut make = Command::new(python);
        make.args(["-m", "venv"]).arg(dir);
        Process::start(make, "python -m venv", log)?.finish(PATIENCE)?;
        venv.install(packages, log)?;
        File::create(&mark)
            .and_then(|mut file| file.write_all(wanted.as_bytes()))
            .context("cannot mark what is made")?;
        Ok(venv)
    }

    fn install(&self, packages: &[&str], log: &Path) -> anyhow::Result<()> {
        let mut pip = self.command("pip");
        pip.args(["install", "--quiet", "--retries", "1", "--timeout", "30"]).args(packages);
        Process::start(pip, "pip install", log)?
            .finish(PATIENCE)
            .context("PyPI has not what is needed, or cannot be reached")
    }

    /// Sees to it that SQLite can load extensions, which some builds of Python leave out.
    pub(super) fn with_extensions(&self, log: &Path) -> anyhow::Result<()> {
        const ASKS: &str = "import sqlite3; raise SystemExit(not hasattr(sqlite3.Connection, 'enable_load_extension'))";
        const INSTEAD: &str = "import sys, pysqlite3; sys.modules['sqlite3'] = pysqlite3; \
            sys.modules['sqlite3.dbapi2'] = pysqlite3.dbapi2\n";
        let can = self.command("python").args(["-c", ASKS]).status().context("cannot ask Python")?;
        if can.success() {
            return Ok(());
        }
        note("this Python's SQLite takes no extensions: installing another …");
        self.install(&["pysqlite3-binary"], log)?;
        let mut python = self.command("python");
        let site = python.args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).output()?.stdout;
        let site = PathBuf::from(String::from_utf8_lossy(&site).trim());
        let file =
            File::create(site.join("evermark_sqlite.pth")).and_then(|mut file| file.write_all(INSTEAD.as_bytes()));
        file.context("cannot set another SQLite")
    }

    /// Returns the version of a package that is installed.
    pub(super) fn version(&self, package: &str) -> anyhow::Result<String> {
        let asks = format!("import importlib.metadata as m; print(m.version({package:?}))");
        let said = self.command("python").args(["-c", &asks]).output().context("cannot ask Python")?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    /// Returns a program of the environment.
    pub(super) fn command(&self, program: &str) -> Command {
        Command::new(self.dir.join("bin").join(program))
    }
}
