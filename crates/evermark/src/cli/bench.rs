//! `bench`: what is measured, and how much of it.

use super::churn::{ChurnArgs, CommitsArgs};
use super::retrieval::{ConvertArgs, RetrievalArgs};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Everything that is aimed at, in one run, each beside what this machine allows
    Figures(FiguresArgs),
    /// The same memories in Evermark, EverOS 1.5.1 and basic-memory, side by side
    Peers(PeersArgs),
    /// Turn what `bench figures` has measured into tables in Markdown and into pictures
    Report(ReportArgs),
    /// From Markdown files to searchable facts
    Ingest(BenchArgs),
    /// How long searches take, per method and number of clients
    Search(BenchArgs),
    /// How fast the built-in model, or a local one, makes vectors
    Embed(EmbedArgs),
    /// Start on a root that is indexed already
    #[command(hide = true)]
    Start(BenchArgs),
    /// Edit a daemon's files for minutes and watch from outside what its index weighs
    Churn(ChurnArgs),
    /// Commit entries one by one and watch what that leaves on disk
    Commits(CommitsArgs),
    /// Load a data set of conversations, ask its questions, and count which of the answers are found
    Retrieval(RetrievalArgs),
    /// Turn a published data set into one that `bench retrieval` reads, on standard output
    RetrievalConvert(ConvertArgs),
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "For each size a root is made up, indexed, searched in this process and over HTTP, edited, and searched while files\n\
    are dropped into it, while it merges and while it rebuilds. Beside each figure stands what is aimed at, and the limit: bytes\n\
    that must be read / memory bandwidth, and so on, measured in the same run. Roots are removed again.\n\n\
    Examples:\n  evermark bench figures --facts 20000,100000 --out figures.json\n  \
    evermark bench figures --facts 1000000 --users 1000 --dir /dev/shm"
)]
pub(crate) struct FiguresArgs {
    /// Facts to make up, a size each; a fifth as many episodes come with them
    #[arg(long, default_value = "20000", value_delimiter = ',', value_name = "N")]
    pub(crate) facts: Vec<u32>,
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) users: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Searches per method and number of clients
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) queries: u32,
    /// Clients that search at once, besides one alone
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) clients: u16,
    /// Files edited while idle, and as many again while other files rain in
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub(crate) edits: u32,
    /// Facts of the files that are replaced while searches go on, at most half of all
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) batch: u32,
    /// Seconds for which merging, and rebuilding, is repeated at most, until a thousand searches met it
    #[arg(long, default_value_t = 60, value_name = "N")]
    pub(crate) repeat_seconds: u32,
    /// Fresh processes to start
    #[arg(long, default_value_t = 15, value_name = "N")]
    pub(crate) starts: u32,
    /// Minutes to leave the daemon alone before its memory is read once more; it forgets idle users after ten
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) rest_minutes: u32,
    /// Make the roots in this folder, and measure its disk [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// A program that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerArg {
    Evermark,
    Everos,
    BasicMemory,
}

impl PeerArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Evermark => "Evermark",
            Self::Everos => "EverOS",
            Self::BasicMemory => "basic-memory",
        }
    }
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "EverOS and basic-memory are installed from PyPI once, each into an environment of its own below --cache; a Python 3.12 or\n\
    newer is needed. A program that cannot be installed, or fails, is left out and the table says why. All get the vectors of the\n\
    built-in table, from an endpoint on the loopback. Only what this command started is ended.\n\n\
    Example:\n  evermark bench peers --facts 20000 --dir /dev/shm --out peers.json"
)]
pub(crate) struct PeersArgs {
    /// Facts to make up; a fifth as many episodes come with them
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub(crate) facts: u32,
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) users: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Searches per method and number of clients
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub(crate) queries: u32,
    /// Clients that search at once, besides one alone
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) clients: u16,
    /// Only these programs
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<PeerArg>,
    /// Seconds in which a program must have indexed everything
    #[arg(long, default_value_t = 900, value_name = "N")]
    pub(crate) patience_seconds: u64,
    /// The Python to use [default: the first that is new enough]
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// Install the programs here [default: ~/.cache/evermark/peers]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Make the roots in this folder [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReportArgs {
    /// Reports that `--out` wrote
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Draw into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct EmbedArgs {
    /// Measure the model in this folder instead of the built-in one
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Short texts to make up, of each kind
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) texts: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// Facts to make up; a fifth as many episodes come with them
    #[arg(long, default_value = "2000", value_delimiter = ',', value_name = "N")]
    pub(crate) facts: Vec<u32>,
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) users: u32,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Searches per method and number of clients
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) queries: u32,
    /// Numbers of clients that search at once
    #[arg(long, default_value = "1,8", value_delimiter = ',', value_name = "N")]
    pub(crate) clients: Vec<u16>,
    /// Made-up vectors of this width, instead of the configured model's
    #[arg(long, value_name = "N")]
    pub(crate) dim: Option<usize>,
    /// Search over HTTP on the loopback instead of inside the process
    #[arg(long)]
    pub(crate) http: bool,
    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Keep the root (and use it again when it is there)
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}
