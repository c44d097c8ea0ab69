//! The server over a real engine on a temporary root, driven without a socket (one test opens one).

mod adopted;
mod contract;
mod document;
mod errors;
mod guard;
mod kit;
mod memories;
mod operate;
mod serve;
