//! Walking the vault: every candidate once, in the byte order of the whole path, which is also the ledger's order.
//!
//! Invariant: what could not be looked at is reported, and never counts as absent.

use super::place::{self, Place};
use super::{Vault, what_is};
use crate::dir::{Dir, Listed};
use crate::durable;
use crate::error::{At, Finding, Result, What};
use crate::layout::{INBOX_DIR, SCOPE_DIRS};
use evermark_core::reconcile::Stamp;
use rustix::fs::FileType;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use unicode_normalization::UnicodeNormalization;

/// Passed before a folder is listed.
pub const LIST_DIR: &str = "vault.list_dir";
/// Passed before a file found by a scan is looked at.
pub const STAT_FILE: &str = "vault.stat_file";

/// How many unknown places, findings and left-overs one scan reports. Beyond it, everything counts as unknown.
const REPORTED_MAX: usize = 10_000;

/// What a scan saw besides the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// The folder that was scanned; empty for the whole vault.
    pub under: String,
    pub n_files: u64,
    pub n_folders: u64,
    /// Folders that could not be listed and files that could not be looked at, with the reason. Empty path: the root.
    pub unknown: Vec<(String, String)>,
    pub findings: Vec<Finding>,
    /// Temporaries of dead processes, for [`Vault::sweep`].
    pub leftovers: Vec<String>,
    blocked: BTreeSet<String>,
    overflow: bool,
}

impl ScanReport {
    /// Tells whether a file that this scan did not visit is really not there: its place was inside the scan, every folder
    /// on the way was listed, and nothing unreadable stands in its stead.
    pub fn proves_absence(&self, rel: &str) -> bool {
        let inside = self.under.is_empty()
            || rel.strip_prefix(&*self.under).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !inside || self.overflow || self.blocked.contains("") || self.blocked.contains(rel) {
            return false;
        }
        !rel.match_indices('/').any(|(end, _)| self.blocked.contains(&rel[..end]))
    }

    /// Tells whether there is anything that the scan could not look at.
    pub fn is_complete(&self) -> bool {
        self.unknown.is_empty() && !self.overflow
    }

    fn block(&mut self, rel: &str) {
        if self.blocked.len() >= REPORTED_MAX {
            self.overflow = true;
        } else {
            self.blocked.insert(rel.to_owned());
        }
    }

    fn unknown(&mut self, rel: &str, error: &io::Error) {
        self.block(rel);
        if self.unknown.len() < REPORTED_MAX {
            self.unknown.push((rel.to_owned(), error.to_string()));
        }
    }

    fn find(&mut self, rel: &str, what: What) {
        if what.hides_content() {
            self.block(rel);
        }
        if self.findings.len() < REPORTED_MAX {
            self.findings.push(Finding { path: rel.to_owned(), what });
        }
    }
}

impl Vault {
    /// Visits every candidate file, in the byte order of their paths.
    pub fn scan(&self, visit: &mut dyn FnMut(&str, Stamp)) -> ScanReport {
        self.scan_under("", visit)
    }

    /// Visits every candidate file in one folder and below; an empty path is the whole vault.
    pub fn scan_under(&self, under: &str, visit: &mut dyn FnMut(&str, Stamp)) -> ScanReport {
        let report = ScanReport { under: under.to_owned(), ..ScanReport::default() };
        let mut walk = Walk { vault: self, visit, scope_dirs: &SCOPE_DIRS, report };
        walk.start(under);
        walk.report
    }

    /// Visits every file in the inboxes of all scopes: a look at few folders, however many memories there are.
    pub fn scan_inboxes(&self, visit: &mut dyn FnMut(&str, Stamp)) -> ScanReport {
        let mut walk = Walk { vault: self, visit, scope_dirs: &[INBOX_DIR], report: ScanReport::default() };
        walk.start("");
        walk.report
    }

    /// Clears away what dead processes left, as reported by a scan. What may be somebody's words is kept as a conflict
    /// copy. Returns how many went, and the copies. Call it under the root's lock.
    pub fn sweep(&self, leftovers: &[String]) -> (usize, Vec<Finding>) {
        let mut n_removed = 0;
        let mut kept = Vec::new();
        for rel in leftovers {
            match self.sweep_one(rel) {
                Ok(None) => n_removed += 1,
                Ok(Some(path)) => kept.push(Finding { path, what: What::ConflictCopy }),
                Err(error) => tracing::warn!(%error, rel, "a left-over file stays"),
            }
        }
        (n_removed, kept)
    }

    fn sweep_one(&self, rel: &str) -> Result<Option<String>> {
        let place = Place::parse(rel)?;
        let dir = self.folder(&place)?;
        let path = dir.path().join(place.name());
        if let Some(swap) = place.name().to_str().and_then(Swap::parse) {
            let (file, _) = self.read_named(&dir, place.name(), rel, self.settings.file_bytes_max)?;
            let digest = file.digest.hex();
            if !digest.starts_with(swap.expected) && !digest.starts_with(swap.new) {
                let copy = self.keep(&dir, place.name(), OsStr::new(swap.name))?;
                let folder = &rel[..rel.len() - place.name().len()];
                return Ok(Some(format!("{folder}{}", copy.to_string_lossy())));
            }
        }
        dir.unlink(place.name()).and_then(|()| dir.sync()).at("remove", &path)?;
        Ok(None)
    }

    fn is_leftover(&self, name: &str) -> bool {
        let suffix = match Swap::parse(name) {
            Some(swap) => swap.random,
            None if durable::is_temp(OsStr::new(name)) => name.rsplit_once(".tmp.").map_or("", |(_, hex)| hex),
            None => return false,
        };
        !suffix.starts_with(&self.tag)
    }
}

/// The parts of `.<name>.swap.<random>-<expected>-<new>`.
struct Swap<'a> {
    name: &'a str,
    random: &'a str,
    expected: &'a str,
    new: &'a str,
}

impl<'a> Swap<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (name, suffix) = name.strip_prefix('.')?.rsplit_once(".swap.")?;
        let mut parts = suffix.split('-');
        let (random, expected, new) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!name.is_empty() && parts.next().is_none() && hex(random) && hex(expected) && hex(new)).then_some(Self {
            name,
            random,
            expected,
            new,
        })
    }
}

struct Walk<'a> {
    vault: &'a Vault,
    visit: &'a mut dyn FnMut(&str, Stamp),
    /// Folders of a scope that are looked into.
    scope_dirs: &'a [&'a str],
    report: ScanReport,
}

impl Walk<'_> {
    fn start(&mut self, under: &str) {
        let mut dir = match Dir::open(&self.vault.root) {
            Ok(dir) => dir,
            Err(error) => return self.report.unknown("", &error),
        };
        let mut rel = String::new();
        if !under.is_empty() {
            if !place::may_hold_candidates(under) {
                return self.report.unknown(under, &io::ErrorKind::InvalidInput.into());
            }
            for part in under.split('/') {
                let child = join(&rel, part);
                dir = match self.enter(&dir, OsStr::new(part), &child) {
                    Some(inner) => inner,
                    None => return,
                };
                rel = child;
            }
        }
        self.folder(&dir, &mut rel);
    }

    /// Opens a folder, or reports why not. One that is not there any more is simply absent.
    fn enter(&mut self, dir: &Dir, name: &OsStr, rel: &str) -> Option<Dir> {
        match dir.enter(name) {
            Ok(inner) => Some(inner),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                match dir.stat(name) {
                    Ok((FileType::Directory, _)) => self.report.unknown(rel, &error),
                    Ok((kind, _)) => self.report.find(rel, what_is(kind)),
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.report.unknown(rel, &error),
                }
                None
            }
        }
    }

    fn folder(&mut self, dir: &Dir, rel: &mut String) {
        let listed = match self.vault.world.reach(LIST_DIR).and_then(|()| dir.list()) {
            Ok(listed) => listed,
            Err(error) => return self.report.unknown(rel, &error),
        };
        self.report.n_folders += 1;
        let depth = if rel.is_empty() { 0 } else { rel.split('/').count() };
        let mut children = self.children(dir, rel, depth, listed);
        // Byte order of the whole paths: a folder sorts as if its name ended in `/`.
        children.sort_unstable_by(|a, b| a.0.bytes().chain(a.1.mark()).cmp(b.0.bytes().chain(b.1.mark())));
        self.same_names(rel, &children);
        let length = rel.len();
        for (name, child) in children {
            if length > 0 {
                rel.push('/');
            }
            rel.push_str(&name);
            match child {
                Child::Folder => {
                    if let Some(inner) = self.enter(dir, OsStr::new(&name), rel) {
                        self.folder(&inner, rel);
                    }
                }
                Child::File => self.file(dir, OsStr::new(&name), rel),
            }
            rel.truncate(length);
        }
    }

    /// Sorts out one folder's names: what to visit, what to report, what to pass over.
    fn children(&mut self, dir: &Dir, rel: &str, depth: usize, listed: Vec<Listed>) -> Vec<(String, Child)> {
        let mut children = Vec::new();
        for Listed { name, kind } in listed {
            let kind = match kind {
                FileType::Unknown => match dir.stat(&name) {
                    Ok((kind, _)) => kind,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        self.report.unknown(&join(rel, &name.to_string_lossy()), &error);
                        continue;
                    }
                },
                kind => kind,
            };
            let Some(text) = name.to_str().filter(|text| place::is_name(text)) else {
                let matters = kind == FileType::Directory || (depth >= 3 && name.as_bytes().ends_with(b".md"));
                if matters && !(depth == 2 || depth < 2 && kind != FileType::Directory) {
                    self.report.find(&join(rel, &shown(&name)), What::BadName);
                }
                continue;
            };
            if place::is_reserved(text) {
                continue;
            }
            let child_rel = || join(rel, text);
            match depth {
                // `<root>/<app>/<project>/<scope folder>`: only folders, and only four of the last.
                0..=2 if depth == 2 && !self.scope_dirs.contains(&text) => {}
                0..=2 => match kind {
                    FileType::Directory => children.push((text.to_owned(), Child::Folder)),
                    FileType::Symlink if leads_to_folder(dir, &name) => {
                        self.report.find(&child_rel(), What::SymbolicLink);
                    }
                    _ => {}
                },
                _ => match kind {
                    FileType::Directory if depth + 1 >= place::PARTS_MAX => {
                        let what = What::TooDeep { limit: place::PARTS_MAX - 1 };
                        self.report.find(&child_rel(), what);
                    }
                    FileType::Directory => {
                        // An owner may be called `x.md`; further down, such a folder stands where a file should.
                        if depth > 3 && place::is_candidate_name(text) {
                            self.report.find(&child_rel(), what_is(kind));
                        }
                        children.push((text.to_owned(), Child::Folder));
                    }
                    FileType::RegularFile if place::is_candidate_name(text) => {
                        children.push((text.to_owned(), Child::File));
                    }
                    FileType::RegularFile if place::is_conflict_copy(text) => {
                        self.report.find(&child_rel(), What::ConflictCopy);
                    }
                    FileType::RegularFile
                        if self.vault.is_leftover(text) && self.report.leftovers.len() < REPORTED_MAX =>
                    {
                        self.report.leftovers.push(child_rel());
                    }
                    FileType::RegularFile => {}
                    FileType::Symlink if text.starts_with(".#") => {}
                    FileType::Symlink if place::is_candidate_name(text) || leads_to_folder(dir, &name) => {
                        self.report.find(&child_rel(), What::SymbolicLink);
                    }
                    FileType::Symlink => {}
                    _ if place::is_candidate_name(text) => self.report.find(&child_rel(), what_is(kind)),
                    _ => {}
                },
            }
        }
        children
    }

    fn same_names(&mut self, rel: &str, children: &[(String, Child)]) {
        let mut seen: HashMap<String, &str> = HashMap::with_capacity(children.len());
        for (name, _) in children {
            match seen.entry(folded(name)) {
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(name);
                }
                std::collections::hash_map::Entry::Occupied(first) => {
                    let other = join(rel, first.get());
                    self.report.find(&join(rel, name), What::SameName { other });
                }
            }
        }
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, rel: &str) {
        match self.vault.world.reach(STAT_FILE).and_then(|()| dir.stat(name)) {
            Ok((FileType::RegularFile, stamp)) => {
                self.report.n_files += 1;
                (self.visit)(rel, stamp);
            }
            Ok((kind, _)) => self.report.find(rel, what_is(kind)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.report.unknown(rel, &error),
        }
    }
}

#[derive(Clone, Copy)]
enum Child {
    File,
    Folder,
}

impl Child {
    fn mark(self) -> Option<u8> {
        match self {
            Self::File => None,
            Self::Folder => Some(b'/'),
        }
    }
}

fn join(rel: &str, name: &str) -> String {
    if rel.is_empty() { name.to_owned() } else { format!("{rel}/{name}") }
}

/// Returns the form in which two names are one on file systems that fold case or normalise.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.nfc().flat_map(char::to_lowercase).nfc().collect()
}

fn leads_to_folder(dir: &Dir, name: &OsStr) -> bool {
    rustix::fs::statat(dir, name, rustix::fs::AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Shows a name whatever its bytes.
fn shown(name: &OsStr) -> String {
    name.as_bytes().utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.extend(chunk.valid().chars().flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            escaped.into_iter().flatten().chain((!c.is_control()).then_some(c))
        }));
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        text
    })
}
