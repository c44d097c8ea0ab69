//! Development only: contract suites, generators, fault harness.

pub mod contract;
pub mod generate;
pub mod simulation;
pub mod stub_embeddings;
