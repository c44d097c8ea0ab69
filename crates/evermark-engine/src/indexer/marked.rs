//! What is to be known of a memory when it is in the index: worked out where its file is read, on several threads.

use crate::live::Live;
use evermark_core::id::{Kind, MemoryKey};
use evermark_core::memory::{Digest32, Memory};
use evermark_store::ledger::catalog::MessageRef;

pub(super) struct Marked {
    pub(super) key: MemoryKey,
    digest: Digest32,
    /// What the ledger is to remember of it, when it has its vector.
    pub(super) mark: Digest32,
    /// The messages that an episode is of.
    pub(super) messages: Vec<MessageRef>,
}

impl Marked {
    pub(super) fn of(memory: &Memory, live: &Live) -> Self {
        let digest = memory.digest();
        let session = memory.session_id.as_ref().filter(|_| memory.kind() == Kind::Episode);
        let message = |session: &String, id: &String| MessageRef { session: session.clone(), message_id: id.clone() };
        let messages =
            session.map_or_else(Vec::new, |session| memory.message_ids.iter().map(|id| message(session, id)).collect());
        Self { key: memory.key(), digest, mark: entry_digest_of(digest, live, true), messages }
    }

    /// Returns what the ledger is to remember of it when it has no vector.
    pub(super) fn vectorless(&self, live: &Live) -> Digest32 {
        entry_digest_of(self.digest, live, false)
    }
}

/// What the ledger remembers of a row: it differs whenever the row must be written again, so also when it got no vector.
pub(crate) fn entry_digest_of(memory: Digest32, live: &Live, has_vectors: bool) -> Digest32 {
    let mut bytes = memory.0.to_vec();
    if let Some(model) = &live.model {
        bytes.extend_from_slice(&(model.dimension as u64).to_le_bytes());
        bytes.extend_from_slice(model.name.as_bytes());
    }
    bytes.push(u8::from(has_vectors));
    Digest32::of(&bytes)
}
