//! What may be typed after `bench churn` and `bench commits`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What goes wrong while entries come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultArg {
    /// Merging the index's pieces always fails
    Compaction,
    /// The disk (a tmpfs, so root is needed) is filled to the last byte and freed again, over and over
    Enospc,
    /// The daemon may open 128 files, and cannot raise that
    Fd,
    /// The daemon is killed by SIGKILL and started again, over and over
    Kill,
}

impl FaultArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compaction => "compaction",
            Self::Enospc => "enospc",
            Self::Fd => "fd",
            Self::Kill => "kill",
        }
    }
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Makes up a root, starts a daemon on it and edits its files at the given rate, while the index is measured from outside:
bytes on disk (deleted files that are still open included), against the bound K x live + C. At the end the index must agree
with the files. Exits with 1 when a check fails.

Examples:
  evermark bench churn --minutes 30 --svg churn.svg --out churn.json
  evermark bench churn --fault kill
  evermark bench churn --peer-root DIR --peer-pid PID --peer-url http://127.0.0.1:8000   something else's root and process")]
pub(crate) struct ChurnArgs {
    /// How long to edit
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    pub(crate) minutes: f64,
    /// Edits a second: 40 % append, 45 % change, 15 % delete
    #[arg(long, default_value_t = 20.0, value_name = "N")]
    pub(crate) rate: f64,
    /// Facts to begin with, and to stay about at; a fifth as many episodes come with them
    #[arg(long, default_value_t = 5000, value_name = "N")]
    pub(crate) facts: u32,
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) users: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Width of the made-up vectors
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(crate) dim: usize,
    /// Searches a second meanwhile
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    pub(crate) searches: f64,
    /// What goes wrong meanwhile
    #[arg(long, value_enum)]
    pub(crate) fault: Option<FaultArg>,
    /// Seconds between faults, about [default: 15 for kill, 60 for enospc]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) every: Option<f64>,
    /// Size of the tmpfs for enospc, in MiB
    #[arg(long, default_value_t = 1152, value_name = "MIB")]
    pub(crate) disk: u64,
    /// K of the bound that is checked
    #[arg(long, default_value_t = 2.0, value_name = "K")]
    pub(crate) ratio: f64,
    /// C of the bound that is checked, in MiB
    #[arg(long, default_value_t = 192, value_name = "MIB")]
    pub(crate) slack: u64,
    /// Write the figures and samples to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Draw bytes over time into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Put the root here and keep it (an empty folder, or one that this made before)
    #[arg(long, value_name = "DIR", conflicts_with = "peer_root")]
    pub(crate) keep: Option<PathBuf>,
    /// Keep the daemon's log in this file
    #[arg(long, value_name = "FILE", conflicts_with = "peer_root")]
    pub(crate) log: Option<PathBuf>,
    /// Start no daemon: edit this root, which is made if it is empty
    #[arg(long, value_name = "DIR", conflicts_with = "fault")]
    pub(crate) peer_root: Option<PathBuf>,
    /// The process to measure; without it only the root is made
    #[arg(long, value_name = "PID", requires = "peer_root")]
    pub(crate) peer_pid: Option<u32>,
    /// Where that process answers
    #[arg(long, value_name = "URL", requires = "peer_root")]
    pub(crate) peer_url: Option<String>,
    /// Its index, below the root
    #[arg(long, default_value = ".index/lancedb", value_name = "PATH")]
    pub(crate) peer_index: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Commits single entries to an index of --live rows, in turn, and shows what that leaves on disk."
)]
pub(crate) struct CommitsArgs {
    /// Commits to make, of one entry each
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) n: u64,
    /// Rows there are; every commit replaces one of them
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) live: u64,
    /// Width of the made-up vectors
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) dim: usize,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
