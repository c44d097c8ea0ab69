//! Embedding providers, and the cache that keeps what they made.
//!
//! `builtin` is the model that is always there, `local` one from a folder, which `fetch` fills for who asks. `provider` names the choices and joins their parts; `openai` asks an endpoint, guarded by `rate`, `breaker` and
//! `retry`; `cached` asks only for what `cache` does not keep. Sync code: calls block and bound their own time.

pub mod breaker;
pub mod builtin;
pub mod cache;
pub mod cached;
pub mod fetch;
pub mod local;
pub mod openai;
pub mod provider;
pub mod rate;
pub mod retry;
mod wordpiece;

#[cfg(test)]
mod testing;
