//! Made-up roots: the Markdown that a year of talk would leave behind, from a seed.
//!
//! Five facts to an episode, ten episodes to a user's day. Words are drawn with falling frequency from a few thousand, and
//! names and numbers are mixed in, so that a search has common and rare words to go by.

use crate::bench::measure;
use anyhow::{Context, ensure};
use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::markdown::{DailyFile, EntryDraft, path_for};
use evermark_core::memory::Body;
use fastrand::Rng;
use jiff::ToSpan;
use jiff::civil::{Date, date};
use std::fs::File;
use std::io::Write;
use std::path::Path;

pub(super) const FACTS_PER_EPISODE: usize = 5;
pub(super) const EPISODES_PER_DAY: usize = 10;
pub(super) const FIRST_DAY: Date = date(2026, 1, 1);
const N_WORDS: usize = 4000;
/// Says what a root was made of, so that it can be used again.
pub(super) const MARKER: &str = ".evermark-bench";

/// What to make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) n_facts: u32,
    pub(super) n_users: u32,
    pub(super) seed: u64,
}

/// What was made up.
pub(super) struct Made {
    pub(super) n_episodes: usize,
    pub(super) n_files: u64,
    pub(super) n_bytes: u64,
    /// User and text of some facts, to ask for.
    pub(super) samples: Vec<(String, String)>,
}

/// Writes a root into an empty folder; a folder that holds this very root is left alone.
pub(super) fn root(folder: &Path, spec: Spec) -> anyhow::Result<Made> {
    let marker = folder.join(MARKER);
    let wanted = format!("{spec:?}\n");
    let is_there = std::fs::read_to_string(&marker).is_ok_and(|found| found == wanted);
    ensure!(
        is_there || std::fs::read_dir(folder)?.next().is_none(),
        "{} is neither empty nor a root made by this benchmark with the same numbers",
        folder.display()
    );
    let mut rng = Rng::with_seed(spec.seed);
    let words = Words::new(&mut rng);
    let mut made = Made { n_episodes: 0, n_files: 0, n_bytes: 0, samples: Vec::new() };
    for i in 0..spec.n_users {
        let share = spec.n_facts / spec.n_users + u32::from(i < spec.n_facts % spec.n_users);
        let owner = owner(i);
        for (day, n_facts) in days(share as usize) {
            write_day(folder, &owner, day, n_facts, &words, &mut rng, &mut made, is_there)?;
        }
    }
    if !is_there {
        File::create(&marker)?.write_all(wanted.as_bytes())?;
    }
    (made.n_files, made.n_bytes) = measure::markdown(folder);
    Ok(made)
}

/// Returns the `i`-th user.
pub(super) fn owner(i: u32) -> Owner {
    Owner::user(Scope::default(), format!("user_{i:03}"))
}

/// Returns what a day's `i`-th episode, or one of its facts, looks like before it has an id.
pub(super) fn draft(
    owner: &Owner,
    day: Date,
    i: usize,
    parent: (&str, String),
    body: Body,
) -> anyhow::Result<EntryDraft> {
    let midnight_us = day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().as_microsecond();
    Ok(EntryDraft {
        owner_id: owner.id.clone(),
        session_id: Some(format!("s-{day}-{i}")),
        timestamp_us: midnight_us + (8 * 3600 + i64::try_from(i).unwrap_or_default() * 3000) * 1_000_000,
        parent_type: Some(parent.0.to_owned()),
        parent_id: Some(parent.1),
        sender_ids: vec![owner.id.clone(), "helper".to_owned()],
        message_ids: Vec::new(),
        body,
    })
}

/// Spreads a user's facts over days.
pub(super) fn days(n_facts: usize) -> impl Iterator<Item = (Date, usize)> {
    let per_day = FACTS_PER_EPISODE * EPISODES_PER_DAY;
    (0..n_facts.div_ceil(per_day)).map(move |i| {
        let day = FIRST_DAY.saturating_add(i64::try_from(i).unwrap_or(i64::MAX).min(300_000).days());
        (day, per_day.min(n_facts - i * per_day))
    })
}

#[expect(clippy::too_many_arguments, reason = "one place calls it")]
fn write_day(
    folder: &Path,
    owner: &Owner,
    day: Date,
    n_facts: usize,
    words: &Words,
    rng: &mut Rng,
    made: &mut Made,
    is_there: bool,
) -> anyhow::Result<()> {
    let facts = (0..n_facts).map(|_| words.sentence(rng)).collect::<Vec<_>>();
    for fact in &facts {
        if made.samples.len() < 4096 || rng.u32(0..16) == 0 {
            made.samples.push((owner.id.clone(), fact.clone()));
        }
    }
    let groups = facts.chunks(FACTS_PER_EPISODE).collect::<Vec<_>>();
    made.n_episodes += groups.len();
    let episodes = groups.iter().enumerate().map(|(i, facts)| {
        let body = Body::Episode {
            subject: Some(facts[0].split_whitespace().take(6).collect::<Vec<_>>().join(" ")),
            summary: Some(facts[0].clone()),
            content: facts.iter().map(|fact| format!("{}: {fact}\n", owner.id)).collect(),
        };
        draft(owner, day, i, ("memcell", format!("mc_{:016x}", rng.u64(..))), body)
    });
    let episodes = episodes.collect::<anyhow::Result<Vec<_>>>()?;
    let ids = append(folder, owner, Kind::Episode, day, &episodes, is_there)?;
    let facts = groups
        .iter()
        .zip(&ids)
        .enumerate()
        .flat_map(|(i, (facts, id))| facts.iter().map(move |fact| (i, id.clone(), fact)).collect::<Vec<_>>());
    let facts = facts
        .map(|(i, id, fact)| {
            draft(owner, day, i, ("episode", id), Body::AtomicFact { fact: fact.clone(), context: None })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    append(folder, owner, Kind::AtomicFact, day, &facts, is_there)?;
    Ok(())
}

fn append(
    folder: &Path,
    owner: &Owner,
    kind: Kind,
    day: Date,
    drafts: &[EntryDraft],
    is_there: bool,
) -> anyhow::Result<Vec<String>> {
    let path = folder.join(path_for(owner, kind, day)?);
    let mut file = DailyFile::open(None, owner, kind, day);
    let ids = file.append(day, drafts, drafts.last().map_or(0, |draft| draft.timestamp_us))?;
    if !is_there {
        std::fs::create_dir_all(path.parent().context("a daily file lies in a folder")?)?;
        File::create(&path)
            .and_then(|mut to| to.write_all(file.render().as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ids)
}

/// Words of a made-up language, the first ones said most.
pub(super) struct Words {
    words: Vec<String>,
}

impl Words {
    pub(super) fn new(rng: &mut Rng) -> Self {
        const ONSETS: [&str; 16] = ["b", "br", "d", "f", "g", "gr", "k", "l", "m", "n", "p", "r", "s", "st", "t", "v"];
        const VOWELS: [&str; 7] = ["a", "e", "i", "o", "u", "ai", "ou"];
        let mut words = Vec::with_capacity(N_WORDS);
        while words.len() < N_WORDS {
            let syllables = rng.usize(2..=4);
            let word = (0..syllables)
                .map(|_| [ONSETS[rng.usize(0..16)], VOWELS[rng.usize(0..7)]].concat())
                .collect::<String>();
            words.push(word);
        }
        Self { words }
    }

    /// Returns 8 to 16 words, now and then with a number: about the length of a fact.
    pub(super) fn sentence(&self, rng: &mut Rng) -> String {
        let mut said = (0..rng.usize(8..=16)).map(|_| self.word(rng).to_owned()).collect::<Vec<_>>();
        if rng.u32(0..4) == 0 {
            said.push(rng.u32(1000..100_000).to_string());
        }
        let mut text = said.join(" ");
        if let Some(first) = text.get_mut(0..1) {
            first.make_ascii_uppercase();
        }
        text.push('.');
        text
    }

    /// Draws a word; the cube makes the first eighth of the list half of all that is said.
    fn word(&self, rng: &mut Rng) -> &str {
        let at = rng.f64().powi(3);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of words")]
        let at = (at * self.words.len() as f64) as usize;
        &self.words[at.min(self.words.len() - 1)]
    }
}
