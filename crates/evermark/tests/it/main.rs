//! The real binary, as people and scripts meet it: exits, settings, the daemon, signals and sudden death.

#![expect(clippy::disallowed_methods, reason = "tests write the files that people would write, and wait for processes")]
#![cfg_attr(
    feature = "lance",
    expect(clippy::unwrap_used, reason = "clippy exempts test functions, not what they call")
)]

#[cfg(feature = "lance")]
mod adopt;
mod armed;
mod bench;
mod config;
mod crash;
mod daemon;
mod deploy;
mod doctor;
mod faults;
mod figures;
mod index;
mod judges;
mod kit;
#[cfg(feature = "lance")]
mod lancedb;
mod life;
mod retrieval;
mod service;
mod usage;
