//! The runtime: one handle over a root, plain blocking calls, background loops made of ticks.

pub mod add;
mod adopt;
mod beat;
pub mod embedding;
pub mod engine;
pub mod error;
pub mod get;
mod health;
mod inbox;
mod indexer;
pub mod judges;
mod live;
pub mod maintenance;
mod open;
mod ownership;
mod pause;
mod probe;
mod prune;
mod queue;
mod reading;
mod rebuild;
mod reconcile;
mod remember;
mod repair;
pub mod search;
pub mod settings;
mod space;
pub mod status;
mod steps;
mod tasks;
pub mod ticks;
mod tidy;
mod verify;

pub use engine::Engine;
pub use error::Error;
