//! What an operator may type: status, doctor, service.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 5 when the verdict is `failing`. With --daemon it suits health checks: it never opens the root itself."
)]
pub(crate) struct StatusArgs {
    /// Ask the daemon only; exit 3 when none answers
    #[arg(long)]
    pub(crate) daemon: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Changes nothing, takes no lock, and works on a root that opens nowhere. The network is used for one embedding and for the daemon's
address. Exit codes: 0 nothing fails (there may be warnings), 5 something does.

Examples:
  evermark doctor
  evermark --root ~/.everos doctor --offline
  evermark doctor --json | jq '.findings[] | select(.level != \"ok\")'")]
pub(crate) struct DoctorArgs {
    /// Use no network: neither the embedding provider nor the daemon is asked
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Fetch an encoder's files from Hugging Face or a mirror of it
    Fetch(ModelFetchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Puts the files into .evermark/models below the root, checked and whole or not at all; run again, it goes on where it broke off. Nothing else ever
fetches a model. Known here: BERT encoders with WordPiece, such as sentence-transformers/all-MiniLM-L6-v2, intfloat/e5-small-v2, BAAI/bge-small-en-v1.5.
The mirror may also be named by HF_ENDPOINT, a token by HF_TOKEN.

Example:
  evermark model fetch intfloat/e5-small-v2
  EVERMARK_EMBEDDING__PROVIDER=local EVERMARK_EMBEDDING__MODEL=intfloat/e5-small-v2 evermark serve")]
pub(crate) struct ModelFetchArgs {
    /// The model, as owner/name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Branch, tag or commit
    #[arg(long, default_value = "main", value_name = "REV")]
    pub(crate) revision: String,
    /// Address of the hub
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Writes a systemd unit on Linux and a launchd job on macOS, from the same texts as deploy/ in the source.

Examples:
  evermark service install --dry-run              print what would be written, and where
  evermark service install                        for this user; needs no root
  sudo evermark --root /var/lib/evermark service install --system")]
pub(crate) enum ServiceCommand {
    /// Write the file that has the daemon started at boot or login
    Install(ServiceInstallArgs),
    /// Remove that file
    Uninstall(ServiceUninstallArgs),
    /// Show which file is there, whether it is what this program would write, and whether a daemon answers
    Status(ServiceArgs),
}

/// Whose service is meant.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ServiceArgs {
    /// This user's; needs no root (default)
    #[arg(long)]
    pub(crate) user: bool,
    /// The machine's
    #[arg(long, conflicts_with = "user")]
    pub(crate) system: bool,
    /// Which manager the file is for [default: this system's]
    #[arg(long, value_enum, hide = true, value_name = "NAME")]
    pub(crate) manager: Option<ManagerArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManagerArg {
    Systemd,
    Launchd,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServiceInstallArgs {
    #[command(flatten)]
    pub(crate) whose: ServiceArgs,
    /// Print the file and where it would go, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace a file there that this program did not write, or that was changed since
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServiceUninstallArgs {
    #[command(flatten)]
    pub(crate) whose: ServiceArgs,
    /// Remove even a file that this program did not write, or that was changed since
    #[arg(long)]
    pub(crate) force: bool,
}
