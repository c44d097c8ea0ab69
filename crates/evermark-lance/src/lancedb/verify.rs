//! Reads everything that the newest version names: every column of every fragment, every index. Changes nothing.

use super::LanceDb;
use super::Watch;
use super::census::Entry;
use super::compact::Opened;
use super::find::Place;
use super::manifest::said;
use super::rescue::Rows;
use super::survey::{self, Survey};
use crate::error::unreadable;
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use lance::index::DatasetIndexExt;
use std::collections::HashMap;

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Verified {
    pub survey: Survey,
    /// Live rows that were read.
    pub rows_read: u64,
    pub indexes_read: u64,
    /// What is wrong, one sentence each; none when the table is sound.
    pub problems: Vec<String>,
}

pub(super) fn verify(db: &LanceDb, place: &Place, watch: Watch<'_>) -> Result<Verified, IndexError> {
    let survey = survey::survey(db, place)?;
    let mut verified = Verified { problems: survey.problems.clone(), survey, rows_read: 0, indexes_read: 0 };
    let table = match Opened::new(db, place) {
        Ok(table) => table,
        Err(error) if error.kind == ErrorKind::Corrupt => {
            verified.problems.push(said(&error));
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    let total = table.dataset.fragments().len() as u64;
    for (at, fragment) in table.dataset.fragments().iter().enumerate() {
        watch(&place.name, at as u64, total);
        let rows = Rows::new(&table.dataset, fragment);
        if let Err(error) = rows.deletions(db)? {
            verified.problems.push(format!("fragment {}: its deletions cannot be read: {}", fragment.id, said(&error)));
            continue;
        }
        match rows.probe(db, None)? {
            Ok(n_rows) => {
                verified.rows_read += n_rows;
                if let Some(wanted) = fragment.num_rows().filter(|wanted| *wanted as u64 != n_rows) {
                    verified.problems.push(format!("fragment {} has {n_rows} rows, not {wanted}", fragment.id));
                }
            }
            Err(error) => {
                let columns = bad_columns(db, &rows)?;
                verified.problems.push(format!("fragment {}: {columns}: {}", fragment.id, said(&error)));
            }
        }
    }
    for name in table.names() {
        match index_damage(db, place, &table, &name)? {
            None => verified.indexes_read += 1,
            Some(why) if verified.problems.iter().any(|problem| problem.contains(&format!("`{name}`"))) => {
                tracing::debug!(index = name, why, "an index is damaged in more than one way");
            }
            Some(why) => verified.problems.push(format!("index `{name}`: {why}")),
        }
    }
    Ok(verified)
}

/// Returns which columns of a fragment cannot be read, in words.
fn bad_columns(db: &LanceDb, rows: &Rows) -> Result<String, IndexError> {
    let names: Vec<String> = rows.at.schema().fields.iter().map(|field| field.name.clone()).collect();
    let mut bad = Vec::new();
    for name in &names {
        let column = Rows { columns: Some(vec![name.clone()]), ..rows.clone() };
        if column.probe(db, None)?.is_err() {
            bad.push(format!("`{name}`"));
        }
    }
    Ok(match bad.len() {
        0 => "cannot be read as a whole".to_owned(),
        all if all == names.len() => "no column can be read".to_owned(),
        _ => format!("cannot read {}", bad.join(", ")),
    })
}

/// Reads an index whole; returns why it cannot be. Indexes of a kind that this build does not know count as sound.
///
/// Errors: when it cannot be told now.
pub(super) fn index_damage(
    db: &LanceDb,
    place: &Place,
    table: &Opened,
    name: &str,
) -> Result<Option<String>, IndexError> {
    let segments: Vec<_> = table.indexes.iter().filter(|index| index.name == name).collect();
    if segments.is_empty() {
        return Ok(None);
    }
    let entries = index_entries(place);
    let entries: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    if let Some(problem) = segments.iter().find_map(|index| survey::index_problem(place, index, &entries)) {
        return Ok(Some(problem));
    }
    let bytes = segments.iter().map(|index| super::census::allocated(&index_dir(place, &index.uuid.to_string()))).sum();
    let (dataset, asked) = (db.open_with(place, cache_for(bytes))?, name.to_owned());
    let read = db.run("read an index", async move {
        let doing = "read an index";
        dataset.index_statistics(&asked).await.map_err(|error| unreadable(doing, error))?;
        if bytes > READ_WHOLE_MAX {
            return Ok(());
        }
        match dataset.prewarm_index(&asked).await {
            // Not every kind of index can be read whole this way, and what Lance takes for a fault of its own is no damage.
            Ok(()) | Err(lance::Error::NotSupported { .. } | lance::Error::Internal { .. }) => Ok(()),
            Err(error) => Err(unreadable(doing, error)),
        }
    });
    match read {
        Ok(()) => Ok(None),
        Err(error) if error.kind == ErrorKind::Corrupt => Ok(Some(said(&error))),
        Err(error) => Err(error),
    }
}

/// An index is read into memory as a whole; of a larger one only the parts that opening it reads are checked, and lengths.
const READ_WHOLE_MAX: u64 = 512 << 20;

/// Returns how much memory an index of this many bytes may need when it is decoded.
fn cache_for(bytes: u64) -> usize {
    usize::try_from(bytes.min(READ_WHOLE_MAX) * 4).unwrap_or(usize::MAX) + (64 << 20)
}

fn index_dir(place: &Place, uuid: &str) -> std::path::PathBuf {
    place.path.join("_indices").join(uuid)
}

fn index_entries(place: &Place) -> Vec<Entry> {
    let mut entries = Vec::new();
    let dirs = std::fs::read_dir(place.path.join("_indices")).into_iter().flatten().flatten();
    for dir in dirs {
        let files = std::fs::read_dir(dir.path()).into_iter().flatten().flatten();
        for file in files {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let path = format!("_indices/{}/{}", dir.file_name().to_string_lossy(), file.file_name().to_string_lossy());
            entries.push(Entry { path, class: super::census::Class::Live, length, bytes: 0 });
        }
    }
    entries
}
