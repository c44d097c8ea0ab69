//! Reads around damage: finds out which rows of a fragment can still be read in all their columns.
//!
//! Every read is a task of its own, so a decoder that panics is damage like any other. What cannot be read *now* (no
//! descriptors, no space, a disk that does not answer) is not damage: it ends the work with nothing decided.

use super::LanceDb;
use crate::error::unreadable;
use arrow_array::{Array, RecordBatch};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use futures::StreamExt;
use lance::Dataset;
use lance::dataset::fragment::{FileFragment, FragReadConfig};
use lance_table::format::Fragment;
use std::ops::Range;
use std::sync::Arc;

/// Rows decoded at once.
const BATCH_ROWS: u32 = 1024;
/// A fragment is searched row by row up to this many rows; a larger one in pieces of its rows by this.
const PIECES_MAX: u64 = 65_536;

/// Rows of one fragment, deleted ones left out where the deletions can be read.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) at: Arc<Dataset>,
    pub(super) fragment: Fragment,
    /// Columns to read; all of them when `None`.
    pub(super) columns: Option<Vec<String>>,
}

impl Rows {
    pub(super) fn new(at: &Arc<Dataset>, fragment: &Fragment) -> Self {
        Self { at: Arc::clone(at), fragment: fragment.clone(), columns: None }
    }

    pub(super) fn physical_rows(&self) -> u64 {
        self.fragment.physical_rows.unwrap_or(0) as u64
    }

    /// Reads `range` of the fragment's physical rows.
    pub(super) async fn read(
        &self,
        range: Option<Range<u64>>,
        visit: &mut (dyn FnMut(RecordBatch) -> Result<(), IndexError> + Send),
    ) -> Result<(), IndexError> {
        let doing = "read rows";
        let projection = match &self.columns {
            None => self.at.schema().clone(),
            Some(columns) => self.at.schema().project(columns).map_err(|error| unreadable(doing, error))?,
        };
        let fragment = FileFragment::new(Arc::clone(&self.at), self.fragment.clone());
        let config = FragReadConfig::default();
        let reader = fragment.open(&projection, config).await.map_err(|error| unreadable(doing, error))?;
        let stream = match range {
            Some(range) => reader.read_ranges(std::iter::once(range).collect(), BATCH_ROWS).await,
            None => reader.read_all(BATCH_ROWS).await,
        };
        let mut batches = stream.map_err(|error| unreadable(doing, error))?.buffered(2);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| unreadable(doing, error))?;
            // Decoders trust offsets and encodings; text that is no text would fail its next reader.
            for column in batch.columns() {
                column.to_data().validate_full().map_err(|error| unreadable(doing, error))?;
            }
            visit(batch)?;
        }
        Ok(())
    }

    /// Tells whether a range (or everything) can be read, or why not.
    ///
    /// Errors: when it cannot be told now.
    pub(super) fn probe(&self, db: &LanceDb, range: Option<Range<u64>>) -> Result<Result<u64, IndexError>, IndexError> {
        let rows = self.clone();
        let read = db.run("read rows", async move {
            let mut n_rows = 0;
            rows.read(range, &mut |batch| {
                n_rows += batch.num_rows() as u64;
                Ok(())
            })
            .await?;
            Ok(n_rows)
        });
        told(read)
    }

    /// Returns the ranges of physical rows that can be read, in order.
    pub(super) fn readable(&self, db: &LanceDb) -> Result<Vec<Range<u64>>, IndexError> {
        let total = self.physical_rows();
        let smallest = total.div_ceil(PIECES_MAX).max(1);
        let mut good: Vec<Range<u64>> = Vec::new();
        // A file whose end is gone cannot be opened at all: no need to ask for each of its rows.
        if self.opens(db)?.is_err() {
            return Ok(good);
        }
        let mut waiting: Vec<Range<u64>> = std::iter::once(0..total).collect();
        while let Some(range) = waiting.pop() {
            if range.is_empty() {
                continue;
            }
            if self.probe(db, Some(range.clone()))?.is_ok() {
                match good.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => good.push(range),
                }
            } else if range.end - range.start > smallest {
                let middle = range.start + (range.end - range.start) / 2;
                // The left half is looked at first, so the good ranges come in order.
                waiting.push(middle..range.end);
                waiting.push(range.start..middle);
            }
        }
        Ok(good)
    }

    fn opens(&self, db: &LanceDb) -> Result<Result<(), IndexError>, IndexError> {
        let rows = self.clone();
        told(db.run("open a data file", async move {
            let fragment = FileFragment::new(Arc::clone(&rows.at), rows.fragment.clone());
            let opened = fragment.open(rows.at.schema(), FragReadConfig::default()).await;
            opened.map(|_| ()).map_err(|error| unreadable("open a data file", error))
        }))
    }

    /// Tells whether the deletions can be read and are as many as the manifest says; or why not.
    pub(super) fn deletions(&self, db: &LanceDb) -> Result<Result<(), IndexError>, IndexError> {
        let Some(file) = self.fragment.deletion_file.clone() else { return Ok(Ok(())) };
        let rows = self.clone();
        told(db.run("read deletions", async move {
            let fragment = FileFragment::new(Arc::clone(&rows.at), rows.fragment.clone());
            let vector = fragment.get_deletion_vector().await.map_err(|error| unreadable("read deletions", error))?;
            let found = vector.map_or(0, |vector| vector.len());
            match file.num_deleted_rows {
                Some(wanted) if wanted != found => {
                    Err(crate::error::corrupt(format!("it lists {found} deleted rows, not {wanted}")))
                }
                _ => Ok(()),
            }
        }))
    }
}

/// Tells damage, which is an answer, from what may be otherwise in a minute.
fn told<T>(result: Result<T, IndexError>) -> Result<Result<T, IndexError>, IndexError> {
    match result {
        Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::NotFound) => {
            Ok(Err(error))
        }
        Err(error) => Err(error),
        Ok(found) => Ok(Ok(found)),
    }
}
