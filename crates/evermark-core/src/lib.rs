//! Words and pure decisions. No I/O, no async runtime, no global state.

pub mod asked;
pub mod bm25;
pub mod chat;
pub mod codec;
pub mod embed;
pub mod error;
pub mod exact;
pub mod extract;
pub mod filter;
pub mod id;
pub mod index;
pub mod maintenance;
pub mod markdown;
pub mod memory;
pub mod provider;
pub mod ranking;
pub mod reconcile;
pub mod rerank;
pub mod shelf;
pub mod text;
pub mod vector;
pub mod world;
