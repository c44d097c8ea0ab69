//! The local disk, for real: temporary roots, real SQLite, real second processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod hammer;
mod jobs;
mod ledger;
mod processes;
mod scan;
mod vault;
mod watch;
mod world;
