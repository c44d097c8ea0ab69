//! The command line: what may be typed, and the help that explains it.

mod bench;
mod churn;
mod operations;
mod retrieval;

pub(crate) use bench::{BenchArgs, BenchCommand, EmbedArgs, FiguresArgs, PeerArg, PeersArgs, ReportArgs};
pub(crate) use churn::{ChurnArgs, CommitsArgs, FaultArg};
pub(crate) use operations::{
    DoctorArgs, ManagerArg, ModelCommand, ModelFetchArgs, ServiceArgs, ServiceCommand, ServiceInstallArgs,
    ServiceUninstallArgs, StatusArgs,
};
pub(crate) use retrieval::{ConvertArgs, FormatArg, RetrievalArgs};

use crate::output::Color;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

pub(crate) const VERSION: &str = if cfg!(feature = "lance") {
    env!("CARGO_PKG_VERSION")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (without Lance: the index is in memory and built anew at each start)")
};

/// Long-term memory for AI agents, in Markdown files that you own.
#[derive(Debug, Parser)]
#[command(
    name = "evermark",
    bin_name = "evermark",
    version = VERSION,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        evermark demo                                   watch a memory live, in a few seconds\n  \
        evermark serve                                  the daemon, on http://127.0.0.1:8000\n  \
        evermark add --sender lin --message 'I like oolong' --flush --wait indexed\n  \
        evermark search 'which tea' --user lin\n\n\
        A command speaks to the daemon when one has the root open, and opens the root itself when none has.\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage, 3 root in use and not reachable, 4 not found, 5 index differs,\n\
        6 index damaged, 75 try again later."
)]
pub(crate) struct Cli {
    /// Directory of the memories [default: $EVERMARK_ROOT, $EVEROS_ROOT, ~/.evermark]
    #[arg(long, global = true, value_name = "DIR", display_order = 100)]
    pub(crate) root: Option<PathBuf>,

    /// Answer in JSON, for scripts
    #[arg(long, global = true, display_order = 101)]
    pub(crate) json: bool,

    /// Say more on standard error; twice for debugging
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 102)]
    pub(crate) verbose: u8,

    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", display_order = 103)]
    pub(crate) color: Color,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a root: its identity and a commented evermark.toml
    Init(InitArgs),
    /// Take over what EverOS has in a root: measure its index, keep its vectors, offer to prune it
    Adopt(AdoptArgs),
    /// Run the daemon: HTTP API, watcher, indexer
    Serve(ServeArgs),
    /// Remember messages
    Add(AddArgs),
    /// End the open part of a session and make memories of it
    Flush(FlushArgs),
    /// Find memories
    Search(SearchArgs),
    /// List memories
    Get(GetArgs),
    /// Show health, counts, queue and index
    Status(StatusArgs),
    /// Bring the index up to date with the Markdown now
    Sync(SyncArgs),
    /// Compare the index with the Markdown; exit 5 when they differ
    Verify,
    /// Look after the index
    #[command(subcommand, arg_required_else_help = true)]
    Index(IndexCommand),
    /// Look for what keeps the root from working well, and say what mends it; changes nothing
    Doctor(DoctorArgs),
    /// Have the daemon started by systemd or launchd
    #[command(subcommand, arg_required_else_help = true)]
    Service(ServiceCommand),
    /// Have a model for `embedding.provider = "local"`
    #[command(subcommand, arg_required_else_help = true)]
    Model(ModelCommand),
    /// Look at the settings
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Show a memory's whole life on a root of its own, with no key and no network
    Demo(DemoArgs),
    /// Print the completion script for a shell
    #[command(
        after_help = "Example:\n  evermark completions bash > ~/.local/share/bash-completion/completions/evermark"
    )]
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// For developers: measure ingest, search and what is found, on roots made for it
    #[command(subcommand, arg_required_else_help = true)]
    Bench(BenchCommand),
}

impl Command {
    /// Tells whether the engine may be opened in this process.
    pub(crate) fn opens_engine(&self) -> bool {
        match self {
            Self::Init(_)
            | Self::Config(_)
            | Self::Completions { .. }
            | Self::Doctor(_)
            | Self::Service(_)
            | Self::Model(_) => false,
            // The daemon that it starts has the engine.
            Self::Bench(
                BenchCommand::Churn(_)
                | BenchCommand::Peers(_)
                | BenchCommand::Report(_)
                | BenchCommand::RetrievalConvert(_),
            ) => false,
            Self::Serve(_)
            | Self::Adopt(_)
            | Self::Add(_)
            | Self::Flush(_)
            | Self::Search(_)
            | Self::Get(_)
            | Self::Status(_)
            | Self::Sync(_)
            | Self::Verify
            | Self::Index(_)
            | Self::Demo(_)
            | Self::Bench(_) => true,
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Running it twice is harmless. In a root written by EverOS it adopts what is there: no file of EverOS changes."
)]
pub(crate) struct InitArgs {
    /// Replace an evermark.toml that is already there
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the evermark.toml that would be written, and write nothing
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing that EverOS wrote changes, unless its index is pruned. Vectors of unchanged texts are kept, so that\n\
    indexing pays for nothing twice; they must be of the model that Evermark is configured with.\n\n\
    Example:\n  evermark --root ~/.everos adopt"
)]
pub(crate) struct AdoptArgs {
    /// Prune EverOS's index without asking: remove what none of its tables needs any more
    #[arg(long)]
    pub(crate) prune: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Prints one line when it listens. SIGTERM or ^C ends it once what runs is done; a second one ends it at once.\n\
    It listens on other addresses than loopback only with a token (api.token, EVERMARK_API__TOKEN)."
)]
pub(crate) struct ServeArgs {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 8000]
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// What to log, for example `debug` or `info,evermark_engine=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
    /// How to log: `text` or `json` [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// The app and project a command is about.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScopeArgs {
    #[arg(long, default_value = "default", value_name = "ID")]
    pub(crate) app: String,
    #[arg(long, default_value = "default", value_name = "ID")]
    pub(crate) project: String,
}

/// What to wait for before answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// What was extracted can be searched.
    Indexed,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Answer only when this is true
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) wait: Option<WaitFor>,
    /// Seconds to wait at most
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Messages come from --message, or as JSON from FILE or standard input: the API's whole `add` body, its `messages` array,
or one message per line. Messages of the same session that were added before are recognised and not stored twice.

Examples:
  evermark add --sender lin --message 'I like oolong' --flush --wait indexed
  evermark add --session tea-7 chat.jsonl
  jq .messages export.json | evermark add --session tea-7 -")]
pub(crate) struct AddArgs {
    /// JSON or JSON lines; `-` is standard input, and so is nothing when --message is absent
    #[arg(conflicts_with = "message")]
    pub(crate) file: Option<PathBuf>,
    /// A message's text; may be given several times
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Vec<String>,
    /// Who says it
    #[arg(long, value_name = "ID", requires = "message")]
    pub(crate) sender: Option<String>,
    /// The sender's name, where it differs from the id
    #[arg(long, value_name = "NAME", requires = "message")]
    pub(crate) sender_name: Option<String>,
    #[arg(long, value_enum, default_value = "user", requires = "message")]
    pub(crate) role: RoleArg,
    /// When it was said: RFC 3339, or milliseconds since 1970 [default: now]
    #[arg(long, requires = "message")]
    pub(crate) time: Option<String>,
    /// The conversation they belong to [default: the body's, else `cli`]
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Keep them for a later flush; extract nothing now
    #[arg(long)]
    pub(crate) defer: bool,
    /// Answer when they are durable and extract in the background
    #[arg(long, conflicts_with_all = ["defer", "flush", "wait"])]
    pub(crate) queued: bool,
    /// End the session's open part right after
    #[arg(long, conflicts_with = "defer")]
    pub(crate) flush: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FlushArgs {
    /// The conversation
    #[arg(long, value_name = "ID", default_value = "cli")]
    pub(crate) session: String,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Whose memories.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OwnerArgs {
    /// The user whose memories are asked for
    #[arg(short, long, value_name = "ID")]
    pub(crate) user: Option<String>,
    /// The agent whose cases and skills are asked for
    #[arg(short, long, value_name = "ID")]
    pub(crate) agent: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodArg {
    Keyword,
    Vector,
    Hybrid,
}

/// Every way to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchMethodArg {
    Keyword,
    Vector,
    Hybrid,
    /// What hybrid finds, reranked; a language model looks further when that is not enough
    Agentic,
    /// A language model asks, picks and asks again
    #[value(name = "llm_multiround", alias = "llm-multiround")]
    LlmMultiround,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  evermark search 'which tea' --user lin
  evermark search 'deploy steps' --agent coder_bot --top-k 3
  evermark search 'which tea' --user lin --explain --why-not lin_af_20270203_00000001
  evermark search 'who sold us the kettle' --user lin --method agentic --deadline-ms 8000
  evermark search tea --user lin --filter '{\"timestamp\":{\"gte\":\"2027-01-01\"}}' --json")]
pub(crate) struct SearchArgs {
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// How to look [default: what works best here]
    #[arg(long, value_enum)]
    pub(crate) method: Option<SearchMethodArg>,
    /// How many to show
    #[arg(short = 'k', long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) top_k: u8,
    /// Only this session; its messages that still wait are shown too
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// A filter object, as the API takes it
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Leave out what is less similar than this (vector), from 0 to 1
    #[arg(long, value_name = "X")]
    pub(crate) radius: Option<f64>,
    /// Leave out what scores less than this (hybrid, agentic, llm_multiround), from 0 to 1
    #[arg(long, value_name = "X")]
    pub(crate) min_score: Option<f64>,
    /// Show the user's profile as well
    #[arg(long, requires = "user")]
    pub(crate) profile: bool,
    /// Have the configured reranker read what hybrid finds
    #[arg(long)]
    pub(crate) rerank: bool,
    /// Have the configured language model order what hybrid finds of an agent
    #[arg(long, requires = "agent")]
    pub(crate) llm_rerank: bool,
    /// Show what each score is made of
    #[arg(long)]
    pub(crate) explain: bool,
    /// Say why this memory is not found
    #[arg(long, value_name = "ID")]
    pub(crate) why_not: Option<String>,
    /// How long the search may take; what does not fit is left out and named
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub(crate) deadline_ms: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    Episode,
    Profile,
    AgentCase,
    AgentSkill,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  evermark get --user lin\n  evermark get --agent coder_bot --kind agent-skill --json"
)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// What to list [default: episode for users, agent-case for agents]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArg>,
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) page: u32,
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) page_size: u8,
    /// Oldest first
    #[arg(long)]
    pub(crate) oldest: bool,
    /// A filter object, as the API takes it
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Let removals through that were held back because so many files vanished at once
    #[arg(long)]
    pub(crate) allow_mass_delete: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Show what the index weighs, its bound, and how its upkeep does
    Status(IndexArgs),
    /// Show what the next round of upkeep would do, and why
    Plan,
    /// Remove what no version in use needs; works on a full disk and while merging fails
    Prune(IndexWorkArgs),
    /// Prune, then merge small and half-dead pieces
    Compact(IndexWorkArgs),
    /// Compare the index with the Markdown; exit 5 when they differ
    Verify(IndexVerifyArgs),
    /// Build the index anew beside the old one, then swap; searches go on meanwhile
    Rebuild,
}

/// What every command on foreign tables should say.
const FOREIGN: &str = "\
With --lancedb, PATH is a directory of *.lance tables, one such table, or an EverOS root; no root of Evermark is needed. Stop the
program that owns it first: prune and compact refuse while they see it in use. What is damaged is set aside in PATH.quarantine.

Examples:
  evermark index status --lancedb ~/.everos
  evermark index prune --lancedb ~/.everos --dry-run
  evermark index compact --lancedb data/lancedb --table episode --json";

/// Which index is meant.
#[derive(Clone, Debug, Args)]
#[command(after_help = FOREIGN)]
pub(crate) struct IndexArgs {
    /// Not the root's index: a LanceDB directory that something else made
    #[arg(long, value_name = "PATH")]
    pub(crate) lancedb: Option<PathBuf>,
    /// Only this table of it
    #[arg(long, value_name = "NAME", requires = "lancedb")]
    pub(crate) table: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = FOREIGN)]
pub(crate) struct IndexWorkArgs {
    #[command(flatten)]
    pub(crate) index: IndexArgs,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct IndexVerifyArgs {
    #[command(flatten)]
    pub(crate) index: IndexArgs,
    /// Read every piece of the index in full first; damaged ones are taken out and their rows written again
    #[arg(long, conflicts_with = "lancedb")]
    pub(crate) pieces: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting, its value and where it came from; secrets are masked
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep the root and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
}
