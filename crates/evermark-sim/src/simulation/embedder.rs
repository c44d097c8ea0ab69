//! An embedding provider that counts every text, can be down, and is worth caching.

use evermark_core::embed::{EmbedError, Embedder, HashEmbedder, ModelId, Purpose};
use evermark_core::error::ErrorKind;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Wide enough that texts differ, narrow enough to be quick.
const DIMENSION: usize = 16;

/// The provider's side: outlives the subject, as a provider does.
pub struct Provider {
    hash: HashEmbedder,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    down: bool,
    /// Texts paid for, which must not be sent again.
    paid: BTreeSet<String>,
    /// Texts paid for since [`Provider::settle`] was last called.
    fresh: BTreeSet<String>,
    twice: Vec<String>,
    sent: u64,
}

impl Provider {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { hash: HashEmbedder::new(DIMENSION), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// Returns how many texts were paid for, and forgets those that were paid for twice, which are returned too.
    pub fn settle(&self) -> (u64, Vec<String>) {
        let mut state = self.state();
        state.fresh.clear();
        (state.sent, std::mem::take(&mut state.twice))
    }

    /// Allows what was paid for since the last [`Self::settle`] to be paid for again: it could not be kept.
    pub fn excuse_fresh(&self) {
        let mut state = self.state();
        let fresh = std::mem::take(&mut state.fresh);
        state.paid.retain(|text| !fresh.contains(text));
        state.twice.clear();
    }

    /// Allows everything to be paid for again: the cache was damaged.
    pub fn excuse_all(&self) {
        let mut state = self.state();
        state.paid.clear();
        state.twice.clear();
    }
}

impl Embedder for Provider {
    fn model(&self) -> &ModelId {
        self.hash.model()
    }

    fn embed(&self, texts: &[String], purpose: Purpose, _: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut state = self.state();
        if state.down {
            return Err(EmbedError {
                kind: ErrorKind::Unavailable,
                class: "unavailable",
                message: "the provider is down".to_owned(),
                retry_after: None,
            });
        }
        if purpose == Purpose::Passage {
            for text in texts {
                state.sent += 1;
                state.fresh.insert(text.clone());
                if !state.paid.insert(text.clone()) {
                    state.twice.push(text.clone());
                }
            }
        }
        drop(state);
        Ok(texts.iter().map(|text| self.hash.vector(text)).collect())
    }

    fn is_costly(&self) -> bool {
        true
    }
}
