//! Damage: found where it is read, confirmed piece by piece, taken out by metadata, remembered.
//!
//! A piece is bad when it cannot be read twice in a row, for a reason that reading again does not change, or when what it
//! says contradicts itself. Nothing looks at it from that moment on; the next commit drops it without opening it, and the
//! next reclaim removes its file. Losses are counted for whoever writes the rows again from the Markdown.

use super::{Store, Writer};
use crate::error::with_causes;
use crate::quarantine::Quarantine;
use crate::room::Room;
use crate::sweep;
use crate::table::{self, Deletions, Snapshot, Table};
use evermark_core::error::ErrorKind;
use evermark_core::index::{IndexError, Inspection, Quarantined};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Damaged manifests that are stepped over, one at a time.
const STEPS_DOWN_MAX: usize = 16;

/// Opens the newest version that can be read, and names its damaged pieces. Newer manifests that are damaged are renamed, so
/// that nobody tries them again, and what they held counts as lost.
///
/// Errors: [`ErrorKind::Corrupt`] when no version can be read.
pub(super) fn open_newest(
    room: &Room,
    table: &Arc<Table>,
    deadline: Duration,
    quarantine: &Quarantine,
) -> Result<(Snapshot, Vec<(u64, String)>), IndexError> {
    for _ in 0..STEPS_DOWN_MAX {
        let opening = Arc::clone(table);
        let opened = room.run("open the index", deadline, async move { opening.open().await });
        let error = match opened.map_err(IndexError::from) {
            Err(error) if error.kind == ErrorKind::Corrupt => error,
            opened => return opened,
        };
        let mut manifests = sweep::manifests(&table.path).into_iter();
        let (Some(newest), Some(_)) = (manifests.next(), manifests.next()) else { return Err(error) };
        if !is_cut_short(&newest) {
            return Err(error);
        }
        tracing::warn!(manifest = %newest.display(), %error, "the index's newest version is damaged: the one before it is used");
        if let Err(failure) = std::fs::rename(&newest, newest.with_extension("damaged")) {
            tracing::warn!(error = %failure, "the damaged manifest stays in the way");
            return Err(error);
        }
        let name = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::metadata(newest.with_extension("damaged")).map_or(0, |metadata| metadata.len());
        quarantine.add(&[Quarantined {
            name: format!("_versions/{name}"),
            reason: with_causes(&error),
            rows: 0,
            bytes,
            at_us: 0,
        }]);
    }
    Err(crate::error::corrupt("no version of the index's table can be read"))
}

/// Tells whether a manifest does not even end like one; anything else that keeps a table from opening is not its fault.
fn is_cut_short(manifest: &Path) -> bool {
    std::fs::read(manifest).is_ok_and(|bytes| !bytes.ends_with(b"LANC"))
}

impl Store {
    pub(crate) fn losses(&self) -> u64 {
        self.quarantine.losses()
    }

    /// Looks at the pieces that could not be read, after a read has failed. Returns how many are bad; `None` when no piece
    /// is under suspicion, so that the failure is about something else.
    pub(crate) fn look_at_suspects(&self) -> Result<Option<u64>, IndexError> {
        let mut writer = self.writer();
        self.settle(&mut writer)?;
        if self.suspects.is_empty() {
            return Ok(None);
        }
        self.confirm(&mut writer).map(Some)
    }

    /// Reads every piece under suspicion twice and takes out those that fail both times. Returns how many there are.
    pub(super) fn confirm(&self, writer: &mut Writer) -> Result<u64, IndexError> {
        let snapshot = Arc::clone(&self.state().snapshot);
        let mut bad = Vec::new();
        for id in self.suspects.take() {
            if let Some(reason) = self.find_damage(writer, &snapshot, id)? {
                bad.push((id, reason));
            }
        }
        let n_bad = bad.len() as u64;
        self.take_out(bad);
        Ok(n_bad)
    }

    /// Returns why a piece cannot be used; `None` when it can, or is not there any more.
    ///
    /// Errors: those that say nothing about the piece, such as missing descriptors.
    fn find_damage(&self, writer: &mut Writer, at: &Snapshot, id: u64) -> Result<Option<String>, IndexError> {
        if !at.fragments().iter().any(|fragment| fragment.id == id) || self.state().bad.contains(&id) {
            return Ok(None);
        }
        let mut reason = None;
        for _ in 0..2 {
            match self.read_whole(writer, at, id) {
                Ok(_) => return Ok(None),
                Err(error) if error.kind == ErrorKind::Corrupt => reason = Some(with_causes(&error)),
                Err(error) => return Err(error),
            }
        }
        Ok(reason)
    }

    fn read_whole(&self, writer: &mut Writer, at: &Snapshot, id: u64) -> Result<u64, IndexError> {
        let (at, schema, world) = (Arc::clone(at), Arc::clone(&self.schema), Arc::clone(&self.world));
        let task = async move {
            world.reach("lance.inspecting").map_err(|error| crate::error::failed("inspect the index", error))?;
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            table::check(&at, id, &columns).await
        };
        self.run(writer, "inspect a piece of the index", task)
    }

    /// Takes pieces out: from now on nothing reads them.
    pub(super) fn take_out(&self, damaged: Vec<(u64, String)>) {
        if damaged.is_empty() {
            return;
        }
        let mut pieces = Vec::new();
        {
            let mut state = self.state();
            for (id, reason) in damaged {
                let snapshot = Arc::clone(&state.snapshot);
                let piece = super::upkeep::pieces(&snapshot).into_iter().find(|piece| piece.id == id);
                let (Some(piece), true) = (piece, state.bad.insert(id)) else { continue };
                let file = snapshot.fragments().iter().find(|fragment| fragment.id == id);
                let file = file.and_then(|fragment| fragment.files.first()).map_or("?", |file| &file.path);
                let name = format!("memories.lance/data/{file}");
                tracing::error!(
                    piece = name,
                    reason,
                    rows = piece.rows - piece.dead,
                    "a damaged piece of the index was taken out"
                );
                let rows = piece.rows.saturating_sub(piece.dead);
                pieces.push(Quarantined { name, reason, rows, bytes: piece.bytes, at_us: self.world.now_us() });
            }
            state.directory = None;
        }
        if !pieces.is_empty() {
            self.quarantine.add(&pieces);
        }
    }

    /// Drops pieces that were taken out, in a commit of its own that opens none of them. Returns how many.
    pub(super) fn drop_bad(&self, writer: &mut Writer) -> Result<u64, IndexError> {
        let (at, bad) = {
            let state = self.state();
            (Arc::clone(&state.snapshot), state.bad.clone())
        };
        let present: BTreeSet<u64> =
            at.fragments().iter().map(|fragment| fragment.id).filter(|id| bad.contains(id)).collect();
        if present.is_empty() {
            return Ok(0);
        }
        self.reach("lance.dropping")?;
        let dropped = present.len() as u64;
        let deletions = Deletions { emptied: present.into_iter().collect(), shrunk: Vec::new() };
        let committed = self.commit(writer, &at, Vec::new(), deletions, |_, _| true);
        self.clean_up(writer, committed.is_err());
        committed?;
        self.know(writer)?;
        Ok(dropped)
    }

    /// Reads every piece in full and takes the bad ones out; the writer is let go of between two pieces.
    pub(crate) fn inspect(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Inspection, IndexError> {
        let ids: Vec<u64> = self.state().snapshot.fragments().iter().map(|fragment| fragment.id).collect();
        let known = self.quarantine.pieces().len();
        let mut done = Inspection::default();
        let total = ids.len() as u64;
        for (position, id) in ids.into_iter().enumerate() {
            progress(position as u64, total);
            let mut writer = self.writer();
            self.settle(&mut writer)?;
            let at = Arc::clone(&self.state().snapshot);
            let Some(piece) = super::upkeep::pieces(&at).into_iter().find(|piece| piece.id == id) else { continue };
            done.pieces += 1;
            done.bytes += piece.bytes;
            match self.read_whole(&mut writer, &at, id) {
                Ok(rows) => done.rows += rows,
                Err(error) if error.kind == ErrorKind::Corrupt => {
                    if let Some(reason) = self.find_damage(&mut writer, &at, id)? {
                        self.take_out(vec![(id, reason)]);
                        self.drop_bad(&mut writer)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        progress(total, total);
        done.quarantined = self.quarantine.pieces().into_iter().skip(known).collect();
        Ok(done)
    }
}
