//! What an EverOS left in its own database and nowhere else: messages it had accepted but not yet extracted.
//!
//! Read once, when a root is adopted; EverOS's files are not changed, and none is created beside them.

use crate::error::{At, Error, Result};
use crate::layout::Layout;
use rusqlite::{Connection, OpenFlags};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// A message from EverOS's buffer, as stored there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffered {
    pub message_id: String,
    pub app_id: String,
    pub project_id: String,
    pub session_id: String,
    pub sender_id: String,
    pub sender_name: Option<String>,
    pub role: String,
    /// `YYYY-MM-DD HH:MM:SS.ffffff`, UTC.
    pub timestamp: String,
    /// JSON list of content items.
    pub content_items: String,
    /// JSON list.
    pub tool_calls: Option<String>,
    pub tool_call_id: Option<String>,
}

/// Returns the messages in EverOS's buffer, by session and time; none where no EverOS has been. Quarantined ones stay out,
/// as they do there.
pub fn buffered(layout: &Layout) -> Result<Vec<Buffered>> {
    let path = layout.root().join(".index").join("sqlite").join("system.db");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let copy = Copy::of(&path, &layout.own_dir().join("adopt"))?;
    let at = |source| Error::Ledger { doing: "read messages", path: path.clone(), source };
    let connection = Connection::open_with_flags(&copy.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
    let there: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'unprocessed_buffer')",
            [],
            |row| row.get(0),
        )
        .map_err(at)?;
    if !there {
        return Ok(Vec::new());
    }
    let mut statement = connection
        .prepare(
            "SELECT message_id, app_id, project_id, session_id, sender_id, sender_name, role, timestamp, \
             content_items_json, tool_calls_json, tool_call_id FROM unprocessed_buffer WHERE track = 'memorize' \
             ORDER BY app_id, project_id, session_id, timestamp, message_id",
        )
        .map_err(at)?;
    let rows = statement
        .query_map([], |row| {
            Ok(Buffered {
                message_id: row.get(0)?,
                app_id: row.get(1)?,
                project_id: row.get(2)?,
                session_id: row.get(3)?,
                sender_id: row.get(4)?,
                sender_name: row.get(5)?,
                role: row.get(6)?,
                timestamp: row.get(7)?,
                content_items: row.get(8)?,
                tool_calls: row.get(9)?,
                tool_call_id: row.get(10)?,
            })
        })
        .map_err(at)?;
    rows.collect::<rusqlite::Result<Vec<_>>>().map_err(at)
}

/// A copy of a database and its log, gone when dropped: opening the original would create files beside it.
struct Copy {
    dir: PathBuf,
    path: PathBuf,
}

impl Copy {
    fn of(original: &Path, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).at("create", dir)?;
        let copy = Self { dir: dir.to_owned(), path: dir.join("system.db") };
        std::fs::copy(original, &copy.path).at("copy", original)?;
        let log = with_suffix(original, "-wal");
        match std::fs::copy(&log, with_suffix(&copy.path, "-wal")) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("copy", &log),
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "a temporary copy cannot be removed");
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
