//! What the ledger takes, and keeping that small.

use super::{Ledger, beside};
use crate::error::Result;
use crate::space::file_bytes;

/// Pages given back at a time, so that the log holds few of them at once.
const PAGES_AT_ONCE: u32 = 1024;
/// Times that pages are given back in one call. 256 MiB of the usual pages: the next call goes on.
const TIMES_MAX: usize = 64;

/// What the ledger takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of disk, with the log and its index.
    pub allocated_bytes: u64,
    /// Pages that hold something, and pages that hold nothing any more.
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub wal_bytes: u64,
}

impl Ledger {
    /// Returns what the ledger takes.
    pub fn size(&self) -> Result<Size> {
        let connection = self.lock();
        let pragma = |name: &str| {
            connection
                .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
                .map_err(self.on("measure"))
        };
        let (page, pages, free) = (pragma("page_size")?, pragma("page_count")?, pragma("freelist_count")?);
        drop(connection);
        Ok(Size {
            allocated_bytes: self.size_bytes(),
            used_bytes: pages.saturating_sub(free).saturating_mul(page),
            free_bytes: free.saturating_mul(page),
            wal_bytes: self.log_bytes(),
        })
    }

    /// Returns the bytes on disk, with the write-ahead log. Asks only the file system.
    pub fn size_bytes(&self) -> u64 {
        let files = [self.path.clone(), beside(&self.path, "-wal"), beside(&self.path, "-shm")];
        files.iter().map(|path| file_bytes(path)).sum()
    }

    /// Returns the bytes of the write-ahead log. Asks only the file system.
    pub fn log_bytes(&self) -> u64 {
        file_bytes(&beside(&self.path, "-wal"))
    }

    /// Forgets owners and sessions that nothing names any more, gives free pages back, and empties the write-ahead log, in
    /// bounded portions.
    pub fn tidy(&self) -> Result<()> {
        self.transaction("forget who is named no more", |transaction| {
            transaction.execute("DELETE FROM owners WHERE owner_id NOT IN (SELECT owner_id FROM entries)", [])?;
            transaction.execute(
                "DELETE FROM sessions WHERE NOT EXISTS
                     (SELECT 1 FROM messages WHERE messages.session_id = sessions.session_id)",
                [],
            )
        })?;
        self.pragma("wal_checkpoint(TRUNCATE)")?;
        for _ in 0..TIMES_MAX {
            if self.size()?.free_bytes == 0 {
                break;
            }
            self.pragma(&format!("incremental_vacuum({PAGES_AT_ONCE})"))?;
            self.pragma("wal_checkpoint(TRUNCATE)")?;
        }
        self.pragma("optimize")
    }

    fn pragma(&self, text: &str) -> Result<()> {
        let connection = self.lock();
        let run = || -> rusqlite::Result<()> {
            let mut statement = connection.prepare(&format!("PRAGMA {text}"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        };
        run().map_err(self.on("tidy up"))
    }
}
