//! Where the libraries' traces go: standard error, as text or JSON.

use crate::config::{Config, LogFormat, Source};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Who is speaking decides how much is said when nobody asked for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Daemon,
    Command,
    /// What happens is shown by other means; what is logged would stand in between.
    Demo,
}

/// Starts logging, once, before the engine opens.
pub(crate) fn start(config: &Config, voice: Voice, verbose: u8) {
    let is_asked = !matches!(config.shown_source("log.level"), Source::Default | Source::File { .. });
    let filter = match (verbose, voice) {
        (2.., _) => "debug,hyper=info,ureq=info,rustls=info",
        (1, _) => "info",
        (0, Voice::Command) if !is_asked => "warn",
        (0, Voice::Demo) if !is_asked => "error",
        (0, _) => &config.log_filter,
    };
    let filter = EnvFilter::try_new(filter).unwrap_or_default();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match config.log_format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        crate::output::note(format_args!("cannot start logging: {error}"));
    }
}
