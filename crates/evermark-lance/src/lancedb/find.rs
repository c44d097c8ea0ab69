//! From a path that somebody typed to the tables it holds.

use super::alive::Guard;
use super::{io_failed, refused};
use evermark_core::error::ErrorKind;
use evermark_core::index::IndexError;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Whether EverOS's own lock is to be taken, or is held by the caller already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EverosLock {
    Take,
    Held,
}

/// One table.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The directory's name without `.lance`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Where what is set aside of this table goes.
    pub(super) quarantine: PathBuf,
}

impl Place {
    pub(super) fn uri(&self) -> Result<&str, IndexError> {
        self.path.to_str().ok_or_else(|| refused(format!("the path `{}` is not Unicode", self.path.display())))
    }
}

/// The tables at a path.
#[derive(Debug)]
pub(super) struct Places {
    /// The directory that holds the tables.
    pub(super) dir: PathBuf,
    pub(super) tables: Vec<Place>,
    /// The file that a running EverOS holds, where this is the index of one.
    pub(super) everos_lock: Option<PathBuf>,
    /// A single table was named by its own path.
    single: bool,
    /// The table is Evermark's own.
    pub(super) is_ours: bool,
}

impl Places {
    pub(super) fn find(path: &Path, only: Option<&str>) -> Result<Self, IndexError> {
        if let Some((scheme, _)) = path.to_str().and_then(|text| text.split_once("://")) {
            return Err(refused(format!(
                "`{scheme}://` is no directory: only tables on this machine are looked after"
            )));
        }
        let path = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                IndexError::new(ErrorKind::NotFound, format!("there is nothing at {}", path.display()))
            }
            _ => io_failed("look at", path, error),
        })?;
        if is_our_own(&path) {
            return Err(refused(format!(
                "{} belongs to Evermark's own index: leave out --lancedb and give the root",
                path.display()
            )));
        }
        let everos = path.join(".index/lancedb");
        let is_named = path.extension().is_some_and(|extension| extension == "lance") && path.is_dir();
        let (dir, found, single) = if is_table(&path) || (is_named && tables(&path)?.is_empty()) {
            let dir = path.parent().unwrap_or(&path).to_owned();
            (dir, vec![path], true)
        } else if everos.is_dir() {
            let found = tables(&everos)?;
            (everos, found, false)
        } else {
            let found = tables(&path)?;
            (path, found, false)
        };
        let mut places = Self { everos_lock: everos_lock(&dir), dir, tables: Vec::new(), single, is_ours: false };
        let quarantine = places.quarantine();
        places.tables = found
            .into_iter()
            .map(|path| {
                let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let name = file_name.strip_suffix(".lance").unwrap_or(&file_name).to_owned();
                Place { name, quarantine: quarantine.join(file_name), path }
            })
            .collect();
        if let Some(only) = only {
            let only = only.strip_suffix(".lance").unwrap_or(only);
            places.tables.retain(|place| place.name == only);
        }
        if places.tables.is_empty() {
            let which = only.map(|name| format!(" called `{name}`")).unwrap_or_default();
            return Err(IndexError::new(
                ErrorKind::NotFound,
                format!("{} holds no Lance table{which} (a directory that ends in .lance)", places.dir.display()),
            ));
        }
        Ok(places)
    }

    pub(super) fn of_one(place: Place) -> Self {
        Self { dir: place.path.clone(), tables: vec![place], everos_lock: None, single: true, is_ours: true }
    }

    /// What a measurement of the whole is about.
    pub(super) fn measured(&self) -> &Path {
        match self.tables.first() {
            Some(place) if self.single => &place.path,
            _ => &self.dir,
        }
    }

    /// Where an open file means that somebody uses what we are about to change.
    pub(super) fn guarded(&self) -> Vec<PathBuf> {
        if self.single {
            return self.tables.iter().map(|place| place.path.clone()).collect();
        }
        vec![self.dir.clone()]
    }

    /// The sibling of the tables' directory that damaged files are moved to: what is measured shrinks.
    pub(super) fn quarantine(&self) -> PathBuf {
        let mut name = self.dir.file_name().unwrap_or_default().to_owned();
        name.push(".quarantine");
        self.dir.with_file_name(name)
    }

    /// Makes sure, as far as can be seen, that nobody else has the tables open, and keeps EverOS away until dropped.
    pub(super) fn guard(&self, lock: EverosLock) -> Result<Guard, IndexError> {
        let lock = match (lock, &self.everos_lock) {
            (EverosLock::Take, Some(path)) => Some(path.as_path()),
            _ => None,
        };
        Guard::take(self.guarded(), lock)
    }
}

fn is_table(path: &Path) -> bool {
    path.join("_versions").is_dir()
}

/// Returns the tables directly below `dir`, by name.
fn tables(dir: &Path) -> Result<Vec<PathBuf>, IndexError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(refused(format!("{} is no directory", dir.display())));
        }
        other => other.map_err(|error| io_failed("list", dir, error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_failed("list", dir, error))?;
        let path = entry.path();
        let is_named = path.extension().is_some_and(|extension| extension == "lance");
        // A link may lead anywhere, and what it leads to may be reached by another name too.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && (is_named || is_table(&path)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_our_own(path: &Path) -> bool {
    let names: Vec<_> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    names.windows(2).any(|pair| pair[0] == ".index" && pair[1] == "evermark")
}

fn everos_lock(dir: &Path) -> Option<PathBuf> {
    let lock = dir.parent()?.join("sqlite/ome.db.lock");
    let inside_index = dir.parent()?.file_name()? == ".index";
    (inside_index && lock.is_file()).then_some(lock)
}
