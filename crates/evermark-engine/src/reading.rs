//! Files into memories: one job's file, or all of them.

use crate::engine::Inner;
use crate::error::Error;
use crate::health::with_causes;
use crate::status::FileProblem;
use evermark_core::error::ErrorKind;
use evermark_core::markdown::{self, FileReading};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Stamp;
use evermark_store::jobs::Claim;

/// What became of a job's file.
pub(crate) enum Found {
    File(Stamp, Digest32, FileReading),
    Gone,
    Unreadable(FileProblem),
}

impl Inner {
    /// Reads the file of a job.
    pub(crate) fn read_claimed(&self, claim: &Claim) -> Result<Found, Error> {
        match self.vault.read(&claim.path, self.settings.file_bytes_max) {
            Ok(file) => {
                let references = self.references_of(&claim.path);
                let reading = markdown::read_file(&claim.path, &file.bytes, &self.settings.timezone, &references);
                if file.bytes.trim_ascii().is_empty() {
                    // Emptied on purpose or by accident: the second look tells.
                    return Ok(Found::File(file.stamp, file.digest, FileReading::default()));
                }
                // Nothing could be used, and the file as a whole is to blame.
                let whole = reading.findings.iter().find(|finding| finding.entry.is_none());
                match whole.filter(|_| reading.memories.is_empty()) {
                    Some(finding) => Ok(Found::Unreadable(FileProblem::of(finding))),
                    None => Ok(Found::File(file.stamp, file.digest, reading)),
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Gone),
            Err(error) => match error.finding() {
                Some(finding) => Ok(Found::Unreadable(FileProblem::of_store(finding))),
                None => Err(error.into()),
            },
        }
    }

    /// Returns a skill's reference files, name and text; none for other files.
    fn references_of(&self, path: &str) -> Vec<(String, String)> {
        let Some(folder) = path.strip_suffix("/SKILL.md") else { return Vec::new() };
        let mut paths = Vec::new();
        self.vault.scan_under(&format!("{folder}/references"), &mut |path, _| paths.push(path.to_owned()));
        paths.sort_unstable();
        paths
            .into_iter()
            .filter_map(|path| {
                let bytes = self.vault.read(&path, self.settings.file_bytes_max).ok()?.bytes;
                let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name).to_owned();
                Some((name, String::from_utf8_lossy(&bytes).into_owned()))
            })
            .collect()
    }

    /// Returns every file that holds memories, in order.
    pub(crate) fn scan_memories(&self) -> Result<Vec<String>, Error> {
        let mut paths = Vec::new();
        let report = self.vault.scan(&mut |path, _| {
            if crate::reconcile::is_indexed_kind(path) {
                paths.push(path.to_owned());
            }
        });
        match report.unknown.first() {
            Some((path, reason)) => Err(Error::Busy(format!("`{path}` cannot be looked at: {reason}"))),
            None => Ok(paths),
        }
    }

    /// Reads a file's memories; `None` when it is gone.
    pub(crate) fn read_memories(&self, path: &str) -> Result<Option<(Digest32, FileReading)>, FileProblem> {
        match self.vault.read(path, self.settings.file_bytes_max) {
            Ok(file) => {
                let references = self.references_of(path);
                Ok(Some((file.digest, markdown::read_file(path, &file.bytes, &self.settings.timezone, &references))))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(match error.finding() {
                Some(finding) => FileProblem::of_store(finding),
                None => FileProblem {
                    path: path.to_owned(),
                    entry: None,
                    code: error.kind().name().to_owned(),
                    message: with_causes(&error),
                },
            }),
        }
    }
}
