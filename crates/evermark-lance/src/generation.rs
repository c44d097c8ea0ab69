//! `generation.json`: what a generation was made with, so that another version or model is noticed before a row is read.

use crate::error::{corrupt, failed};
use crate::rows::SCHEMA_VERSION;
use crate::table::sync_dir;
use evermark_core::codec;
use evermark_core::index::IndexError;
use evermark_core::text::ANALYZER_VERSION;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "generation.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generation {
    schema_version: u32,
    payload_version: u8,
    analyzer_version: u32,
    /// Width of the vectors; `null` when this generation holds none.
    pub(crate) dimension: Option<usize>,
    /// Microseconds since 1970.
    created_at_us: i64,
}

impl Generation {
    pub(crate) fn new(dimension: Option<usize>, created_at_us: i64) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            payload_version: codec::VERSION,
            analyzer_version: ANALYZER_VERSION,
            dimension,
            created_at_us,
        }
    }

    /// Reads the file, `None` when there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, IndexError> {
        let bytes = match fs::read(dir.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| failed("read generation.json", error))?,
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| IndexError { source: Some(Box::new(error)), ..corrupt("generation.json is damaged") })
    }

    /// Tells whether rows of this generation are what this version, with this width of vectors, would write.
    pub(crate) fn check(&self, dimension: Option<usize>) -> Result<(), IndexError> {
        let mismatch = |what: &str, found: String, wanted: String| {
            Err(corrupt(format!("this index generation has {what} {found}, not {wanted}: it has to be rebuilt")))
        };
        if self.schema_version != SCHEMA_VERSION {
            return mismatch("schema version", self.schema_version.to_string(), SCHEMA_VERSION.to_string());
        }
        if self.payload_version != codec::VERSION {
            return mismatch("payload version", self.payload_version.to_string(), codec::VERSION.to_string());
        }
        if self.analyzer_version != ANALYZER_VERSION {
            return mismatch("analyzer version", self.analyzer_version.to_string(), ANALYZER_VERSION.to_string());
        }
        if self.dimension != dimension {
            let width = |dimension: Option<usize>| dimension.map_or("none".to_owned(), |width| width.to_string());
            return mismatch("vectors of width", width(self.dimension), width(dimension));
        }
        Ok(())
    }

    /// Writes the file whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), IndexError> {
        write_json(&dir.join(NAME), self)
    }
}

/// Writes a small JSON file whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), IndexError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!("{name}.tmp"));
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed(&format!("render {name}"), error))?;
    let written = File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Half a file is in nobody's way but takes room.
        drop(fs::remove_file(&temporary));
        return Err(failed(&format!("write {name}"), error));
    }
    path.parent().map_or(Ok(()), sync_dir)
}

/// Says what the generation in `dir` was made with, or why this version cannot use it. Reads one small file, and no row.
///
/// Errors: [`evermark_core::error::ErrorKind::Corrupt`] when it is damaged, or another version made it.
pub fn look_at(dir: &Path) -> Result<String, IndexError> {
    let generation = Generation::read(dir)?.ok_or_else(|| corrupt("generation.json is not there"))?;
    generation.check(generation.dimension)?;
    let vectors = match generation.dimension {
        Some(width) => format!("vectors {width} wide"),
        None => "no vectors".to_owned(),
    };
    Ok(format!("schema {}, analyzer {}, {vectors}", generation.schema_version, generation.analyzer_version))
}
