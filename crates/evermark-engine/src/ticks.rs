//! The background loops' ticks, made by hand: for tests and simulations that must decide what happens when.

use crate::engine::Engine;
use crate::error::Error;
use crate::tasks::Tick;

/// A background loop, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Extracts sessions that wait.
    Remember,
    /// Compares files with the ledger.
    Reconcile,
    /// Turns files into rows.
    Indexer,
    /// Keeps what is derived small.
    Beat,
}

/// What a tick came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Did something; there may be more.
    Worked,
    Idle,
}

impl Engine {
    /// Makes one tick of a loop in this thread. A failure is shown by the status until a tick of that loop succeeds, as when
    /// the loop runs by itself; a panic goes on to the caller.
    pub fn tick(&self, which: Loop) -> Result<Ticked, Error> {
        let inner = &self.inner;
        inner.open_for_verbs()?;
        let (name, ticked) = match which {
            Loop::Remember => ("remember", inner.remember_tick()),
            Loop::Reconcile => ("reconcile", inner.reconcile_tick()),
            Loop::Indexer => ("indexer", inner.indexer_tick()),
            Loop::Beat => ("beat", inner.beat_tick()),
        };
        match ticked {
            Ok(tick) => {
                inner.ailments.recovered(name);
                Ok(if tick == (Tick::Worked) { Ticked::Worked } else { Ticked::Idle })
            }
            Err(error) => {
                inner.ailments.failed(name, error.kind(), &error, inner.world.now_us());
                Err(error)
            }
        }
    }
}
