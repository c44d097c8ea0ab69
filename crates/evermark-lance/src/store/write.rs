//! Flushes: what was accepted becomes durable, in commits of bounded bytes.
//!
//! Each commit is admitted against the budget before a byte is written, by its encoded size, which is never less than what
//! Lance makes of it. What a commit supersedes is bounded too, and reclaimed after a few commits at the latest, so that
//! neither a stream of edits nor the removal of everything leaves more behind than one reclaim takes away.

use super::{Change, Changes, Pending, Store, Writer, place};
use crate::directory::{Address, Directory, Entry};
use crate::rows;
use crate::sweep;
use crate::table::{Deletions, Snapshot};
use arrow_array::RecordBatch;
use evermark_core::error::ErrorKind;
use evermark_core::index::{IndexError, Indexable};
use lance_table::format::Fragment;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows encoded at once.
const CHUNK_ROWS: usize = 2048;
/// What may wait in memory before a flush is made.
const PENDING_BYTES_MAX: u64 = 48 << 20;
/// Commits, and bytes they left behind, after which files are reclaimed: a term of the bound (decision 0007).
pub(super) const SUPERSEDED_COMMITS_MAX: u32 = 8;
const SUPERSEDED_BYTES_MAX: u64 = 8 << 20;

/// What a commit is to be made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// Only what goes: written into the room that every other write leaves free.
    Removals,
}

/// What one commit is about.
struct Chunk {
    changes: Arc<Changes>,
    /// Rows on disk that it replaces or removes, by address.
    replaced: Vec<(Entry, Address)>,
    at: Snapshot,
}

impl Store {
    /// Accepts changes. `apply` runs with them under the state lock: what it does happens at the same moment.
    ///
    /// Errors: those of [`Self::flush`], when too much waits already; nothing is accepted then.
    pub(crate) fn accept(&self, changes: Vec<Pending>, apply: impl FnOnce(&[Pending])) -> Result<(), IndexError> {
        let full = {
            let state = self.state();
            state.pending.len() >= self.options.pending_rows_max || state.pending_bytes >= PENDING_BYTES_MAX
        };
        if full {
            self.flush()?;
        }
        let mut state = self.state();
        apply(&changes);
        state.pending_bytes += changes.iter().map(Pending::weight).sum::<u64>();
        state.pending.extend(changes.into_iter().map(|change| (change.entry.key, change)));
        Ok(())
    }

    /// Makes everything accepted so far durable, in as few commits as their bound allows; each is all or nothing.
    pub(crate) fn flush(&self) -> Result<(), IndexError> {
        let mut writer = self.writer();
        self.settle(&mut writer)?;
        self.know(&mut writer)?;
        // What is accepted while this runs is the next flush's.
        let mut left = self.state().pending.len();
        let mut wanted = Wanted::All;
        while left > 0 {
            let Some(chunk) = self.take_chunk(wanted) else {
                // No removal is left that could make room: the refusal stands.
                if wanted == Wanted::All {
                    break;
                }
                wanted = Wanted::All;
                continue;
            };
            let written = self.write(&mut writer, &chunk, wanted);
            self.put_back(&chunk, written.is_err());
            match written {
                Ok(()) => left = left.saturating_sub(chunk.changes.len()),
                // What only goes needs next to nothing, and what it leaves behind can be merged away.
                Err(error) if error.kind == ErrorKind::NoSpace && wanted == Wanted::All && self.removals_wait() => {
                    tracing::info!(%error, "removals are written first");
                    wanted = Wanted::Removals;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn removals_wait(&self) -> bool {
        let state = self.state();
        let directory = state.directory.as_ref();
        let goes = |pending: &Pending| {
            matches!(pending.change, Change::Gone(_))
                && directory.is_some_and(|directory| directory.find(pending.entry.key).is_some())
        };
        state.pending.values().any(goes)
    }

    /// Moves what one commit may hold from pending to flushing.
    fn take_chunk(&self, wanted: Wanted) -> Option<Chunk> {
        let mut state = self.state();
        let at = Arc::clone(&state.snapshot);
        let mut emptying = Emptying::of(&at);
        let mut keys = Vec::new();
        let mut bytes = 0;
        let bytes_max = self.sizes().write_bytes_max();
        for (key, change) in &state.pending {
            if wanted == Wanted::Removals && !matches!(change.change, Change::Gone(_)) {
                continue;
            }
            bytes += change.weight();
            if let Some(address) = state.directory.as_ref().and_then(|directory| directory.find(*key)) {
                bytes += emptying.remove(address.fragment());
            }
            if !keys.is_empty() && bytes > bytes_max {
                break;
            }
            keys.push(*key);
        }
        if keys.is_empty() {
            return None;
        }
        let changes: Changes = if keys.len() == state.pending.len() {
            std::mem::take(&mut state.pending)
        } else {
            keys.iter().filter_map(|key| Some((*key, state.pending.remove(key)?))).collect()
        };
        state.pending_bytes = state.pending.values().map(Pending::weight).sum();
        let changes = Arc::new(changes);
        state.flushing = Arc::clone(&changes);
        let directory = state.directory.as_ref();
        let mut replaced: Vec<(Entry, Address)> =
            changes.values().filter_map(|change| Some((change.entry, directory?.find(change.entry.key)?))).collect();
        replaced.sort_unstable_by_key(|(_, address)| *address);
        Some(Chunk { changes, replaced, at })
    }

    /// Ends a chunk: what could not be written waits again, unless something newer does.
    fn put_back(&self, chunk: &Chunk, failed: bool) {
        let mut state = self.state();
        state.flushing = Arc::new(Changes::default());
        if failed {
            for (key, change) in chunk.changes.iter() {
                state.pending.entry(*key).or_insert_with(|| change.clone());
            }
            state.pending_bytes = state.pending.values().map(Pending::weight).sum();
        }
    }

    fn write(&self, writer: &mut Writer, chunk: &Chunk, wanted: Wanted) -> Result<(), IndexError> {
        let Chunk { changes, replaced, at } = chunk;
        let mut puts: Vec<(Entry, &Indexable)> = changes
            .values()
            .filter_map(|pending| match &pending.change {
                Change::Put(row) => Some((pending.entry, row.as_ref())),
                Change::Gone(_) => None,
            })
            .collect();
        if puts.is_empty() && replaced.is_empty() {
            return Ok(()); // only rows that were never there are gone
        }
        // An owner's rows lie together, so that loading it reads few pages.
        puts.sort_by(|(a, left), (b, right)| {
            (a.owner, a.kind, &left.memory.id).cmp(&(b.owner, b.kind, &right.memory.id))
        });
        let batches = self.encode(&puts)?;
        let bytes = batches.iter().map(|batch| batch.get_array_memory_size() as u64).sum();
        if wanted == Wanted::All {
            self.admit(writer, bytes)?;
        }
        // Making room may have moved rows.
        let (at, replaced) = self.locate(at, replaced);
        let entries: Vec<Entry> = puts.iter().map(|(entry, _)| *entry).collect();
        let removed: Vec<Address> = replaced.iter().map(|(_, address)| *address).collect();
        let written = {
            let (table, at, world) = (Arc::clone(&self.table), Arc::clone(&at), Arc::clone(&self.world));
            let suspects = self.suspects.clone();
            self.run(writer, "write to the index", async move {
                world.reach("lance.writing").map_err(|error| crate::error::failed("write to the index", error))?;
                let fresh = table.append(&at, batches).await?;
                Ok((fresh, table.delete(&at, &removed, &suspects).await?))
            })
        };
        let committed = written.and_then(|(fresh, deletions)| {
            self.reach("lance.appended")?;
            self.commit(writer, &at, fresh, deletions, |directory, addresses| {
                directory.remove(&replaced.iter().map(|(entry, _)| *entry).collect::<Vec<_>>());
                entries
                    .iter()
                    .zip(addresses)
                    .fold(true, |fine, (entry, address)| directory.insert(*entry, *address) && fine)
            })
        });
        self.clean_up(writer, committed.is_err());
        committed
    }

    /// Encodes rows, on two threads when there are many.
    fn encode(&self, puts: &[(Entry, &Indexable)]) -> Result<Vec<RecordBatch>, IndexError> {
        let chunks = |puts: &[(Entry, &Indexable)]| -> Result<Vec<RecordBatch>, IndexError> {
            puts.chunks(CHUNK_ROWS).map(|chunk| rows::encode(chunk, &self.schema)).collect()
        };
        if puts.len() <= CHUNK_ROWS {
            return chunks(puts);
        }
        let (left, right) = puts.split_at(puts.len().div_ceil(CHUNK_ROWS) / 2 * CHUNK_ROWS);
        std::thread::scope(|scope| {
            let right = scope.spawn(|| chunks(right));
            let mut batches = chunks(left)?;
            match right.join() {
                Ok(right) => batches.append(&mut right?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            Ok(batches)
        })
    }

    /// Returns the newest version, and where the rows of `replaced` are in it.
    fn locate(&self, at: &Snapshot, replaced: &[(Entry, Address)]) -> (Snapshot, Vec<(Entry, Address)>) {
        let state = self.state();
        if Arc::ptr_eq(&state.snapshot, at) {
            return (Arc::clone(at), replaced.to_vec());
        }
        let directory = state.directory.as_ref();
        let mut found: Vec<(Entry, Address)> =
            replaced.iter().filter_map(|(entry, _)| Some((*entry, directory?.find(entry.key)?))).collect();
        found.sort_unstable_by_key(|(_, address)| *address);
        (Arc::clone(&state.snapshot), found)
    }

    /// Commits, and swaps the state over when the version is there. `update` gets the new rows' addresses in order.
    pub(super) fn commit(
        &self,
        writer: &mut Writer,
        at: &Snapshot,
        fresh: Vec<Fragment>,
        mut deletions: Deletions,
        update: impl FnOnce(&mut Directory, &[Address]) -> bool,
    ) -> Result<(), IndexError> {
        let files: Vec<(String, usize)> = fresh
            .iter()
            .map(|fragment| {
                let name = fragment.files.first().map(|file| file.path.clone()).unwrap_or_default();
                (name, fragment.physical_rows.unwrap_or_default())
            })
            .collect();
        {
            // Damaged pieces leave with the first commit that can be made.
            let state = self.state();
            let present = at.fragments().iter().map(|fragment| fragment.id).filter(|id| state.bad.contains(id));
            deletions.emptied.extend(present);
            deletions.emptied.sort_unstable();
            deletions.emptied.dedup();
            deletions.shrunk.retain(|fragment| !state.bad.contains(&fragment.id));
        }
        let committed = {
            let (table, at) = (Arc::clone(&self.table), Arc::clone(at));
            self.run(writer, "commit to the index", async move { table.commit(&at, fresh, deletions).await })
        };
        let snapshot = match committed {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // The manifest may be there or not: look before the next write.
                writer.stale = true;
                return Err(error);
            }
        };
        {
            let mut state = self.state();
            let addresses = place(&snapshot, &files);
            // Somebody else's commit in between moves nothing of ours, but we know nothing of theirs.
            let alone = snapshot.manifest().version == at.manifest().version + 1;
            let known = match (&mut state.directory, addresses) {
                (Some(directory), Some(addresses)) if alone => update(directory, &addresses),
                // Read again because of damage: that one does not know these rows yet.
                (None, _) if alone => false,
                _ => {
                    tracing::warn!("the index's table was changed by somebody else: reading it again");
                    false
                }
            };
            if !known {
                state.directory = None;
            }
            let left: std::collections::BTreeSet<u64> =
                snapshot.fragments().iter().map(|fragment| fragment.id).collect();
            state.bad.retain(|id| left.contains(id));
            state.snapshot = Arc::clone(&snapshot);
        }
        writer.commits += 1;
        writer.superseded_bytes += sweep::superseded(&self.table.path, at, &snapshot);
        self.reach("lance.committed")?;
        self.table.sync_manifest(&snapshot)
    }

    /// Reclaims when enough has been left behind, and always after a failure: nothing is in flight then.
    pub(super) fn clean_up(&self, writer: &mut Writer, failed: bool) {
        let due = writer.commits >= SUPERSEDED_COMMITS_MAX || writer.superseded_bytes >= SUPERSEDED_BYTES_MAX;
        // Until it has been looked, nobody knows which manifest is the newest.
        if writer.stale || writer.abandoned.is_some() || !(due || failed) {
            return;
        }
        if let Err(error) = self.reclaim_held(writer) {
            tracing::warn!(%error, "superseded files of the index could not be removed; upkeep tries again");
        }
    }
}

/// Counts down the rows of pieces, to tell when one loses its last row.
struct Emptying {
    /// Rows left and bytes of each piece.
    left: HashMap<u64, (u64, u64)>,
}

impl Emptying {
    fn of(at: &Snapshot) -> Self {
        let pieces = super::upkeep::pieces(at).into_iter();
        Self { left: pieces.map(|piece| (piece.id, (piece.rows.saturating_sub(piece.dead), piece.bytes))).collect() }
    }

    /// Takes a row out of a piece; returns the bytes that go with the last one.
    fn remove(&mut self, id: u64) -> u64 {
        match self.left.get_mut(&id) {
            Some((rows, bytes)) => {
                *rows = rows.saturating_sub(1);
                if *rows == 0 { *bytes } else { 0 }
            }
            None => 0,
        }
    }
}
