//! The server over a real engine on a temporary root, driven without a socket (one test opens one).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod adopted;
mod contract;
mod document;
mod errors;
mod guard;
mod judges;
mod kit;
mod memories;
mod operate;
mod serve;
