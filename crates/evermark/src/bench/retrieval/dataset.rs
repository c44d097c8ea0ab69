//! Data sets: haystacks of messages, and questions that name the messages which answer them. docs/retrieval.md has the format.
//!
//! What would give an answer away (`answer`, and everything else that is not listed there) is never read.

use super::when;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::io::BufRead;

/// A conversation that is searched alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Haystack {
    pub(crate) dataset: String,
    pub(crate) name: String,
    pub(crate) sessions: Vec<Session>,
    pub(crate) questions: Vec<Question>,
    /// Questions that were left out because nothing answers them.
    pub(crate) n_without_gold: usize,
}

impl Haystack {
    pub(crate) fn n_messages(&self) -> usize {
        self.sessions.iter().map(|session| session.turns.len()).sum()
    }
}

/// A part of a haystack that was said in one go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) turns: Vec<Turn>,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    /// Its place among all messages of the haystack, as the file lists them.
    pub(crate) doc: usize,
    /// Later than that of the turn before.
    pub(crate) at_ms: i64,
    pub(crate) speaker: String,
    pub(crate) role: Speaks,
    pub(crate) text: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speaks {
    #[default]
    User,
    Assistant,
    Tool,
}

/// A question, and what answers it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) text: String,
    /// Places of the messages that answer it, each once; never empty.
    pub(crate) gold: Vec<usize>,
}

/// A line that is no haystack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    pub(crate) what: String,
}

#[derive(Deserialize)]
struct HaystackLine {
    #[serde(default)]
    dataset: String,
    haystack: String,
    docs: Vec<DocLine>,
    queries: Vec<QueryLine>,
}

#[derive(Deserialize)]
struct DocLine {
    id: String,
    session: String,
    ts: Value,
    speaker: String,
    #[serde(default)]
    role: Speaks,
    text: String,
}

#[derive(Deserialize)]
struct QueryLine {
    id: String,
    #[serde(default)]
    category: Value,
    text: String,
    #[serde(default)]
    gold: Vec<String>,
}

/// Milliseconds between turns that are said to be of the same time.
const STEP_MS: i64 = 1000;

/// Reads a whole data set, or its first haystacks. Blank lines are left out.
///
/// Errors: the first line that is no haystack, and why.
pub(crate) fn read(lines: impl BufRead, zone: &TimeZone, limit: Option<usize>) -> Result<Vec<Haystack>, Malformed> {
    let mut haystacks = Vec::new();
    for (i, text) in lines.lines().enumerate() {
        if limit.is_some_and(|limit| haystacks.len() >= limit) {
            break;
        }
        let malformed = |what: String| Malformed { line: i + 1, what };
        let text = text.map_err(|error| malformed(format!("cannot be read: {error}")))?;
        if text.trim().is_empty() {
            continue;
        }
        // The column serde names is that of the line.
        let line = serde_json::from_str(&text).map_err(|error| malformed(format!("is no haystack: {error}")))?;
        haystacks.push(haystack(line, zone).map_err(malformed)?);
    }
    Ok(haystacks)
}

fn haystack(line: HaystackLine, zone: &TimeZone) -> Result<Haystack, String> {
    if !line.docs.iter().any(|doc| doc.role == Speaks::User) {
        return Err(format!(
            "haystack `{}` has no doc with the role `user`, so its memories would be nobody's",
            line.haystack
        ));
    }
    let mut docs = HashMap::new();
    let mut places = HashMap::new();
    let mut sessions: Vec<Session> = Vec::new();
    for (doc, said) in line.docs.into_iter().enumerate() {
        let given = when::milliseconds(&said.ts, zone).map_err(|wrong| format!("doc `{}`: {wrong}", said.id))?;
        let place = *places.entry(said.session).or_insert_with(|| {
            sessions.push(Session { turns: Vec::new() });
            sessions.len() - 1
        });
        let turns = &mut sessions[place].turns;
        let at_ms = turns.last().map_or(given, |before| given.max(before.at_ms + STEP_MS));
        if docs.insert(said.id.clone(), doc).is_some() {
            return Err(format!("two docs have the id `{}`", said.id));
        }
        turns.push(Turn { doc, at_ms, speaker: said.speaker, role: said.role, text: said.text });
    }
    let mut questions = Vec::new();
    let mut n_without_gold = 0;
    for query in line.queries {
        if query.gold.is_empty() {
            n_without_gold += 1;
            continue;
        }
        if query.text.trim().is_empty() {
            return Err(format!("query `{}` has no text", query.id));
        }
        let place = |id: &String| {
            docs.get(id)
                .copied()
                .ok_or_else(|| format!("query `{}` has the gold `{id}`, which is no doc of its haystack", query.id))
        };
        let gold = query.gold.iter().map(place).collect::<Result<BTreeSet<_>, _>>()?;
        let category = match query.category {
            Value::String(text) => text,
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        questions.push(Question { id: query.id, category, text: query.text, gold: gold.into_iter().collect() });
    }
    Ok(Haystack { dataset: line.dataset, name: line.haystack, sessions, questions, n_without_gold })
}
