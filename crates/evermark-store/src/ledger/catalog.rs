//! Which files are known, which memories and messages each of them holds.

use super::Ledger;
use crate::error::Result;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope, Track};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::{Known, Stamp};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::collections::{HashMap, HashSet};

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
    pub entries: Vec<Entry>,
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
        // `0` follows `/`: the half-open range of all that lies in the folder. The empty prefix is everything.
        let (low, high) = if prefix.is_empty() {
            (String::new(), char::MAX.to_string())
        } else {
            (format!("{prefix}/"), format!("{prefix}0"))
        };
        let sql = format!(
            "SELECT {FILE_COLUMNS} FROM files WHERE path >= ?1 AND path < ?2 AND path > ?3 ORDER BY path LIMIT ?4"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.lock()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_map(params![low, high, after, limit], file_row)?.collect::<rusqlite::Result<_>>()
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
    pub fn record(&self, records: &[FileRecord]) -> Result<Vec<Changes>> {
        self.reach(RECORD, "record files")?;
        let now_us = self.world().now_us();
        self.transaction("record files", |transaction| {
            let mut owners = Owners::new(transaction);
            records.iter().map(|record| record_one(&mut owners, record, now_us)).collect()
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

const FILE_COLUMNS: &str = "path, kind, state, finding, size, mtime_ns, inode, ctime_ns, digest, indexed_at_us, \
                            verified_at_us, missing_since_us";

fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        path: row.get(0)?,
        kind: row.get(1)?,
        state: state(row, 2)?,
        finding: row.get(3)?,
        indexed_at_us: row.get(9)?,
        known: Known {
            stamp: Stamp {
                size: row.get::<_, i64>(4)?.cast_unsigned(),
                mtime_ns: row.get(5)?,
                inode: row.get::<_, i64>(6)?.cast_unsigned(),
                ctime_ns: row.get(7)?,
            },
            digest: digest(row, 8)?,
            verified_at_us: row.get(10)?,
            missing_since_us: row.get(11)?,
        },
    })
}

fn digest(row: &Row<'_>, idx: usize) -> rusqlite::Result<Digest32> {
    row.get::<_, [u8; 32]>(idx).map(Digest32)
}

fn state(row: &Row<'_>, idx: usize) -> rusqlite::Result<State> {
    // The schema allows no other.
    Ok(State::from_name(row.get_ref(idx)?.as_str()?).unwrap_or(State::Parked))
}

fn kind(name: &str) -> Option<Kind> {
    Kind::from_name(name)
}

fn file_id(transaction: &Transaction<'_>, path: &str) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT file_id FROM files WHERE path = ?1")?
        .query_row([path], |row| row.get(0))
        .optional()
}

/// A key as its table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RawKey {
    kind: Kind,
    owner_id: i64,
    id: String,
}

fn entries_of(transaction: &Transaction<'_>, file_id: i64) -> rusqlite::Result<HashMap<RawKey, Digest32>> {
    let mut statement =
        transaction.prepare_cached("SELECT kind, owner_id, id, digest FROM entries WHERE file_id = ?1")?;
    let mut rows = statement.query([file_id])?;
    let mut all = HashMap::new();
    while let Some(row) = rows.next()? {
        if let Some(kind) = kind(row.get_ref(0)?.as_str()?) {
            all.insert(RawKey { kind, owner_id: row.get(1)?, id: row.get(2)? }, digest(row, 3)?);
        }
    }
    Ok(all)
}

/// The owners by number and by name, looked up once per transaction.
struct Owners<'a> {
    transaction: &'a Transaction<'a>,
    by_id: HashMap<i64, Option<Owner>>,
    by_name: HashMap<Owner, Option<i64>>,
}

impl<'a> Owners<'a> {
    fn new(transaction: &'a Transaction<'a>) -> Self {
        Self { transaction, by_id: HashMap::new(), by_name: HashMap::new() }
    }

    /// Returns an owner's number, if it has one.
    fn find(&mut self, owner: &Owner) -> rusqlite::Result<Option<i64>> {
        if let Some(known) = self.by_name.get(owner) {
            return Ok(*known);
        }
        let Owner { scope, track, id } = owner;
        let found = self
            .transaction
            .prepare_cached(
                "SELECT owner_id FROM owners WHERE app = ?1 AND project = ?2 AND track = ?3 AND owner = ?4",
            )?
            .query_row(params![scope.app, scope.project, track.name(), id], |row| row.get(0))
            .optional()?;
        self.by_name.insert(owner.clone(), found);
        Ok(found)
    }

    /// Returns an owner's number, giving it one if need be.
    fn id(&mut self, owner: &Owner) -> rusqlite::Result<i64> {
        if let Some(owner_id) = self.find(owner)? {
            return Ok(owner_id);
        }
        let Owner { scope, track, id } = owner;
        let owner_id = self
            .transaction
            .prepare_cached("INSERT INTO owners (app, project, track, owner) VALUES (?1, ?2, ?3, ?4)")?
            .insert(params![scope.app, scope.project, track.name(), id])?;
        self.by_name.insert(owner.clone(), Some(owner_id));
        Ok(owner_id)
    }

    fn key(&mut self, raw: RawKey) -> rusqlite::Result<Option<MemoryKey>> {
        let RawKey { kind, owner_id, id } = raw;
        if let Some(known) = self.by_id.get(&owner_id) {
            return Ok(known.clone().map(|owner| MemoryKey { owner, kind, id }));
        }
        let found = self
            .transaction
            .prepare_cached("SELECT app, project, track, owner FROM owners WHERE owner_id = ?1")?
            .query_row([owner_id], |row| {
                let scope = Scope { app: row.get(0)?, project: row.get(1)? };
                let track = Track::from_name(row.get_ref(2)?.as_str()?);
                let id = row.get(3)?;
                Ok(track.map(|track| Owner { scope, track, id }))
            })
            .optional()?
            .flatten();
        self.by_id.insert(owner_id, found.clone());
        Ok(found.map(|owner| MemoryKey { owner, kind, id }))
    }
}

/// What differs, and the raw keys that must go.
struct Diff {
    changes: Changes,
    gone: Vec<RawKey>,
}

fn compare(
    owners: &mut Owners<'_>,
    mut before: HashMap<RawKey, Digest32>,
    record: &FileRecord,
) -> rusqlite::Result<Diff> {
    let mut changes = Changes::default();
    let mut seen = HashSet::with_capacity(record.entries.len());
    for entry in &record.entries {
        if !seen.insert(&entry.key) {
            continue;
        }
        let had = owners
            .find(&entry.key.owner)?
            .and_then(|owner_id| before.remove(&RawKey { kind: entry.key.kind, owner_id, id: entry.key.id.clone() }));
        match had {
            None => changes.added.push(entry.key.clone()),
            Some(digest) if digest != entry.digest => changes.changed.push(entry.key.clone()),
            Some(_) => {}
        }
    }
    let gone: Vec<RawKey> = before.into_keys().collect();
    let except = file_id(owners.transaction, &record.path)?;
    for raw in &gone {
        changes.removed.extend(removed_except(owners, raw.clone(), except)?);
    }
    changes.removed.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Diff { changes, gone })
}

/// Returns a removed memory with another file that holds it, if there is one besides `except`.
fn removed_except(owners: &mut Owners<'_>, raw: RawKey, except: Option<i64>) -> rusqlite::Result<Option<Removed>> {
    let elsewhere = owners
        .transaction
        .prepare_cached(
            "SELECT path FROM entries JOIN files USING (file_id)
             WHERE id = ?1 AND owner_id = ?2 AND entries.kind = ?3 AND file_id IS NOT ?4 ORDER BY path LIMIT 1",
        )?
        .query_row(params![raw.id, raw.owner_id, raw.kind.name(), except], |row| row.get(0))
        .optional()?;
    Ok(owners.key(raw)?.map(|key| Removed { key, elsewhere }))
}

fn record_one(owners: &mut Owners<'_>, record: &FileRecord, now_us: i64) -> rusqlite::Result<Changes> {
    let transaction = owners.transaction;
    let known = file_id(transaction, &record.path)?;
    let before = match known {
        Some(file_id) => entries_of(transaction, file_id)?,
        None => HashMap::new(),
    };
    let FileRecord { path, kind, state, finding, stamp, digest, .. } = record;
    let file_id: i64 = transaction
        .prepare_cached(
            "INSERT INTO files (path, kind, state, finding, size, mtime_ns, inode, ctime_ns, digest, indexed_at_us,
                 verified_at_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)
             ON CONFLICT (path) DO UPDATE SET kind = ?2, state = ?3, finding = ?4, size = ?5, mtime_ns = ?6, inode = ?7,
                 ctime_ns = ?8, digest = ?9, indexed_at_us = ?10, verified_at_us = ?10, missing_since_us = NULL
             RETURNING file_id",
        )?
        .query_row(
            params![
                path,
                kind,
                state.name(),
                finding,
                stamp.size.cast_signed(),
                stamp.mtime_ns,
                stamp.inode.cast_signed(),
                stamp.ctime_ns,
                digest.0,
                now_us
            ],
            |row| row.get(0),
        )?;
    let Diff { changes, gone } = compare(owners, before, record)?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM entries WHERE file_id = ?1 AND kind = ?2 AND owner_id = ?3 AND id = ?4")?;
    for raw in gone {
        delete.execute(params![file_id, raw.kind.name(), raw.owner_id, raw.id])?;
    }
    if !(changes.added.is_empty() && changes.changed.is_empty()) {
        let fresh: HashSet<&MemoryKey> = changes.added.iter().chain(&changes.changed).collect();
        let mut put = transaction.prepare_cached(
            "INSERT OR REPLACE INTO entries (file_id, kind, owner_id, id, digest) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        // Of two entries with one key the first counts, in `compare` too.
        for entry in record.entries.iter().rev().filter(|entry| fresh.contains(&entry.key)) {
            let owner_id = owners.id(&entry.key.owner)?;
            put.execute(params![file_id, entry.key.kind.name(), owner_id, entry.key.id, entry.digest.0])?;
        }
    }
    record_messages(transaction, file_id, record, known.is_some())?;
    Ok(changes)
}

fn record_messages(
    transaction: &Transaction<'_>,
    file_id: i64,
    record: &FileRecord,
    existed: bool,
) -> rusqlite::Result<()> {
    if existed {
        transaction.prepare_cached("DELETE FROM messages WHERE file_id = ?1")?.execute([file_id])?;
    }
    let mut sessions: HashMap<&str, i64> = HashMap::new();
    let mut put = transaction
        .prepare_cached("INSERT OR IGNORE INTO messages (session_id, message_id, file_id) VALUES (?1, ?2, ?3)")?;
    for MessageRef { session, message_id } in &record.messages {
        let session_id = match sessions.get(session.as_str()) {
            Some(session_id) => *session_id,
            None => {
                let session_id = transaction
                    .prepare_cached(
                        "INSERT INTO sessions (app, project, session) VALUES (?1, ?2, ?3)
                         ON CONFLICT DO UPDATE SET app = app RETURNING session_id",
                    )?
                    .query_row(params![record.scope.app, record.scope.project, session], |row| row.get(0))?;
                sessions.insert(session, session_id);
                session_id
            }
        };
        put.execute(params![session_id, message_id, file_id])?;
    }
    Ok(())
}
