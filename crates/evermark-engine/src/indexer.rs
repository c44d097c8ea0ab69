//! From files to rows: claim a file, read it, cut it into memories, embed what is new, write the rows.
//!
//! Walk and crash points: a job is claimed (`index.claimed`) → texts are embedded, each paid vector cached at once
//! (`index.embedded`) → rows are upserted and visible (`index.upserted`) → the index is flushed (`index.flushed`) → the
//! ledger records what the file now holds and the job is done (`index.recorded`). A crash anywhere leaves a job that is
//! due again; doing it twice changes nothing, and asks the provider for nothing.

mod marked;
mod unflushed;

use marked::Marked;
pub(crate) use marked::entry_digest_of;
use unflushed::Applied;
pub(crate) use unflushed::Unflushed;

use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::health::with_causes;
use crate::live::Live;
use crate::pause::{LOOK, Passage};
use crate::reading::Found;
use crate::status::{FileProblem, ProgressMark};
use crate::tasks::Tick;
use evermark_core::error::ErrorKind;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope};
use evermark_core::index::Indexable;
use evermark_core::markdown::{self, FileKind, FileReading};
use evermark_core::memory::{Digest32, Memory};
use evermark_core::reconcile::Stamp;
use evermark_core::text;
use evermark_models::provider::MODEL_MISSING;
use evermark_store::jobs::{Claim, Reason};
use evermark_store::ledger::Ledger;
use evermark_store::ledger::catalog::{Entry, FileRecord, State};
use std::collections::{HashMap, HashSet};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a claimed job is ours before others may take it.
const LEASE: Duration = Duration::from_secs(120);
/// Texts per call of the embedder; the provider batches further.
const EMBED_TEXTS: usize = 2048;
/// How long one such call may take, retries included.
const EMBED_TIMEOUT: Duration = Duration::from_secs(60);

/// Work on a file that has to be repeated although its rows are in.
#[derive(Clone)]
pub(crate) struct Retry {
    pub(crate) class: &'static str,
    pub(crate) message: String,
    after: Option<Duration>,
}

/// Rows that got no vector because the provider failed.
pub(crate) struct Refused {
    pub(crate) retry: Retry,
    /// Which they are, of those that were asked for.
    positions: HashSet<usize>,
}

/// What a round writes.
struct Rows {
    rows: Vec<Indexable>,
    /// Rows that should have a vector and could not get one.
    vectorless: HashSet<MemoryKey>,
    /// By position, the files that must be tried again.
    retries: HashMap<usize, Retry>,
}

/// A claimed file as it was found.
struct Looked {
    /// The newest wish to see it indexed, from before it was read.
    ticket: Option<u64>,
    found: Result<Found, Error>,
    marks: Vec<Marked>,
}

/// A file read for indexing.
struct Read {
    claim: Claim,
    ticket: Option<u64>,
    stamp: Stamp,
    digest: Digest32,
    reading: FileReading,
    /// Of each memory in the reading, as long as it is there.
    marks: Vec<Marked>,
    /// What the ledger says the file held, by key.
    before: HashMap<MemoryKey, Digest32>,
}

impl Inner {
    /// Indexes files that wait. Flushes when enough has gathered, when it has waited long enough, or when nothing is left.
    /// While the index takes no writes nothing is claimed.
    pub(crate) fn indexer_tick(&self) -> Result<Tick, Error> {
        self.heal()?;
        let mut unflushed = self.writer()?;
        let ledger = self.ledger();
        let files = self.files_now(&ledger, &mut unflushed)?;
        let passage = self.passage(&mut unflushed)?;
        let claims = match passage {
            Passage::Closed(wait) => return Ok(Tick::Idle(wait)),
            Passage::Removals => {
                let claims = ledger.claim_only(Reason::Gone, files, LEASE)?;
                if claims.is_empty() && (unflushed.is_empty() || unflushed.is_refused) {
                    return Ok(Tick::Idle(LOOK));
                }
                claims
            }
            Passage::Open => ledger.claim(files, LEASE)?,
        };
        if claims.is_empty() {
            return self.rest(&mut unflushed);
        }
        let ours = claims.clone();
        if let Err(error) = self.reach("index.claimed") {
            self.give_back(&ours, &unflushed);
            return Err(error);
        }
        // What gathered becomes durable on another thread.
        let was_refused = unflushed.is_refused;
        let is_full = unflushed.rows >= self.settings.flush_rows_max && !was_refused;
        let applied = match is_full {
            true => self.apply_while_flushing(claims, &mut unflushed),
            false => self.apply(claims, &mut unflushed),
        };
        if let Err(error) = self.noticing_damage(applied) {
            self.give_back(&ours, &unflushed);
            // It may have come as far as the index, and nobody has noted how far.
            self.upkeep.rows_are_missing.store(true, Ordering::Release);
            if error.kind() == ErrorKind::NoSpace {
                unflushed.is_refused = true;
                self.note_flush(&Err(error));
                return Ok(Tick::Idle(LOOK));
            }
            return Err(error);
        }
        if passage == Passage::Removals {
            // What was refused may fit now.
            self.upkeep.gate.space_was_freed();
        }
        Ok(if unflushed.is_refused && !was_refused { Tick::Idle(LOOK) } else { Tick::Worked })
    }

    /// Returns how many files the next round takes: those that are urgent alone, so that they are searchable the sooner, but not
    /// twice in a row, so that the others come on too.
    fn files_now(&self, ledger: &Ledger, unflushed: &mut Unflushed) -> Result<usize, Error> {
        let files = self.upkeep.gate.files_max(self.settings.files_per_tick);
        let urgent = if unflushed.was_urgent { 0 } else { ledger.urgent_jobs(files)? };
        unflushed.was_urgent = urgent > 0;
        Ok(if urgent > 0 { urgent } else { files })
    }

    /// Locks what is indexed and not durable yet. After a panic in the middle nobody knows what that is: it is forgotten, the
    /// files in work are taken up again, and what the index holds is compared with what was noted.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Unflushed>, Error> {
        match self.indexing.lock() {
            Ok(unflushed) => Ok(unflushed),
            Err(poisoned) => {
                let mut unflushed = poisoned.into_inner();
                self.ledger().release_all()?;
                unflushed.abandon();
                self.upkeep.rows_are_missing.store(true, Ordering::Release);
                self.indexing.clear_poison();
                self.tasks.beat.ring();
                tracing::warn!("indexing was cut off by a panic and begins anew");
                Ok(unflushed)
            }
        }
    }

    /// Gives jobs back whose files were not got through. If that fails too, they come back when their leases end.
    fn give_back(&self, claims: &[Claim], unflushed: &Unflushed) {
        let done: HashSet<&str> = unflushed.done.iter().map(|applied| applied.claim.path.as_str()).collect();
        let rest: Vec<Claim> = claims.iter().filter(|claim| !done.contains(claim.path.as_str())).cloned().collect();
        if let Err(error) = self.ledger().release(&rest) {
            tracing::warn!(%error, files = rest.len(), "jobs could not be given back; they are due again when their leases end");
        }
    }

    /// What to do when no job is due: flush what is old enough, or say when to come back.
    fn rest(&self, unflushed: &mut Unflushed) -> Result<Tick, Error> {
        let now = self.world.monotonic();
        if unflushed.is_empty() {
            self.note_idle();
            return Ok(Tick::Idle(self.ledger().next_due()?.unwrap_or(Duration::from_secs(3600))));
        }
        // A lone edit is made durable at once; under a stream of edits, no more often than the setting says.
        let due_at = unflushed.flushed_at + self.settings.flush_age_max;
        let is_full = unflushed.rows >= self.settings.flush_rows_max;
        if is_full || unflushed.flushed_at.is_zero() || now >= due_at || !unflushed.flushed.is_empty() {
            return Ok(if self.flush_or_pause(unflushed)? { Tick::Worked } else { Tick::Idle(LOOK) });
        }
        Ok(Tick::Idle(due_at - now))
    }
}

impl Inner {
    /// Indexes until no job is due, and makes it durable.
    pub(crate) fn index_all(&self, progress: &mut dyn FnMut(ProgressMark)) -> Result<(), Error> {
        let total = self.ledger().job_stats()?.due;
        loop {
            match self.indexer_tick()? {
                Tick::Worked => {
                    let left = self.ledger().job_stats()?.due;
                    progress(ProgressMark { done: total.saturating_sub(left), total });
                }
                Tick::Idle(_) => {
                    let (paused, is_capped) = (self.paused(), self.upkeep.gate.is_capped());
                    let Some(why) = paused else { return self.flush_now() };
                    // Under a cap that is reached, removals are written.
                    if is_capped
                        && let Err(error) = self.flush_now()
                        && !error.kind().is_transient()
                    {
                        return Err(error);
                    }
                    return Err(why);
                }
            }
        }
    }

    /// Reads claimed files, embeds what is new in them and upserts the rows.
    fn apply(&self, claims: Vec<Claim>, unflushed: &mut Unflushed) -> Result<(), Error> {
        let live = self.live();
        let ledger = self.ledger();
        let mut read = Vec::new();
        let found = in_halves(&claims, WORTH_A_THREAD_FILES, |claim| self.look(claim, &live));
        for (claim, Looked { ticket, found, marks }) in claims.into_iter().zip(found) {
            match found {
                Ok(Found::File(stamp, digest, reading)) => {
                    let before = self.held_by(&claim.path, unflushed)?;
                    if self.shrank(&claim.path, digest, &reading, before.len()) {
                        let reason = "most of its entries are gone; looking again before they are forgotten";
                        ledger.fail(&claim, "shrunk", reason, Some(self.settings.second_look))?;
                        continue;
                    }
                    read.push(Read { claim, ticket, stamp, digest, reading, marks, before });
                }
                Ok(Found::Gone) if claim.reason == Reason::Gone => self.forget(claim, ticket, &live, unflushed)?,
                Ok(Found::Gone) => {
                    // It vanished after it was seen: not yet evidence. The sweep will miss it, and look twice. Should it come
                    // back as it was, only the job tells that there was something left to do.
                    if ledger.file(&claim.path)?.is_some() {
                        ledger.fail(
                            &claim,
                            "vanished",
                            "it is not there now; its rows stay until that is sure",
                            None,
                        )?;
                    } else {
                        ledger.complete(std::slice::from_ref(&claim))?;
                    }
                    self.applied(&claim.path, ticket);
                }
                Ok(Found::Unreadable(problem)) => {
                    // The last good rows stay until somebody mends the file.
                    ledger.park(&claim, &problems_text(&[problem]))?;
                    self.applied(&claim.path, ticket);
                }
                Err(error) => {
                    ledger.fail(&claim, error.kind().name(), &with_causes(&error), None)?;
                }
            }
        }
        let Rows { rows, vectorless, retries } = self.rows_of(&mut read, &live);
        self.reach("index.embedded")?;
        let bytes = rows.iter().map(weight).sum();
        if bytes > 0 && !self.fits_cap(unflushed.bytes, bytes, read.len())? {
            let claims: Vec<Claim> = read.into_iter().map(|file| file.claim).collect();
            ledger.release(&claims)?;
            // What waits is counted as it was estimated; once it is written, as what it takes.
            return if claims.len() == 1 { self.flush_held(unflushed) } else { Ok(()) };
        }
        self.upkeep.gate.fitted(self.settings.files_per_tick);
        unflushed.bytes += bytes;
        let n_rows = rows.len();
        // Asked for of what a file held before and does not hold now.
        let may_lose = read.iter().any(|file| !file.before.is_empty());
        let upserted: HashSet<MemoryKey> = rows.iter().filter(|_| may_lose).map(|row| row.memory.key()).collect();
        for chunk in in_chunks(rows, self.settings.flush_rows_max) {
            live.index.upsert(chunk)?;
        }
        unflushed.rows += n_rows;
        unflushed.rows_upserted += n_rows as u64;
        for (position, file) in read.into_iter().enumerate() {
            let retry = retries.get(&position).cloned();
            self.finish(file, retry, &upserted, &vectorless, &live, unflushed)?;
        }
        self.reach("index.upserted")
    }

    /// Reads a file, and marks what it holds.
    fn look(&self, claim: &Claim, live: &Live) -> Looked {
        let ticket = self.pending.lock().expect(POISON).get(&claim.path).copied();
        let found = self.read_claimed(claim);
        let marks = match &found {
            Ok(Found::File(_, _, reading)) => reading.memories.iter().map(|memory| Marked::of(memory, live)).collect(),
            _ => Vec::new(),
        };
        Looked { ticket, found, marks }
    }

    /// Returns what the index holds of a file.
    fn held_by(&self, path: &str, unflushed: &Unflushed) -> Result<HashMap<MemoryKey, Digest32>, Error> {
        match unflushed.held.get(path) {
            Some(held) => Ok(held.iter().map(|entry| (entry.key.clone(), entry.digest)).collect()),
            None => Ok(self.ledger().entries(path)?.into_iter().map(|entry| (entry.key, entry.digest)).collect()),
        }
    }

    /// Removes the rows that came from a file that is gone.
    fn forget(&self, claim: Claim, ticket: Option<u64>, live: &Live, unflushed: &mut Unflushed) -> Result<(), Error> {
        let keys: Vec<MemoryKey> = self.held_by(&claim.path, unflushed)?.into_keys().collect();
        let removed = self.remove_rows(&claim.path, keys, &HashSet::new(), live, unflushed)?;
        unflushed.rows += removed;
        unflushed.rows_removed += removed as u64;
        unflushed.files_removed += 1;
        self.applied(&claim.path, ticket);
        unflushed.push(Applied { claim, record: None, retry: None });
        Ok(())
    }

    /// Settles one file whose rows were upserted: removes those it no longer has, and notes what it holds now.
    fn finish(
        &self,
        file: Read,
        retry: Option<Retry>,
        upserted: &HashSet<MemoryKey>,
        vectorless: &HashSet<MemoryKey>,
        live: &Live,
        unflushed: &mut Unflushed,
    ) -> Result<(), Error> {
        let Read { claim, ticket, stamp, digest, reading, marks, before } = file;
        // An entry that is there but cannot be read keeps its last good row.
        let unreadable: HashSet<&str> =
            reading.findings.iter().filter_map(|finding| finding.entry.as_deref()).collect();
        let mut entries: HashMap<MemoryKey, Digest32> = HashMap::new();
        let mut messages = Vec::new();
        for marked in marks {
            let mark = if vectorless.contains(&marked.key) { marked.vectorless(live) } else { marked.mark };
            entries.entry(marked.key).or_insert(mark);
            messages.extend(marked.messages);
        }
        if let Some(retry) = retry.as_ref().filter(|_| entries == before) {
            // Tried again, and nothing came of it: write nothing.
            self.ledger().fail(&claim, retry.class, &retry.message, retry.after)?;
            self.applied(&claim.path, ticket);
            return Ok(());
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
        let removed = self.remove_rows(&claim.path, gone, upserted, live, unflushed)?;
        unflushed.rows += removed;
        unflushed.rows_removed += removed as u64;
        unflushed.files_indexed += 1;
        self.applied(&claim.path, ticket);
        let problems: Vec<FileProblem> = reading.findings.iter().map(FileProblem::of).collect();
        let place = markdown::place(&claim.path);
        let mut entries: Vec<Entry> = entries.into_iter().map(|(key, digest)| Entry { key, digest }).collect();
        entries.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        let record = FileRecord {
            path: claim.path.clone(),
            kind: place.as_ref().map_or("", |place| kind_name(place.kind)).to_owned(),
            state: State::Indexed,
            finding: (!problems.is_empty()).then(|| problems_text(&problems)),
            stamp,
            digest,
            entries: entries.into(),
            scope: place.map_or_else(Scope::default, |place| place.scope),
            messages,
        };
        unflushed.push(Applied { claim, record: Some(record), retry });
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
        unflushed: &Unflushed,
    ) -> Result<usize, Error> {
        let mut gone = Vec::new();
        let mut shared: HashMap<(Owner, Kind), Vec<(String, String)>> = HashMap::new();
        for key in keys {
            // What another file was found to hold a moment ago the ledger does not know yet.
            if upserted.contains(&key) || unflushed.is_held_by_other(path, &key) {
                continue;
            }
            let holders = self.ledger().locate(&key)?;
            match holders.into_iter().find(|holder| holder != path && unflushed.may_hold(holder, &key)) {
                Some(other) => {
                    self.enqueue(&other)?;
                    shared.entry((key.owner, key.kind)).or_default().push((key.id, other));
                }
                None => gone.push(key),
            }
        }
        for ((owner, kind), rows) in shared {
            let ids: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
            let found = live.index.fetch(&owner, kind, &ids)?;
            let is_others = |memory: &Memory| rows.iter().any(|(id, other)| *id == memory.id && *other == memory.path);
            if !found.iter().all(is_others) {
                // This file's version: the other file, as the ledger knows it, would be found unchanged.
                self.upkeep.rows_are_missing.store(true, Ordering::Release);
            }
        }
        if !gone.is_empty() {
            live.index.remove(&gone)?;
        }
        Ok(gone.len())
    }

    /// Makes the rows of what is new or changed, with vectors where they can be had. What files hold is taken out of them.
    fn rows_of(&self, read: &mut [Read], live: &Live) -> Rows {
        let taken: Vec<Vec<Memory>> = read.iter_mut().map(|file| std::mem::take(&mut file.reading.memories)).collect();
        // By position of the file, and of the memory in it.
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        let mut memories = Vec::new();
        let mut keys: HashSet<&MemoryKey> = HashSet::new();
        for (position, (file, taken)) in read.iter().zip(taken).enumerate() {
            for (nth, (memory, Marked { key, mark, .. })) in taken.into_iter().zip(&file.marks).enumerate() {
                if file.before.get(key) != Some(mark) && keys.insert(key) {
                    chosen.push((position, nth));
                    memories.push(memory);
                }
            }
        }
        let (rows, failure) = self.indexables(memories, live);
        let Some(Refused { retry, positions }) = failure else {
            return Rows { rows, vectorless: HashSet::new(), retries: HashMap::new() };
        };
        let mut some = Rows { rows: Vec::new(), vectorless: HashSet::new(), retries: HashMap::new() };
        for (n, ((position, nth), row)) in chosen.into_iter().zip(rows).enumerate() {
            if !positions.contains(&n) {
                some.rows.push(row);
                continue;
            }
            let (file, marked) = (&read[position], &read[position].marks[nth]);
            some.retries.insert(position, retry.clone());
            // A row that is there without its vector is not written again to stay so.
            if file.before.get(&marked.key) != Some(&marked.vectorless(live)) {
                some.rows.push(row);
            }
            some.vectorless.insert(marked.key.clone());
        }
        some
    }

    /// Analyses and embeds memories. A failing provider leaves rows without vectors, and says why. A text that the model
    /// cannot read is no failure: its row is whole without a vector.
    pub(crate) fn indexables(&self, memories: Vec<Memory>, live: &Live) -> (Vec<Indexable>, Option<Refused>) {
        let tokens = analyse(&memories);
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; memories.len()];
        let mut failure: Option<Refused> = None;
        if let Some(embedder) = self.embedder.as_ref().filter(|embedder| live.has_vectors_of(embedder.model())) {
            let texts = memories.iter().enumerate();
            let (wanted, texts): (Vec<usize>, Vec<String>) =
                texts.filter_map(|(position, memory)| Some((position, memory.body.embed_text()?))).unzip();
            for (wanted, texts) in wanted.chunks(EMBED_TEXTS).zip(texts.chunks(EMBED_TEXTS)) {
                for (position, outcome) in wanted.iter().zip(embedder.passages(texts, EMBED_TIMEOUT)) {
                    match outcome {
                        Ok(vector) => vectors[*position] = Some(vector),
                        Err(error) if error.is_unreadable() => {}
                        Err(error) => {
                            let retry =
                                Retry { class: error.class, message: error.to_string(), after: error.retry_after };
                            let mut positions = failure.map(|before| before.positions).unwrap_or_default();
                            positions.insert(*position);
                            failure = Some(Refused { retry, positions });
                        }
                    }
                }
            }
        }
        // The generation is of another time, when there was a model: its rows want vectors as soon as there is one again.
        if let Some(absent) = self.absent.as_ref().filter(|_| live.model.is_some()) {
            let wants = |(position, memory): (usize, &Memory)| memory.body.embed_text().map(|_| position);
            let positions: HashSet<usize> = memories.iter().enumerate().filter_map(wants).collect();
            let retry = Retry { class: MODEL_MISSING, message: absent.reason.clone(), after: None };
            failure = (!positions.is_empty()).then_some(Refused { retry, positions });
        }
        let rows = memories
            .into_iter()
            .zip(tokens)
            .zip(vectors)
            .map(|((memory, tokens), vector)| Indexable { memory, tokens, vector })
            .collect();
        (rows, failure)
    }
}

/// A file that loses this share of at least so many entries at once may be half written or cut off by accident.
const SHRUNK_PERCENT: usize = 50;
const SHRUNK_ENTRIES_MIN: usize = 4;

impl Inner {
    /// Tells whether a file holds so much less than before that it should be looked at once more. The same content the
    /// second time is believed.
    fn shrank(&self, path: &str, digest: Digest32, reading: &FileReading, before: usize) -> bool {
        let mut shrunk = self.shrunk.lock().expect(POISON);
        let left = reading.memories.len().max(reading.entry_count);
        let suspicious = before >= SHRUNK_ENTRIES_MIN && left * 100 < before * (100 - SHRUNK_PERCENT);
        if suspicious && shrunk.get(path) != Some(&digest) {
            shrunk.insert(path.to_owned(), digest);
            return true;
        }
        shrunk.remove(path);
        false
    }

    /// Returns how many texts were sent to the provider since the engine was opened.
    pub(crate) fn texts_sent(&self) -> u64 {
        self.embedder.as_ref().map_or(0, crate::embedding::Embedding::texts_sent)
    }
}

/// Writes problems as the ledger keeps them.
fn problems_text(problems: &[FileProblem]) -> String {
    serde_json::to_string(problems).expect("plain strings always serialise")
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Memories(kind) => kind.name(),
        FileKind::SkillReference => "skill_reference",
        FileKind::Taxonomy => "taxonomy",
        FileKind::Inbox => "inbox",
        FileKind::Segment => "segment",
    }
}

/// Returns about how many bytes a row takes, rather too many than too few.
fn weight(row: &Indexable) -> u64 {
    const ROW: usize = 512;
    let text: usize = row.memory.body.search_text().len() + row.tokens.len();
    let vector = row.vector.as_ref().map_or(0, |vector| vector.len() * 4);
    (ROW + 2 * text + vector) as u64
}

/// Cuts into parts of at most so many.
pub(crate) fn in_chunks<T>(all: Vec<T>, max: usize) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || Some(rest.by_ref().take(max.max(1)).collect::<Vec<T>>()).filter(|part| !part.is_empty()))
}

/// Analyses many texts.
fn analyse(memories: &[Memory]) -> Vec<String> {
    in_halves(memories, WORTH_A_THREAD, |memory| text::joined(&memory.body.search_text()))
}

/// Texts, and files, that a second thread is started for: they take one some milliseconds.
const WORTH_A_THREAD: usize = 256;
const WORTH_A_THREAD_FILES: usize = 8;

/// Does the same to each, on two threads when there are enough of them to be worth it.
fn in_halves<T: Sync, R: Send>(all: &[T], enough: usize, each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if all.len() < enough {
        return all.iter().map(each).collect();
    }
    let (left, right) = all.split_at(all.len() / 2);
    std::thread::scope(|scope| {
        let right = scope.spawn(|| right.iter().map(&each).collect::<Vec<R>>());
        let mut done: Vec<R> = left.iter().map(&each).collect();
        match right.join() {
            Ok(mut right) => done.append(&mut right),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        done
    })
}
