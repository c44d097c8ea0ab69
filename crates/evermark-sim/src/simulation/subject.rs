//! What a simulation drives: an engine on a root, seen through the few calls that the harness needs.

use evermark_core::error::ErrorKind;
use evermark_core::id::Owner;
use evermark_core::index::{Index, IndexError};
use std::sync::Arc;

/// Why a call of the subject failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: ErrorKind,
    pub message: String,
}

impl Trouble {
    pub fn of(error: IndexError) -> Self {
        Self { kind: error.kind, message: with_causes(&error) }
    }
}

/// Returns an error's sentence followed by those of its causes.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A background loop of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    Remember,
    Reconcile,
    Indexer,
    Upkeep,
}

impl Loop {
    pub const ALL: [Self; 4] = [Self::Remember, Self::Reconcile, Self::Indexer, Self::Upkeep];
}

/// What a tick came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Did something; there may be more.
    Worked,
    Idle,
}

/// A message of the session's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub sender: String,
    pub timestamp_ms: i64,
    pub text: String,
}

/// What the subject says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub is_ok: bool,
    /// Code and message of each reason.
    pub reasons: Vec<String>,
    /// Files that wait to be indexed, those that failed included.
    pub waiting: u64,
    /// Whether the index wants to be built anew.
    pub rebuilding: bool,
}

/// An engine on a root that the harness owns. Nothing runs in its background: the harness makes every tick.
///
/// Calls on a subject that is closed fail with [`ErrorKind::Unavailable`].
pub trait Subject {
    /// Opens the root. On a subject that is open already, nothing happens.
    fn open(&mut self) -> Result<(), Trouble>;

    fn is_open(&self) -> bool;

    /// Closes in good order. The subject is closed afterwards, whatever is returned.
    fn close(&mut self) -> Result<(), Trouble>;

    /// Lets go of everything, as a process does that is killed. Nothing is flushed.
    fn kill(&mut self);

    fn tick(&mut self, which: Loop) -> Result<Ticked, Trouble>;

    /// Has messages remembered. When this returns `Ok` they are acknowledged.
    fn add(&mut self, session: &str, said: &[Said]) -> Result<(), Trouble>;

    /// Ends the session's open segment.
    fn flush(&mut self, session: &str) -> Result<(), Trouble>;

    /// Returns the ids of the episodes found, best first.
    fn search(&mut self, owner: &Owner, query: &str) -> Result<Vec<String>, Trouble>;

    /// Returns the live index; `None` when the subject is closed or cannot tell.
    fn index(&self) -> Option<Arc<dyn Index>>;

    /// Names every difference between index and Markdown.
    fn verify(&mut self) -> Result<Vec<String>, Trouble>;

    fn rebuild(&mut self) -> Result<(), Trouble>;

    /// Makes work that waits after a failure due at once.
    fn hasten(&mut self) -> Result<(), Trouble>;

    fn health(&mut self) -> Result<Health, Trouble>;
}
