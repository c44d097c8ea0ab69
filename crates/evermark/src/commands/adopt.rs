//! `evermark adopt`: looks at the index that EverOS left in a root, takes its vectors over, and offers to prune it.
//!
//! EverOS's files are only read. What is kept goes into our own cache of embeddings, by the text it belongs to, so that
//! indexing asks the provider for nothing that EverOS has paid for. Only `--prune` (or a yes on a terminal) changes EverOS's index.

#[cfg(not(feature = "lance"))]
mod absent;
#[cfg(feature = "lance")]
mod present;
#[cfg(feature = "lance")]
mod vectors;

#[cfg(not(feature = "lance"))]
pub(crate) use absent::run;
#[cfg(feature = "lance")]
pub(crate) use present::run;
