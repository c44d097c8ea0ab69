//! Everything this crate promises, on real directories. One binary: linking Lance is the slow part.

#![expect(clippy::disallowed_methods, reason = "tests write damage into files and start processes of themselves")]
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, not what they call")]

mod bound;
mod contract;
mod crash;
mod damage;
mod errors;
mod hang;
mod lancedb;
mod plan;
mod process;
mod store;
mod support;
mod upkeep;
mod views;
