//! A person's edits: a file is saved, and a word that was never said before is asked for until it is found.

use super::ask::{Place, Request};
use super::stir::Groups;
use crate::bench::generate::{self, Spec};
use crate::bench::wire::Wire;
use crate::clock;
use anyhow::{Context, ensure};
use evermark_core::id::{Kind, Owner};
use evermark_core::markdown::{DailyFile, path_for};
use fastrand::Rng;
use jiff::civil::Date;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SEARCH: &str = "/api/v1/memory/search";
/// Nobody waits for longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// One in so many edits writes into the file itself, as simple editors do, instead of replacing it.
const IN_PLACE: usize = 4;

/// The files that are edited, one after the other.
pub(super) struct Files {
    root: PathBuf,
    days: Vec<(Owner, Date)>,
    words: usize,
}

impl Files {
    /// Returns the files that are in no set of `groups`.
    pub(super) fn new(root: &Path, spec: Spec, groups: Groups, seed: u64) -> Self {
        let mut days = Vec::new();
        for i in 0..spec.n_users {
            let n_facts = spec.n_facts / spec.n_users + u32::from(i < spec.n_facts % spec.n_users);
            let owner = generate::owner(i);
            let all = generate::days(n_facts as usize).map(|(day, _)| day);
            days.extend(all.filter(|day| groups.set(i, *day).is_none()).map(|day| (owner.clone(), day)));
        }
        Rng::with_seed(seed).shuffle(&mut days);
        Self { root: root.to_owned(), days, words: 0 }
    }

    /// Returns what one of so many editors works on, so that no two ever save the same file.
    pub(super) fn split(mut self, n_editors: usize) -> Vec<Self> {
        let mut parts = (0..n_editors)
            .map(|i| Self { root: self.root.clone(), days: Vec::new(), words: (i + 1) * 1_000_000 })
            .collect::<Vec<_>>();
        for (i, day) in self.days.drain(..).enumerate() {
            parts[i % n_editors].days.push(day);
        }
        parts.retain(|part| !part.days.is_empty());
        parts
    }

    /// Saves a file with a new word in it and asks for that word, every `glance`, until it is found. Returns how long that took.
    pub(super) fn edit(&mut self, wire: &mut Wire, place: &Place, glance: Duration) -> anyhow::Result<Duration> {
        self.words += 1;
        let word = word(self.words);
        let (owner, day) = self.days[self.words % self.days.len()].clone();
        // An episode is found by its words; a fact by everything there is.
        let (kind, section, method) = match self.words % 2 {
            0 => (Kind::Episode, "Content", "keyword"),
            _ => (Kind::AtomicFact, "Fact", "hybrid"),
        };
        let path = self.root.join(path_for(&owner, kind, day)?);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = DailyFile::parse(&text);
        let ids = file.entry_ids().map(str::to_owned).collect::<Vec<_>>();
        let id = ids.get(self.words / 2 % ids.len().max(1)).context("a file without entries")?;
        let said = file.entry(id).and_then(|entry| entry.section(section)).unwrap_or_default();
        file.set_section(id, section, &format!("{} {word}.", said.trim_end().trim_end_matches('.')))?;
        let asked = json!({ "user_id": owner.id, "query": word, "method": method, "top_k": 10 });
        let request = Request { path: SEARCH.to_owned(), body: asked.to_string() };
        // What is built for an owner at the first search is not the edit's business, nor is a refusal before it.
        wire.send(place.verb, &request.path, &request.body)?;
        save(&path, file.render().as_bytes(), self.words.is_multiple_of(IN_PLACE))?;
        let saved = clock::now();
        loop {
            let (status, answer) = wire.send(place.verb, &request.path, &request.body)?;
            // The word is in the answer only as part of a memory: no answer repeats the question.
            if status == 200 && String::from_utf8_lossy(answer).contains(&word) {
                return Ok(saved.elapsed());
            }
            ensure!(saved.elapsed() < PATIENCE, "what was saved in {} is not found", path.display());
            clock::pause(glance);
        }
    }
}

fn save(path: &Path, bytes: &[u8], in_place: bool) -> anyhow::Result<()> {
    let done = if in_place {
        File::create(path).and_then(|mut file| file.write_all(bytes))
    } else {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.swp"));
        File::create(&beside).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&beside, path))
    };
    done.with_context(|| format!("cannot save {}", path.display()))
}

/// Returns the n-th word that nobody has said. Vowels are left out, and an `x` ends it: no stemmer finds anything to cut off.
fn word(mut n: usize) -> String {
    let mut word = String::from("zq");
    while n > 0 {
        word.push(char::from(b"bcdfghjklmnpqrtv"[n % 16]));
        n /= 16;
    }
    word.push('x');
    word
}
