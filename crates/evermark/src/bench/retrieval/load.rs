//! A haystack remembered: its messages added in order, its sessions flushed.
//!
//! Each haystack is a project of its own, so that each is searched alone. Names that come from the data set are in none of our
//! ids: projects and sessions are numbered.

use super::dataset::{Haystack, Speaks, Turn};
use anyhow::{Context, ensure};
use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::memory::{ContentItem, Role};
use evermark_engine::Engine;
use evermark_engine::add::{AddRequest, FlushRequest, NewMessage, Receipt};
use evermark_engine::get::{GetAnswer, GetRequest};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Messages the API takes in one request.
const MESSAGES_MAX: usize = 500;
/// Memories listed at once.
const PAGE: usize = 1000;
const APP: &str = "bench";

/// What became of haystacks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) episodes: usize,
    pub(super) facts: usize,
    /// Messages that no memory was made of: empty ones, and those of sessions in which no user speaks.
    pub(super) unextracted: usize,
}

/// Where a haystack's memories are, and which message is which.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) owner: Owner,
    /// Places in the haystack by message id.
    pub(super) docs: HashMap<String, usize>,
    /// Places of the messages that a fact was made of: the others are found through their episodes alone.
    pub(super) in_facts: HashSet<usize>,
}

/// Adds a haystack. `nth` numbers it.
pub(super) fn load(engine: &Engine, haystack: &Haystack, nth: usize, tally: &mut Tally) -> anyhow::Result<()> {
    let names = Names::new(haystack);
    for (i, session) in haystack.sessions.iter().enumerate() {
        let said = said(&session.turns);
        let mut count = |receipt: Receipt| {
            tally.facts += receipt.facts;
            tally.episodes += receipt.episodes.len();
        };
        for batch in said.chunks(MESSAGES_MAX) {
            let receipt = engine.add(AddRequest {
                scope: scope(nth),
                session_id: session_id(i),
                messages: batch.iter().map(|turn| message(turn, &names)).collect(),
                defer_extraction: false,
                queued: false,
                wait_indexed: None,
            })?;
            ensure!(receipt.duplicates == 0, "messages of haystack `{}` were taken for repetitions", haystack.name);
            count(receipt);
        }
        let request = FlushRequest { scope: scope(nth), session_id: session_id(i), wait_indexed: None };
        let flushed = engine.flush(request)?;
        tally.unextracted += flushed.open + session.turns.len() - said.len();
        count(flushed);
    }
    Ok(())
}

/// Returns where a haystack is, once it is loaded and indexed.
///
/// It is asked as the user who was there most, for an episode belongs to those who speak in it; among equals, as the one who
/// spoke first.
pub(super) fn locate(engine: &Engine, haystack: &Haystack, nth: usize) -> anyhow::Result<Loaded> {
    let mut owner = None;
    let mut most = 0;
    for user in Names::new(haystack).users {
        let user = Owner::user(scope(nth), user);
        let n_episodes = get(engine, &user, Kind::Episode, 1)?.total;
        if n_episodes > most {
            (owner, most) = (Some(user), n_episodes);
        }
    }
    let owner = owner.with_context(|| format!("nothing is remembered of haystack `{}`", haystack.name))?;
    let mut docs = HashMap::new();
    for (i, session) in haystack.sessions.iter().enumerate() {
        for batch in said(&session.turns).chunks(MESSAGES_MAX) {
            // The engine's rule: session, time as sent, place in the request.
            let id = |place: usize, turn: &Turn| format!("m_{}_{}_{place:03}", session_id(i), turn.at_ms);
            docs.extend(batch.iter().enumerate().map(|(place, turn)| (id(place, turn), turn.doc)));
        }
    }
    let mut in_facts = HashSet::new();
    for page in 1.. {
        let facts = get(engine, &owner, Kind::AtomicFact, page)?.memories;
        in_facts.extend(facts.iter().flat_map(|fact| &fact.message_ids).filter_map(|id| docs.get(id)));
        if facts.len() < PAGE {
            break;
        }
    }
    Ok(Loaded { owner, docs, in_facts })
}

fn get(engine: &Engine, owner: &Owner, kind: Kind, page: usize) -> anyhow::Result<GetAnswer> {
    let request = GetRequest { owner: owner.clone(), kind, page, page_size: PAGE, descending: false, filters: None };
    Ok(engine.get(request)?)
}

fn scope(nth: usize) -> Scope {
    Scope::new(APP, format!("h{nth:04}"))
}

fn session_id(i: usize) -> String {
    format!("s{i:04}")
}

/// Returns the turns in which something is said.
fn said(turns: &[Turn]) -> Vec<&Turn> {
    turns.iter().filter(|turn| !turn.text.trim().is_empty()).collect()
}

fn message(turn: &Turn, names: &Names) -> NewMessage {
    let text = turn.text.clone();
    NewMessage {
        sender_id: names.ids.get(&turn.speaker).cloned().unwrap_or_default(),
        sender_name: Some(turn.speaker.clone()),
        role: match turn.role {
            Speaks::User => Role::User,
            Speaks::Assistant => Role::Assistant,
            Speaks::Tool => Role::Tool,
        },
        timestamp: turn.at_ms,
        items: vec![ContentItem { raw: json!({ "type": "text", "text": text }), text: Some(text) }],
        tool_calls: None,
        tool_call_id: None,
    }
}

/// Ids of the speakers.
struct Names {
    ids: HashMap<String, String>,
    /// Ids of those who speak as users, in order of first word.
    users: Vec<String>,
}

impl Names {
    fn new(haystack: &Haystack) -> Self {
        let mut names = Self { ids: HashMap::new(), users: Vec::new() };
        for turn in haystack.sessions.iter().flat_map(|session| &session.turns) {
            let id = names.id(&turn.speaker);
            if turn.role == Speaks::User && !names.users.contains(&id) {
                names.users.push(id);
            }
        }
        names
    }

    /// Returns the speaker's name, without what may not be in an id; numbered where another has the same.
    fn id(&mut self, speaker: &str) -> String {
        if let Some(id) = self.ids.get(speaker) {
            return id.clone();
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let short = speaker.chars().take(64).map(plain).collect::<String>();
        let mut id = if short.is_empty() { "_".to_owned() } else { short.clone() };
        while self.ids.values().any(|taken| *taken == id) {
            id = format!("{short}_{}", self.ids.len() + 1);
        }
        self.ids.insert(speaker.to_owned(), id.clone());
        id
    }
}
