//! The ledger: what was made of which file. SQLite, derived, one connection.
//!
//! Invariant: the ledger never knows more than the files do. It may be missing, damaged, old, or another root's: each is
//! noticed on opening and costs one pass over the vault. The catalogue is in [`catalog`], the queue in [`jobs`](crate::jobs).

use crate::durable;
use crate::error::{At, Error, Result};
use evermark_core::world::World;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub mod catalog;
mod rows;
pub mod size;

/// Passed before the ledger is opened.
pub const OPEN: &str = "ledger.open";

const SCHEMA: &str = include_str!("schema/0001.sql");
const SCHEMA_VERSION: i64 = 1;

/// A ledger up to this size is checked page by page on opening; a larger one by [`Ledger::check`], which the engine calls
/// in the background. Source: measured, 19 MB (100k entries with messages) take 0.1 s of a start that may take 0.3 s.
const CHECKED_BYTES_MAX: u64 = 8 << 20;

/// An open ledger.
pub struct Ledger {
    path: PathBuf,
    world: Arc<dyn World>,
    connection: Mutex<Connection>,
    /// Device and inode of the file that is open.
    identity: (u64, u64),
    /// The latest that the clock has said at work on jobs since they were last claimed.
    pub(crate) seen_at_us: AtomicI64,
    died_working: bool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

/// How a ledger came to be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Existing,
    /// There was none, or an empty one.
    New,
    /// There was a damaged one. It was moved aside, where that was possible.
    Recreated {
        why: String,
        aside: Option<PathBuf>,
    },
}

/// Which root and which generation of the index a ledger speaks of. When either differs from what is found, nothing in the
/// ledger can be trusted: [`Ledger::clear`] it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub root_id: String,
    pub generation: String,
}

impl Ledger {
    /// Opens a ledger, or makes one. Leases of the process before are ended: call it under the root's lock.
    ///
    /// Errors: [`ErrorKind::Corrupt`](evermark_core::error::ErrorKind::Corrupt) when it is damaged, or was made by a newer
    /// program; see [`Self::open_or_recreate`].
    pub fn open(path: &Path, world: Arc<dyn World>) -> Result<(Self, Opened)> {
        world.reach(OPEN).at("open", path)?;
        if let Some(parent) = path.parent() {
            durable::create_dirs(parent)?;
        }
        let on = |doing| move |source| Error::Ledger { doing, path: path.to_owned(), source };
        // No shared cache and our own mutex; links are followed, as the index may be kept on another disk.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(on("open"))?;
        configure(&connection).map_err(on("open"))?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(on("read the version"))?;
        let opened = match version {
            0 => {
                create(&mut connection).map_err(on("create tables"))?;
                Opened::New
            }
            SCHEMA_VERSION => {
                let metadata = std::fs::metadata(path).at("look at", path)?;
                if metadata.len() <= CHECKED_BYTES_MAX {
                    check(&connection, path)?;
                }
                Opened::Existing
            }
            newer => {
                let detail = format!("its schema is {newer}; this program knows {SCHEMA_VERSION}");
                return Err(Error::LedgerDamaged { path: path.to_owned(), detail });
            }
        };
        let died_working = match connection.execute(crate::jobs::END_ALL_LEASES, []).map_err(on("end old leases")) {
            Ok(ended) => ended > 0,
            // A full or read-only disk must not keep anybody from searching, and pruning: leases end by themselves.
            Err(error) if error.kind().is_transient() => {
                tracing::warn!(%error, "leases of the process before stay until they end");
                true
            }
            Err(error) => return Err(error),
        };
        connection.set_prepared_statement_cache_capacity(64);
        let metadata = std::fs::metadata(path).at("look at", path)?;
        let ledger = Self {
            path: path.to_owned(),
            world,
            connection: Mutex::new(connection),
            identity: identity(&metadata),
            seen_at_us: AtomicI64::new(i64::MAX),
            died_working,
        };
        Ok((ledger, opened))
    }

    /// Opens a ledger; a damaged one is moved aside first and made anew.
    pub fn open_or_recreate(path: &Path, world: Arc<dyn World>) -> Result<(Self, Opened)> {
        match Self::open(path, Arc::clone(&world)) {
            Err(error) if error.kind() == evermark_core::error::ErrorKind::Corrupt => {
                tracing::warn!(%error, "the ledger is made anew from the files");
                let aside = set_aside(path, &*world)?;
                let (ledger, _) = Self::open(path, world)?;
                Ok((ledger, Opened::Recreated { why: error.to_string(), aside }))
            }
            opened => opened,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the process before died while it worked on jobs: the index may have got rows that the ledger was not told
    /// of.
    pub fn died_working(&self) -> bool {
        self.died_working
    }

    /// Tells whether the file that is open is still the one in its place. Once it is not, nothing written here will be found
    /// again: open anew.
    pub fn still_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.identity)
    }

    /// Checks every page and index.
    pub fn check(&self) -> Result<()> {
        check(&self.lock(), &self.path)
    }

    /// Returns what this ledger speaks of, or `None` in a new one.
    pub fn binding(&self) -> Result<Option<Binding>> {
        let connection = self.lock();
        let get = |key: &str| {
            connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, String>(0))
                .optional()
                .map_err(self.on("read what it belongs to"))
        };
        Ok(match (get("root_id")?, get("generation")?) {
            (Some(root_id), Some(generation)) => Some(Binding { root_id, generation }),
            _ => None,
        })
    }

    /// Says what this ledger speaks of from now on.
    pub fn bind(&self, binding: &Binding) -> Result<()> {
        self.transaction("note what it belongs to", |transaction| {
            for (key, value) in [("root_id", &binding.root_id), ("generation", &binding.generation)] {
                transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![key, value])?;
            }
            Ok(())
        })
    }

    /// Returns a note that was left here, if there is one.
    pub fn note(&self, key: &str) -> Result<Option<String>> {
        self.lock()
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(self.on("read a note"))
    }

    /// Leaves a note, or takes it away. It goes with everything else in [`Self::clear`].
    pub fn set_note(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.transaction("leave a note", |transaction| {
            match value {
                Some(value) => transaction
                    .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![key, value])?,
                None => transaction.execute("DELETE FROM meta WHERE key = ?1", [key])?,
            };
            Ok(())
        })
    }

    /// Forgets everything: files, entries, messages, jobs and binding.
    pub fn clear(&self) -> Result<()> {
        self.transaction("clear", |transaction| {
            for table in ["meta", "jobs", "messages", "entries", "files", "sessions", "owners"] {
                transaction.execute(&format!("DELETE FROM {table}"), [])?;
            }
            Ok(())
        })
    }

    pub(crate) fn world(&self) -> &dyn World {
        &*self.world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        // SQLite's own transactions keep the content whole when a thread panics.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn on(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
        move |source| Error::Ledger { doing, path: self.path.clone(), source }
    }

    pub(crate) fn reach(&self, point: &'static str, doing: &'static str) -> Result<()> {
        self.world.reach(point).at(doing, &self.path)
    }

    /// Runs statements that happen together or not at all.
    pub(crate) fn transaction<T>(
        &self,
        doing: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.run(doing, TransactionBehavior::Immediate, run)
    }

    /// Runs statements that see one state, and change nothing: works on a disk that is full or read-only.
    pub(crate) fn snapshot<T>(
        &self,
        doing: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.run(doing, TransactionBehavior::Deferred, run)
    }

    fn run<T>(
        &self,
        doing: &'static str,
        behavior: TransactionBehavior,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let all = || {
            let transaction = connection.transaction_with_behavior(behavior)?;
            let done = run(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        all().map_err(self.on(doing))
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // People may look with the sqlite3 command: wait for them a moment.
    connection.busy_timeout(Duration::from_secs(2))?;
    // Must come before the first table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Losing the last transactions with the power is fine: the files know better. WAL keeps the rest whole.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -8_000)?;
    connection.pragma_update_and_check(None, "journal_size_limit", 8 << 20, |_| Ok(()))?;
    Ok(())
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn check(connection: &Connection, path: &Path) -> Result<()> {
    let said: rusqlite::Result<String> = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match said {
        Ok(said) if said == "ok" => Ok(()),
        Ok(detail) => Err(Error::LedgerDamaged { path: path.to_owned(), detail }),
        Err(source) => Err(Error::Ledger { doing: "check", path: path.to_owned(), source }),
    }
}

/// Moves a damaged ledger aside as `<name>.corrupt-<time>`, keeping one such file at most. Needs no space.
fn set_aside(path: &Path, world: &dyn World) -> Result<Option<PathBuf>> {
    for suffix in ["-wal", "-shm"] {
        durable::remove(&beside(path, suffix))?;
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let prefix = format!("{name}.corrupt-");
    for entry in std::fs::read_dir(parent).at("list", parent)? {
        let entry = entry.at("list", parent)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            durable::remove(&entry.path())?;
        }
    }
    let aside = parent.join(format!("{prefix}{}", world.now_us() / 1_000_000));
    match std::fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("move aside", path),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
