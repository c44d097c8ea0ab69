//! Embedding providers, and the cache that keeps what they made.

pub mod breaker;
pub mod openai;
pub mod rate;
pub mod retry;
