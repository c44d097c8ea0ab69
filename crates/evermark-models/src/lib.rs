//! Providers of models: embeddings and the cache that keeps them, rerankers, language models.
//!
//! `builtin` is the model that is always there, `local` one from a folder, which `fetch` fills for who asks. `provider` names the choices and joins their parts; `openai` asks an endpoint; `cached` asks only for what
//! `cache` does not keep. `rerank` reads a question together with memories, by weights here or by an endpoint; `chat` asks a language model.
//! Every endpoint is guarded by `rate`, `breaker` and `retry`, put together in `endpoint`. Sync code: calls block and bound their own time.

pub mod breaker;
pub mod builtin;
pub mod cache;
pub mod cached;
pub mod chat;
mod endpoint;
pub mod fetch;
pub mod local;
pub mod openai;
pub mod provider;
pub mod rate;
pub mod rerank;
pub mod retry;
mod wordpiece;

#[cfg(test)]
mod testing;
