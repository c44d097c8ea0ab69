//! Where everything lies below a root, which root it is, and which generation of the index is live.
//!
//! ```text
//! <root>/<app>/<project>/{users,agents,knowledge,inbox}/   the truth, laid out as EverOS does
//! <root>/.evermark/                                        ours, survives the loss of the index
//!     lock  identity.json  embeddings/
//! <root>/.index/evermark/                                  derived: may be deleted at any time
//!     CURRENT  gen-000001/  ledger.db  ballast
//! ```
//! Nothing of EverOS's own is written: not `.index/sqlite`, `.index/lancedb`, `.lock`, `everos.toml` or `ome.toml`.

use crate::durable::{self, Created};
use crate::error::{At, Error, Result};
use evermark_core::world::World;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The newest format of a root that this program understands, and the one it makes.
pub const FORMAT: u64 = 1;

/// The folders of a project that hold memories.
pub const SCOPE_DIRS: [&str; 4] = ["agents", INBOX_DIR, "knowledge", "users"];
/// The one that holds messages, not memories.
pub const INBOX_DIR: &str = "inbox";

/// Paths below one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// Which root this is. A root that was copied keeps its identity; one that was made anew does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub root_id: String,
    pub created_at_us: i64,
    pub format: u64,
}

#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u64,
    root_id: String,
    created_at: String,
}

/// One generation of the index: a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gen-{:06}", self.0)
    }
}

impl Generation {
    /// Returns the generation whose folder has this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("gen-")?;
        let generation = Self(digits.parse().ok()?);
        (generation.to_string() == name).then_some(generation)
    }
}

impl Layout {
    /// Opens a root that exists. Links in its path are resolved once, here.
    pub fn open(root: &Path) -> Result<Self> {
        let root = root.canonicalize().at("open", root)?;
        if !std::fs::metadata(&root).at("open", &root)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory)).at("open", &root);
        }
        Ok(Self { root })
    }

    /// Opens a root, making its folder where there is none.
    pub fn create(root: &Path) -> Result<Self> {
        durable::create_dirs(root)?;
        Self::open(root)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns `.evermark`, which is ours and not derived.
    pub fn own_dir(&self) -> PathBuf {
        self.root.join(".evermark")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.own_dir().join("lock")
    }

    pub fn identity_file(&self) -> PathBuf {
        self.own_dir().join("identity.json")
    }

    /// Returns where embeddings are cached; `evermark-models` writes there.
    pub fn embeddings_dir(&self) -> PathBuf {
        self.own_dir().join("embeddings")
    }

    /// Returns `.index/evermark`, all of which is derived.
    pub fn index_dir(&self) -> PathBuf {
        self.root.join(".index").join("evermark")
    }

    pub fn ledger_file(&self) -> PathBuf {
        self.index_dir().join("ledger.db")
    }

    /// Returns the file that is kept in reserve, to be given up when the disk is full.
    pub fn ballast_file(&self) -> PathBuf {
        self.index_dir().join("ballast")
    }

    pub fn current_file(&self) -> PathBuf {
        self.index_dir().join("CURRENT")
    }

    pub fn generation_dir(&self, generation: Generation) -> PathBuf {
        self.index_dir().join(generation.to_string())
    }

    /// Returns the file that a running EverOS server keeps locked.
    pub fn everos_lock_file(&self) -> PathBuf {
        self.root.join(".index").join("sqlite").join("ome.db.lock")
    }

    /// Makes our two folders and clears away what a dead process left in them. Call it under the lock.
    pub fn prepare(&self) -> Result<()> {
        for dir in [self.own_dir(), self.index_dir()] {
            durable::create_dirs(&dir)?;
            durable::sweep(&dir)?;
        }
        Ok(())
    }

    /// Returns which root this is, or `None` where nothing says so.
    ///
    /// Errors: [`Error::NewerFormat`] when a newer program made it; [`Error::Unreadable`] when the file makes no sense.
    /// Neither changes anything.
    pub fn identity(&self) -> Result<Option<Identity>> {
        let path = self.identity_file();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.at("read", &path)?,
        };
        let unreadable = |reason: String| Error::Unreadable { path: path.clone(), reason };
        // The format comes first: the rest may mean something else in a newer one.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            None => return Err(unreadable("it names no format".to_owned())),
            Some(found) if found > FORMAT => return Err(Error::NewerFormat { path, found, known: FORMAT }),
            Some(_) => {}
        }
        let file: IdentityFile = serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))?;
        let created: jiff::Timestamp = file.created_at.parse().map_err(|error| unreadable(format!("{error}")))?;
        Ok(Some(Identity { root_id: file.root_id, created_at_us: created.as_microsecond(), format: file.format }))
    }

    /// Returns which root this is, deciding it now where nothing says so.
    pub fn ensure_identity(&self, world: &dyn World) -> Result<(Identity, Created)> {
        if let Some(identity) = self.identity()? {
            return Ok((identity, Created::Existed));
        }
        let created = jiff::Timestamp::from_microsecond(world.now_us()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let file =
            IdentityFile { format: FORMAT, root_id: durable::random_hex(world, 16), created_at: created.to_string() };
        let mut text = serde_json::to_string_pretty(&file).expect("three plain fields always serialise");
        text.push('\n');
        durable::create_dirs(&self.own_dir())?;
        let made = durable::create_new(world, &self.identity_file(), text.as_bytes())?;
        match self.identity()? {
            Some(identity) => Ok((identity, made)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)).at("read", &self.identity_file()),
        }
    }

    /// Returns the live generation, or `None` when there is none to use: no `CURRENT`, one that makes no sense, or one that
    /// names a folder that is gone. All of these mean: build one.
    pub fn current(&self) -> Result<Option<Generation>> {
        let path = self.current_file();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.at("read", &path)?,
        };
        let named = std::str::from_utf8(&bytes).ok().and_then(|text| Generation::from_name(text.trim_end()));
        let Some(generation) = named else {
            tracing::warn!(path = %path.display(), "CURRENT names no generation: the index will be rebuilt");
            return Ok(None);
        };
        if !self.generation_dir(generation).is_dir() {
            tracing::warn!(%generation, "CURRENT names a generation that is gone: the index will be rebuilt");
            return Ok(None);
        }
        Ok(Some(generation))
    }

    /// Makes a generation the live one. Where this fails, the one before still is.
    pub fn swing(&self, world: &dyn World, generation: Generation) -> Result<()> {
        let dir = self.generation_dir(generation);
        if !dir.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotFound)).at("make current", &dir);
        }
        match durable::write(world, &self.current_file(), format!("{generation}\n").as_bytes()) {
            // The name is out, only the folder could not be synced: whoever opens the root now opens this generation. After a loss
            // of power it may be the one before, which is gone by then or no longer the ledger's: both are made good.
            Err(error) if self.current().is_ok_and(|current| current == Some(generation)) => {
                tracing::warn!(%generation, %error, "a loss of power now may cost the index, which would be rebuilt");
                Ok(())
            }
            done => done,
        }
    }

    /// Returns all generations on disk, oldest first.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let dir = self.index_dir();
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.at("list", &dir)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &dir)?;
            all.extend(entry.file_name().to_str().and_then(Generation::from_name));
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Makes the folder of a new generation, numbered after every other.
    pub fn new_generation(&self) -> Result<Generation> {
        let newest = self.generations()?.last().map_or(0, |generation| generation.0);
        let generation = Generation(newest.saturating_add(1));
        durable::create_dirs(&self.generation_dir(generation))?;
        Ok(generation)
    }

    /// Removes a generation that is not the live one. Needs no free space; a removal that was cut short can be repeated.
    pub fn remove_generation(&self, generation: Generation) -> Result<()> {
        let dir = self.generation_dir(generation);
        if self.current()? == Some(generation) {
            return Err(io::Error::from(io::ErrorKind::ResourceBusy)).at("remove the live generation", &dir);
        }
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.at("remove", &dir),
        }
    }
}
