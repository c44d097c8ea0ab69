//! Pieces that could not be read: remembered in a file beside the table, and those under suspicion.
//!
//! The record holds no memory: what was in a piece is written again from the Markdown. It tells people what happened, and it
//! counts losses, so that a crash between taking a piece out and writing its rows again is noticed.

use crate::error::failed;
use crate::generation::write_json;
use evermark_core::index::{IndexError, Quarantined};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const NAME: &str = "quarantine.json";
/// Pieces that are named; more are counted as losses all the same.
const NAMED_MAX: usize = 100;

#[derive(Default, Serialize, Deserialize)]
struct Record {
    losses: u64,
    pieces: Vec<Piece>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Piece {
    name: String,
    reason: String,
    rows: u64,
    bytes: u64,
    at_us: i64,
}

pub(crate) struct Quarantine {
    path: PathBuf,
    record: Mutex<Record>,
}

impl Quarantine {
    /// Reads the record; one that makes no sense is begun anew, with a loss to its name.
    pub(crate) fn open(dir: &Path) -> Result<Self, IndexError> {
        let path = dir.join(NAME);
        let record = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
            read => {
                let bytes = read.map_err(|error| failed("read quarantine.json", error))?;
                serde_json::from_slice(&bytes).unwrap_or(Record { losses: 1, pieces: Vec::new() })
            }
        };
        Ok(Self { path, record: Mutex::new(record) })
    }

    pub(crate) fn losses(&self) -> u64 {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).losses
    }

    pub(crate) fn pieces(&self) -> Vec<Quarantined> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |piece: &Piece| Quarantined {
            name: piece.name.clone(),
            reason: piece.reason.clone(),
            rows: piece.rows,
            bytes: piece.bytes,
            at_us: piece.at_us,
        };
        record.pieces.iter().map(known).collect()
    }

    /// Counts a loss, and names what went with it. A record that cannot be written is kept in memory, and said in the log.
    pub(crate) fn add(&self, pieces: &[Quarantined]) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.losses += 1;
        record.pieces.extend(pieces.iter().map(|piece| Piece {
            name: piece.name.clone(),
            reason: piece.reason.clone(),
            rows: piece.rows,
            bytes: piece.bytes,
            at_us: piece.at_us,
        }));
        let excess = record.pieces.len().saturating_sub(NAMED_MAX);
        record.pieces.drain(..excess);
        if let Err(error) = write_json(&self.path, &*record) {
            tracing::warn!(%error, "the record of damaged pieces is kept in memory only");
        }
    }
}

/// Pieces that somebody is reading or could not read, by id, and how often.
///
/// A piece is put here before it is read and taken away when that went well: what a panic leaves behind is under suspicion
/// as well as what an error does.
#[derive(Clone, Default)]
pub(crate) struct Suspects {
    reading: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Suspects {
    pub(crate) fn begin(&self, id: u64) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += 1;
    }

    pub(crate) fn clear(&self, id: u64) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = reading.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                reading.remove(&id);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Returns all, and forgets them. Pieces that are being read now are among them: looking at those does no harm.
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.reading.lock().unwrap_or_else(PoisonError::into_inner)).into_keys().collect()
    }
}
