//! A whole life in a few seconds: what people, clients, disks, clocks and providers do to a root, in an order that a seed
//! decides, against a model of what must be true.
//!
//! The harness owns the root, the clocks, chance and every fault; the [`Subject`] is the real engine on the real index, with
//! none of its threads: the harness makes each tick. So a seed replays exactly: same operations, same strikes, same answers.
//! Flow: [`ops::generate`] makes a list from the seed alone → [`harness::run`] lets it happen, and looks after every
//! call ([`invariants`]) → at each `Settle`, and at the end, all trouble is over and everything promised must be true.
//!
//! - `ops`, `acts`, `fault`, `damage`: what happens, what that does, where it goes wrong, what becomes of files
//! - `world`, `embedder`: time, chance, points, death; the provider
//! - `model`, `disk`: what the Markdown should say, and what is on the disk
//! - `subject`: the few calls by which the harness sees an engine

mod acts;
pub mod chance;
mod damage;
pub mod disk;
pub mod embedder;
pub mod fault;
pub mod harness;
pub mod invariants;
pub mod model;
pub mod ops;
pub mod subject;
pub mod world;

pub use harness::{Report, Setup, Violation, run};
pub use invariants::Limits;
pub use subject::Subject;
