//! Development only: contract suites, generators, fault harness.

pub mod stub_embeddings;
