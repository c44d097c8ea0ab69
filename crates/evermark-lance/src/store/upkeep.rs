//! Upkeep: reclaim, merge one bounded group, and weigh.

use super::{Store, Writer};
use crate::compact::{self, Piece, Sizes};
use crate::directory::{Address, Entry};
use crate::error::failed;
use crate::readers::Hold;
use crate::rows;
use crate::sweep::{self, Footprint, Swept};
use crate::table::{self, Deletions, Snapshot};
use arrow_array::RecordBatch;
use evermark_core::error::ErrorKind;
use evermark_core::index::{Due, IndexError, IndexInfo, Merge, Reclaimed};
use evermark_core::maintenance::Admission;
use lance_table::format::Fragment;
use std::sync::Arc;

/// Groups merged at most to make room for one write.
const MERGES_FOR_ROOM: usize = 16;

impl Store {
    /// Removes what no version in use needs.
    pub(crate) fn reclaim(&self) -> Result<Reclaimed, IndexError> {
        let mut writer = self.writer();
        self.settle(&mut writer)?;
        self.reclaim_held(&mut writer)
    }

    /// Merges one group, where one is due, and removes what it replaced. Damaged pieces are dropped first.
    pub(crate) fn compact(&self) -> Result<Merge, IndexError> {
        let mut writer = self.writer();
        self.settle(&mut writer)?;
        self.know(&mut writer)?;
        let dropped = self.drop_bad(&mut writer)?;
        let snapshot = Arc::clone(&self.state().snapshot);
        let Some(group) = compact::choose(&pieces(&snapshot), self.sizes()) else {
            return Ok(match dropped {
                0 => Merge::NothingDue,
                quarantined => Merge::Done { pieces: 0, bytes_read: 0, bytes_written: 0, quarantined },
            });
        };
        self.merge(&mut writer, snapshot, &group)
    }

    pub(crate) fn due(&self) -> Option<Due> {
        let pieces = pieces(&self.state().snapshot);
        let group = compact::choose(&pieces, self.sizes())?;
        let chosen: Vec<&Piece> = pieces.iter().filter(|piece| group.contains(&piece.id)).collect();
        Some(Due {
            pieces: chosen.len() as u64,
            bytes: chosen.iter().map(|piece| piece.bytes).sum(),
            dead_rows: chosen.iter().map(|piece| piece.dead).sum(),
        })
    }

    /// Returns the versions that readers use besides the newest. Those that hold too much, or too long, are ended.
    fn held(&self) -> Vec<Snapshot> {
        let newest = Arc::clone(&self.state().snapshot);
        let now = self.world.monotonic();
        let older = |hold: &Arc<Hold>| hold.snapshot.manifest().version != newest.manifest().version;
        let holds: Vec<Arc<Hold>> =
            self.readers.all().into_iter().filter(|hold| older(hold) && !hold.is_over(now)).collect();
        let mut kept = 0;
        // The youngest stay longest: they are nearest to what is there now.
        for hold in holds.iter().rev() {
            kept += sweep::superseded(&self.table.path, &hold.snapshot, &newest);
            if kept > self.options.held_bytes_max || now.saturating_sub(hold.since) > self.options.held_age_max {
                hold.end(now);
            }
        }
        holds.iter().map(|hold| Arc::clone(&hold.snapshot)).collect()
    }

    pub(super) fn reclaim_held(&self, writer: &mut Writer) -> Result<Reclaimed, IndexError> {
        self.reach("lance.reclaiming")?;
        let mut pinned = self.held();
        pinned.push(Arc::clone(&self.state().snapshot));
        let Swept { versions, files, bytes } = sweep::sweep(&self.table.path, &pinned)?;
        writer.commits = 0;
        writer.superseded_bytes = 0;
        Ok(Reclaimed { versions, files, bytes })
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::within(&self.budget())
    }

    /// Makes sure that `more` bytes fit the budget beside one pass of merging: reclaims, then merges what has dead rows in it.
    ///
    /// Errors: [`ErrorKind::NoSpace`] when there is no room all the same.
    pub(super) fn admit(&self, writer: &mut Writer, more: u64) -> Result<(), IndexError> {
        let budget = self.budget();
        // A merge must always be possible, or a full index could never shrink again.
        let more = more.saturating_add(self.sizes().group_bytes_max());
        for attempt in 0..=MERGES_FOR_ROOM {
            let weight = self.weigh();
            let refused = budget.admit(weight.live, weight.allocated, more);
            if refused == Admission::Fits {
                return Ok(());
            }
            let helped = match attempt {
                0 => self.reclaim_held(writer)?.bytes > 0 || weight.live > 0,
                _ => self.merge_dead(writer)?,
            };
            if !helped {
                return Err(no_room(refused));
            }
        }
        let weight = self.weigh();
        match budget.admit(weight.live, weight.allocated, more) {
            Admission::Fits => Ok(()),
            refused => Err(no_room(refused)),
        }
    }

    /// Merges a group that has dead rows to give back. Returns whether it did.
    fn merge_dead(&self, writer: &mut Writer) -> Result<bool, IndexError> {
        let snapshot = Arc::clone(&self.state().snapshot);
        let Some(group) = compact::choose_for_room(&pieces(&snapshot), self.sizes()) else { return Ok(false) };
        Ok(matches!(self.merge(writer, snapshot, &group)?, Merge::Done { .. }))
    }

    /// Writes the live rows of a group into new files, each owner's together, and drops the old ones in one commit.
    fn merge(&self, writer: &mut Writer, at: Snapshot, group: &[u64]) -> Result<Merge, IndexError> {
        let chosen: Vec<Piece> = pieces(&at).into_iter().filter(|piece| group.contains(&piece.id)).collect();
        let bytes_read = chosen.iter().map(|piece| piece.bytes).sum();
        let wanted = chosen.iter().map(|piece| piece.live_bytes()).sum();
        let weight = self.weigh();
        if self.budget().admit(weight.live, weight.allocated, wanted) != Admission::Fits {
            let reclaimed = self.reclaim_held(writer)?;
            let allocated = weight.allocated.saturating_sub(reclaimed.bytes);
            if self.budget().admit(weight.live, allocated, wanted) != Admission::Fits {
                return Ok(Merge::NoRoom { wanted_bytes: wanted });
            }
        }
        let merged = self.merge_admitted(writer, &at, group);
        self.clean_up(writer, true);
        match merged {
            Ok(bytes_written) => {
                Ok(Merge::Done { pieces: group.len() as u64, bytes_read, bytes_written, quarantined: 0 })
            }
            Err(error) if error.kind == ErrorKind::Corrupt && !writer.stale => match self.confirm(writer)? {
                0 => Err(error),
                quarantined => {
                    // The others are merged by a later call; the damage is what this one was for.
                    self.drop_bad(writer)?;
                    Ok(Merge::Done { pieces: 0, bytes_read, bytes_written: 0, quarantined })
                }
            },
            Err(error) => Err(error),
        }
    }

    fn merge_admitted(&self, writer: &mut Writer, at: &Snapshot, group: &[u64]) -> Result<u64, IndexError> {
        let (fresh, entries) = {
            let (table, at, schema) = (Arc::clone(&self.table), Arc::clone(at), Arc::clone(&self.schema));
            let (group, suspects, world) = (group.to_vec(), self.suspects.clone(), Arc::clone(&self.world));
            self.run(writer, "merge pieces of the index", async move {
                let doing = "merge pieces of the index";
                world.reach("lance.merging").map_err(|error| failed(doing, error))?;
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let mut batches = Vec::new();
                let mut order: Vec<(Entry, usize, usize)> = Vec::new();
                for id in group {
                    table::read_noting(&suspects, &at, id, &columns, None, &mut |batch| {
                        let entries = rows::entries(&batch)?.into_iter().enumerate();
                        order.extend(entries.map(|(row, entry)| (entry, batches.len(), row)));
                        let columns = batch.columns()[..schema.fields().len()].to_vec();
                        let batch = RecordBatch::try_new(Arc::clone(&schema), columns);
                        batches.push(batch.map_err(|error| failed(doing, error))?);
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
        let written = fresh.iter().map(file_bytes).sum();
        let deletions = Deletions { emptied: group.to_vec(), shrunk: Vec::new() };
        self.commit(writer, at, fresh, deletions, |directory, addresses| {
            let rows: Vec<(Entry, Address)> = entries.iter().copied().zip(addresses.iter().copied()).collect();
            directory.relocate(group, &rows);
            true
        })?;
        Ok(written)
    }

    fn weigh(&self) -> Footprint {
        let newest = Arc::clone(&self.state().snapshot);
        let held: Vec<Snapshot> = self.readers.all().into_iter().map(|hold| Arc::clone(&hold.snapshot)).collect();
        sweep::weigh(&self.dir, &self.table.path, &newest, &held)
    }

    /// Fills in what the files come to.
    pub(crate) fn measure(&self, info: &mut IndexInfo) {
        let weight = self.weigh();
        let snapshot = Arc::clone(&self.state().snapshot);
        let now = self.world.monotonic();
        let holds = self.readers.all();
        info.versions = weight.versions;
        info.fragments = snapshot.fragments().len() as u64;
        info.allocated_bytes = weight.allocated;
        info.live_bytes = weight.live;
        info.held_bytes = weight.held;
        info.orphan_bytes = weight.orphan;
        info.dead_bytes = pieces(&snapshot).iter().map(|piece| piece.bytes - piece.live_bytes()).sum();
        let bound = self.budget().bound(weight.live);
        info.bound_bytes = (bound != u64::MAX).then_some(bound);
        info.quarantine = self.quarantine.pieces();
        info.readers = holds.len() as u64;
        info.oldest_reader_ms = holds.iter().map(|hold| now.saturating_sub(hold.since)).max().map(millis);
    }
}

fn no_room(refused: Admission) -> IndexError {
    const MIB: u64 = 1 << 20;
    let message = match refused {
        Admission::Fits => "the index has room".to_owned(),
        Admission::OverBound { wanted, bound } => format!(
            "the index may take {} MiB now and would need {}: it goes on when old files can be removed",
            bound / MIB,
            wanted.div_ceil(MIB)
        ),
        Admission::OverCap { wanted, cap } => format!(
            "the index has reached its limit of {} MiB (it would need {}): raise the limit or remove memories",
            cap / MIB,
            wanted.div_ceil(MIB)
        ),
    };
    IndexError::new(ErrorKind::NoSpace, message)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn file_bytes(fragment: &Fragment) -> u64 {
    fragment.files.iter().filter_map(|file| file.file_size_bytes.get()).map(std::num::NonZero::get).sum()
}

/// Returns the pieces of a version, as far as deciding about them goes.
pub(super) fn pieces(snapshot: &Snapshot) -> Vec<Piece> {
    let piece = |fragment: &Fragment| Piece {
        id: fragment.id,
        rows: fragment.physical_rows.unwrap_or_default() as u64,
        dead: fragment.deletion_file.as_ref().and_then(|file| file.num_deleted_rows).unwrap_or_default() as u64,
        bytes: file_bytes(fragment),
    };
    snapshot.fragments().iter().map(piece).collect()
}
