//! The hot parts of evermark-core, measured: text analysis, and one owner's shelf.
//!
//! Run: `cargo bench --profile dev -p evermark-sim --bench hot -- [facts]` (10,000 facts of one owner by default).
//! The dev profile builds evermark-core at opt-level 3, as the program is built.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement reads the clock and prints")]

use evermark_core::codec;
use evermark_core::embed::HashEmbedder;
use evermark_core::filter::Filter;
use evermark_core::id::Kind;
use evermark_core::index::{Ask, Indexable, Order};
use evermark_core::shelf::{Payloads, Shelf, ShelfRow};
use evermark_core::text;
use evermark_sim::contract::everything;
use evermark_sim::generate::{Spec, indexable, memories, owner, questions};
use serde_json::json;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let n_facts = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10_000);
    analysis();
    for dimension in [256, 384, 1024] {
        shelf(n_facts, dimension);
    }
}

fn analysis() {
    let texts = |chinese_percent| -> Vec<String> {
        let spec = Spec { chinese_percent, ..Spec::of_facts(1, 20_000, 1) };
        let facts = memories(&spec).filter(|memory| memory.kind() == Kind::AtomicFact);
        facts.map(|memory| memory.body.search_text()).collect()
    };
    let (english, chinese) = (texts(0), texts(100));
    let before = resident_bytes();
    let start = Instant::now();
    black_box(text::terms("今天天气很好"));
    let loaded = start.elapsed();
    println!("jieba: loaded in {loaded:.1?}, {:.1} MB more resident", (resident_bytes() - before) as f64 / 1e6);
    for (name, texts) in [("English", english), ("Chinese", chinese)] {
        // The best of many rounds: others use this machine too.
        let mut n_terms = 0;
        let rounds = texts.chunks_exact(1000).map(|texts| {
            let start = Instant::now();
            n_terms += texts.iter().map(|text| text::joined(text).split(' ').count()).sum::<usize>();
            start.elapsed() / texts.len() as u32
        });
        let per_text = rounds.min().unwrap_or_default();
        let bytes: usize = texts.iter().map(String::len).sum();
        println!(
            "text, {name}: {:.0} texts/s ({per_text:.2?} each, {} bytes, {:.1} terms)",
            1.0 / per_text.as_secs_f64(),
            bytes / texts.len(),
            n_terms as f64 / texts.len() as f64,
        );
    }
}

fn shelf(n_facts: usize, dimension: usize) {
    let embedder = HashEmbedder::new(dimension);
    let spec = Spec::of_facts(7, n_facts, 1);
    let rows: Vec<Indexable> = memories(&spec).map(|memory| indexable(memory, Some(&embedder))).collect();
    println!("\n{} facts and episodes, {dimension} components", rows.len());
    let build = |payloads| {
        let start = Instant::now();
        let shelf =
            Shelf::build(owner(0), Some(dimension), payloads, rows.iter().map(ShelfRow::of)).expect("valid rows");
        (shelf, start.elapsed())
    };
    let facts = rows.iter().filter(|row| row.memory.kind() == Kind::AtomicFact).map(ShelfRow::of);
    let facts = Shelf::build(owner(0), Some(dimension), Payloads::Keep, facts).expect("valid rows");
    let n_facts = facts.rows().map(|(_, n_rows)| n_rows).sum::<usize>().max(1);
    let parts = facts.bytes_by_part();
    println!(
        "bytes per fact: {} (columns {}, payload {}, postings {}, vector {})",
        facts.bytes() / n_facts,
        parts.columns / n_facts,
        parts.payloads / n_facts,
        parts.postings / n_facts,
        parts.vectors / n_facts
    );
    drop(facts);
    let (lean, lean_time) = build(Payloads::LeaveOut);
    let (mut shelf, time) = build(Payloads::Keep);
    let per_row = |bytes: usize| bytes / rows.len();
    let parts = shelf.bytes_by_part();
    println!(
        "build: {time:.1?} with payloads, {lean_time:.1?} without; bytes per row: {} with, {} without \
         (columns {}, payloads {}, postings {}, vectors {})",
        per_row(shelf.bytes()),
        per_row(lean.bytes()),
        per_row(parts.columns),
        per_row(parts.payloads),
        per_row(parts.postings),
        per_row(parts.vectors),
    );
    drop(lean);

    let questions: Vec<(Vec<String>, Vec<f32>)> = questions(3, 400)
        .into_iter()
        .map(|question| (text::query_terms(&question), embedder.vector(&question)))
        .collect();
    let (owner, all) = (owner(0), Filter::everything());
    let session = Filter::parse(&json!({"timestamp": {"gte": "2025-01-20"}}), &jiff::tz::TimeZone::UTC).expect("valid");
    let parents: Vec<String> = (0..20).map(|n| format!("ep_202501{:02}_00000001", n + 1)).collect();
    for (name, filter, parents) in
        [("all", &all, None), ("since a day", &session, None), ("20 parents", &all, Some(parents.as_slice()))]
    {
        let ask = |kind| Ask { limit: 20, parents, ..everything(&owner, kind, filter) };
        let facts = ask(Kind::AtomicFact);
        time_each(&format!("matching facts, {name}"), &questions, |(terms, _)| shelf.matching(&facts, terms).len());
        time_each(&format!("nearest facts, {name}"), &questions, |(_, vector)| {
            shelf.nearest(&facts, vector).expect("right width").len()
        });
    }
    let episodes = Ask { limit: 20, ..everything(&owner, Kind::Episode, &all) };
    time_each("matching episodes", &questions, |(terms, _)| shelf.matching(&episodes, terms).len());
    time_each("nearest episodes", &questions, |(_, vector)| shelf.nearest(&episodes, vector).expect("width").len());
    let facts = Ask { limit: 20, ..everything(&owner, Kind::AtomicFact, &all) };
    time_each("list 20 facts", &questions, |_| {
        shelf.list(&facts, Order { descending: true }, 40).expect("payloads").total
    });
    let ids: Vec<String> = rows.iter().take(100).map(|row| row.memory.id.clone()).collect();
    time_each("fetch 100 of both kinds", &questions, |_| {
        shelf.fetch(Kind::AtomicFact, &ids).expect("payloads").len()
            + shelf.fetch(Kind::Episode, &ids).expect("payloads").len()
    });

    let start = Instant::now();
    for row in rows.iter().step_by(10) {
        shelf.upsert([ShelfRow::of(row)]).expect("valid rows");
    }
    let n_updates = rows.len().div_ceil(10);
    println!("update one row: {:.2?} mean of {n_updates}", start.elapsed() / n_updates as u32);
    time_each("matching facts, after updates", &questions, |(terms, _)| shelf.matching(&facts, terms).len());
    println!("bytes per row after updates: {}", per_row(shelf.bytes()));

    let start = Instant::now();
    let encoded: Vec<Vec<u8>> = rows.iter().map(|row| codec::encode(&row.memory)).collect();
    let encoding = start.elapsed() / rows.len() as u32;
    let start = Instant::now();
    let decoded = encoded.iter().map(|bytes| codec::decode(bytes).expect("ours").id.len()).sum::<usize>();
    black_box(decoded);
    let bytes: usize = encoded.iter().map(Vec::len).sum();
    println!(
        "codec: encode {encoding:.0?}, decode {:.0?}, {} bytes",
        start.elapsed() / rows.len() as u32,
        per_row(bytes)
    );
}

fn time_each<T>(name: &str, questions: &[T], mut ask: impl FnMut(&T) -> usize) {
    let mut times: Vec<Duration> = Vec::new();
    let mut found = 0;
    for question in questions.iter().chain(questions) {
        let start = Instant::now();
        found += black_box(ask(question));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("{name}: p50 {:.0?}, p99 {:.0?} ({:.1} hits)", at(50), at(99), found as f64 / times.len() as f64);
}

fn resident_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok()).unwrap_or_default() * 4096
}
