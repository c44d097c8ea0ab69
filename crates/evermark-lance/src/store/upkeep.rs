//! One round of upkeep: reclaim, then merge a bounded number of groups, reclaiming after each.

use super::{Store, Writer};
use crate::compact::{self, Piece};
use crate::directory::{Address, Entry};
use crate::error::failed;
use crate::rows;
use crate::sweep::{self, Swept};
use crate::table::{self, Deletions, Snapshot};
use arrow_array::RecordBatch;
use evermark_core::index::{IndexError, Upkeep};
use lance_table::format::Fragment;
use std::sync::{Arc, Weak};

/// Passes in one round of upkeep: the next round goes on.
const GROUPS_PER_ROUND: usize = 8;

impl Store {
    /// Reclaims first, then merges a bounded number of groups, reclaiming after each.
    pub(crate) fn upkeep(&self) -> Result<Upkeep, IndexError> {
        let mut writer = self.writer();
        self.settle(&mut writer)?;
        if !writer.dirty {
            return Ok(Upkeep::default());
        }
        let mut done = Upkeep::default();
        let mut more = self.reclaim(&mut writer, &mut done)?;
        for round in 0..=GROUPS_PER_ROUND {
            let snapshot = Arc::clone(&self.state().snapshot);
            let Some(group) = compact::choose(&pieces(&snapshot)) else { break };
            if round == GROUPS_PER_ROUND {
                more = true;
                break;
            }
            self.know(&mut writer)?;
            self.merge(&mut writer, snapshot, &group)?;
            done.fragments_compacted += group.len() as u64;
            more = self.reclaim(&mut writer, &mut done)?;
        }
        writer.dirty = more;
        Ok(done)
    }

    /// Removes what no pinned version needs. Returns whether a reader still pins an older one.
    fn reclaim(&self, writer: &mut Writer, done: &mut Upkeep) -> Result<bool, IndexError> {
        self.reach("lance.reclaiming")?;
        let mut pinned: Vec<Snapshot> = writer.superseded.iter().filter_map(Weak::upgrade).collect();
        writer.superseded = pinned.iter().map(Arc::downgrade).collect();
        let held = !pinned.is_empty();
        pinned.push(Arc::clone(&self.state().snapshot));
        let Swept { versions, bytes } = sweep::sweep(&self.table.path, &pinned)?;
        done.versions_removed += versions;
        done.bytes_freed += bytes;
        Ok(held)
    }

    /// Writes the live rows of a group into new files, each owner's together, and drops the old ones in one commit.
    fn merge(&self, writer: &mut Writer, at: Snapshot, group: &[u64]) -> Result<(), IndexError> {
        let (fresh, entries) = {
            let (table, at, schema) = (Arc::clone(&self.table), Arc::clone(&at), Arc::clone(&self.schema));
            let group = group.to_vec();
            self.run(writer, "merge pieces of the index", async move {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let mut batches = Vec::new();
                let mut order: Vec<(Entry, usize, usize)> = Vec::new();
                for id in group {
                    table::read(&at, id, &columns, None, &mut |batch| {
                        let entries = rows::entries(&batch)?.into_iter().enumerate();
                        order.extend(entries.map(|(row, entry)| (entry, batches.len(), row)));
                        let columns = batch.columns()[..schema.fields().len()].to_vec();
                        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
                        batches.push(batch.map_err(|error| failed("merge pieces of the index", error))?);
                        Ok(())
                    })
                    .await?;
                }
                order.sort_by_key(|(entry, _, _)| (entry.owner, entry.kind));
                let entries: Vec<Entry> = order.iter().map(|(entry, _, _)| *entry).collect();
                let order = order.into_iter().map(|(_, batch, row)| (batch, row)).collect();
                let fresh = table.append_sorted(&at, batches, order).await?;
                Ok((fresh, entries))
            })?
        };
        self.reach("lance.merged")?;
        let deletions = Deletions { emptied: group.to_vec(), shrunk: Vec::new() };
        self.commit(writer, &at, fresh, deletions, |directory, addresses| {
            let rows: Vec<(Entry, Address)> = entries.iter().copied().zip(addresses.iter().copied()).collect();
            directory.relocate(group, &rows);
            true
        })
    }
}

fn pieces(snapshot: &Snapshot) -> Vec<Piece> {
    let piece = |fragment: &Fragment| Piece {
        id: fragment.id,
        rows: fragment.physical_rows.unwrap_or_default() as u64,
        dead: fragment.deletion_file.as_ref().and_then(|file| file.num_deleted_rows).unwrap_or_default() as u64,
        bytes: fragment.files.iter().filter_map(|file| file.file_size_bytes.get()).map(std::num::NonZero::get).sum(),
    };
    snapshot.fragments().iter().map(piece).collect()
}
