//! `llm_multiround`: how rounds go on and how they end.

use super::{Court, TALK, enough, judged, scores, search, stages, texts};
use crate::kit::{Kit, subjects};
use evermark_core::world::World;
use evermark_engine::search::{Method, SearchRequest};
use evermark_models::chat::{self, OpenAiChat};
use evermark_sim::stub_models::{Said, StubModels};
use serde_json::{Value, json};
use std::sync::Arc;

#[test]
fn rounds_go_on_as_the_model_asks_and_its_choice_comes_first() {
    let court = Court::new();
    let engine = court.said(&TALK);
    // Picks what speaks of Porto or of rye, and asks for Porto once.
    court.stub.say_by(|body| {
        let user: Value = serde_json::from_str(body["messages"][1]["content"].as_str().unwrap()).unwrap();
        let is_core = |note: &&Value| ["Porto", "rye"].iter().any(|word| note["text"].as_str().unwrap().contains(word));
        let core: Vec<Value> =
            user["notes"].as_array().unwrap().iter().filter(is_core).map(|note| note["n"].clone()).collect();
        let next =
            if user["asked"].as_array().unwrap().len() == 1 { json!(["sister Ana in Porto"]) } else { json!([]) };
        Said::json(&json!({"core": core, "next_queries": next}))
    });
    let answer = search(&engine, judged(Method::LlmMultiround, "rye loaves or bread"));
    assert_eq!((stages(&answer), answer.method), (vec![], Some(Method::LlmMultiround)));
    let found = texts(&answer);
    assert!(found[..2].iter().all(|text| text.contains("Porto") || text.contains("rye")), "{found:?}");
    assert_eq!((answer.rounds.len(), court.stub.chats().len(), court.stub.reranks().len()), (2, 2, 0));
    assert_eq!(answer.rounds[1].questions, ["sister Ana in Porto"]);
    assert!(!answer.rounds[0].core.is_empty());
    let chosen = answer.episodes.iter().filter(|hit| hit.episode.explain.unwrap().judged.unwrap().is_core);
    assert!((1..=2).contains(&chosen.count()));
    assert!(scores(&answer).iter().all(|score| (0.0..=1.0).contains(score)));
    assert_eq!(court.stub.chats()[0].body["max_tokens"], 512);
    // The second round shows what was chosen and what is new, not all again.
    let numbers = |shown: Value| -> Vec<u64> {
        shown["notes"].as_array().unwrap().iter().map(|note| note["n"].as_u64().unwrap()).collect()
    };
    let (first, second) = (numbers(court.shown(0)), numbers(court.shown(1)));
    assert!(
        second.len() < first.len() + second.len() && second.iter().any(|n| !first.contains(n)),
        "{first:?} {second:?}"
    );
}

#[test]
fn rounds_end() {
    let check = |change: fn(&mut Kit), said: Value, expected_calls: usize| {
        let mut kit = Kit::new();
        change(&mut kit);
        let court = Court::with(kit);
        let engine = court.said(&TALK);
        let n = std::sync::atomic::AtomicUsize::new(0);
        court.stub.say_by(move |_| {
            let mut said = said.clone();
            let nth = n.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // Another question each time, which finds something new.
            let words = ["fridge butter", "bicycle spoke", "Lisbon October", "Porto sister", "Thursday rye"];
            if said["next_queries"] == json!("another") {
                said["next_queries"] = json!([words[nth % words.len()]]);
            }
            Said::json(&said)
        });
        search(&engine, judged(Method::LlmMultiround, "knife"));
        assert_eq!(court.stub.chats().len(), expected_calls);
    };
    let restless = json!({"core": [], "next_queries": "another"});
    // No question, no round.
    check(|_| (), json!({"core": [1], "next_queries": []}), 1);
    // Round 1 brings nothing for the core, and patience is one round.
    check(|_| (), restless.clone(), 2);
    check(|kit| kit.settings.judges.decider.no_new_core_patience = 9, restless.clone(), 3);
    check(
        |kit| {
            kit.settings.judges.decider.no_new_core_patience = 9;
            kit.settings.judges.decider.max_rounds = 5;
        },
        restless.clone(),
        5,
    );
    check(|kit| kit.settings.judges.decider.max_rounds = 1, restless, 1);
}

#[test]
fn a_decider_that_cannot_be_understood_costs_a_bounded_number_of_questions() {
    let court = Court::new();
    let engine = court.said(&TALK);
    court.stub.say_by(|_| Said::Text("no idea".into()));
    let answer = search(&engine, judged(Method::LlmMultiround, "bread"));
    assert_eq!(stages(&answer), [("decider", "bad_answer")]);
    // Once, and three retries; the core is the best three by chance.
    assert_eq!(court.stub.chats().len(), 4);
    assert!(!answer.episodes.is_empty() && answer.rounds.len() == 1);

    let mut kit = Kit::new();
    kit.settings.judges.decider.retries = 1_000_000;
    let eager = Court::with(kit);
    let engine = eager.said(&TALK);
    eager.stub.say_by(|_| Said::Text("no idea".into()));
    let answer = search(&engine, judged(Method::LlmMultiround, "bread"));
    assert_eq!((eager.stub.chats().len(), stages(&answer)), (16, vec![("decider", "too_many_calls")]));
}

#[test]
fn the_core_may_overflow_top_k_when_that_is_wanted() {
    for (overflow, expected) in [(false, 1), (true, 3)] {
        let mut kit = Kit::new();
        kit.settings.judges.decider.core_overflow = overflow;
        let court = Court::with(kit);
        let engine = court.said(&TALK);
        court.stub.say([Said::json(&json!({"core": [1, 2, 3], "next_queries": []}))]);
        let request = SearchRequest { top_k: Some(1), ..judged(Method::LlmMultiround, "bread bakery sourdough") };
        let answer = search(&engine, request);
        assert_eq!(answer.episodes.len(), expected, "{:?}", subjects(&answer));
    }
}

#[test]
fn the_decider_may_be_another_model() {
    let mut court = Court::new();
    let other = StubModels::start();
    let world = Arc::clone(&court.kit.world) as Arc<dyn World>;
    let settings = chat::Settings::new(other.base_url(), "stub-decider");
    court.kit.judges.decider = Some(Arc::new(OpenAiChat::new(settings, world).expect("settings")));
    let engine = court.said(&TALK);
    other.say([Said::json(&json!({"core": [], "next_queries": []}))]);
    assert_eq!(stages(&search(&engine, judged(Method::LlmMultiround, "bread"))), []);
    assert_eq!((court.stub.chats().len(), other.chats().len()), (0, 1));
    court.stub.say([enough()]);
    search(&engine, judged(Method::Agentic, "bread"));
    assert_eq!((court.stub.chats().len(), other.chats().len()), (1, 1));
    assert_eq!(engine.status().expect("said").llm.calls, 2);
}
