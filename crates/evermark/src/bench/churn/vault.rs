//! The files that are edited: what they hold, the next edit by chance, and how many bytes it changed.
//!
//! Everything that an edit writes carries a word of its own, so that a search can tell whether exactly this was indexed.

use crate::bench::generate::{self, EPISODES_PER_DAY, FACTS_PER_EPISODE, Words};
use anyhow::{Context, ensure};
use evermark_core::id::{Kind, Owner};
use evermark_core::markdown::{DailyFile, path_for};
use evermark_core::memory::Body;
use fastrand::Rng;
use jiff::ToSpan;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Of a hundred edits, so many append and so many change; the rest delete.
const APPENDS: u32 = 40;
const CHANGES: u32 = 45;
/// One in so many edits writes into the file itself, as simple editors do, instead of replacing it.
const IN_PLACE: u32 = 8;

/// What an edit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Append,
    Change,
    Delete,
}

/// An edit that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) what: What,
    /// Entries that are new, different or gone.
    pub(super) entries: u64,
    /// Bytes of those entries.
    pub(super) changed_bytes: u64,
    /// Bytes of the files that were written.
    pub(super) written_bytes: u64,
}

/// A fact that is in a file.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) id: String,
    pub(super) text: String,
}

/// An episode that is in a file, and the facts that name it as their parent.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub(super) user: usize,
    day: Date,
    pub(super) id: String,
    /// A word that only this episode's text has; `None` until it was edited.
    pub(super) word: Option<String>,
    pub(super) facts: Vec<Fact>,
}

/// A user's two files of one day.
struct Day {
    episodes: DailyFile,
    facts: DailyFile,
}

impl Day {
    fn file(&mut self, kind: Kind) -> &mut DailyFile {
        if kind == Kind::Episode { &mut self.episodes } else { &mut self.facts }
    }
}

/// The files of a root, and chance.
pub(super) struct Vault {
    root: PathBuf,
    owners: Vec<Owner>,
    days: BTreeMap<(usize, Date), Day>,
    episodes: Vec<Episode>,
    /// Entries there should be, about.
    target: u64,
    /// Whether a simple editor's way of writing is among the ways: on a full disk it destroys the file.
    in_place: bool,
    rng: Rng,
    words: Words,
    n_words: u64,
}

/// An entry's file and its new state, and what is then so.
struct Step {
    user: usize,
    day: Date,
    kind: Kind,
    file: DailyFile,
}

impl Vault {
    /// Reads a root that [`generate::root`] made.
    pub(super) fn read(root: &Path, spec: generate::Spec, in_place: bool) -> anyhow::Result<Self> {
        let rng = Rng::with_seed(spec.seed ^ 0x9e37_79b9);
        // The words that the root was made of.
        let words = Words::new(&mut Rng::with_seed(spec.seed));
        let owners = (0..spec.n_users).map(generate::owner).collect::<Vec<_>>();
        let mut vault = Self {
            root: root.to_owned(),
            owners,
            days: BTreeMap::new(),
            episodes: Vec::new(),
            target: 0,
            in_place,
            rng,
            words,
            n_words: 0,
        };
        for user in 0..vault.owners.len() {
            vault.read_user(user)?;
        }
        vault.target = vault.live();
        ensure!(vault.target > 0, "{} holds no entries", root.display());
        Ok(vault)
    }

    fn read_user(&mut self, user: usize) -> anyhow::Result<()> {
        let mut day = generate::FIRST_DAY;
        loop {
            let path = self.path(user, Kind::Episode, day)?;
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            let episodes = DailyFile::parse(&text);
            let path = self.path(user, Kind::AtomicFact, day)?;
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let facts = DailyFile::parse(&text);
            let first = self.episodes.len();
            self.episodes.extend(episodes.entry_ids().map(|id| Episode {
                user,
                day,
                id: id.to_owned(),
                word: None,
                facts: Vec::new(),
            }));
            for fact in facts.entries() {
                let parent = fact.inline("parent_id").unwrap_or_default();
                let episode = self.episodes[first..].iter_mut().find(|episode| episode.id == *parent);
                let episode = episode.with_context(|| format!("{} names no episode of its day", fact.id))?;
                let text = fact.section("Fact").unwrap_or_default();
                episode.facts.push(Fact { id: fact.id.to_owned(), text });
            }
            self.days.insert((user, day), Day { episodes, facts });
            day = day.saturating_add(1.days());
        }
    }

    /// Returns how many entries there are.
    pub(super) fn live(&self) -> u64 {
        self.episodes.iter().map(|episode| 1 + episode.facts.len() as u64).sum()
    }

    pub(super) fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    pub(super) fn user(&self, user: usize) -> &str {
        &self.owners[user].id
    }

    /// Returns somebody and a few words that were said to them.
    pub(super) fn question(&self, rng: &mut Rng) -> Option<(String, String)> {
        let episode = rng.choice(&self.episodes)?;
        let text = &rng.choice(&episode.facts)?.text;
        let mut words = text.trim_end_matches('.').split(' ').collect::<Vec<_>>();
        rng.shuffle(&mut words);
        words.truncate(rng.usize(3..=5));
        Some((self.user(episode.user).to_owned(), words.join(" ")))
    }

    /// Makes the next edit. Whatever cannot be written has not happened.
    pub(super) fn edit(&mut self) -> io::Result<Edit> {
        let dice = self.rng.u32(0..100);
        if dice < APPENDS || self.episodes.is_empty() {
            self.append()
        } else if dice < APPENDS + CHANGES {
            self.change()
        } else {
            self.delete()
        }
    }

    /// A user's last episode gets another fact, or they get another episode.
    fn append(&mut self) -> io::Result<Edit> {
        let user = self.rng.usize(0..self.owners.len());
        let (day, count) = self.last_day(user);
        let open = self.episodes.iter().rposition(|episode| episode.user == user && episode.day == day);
        if let Some(at) = open.filter(|at| self.episodes[*at].facts.len() < FACTS_PER_EPISODE) {
            let (text, _) = self.sentence();
            let parent = ("episode", self.episodes[at].id.clone());
            let body = Body::AtomicFact { fact: text.clone(), context: None };
            let (id, edit) = self.append_to(user, day, Kind::AtomicFact, parent, body)?;
            self.episodes[at].facts.push(Fact { id, text });
            return Ok(edit);
        }
        let day = if count < EPISODES_PER_DAY { day } else { day.saturating_add(1.days()) };
        let (text, word) = self.sentence();
        let parent = ("memcell", format!("mc_{:016x}", self.rng.u64(..)));
        let subject = text.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
        let body = Body::Episode { subject: Some(subject), summary: Some(text.clone()), content: text };
        let (id, edit) = self.append_to(user, day, Kind::Episode, parent, body)?;
        self.episodes.push(Episode { user, day, id, word: Some(word), facts: Vec::new() });
        Ok(edit)
    }

    fn append_to(
        &mut self,
        user: usize,
        day: Date,
        kind: Kind,
        parent: (&str, String),
        body: Body,
    ) -> io::Result<(String, Edit)> {
        let owner = &self.owners[user];
        // A file that went with its last entry goes on counting where it was.
        let held = self.days.get_mut(&(user, day)).map(|held| held.file(kind).render());
        let mut file = DailyFile::open(held.as_deref(), owner, kind, day);
        let before = file.render().len();
        let place = (file.next_sequence() % EPISODES_PER_DAY as u64) as usize;
        let draft = generate::draft(owner, day, place, parent, body).map_err(io::Error::other)?;
        let at = draft.timestamp_us;
        let ids = file.append(day, &[draft], at).map_err(io::Error::other)?;
        let changed = file.render().len().saturating_sub(before) as u64;
        let written = self.write(Step { user, day, kind, file })?;
        let id = ids.into_iter().next().unwrap_or_default();
        Ok((id, Edit { what: What::Append, entries: 1, changed_bytes: changed, written_bytes: written }))
    }

    /// A fact, or now and then an episode, says something else.
    fn change(&mut self) -> io::Result<Edit> {
        let at = self.rng.usize(0..self.episodes.len());
        let (text, word) = self.sentence();
        let episode = &self.episodes[at];
        let fact = match episode.facts.len() {
            0 => None,
            n => Some(self.rng.usize(0..n)).filter(|_| self.rng.usize(0..=FACTS_PER_EPISODE) > 0),
        };
        let (kind, id, section) = match fact {
            Some(fact) => (Kind::AtomicFact, episode.facts[fact].id.clone(), "Fact"),
            None => (Kind::Episode, episode.id.clone(), "Content"),
        };
        let (user, day) = (episode.user, episode.day);
        let mut file = self.held(user, day, kind)?.clone();
        file.set_section(&id, section, &text).map_err(io::Error::other)?;
        let changed = file.entry(&id).map_or(0, |entry| entry.raw().len()) as u64;
        let written = self.write(Step { user, day, kind, file })?;
        match fact {
            Some(fact) => self.episodes[at].facts[fact].text = text,
            None => self.episodes[at].word = Some(word),
        }
        Ok(Edit { what: What::Change, entries: 1, changed_bytes: changed, written_bytes: written })
    }

    /// A fact goes, or an episode with all its facts; which of the two keeps the number of entries where it was.
    fn delete(&mut self) -> io::Result<Edit> {
        let at = self.rng.usize(0..self.episodes.len());
        let (user, day) = (self.episodes[at].user, self.episodes[at].day);
        let mut edit = Edit { what: What::Delete, entries: 0, changed_bytes: 0, written_bytes: 0 };
        let whole = self.live() > self.target || self.episodes[at].facts.len() < 2;
        if !self.episodes[at].facts.is_empty() {
            let n = self.episodes[at].facts.len();
            let gone = if whole { 0..n } else { n - 1..n };
            let ids = self.episodes[at].facts[gone.clone()].iter().map(|fact| fact.id.clone()).collect::<Vec<_>>();
            self.remove(user, day, Kind::AtomicFact, &ids, &mut edit)?;
            self.episodes[at].facts.drain(gone);
        }
        if whole {
            let id = self.episodes[at].id.clone();
            self.remove(user, day, Kind::Episode, &[id], &mut edit)?;
            self.episodes.swap_remove(at);
        }
        Ok(edit)
    }

    fn remove(&mut self, user: usize, day: Date, kind: Kind, ids: &[String], edit: &mut Edit) -> io::Result<()> {
        let mut file = self.held(user, day, kind)?.clone();
        let before = file.render().len();
        for id in ids {
            file.remove_entry(id).map_err(io::Error::other)?;
        }
        edit.changed_bytes += before.saturating_sub(file.render().len()) as u64;
        edit.written_bytes += self.write(Step { user, day, kind, file })?;
        edit.entries += ids.len() as u64;
        Ok(())
    }

    fn held(&mut self, user: usize, day: Date, kind: Kind) -> io::Result<&mut DailyFile> {
        let day = self.days.get_mut(&(user, day)).ok_or_else(|| io::Error::other("an entry's day is not held"))?;
        Ok(day.file(kind))
    }

    /// Returns a user's newest day and how many episodes it has.
    fn last_day(&self, user: usize) -> (Date, usize) {
        let mut days = self.days.range((user, Date::MIN)..=(user, Date::MAX));
        days.next_back().map_or((generate::FIRST_DAY, 0), |((_, day), held)| {
            // Sequence numbers count what was deleted, too: a day is over when it has had its ten.
            (*day, usize::try_from(held.episodes.next_sequence()).unwrap_or(usize::MAX) - 1)
        })
    }

    /// Returns a sentence with a word that was never said before, and that word.
    fn sentence(&mut self) -> (String, String) {
        self.n_words += 1;
        let mut word = String::from("xq");
        let mut n = self.n_words;
        while n > 0 {
            // Vowels are left out, and an `x` ends it: no stemmer finds anything to cut off.
            word.push(char::from(b"bcdfghjklmnpqrtv"[(n % 16) as usize]));
            n /= 16;
        }
        word.push('x');
        let text = self.words.sentence(&mut self.rng);
        (format!("{} {word}.", text.trim_end_matches('.')), word)
    }

    fn path(&self, user: usize, kind: Kind, day: Date) -> io::Result<PathBuf> {
        Ok(self.root.join(path_for(&self.owners[user], kind, day).map_err(io::Error::other)?))
    }

    /// Writes a file, or removes it when no entry is left, and keeps what it holds now. Returns the bytes written.
    fn write(&mut self, step: Step) -> io::Result<u64> {
        let Step { user, day, kind, file } = step;
        let path = self.path(user, kind, day)?;
        let text = file.render();
        let mut n_bytes = text.len() as u64;
        if file.entry_count() == 0 {
            fs::remove_file(&path)?;
            n_bytes = 0;
        } else if self.in_place && path.exists() && self.rng.u32(0..IN_PLACE) == 0 {
            File::create(&path)?.write_all(text.as_bytes())?;
        } else {
            replace(&path, text.as_bytes())?;
        }
        let day = (user, day);
        let empty = || Day { episodes: DailyFile::parse(""), facts: DailyFile::parse("") };
        *self.days.entry(day).or_insert_with(empty).file(kind) = file;
        Ok(n_bytes)
    }
}

/// Writes beside the file and renames, as careful editors do.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file without a folder"))?;
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.swp"));
    let written = File::create(&beside).and_then(|mut to| to.write_all(bytes)).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written
}
