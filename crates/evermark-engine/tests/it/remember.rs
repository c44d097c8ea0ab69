//! Add and flush: what is stored, extracted, and found again.

use crate::kit::{Kit, add, ask, flush, flush_of, messages, search, subjects, try_add};
use evermark_core::id::Scope;
use evermark_core::memory::Role::{Assistant, User};
use evermark_engine::add::{AddRequest, FlushRequest, Progress};
use evermark_engine::search::Method;
use evermark_engine::ticks::Loop;
use serde_json::json;
use std::time::Duration;

#[test]
fn words_become_an_episode_and_facts_that_are_found() {
    let kit = Kit::new();
    let engine = kit.open();
    let receipt =
        add(&engine, "tea", &[(0, "mira", User, "I drink oolong tea every morning."), (9, "bot", Assistant, "Noted!")]);
    assert_eq!((receipt.progress, receipt.stored, receipt.open), (Progress::Accumulated, 2, 2));
    let receipt = flush(&engine, "tea");
    assert_eq!((receipt.progress, receipt.facts, receipt.indexed), (Progress::Extracted, 1, Some(true)));
    let answer = search(&engine, "mira", "oolong");
    assert_eq!(subjects(&answer), ["I drink oolong tea every morning."]);
    let hit = &answer.episodes[0];
    assert_eq!(hit.facts.len(), 1);
    assert_eq!(hit.episode.memory.message_ids, ["m_tea_1750000000000_000", "m_tea_1750000009000_001"]);
    assert_eq!(hit.facts[0].memory.message_ids, ["m_tea_1750000000000_000"]);
    assert_eq!(receipt.episodes[0].path, hit.episode.memory.path);
    assert!(kit.read(&hit.episode.memory.path).contains("I drink oolong tea every morning."));
}

#[test]
fn a_flush_of_nothing_extracts_nothing() {
    let kit = Kit::new();
    assert_eq!(flush(&kit.open(), "none").progress, Progress::NothingToExtract);
}

#[test]
fn sending_again_stores_nothing_twice_before_or_after_extraction() {
    let kit = Kit::new();
    let engine = kit.open();
    let said = [(0, "mira", User, "I drink oolong tea every morning.")];
    add(&engine, "tea", &said);
    assert_eq!(add(&engine, "tea", &said).duplicates, 1);
    flush(&engine, "tea");
    let again = add(&engine, "tea", &said);
    assert_eq!((again.stored, again.duplicates), (0, 1));
    assert_eq!(flush(&engine, "tea").progress, Progress::NothingToExtract);
    assert_eq!(search(&engine, "mira", "oolong").episodes.len(), 1);
}

#[test]
fn two_messages_of_one_instant_are_both_kept() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The red boat is called Anna.")]);
    let second = add(&engine, "s", &[(0, "mira", User, "The blue boat is called Berta.")]);
    assert_eq!((second.stored, second.open), (1, 2));
    flush(&engine, "s");
    let third = add(&engine, "s", &[(0, "mira", User, "The green boat is called Clara.")]);
    assert_eq!(third.stored, 1, "other words with the id of extracted ones are new");
    flush(&engine, "s");
    for name in ["Anna", "Berta", "Clara"] {
        assert_eq!(search(&engine, "mira", name).episodes.len(), 1, "{name}");
    }
}

#[test]
fn a_silence_closes_the_segment_before_it() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The old well is behind the barn.")]);
    let later = add(&engine, "s", &[(7200, "mira", User, "The new well is dug now.")]);
    assert_eq!((later.progress, later.episodes.len(), later.open), (Progress::Extracted, 1, 1));
}

#[test]
fn each_user_who_spoke_owns_the_episode() {
    let kit = Kit::new();
    let engine = kit.open();
    add(
        &engine,
        "s",
        &[(0, "mira", User, "The ferry leaves at nine."), (5, "tom", User, "I bought two ferry tickets.")],
    );
    let receipt = flush(&engine, "s");
    assert_eq!((receipt.episodes.len(), receipt.facts), (2, 4));
    assert_eq!(search(&engine, "mira", "ferry").episodes.len(), 1);
    assert_eq!(search(&engine, "tom", "ferry").episodes.len(), 1);
    assert_eq!(search(&engine, "ada", "ferry").episodes.len(), 0);
}

#[test]
fn open_messages_are_shown_when_their_session_is_asked_for() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "now", &[(0, "mira", User, "The kettle whistles.")]);
    let mut request = ask("nobody", "anything", Method::Keyword);
    request.filters = Some(json!({"session_id": "now"}));
    let answer = engine.search(request).expect("searched");
    assert_eq!(answer.unprocessed.len(), 1);
    assert_eq!(answer.unprocessed[0].message.text(), "The kettle whistles.");
}

#[test]
fn without_a_model_hybrid_answers_by_words_and_says_so() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The lighthouse keeper is called Jonas.")]);
    flush(&engine, "s");
    let answer = engine.search(ask("mira", "lighthouse", Method::Hybrid)).expect("searched");
    assert_eq!(answer.episodes.len(), 1);
    assert_eq!(answer.method, Some(Method::Hybrid));
    assert_eq!(answer.degraded[0].code, "no_model");
    assert!(engine.search(ask("mira", "lighthouse", Method::Vector)).is_err());
}

#[test]
fn a_session_full_of_open_messages_refuses_more() {
    let mut kit = Kit::new();
    kit.settings.inbox_session_max = 1;
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The first thing I say.")]);
    let refused = crate::kit::try_add(&engine, "s", &[(1, "mira", User, "The second thing I say.")]);
    assert_eq!(refused.expect_err("full").kind(), evermark_core::error::ErrorKind::Unavailable);
}

#[test]
fn a_damaged_inbox_file_is_told_of_kept_and_read_again_when_mended() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The spare key is under the third stone.")]);
    let inbox = kit.path("default_app/default_project/inbox");
    let folder = std::fs::read_dir(&inbox).expect("listed").next().expect("one").expect("read").path();
    let file = std::fs::read_dir(&folder).expect("listed").next().expect("one").expect("read").path();
    let rel = file.strip_prefix(kit.root()).expect("below").to_str().expect("UTF-8").to_owned();
    let whole = kit.read(&rel);
    kit.write(&rel, &whole.replace("type: evermark_inbox", "type: shopping_list"));
    assert_eq!(flush(&engine, "s").progress, Progress::NothingToExtract);
    let status = engine.status().expect("status");
    assert_eq!(status.findings.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), [rel.as_str()]);
    kit.write(&rel, &whole);
    assert_eq!(flush(&engine, "s").progress, Progress::Extracted);
    assert_eq!(engine.status().expect("status").findings, []);
    assert_eq!(search(&engine, "mira", "spare key").episodes.len(), 1);
}

#[test]
fn sending_again_while_files_cannot_be_read_stores_nothing_twice() {
    let said = [(0, "mira", User, "The spare key is under the third stone.")];
    let (mut n_refused, mut nth) = (0, 0);
    for point in ["vault.read", "vault.look", "vault.list_dir", "vault.stat_file"] {
        loop {
            nth += 1;
            let kit = Kit::new();
            let engine = kit.open();
            add(&engine, "s", &said);
            // Written down, and not yet in the ledger: only the files tell.
            let made = engine.flush(FlushRequest { wait_indexed: None, ..flush_of("s") }).expect("flushed");
            assert_eq!(made.facts, 1);
            kit.world.arm(point, nth);
            n_refused += usize::from(try_add(&engine, "s", &said).is_err());
            n_refused += usize::from(engine.flush(flush_of("s")).is_err());
            let was_passed = !kit.world.is_armed(point);
            kit.world.disarm();
            assert_eq!(add(&engine, "s", &said).stored, 0, "{point}, {nth}");
            flush(&engine, "s");
            engine.quiesce().expect("synced");
            let verified = engine.verify(&mut |_| {}).expect("verified");
            assert_eq!((verified.rows, verified.is_clean()), (2, true), "{point}, {nth}: {verified:?}");
            if !was_passed {
                break;
            }
        }
        nth = 0;
    }
    assert!(n_refused > 0, "no failure was met");
}

#[test]
fn sending_again_on_another_day_stores_nothing_twice_before_the_ledger_knows() {
    let kit = Kit::new();
    let engine = kit.open();
    let said = [(0, "mira", User, "The spare key is under the third stone.")];
    add(&engine, "s", &said);
    engine.flush(FlushRequest { wait_indexed: None, ..flush_of("s") }).expect("flushed");
    // Midnight, or a clock that jumped.
    kit.world.pass(Duration::from_secs(24 * 3600));
    assert_eq!(add(&engine, "s", &said).duplicates, 1);
    flush(&engine, "s");
    engine.quiesce().expect("synced");
    assert_eq!(engine.verify(&mut |_| {}).expect("verified").rows, 2);
}

#[test]
fn a_message_that_had_to_take_another_id_is_known_again_before_the_ledger_knows() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The red boat is called Anna.")]);
    let second = [(0, "mira", User, "The blue boat is called Berta.")];
    add(&engine, "s", &second);
    engine.flush(FlushRequest { wait_indexed: None, ..flush_of("s") }).expect("flushed");
    assert_eq!(add(&engine, "s", &second).duplicates, 1);
}

#[test]
fn facts_that_stand_are_not_written_again_though_their_episode_is() {
    let kit = Kit::new();
    let engine = kit.open();
    let said = [
        (0, "mira", User, "The kiln stays hot overnight."),
        (9000, "mira", User, "The glaze is blue like the sea."),
        (18000, "mira", User, "The clay comes from the river."),
    ];
    // Two segments are written; the second one's messages cannot be cleared away.
    kit.world.arm("add.stored", 3);
    try_add(&engine, "s", &said).expect_err("it was stopped");
    let files = |folder: &str| -> Vec<_> {
        let dir = std::fs::read_dir(kit.path("default_app/default_project/users/mira").join(folder)).expect("listed");
        dir.map(|entry| entry.expect("read").path()).collect()
    };
    // Somebody removes the episodes, so that the second one is written again, as the first of its file.
    files("episodes").iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    flush(&engine, "s");
    let facts = files(".atomic_facts");
    let text = std::fs::read_to_string(&facts[0]).expect("there");
    assert_eq!((facts.len(), text.matches("The glaze is blue like the sea.").count()), (1, 1), "{text}");
    assert_eq!(text.matches("The clay comes from the river.").count(), 1);
}

#[test]
fn messages_of_one_instant_whose_batch_stands_in_the_inbox_twice_are_written_once() {
    let kit = Kit::new();
    let engine = kit.open();
    let said = [(0, "mira", User, "The red boat is called Anna."), (0, "mira", User, "The blue boat is called Berta.")];
    let request = AddRequest {
        scope: Scope::default(),
        session_id: "s".to_owned(),
        messages: messages(&said),
        defer_extraction: false,
        queued: true,
        wait_indexed: None,
    };
    engine.add(request).expect("queued");
    // The batch is written anew as one that does not wait for anybody, and the old one cannot be removed.
    kit.world.arm("add.stored", 1);
    engine.tick(Loop::Remember).expect_err("it was stopped");
    kit.world.arm("extract.planned", 1);
    engine.flush(flush_of("s")).expect_err("it was stopped");
    assert_eq!(flush(&engine, "s").facts, 2);
    for name in ["Anna", "Berta"] {
        assert_eq!(search(&engine, "mira", name).episodes.len(), 1, "{name}");
    }
}
