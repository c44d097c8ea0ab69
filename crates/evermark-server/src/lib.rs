//! HTTP over the engine: wire types, routes, status codes.
//!
//! Flow: `guard` lets a request in and gives it an id, `body` reads it, `api` checks it and turns it into the engine's
//! words, a verb runs on a blocking thread, `api` turns the answer into the wire's, and `respond` what went wrong.
//! Invariant: a request is answered with what is true when the answer is sent; nothing here keeps state of its own.

pub mod api;
mod body;
mod check;
mod guard;
mod health;
mod json;
mod listen;
mod memories;
mod metrics;
mod openapi;
mod operate;
mod options;
mod respond;
mod router;
mod search;
mod serve;
pub mod stamp;

pub use openapi::document;
pub use options::{Options, Token};
pub use respond::Refusal;
pub use router::{App, router};
pub use serve::{ServeError, bind, serve};
