//! Where the libraries' traces go: standard error, or a file of bounded size; as text or JSON.

mod capped;

use crate::config::{Config, LogFormat, Source};
use anyhow::Context;
use capped::Capped;
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Who is speaking decides how much is said when nobody asked for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    Daemon,
    Command,
    /// What happens is shown by other means; what is logged would stand in between.
    Demo,
}

/// Starts logging, once, before the engine opens. Only the daemon logs to a file: a command has a reader.
pub(crate) fn start(config: &Config, voice: Voice, verbose: u8) -> anyhow::Result<()> {
    let is_asked = !matches!(config.shown_source("log.level"), Source::Default | Source::File { .. });
    let filter = match (verbose, voice) {
        (2.., _) => DEBUG,
        (1, _) => "info",
        (0, Voice::Command) if !is_asked => "warn",
        (0, Voice::Demo) if !is_asked => "error",
        (0, Voice::Daemon) if matches!(config.shown_source("log.level"), Source::Default) => UNASKED,
        (0, _) => &config.log_filter,
    };
    match config.log_file.as_ref().filter(|_| voice == Voice::Daemon) {
        None => begin(filter, config.log_format, io::stderr().is_terminal(), io::stderr),
        Some(path) => {
            let file = Capped::open(path, config.log_file_bytes_max)
                .with_context(|| format!("cannot log to {}", path.display()))?;
            begin(filter, config.log_format, false, Mutex::new(file));
        }
    }
    Ok(())
}

/// Starts logging for a command that finds out by itself what is wrong.
pub(crate) fn start_quietly(verbose: u8) {
    let filter = match verbose {
        0 => "off",
        1 => "info",
        _ => DEBUG,
    };
    begin(filter, LogFormat::Text, io::stderr().is_terminal(), io::stderr);
}

/// What a daemon logs when nothing is said about it. Lance tells of every file that it makes: nine megabytes an hour at
/// twenty edits a second (`bench churn --log`), in which nobody finds anything else.
const UNASKED: &str = "info,lance=warn";
const DEBUG: &str = "debug,hyper=info,ureq=info,rustls=info";

fn begin<W>(filter: &str, format: LogFormat, colours: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).unwrap_or_default();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match format {
        LogFormat::Text => builder.with_ansi(colours).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        crate::output::note(format_args!("cannot start logging: {error}"));
    }
}
