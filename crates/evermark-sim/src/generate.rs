//! Made-up people, their conversations and what was remembered of them: the same for the same seed.
//!
//! Words follow Zipf's law over a vocabulary of real and made-up words, so that posting lists, idf and dictionary sizes
//! look like prose's. Nothing here means anything.

#[cfg(test)]
mod tests;
mod words;

use evermark_core::embed::HashEmbedder;
use evermark_core::id::{Owner, Scope};
use evermark_core::index::Indexable;
use evermark_core::memory::{Body, Memory};
use evermark_core::text;
use words::Words;

/// Microseconds of 2025-01-01T00:00:00Z, the first day of every life.
const FIRST_DAY_US: i64 = 1_735_689_600_000_000;
const DAY_US: i64 = 86_400_000_000;

/// How much to make.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub seed: u64,
    pub users: usize,
    pub episodes_per_user: usize,
    pub facts_per_episode: usize,
    /// Percent of episodes that are in Chinese.
    pub chinese_percent: u8,
}

impl Spec {
    /// Returns a spec of about `n_facts` facts, a fifth as many episodes, and so many users; a tenth is Chinese.
    pub fn of_facts(seed: u64, n_facts: usize, users: usize) -> Self {
        let users = users.max(1);
        let facts_per_episode = 5;
        let episodes_per_user = (n_facts / facts_per_episode).div_ceil(users);
        Self { seed, users, episodes_per_user, facts_per_episode, chinese_percent: 10 }
    }
}

/// Returns all memories of a spec: for each user, each episode followed by its facts, in the order of time.
pub fn memories(spec: &Spec) -> impl Iterator<Item = Memory> {
    let spec = *spec;
    (0..spec.users).flat_map(move |user| Life::of(&spec, user))
}

/// Returns the name of a spec's user.
pub fn user_id(user: usize) -> String {
    format!("user_{user:03}")
}

/// Returns the owner of a spec's user, in the default scope.
pub fn owner(user: usize) -> Owner {
    Owner::user(Scope::default(), user_id(user))
}

/// Returns the row of a memory, as the indexer makes it; without an embedder it has no vector.
pub fn indexable(memory: Memory, embedder: Option<&HashEmbedder>) -> Indexable {
    let tokens = text::joined(&memory.body.search_text());
    let vector = embedder.and_then(|embedder| Some(embedder.vector(&memory.body.embed_text()?)));
    Indexable { memory, tokens, vector }
}

/// Returns questions in the words of the memories, two to six words each.
pub fn questions(seed: u64, n_questions: usize) -> Vec<String> {
    let mut words = Words::new(seed ^ 0x9e37_79b9);
    (0..n_questions)
        .map(|n| {
            let n_words = words.rng.usize(2..=6);
            if n % 10 == 9 { words.chinese(n_words) } else { words.content(n_words) }
        })
        .collect()
}

/// One user's memories in the making.
struct Life {
    spec: Spec,
    words: Words,
    user: String,
    episode: usize,
    /// What is left of the current episode, last first.
    ready: Vec<Memory>,
}

impl Life {
    fn of(spec: &Spec, user: usize) -> Self {
        let seed = spec.seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(user as u64);
        Self { spec: *spec, words: Words::new(seed), user: user_id(user), episode: 0, ready: Vec::new() }
    }

    fn live(&mut self) {
        // Eight episodes a day, one session each day.
        let (day, of_day) = (self.episode / 8, self.episode % 8);
        self.episode += 1;
        let start_us = FIRST_DAY_US + day as i64 * DAY_US + (of_day as i64 * 2 + 6) * 3_600_000_000;
        let date = date_of(start_us);
        let compact = date.replace('-', "");
        let session = format!("s-{}-{compact}", self.user);
        let is_chinese = self.words.rng.u8(0..100) < self.spec.chinese_percent;
        let friend = self.words.name();
        let n_messages = self.words.rng.usize(4..=10);
        let mut lines = Vec::new();
        let mut message_ids = Vec::new();
        for n in 0..n_messages {
            let at_us = start_us + n as i64 * 40_000_000;
            let said = self.words.sentence(is_chinese);
            let speaker = if n % 2 == 0 { self.user.as_str() } else { "assistant" };
            lines.push(format!("{date} {} UTC - {speaker} said: {said}", clock(at_us)));
            message_ids.push(format!("m_{session}_{}_{n:03}", at_us / 1000));
        }
        let entry = format!("ep_{compact}_{:08}", of_day + 1);
        let owner = Owner::user(Scope::default(), self.user.clone());
        let episode = Memory {
            owner: owner.clone(),
            id: format!("{}_{entry}", self.user),
            entry_id: entry.clone(),
            path: format!("default_app/default_project/users/{}/episodes/episode-{date}.md", self.user),
            session_id: Some(session.clone()),
            timestamp_us: Some(start_us),
            parent_type: Some("memcell".to_owned()),
            parent_id: Some(format!("mc_{:012x}", self.words.rng.u64(0..1 << 48))),
            sender_ids: vec![self.user.clone(), friend],
            message_ids: message_ids.clone(),
            deprecated_by: None,
            body: Body::Episode {
                subject: Some(self.words.sentence(is_chinese)),
                summary: None,
                content: lines.join("\n"),
            },
        };
        let facts = self.spec.facts_per_episode;
        for n in (0..facts).rev() {
            let fact_entry = format!("af_{compact}_{:08}", of_day * facts + n + 1);
            let said = self.words.sentence(is_chinese);
            let message = self.words.rng.usize(0..message_ids.len());
            self.ready.push(Memory {
                owner: owner.clone(),
                id: format!("{}_{fact_entry}", self.user),
                entry_id: fact_entry,
                path: format!("default_app/default_project/users/{}/.atomic_facts/atomic_fact-{date}.md", self.user),
                session_id: Some(session.clone()),
                timestamp_us: Some(start_us + n as i64 * 1_000_000),
                parent_type: Some("episode".to_owned()),
                parent_id: Some(entry.clone()),
                sender_ids: vec![self.user.clone()],
                message_ids: vec![message_ids[message].clone()],
                deprecated_by: None,
                body: Body::AtomicFact { fact: format!("{} said: {said}", self.user), context: None },
            });
        }
        self.ready.push(episode);
    }
}

impl Iterator for Life {
    type Item = Memory;

    fn next(&mut self) -> Option<Memory> {
        if self.ready.is_empty() {
            if self.episode == self.spec.episodes_per_user {
                return None;
            }
            self.live();
        }
        self.ready.pop()
    }
}

/// Returns the day of a time as `YYYY-MM-DD` (UTC), by the civil calendar's 400-year cycle.
fn date_of(us: i64) -> String {
    let days = us.div_euclid(DAY_US) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(us: i64) -> String {
    let seconds = us.rem_euclid(DAY_US) / 1_000_000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
