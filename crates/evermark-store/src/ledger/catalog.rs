//! Which files are known, which memories and messages each of them holds.

use super::Ledger;
use super::rows::{
    FILE_COLUMNS, Owners, compare, entries_of, file_id, file_row, kind, record_one, removed_except, state,
};
use crate::error::Result;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::{Known, Stamp};
use rusqlite::{OptionalExtension, params};
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Passed before a batch of files is recorded.
pub const RECORD: &str = "ledger.record";
/// Passed before files are forgotten.
pub const FORGET: &str = "ledger.forget";

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its entries are in the index.
    Indexed,
    /// It could not be understood; see its finding. Entries recorded with it are the last good ones.
    Parked,
    /// It holds no memories, and that is fine.
    Ignored,
}

impl State {
    pub const ALL: [Self; 3] = [Self::Indexed, Self::Parked, Self::Ignored];

    pub fn name(self) -> &'static str {
        match self {
            Self::Indexed => "indexed",
            Self::Parked => "parked",
            Self::Ignored => "ignored",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One memory of a file, and the digest of what the index holds of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub key: MemoryKey,
    pub digest: Digest32,
}

/// One message that is written down in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageRef {
    pub session: String,
    pub message_id: String,
}

/// All there is to record about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    pub path: String,
    /// What sort of file it is, in the engine's words.
    pub kind: String,
    pub state: State,
    /// What a person should know about it.
    pub finding: Option<String>,
    pub stamp: Stamp,
    pub digest: Digest32,
    pub entries: Arc<[Entry]>,
    /// The app and project that the messages' sessions belong to.
    pub scope: Scope,
    pub messages: Vec<MessageRef>,
}

/// One file of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    pub path: String,
    pub kind: String,
    pub state: State,
    pub finding: Option<String>,
    pub indexed_at_us: i64,
    pub known: Known,
}

/// How a file's entries differ from those recorded before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<MemoryKey>,
    pub changed: Vec<MemoryKey>,
    pub removed: Vec<Removed>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// A memory that a file no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub key: MemoryKey,
    /// Another file that holds it: index that one anew, instead of deleting the row.
    pub elsewhere: Option<String>,
}

/// How much there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub files: u64,
    /// Files by kind and state.
    pub files_by: Vec<(String, State, u64)>,
    /// Entries by kind. A memory that stands in two files counts twice.
    pub entries_by: Vec<(Kind, u64)>,
    /// Files that were not there at the last look.
    pub missing: u64,
}

/// Returns what the paths of all that lies in a folder are between; the empty folder is everything.
pub(crate) fn range_of(folder: &str) -> (String, String) {
    // `0` follows `/`.
    match folder {
        "" => (String::new(), char::MAX.to_string()),
        folder => (format!("{folder}/"), format!("{folder}0")),
    }
}

impl Ledger {
    /// Returns what is known about one file.
    pub fn file(&self, path: &str) -> Result<Option<FileRow>> {
        self.lock()
            .prepare_cached(&format!("SELECT {FILE_COLUMNS} FROM files WHERE path = ?1"))
            .and_then(|mut statement| statement.query_row([path], file_row).optional())
            .map_err(self.on("look up a file"))
    }

    /// Visits the files below a folder (or all, with an empty prefix) in the byte order of their paths, the order of
    /// [`Vault::scan`](crate::vault::Vault::scan). The ledger is not held between pages: it may be changed meanwhile.
    pub fn files(&self, prefix: &str, visit: &mut dyn FnMut(FileRow)) -> Result<()> {
        const PAGE: usize = 1000;
        let mut after = String::new();
        loop {
            let page = self.files_page(prefix, &after, PAGE)?;
            let is_last = page.len() < PAGE;
            if let Some(last) = page.last() {
                after.clone_from(&last.path);
            }
            page.into_iter().for_each(&mut *visit);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Returns up to `limit` files below a folder whose paths come after `after`, in byte order.
    pub fn files_page(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<FileRow>> {
        let (low, high) = range_of(prefix);
        // One lower bound: of two, SQLite would search by one and skip by the other.
        let low = low.as_str().max(after);
        let sql = format!("SELECT {FILE_COLUMNS} FROM files WHERE path > ?1 AND path < ?2 ORDER BY path LIMIT ?3");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lock()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_map(params![low, high, limit], file_row)?.collect::<rusqlite::Result<_>>()
            })
            .map_err(self.on("list files"))
    }

    /// Returns what recording a file would change, without recording it.
    pub fn diff(&self, record: &FileRecord) -> Result<Changes> {
        self.snapshot("compare a file", |transaction| {
            let before = match file_id(transaction, &record.path)? {
                Some(file_id) => entries_of(transaction, file_id)?,
                None => HashMap::new(),
            };
            compare(&mut Owners::new(transaction), before, record).map(|diff| diff.changes)
        })
    }

    /// Records files and replaces their entries and messages, all together. Returns what changed, in the same order.
    pub fn record(&self, records: &[impl Borrow<FileRecord>]) -> Result<Vec<Changes>> {
        self.reach(RECORD, "record files")?;
        let now_us = self.world().now_us();
        self.transaction("record files", |transaction| {
            let mut owners = Owners::new(transaction);
            records.iter().map(|record| record_one(&mut owners, record.borrow(), now_us)).collect()
        })
    }

    /// Forgets files with their entries and messages, all together. Returns the memories that went with them.
    pub fn forget(&self, paths: &[String]) -> Result<Vec<Removed>> {
        self.reach(FORGET, "forget files")?;
        self.transaction("forget files", |transaction| {
            let mut owners = Owners::new(transaction);
            let mut gone = Vec::new();
            for path in paths {
                let Some(file_id) = file_id(transaction, path)? else { continue };
                gone.extend(entries_of(transaction, file_id)?.into_keys());
                for table in ["entries", "messages", "files"] {
                    let sql = format!("DELETE FROM {table} WHERE file_id = ?1");
                    transaction.prepare_cached(&sql)?.execute([file_id])?;
                }
            }
            // Only now: a memory may have stood in two of the files.
            gone.into_iter().filter_map(|raw| removed_except(&mut owners, raw, None).transpose()).collect()
        })
    }

    /// Notes that files were read and compared and are as recorded, under these stamps. They count as there.
    pub fn verified(&self, files: &[(String, Stamp)]) -> Result<()> {
        let now_us = self.world().now_us();
        self.transaction("note what was verified", |transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE files SET size = ?2, mtime_ns = ?3, inode = ?4, ctime_ns = ?5, verified_at_us = ?6,
                 missing_since_us = NULL WHERE path = ?1",
            )?;
            for (path, stamp) in files {
                let (size, inode) = (stamp.size.cast_signed(), stamp.inode.cast_signed());
                statement.execute(params![path, size, stamp.mtime_ns, inode, stamp.ctime_ns, now_us])?;
            }
            Ok(())
        })
    }

    /// Notes that files are missing since now. Those missing already keep their earlier time, unless it lies ahead.
    pub fn suspect(&self, paths: &[String]) -> Result<()> {
        let now_us = self.world().now_us();
        self.each_path("note what is missing", paths, |statement, path| statement.execute(params![path, now_us]), {
            "UPDATE files SET missing_since_us = min(coalesce(missing_since_us, ?2), ?2) WHERE path = ?1"
        })
    }

    /// Notes that files are there again.
    pub fn found(&self, paths: &[String]) -> Result<()> {
        self.each_path("note what is there again", paths, |statement, path| statement.execute([path]), {
            "UPDATE files SET missing_since_us = NULL WHERE path = ?1"
        })
    }

    fn each_path(
        &self,
        doing: &'static str,
        paths: &[String],
        run: impl Fn(&mut rusqlite::CachedStatement<'_>, &str) -> rusqlite::Result<usize>,
        sql: &str,
    ) -> Result<()> {
        self.transaction(doing, |transaction| {
            let mut statement = transaction.prepare_cached(sql)?;
            paths.iter().try_for_each(|path| run(&mut statement, path).map(|_| ()))
        })
    }

    /// Returns the entries recorded for a file, in no order.
    pub fn entries(&self, path: &str) -> Result<Vec<Entry>> {
        self.snapshot("list entries", |transaction| {
            let Some(file_id) = file_id(transaction, path)? else { return Ok(Vec::new()) };
            let mut owners = Owners::new(transaction);
            let mut entries = Vec::new();
            for (raw, digest) in entries_of(transaction, file_id)? {
                entries.extend(owners.key(raw)?.map(|key| Entry { key, digest }));
            }
            Ok(entries)
        })
    }

    /// Notes that the index does not hold these entries as recorded: whoever indexes their files writes them again.
    pub fn doubt(&self, entries: &[(String, Kind, String)]) -> Result<()> {
        self.transaction("doubt entries", |transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE entries SET digest = zeroblob(32) WHERE kind = ?2 AND id = ?3
                     AND file_id = (SELECT file_id FROM files WHERE path = ?1)",
            )?;
            for (path, kind, id) in entries {
                statement.execute(params![path, kind.name(), id])?;
            }
            Ok(())
        })
    }

    /// Counts entries; a memory that stands in two files counts twice. Far quicker than the count of memories.
    pub fn n_entries(&self) -> Result<u64> {
        self.lock()
            .prepare_cached("SELECT count(*) FROM entries")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
            .map(i64::unsigned_abs)
            .map_err(self.on("count entries"))
    }

    /// Counts memories; one that stands in two files counts once.
    pub fn distinct_entries(&self) -> Result<u64> {
        self.snapshot("count memories", |transaction| {
            transaction
                .prepare_cached("SELECT count(*) FROM (SELECT DISTINCT id, owner_id, kind FROM entries)")?
                .query_row([], |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
        })
    }

    /// Returns the files that hold a memory: none, one, or several where people copied it.
    pub fn locate(&self, key: &MemoryKey) -> Result<Vec<String>> {
        let Owner { scope, track, id: owner } = &key.owner;
        let sql = "SELECT path FROM owners JOIN entries USING (owner_id) JOIN files USING (file_id)
                   WHERE app = ?1 AND project = ?2 AND track = ?3 AND owner = ?4 AND entries.kind = ?5 AND id = ?6
                   ORDER BY path";
        self.lock()
            .prepare_cached(sql)
            .and_then(|mut statement| {
                let params = params![scope.app, scope.project, track.name(), owner, key.kind.name(), key.id];
                statement.query_map(params, |row| row.get(0))?.collect::<rusqlite::Result<_>>()
            })
            .map_err(self.on("locate a memory"))
    }

    /// Returns those of the messages that are written down in some file.
    pub fn known_messages(&self, scope: &Scope, session: &str, ids: &[String]) -> Result<HashSet<String>> {
        let connection = self.lock();
        let look = || -> rusqlite::Result<HashSet<String>> {
            let session_id: Option<i64> = connection
                .prepare_cached("SELECT session_id FROM sessions WHERE app = ?1 AND project = ?2 AND session = ?3")?
                .query_row(params![scope.app, scope.project, session], |row| row.get(0))
                .optional()?;
            let Some(session_id) = session_id else { return Ok(HashSet::new()) };
            let mut statement = connection
                .prepare_cached("SELECT 1 FROM messages WHERE session_id = ?1 AND message_id = ?2 LIMIT 1")?;
            let mut known = HashSet::new();
            for id in ids {
                if statement.exists(params![session_id, id])? {
                    known.insert(id.clone());
                }
            }
            Ok(known)
        };
        look().map_err(self.on("look up messages"))
    }

    /// Returns the files in which a message is written down, in path order.
    pub fn files_of_message(&self, scope: &Scope, session: &str, id: &str) -> Result<Vec<String>> {
        let sql = "SELECT path FROM sessions JOIN messages USING (session_id) JOIN files USING (file_id)
                   WHERE app = ?1 AND project = ?2 AND session = ?3 AND message_id = ?4 ORDER BY path";
        self.lock()
            .prepare_cached(sql)
            .and_then(|mut statement| {
                let params = params![scope.app, scope.project, session, id];
                statement.query_map(params, |row| row.get(0))?.collect::<rusqlite::Result<_>>()
            })
            .map_err(self.on("look up a message"))
    }

    /// Counts files and entries.
    pub fn counts(&self) -> Result<Counts> {
        self.snapshot("count", |transaction| {
            let mut counts = Counts::default();
            let mut statement = transaction.prepare_cached(
                "SELECT kind, state, count(*), count(missing_since_us) FROM files GROUP BY kind, state ORDER BY kind, state",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (n_files, n_missing): (i64, i64) = (row.get(2)?, row.get(3)?);
                counts.files += n_files.unsigned_abs();
                counts.missing += n_missing.unsigned_abs();
                counts.files_by.push((row.get(0)?, state(row, 1)?, n_files.unsigned_abs()));
            }
            let mut statement =
                transaction.prepare_cached("SELECT kind, count(*) FROM entries GROUP BY kind ORDER BY kind")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let n: i64 = row.get(1)?;
                counts.entries_by.extend(kind(row.get_ref(0)?.as_str()?).map(|kind| (kind, n.unsigned_abs())));
            }
            Ok(counts)
        })
    }

    /// Returns files that have a finding, in path order.
    pub fn findings(&self, limit: usize) -> Result<Vec<FileRow>> {
        let sql = format!("SELECT {FILE_COLUMNS} FROM files WHERE finding IS NOT NULL ORDER BY path LIMIT ?1");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lock()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([limit], file_row)?.collect::<rusqlite::Result<_>>())
            .map_err(self.on("list findings"))
    }

    /// Returns the files that are being missed, in path order.
    pub fn missing(&self) -> Result<Vec<FileRow>> {
        let sql = format!("SELECT {FILE_COLUMNS} FROM files WHERE missing_since_us IS NOT NULL ORDER BY path");
        self.lock()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([], file_row)?.collect::<rusqlite::Result<_>>())
            .map_err(self.on("list missing files"))
    }
}
