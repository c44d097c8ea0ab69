//! The runtime: one handle over a root, plain blocking calls, background loops made of ticks.

pub mod add;
mod adopt;
pub mod embedding;
pub mod engine;
pub mod error;
pub mod get;
mod health;
mod inbox;
mod indexer;
mod live;
mod open;
mod queue;
mod reading;
mod rebuild;
mod reconcile;
mod remember;
pub mod search;
pub mod settings;
pub mod status;
mod tasks;
mod upkeep;
mod verify;

pub use engine::Engine;
pub use error::Error;
