//! From messages to memories: the add and flush verbs, and the extraction they share with the background.
//!
//! Walk and crash points: new messages → a batch file (`add.stored`: now they are acknowledged) → a plan file names the
//! segment's messages and its day (`extract.planned`) → one episode per owner (`extract.episode`), one append of its facts
//! (`extract.facts`) → what was not part of the segment is kept in a new batch, the old batches go (`extract.consumed`), the
//! plan goes. A crash anywhere is finished by the next run: while all of the segment's messages are there, memories that name
//! it are found and not written again; when some are gone, everything was written, and only the clearing away is left.

use crate::add::{AddRequest, Extracted, FlushRequest, NewMessage, Progress, Receipt};
use crate::engine::{Inner, POISON};
use crate::error::Error;
use crate::inbox::{Folder, Session};
use crate::tasks::Tick;
use evermark_core::error::ErrorKind;
use evermark_core::extract::{self, SegmentPolicy};
use evermark_core::id::{Kind, Owner};
use evermark_core::markdown::DailyFile;
use evermark_core::markdown::EntryDraft;
use evermark_core::markdown::inbox::{self, Batch, Mode};
use evermark_core::markdown::segment::{self, SegmentPlan, memcell_id};
use evermark_core::markdown::{self, inbox_path, path_for, segment_path};
use evermark_core::memory::{Body, Digest32, Memory, Message};
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Below this a timestamp is taken for seconds, not milliseconds (the wire's rule).
const SECONDS_BELOW: i64 = 1_000_000_000_000;

/// What one extraction made.
#[derive(Default)]
struct Made {
    episodes: Vec<Extracted>,
    facts: usize,
    paths: Vec<String>,
}

impl Inner {
    pub(crate) fn add(&self, request: AddRequest) -> Result<Receipt, Error> {
        self.still_ours()?;
        let session = Session { scope: request.scope, id: request.session_id };
        let message_count = request.messages.len();
        let queued = request.queued && !request.defer_extraction;
        let lock = self.inbox.lock(&session);
        let held = lock.lock().expect(POISON);
        let mut folder = self.read_folder(&session)?;
        let fresh = self.fresh_messages(&session, &folder, request.messages)?;
        let (stored, duplicates) = (fresh.len(), message_count - fresh.len());
        self.admit(&session, &folder, stored)?;
        if stored > 0 {
            let mode = if queued { Mode::Queued } else { Mode::Buffer };
            self.store_batch(&session, &mut folder, fresh, mode)?;
        }
        let mut receipt = Receipt {
            progress: if queued { Progress::Queued } else { Progress::Accumulated },
            message_count,
            stored,
            duplicates,
            open: folder.open_messages().len(),
            episodes: Vec::new(),
            facts: 0,
            indexed: None,
        };
        self.inbox.set_count(&session, receipt.open);
        if queued {
            drop(held);
            self.inbox.make_due(session);
            self.tasks.remember.ring();
            return Ok(receipt);
        }
        if request.defer_extraction {
            return Ok(receipt);
        }
        let made = self.extract(&session, folder, false)?;
        drop(held);
        self.complete(&mut receipt, made, &session, request.wait_indexed)?;
        Ok(receipt)
    }

    pub(crate) fn flush(&self, request: FlushRequest) -> Result<Receipt, Error> {
        self.still_ours()?;
        let session = Session { scope: request.scope, id: request.session_id };
        let lock = self.inbox.lock(&session);
        let held = lock.lock().expect(POISON);
        let folder = self.read_folder(&session)?;
        let made = self.extract(&session, folder, true)?;
        drop(held);
        let mut receipt = Receipt {
            progress: Progress::NothingToExtract,
            message_count: 0,
            stored: 0,
            duplicates: 0,
            open: 0,
            episodes: Vec::new(),
            facts: 0,
            indexed: None,
        };
        self.complete(&mut receipt, made, &session, request.wait_indexed)?;
        Ok(receipt)
    }

    /// Extracts one session that waits in the background.
    pub(crate) fn remember_tick(&self) -> Result<Tick, Error> {
        self.still_ours()?;
        let Some(session) = self.inbox.take_due() else { return Ok(Tick::Idle(Duration::from_secs(3600))) };
        let lock = self.inbox.lock(&session);
        let _held = lock.lock().expect(POISON);
        let result = self.read_folder(&session).and_then(|folder| {
            let last = folder.queued().1;
            self.extract(&session, folder, last)
        });
        match result {
            Ok(_) => {
                let folder = self.read_folder(&session)?;
                self.settle_queued(&session, folder)?;
                Ok(Tick::Worked)
            }
            Err(error) => {
                self.inbox.make_due(session);
                Err(error)
            }
        }
    }

    /// Queued batches whose messages stay open are ordinary ones from now on.
    fn settle_queued(&self, session: &Session, mut folder: Folder) -> Result<(), Error> {
        let queued: Vec<(String, Batch)> = {
            let (queued, rest) = folder.batches.into_iter().partition(|(_, batch)| batch.mode == Mode::Queued);
            folder.batches = rest;
            queued
        };
        for (path, mut batch) in queued {
            batch.mode = Mode::Buffer;
            let messages = std::mem::take(&mut batch.messages);
            self.store_batch(session, &mut folder, messages, Mode::Buffer)?;
            self.remove_file(&path)?;
        }
        Ok(())
    }

    /// Gives messages their ids, and leaves out those that are here or were extracted already.
    fn fresh_messages(&self, session: &Session, folder: &Folder, sent: Vec<NewMessage>) -> Result<Vec<Message>, Error> {
        let mut open: HashMap<String, Digest32> = folder
            .batches
            .iter()
            .flat_map(|(_, batch)| &batch.messages)
            .map(|message| (message.id.clone(), content_digest(message)))
            .collect();
        let messages: Vec<Message> =
            sent.into_iter().enumerate().map(|(position, message)| named(session, position, message)).collect();
        let ids: Vec<String> = messages.iter().flat_map(|message| [message.id.clone(), twin_id(message)]).collect();
        // In this order: what is recorded in between is seen by both.
        let unrecorded = self.unrecorded(session, &messages)?;
        let extracted = self.ledger().known_messages(&session.scope, &session.id, &ids)?;
        let mut fresh = Vec::new();
        for mut message in messages {
            let digest = content_digest(&message);
            // The id is the sender's time and place in the batch: two different messages can share it. The content tells.
            for _ in 0..2 {
                match open.get(&message.id) {
                    Some(known) if *known == digest => break,
                    Some(_) => message.id = twin_id(&message),
                    None => break,
                }
            }
            let written = unrecorded.iter().any(|memory| says(memory, session, &message));
            if (written || extracted.contains(&message.id)) && !open.contains_key(&message.id) {
                if written || self.is_written_down(session, &message)? {
                    continue;
                }
                message.id = twin_id(&message);
            }
            if open.contains_key(&message.id) || extracted.contains(&message.id) {
                continue;
            }
            open.insert(message.id.clone(), digest);
            fresh.push(message);
        }
        Ok(fresh)
    }

    /// Tells whether an extracted message with this id says the same.
    fn is_written_down(&self, session: &Session, message: &Message) -> Result<bool, Error> {
        for path in self.ledger().files_of_message(&session.scope, &session.id, &message.id)? {
            if self.surely_read(&path)?.iter().any(|memory| says(memory, session, message)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the episodes of files that the ledger has not recorded as they are: what they hold it cannot know. Of every
    /// day: where the clock has jumped, what was said a moment ago stands in another day's file.
    fn unrecorded(&self, session: &Session, messages: &[Message]) -> Result<Vec<Memory>, Error> {
        let mut episodes = Vec::new();
        for owner in extract::owners(messages) {
            let today = path_for(&Owner::user(session.scope.clone(), owner), Kind::Episode, self.today())?;
            let Some((folder, _)) = today.rsplit_once('/') else { continue };
            let mut known = HashMap::new();
            self.ledger().files(folder, &mut |row| {
                known.insert(row.path, row.known.stamp);
            })?;
            for (path, stamp) in self.stamps_in(folder)? {
                if known.get(&path) != Some(&stamp) {
                    episodes.extend(self.surely_read(&path)?);
                }
            }
        }
        Ok(episodes)
    }

    /// Returns a file's memories, or why nobody can tell now what it holds: a guess would store messages twice. What is
    /// gone, or is no file that we could have written, holds none.
    fn surely_read(&self, path: &str) -> Result<Vec<Memory>, Error> {
        match self.vault.read(path, self.settings.file_bytes_max) {
            Ok(file) => Ok(markdown::read_file(path, &file.bytes, &self.settings.timezone, &[]).memories),
            Err(error) if error.kind() == ErrorKind::NotFound || error.finding().is_some() => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses what would exceed the inbox's bounds.
    fn admit(&self, session: &Session, folder: &Folder, more: usize) -> Result<(), Error> {
        let open = folder.open_messages().len();
        if open + more > self.settings.inbox_session_max {
            return Err(Error::Busy(format!(
                "session `{}` holds {open} messages that wait for extraction, and at most {} may; flush it first",
                session.id, self.settings.inbox_session_max
            )));
        }
        let (all, _) = self.inbox.totals();
        if all + more > self.settings.inbox_total_max {
            return Err(Error::Busy(format!(
                "{all} messages wait for extraction, and at most {} may; flush some sessions first",
                self.settings.inbox_total_max
            )));
        }
        Ok(())
    }

    /// Writes a batch; when this returns the messages are durable.
    fn store_batch(
        &self,
        session: &Session,
        folder: &mut Folder,
        messages: Vec<Message>,
        mode: Mode,
    ) -> Result<(), Error> {
        folder.sequence += 1;
        let path = inbox_path(&session.scope, &session.id, folder.sequence)?;
        let batch = Batch {
            scope: session.scope.clone(),
            session_id: session.id.clone(),
            accepted_at_us: self.world.now_us(),
            mode,
            is_final: false,
            request_id: None,
            messages,
        };
        self.create_file(&path, inbox::render(&batch).as_bytes())?;
        folder.batches.push((path, batch));
        self.reach("add.stored")
    }

    /// Finishes what was begun, then extracts every segment that is complete. Call it under the session's lock.
    fn extract(&self, session: &Session, mut folder: Folder, last: bool) -> Result<Made, Error> {
        let mut made = Made::default();
        for (path, plan) in std::mem::take(&mut folder.plans) {
            let wanted: HashSet<&str> = plan.message_ids.iter().map(String::as_str).collect();
            let mut segment: Vec<Message> = folder
                .batches
                .iter()
                .flat_map(|(_, batch)| &batch.messages)
                .filter(|message| wanted.contains(message.id.as_str()))
                .cloned()
                .collect();
            segment.sort_by_key(|message| message.timestamp_ms);
            // A batch may stand here twice; its messages of one instant are no neighbours then.
            let mut seen = HashSet::new();
            segment.retain(|message| seen.insert(message.id.clone()));
            self.carry_out(session, &mut folder, &path, plan, &segment, &mut made)?;
        }
        let policy = SegmentPolicy {
            gap: self.settings.segment_gap,
            messages_max: self.settings.segment_messages_max,
            chars_max: self.settings.segment_chars_max,
        };
        let (segments, open) = extract::split(folder.open_messages(), policy, last);
        for segment in segments {
            let message_ids: Vec<String> = segment.iter().map(|message| message.id.clone()).collect();
            let plan = SegmentPlan {
                scope: session.scope.clone(),
                session_id: session.id.clone(),
                memcell_id: memcell_id(&session.scope, &session.id, &message_ids),
                day: self.today(),
                message_ids,
                owners: extract::owners(&segment)
                    .into_iter()
                    .map(|owner| Owner::user(session.scope.clone(), owner))
                    .collect(),
            };
            let path = segment_path(&session.scope, &session.id, &plan.memcell_id)?;
            self.create_file(&path, segment::render(&plan).as_bytes())?;
            self.reach("extract.planned")?;
            self.carry_out(session, &mut folder, &path, plan, &segment, &mut made)?;
        }
        self.inbox.set_count(session, open.len());
        if folder.batches.is_empty() {
            self.vault.remove_empty_folders(&format!("{}/x", session.dir()?))?;
        }
        Ok(made)
    }

    /// Writes one planned segment's memories, and clears away its messages.
    fn carry_out(
        &self,
        session: &Session,
        folder: &mut Folder,
        plan_path: &str,
        plan: SegmentPlan,
        segment: &[Message],
        made: &mut Made,
    ) -> Result<(), Error> {
        // Messages go only after everything was written.
        if segment.len() == plan.message_ids.len() {
            for owner in &plan.owners {
                self.write_memories(session, &plan, segment, &owner.id, made)?;
            }
        }
        let taken: HashSet<&str> = plan.message_ids.iter().map(String::as_str).collect();
        let (touched, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut folder.batches)
            .into_iter()
            .partition(|(_, batch)| batch.messages.iter().any(|message| taken.contains(message.id.as_str())));
        folder.batches = kept;
        let known: HashSet<String> = folder
            .batches
            .iter()
            .flat_map(|(_, batch)| batch.messages.iter().map(|message| message.id.clone()))
            .collect();
        let mut rest: Vec<Message> = touched
            .iter()
            .flat_map(|(_, batch)| &batch.messages)
            .filter(|message| !taken.contains(message.id.as_str()) && !known.contains(&message.id))
            .cloned()
            .collect();
        let mut seen = HashSet::new();
        rest.retain(|message| seen.insert(message.id.clone()));
        if !rest.is_empty() {
            self.store_batch(session, folder, rest, Mode::Buffer)?;
        }
        for (path, _) in &touched {
            self.remove_file(path)?;
        }
        self.reach("extract.consumed")?;
        self.remove_file(plan_path)?;
        Ok(())
    }

    /// Writes one owner's episode and facts, unless they are there.
    fn write_memories(
        &self,
        session: &Session,
        plan: &SegmentPlan,
        segment: &[Message],
        owner_id: &str,
        made: &mut Made,
    ) -> Result<(), Error> {
        let owner = Owner::user(session.scope.clone(), owner_id);
        let zone = &self.settings.timezone;
        let said_at = |ms: i64| {
            Timestamp::from_millisecond(ms)
                .map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string())
                .unwrap_or_default()
        };
        let text = extract::episode(segment, &said_at);
        let mut sender_ids: Vec<String> = Vec::new();
        for message in segment {
            if !sender_ids.contains(&message.sender_id) {
                sender_ids.push(message.sender_id.clone());
            }
        }
        let ended_ms = segment.last().map_or(0, |message| message.timestamp_ms);
        let episode_path = path_for(&owner, Kind::Episode, plan.day)?;
        let draft = EntryDraft {
            owner_id: owner_id.to_owned(),
            session_id: Some(session.id.clone()),
            timestamp_us: ended_ms.saturating_mul(1000),
            parent_type: Some("memcell".to_owned()),
            parent_id: Some(plan.memcell_id.clone()),
            sender_ids,
            message_ids: plan.message_ids.clone(),
            body: Body::Episode { subject: Some(text.subject), summary: Some(text.summary), content: text.content },
        };
        let (entry_id, new) = self.append_once(&owner, plan.day, &episode_path, &[draft])?;
        let entry_id = entry_id.into_iter().next().unwrap_or_default();
        if new {
            made.episodes.push(Extracted {
                id: format!("{owner_id}_{entry_id}"),
                owner_id: owner_id.to_owned(),
                path: episode_path.clone(),
            });
        }
        self.enqueue_written(&episode_path)?;
        made.paths.push(episode_path);
        self.reach("extract.episode")?;

        let drafts: Vec<EntryDraft> = extract::statements(segment)
            .into_iter()
            .map(|statement| EntryDraft {
                owner_id: owner_id.to_owned(),
                session_id: Some(session.id.clone()),
                timestamp_us: statement.timestamp_ms.saturating_mul(1000),
                parent_type: Some("episode".to_owned()),
                parent_id: Some(entry_id.clone()),
                sender_ids: vec![statement.sender_id],
                message_ids: vec![statement.message_id],
                body: Body::AtomicFact { fact: statement.text, context: statement.context },
            })
            .collect();
        if !drafts.is_empty() {
            let path = path_for(&owner, Kind::AtomicFact, plan.day)?;
            let (_, new) = self.append_once(&owner, plan.day, &path, &drafts)?;
            if new {
                made.facts += drafts.len();
            }
            self.enqueue_written(&path)?;
            made.paths.push(path);
        }
        self.reach("extract.facts")
    }

    /// Appends entries of one parent, all in one write; does nothing when the file has entries of that parent and of one of
    /// these messages already. The parent alone does not tell: where its file was removed, another gets its id, and it
    /// gets another id when it is written again; then what the entries say tells.
    ///
    /// Returns the ids of the entries there are now, and whether they are new.
    fn append_once(
        &self,
        owner: &Owner,
        day: Date,
        path: &str,
        drafts: &[EntryDraft],
    ) -> Result<(Vec<String>, bool), Error> {
        let now_us = self.world.now_us();
        let Some(first) = drafts.first() else { return Ok((Vec::new(), false)) };
        let mut outcome = (Vec::new(), false);
        self.vault.update::<Error>(path, |current| {
            let text = current
                .map(std::str::from_utf8)
                .transpose()
                .map_err(|_| Error::Invalid(format!("{path} is not UTF-8, so nothing can be appended to it")))?;
            let mut file = DailyFile::open(text, owner, first.kind(), day);
            let there: Vec<String> = file
                .entries()
                .filter(|entry| {
                    entry.inline("parent_type").as_deref() == first.parent_type.as_deref()
                        && names_any(entry.inline("message_ids").as_deref(), drafts)
                        && (entry.inline("parent_id").as_deref() == first.parent_id.as_deref()
                            || is_fact_of(entry, drafts))
                })
                .map(|entry| entry.id.to_owned())
                .collect();
            if there.is_empty() {
                let ids = file.append(day, drafts, now_us).map_err(|error| Error::Invalid(error.to_string()))?;
                outcome = (ids, true);
            } else {
                outcome = (there, false);
            }
            Ok(file.render().into_bytes())
        })?;
        Ok(outcome)
    }

    /// Fills in what was made, and waits for it to be searchable when asked to.
    fn complete(
        &self,
        receipt: &mut Receipt,
        made: Made,
        session: &Session,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        if made.paths.is_empty() {
            return Ok(());
        }
        receipt.progress = Progress::Extracted;
        receipt.open = self.read_folder(session)?.open_messages().len();
        receipt.episodes = made.episodes;
        receipt.facts = made.facts;
        self.tasks.indexer.ring();
        receipt.indexed = Some(match wait {
            Some(limit) => self.wait_indexed(&made.paths, limit)?,
            None => self.is_indexed(&made.paths),
        });
        Ok(())
    }

    /// Returns the day of file names and entry ids: today, in the configured zone.
    pub(crate) fn today(&self) -> Date {
        Timestamp::from_microsecond(self.world.now_us())
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_zoned(self.settings.timezone.clone())
            .date()
    }
}

/// Tells whether an episode holds a message: its id, or the one it has where that was taken, and what it says.
fn says(memory: &Memory, session: &Session, message: &Message) -> bool {
    memory.session_id.as_deref() == Some(&session.id)
        && (memory.message_ids.contains(&message.id) || memory.message_ids.contains(&twin_id(message)))
        && matches!(&memory.body, Body::Episode { content, .. } if content.contains(message.text().trim()))
}

/// Tells whether an entry says what one of these facts does.
fn is_fact_of(entry: &markdown::Entry<'_>, drafts: &[EntryDraft]) -> bool {
    let Some(text) = entry.section("Fact") else { return false };
    drafts.iter().any(|draft| matches!(&draft.body, Body::AtomicFact { fact, .. } if fact.trim() == text.trim()))
}

/// Tells whether an entry's list of messages, as it stands in a file, names a message of one of the drafts.
fn names_any(list: Option<&str>, drafts: &[EntryDraft]) -> bool {
    // A list that a person took out tells nothing.
    let Some(list) = list else { return true };
    let is_named = |id: &String| list.contains(&serde_json::Value::from(id.as_str()).to_string());
    drafts.iter().flat_map(|draft| &draft.message_ids).any(is_named)
}

fn named(session: &Session, position: usize, message: NewMessage) -> Message {
    let sent = message.timestamp;
    Message {
        id: format!("m_{}_{}_{position:03}", session.id, sent),
        sender_id: message.sender_id,
        sender_name: message.sender_name,
        role: message.role,
        timestamp_ms: if sent < SECONDS_BELOW { sent.saturating_mul(1000) } else { sent },
        items: message.items,
        tool_calls: message.tool_calls,
        tool_call_id: message.tool_call_id,
    }
}

/// The id of a message whose plain id is taken by another one.
fn twin_id(message: &Message) -> String {
    format!("{}_{}", message.id, &content_digest(message).hex()[..8])
}

fn content_digest(message: &Message) -> Digest32 {
    Digest32::of(
        format!("{:?}", (&message.sender_id, message.role, &message.items, &message.tool_calls, &message.tool_call_id))
            .as_bytes(),
    )
}
