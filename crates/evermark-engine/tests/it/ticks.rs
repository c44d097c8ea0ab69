//! Ticks made by hand do what the loops do, and health tells of one that fails until it succeeds.

use crate::kit::{Kit, add, flush, flush_of, search};
use crate::script::Fault;
use evermark_core::error::ErrorKind;
use evermark_core::memory::Role::User;
use evermark_engine::status::Verdict;
use evermark_engine::ticks::{Loop, Ticked};
use evermark_models::openai;
use evermark_models::provider::Provider;
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings};
use std::time::Duration;

#[test]
fn ticks_by_hand_index_what_was_written() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The kiln stays hot overnight.")]);
    engine.flush(evermark_engine::add::FlushRequest { wait_indexed: None, ..flush_of("s") }).expect("flushed");
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 0);
    assert_eq!(engine.tick(Loop::Indexer).expect("ticked"), Ticked::Worked);
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 1);
}

#[test]
fn a_tick_that_fails_is_shown_until_one_succeeds() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The kiln stays hot overnight.")]);
    engine.flush(evermark_engine::add::FlushRequest { wait_indexed: None, ..flush_of("s") }).expect("flushed");
    kit.world.arm("index.claimed", 1);
    assert!(engine.tick(Loop::Indexer).is_err());
    let status = engine.status().expect("status");
    assert_eq!(status.verdict, Verdict::Degraded);
    assert!(status.reasons.iter().any(|reason| reason.message.starts_with("indexer: ")), "{:?}", status.reasons);
    engine.tick(Loop::Indexer).expect("ticked");
    assert_eq!(engine.status().expect("status").verdict, Verdict::Ok);
}

const DAY: &str = "default_app/default_project/users/mira/episodes/episode-2026-01-02.md";
const NEXT_DAY: &str = "default_app/default_project/users/mira/episodes/episode-2026-01-03.md";

/// What a flush leaves to be done again is done by the next round.
fn settle(engine: &evermark_engine::Engine) {
    for _ in 0..2 {
        engine.quiesce().expect("synced");
        engine.upkeep().expect("kept up");
    }
    engine.quiesce().expect("synced");
}

fn episodes(entries: &[(&str, &str)]) -> String {
    let mut text = "---\ntype: episode_daily\nuser_id: mira\n---\n".to_owned();
    for (id, says) in entries {
        text.push_str(&format!(
            "<!-- entry:{id} -->\n## {id}\n\n**timestamp**: 2026-01-02T03:04:05+00:00\n\n### Content\n{says}\n\
             <!-- /entry:{id} -->\n"
        ));
    }
    text
}

#[test]
fn an_entry_that_moves_is_kept_though_its_new_file_is_not_flushed_when_the_old_one_is_forgotten() {
    let mut kit = Kit::new();
    kit.settings.files_per_tick = 1;
    kit.settings.sweep_interval = Duration::ZERO;
    kit.settings.second_look = Duration::ZERO;
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    std::fs::rename(kit.path(DAY), kit.path(NEXT_DAY)).expect("moved");
    // The new file is found, the old one missed; then missed again.
    engine.tick(Loop::Reconcile).expect("ticked");
    engine.tick(Loop::Reconcile).expect("ticked");
    while engine.tick(Loop::Indexer).expect("ticked") == Ticked::Worked {}
    engine.quiesce().expect("synced");
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 1);
}

#[test]
fn an_entry_that_moved_and_went_is_gone_though_each_file_is_said_to_hold_it_by_the_other() {
    let mut kit = Kit::new();
    kit.settings.sweep_interval = Duration::ZERO;
    kit.settings.second_look = Duration::ZERO;
    let whole = episodes(&[("ep_1", "The kiln stays hot overnight."), ("ep_2", "The glaze is blue.")]);
    kit.write(NEXT_DAY, &whole);
    let engine = kit.open();
    engine.quiesce().expect("synced");
    std::fs::rename(kit.path(NEXT_DAY), kit.path(DAY)).expect("moved");
    engine.tick(Loop::Reconcile).expect("ticked");
    while engine.tick(Loop::Indexer).expect("ticked") == Ticked::Worked {}
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    settle(&engine);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "glaze").episodes.len(), 0);
}

#[test]
fn a_file_that_comes_back_before_its_going_is_flushed_has_its_rows() {
    let mut kit = Kit::new();
    kit.settings.sweep_interval = Duration::ZERO;
    kit.settings.second_look = Duration::ZERO;
    kit.settings.flush_age_max = Duration::from_secs(3600);
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    std::fs::rename(kit.path(DAY), kit.path("aside")).expect("moved");
    engine.tick(Loop::Reconcile).expect("ticked");
    engine.tick(Loop::Reconcile).expect("ticked");
    engine.tick(Loop::Indexer).expect("ticked");
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 0);
    std::fs::rename(kit.path("aside"), kit.path(DAY)).expect("moved back");
    settle(&engine);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 1);
}

#[test]
fn a_file_that_was_broken_for_a_while_has_no_finding_when_it_is_as_it_was() {
    let kit = Kit::new();
    let whole = episodes(&[("ep_1", "The kiln stays hot overnight.")]);
    kit.write(DAY, &whole);
    let engine = kit.open();
    engine.quiesce().expect("synced");
    kit.write(DAY, &whole[..20]);
    engine.quiesce().expect("synced");
    assert_eq!(engine.status().expect("status").verdict, Verdict::Degraded);
    kit.write(DAY, &whole);
    engine.quiesce().expect("synced");
    assert_eq!(engine.status().expect("status").findings, []);
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 1);
}

#[test]
fn a_new_file_that_was_broken_and_is_gone_has_no_finding() {
    let kit = Kit::new();
    let whole = episodes(&[("ep_1", "The kiln stays hot overnight.")]);
    let engine = kit.open();
    kit.write(DAY, &whole[..20]);
    engine.quiesce().expect("synced");
    assert_eq!(engine.status().expect("status").queue.parked, 1);
    // Saved whole under another name: nothing ever came of the first one.
    std::fs::remove_file(kit.path(DAY)).expect("removed");
    kit.write(NEXT_DAY, &whole);
    engine.quiesce().expect("synced");
    let status = engine.status().expect("status");
    assert_eq!((status.queue.parked, status.findings.len()), (0, 0));
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 1);
}

#[test]
fn an_entry_that_cannot_be_read_keeps_its_last_good_row_through_a_rebuild() {
    let kit = Kit::new();
    let whole = episodes(&[("ep_1", "The kiln stays hot overnight."), ("ep_2", "The glaze is blue.")]);
    kit.write(DAY, &whole);
    let engine = kit.open();
    engine.quiesce().expect("synced");
    kit.write(DAY, &whole.replace("<!-- /entry:ep_2 -->\n", ""));
    engine.quiesce().expect("synced");
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    assert_eq!(search(&engine, "mira", "glaze").episodes.len(), 1);
    kit.write(DAY, &whole);
    engine.quiesce().expect("synced");
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "glaze").episodes.len(), 1);
}

#[test]
fn facts_are_written_although_their_episode_got_the_id_of_one_whose_file_was_removed() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The kiln stays hot overnight.")]);
    let path = flush(&engine, "s").episodes[0].path.clone();
    std::fs::remove_file(kit.path(&path)).expect("removed");
    add(&engine, "s", &[(9000, "mira", User, "The glaze is blue like the sea.")]);
    assert_eq!(flush(&engine, "s").facts, 1);
}

#[test]
fn a_row_whose_entry_went_before_the_ledger_was_told_of_it_is_not_left_over() {
    for point in ["index.flushed", "ledger.record"] {
        let kit = Kit::new();
        kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight."), ("ep_2", "The glaze is blue.")]));
        let engine = kit.open();
        kit.world.arm(point, 1);
        assert!(engine.quiesce().is_err(), "{point}");
        drop(engine);
        kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
        let engine = kit.open();
        engine.quiesce().expect("synced");
        // The first beat compares index and ledger, the second removes what nobody holds.
        engine.upkeep().expect("kept up");
        engine.upkeep().expect("kept up");
        assert_eq!(engine.verify(&mut |_| {}).expect("verified").extra, Vec::<String>::new(), "{point}");
        assert_eq!(search(&engine, "mira", "glaze").episodes.len(), 0, "{point}");
    }
}

#[test]
fn a_file_that_is_away_when_its_vectors_come_has_them_when_it_is_back() {
    let mut kit = Kit::new();
    let stub = StubEmbeddings::start(16);
    stub.always(Some(Answer::status(503, "down for the day")));
    let mut settings = openai::Settings::new(stub.base_url(), "stub", 16);
    settings.max_retries = 0;
    kit.provider = Some(Provider::OpenAi(Box::new(settings)));
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    let engine = kit.open();
    assert_eq!(engine.quiesce().expect("synced").rows_upserted, 1);
    std::fs::rename(kit.path(DAY), kit.path("aside")).expect("moved");
    engine.hasten().expect("hastened");
    while engine.tick(Loop::Indexer).expect("ticked") == Ticked::Worked {}
    std::fs::rename(kit.path("aside"), kit.path(DAY)).expect("moved back");
    assert_eq!(engine.status().expect("status").queue.failing, 1, "its vectors are still to come");
}

#[test]
fn a_file_that_is_gone_is_forgotten_though_it_could_not_be_looked_at_when_that_was_sure() {
    let mut kit = Kit::new();
    kit.settings.sweep_interval = Duration::ZERO;
    kit.settings.second_look = Duration::ZERO;
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    std::fs::remove_file(kit.path(DAY)).expect("removed");
    engine.tick(Loop::Reconcile).expect("ticked");
    kit.world.break_at("vault.look", 13);
    engine.tick(Loop::Reconcile).expect("ticked");
    while engine.tick(Loop::Indexer).expect("ticked") == Ticked::Worked {}
    assert_eq!(engine.status().expect("status").queue.failing, 1, "nobody knows that it is gone");
    kit.world.mend();
    settle(&engine);
    assert_eq!(engine.status().expect("status").queue.pending, 0);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "kiln").episodes.len(), 0);
}

#[test]
fn what_a_rebuild_copied_from_a_file_that_then_went_is_not_left_over() {
    let mut kit = Kit::new();
    kit.settings.second_look = Duration::ZERO;
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    // Copied with its second entry, of which nobody has told the ledger yet.
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight."), ("ep_2", "The glaze is blue.")]));
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    std::fs::remove_file(kit.path(DAY)).expect("removed");
    settle(&engine);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert_eq!(search(&engine, "mira", "glaze").episodes.len(), 0);
}

#[test]
fn rows_that_cannot_be_removed_for_want_of_space_keep_nothing_from_making_some() {
    let mut kit = Kit::new();
    kit.settings.second_look = Duration::ZERO;
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight.")]));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    kit.write(DAY, &episodes(&[("ep_1", "The kiln stays hot overnight."), ("ep_2", "The glaze is blue.")]));
    engine.rebuild(&mut |_| {}).expect("rebuilt");
    std::fs::remove_file(kit.path(DAY)).expect("removed");
    engine.quiesce().expect("synced");
    engine.quiesce().expect("synced");
    let script = &kit.shelves.script;
    script.set("remove", Fault::Fails(ErrorKind::NoSpace));
    let before = script.calls("reclaim");
    assert_eq!(engine.upkeep().expect_err("a row is left over").kind(), ErrorKind::NoSpace);
    assert!(script.calls("reclaim") > before);
    script.clear("remove");
    engine.upkeep().expect("kept up");
    assert_eq!(engine.verify(&mut |_| {}).expect("verified").extra, Vec::<String>::new());
}
