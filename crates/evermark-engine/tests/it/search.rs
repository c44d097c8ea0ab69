//! What `hybrid` finds, by words and by words and meaning, and what it says of it.

use crate::kit::{Kit, add, ask, flush};
use evermark_core::embed::HashEmbedder;
use evermark_core::memory::Body;
use evermark_core::memory::Role::{Assistant, User};
use evermark_engine::engine::Engine;
use evermark_engine::search::{Method, SearchAnswer, SearchRequest};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A talk about a trip, and some about other things.
fn talked(kit: &Kit) -> Engine {
    let engine = kit.open();
    add(
        &engine,
        "trip",
        &[
            (0, "mira", User, "I am back from Portugal since Tuesday evening."),
            (1, "bot", Assistant, "Which restaurant did you like best over there?"),
            (2, "mira", User, "The small one behind the old tram depot, run by two sisters."),
            (3, "mira", User, "We ate grilled sardines and drank green wine."),
        ],
    );
    flush(&engine, "trip");
    add(&engine, "garden", &[(90_000_000, "mira", User, "The tomatoes in the greenhouse have blight again.")]);
    flush(&engine, "garden");
    add(
        &engine,
        "work",
        &[
            (180_000_000, "mira", User, "The rollout of src/billing/invoice.rs is planned for Friday."),
            (180_000_001, "mira", User, "Jonas said \"ship it Friday\" although Friday is a holiday."),
        ],
    );
    flush(&engine, "work");
    engine
}

fn with_model(mut kit: Kit) -> Kit {
    kit.embedder = Some(Arc::new(HashEmbedder::new(64)));
    kit
}

/// Returns the facts found, best first.
fn facts(answer: &SearchAnswer) -> Vec<String> {
    let mut facts: Vec<(f32, String)> = (answer.episodes.iter())
        .flat_map(|hit| &hit.facts)
        .map(|fact| match &fact.memory.body {
            Body::AtomicFact { fact: text, .. } => (fact.score, text.clone()),
            other => panic!("{other:?} is no fact"),
        })
        .collect();
    facts.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    facts.into_iter().map(|(_, text)| text).collect()
}

fn hybrid(query: &str) -> SearchRequest {
    SearchRequest { explain: true, ..ask("mira", query, Method::Hybrid) }
}

#[test]
fn an_answer_is_found_by_the_words_of_its_question() {
    for kit in [Kit::new(), with_model(Kit::new())] {
        let engine = talked(&kit);
        let answer = engine.search(hybrid("which restaurant did Mira like")).expect("searched");
        let found = facts(&answer);
        assert!(found[0].contains("behind the old tram depot"), "{found:?}");
        // It stands in the file, for people and for a rebuild.
        let fact = &answer.episodes[0].facts[0].memory;
        let Body::AtomicFact { context, .. } = &fact.body else { panic!("a fact") };
        assert_eq!(context.as_deref(), Some("bot: Which restaurant did you like best over there?"));
        let file = std::fs::read_to_string(kit.path(&fact.path)).expect("its file");
        assert!(file.contains("### Context\nbot: Which restaurant did you like best over there?"), "{file}");
    }
}

#[test]
fn a_slip_of_the_finger_is_forgiven() {
    let kit = Kit::new();
    let engine = talked(&kit);
    for query in ["sardnies", "greenhuose", "tomatos blihgt", "Portugl"] {
        let found = facts(&engine.search(hybrid(query)).expect("searched"));
        assert!(!found.is_empty(), "{query}");
    }
    assert!(facts(&engine.search(hybrid("xylophone")).expect("searched")).is_empty());
}

#[test]
fn files_phrases_dates_and_single_words_are_found() {
    let kit = Kit::new();
    let engine = talked(&kit);
    let first =
        |query: &str| facts(&engine.search(hybrid(query)).expect("searched")).first().cloned().unwrap_or_default();
    assert!(first("src/billing/invoice.rs").contains("rollout"));
    assert!(first("invoice.rs").contains("rollout"));
    assert!(first("who said \"ship it Friday\"?").contains("Jonas"));
    assert!(first("sardines").contains("sardines"));
    // The messages are of the day that the kit's clock begins with; the garden is a day later.
    let garden = &engine.search(hybrid("greenhouse")).expect("searched").episodes[0].episode.memory;
    let us = garden.timestamp_us.expect("a time");
    let day = jiff::Timestamp::from_microsecond(us).expect("a time").to_zoned(jiff::tz::TimeZone::UTC).date();
    let answer = engine.search(hybrid(&format!("what was on {day}?"))).expect("searched");
    assert!(facts(&answer)[0].contains("tomatoes"), "{day}: {:?}", facts(&answer));
    let parts = answer.episodes[0].explain_parts();
    assert!(parts.precise > 0.0 && parts.total > parts.words, "{parts:?}");
}

#[test]
fn scores_are_chances_and_their_parts_add_up() {
    let kit = with_model(Kit::new());
    let engine = talked(&kit);
    let answer = engine.search(hybrid("grilled sardines and green wine")).expect("searched");
    let scores: Vec<f32> = answer.episodes.iter().map(|hit| hit.episode.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    for fact in answer.episodes.iter().flat_map(|hit| &hit.facts) {
        let explain = fact.explain.expect("asked for");
        let parts = explain.parts.expect("hybrid has parts");
        let sum = parts.words + parts.meaning + parts.neighbours + parts.siblings + parts.episode + parts.precise;
        assert!((sum - parts.total).abs() < 1e-3, "{parts:?}");
        assert!(explain.cosine.is_some() && explain.words == Some(parts.words));
    }
    let plain = engine.search(SearchRequest { explain: false, ..hybrid("sardines") }).expect("searched");
    assert!(plain.episodes.iter().all(|hit| hit.episode.explain.is_none()));

    // A floor between the best and the others leaves the best.
    let floor = scores[0] * 0.99;
    let request = SearchRequest { min_score: Some(floor), ..hybrid("grilled sardines and green wine") };
    assert_eq!(facts(&engine.search(request).expect("searched")).len(), 1);
}

#[test]
fn why_a_memory_is_missing_is_told() {
    let kit = with_model(Kit::new());
    let engine = talked(&kit);
    let id_of = |query: &str| engine.search(hybrid(query)).expect("searched").episodes[0].facts[0].memory.id.clone();
    let (sardines, tomatoes) = (id_of("grilled sardines"), id_of("tomatoes greenhouse"));
    let why = |request: SearchRequest, id: &str| {
        let request = SearchRequest { why_not: Some(id.to_owned()), ..request };
        let answer = engine.search(request).expect("searched").why_not.expect("asked for");
        assert!(!answer.reason.is_empty() && answer.id == id);
        answer
    };
    let found = why(hybrid("grilled sardines"), &sardines);
    assert_eq!((found.code, found.place), ("returned", Some(1)));
    let one = SearchRequest { top_k: Some(1), ..hybrid("grilled sardines") };
    let below = why(one.clone(), &tomatoes);
    assert_eq!(below.code, "top_k");
    assert!(below.place.is_some_and(|place| place > 1) && below.score.is_some() && below.explain.is_some());
    let picky = SearchRequest { min_score: Some(0.999), ..hybrid("grilled sardines") };
    assert_eq!(why(picky, &tomatoes).code, "min_score");
    let filtered = SearchRequest { filters: Some(json!({"session_id": "trip"})), ..hybrid("tomatoes") };
    assert_eq!(why(filtered, &tomatoes).code, "filtered");
    assert_eq!(why(one, "mira_af_19990101_00000001").code, "unknown");
    let by_words = SearchRequest { method: Some(Method::Keyword), ..hybrid("tomatoes") };
    assert_eq!(why(by_words, &sardines).code, "no_match");
}

#[test]
fn a_search_that_is_out_of_time_leaves_out_and_says_what() {
    let kit = Kit::new();
    let engine = talked(&kit);
    let request = SearchRequest { deadline: Some(Duration::ZERO), ..hybrid("grilled sardines") };
    let answer = engine.search(request).expect("searched");
    assert!(facts(&answer)[0].contains("sardines"));
    let late = answer.degraded.iter().find(|one| one.stage == "context").expect("named");
    assert_eq!(late.code, "deadline");
    let parts = answer.episodes[0].explain_parts();
    assert_eq!((parts.neighbours, parts.siblings, parts.episode), (0.0, 0.0, 0.0));
    let long = SearchRequest { deadline: Some(Duration::from_secs(60)), ..hybrid("grilled sardines") };
    assert!(engine.search(long).expect("searched").degraded.iter().all(|one| one.stage != "context"));
}

trait Explained {
    fn explain_parts(&self) -> evermark_core::ranking::Parts;
}

impl Explained for evermark_engine::search::EpisodeHit {
    fn explain_parts(&self) -> evermark_core::ranking::Parts {
        self.episode.explain.and_then(|explain| explain.parts).expect("asked for")
    }
}
