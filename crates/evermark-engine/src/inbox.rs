//! The inbox: messages that are accepted and durable, but not yet extracted. One folder a session, one immutable file a
//! batch; nothing about it lives anywhere else.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::search::Unprocessed;
use crate::status::FileProblem;
use evermark_core::error::ErrorKind;
use evermark_core::id::Scope;
use evermark_core::markdown::inbox::{self, Batch, Mode};
use evermark_core::markdown::segment::{self, SegmentPlan};
use evermark_core::markdown::{FileKind, inbox_sequence, place, session_dir};
use evermark_core::memory::{Digest32, Message};
use evermark_core::reconcile::Stamp;
use evermark_store::vault::FileBytes;
use evermark_store::vault::write::Expected;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// A session within its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Session {
    pub(crate) scope: Scope,
    pub(crate) id: String,
}

impl Session {
    pub(crate) fn dir(&self) -> Result<String, Error> {
        Ok(session_dir(&self.scope, &self.id)?)
    }
}

/// What a session's folder holds.
#[derive(Default)]
pub(crate) struct Folder {
    /// Batches by path, oldest first.
    pub(crate) batches: Vec<(String, Batch)>,
    /// Segments whose extraction has begun but whose messages are still here.
    pub(crate) plans: Vec<(String, SegmentPlan)>,
    /// Highest sequence number of a batch.
    pub(crate) sequence: u64,
}

impl Folder {
    /// Returns every open message once, by time; those of a begun segment are not open any more.
    pub(crate) fn open_messages(&self) -> Vec<Message> {
        let taken: HashSet<&str> =
            self.plans.iter().flat_map(|(_, plan)| plan.message_ids.iter().map(String::as_str)).collect();
        let mut seen = HashSet::new();
        let mut messages: Vec<Message> = self
            .batches
            .iter()
            .flat_map(|(_, batch)| &batch.messages)
            .filter(|message| !taken.contains(message.id.as_str()) && seen.insert(message.id.clone()))
            .cloned()
            .collect();
        // Stable: messages of one instant keep the order in which they were accepted.
        messages.sort_by_key(|message| message.timestamp_ms);
        messages
    }

    /// Tells whether a queued request still waits for its extraction, and whether one of them is a flush.
    pub(crate) fn queued(&self) -> (bool, bool) {
        let queued = self.batches.iter().any(|(_, batch)| batch.mode == Mode::Queued);
        let last = self.batches.iter().any(|(_, batch)| batch.mode == Mode::Queued && batch.is_final);
        (queued, last)
    }
}

/// Locks and counts of the sessions in the inbox. The truth is in the files.
#[derive(Default)]
pub(crate) struct Inbox {
    locks: Mutex<HashMap<Session, Arc<Mutex<()>>>>,
    /// Open messages by session.
    counts: Mutex<HashMap<Session, usize>>,
    /// Sessions to be extracted in the background.
    due: Mutex<BTreeSet<Session>>,
    /// Files that could not be read when their session was last looked at.
    broken: Mutex<BTreeMap<Session, Vec<FileProblem>>>,
}

impl Inbox {
    /// Returns the lock of one session. Held while its folder is read and changed.
    pub(crate) fn lock(&self, session: &Session) -> Arc<Mutex<()>> {
        let mut locks = self.locks.lock().expect(POISON);
        // Nobody holds an entry that only the map refers to.
        if locks.len() > 4096 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(session.clone()).or_default())
    }

    pub(crate) fn set_count(&self, session: &Session, open: usize) {
        let mut counts = self.counts.lock().expect(POISON);
        if open == 0 {
            counts.remove(session);
        } else {
            counts.insert(session.clone(), open);
        }
    }

    /// Returns how many messages are open, and in how many sessions.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let counts = self.counts.lock().expect(POISON);
        (counts.values().sum(), counts.len())
    }

    fn set_broken(&self, session: &Session, problems: Vec<FileProblem>) {
        let mut broken = self.broken.lock().expect(POISON);
        if problems.is_empty() {
            broken.remove(session);
        } else {
            broken.insert(session.clone(), problems);
        }
    }

    /// Returns what is wrong with files in the inbox; their messages wait until somebody mends them.
    pub(crate) fn problems(&self) -> Vec<FileProblem> {
        self.broken.lock().expect(POISON).values().flatten().cloned().collect()
    }

    pub(crate) fn make_due(&self, session: Session) {
        self.due.lock().expect(POISON).insert(session);
    }

    pub(crate) fn take_due(&self) -> Option<Session> {
        self.due.lock().expect(POISON).pop_first()
    }
}

impl Inner {
    /// Reads a session's folder. A file that makes no sense is reported and left alone.
    pub(crate) fn read_folder(&self, session: &Session) -> Result<Folder, Error> {
        let dir = session.dir()?;
        let mut folder = Folder::default();
        let mut broken = Vec::new();
        for path in self.files_in(&dir)? {
            let name = name_of(&path);
            if let Some(sequence) = inbox_sequence(name) {
                folder.sequence = folder.sequence.max(sequence);
                let Some(FileBytes { bytes, .. }) = self.read_if_there(&path)? else {
                    continue;
                };
                match inbox::parse(&path, &bytes) {
                    // Two session ids may share a folder's name only by a collision of its digest; keep them apart.
                    Ok(batch) if batch.session_id == session.id => folder.batches.push((path, batch)),
                    Ok(_) => {}
                    Err(finding) => broken.push(FileProblem::of(&finding)),
                }
            } else if is_segment(name) {
                let Some(FileBytes { bytes, .. }) = self.read_if_there(&path)? else {
                    continue;
                };
                match segment::parse(&path, &bytes) {
                    Ok(plan) => folder.plans.push((path, plan)),
                    Err(finding) => broken.push(FileProblem::of(&finding)),
                }
            }
        }
        self.inbox.set_broken(session, broken);
        folder.batches.sort_by(|a, b| a.0.cmp(&b.0));
        folder.plans.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(folder)
    }

    /// Returns a session's open messages, oldest first.
    pub(crate) fn unprocessed(&self, scope: &Scope, session_id: &str) -> Result<Vec<Unprocessed>, Error> {
        let session = Session { scope: scope.clone(), id: session_id.to_owned() };
        let lock = self.inbox.lock(&session);
        let _held = lock.lock().expect(POISON);
        let messages = self.read_folder(&session)?.open_messages();
        Ok(messages
            .into_iter()
            .map(|message| Unprocessed { scope: scope.clone(), session_id: session_id.to_owned(), message })
            .collect())
    }

    /// Counts what the inbox holds and marks what a dead process left half done, from the paths a scan has found.
    pub(crate) fn load_inbox(&self, paths: &[String]) -> Result<(), Error> {
        let mut dirs: BTreeSet<&str> = BTreeSet::new();
        for path in paths {
            if let Some((dir, _)) = path.rsplit_once('/') {
                dirs.insert(dir);
            }
        }
        for dir in dirs {
            let session = match self.session_of(dir) {
                Ok(Some(session)) => session,
                Ok(None) => continue,
                Err(error) => {
                    // Its messages are safe, and are met again when somebody adds to the session. The others must not wait.
                    tracing::warn!(dir, %error, "a session's folder cannot be looked at now");
                    continue;
                }
            };
            let folder = self.read_folder(&session)?;
            self.inbox.set_count(&session, folder.open_messages().len());
            if !folder.plans.is_empty() || folder.queued().0 {
                self.inbox.make_due(session);
            }
        }
        Ok(())
    }

    /// Returns whose folder this is, from the first file in it that can be read.
    fn session_of(&self, dir: &str) -> Result<Option<Session>, Error> {
        for path in self.files_in(dir)? {
            let name = name_of(&path);
            let Some(FileBytes { bytes, .. }) = self.read_if_there(&path)? else {
                continue;
            };
            if inbox_sequence(name).is_some()
                && let Ok(batch) = inbox::parse(&path, &bytes)
            {
                return Ok(Some(Session { scope: batch.scope, id: batch.session_id }));
            }
            if is_segment(name)
                && let Ok(plan) = segment::parse(&path, &bytes)
            {
                return Ok(Some(Session { scope: plan.scope, id: plan.session_id }));
            }
        }
        Ok(None)
    }
}

impl Inner {
    /// Returns the paths of the files in a folder, in order. A folder that cannot be listed is not an empty one.
    fn files_in(&self, dir: &str) -> Result<Vec<String>, Error> {
        Ok(self.stamps_in(dir)?.into_iter().map(|(path, _)| path).collect())
    }

    /// As [`Self::files_in`], with what a cheap look at each file tells.
    pub(crate) fn stamps_in(&self, dir: &str) -> Result<Vec<(String, Stamp)>, Error> {
        let mut files = Vec::new();
        let report = self.vault.scan_under(dir, &mut |path, stamp| files.push((path.to_owned(), stamp)));
        if let Some((rel, reason)) = report.unknown.into_iter().next() {
            return Err(evermark_store::error::Error::Unknown { rel, reason }.into());
        }
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    /// Reads a file; `None` when it is not there.
    pub(crate) fn read_if_there(&self, path: &str) -> Result<Option<FileBytes>, Error> {
        match self.vault.read(path, self.settings.file_bytes_max) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a file of ours that must not be there yet. Finding the very same content is as good.
    pub(crate) fn create_file(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        match self.vault.write(path, Expected::Absent, bytes) {
            Ok(_) => Ok(()),
            Err(evermark_store::error::Error::Conflict { found: Some(found), .. }) if found == Digest32::of(bytes) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file of ours; one that is gone already is as good.
    pub(crate) fn remove_file(&self, path: &str) -> Result<(), Error> {
        let Some(file) = self.read_if_there(path)? else { return Ok(()) };
        match self.vault.remove(path, file.digest) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Tells whether a path is in some session's inbox folder.
pub(crate) fn is_inbox_path(path: &str) -> bool {
    place(path).is_some_and(|place| matches!(place.kind, FileKind::Inbox | FileKind::Segment))
}

fn is_segment(name: &str) -> bool {
    name.starts_with("segment-")
}
