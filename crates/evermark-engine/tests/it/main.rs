//! The engine on real files, a real ledger and the exact index.

mod adopt;
mod crash;
mod derived;
mod health;
mod judges;
mod kit;
mod meaning;
mod ownership;
mod pause;
mod remember;
mod repair;
mod script;
mod search;
mod sync;
mod ticks;
mod upkeep;
