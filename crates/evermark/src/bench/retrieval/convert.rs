//! `evermark bench retrieval-convert`: published data sets as lines that `bench retrieval` reads. docs/retrieval.md has the
//! fields. Answers are left behind: nothing here needs them.

use crate::cli::{ConvertArgs, FormatArg};
use crate::exit::{Exit, Failure};
use crate::output::{Out, note};
use anyhow::Context;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::marker::PhantomData;

pub(in crate::bench) fn run(args: &ConvertArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let path = args.file.display();
    let file = File::open(&args.file).with_context(|| format!("cannot read {path}"))?;
    let file = BufReader::new(file);
    let mut n_unknown = 0;
    let converted = match args.format {
        FormatArg::Locomo => each(file, |sample| out.line(locomo(sample, &mut n_unknown))),
        FormatArg::Longmemeval => each(file, |question| out.line(longmemeval(question))),
    };
    converted.map_err(|error| Failure::new(Exit::Usage, format!("{path} is not as published: {error}")))?;
    if n_unknown > 0 {
        note(format_args!("note: {n_unknown} pieces of evidence name no turn of their conversation and were left out"));
    }
    Ok(Exit::Ok)
}

/// Reads a JSON array element by element: some of these files are gigabytes.
fn each<T: DeserializeOwned>(file: BufReader<File>, take: impl FnMut(T)) -> Result<(), serde_json::Error> {
    struct Each<T, F>(F, PhantomData<T>);
    impl<'de, T: DeserializeOwned, F: FnMut(T)> Visitor<'de> for Each<T, F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_reader(file);
    json.deserialize_seq(Each(take, PhantomData))?;
    json.end()
}

/// A conversation of LoCoMo.
#[derive(Deserialize)]
struct Sample {
    sample_id: String,
    /// `session_1`, `session_1_date_time`, …, beside the speakers' names.
    conversation: BTreeMap<String, Value>,
    qa: Vec<Asked>,
}

#[derive(Deserialize)]
struct Said {
    speaker: String,
    dia_id: String,
    #[serde(default)]
    text: String,
    /// What is in the picture that was sent along.
    blip_caption: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    category: Value,
    #[serde(default)]
    evidence: Vec<String>,
}

fn locomo(sample: Sample, n_unknown: &mut usize) -> Value {
    let number = |key: &str| key.strip_prefix("session_")?.parse::<u32>().ok();
    let mut sessions = sample.conversation.keys().filter_map(|key| number(key)).collect::<Vec<_>>();
    sessions.sort_unstable();
    let mut docs = Vec::new();
    let mut known = HashSet::new();
    for session in sessions {
        let ts = sample.conversation.get(&format!("session_{session}_date_time"));
        let turns = sample.conversation.get(&format!("session_{session}")).cloned().unwrap_or_default();
        for said in serde_json::from_value::<Vec<Said>>(turns).unwrap_or_default() {
            let text = match said.blip_caption {
                Some(caption) => format!("{} [image: {caption}]", said.text),
                None => said.text,
            };
            known.insert(said.dia_id.clone());
            docs.push(json!({
                "id": said.dia_id, "session": format!("D{session}"), "ts": ts, "speaker": said.speaker, "role": "user",
                "text": text.trim(),
            }));
        }
    }
    let mut question = |(i, asked): (usize, Asked)| {
        // Some cells name several turns, and some none that exists.
        let cells = asked.evidence.iter().flat_map(|cell| cell.split([';', ',', ' '])).filter(|id| !id.is_empty());
        let (gold, unknown) = cells.partition::<Vec<_>, _>(|id| known.contains(*id));
        *n_unknown += unknown.len();
        json!({
            "id": format!("{}_q{i}", sample.sample_id), "category": text_of(&asked.category), "text": asked.question,
            "gold": gold,
        })
    };
    let queries = sample.qa.into_iter().enumerate().map(&mut question).collect::<Vec<_>>();
    json!({ "dataset": "locomo", "haystack": sample.sample_id, "docs": docs, "queries": queries })
}

/// A question of LongMemEval, which has a haystack of its own.
#[derive(Deserialize)]
struct Instance {
    question_id: String,
    question_type: String,
    question: String,
    haystack_session_ids: Vec<String>,
    haystack_dates: Vec<String>,
    haystack_sessions: Vec<Vec<Turn>>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
    #[serde(default)]
    has_answer: Option<bool>,
}

fn longmemeval(instance: Instance) -> Value {
    let mut docs = Vec::new();
    let mut gold = Vec::new();
    let sessions =
        instance.haystack_sessions.into_iter().zip(instance.haystack_session_ids).zip(instance.haystack_dates);
    for (i, ((turns, session), ts)) in sessions.enumerate() {
        // A filler may be there twice.
        let session = format!("{i}:{session}");
        for (j, turn) in turns.into_iter().enumerate() {
            let id = format!("{session}:{j}");
            if turn.has_answer == Some(true) {
                gold.push(id.clone());
            }
            docs.push(json!({
                "id": id, "session": session, "ts": ts, "speaker": turn.role, "role": turn.role, "text": turn.content,
            }));
        }
    }
    // What cannot be answered from the haystack has nothing to be found.
    if instance.question_id.ends_with("_abs") {
        gold.clear();
    }
    let query = json!({
        "id": instance.question_id, "category": instance.question_type, "text": instance.question, "gold": gold,
    });
    json!({ "dataset": "longmemeval", "haystack": instance.question_id, "docs": docs, "queries": [query] })
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
