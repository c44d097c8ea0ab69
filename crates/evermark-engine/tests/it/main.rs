//! The engine on real files, a real ledger and the exact index.

mod adopt;
mod crash;
mod derived;
mod kit;
mod remember;
mod sync;
