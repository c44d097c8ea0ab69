//! Searching by meaning with the model that is built in, and what it cannot read.

use crate::kit::{Kit, add, ask, flush, search, subjects};
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_engine::search::Method;
use evermark_engine::status::Verdict;
use evermark_models::builtin;
use evermark_models::provider::Provider;

const SAID: [&str; 4] = [
    "I adopted two kittens from the shelter.",
    "The invoice for March is still not paid.",
    "我下周三去上海出差。",
    "Мы встретились на вокзале.",
];

fn builtin_kit() -> Kit {
    let mut kit = Kit::new();
    kit.provider = Some(Provider::BuiltIn);
    kit
}

fn say_all(engine: &Engine) {
    for (n, text) in SAID.iter().enumerate() {
        let at = i64::try_from(n).expect("small") * 10_000;
        add(engine, &format!("s{n}"), &[(at, "mira", User, text)]);
        flush(engine, &format!("s{n}"));
    }
}

#[test]
fn a_question_finds_what_shares_no_word_with_it() {
    let kit = builtin_kit();
    let engine = kit.open();
    say_all(&engine);
    assert_eq!(subjects(&search(&engine, "mira", "Which cats live here?")), Vec::<String>::new());
    let answer = engine.search(ask("mira", "Which cats live here?", Method::Hybrid)).expect("searched");
    assert_eq!((subjects(&answer)[0].as_str(), answer.degraded), (SAID[0], vec![]));
    let status = engine.status().expect("status");
    assert_eq!((status.embedding.model.as_deref(), status.embedding.cache_entries), (Some(builtin::NAME), 0));
}

#[test]
fn what_the_model_cannot_read_is_indexed_without_a_vector_and_is_no_fault() {
    let kit = builtin_kit();
    let engine = kit.open();
    say_all(&engine);
    engine.quiesce().expect("synced");
    // All rows are there; those of two texts have no vector.
    let near = engine.search(ask("mira", "kittens", Method::Vector)).expect("searched");
    let mut found = subjects(&near);
    found.sort_unstable();
    assert_eq!(found, SAID[..2]);
    assert_eq!(subjects(&search(&engine, "mira", "上海")), [SAID[2]]);
    let is_whole = |engine: &Engine| {
        let status = engine.status().expect("status");
        let queue = (status.queue.pending, status.queue.failing, status.queue.parked);
        assert_eq!((status.verdict, queue, status.findings_total), (Verdict::Ok, (0, 0, 0), 0), "{:?}", status.reasons);
        let verified = engine.verify(&mut |_| {}).expect("verified");
        assert!(verified.is_clean(), "{verified:?}");
    };
    is_whole(&engine);
    // Nothing is tried again: not by a later sweep, not when a neighbour in the same file changes, not in a rebuild.
    engine.hasten().expect("hastened");
    assert_eq!(engine.quiesce().expect("synced").rows_upserted, 0);
    let path = near.episodes[0].episode.memory.path.clone();
    kit.write(&path, &kit.read(&path).replace("from the shelter", "from a farm"));
    let report = engine.quiesce().expect("synced");
    assert_eq!(report.rows_upserted, 1);
    assert_eq!(engine.rebuild(&mut |_| {}).expect("rebuilt").rows, 8);
    is_whole(&engine);
    assert_eq!(subjects(&search(&engine, "mira", "вокзале")), [SAID[3]]);
}

#[test]
fn a_question_the_model_cannot_read_is_answered_by_words_and_says_so() {
    let kit = builtin_kit();
    let engine = kit.open();
    say_all(&engine);
    for (method, used) in [(Method::Hybrid, Method::Hybrid), (Method::Vector, Method::Keyword)] {
        let answer = engine.search(ask("mira", "上海出差", method)).expect("searched");
        assert_eq!((subjects(&answer)[0].as_str(), answer.method), (SAID[2], Some(used)));
        let [degraded] = answer.degraded.as_slice() else { panic!("{:?}", answer.degraded) };
        assert_eq!((degraded.stage, degraded.code), ("vector", "unreadable"));
        assert!(degraded.reason.contains("Latin script"), "{}", degraded.reason);
    }
}

#[test]
fn a_model_that_is_not_there_is_named_and_what_was_written_meanwhile_is_not_forgotten() {
    let mut kit = builtin_kit();
    let engine = kit.open();
    add(&engine, "s0", &[(0, "mira", User, SAID[0])]);
    flush(&engine, "s0");
    engine.close().expect("closed");
    drop(engine);
    kit.provider = Some(Provider::Local { name: "someone/e5-small".to_owned(), dir: kit.path("nothing") });
    let engine = kit.open();
    add(&engine, "s1", &[(10_000, "mira", User, SAID[1])]);
    flush(&engine, "s1");
    let answer = engine.search(ask("mira", "invoice", Method::Hybrid)).expect("searched");
    assert_eq!((subjects(&answer), answer.degraded[0].code), (vec![SAID[1].to_owned()], "model_missing"));
    let error = engine.search(ask("mira", "invoice", Method::Vector)).expect_err("no vectors");
    assert!(error.to_string().contains("someone/e5-small"), "{error}");
    let status = engine.status().expect("status");
    assert_eq!((status.verdict, status.embedding.state.as_str()), (Verdict::Degraded, "absent"));
    assert!(status.reasons.iter().any(|reason| reason.code == "model_missing"), "{:?}", status.reasons);
    engine.close().expect("closed");
    drop(engine);
    // Back with the model that the index is of: the rows written meanwhile get their vectors.
    kit.provider = Some(Provider::BuiltIn);
    let engine = kit.open();
    engine.hasten().expect("hastened");
    engine.quiesce().expect("synced");
    let answer = engine.search(ask("mira", "unpaid bills", Method::Vector)).expect("searched");
    assert_eq!(subjects(&answer)[0], SAID[1]);
    assert_eq!(engine.status().expect("status").queue.failing, 0);
}

#[test]
fn a_root_without_vectors_gets_them_beside_what_it_has_whatever_crashes() {
    for point in ["rebuild.file", "rebuild.swap"] {
        let mut kit = Kit::new();
        let engine = kit.open();
        say_all(&engine);
        let before = engine.status().expect("status").generation;
        engine.close().expect("closed");
        drop(engine);
        kit.provider = Some(Provider::BuiltIn);
        let engine = kit.open();
        engine.quiesce().expect("synced");
        kit.world.arm(point, 1);
        engine.rebuild(&mut |_| {}).expect_err("stopped");
        drop(engine);
        // The next process has the old generation, and answers from it meanwhile.
        let engine = kit.open();
        engine.quiesce().expect("synced");
        assert_eq!(engine.status().expect("status").generation, before, "{point}");
        let answer = engine.search(ask("mira", "kittens", Method::Hybrid)).expect("searched");
        assert_eq!((subjects(&answer), answer.degraded[0].code), (vec![SAID[0].to_owned()], "building"), "{point}");
        // A beat sees that the model is another one, and builds the new generation without being asked.
        engine.start().expect("started");
        while engine.status().expect("status").generation == before {
            std::thread::yield_now();
        }
        let answer = engine.search(ask("mira", "Which cats live here?", Method::Hybrid)).expect("searched");
        assert_eq!((subjects(&answer)[0].as_str(), answer.degraded), (SAID[0], vec![]), "{point}");
        engine.close().expect("closed");
    }
}
