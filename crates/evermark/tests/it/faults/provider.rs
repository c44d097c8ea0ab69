//! Embedding providers that fail, and vectors that are paid for once.

use super::kit::corpus::{hits, words, write_day};
use super::kit::{SOON, distinct_texts, health, names_fault, stub_home, whole, within};
use crate::kit::Daemon;
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings};

const USER: &str = "ana";

#[test]
fn whatever_the_provider_does_words_are_found_at_once_and_vectors_come_later() {
    let troubles = [
        ("down", Answer::status(503, "down for a day")),
        ("limited", Answer::rate_limited("1")),
        ("hanging", Answer::Hang),
        ("wrong width", Answer::Dimension(16)),
        ("not a number", Answer::NotFinite(0)),
        ("no answer", Answer::Drop),
    ];
    for (what, trouble) in troubles {
        let stub = StubEmbeddings::start(32);
        let home = stub_home(&stub);
        let all = words("provider", 6);
        stub.always(Some(trouble));
        let daemon = Daemon::start(&home, &[]);
        write_day(&home, USER, 0, &all);
        within(SOON, what, || all.iter().all(|word| hits(&daemon.url, USER, word) == Some(1)));
        names_fault(&daemon, &["provider_down", "files_failing"]);
        assert_eq!(health(&daemon)["evermark"]["queue"]["parked"], 0, "{what}: nothing failed for good");
        stub.always(None);
        whole(&home, &daemon, USER, &all, None);
        let ask = serde_json::json!({"user_id": USER, "query": all[2], "method": "vector", "top_k": 5});
        let (status, answer) = daemon.post("/api/v1/memory/search", &ask.to_string()).expect("an answer");
        assert_eq!(status, 200, "{what}: {answer}");
        assert!(answer["data"]["episodes"].as_array().is_some_and(|found| !found.is_empty()), "{what}: {answer}");
        daemon.stop();
    }
}

#[test]
fn an_index_that_cannot_be_written_costs_no_embedding_twice() {
    let stub = StubEmbeddings::start(32);
    let home = stub_home(&stub);
    let all = words("paid", 12);
    let daemon = Daemon::start(&home, &[("EVERMARK_FAULT_AT", "lance.writing:1-3=EIO")]);
    write_day(&home, USER, 0, &all);
    whole(&home, &daemon, USER, &all, None);
    assert_eq!((stub.texts(), distinct_texts(&stub)), (24, 24));
    daemon.stop();
}

#[test]
fn another_model_is_built_beside_the_old_one_and_a_death_meanwhile_only_delays_it() {
    let stub = StubEmbeddings::start(32);
    let mut home = stub_home(&stub);
    let all = words("model", 20);
    for day in 0..4_i64 {
        write_day(&home, USER, day, &all[day as usize * 5..][..5]);
    }
    let daemon = Daemon::start(&home, &[]);
    whole(&home, &daemon, USER, &all[..2], None);
    daemon.stop();
    home.set("EVERMARK_EMBEDDING__MODEL", "other").set("EVERMARK_EMBEDDING__DIM", "16");
    let mut daemon = Daemon::start(&home, &[("EVERMARK_CRASH_AT", "rebuild.file:3")]);
    let mut answered = 0;
    while daemon.runs() {
        if let Some(found) = hits(&daemon.url, USER, &all[3]) {
            assert_eq!(found, 1, "the old one answers until the new one does");
            answered += 1;
        }
        if answered > 2000 {
            panic!("it never builds another");
        }
    }
    let daemon = Daemon::start(&home, &[]);
    within(SOON, "the new model's index is live", || {
        let status = daemon.get("/api/v1/evermark/status").unwrap_or_default();
        status["data"]["rebuilding"] == false && status["data"]["index"]["dimension"] == 16
    });
    whole(&home, &daemon, USER, &all, None);
    daemon.stop();
}
