//! From files to rows: claim a file, read it, cut it into memories, embed what is new, write the rows.
//!
//! Walk and crash points: a job is claimed (`index.claimed`) → texts are embedded, each paid vector cached at once
//! (`index.embedded`) → rows are upserted and visible (`index.upserted`) → the index is flushed (`index.flushed`) → the
//! ledger records what the file now holds and the job is done (`index.recorded`). A crash anywhere leaves a job that is
//! due again; doing it twice changes nothing, and asks the provider for nothing.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::live::Live;
use crate::tasks::Tick;
use evermark_core::embed::Purpose;
use evermark_core::error::ErrorKind;
use evermark_core::id::MemoryKey;
use evermark_core::index::Indexable;
use evermark_core::markdown::{self, FileReading, Finding};
use evermark_core::memory::{Digest32, Memory};
use evermark_core::text;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a claimed job is ours before others may take it.
const LEASE: Duration = Duration::from_secs(120);
/// Texts per call of the embedder; the provider batches further.
const EMBED_TEXTS: usize = 2048;
/// How long one such call may take, retries included.
const EMBED_TIMEOUT: Duration = Duration::from_secs(60);

/// Rows that are visible but not yet durable, and the jobs they belong to.
#[derive(Default)]
pub(crate) struct Unflushed {
    done: Vec<Applied>,
    rows: usize,
    since: Option<Duration>,
    /// When the index was last flushed, on the monotonic clock.
    flushed_at: Duration,
    pub(crate) flushes: u64,
    pub(crate) rows_upserted: u64,
    pub(crate) rows_removed: u64,
    pub(crate) files_indexed: u64,
    pub(crate) files_removed: u64,
}

/// A file whose rows are in the index.
struct Applied {
    claim: Claim,
    result: Outcome,
}

enum Outcome {
    /// The file's rows are upserted; this is what it holds.
    Recorded { record: FileRecord, retry: Option<Retry> },
    /// The file is gone and its rows with it.
    Forgotten,
}

/// Work on a file that has to be repeated although its rows are in.
struct Retry {
    class: &'static str,
    message: String,
    after: Option<Duration>,
}

/// A file read for indexing.
struct Read {
    claim: Claim,
    ticket: Option<u64>,
    stamp: Stamp,
    digest: Digest32,
    reading: FileReading,
    /// What the ledger says the file held, by key.
    before: HashMap<MemoryKey, Digest32>,
}

impl Inner {
    /// Indexes files that wait. Flushes when enough has gathered, when it has waited long enough, or when nothing is left.
    pub(crate) fn indexer_tick(&self) -> Result<Tick, Error> {
        self.heal()?;
        let mut unflushed = self.indexing.lock().expect(POISON);
        let claims = self.ledger().claim(self.settings.files_per_tick, LEASE)?;
        if claims.is_empty() {
            return self.rest(&mut unflushed);
        }
        self.reach("index.claimed")?;
        self.apply(claims, &mut unflushed)?;
        if unflushed.rows >= self.settings.flush_rows_max {
            self.flush_held(&mut unflushed)?;
        }
        Ok(Tick::Worked)
    }

    /// What to do when no job is due: flush what is old enough, or say when to come back.
    fn rest(&self, unflushed: &mut Unflushed) -> Result<Tick, Error> {
        let now = self.world.monotonic();
        if unflushed.done.is_empty() {
            return Ok(Tick::Idle(self.ledger().next_due()?.unwrap_or(Duration::from_secs(3600))));
        }
        // A lone edit is made durable at once; under a stream of edits, no more often than the setting says.
        let due_at = unflushed.flushed_at + self.settings.flush_age_max;
        if unflushed.flushed_at.is_zero() || now >= due_at {
            self.flush_held(unflushed)?;
            return Ok(Tick::Worked);
        }
        Ok(Tick::Idle(due_at - now))
    }

    /// Makes everything indexed so far durable.
    pub(crate) fn flush_now(&self) -> Result<(), Error> {
        let mut unflushed = self.indexing.lock().expect(POISON);
        self.flush_held(&mut unflushed)
    }
}

/// Counts since the engine was opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) rows_upserted: u64,
    pub(crate) rows_removed: u64,
    pub(crate) files_indexed: u64,
    pub(crate) files_removed: u64,
}

impl Unflushed {
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            rows_upserted: self.rows_upserted,
            rows_removed: self.rows_removed,
            files_indexed: self.files_indexed,
            files_removed: self.files_removed,
        }
    }
}

impl Inner {
    /// Has a file indexed, whatever is known of it.
    pub(crate) fn enqueue(&self, path: &str) -> Result<(), Error> {
        *self.pending.lock().expect(POISON).entry(path.to_owned()).or_default() += 1;
        self.ledger().enqueue(path, "changed")?;
        self.tasks.indexer.ring();
        Ok(())
    }

    /// As [`Self::enqueue`], for a file that was written a moment ago: if this fails, the sweep finds the file.
    pub(crate) fn enqueue_written(&self, path: &str) -> Result<(), Error> {
        if let Err(error) = self.enqueue(path) {
            tracing::warn!(path, %error, "the file is written but not enqueued; the next sweep will find it");
        }
        self.reach("add.enqueued")
    }

    /// Tells whether everything written to these files before the call can be searched.
    pub(crate) fn is_indexed(&self, paths: &[String]) -> bool {
        let pending = self.pending.lock().expect(POISON);
        paths.iter().all(|path| !pending.contains_key(path))
    }

    /// Helps indexing until these files can be searched, at most this long. Tells whether they can.
    pub(crate) fn wait_indexed(&self, paths: &[String], limit: Duration) -> Result<bool, Error> {
        let deadline = self.world.monotonic() + limit;
        loop {
            if self.is_indexed(paths) {
                return Ok(true);
            }
            if self.world.monotonic() >= deadline {
                return Ok(false);
            }
            match self.indexer_tick()? {
                Tick::Worked => {}
                // What is left failed and waits for its next try, or the indexer's own thread has it.
                Tick::Idle(wait) => {
                    let rest = deadline.saturating_sub(self.world.monotonic());
                    self.tasks.applied.wait(wait.min(rest).min(Duration::from_millis(50)));
                }
            }
        }
    }

    /// Indexes until no job is due, and makes it durable.
    pub(crate) fn index_all(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<(), Error> {
        let total = self.ledger().stats()?.pending;
        loop {
            match self.indexer_tick()? {
                Tick::Worked => {
                    let left = self.ledger().stats()?.pending;
                    progress(ProgressMark { done: total.saturating_sub(left), total });
                }
                Tick::Idle(_) => return self.flush_now(),
            }
        }
    }

    /// Reads claimed files, embeds what is new in them and upserts the rows.
    fn apply(&self, claims: Vec<Claim>, unflushed: &mut Unflushed) -> Result<(), Error> {
        let live = self.live();
        let mut read = Vec::new();
        for claim in claims {
            let ticket = self.pending.lock().expect(POISON).get(&claim.path).copied();
            match self.read_claimed(&claim) {
                Ok(Seen::File(stamp, digest, reading)) => {
                    let before = self.ledger().entries(&claim.path)?;
                    read.push(Read { claim, ticket, stamp, digest, reading, before });
                }
                Ok(Seen::Gone) => self.forget(claim, ticket, &live, unflushed)?,
                Ok(Seen::Unreadable(problem)) => {
                    // The last good rows stay until somebody mends the file.
                    self.ledger().park(&claim, &problem)?;
                    self.applied(&claim.path, ticket);
                }
                Err(error) => {
                    self.ledger().fail(&claim, error.kind().name(), &with_causes(&error), None)?;
                }
            }
        }
        let (rows, retries) = self.rows_of(&read, &live);
        self.reach("index.embedded")?;
        for chunk in rows.chunks(self.settings.flush_rows_max.max(1)) {
            live.index.upsert(chunk)?;
        }
        unflushed.rows += rows.len();
        unflushed.rows_upserted += rows.len() as u64;
        let upserted: HashSet<MemoryKey> = rows.iter().map(|row| row.memory.key()).collect();
        drop(rows);
        for (position, file) in read.into_iter().enumerate() {
            let retry = retries.get(&position).cloned();
            self.finish(file, retry, &upserted, &live, unflushed)?;
        }
        unflushed.since.get_or_insert(self.world.monotonic());
        self.reach("index.upserted")
    }

    /// Removes the rows that came from a file that is gone.
    fn forget(&self, claim: Claim, ticket: Option<u64>, live: &Live, unflushed: &mut Unflushed) -> Result<(), Error> {
        let before = self.ledger().entries(&claim.path)?;
        let keys: Vec<MemoryKey> = before.into_keys().collect();
        let removed = self.remove_rows(&claim.path, keys, &HashSet::new(), live)?;
        unflushed.rows += removed;
        unflushed.rows_removed += removed as u64;
        unflushed.files_removed += 1;
        self.applied(&claim.path, ticket);
        unflushed.done.push(Applied { claim, result: Outcome::Forgotten });
        Ok(())
    }

    /// Settles one file whose rows were upserted: removes those it no longer has, and notes what it holds now.
    fn finish(
        &self,
        file: Read,
        retry: Option<Retry>,
        upserted: &HashSet<MemoryKey>,
        live: &Live,
        unflushed: &mut Unflushed,
    ) -> Result<(), Error> {
        let Read { claim, ticket, stamp, digest, reading, before } = file;
        // An entry that is there but cannot be read keeps its last good row.
        let unreadable: HashSet<&str> = reading.findings.iter().filter_map(|finding| finding.entry.as_deref()).collect();
        let has_vectors = retry.is_none();
        let mut entries: HashMap<MemoryKey, Digest32> = HashMap::new();
        let mut messages = Vec::new();
        for memory in &reading.memories {
            entries.entry(memory.key()).or_insert_with(|| entry_digest(memory, live, has_vectors));
            if let (Kind::Episode, Some(session)) = (memory.kind(), &memory.session_id) {
                messages.extend(memory.message_ids.iter().map(|id| (session.clone(), id.clone())));
            }
        }
        let mut gone = Vec::new();
        for (key, digest) in before {
            if entries.contains_key(&key) {
                continue;
            }
            if unreadable.iter().any(|entry| key.id.ends_with(entry)) {
                entries.insert(key, digest);
            } else {
                gone.push(key);
            }
        }
        let removed = self.remove_rows(&claim.path, gone, upserted, live)?;
        unflushed.rows += removed;
        unflushed.rows_removed += removed as u64;
        unflushed.files_indexed += 1;
        self.applied(&claim.path, ticket);
        let problems = reading.findings.iter().map(FileProblem::of).collect();
        let record = FileRecord { stamp, digest, entries, messages, problems };
        unflushed.done.push(Applied { claim, result: Outcome::Recorded { record, retry } });
        Ok(())
    }

    /// Removes rows that no file holds any more. Where another file holds one, that file is indexed again: the row may
    /// have been this file's version.
    fn remove_rows(
        &self,
        path: &str,
        keys: Vec<MemoryKey>,
        upserted: &HashSet<MemoryKey>,
        live: &Live,
    ) -> Result<usize, Error> {
        let mut gone = Vec::new();
        for key in keys {
            if upserted.contains(&key) {
                continue;
            }
            match self.ledger().other_holder(&key, path)? {
                Some(other) => self.enqueue(&other)?,
                None => gone.push(key),
            }
        }
        if !gone.is_empty() {
            live.index.remove(&gone)?;
        }
        Ok(gone.len())
    }

    fn applied(&self, path: &str, ticket: Option<u64>) {
        let mut pending = self.pending.lock().expect(POISON);
        if pending.get(path).copied() == ticket {
            pending.remove(path);
        }
        drop(pending);
        self.tasks.applied.ring();
    }

    /// Makes the rows of what is new or changed, with vectors where they can be had.
    ///
    /// Returns the rows and, by position in `read`, what must be tried again.
    fn rows_of(&self, read: &[Read], live: &Live) -> (Vec<Indexable>, HashMap<usize, Retry>) {
        let mut chosen: Vec<(usize, &Memory)> = Vec::new();
        let mut keys = HashSet::new();
        for (position, file) in read.iter().enumerate() {
            for memory in &file.reading.memories {
                let key = memory.key();
                let known = file.before.get(&key);
                if known != Some(&entry_digest(memory, live, true)) && keys.insert(key) {
                    chosen.push((position, memory));
                }
            }
        }
        let memories: Vec<&Memory> = chosen.iter().map(|(_, memory)| *memory).collect();
        let (rows, failure) = self.indexables(&memories, live);
        let mut retries = HashMap::new();
        if let Some(retry) = failure {
            for ((position, memory), row) in chosen.iter().zip(&rows) {
                if row.vector.is_none() && memory.body.embed_text().is_some() {
                    retries.insert(*position, retry.clone());
                }
            }
        }
        (rows, retries)
    }

    /// Analyses and embeds memories. A failing provider leaves rows without vectors, and says why.
    pub(crate) fn indexables(&self, memories: &[&Memory], live: &Live) -> (Vec<Indexable>, Option<Retry>) {
        let tokens = analyse(memories);
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; memories.len()];
        let mut failure = None;
        if let Some(embedder) = self.embedder.as_ref().filter(|embedder| live.has_vectors_of(embedder.model())) {
            let texts: Vec<(usize, String)> = memories
                .iter()
                .enumerate()
                .filter_map(|(position, memory)| memory.body.embed_text().map(|text| (position, text)))
                .collect();
            for chunk in texts.chunks(EMBED_TEXTS) {
                let wanted: Vec<String> = chunk.iter().map(|(_, text)| text.clone()).collect();
                let (found, error) = embedder.embed_what_can_be(&wanted, Purpose::Passage, EMBED_TIMEOUT);
                for ((position, _), vector) in chunk.iter().zip(found) {
                    vectors[*position] = vector;
                }
                if let Some(error) = error {
                    failure = Some(Retry { class: error.class, message: error.to_string(), after: error.retry_after });
                }
            }
        }
        let rows = memories
            .iter()
            .zip(tokens)
            .zip(vectors)
            .map(|((memory, tokens), vector)| Indexable { memory: (*memory).clone(), tokens, vector })
            .collect();
        (rows, failure)
    }

    /// Reads the file of a job.
    fn read_claimed(&self, claim: &Claim) -> Result<Seen, Error> {
        match self.vault.read(&claim.path, self.settings.file_bytes_max) {
            Ok(file) => {
                let references = self.references_of(&claim.path);
                let reading = markdown::read_file(&claim.path, &file.bytes, &self.settings.timezone, &references);
                match reading.whole_file_problem() {
                    Some(finding) => Ok(Seen::Unreadable(FileProblem::of(finding))),
                    None => Ok(Seen::File(file.stamp, file.digest, reading)),
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Seen::Gone),
            Err(error) => match error.finding() {
                Some(finding) => Ok(Seen::Unreadable(FileProblem::of_store(finding))),
                None => Err(error.into()),
            },
        }
    }

    /// Commits the index, then records in the ledger what the files hold.
    pub(crate) fn flush_held(&self, unflushed: &mut Unflushed) -> Result<(), Error> {
        if unflushed.done.is_empty() {
            return Ok(());
        }
        let live = self.live();
        live.index.flush()?;
        unflushed.flushed_at = self.world.monotonic();
        unflushed.flushes += 1;
        unflushed.rows = 0;
        unflushed.since = None;
        self.reach("index.flushed")?;
        let ledger = self.ledger();
        for applied in std::mem::take(&mut unflushed.done) {
            match applied.result {
                Outcome::Recorded { record, retry } => {
                    ledger.record(&applied.claim.path, &record)?;
                    match retry {
                        None => ledger.complete(&applied.claim)?,
                        Some(retry) => ledger.fail(&applied.claim, retry.class, &retry.message, retry.after)?,
                    };
                }
                Outcome::Forgotten => {
                    ledger.forget(&applied.claim.path)?;
                    ledger.complete(&applied.claim)?;
                }
            }
        }
        self.tasks.upkeep.ring();
        self.reach("index.recorded")
    }
}

/// What became of a job's file.
enum Seen {
    File(Stamp, Digest32, FileReading),
    Gone,
    Unreadable(FileProblem),
}

/// What the ledger remembers of a row: it differs whenever the row must be written again, so also when it got no vector.
fn entry_digest(memory: &Memory, live: &Live, has_vectors: bool) -> Digest32 {
    let model = live.model.as_ref().map(|model| (model.name.as_str(), model.dimension));
    Digest32::of(format!("{}{model:?}{has_vectors}", memory.digest().hex()).as_bytes())
}

/// Analyses many texts, on two threads when there are enough of them to be worth it.
fn analyse(memories: &[&Memory]) -> Vec<String> {
    const WORTH_A_THREAD: usize = 256;
    let one = |memories: &[&Memory]| -> Vec<String> {
        memories.iter().map(|memory| text::terms(&memory.body.search_text()).join(" ")).collect()
    };
    if memories.len() < WORTH_A_THREAD {
        return one(memories);
    }
    let (left, right) = memories.split_at(memories.len() / 2);
    std::thread::scope(|scope| {
        let right = scope.spawn(|| one(right));
        let mut all = one(left);
        match right.join() {
            Ok(mut right) => all.append(&mut right),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        all
    })
}
