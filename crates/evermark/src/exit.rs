//! How the program ends: every number a script can meet, and what it means. `docs/cli.md` lists them.

use evermark_core::error::ErrorKind;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    /// Something broke that none of the others names.
    Failed,
    /// The command line, the settings or the request are wrong.
    Usage,
    /// Another process holds the root and cannot be reached.
    Held,
    /// What was asked for does not exist.
    NotFound,
    /// `verify` found that index and Markdown differ; `status` found the root failing.
    Differs,
    /// Derived data is damaged; `evermark index rebuild` mends it.
    Damaged,
    /// Not possible now; the same command may work later.
    Temporary,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Held => 3,
            Self::NotFound => 4,
            Self::Differs => 5,
            Self::Damaged => 6,
            // EX_TEMPFAIL of sysexits.h, which mail and cron tools know.
            Self::Temporary => 75,
        }
    }

    /// Returns the name used in `--json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Held => "held",
            Self::NotFound => "not_found",
            Self::Differs => "differs",
            Self::Damaged => "damaged",
            Self::Temporary => "temporary",
        }
    }

    /// Returns how a command ends that failed with `error`: as its nearest cause that knows its kind says.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        error
            .chain()
            .find_map(|cause| {
                let engine = cause.downcast_ref::<evermark_engine::Error>().map(|error| error.kind().into());
                let store = || cause.downcast_ref::<evermark_store::error::Error>().map(|error| error.kind().into());
                engine.or_else(store)
            })
            .unwrap_or(Self::Failed)
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::NoSpace => Self::Temporary,
            ErrorKind::Corrupt => Self::Damaged,
            ErrorKind::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure that the program itself found, with how to end and what to try.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Returns what to try after `error`, where somebody knew.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    let known = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.clone());
    known.or_else(|| match Exit::of(error) {
        Exit::Damaged => Some("`evermark index rebuild` builds the index anew from the Markdown".to_owned()),
        Exit::Ok | Exit::Failed | Exit::Usage | Exit::Held | Exit::NotFound | Exit::Differs | Exit::Temporary => None,
    })
}
