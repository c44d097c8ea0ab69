//! How the catalogue's rows are read, compared and written, inside a transaction of the caller's.

use super::catalog::{Changes, FileRecord, FileRow, MessageRef, Removed, State};
use evermark_core::id::{Kind, MemoryKey, Owner, Scope, Track};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::{Known, Stamp};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::collections::{HashMap, HashSet};

pub(super) const FILE_COLUMNS: &str = "path, kind, state, finding, size, mtime_ns, inode, ctime_ns, digest, indexed_at_us, \
                            verified_at_us, missing_since_us";

pub(super) fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
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

pub(super) fn digest(row: &Row<'_>, idx: usize) -> rusqlite::Result<Digest32> {
    row.get::<_, [u8; 32]>(idx).map(Digest32)
}

pub(super) fn state(row: &Row<'_>, idx: usize) -> rusqlite::Result<State> {
    // The schema allows no other.
    Ok(State::from_name(row.get_ref(idx)?.as_str()?).unwrap_or(State::Parked))
}

pub(super) fn kind(name: &str) -> Option<Kind> {
    Kind::from_name(name)
}

pub(super) fn file_id(transaction: &Transaction<'_>, path: &str) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT file_id FROM files WHERE path = ?1")?
        .query_row([path], |row| row.get(0))
        .optional()
}

/// A key as its table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RawKey {
    kind: Kind,
    owner_id: i64,
    id: String,
}

pub(super) fn entries_of(transaction: &Transaction<'_>, file_id: i64) -> rusqlite::Result<HashMap<RawKey, Digest32>> {
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
pub(super) struct Owners<'a> {
    transaction: &'a Transaction<'a>,
    by_id: HashMap<i64, Option<Owner>>,
    by_name: HashMap<Owner, Option<i64>>,
}

impl<'a> Owners<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>) -> Self {
        Self { transaction, by_id: HashMap::new(), by_name: HashMap::new() }
    }

    /// Returns an owner's number, if it has one.
    pub(super) fn find(&mut self, owner: &Owner) -> rusqlite::Result<Option<i64>> {
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
    pub(super) fn id(&mut self, owner: &Owner) -> rusqlite::Result<i64> {
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

    pub(super) fn key(&mut self, raw: RawKey) -> rusqlite::Result<Option<MemoryKey>> {
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
pub(super) struct Diff {
    pub(super) changes: Changes,
    gone: Vec<RawKey>,
}

pub(super) fn compare(
    owners: &mut Owners<'_>,
    mut before: HashMap<RawKey, Digest32>,
    record: &FileRecord,
) -> rusqlite::Result<Diff> {
    let mut changes = Changes::default();
    let mut seen = HashSet::with_capacity(record.entries.len());
    for entry in record.entries.iter() {
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
pub(super) fn removed_except(
    owners: &mut Owners<'_>,
    raw: RawKey,
    except: Option<i64>,
) -> rusqlite::Result<Option<Removed>> {
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

pub(super) fn record_one(owners: &mut Owners<'_>, record: &FileRecord, now_us: i64) -> rusqlite::Result<Changes> {
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

pub(super) fn record_messages(
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
