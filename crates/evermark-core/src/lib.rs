//! Words and pure decisions. No I/O, no async runtime, no global state.

pub mod embed;
pub mod extract;
pub mod error;
pub mod filter;
pub mod id;
pub mod index;
pub mod memory;
pub mod text;
pub mod reconcile;
pub mod world;
