//! Development only: contract suites, generators, fault harness.

pub mod contract;
pub mod generate;
pub mod simulation;
pub mod stub_embeddings;
pub mod stub_http;
pub mod stub_models;
