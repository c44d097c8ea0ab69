//! Reads rows of a table that another program keeps, for taking over what they hold. Damage costs only the rows it hit.

use super::LanceDb;
use super::compact::bytes_of;
use super::find::Place;
use super::rescue::Rows;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use evermark_core::index::IndexError;
use std::collections::BTreeMap;

/// Bytes read before they are handed on.
const CHUNK_BYTES: u64 = 16 << 20;

/// One row: the columns that were asked for, as far as the table has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForeignRow {
    pub texts: BTreeMap<String, String>,
    pub vector: Option<Vec<f32>>,
}

/// What reading a table came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowsRead {
    pub rows: u64,
    /// Live rows that could not be read.
    pub unreadable: u64,
    /// What the vector column says about itself.
    pub vector_metadata: BTreeMap<String, String>,
}

pub(super) fn read(
    db: &LanceDb,
    place: &Place,
    columns: &[&str],
    vector: &str,
    visit: &mut dyn FnMut(ForeignRow),
) -> Result<RowsRead, IndexError> {
    let dataset = db.open(place)?;
    let mut done = RowsRead::default();
    let there = |name: &&&str| dataset.schema().field(name).is_some();
    let wanted: Vec<String> = columns.iter().chain([&vector]).filter(there).map(|name| (*name).to_owned()).collect();
    if let Some(field) = dataset.schema().field(vector) {
        done.vector_metadata = field.metadata.clone().into_iter().collect();
    }
    for fragment in dataset.fragments().iter() {
        let mut rows = Rows { columns: Some(wanted.clone()), ..Rows::new(&dataset, fragment) };
        let live = fragment.num_rows().unwrap_or(0) as u64;
        if rows.deletions(db)?.is_err() {
            rows.fragment.deletion_file = None;
        }
        let chunk = (CHUNK_BYTES / (bytes_of(fragment) / rows.physical_rows().max(1)).max(1)).max(1);
        let good = match rows.probe(db, None)? {
            Ok(_) => std::iter::once(0..rows.physical_rows()).collect(),
            Err(_) => rows.readable(db)?,
        };
        let mut found = 0;
        for range in good {
            let mut start = range.start;
            while start < range.end {
                let end = range.end.min(start + chunk);
                let (asked, name) = (rows.clone(), vector.to_owned());
                let read = db.run("read rows", async move {
                    let mut read = Vec::new();
                    asked
                        .read(Some(start..end), &mut |batch| {
                            read.extend(rows_of(&batch, &name));
                            Ok(())
                        })
                        .await?;
                    Ok(read)
                })?;
                found += read.len() as u64;
                read.into_iter().for_each(&mut *visit);
                start = end;
            }
        }
        done.rows += found;
        done.unreadable += live.saturating_sub(found);
    }
    Ok(done)
}

fn rows_of(batch: &RecordBatch, vector: &str) -> Vec<ForeignRow> {
    let mut rows = vec![ForeignRow::default(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        for (at, row) in rows.iter_mut().enumerate().filter(|(at, _)| column.is_valid(*at)) {
            if field.name() == vector {
                row.vector = numbers(column, at);
            } else if let Some(text) = text(column, at) {
                row.texts.insert(field.name().clone(), text);
            }
        }
    }
    rows
}

fn text(column: &ArrayRef, at: usize) -> Option<String> {
    let short = column.as_string_opt::<i32>().map(|column| column.value(at).to_owned());
    short.or_else(|| column.as_string_opt::<i64>().map(|column| column.value(at).to_owned()))
}

fn numbers(column: &ArrayRef, at: usize) -> Option<Vec<f32>> {
    let vector = column.as_fixed_size_list_opt()?.value(at);
    let numbers = vector.as_primitive_opt::<Float32Type>()?;
    (numbers.null_count() == 0).then(|| numbers.values().to_vec())
}
