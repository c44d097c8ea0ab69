//! `evermark index … --lancedb PATH`: looks after LanceDB directories that something else made. Neither needs nor opens a root.

#[cfg(not(feature = "lance"))]
mod absent;
#[cfg(feature = "lance")]
mod present;

#[cfg(not(feature = "lance"))]
pub(crate) use absent::run;
#[cfg(feature = "lance")]
pub(crate) use present::{free_bytes, run};
