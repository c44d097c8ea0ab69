//! The local disk: the vault of Markdown files, and the ledger that remembers what was made of it.
//!
//! Invariant: the Markdown is the truth and survives everything here; `.index/evermark` may vanish at any moment.
//! The vault knows no ledger. All of it is blocking code.

mod dir;
pub mod durable;
pub mod error;
pub mod everos;
pub mod jobs;
pub mod layout;
pub mod ledger;
pub mod lock;
pub mod space;
pub mod vault;
pub mod watch;
