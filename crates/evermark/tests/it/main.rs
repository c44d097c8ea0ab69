//! The real binary, as people and scripts meet it: exits, settings, the daemon, signals and sudden death.

#![expect(clippy::disallowed_methods, reason = "tests write the files that people would write, and wait for processes")]

mod armed;
mod bench;
mod config;
mod crash;
mod daemon;
mod kit;
mod life;
mod usage;
