//! Which relative paths name something in a vault. Scanner, watcher, reader and writer all ask here.

use crate::error::{Error, Result};
use crate::layout::SCOPE_DIRS;
use std::ffi::OsStr;

/// The most parts a path may have. EverOS's deepest, a skill's reference, has eight.
pub const PARTS_MAX: usize = 12;

/// The longest name file systems take, in bytes.
const NAME_MAX: usize = 255;

/// Folders that hold no memories: ours, EverOS's, and version control's.
const RESERVED: [&str; 4] = [".evermark", ".git", ".index", ".tmp"];

/// A checked relative path: `<app>/<project>/<scope folder>/…/<name>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    rel: &'a str,
    name: &'a str,
}

impl<'a> Place<'a> {
    pub(crate) fn parse(rel: &'a str) -> Result<Self> {
        let wrong = |reason| Err(Error::Path { rel: rel.to_owned(), reason });
        let mut n_parts = 0;
        let mut name = "";
        for (idx, part) in rel.split('/').enumerate() {
            if !is_name(part) {
                return wrong("one of its parts is no file name");
            }
            if is_reserved(part) {
                return wrong("it leads into a reserved folder");
            }
            if idx == 2 && !SCOPE_DIRS.contains(&part) {
                return wrong("its third part is not agents, inbox, knowledge or users");
            }
            (n_parts, name) = (idx + 1, part);
        }
        match n_parts {
            0..4 => wrong("it is too short"),
            4..=PARTS_MAX => Ok(Self { rel, name }),
            _ => wrong("it is too deep"),
        }
    }

    pub(crate) fn rel(&self) -> &'a str {
        self.rel
    }

    pub(crate) fn name(&self) -> &'a OsStr {
        OsStr::new(self.name)
    }

    /// Returns the folders from the root down.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &'a str> {
        self.rel[..self.rel.len() - self.name.len() - 1].split('/')
    }
}

/// Tells whether a path is that of a Markdown file that may hold memories. Whether it does is for the parser to say.
pub fn is_candidate(rel: &str) -> bool {
    Place::parse(rel).is_ok_and(|place| is_candidate_name(place.name))
}

/// Tells whether a path, taken for a folder, may lie on the way to candidates.
pub fn may_hold_candidates(rel: &str) -> bool {
    let mut n_parts = 0;
    for (idx, part) in rel.split('/').enumerate() {
        if !is_name(part) || is_reserved(part) || (idx == 2 && !SCOPE_DIRS.contains(&part)) {
            return false;
        }
        n_parts = idx + 1;
    }
    n_parts < PARTS_MAX
}

pub(crate) fn is_candidate_name(name: &str) -> bool {
    // `._x.md` is macOS's luggage, `.#x.md` an Emacs lock: neither is anybody's words.
    name.len() > 3 && name.ends_with(".md") && !name.starts_with("._") && !name.starts_with(".#")
}

pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

pub(crate) fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && part.len() <= NAME_MAX
        && !part.contains('/')
        && !part.chars().any(char::is_control)
}

/// Tells whether a name is that of a copy put aside when two edits met: `<name>.md.conflict-<time>`.
pub(crate) fn is_conflict_copy(name: &str) -> bool {
    name.contains(".md.conflict-")
}
