//! Whatever is derived may be lost, damaged or swapped: it costs time and nothing else.

#![expect(clippy::disallowed_methods, reason = "tests damage files")]

use crate::kit::{Kit, add, ask, flush, search, subjects};
use evermark_core::embed::HashEmbedder;
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_engine::search::Method;
use evermark_models::openai;
use evermark_models::provider::Provider;
use evermark_sim::stub_embeddings::StubEmbeddings;
use std::fs;
use std::sync::Arc;

const SAID: [&str; 3] =
    ["The lantern hangs in the shed.", "My sister plays the cello.", "The boat needs a new rudder."];

fn filled(kit: &Kit) -> Engine {
    let engine = kit.open();
    for (n, text) in SAID.iter().enumerate() {
        let at = i64::try_from(n).expect("small") * 10_000;
        add(&engine, &format!("s{n}"), &[(at, "mira", User, text)]);
        flush(&engine, &format!("s{n}"));
    }
    engine
}

fn assert_all_found(engine: &Engine) {
    for (word, text) in ["lantern", "cello", "rudder"].iter().zip(SAID) {
        assert_eq!(subjects(&search(engine, "mira", word)), [text], "{word}");
    }
    let verified = engine.verify(&mut |_| {}).expect("verified");
    assert!(verified.is_clean(), "{verified:?}");
    assert_eq!(verified.rows, 6);
}

#[test]
fn the_index_and_ledger_may_be_removed_while_stopped() {
    let kit = Kit::new();
    drop(filled(&kit));
    fs::remove_dir_all(kit.path(".index")).expect("removed");
    let engine = kit.open();
    engine.quiesce().expect("synced");
    assert_all_found(&engine);
}

#[test]
fn the_index_and_ledger_may_be_removed_while_running() {
    let kit = Kit::new();
    let engine = filled(&kit);
    fs::remove_dir_all(kit.path(".index")).expect("removed");
    engine.quiesce().expect("synced");
    assert_all_found(&engine);
}

#[test]
fn the_ledger_alone_may_be_removed_damaged_or_cut() {
    for damage in ["removed", "garbage", "cut"] {
        let kit = Kit::new();
        drop(filled(&kit));
        let ledger = kit.path(".index/evermark/ledger.db");
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(kit.path(&format!(".index/evermark/ledger.db{suffix}"))).ok();
        }
        match damage {
            "removed" => fs::remove_file(&ledger).expect("removed"),
            "garbage" => fs::write(&ledger, vec![0xAB; 40_000]).expect("written"),
            _ => {
                let bytes = fs::read(&ledger).expect("read");
                fs::write(&ledger, &bytes[..bytes.len() / 2]).expect("written");
            }
        }
        let engine = kit.open();
        engine.quiesce().expect("synced");
        assert_all_found(&engine);
    }
}

#[test]
fn the_generation_alone_may_be_removed() {
    let kit = Kit::new();
    drop(filled(&kit));
    fs::remove_dir_all(kit.path(".index/evermark/gen-000001")).expect("removed");
    let engine = kit.open();
    engine.quiesce().expect("synced");
    assert_all_found(&engine);
}

#[test]
fn rows_that_no_file_holds_are_swept_when_the_ledger_was_lost() {
    let kit = Kit::new();
    let engine = filled(&kit);
    let path = search(&engine, "mira", "cello").episodes[0].episode.memory.path.clone();
    drop(engine);
    fs::remove_file(kit.path(".index/evermark/ledger.db")).expect("removed");
    let text = kit.read(&path);
    let start = text.find("<!-- entry:ep_").and_then(|at| text[at + 1..].find("<!-- entry:").map(|next| at + 1 + next));
    let start = start.expect("a second entry");
    let end = text[start..]
        .find("<!-- /entry")
        .and_then(|at| text[start + at..].find('\n').map(|line| start + at + line + 1));
    kit.write(&path, &format!("{}{}", &text[..start], &text[end.expect("it ends")..]));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    engine.upkeep().expect("kept up");
    assert_eq!(search(&engine, "mira", "cello").episodes.len(), 0);
    assert_eq!(engine.verify(&mut |_| {}).expect("verified").extra, Vec::<String>::new());
}

#[test]
fn a_rebuild_answers_the_same_from_a_new_generation() {
    let kit = Kit::new();
    let engine = filled(&kit);
    let before = engine.status().expect("status").generation;
    let report = engine.rebuild(&mut |_| {}).expect("rebuilt");
    assert_eq!((report.rows, report.generation == before), (6, false));
    assert_all_found(&engine);
    assert!(!kit.path(&format!(".index/evermark/{before}")).exists());
    // And an edit after it is found.
    let path = search(&engine, "mira", "cello").episodes[0].episode.memory.path.clone();
    kit.write(&path, &kit.read(&path).replace("cello", "viola"));
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "mira", "viola").episodes.len(), 1);
}

#[test]
fn another_model_gets_a_generation_of_its_own_and_keywords_answer_meanwhile() {
    let mut kit = Kit::new();
    drop(filled(&kit));
    kit.embedder = Some(Arc::new(HashEmbedder::new(64)));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    let answer = engine.search(ask("mira", "lantern", Method::Hybrid)).expect("searched");
    assert_eq!((answer.episodes.len(), answer.degraded[0].code), (1, "building"));
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    let answer = engine.search(ask("mira", "lantern shed", Method::Hybrid)).expect("searched");
    assert_eq!(
        (answer.episodes[0].episode.memory.body.search_text().contains("lantern"), answer.degraded),
        (true, vec![])
    );
    let nearest = engine.search(ask("mira", "The lantern hangs in the shed.", Method::Vector)).expect("searched");
    assert!(nearest.episodes[0].episode.memory.body.search_text().contains("lantern"));
}

#[test]
fn embeddings_that_nothing_refers_to_are_dropped_and_the_others_are_not() {
    let mut kit = Kit::new();
    let stub = StubEmbeddings::start(8);
    kit.provider = Some(Provider::OpenAi(Box::new(openai::Settings::new(stub.base_url(), "stub", 8))));
    let engine = filled(&kit);
    let texts = |text: &str| {
        let mut file = String::from("---\ntype: atomic_fact_daily\nuser_id: mira\n---\n");
        for n in 0..1500 {
            file.push_str(&format!(
                "<!-- entry:af_{n} -->\n## af_{n}\n\n**timestamp**: 2026-01-02T03:04:05+00:00\n\n### Fact\n{text} {n}\n<!-- /entry:af_{n} -->\n"
            ));
        }
        file
    };
    let path = "default_app/default_project/users/mira/.atomic_facts/atomic_fact-2026-01-02.md";
    for text in ["spring", "summer", "autumn"] {
        kit.write(path, &texts(text));
        engine.quiesce().expect("synced");
    }
    let kept = engine.status().expect("status").embedding.cache_entries;
    assert_eq!(kept, 4506);
    engine.upkeep().expect("kept up");
    let kept = engine.status().expect("status").embedding.cache_entries;
    assert_eq!(kept, 1506);
    let paid = stub.texts();
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    assert_eq!(stub.texts(), paid);
}

#[test]
fn a_rebuild_of_many_files_commits_by_rows_not_by_files() {
    let kit = Kit::new();
    for n in 0..50 {
        kit.write(
            &format!("default_app/default_project/users/user{n}/.atomic_facts/atomic_fact-2026-01-02.md"),
            &format!(
                "---\ntype: atomic_fact_daily\nuser_id: user{n}\n---\n<!-- entry:af_1 -->\n## af_1\n\n\
                 **timestamp**: 2026-01-02T03:04:05+00:00\n\n### Fact\nThe finch sings.\n<!-- /entry:af_1 -->\n"
            ),
        );
    }
    let engine = kit.open();
    engine.quiesce().expect("synced");
    let before = kit.shelves.flushes();
    assert_eq!(engine.rebuild(&mut |_| {}).expect("rebuilt").rows, 50);
    // One for all rows, and at most one for what changed meanwhile.
    assert!(kit.shelves.flushes() - before <= 2, "{}", kit.shelves.flushes() - before);
}
