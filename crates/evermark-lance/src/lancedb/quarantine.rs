//! Where damage goes: a directory beside the measured one, with a record of what was set aside and why.
//!
//! Files are renamed into it, or linked when the table still names them; neither copies a byte on the same file system.

use super::find::Place;
use super::io_failed;
use crate::error::failed;
use evermark_core::index::IndexError;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One occasion on which something was set aside.
pub(super) struct Aside {
    table: PathBuf,
    pub(super) dir: PathBuf,
}

impl Aside {
    /// Makes a directory of its own, called after `label`.
    pub(super) fn new(place: &Place, label: &str) -> Result<Self, IndexError> {
        fs::create_dir_all(&place.quarantine).map_err(|error| io_failed("make", &place.quarantine, error))?;
        for attempt in 1..=u32::MAX {
            let name = if attempt == 1 { label.to_owned() } else { format!("{label}-{attempt}") };
            let dir = place.quarantine.join(name);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_failed("make", &dir, error)),
                Ok(()) => return Ok(Self { table: place.path.clone(), dir }),
            }
        }
        Err(IndexError::new(evermark_core::error::ErrorKind::Internal, "four billion quarantines are enough"))
    }

    /// Moves a file out of the table.
    pub(super) fn take(&self, path: &str) -> Result<(), IndexError> {
        let (from, to) = self.ends(path)?;
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                copy(&from, &to)?;
                fs::remove_file(&from).map_err(|error| io_failed("remove", &from, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| io_failed("set aside", &from, error)),
        }
    }

    /// Keeps a file that the table still names, so that it outlives its removal there. A file that is gone is no failure.
    pub(super) fn keep(&self, path: &str) -> Result<(), IndexError> {
        let (from, to) = self.ends(path)?;
        match fs::hard_link(&from, &to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Not every file system has links.
            Err(_) => copy(&from, &to),
        }
    }

    fn ends(&self, path: &str) -> Result<(PathBuf, PathBuf), IndexError> {
        let to = self.dir.join(path);
        let parent = to.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(|error| io_failed("make", parent, error))?;
        Ok((self.table.join(path), to))
    }

    /// Writes down what was set aside, and why.
    pub(super) fn record(&self, record: &Value) -> Result<(), IndexError> {
        let path = self.dir.join("record.json");
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| failed("render a quarantine's record", error))?;
        File::create(&path)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|error| io_failed("write", &path, error))
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), IndexError> {
    fs::copy(from, to)
        .and_then(|_| File::open(to)?.sync_all())
        .map_err(|error| io_failed("set aside a copy of", from, error))
}
