//! What searches and scans read: always one version, with a hold on its files, in batches between which a reader can be ended.

use super::{Change, Changes, Store};
use crate::directory::{Address, Ranges, key_of, owner_of, ranges};
use crate::readers::Hold;
use crate::room::Lost;
use crate::rows;
use crate::table;
use arrow_array::RecordBatch;
use evermark_core::id::{Kind, MemoryKey, Owner};
use evermark_core::index::{IndexError, Indexable};
use evermark_core::memory::{Digest32, Memory};
use futures::future::try_join_all;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of an owner that are read at once (1.5 KB each): small enough that their memory is used again.
const OWNER_BATCH_ROWS: u32 = 512;

/// What a reader needs to read an owner's rows as of one moment.
pub(crate) struct OwnerRows {
    hold: Arc<Hold>,
    /// Rows on disk that no waiting change replaces, per fragment.
    ranges: Vec<(u64, Ranges)>,
    pub(crate) n_rows: usize,
    pub(crate) waiting: Vec<Arc<Indexable>>,
}

impl Store {
    /// Reads where an owner's rows are and which wait; `register` runs at the same moment.
    pub(crate) fn owner_rows(&self, owner: &Owner, register: impl Fn()) -> Result<OwnerRows, IndexError> {
        let owner = owner_of(owner);
        self.with_directory(|state, directory| {
            register();
            let mut replaced = Vec::new();
            let mut waiting = Vec::new();
            for pending in state.changes().filter(|pending| pending.entry.owner == owner) {
                replaced.extend(directory.find(pending.entry.key));
                if let Change::Put(row) = &pending.change {
                    waiting.push(Arc::clone(row));
                }
            }
            replaced.sort_unstable();
            let rows = directory.owner_rows(owner);
            let rows: Vec<Address> =
                rows.iter().copied().filter(|address| replaced.binary_search(address).is_err()).collect();
            OwnerRows { hold: self.hold(state), ranges: ranges(&rows), n_rows: rows.len(), waiting }
        })
    }

    /// Returns how many rows of an owner are on disk, as far as that is known.
    pub(crate) fn n_rows_of(&self, owner: u64) -> usize {
        self.state().directory.as_ref().map_or(0, |directory| directory.owner_rows(owner).len())
    }

    /// Reads an owner's rows on disk into `into`, batch by batch, inside the room; ends early when `take` says so.
    /// Batches are prepared side by side and taken in turn.
    ///
    /// Errors: [`evermark_core::error::ErrorKind::Unavailable`] when the reader was ended because it held files too long.
    pub(crate) fn read_owner<P: Send + 'static, T: Send + 'static>(
        &self,
        rows: &OwnerRows,
        columns: &[&str],
        mut into: T,
        prepare: impl Fn(RecordBatch) -> Result<P, IndexError> + Clone + Send + Sync + 'static,
        take: impl Fn(&mut T, P) -> Result<(), IndexError> + Send + Sync + 'static,
    ) -> Result<T, IndexError> {
        let (hold, ranges, suspects) = (Arc::clone(&rows.hold), rows.ranges.clone(), self.suspects.clone());
        // A generation without vectors has no such column.
        let columns: Vec<String> = columns
            .iter()
            .filter(|name| self.schema.field_with_name(name).is_ok())
            .map(|name| (*name).to_owned())
            .collect();
        let world = Arc::clone(&self.world);
        let task = async move {
            world.reach("lance.reading").map_err(|error| crate::error::failed("read the index", error))?;
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            for (id, ranges) in ranges {
                hold.check()?;
                let (at, prepare) = (&hold.snapshot, prepare.clone());
                let mut visit = |prepared| {
                    hold.check()?;
                    take(&mut into, prepared)
                };
                let reading =
                    table::read_prepared(at, id, &columns, Some(ranges), OWNER_BATCH_ROWS, prepare, &mut visit);
                table::noting(&suspects, id, reading).await.map_err(|error| hold.blame(error))?;
            }
            Ok(into)
        };
        self.room.run("load a memory owner's rows", self.options.deadline, task).map_err(Lost::into)
    }

    /// Returns the memories with these ids, in the order asked.
    pub(crate) fn fetch(&self, owner: &Owner, kind: Kind, ids: &[String]) -> Result<Vec<Memory>, IndexError> {
        enum Found {
            Waiting(Arc<Indexable>),
            At(Address),
        }
        let keys: Vec<u64> =
            ids.iter().map(|id| key_of(&MemoryKey { owner: owner.clone(), kind, id: id.clone() })).collect();
        let (hold, found) = self.with_directory(|state, directory| {
            let found: Vec<Option<Found>> = keys
                .iter()
                .map(|key| match state.change(*key).map(|pending| &pending.change) {
                    Some(Change::Put(row)) => Some(Found::Waiting(Arc::clone(row))),
                    Some(Change::Gone(_)) => None,
                    None => directory.find(*key).map(Found::At),
                })
                .collect();
            (self.hold(state), found)
        })?;
        let mut addresses: Vec<Address> = found
            .iter()
            .filter_map(|found| match found {
                Some(Found::At(address)) => Some(*address),
                _ => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut read: HashMap<u64, Memory> = HashMap::new();
        if !addresses.is_empty() {
            let suspects = self.suspects.clone();
            let task = async move {
                let parts = ranges(&addresses).into_iter().map(|(id, ranges)| {
                    let (hold, suspects) = (&hold, &suspects);
                    async move {
                        let mut rows = Vec::new();
                        let columns = &rows::MEMORY_COLUMNS;
                        table::read_noting(suspects, &hold.snapshot, id, columns, Some(ranges), &mut |batch| {
                            rows.extend(table::addresses(&batch)?.into_iter().zip(rows::memories(&batch)?));
                            Ok(())
                        })
                        .await
                        .map_err(|error| hold.blame(error))?;
                        Ok::<_, IndexError>(rows)
                    }
                });
                try_join_all(parts).await
            };
            let parts = self.room.run("fetch memories", self.options.deadline, task).map_err(IndexError::from)?;
            read.extend(parts.into_iter().flatten().map(|(address, memory)| (address.0, memory)));
        }
        let memories = found.into_iter().flatten().filter_map(|found| match found {
            Found::Waiting(row) => Some(row.memory.clone()),
            Found::At(address) => read.get(&address.0).cloned(),
        });
        Ok(memories.collect())
    }

    /// Visits every row's key, path and digest.
    ///
    /// Errors: [`evermark_core::error::ErrorKind::Unavailable`] when it was ended because it held files too long.
    pub(crate) fn scan(&self, visit: &mut dyn FnMut(MemoryKey, &str, Digest32)) -> Result<(), IndexError> {
        let (hold, bad, waiting) = {
            let state = self.state();
            let waiting: Changes = state.changes().map(|pending| (pending.entry.key, pending.clone())).collect();
            (self.hold(&state), state.bad.clone(), waiting)
        };
        for fragment in hold.snapshot.fragments().iter().filter(|fragment| !bad.contains(&fragment.id)) {
            hold.check()?;
            let (reader, id, suspects) = (Arc::clone(&hold), fragment.id, self.suspects.clone());
            let task = async move {
                let mut rows = Vec::new();
                table::read_noting(&suspects, &reader.snapshot, id, &rows::IDENTITY_COLUMNS, None, &mut |batch| {
                    rows.extend(rows::identities(&batch)?);
                    Ok(())
                })
                .await
                .map_err(|error| reader.blame(error))?;
                Ok(rows)
            };
            let rows = self.room.run("scan the index", self.options.deadline, task).map_err(IndexError::from)?;
            for (key, path, digest) in rows {
                if waiting.is_empty() || !waiting.contains_key(&key_of(&key)) {
                    visit(key, &path, digest);
                }
            }
        }
        for pending in waiting.values() {
            if let Change::Put(row) = &pending.change {
                visit(row.memory.key(), &row.memory.path, row.memory.digest());
            }
        }
        Ok(())
    }

    /// Returns rows per kind, waiting changes included, and how many changes wait.
    pub(crate) fn counts(&self) -> Result<(Vec<(Kind, u64)>, u64), IndexError> {
        self.with_directory(|state, directory| {
            let mut counts: Vec<(Kind, u64)> =
                Kind::ALL.into_iter().map(|kind| (kind, directory.count(kind))).collect();
            let mut waiting = 0;
            for pending in state.changes() {
                waiting += 1;
                let count = &mut counts[pending.entry.kind as usize].1;
                match (&pending.change, directory.find(pending.entry.key)) {
                    (Change::Put(_), None) => *count += 1,
                    (Change::Gone(_), Some(_)) => *count -= 1,
                    _ => {}
                }
            }
            (counts, waiting)
        })
    }
}
