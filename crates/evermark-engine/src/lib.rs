//! The runtime: one handle over a root, plain blocking calls, background loops made of ticks.

pub mod add;
pub mod engine;
pub mod error;
pub mod get;
pub mod search;
pub mod settings;
pub mod status;

pub use engine::Engine;
pub use error::Error;
