//! Real faults under the real program: full and vanishing volumes, missing descriptors, sudden ends, damaged files, odd
//! Markdown, dead providers. `docs/reliability.md` says which of its scenarios each of these shows.
//!
//! What needs root, a tool or a mount that is not there says `SKIPPED` on standard error and passes.

#![cfg(all(target_os = "linux", feature = "lance"))]

mod kit;

mod chaos;
mod corrupt;
mod crash;
mod descriptors;
mod edits;
mod growth;
mod operations;
mod provider;
mod space;
mod truth;
