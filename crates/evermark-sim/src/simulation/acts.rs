//! What each operation does to the subject and to its files.

#![expect(clippy::disallowed_methods, reason = "writes the files that people and their editors would write")]

use super::damage::damage;
use super::disk;
use super::harness::{Outcome, ROUND, Run, Step, keys, session_of};
use super::model::{Save, USERS};
use super::ops::{Damage, Op};
use super::subject::{Loop, Said, Subject, Trouble};
use evermark_core::id::{Owner, Scope};
use evermark_core::world::World;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, UNIX_EPOCH};

impl<S: Subject> Run<S> {
    pub(super) fn step(&mut self, op: &Op) -> Step {
        self.world.pass_time(Duration::from_millis(137));
        match op {
            Op::Write { pick, kind, entries } => {
                let save = self.model.write(*pick, *kind, *entries);
                self.save(&save)
            }
            Op::Edit { pick, is_quiet } => {
                let save = self.model.edit(*pick, *is_quiet);
                self.save_all(save)
            }
            Op::RemoveEntry { pick } => self.save_all(self.model.remove_entry(*pick)),
            Op::RemoveFile { pick } => self.save_all(self.model.remove_file(*pick)),
            Op::MoveFile { pick, to } => self.move_file(*pick, *to),
            Op::Touch { pick } => {
                let save = self.model.touch(*pick);
                self.save_all(save)
            }
            Op::Cut { pick, permille } => {
                let save = self.model.cut(*pick, *permille);
                self.save_all(save)
            }
            Op::Mend => {
                let saves = self.model.mend();
                self.save_all(saves)
            }
            Op::Vanish { rounds } => self.vanish(*rounds),
            Op::Add { session, messages, gap_s, insist } => self.add(*session, *messages, *gap_s, *insist),
            Op::Resend { pick } => self.resend(*pick),
            Op::Flush { session } => {
                if self.ensure_open()? {
                    let session = session_of(*session);
                    self.call("flush", |subject| subject.flush(&session))?;
                }
                Ok(())
            }
            Op::Search { pick } => self.search(*pick),
            Op::ReadAcross { pick } => self.read_across(*pick),
            Op::Tick { which } => self.tick(*which).map(drop),
            Op::Round => self.round().map(drop),
            Op::Beat => self.beat(),
            Op::Rebuild => {
                if self.ensure_open()? {
                    self.call("rebuild", S::rebuild)?;
                }
                Ok(())
            }
            Op::Verify => {
                if self.ensure_open()? {
                    self.call("verify", S::verify)?;
                }
                Ok(())
            }
            Op::Close => {
                if self.subject.is_open() {
                    self.call("close", S::close)?;
                }
                Ok(())
            }
            Op::Kill => {
                self.subject.kill();
                self.look("kill")
            }
            Op::Wait { ms } => {
                self.world.pass_time(Duration::from_millis(u64::from(*ms)));
                Ok(())
            }
            Op::Jump { hours } => {
                self.world.jump(i64::from(*hours) * 3_600_000_000);
                Ok(())
            }
            Op::Arm { fault } => {
                self.world.arm(*fault);
                Ok(())
            }
            Op::Short { free_mib } => {
                self.world.set_free(u64::from(*free_mib) << 20);
                Ok(())
            }
            Op::Lift => {
                self.lift();
                Ok(())
            }
            Op::ProviderDown => {
                self.provider.set_down(true);
                Ok(())
            }
            Op::ProviderUp => {
                self.provider.set_down(false);
                Ok(())
            }
            Op::Damage { what, pick, is_open } => self.damage(*what, *pick, *is_open),
            Op::Settle => self.settle(),
        }
    }

    fn move_file(&mut self, pick: u32, to: u32) -> Step {
        let Some((from, to)) = self.model.move_file(pick, to) else { return Ok(()) };
        self.note(format!("moves {from} to {to}"));
        let target = self.root.join(&to);
        fs::create_dir_all(target.parent().unwrap_or(&self.root))
            .and_then(|()| fs::rename(self.root.join(&from), &target))
            .map_err(|error| format!("cannot move {from}: {error}"))?;
        self.model.moved(&from, &to);
        Ok(())
    }

    /// Takes all Markdown away, lets the loops look, and brings it back.
    fn vanish(&mut self, rounds: u32) -> Step {
        let (here, away) = (self.root.join("default_app"), self.root.with_file_name("away"));
        if !here.exists() {
            return Ok(());
        }
        fs::rename(&here, &away).map_err(|error| format!("cannot take the files away: {error}"))?;
        self.away = true;
        let mut looked = Ok(());
        for _ in 0..rounds {
            self.world.pass_time(Duration::from_secs(3));
            looked = looked
                .and_then(|()| self.tick(Loop::Reconcile).map(drop))
                .and_then(|()| self.tick(Loop::Indexer).map(drop));
        }
        self.away = false;
        fs::rename(&away, &here).map_err(|error| format!("cannot bring the files back: {error}"))?;
        looked
    }

    fn add(&mut self, session: u32, n_messages: u32, gap_s: u32, insist: bool) -> Step {
        if !self.ensure_open()? && !insist {
            return Ok(());
        }
        let sender = USERS[session as usize % USERS.len()];
        let now_ms = self.world.now_us() / 1000;
        let mut words = BTreeSet::new();
        let said: Vec<Said> = (0..i64::from(n_messages))
            .map(|n| {
                let word = self.model.word();
                let text = format!("Please remember that {word} stays beside the harbour wall.");
                words.insert(word);
                Said { sender: sender.to_owned(), timestamp_ms: now_ms + n * i64::from(gap_s) * 1000, text }
            })
            .collect();
        let session = session_of(session);
        // One that insists tries until its words are accepted; the trouble does not outlast its patience.
        for attempt in 0..4 {
            if self.ensure_open()?
                && let Outcome::Done(()) = self.call("add", |subject| subject.add(&session, &said))?
            {
                self.model.promised.extend(words);
                self.accepted.push((session, said));
                return Ok(());
            }
            if !insist {
                return Ok(());
            }
            self.lift();
            if attempt > 0 {
                // Damage is noticed by the loops.
                self.round()?;
            }
        }
        Err("an add is refused although all trouble is over".to_owned())
    }

    /// Sends something again that is written down or waits in the inbox: whatever the answer, it stays there once. What somebody
    /// took out since would be new, and what is cut off nobody can know.
    fn resend(&mut self, pick: u32) -> Step {
        let n = self.accepted.len().max(1);
        let Some((session, said)) = self.accepted.get(pick as usize % n).cloned() else { return Ok(()) };
        if self.ensure_open()? && said.iter().all(|said| self.model.keeps(&said.text)) {
            self.note(format!("sends {} messages of {session} again", said.len()));
            self.call("add", |subject| subject.add(&session, &said))?;
        }
        Ok(())
    }

    fn search(&mut self, pick: u32) -> Step {
        if !self.ensure_open()? || self.model.words.is_empty() {
            return Ok(());
        }
        let owner = Owner::user(Scope::default(), USERS[pick as usize % USERS.len()]);
        let word = self.model.words.iter().nth(pick as usize / 3 % self.model.words.len()).cloned().unwrap_or_default();
        if let Outcome::Done(found) = self.call("search", |subject| subject.search(&owner, &word))? {
            let distinct: BTreeSet<&String> = found.iter().collect();
            if distinct.len() != found.len() {
                return Err(format!("a search finds an episode twice: {found:?}"));
            }
            self.note(format!("finds {}", found.len()));
        }
        Ok(())
    }

    /// Reads all rows, and changes everything under the reader's hands: it must see the moment it began at, or be told to begin
    /// anew when it takes too long.
    fn read_across(&mut self, pick: u32) -> Step {
        if !self.ensure_open()? {
            return Ok(());
        }
        let Some(index) = self.subject.index() else { return Ok(()) };
        let Outcome::Done(before) = self.call("scan", |_| keys(index.as_ref(), &mut || {}))? else { return Ok(()) };
        let save = self.model.edit(pick, false);
        // Every other reader is slow enough to be ended.
        let pace = if pick.is_multiple_of(2) { Duration::from_secs(15) } else { ROUND };
        let acted = catch_unwind(AssertUnwindSafe(|| {
            let mut save = save;
            keys(index.as_ref(), &mut || {
                if let Some(save) = save.take() {
                    // Failures here are told by what follows.
                    drop(self.save(&save));
                    for which in [Loop::Reconcile, Loop::Indexer, Loop::Indexer] {
                        self.world.pass_time(pace);
                        drop(self.subject.tick(which));
                    }
                    drop(index.upkeep());
                    drop(index.upkeep());
                }
            })
        }));
        drop(index);
        if let Outcome::Done(after) = self.after("scan across", acted)?
            && after != before
        {
            return Err(format!("a read across changes sees {} rows, and began with {}", after.len(), before.len()));
        }
        Ok(())
    }

    /// Saves a file as a person's editor does.
    fn save(&mut self, save: &Save) -> Step {
        self.note(format!("saves {}{}", save.path, if save.text.is_none() { ": nothing" } else { "" }));
        let path = self.root.join(&save.path);
        let failed = |error: std::io::Error| format!("cannot save {}: {error}", save.path);
        let Some(text) = &save.text else {
            fs::remove_file(&path).map_err(failed)?;
            self.model.saved(save);
            return Ok(());
        };
        let before = fs::metadata(&path).ok();
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        // Two saves within one tick of the file system's clock would look alike to anybody: wait for the next one.
        loop {
            fs::write(&path, text).map_err(failed)?;
            let after = fs::metadata(&path).map_err(failed)?;
            let changed = disk::changed_ns(&after);
            if changed.is_none() || before.as_ref().is_none_or(|before| disk::changed_ns(before) != changed) {
                break;
            }
        }
        let time = match before.filter(|_| save.is_quiet).and_then(|before| before.modified().ok()) {
            Some(time) => time,
            None => UNIX_EPOCH + Duration::from_micros(self.world.now_us().unsigned_abs()),
        };
        File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).map_err(failed)?;
        self.model.saved(save);
        Ok(())
    }

    pub(super) fn save_all(&mut self, saves: impl IntoIterator<Item = Save>) -> Step {
        saves.into_iter().try_for_each(|save| self.save(&save))
    }

    fn beat(&mut self) -> Step {
        if !self.ensure_open()? {
            return Ok(());
        }
        if let Some(index) = self.subject.index() {
            self.call("beat", |_| index.upkeep().map_err(Trouble::of))?;
        }
        Ok(())
    }

    fn damage(&mut self, what: Damage, pick: u32, is_open: bool) -> Step {
        if self.subject.is_open() && (!is_open || what == Damage::LedgerGarbage) {
            self.call("close", S::close)?;
        }
        let done = damage(&self.root, what, pick).map_err(|error| format!("cannot damage {what:?}: {error}"))?;
        self.note(format!("damaged: {done}"));
        match what {
            Damage::Debris => {}
            Damage::CacheGone | Damage::CacheByte => self.provider.excuse_all(),
            _ => self.is_damaged |= done,
        }
        Ok(())
    }
}
