//! Edits made by people and other programs.

use crate::kit::{Kit, add, ask, flush, search, subjects};
use evermark_core::memory::Role::User;
use evermark_engine::Engine;
use evermark_engine::search::Method;
use evermark_engine::status::Verdict;
use evermark_engine::ticks::Loop;
use evermark_models::openai;
use evermark_models::provider::Provider;
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings};
use std::fs::{self, File};
use std::time::Duration;

fn episode_file(user: &str, entries: &[(&str, &str)]) -> String {
    let mut text = format!(
        "---\nid: episode_log_{user}_2026-01-02\ntype: episode_daily\nfile_type: episode_daily\nschema_version: 1\n\
         user_id: {user}\ntrack: user\ndate: '2026-01-02'\nentry_count: {}\n---\n",
        entries.len()
    );
    for (id, content) in entries {
        text.push_str(&format!(
            "<!-- entry:{id} -->\n## {id}\n\n**owner_id**: {user}\n**timestamp**: 2026-01-02T03:04:05+00:00\n\n\
             ### Subject\n{content}\n\n### Content\n{content}\n<!-- /entry:{id} -->\n"
        ));
    }
    text
}

fn path_of(user: &str) -> String {
    format!("default_app/default_project/users/{user}/episodes/episode-2026-01-02.md")
}

fn kit_with(users: usize) -> (Kit, Engine) {
    let kit = Kit::new();
    for n in 0..users {
        let user = format!("user{n}");
        kit.write(&path_of(&user), &episode_file(&user, &[("ep_1", "The heron nests by the mill.")]));
    }
    let engine = kit.open();
    engine.quiesce().expect("synced");
    (kit, engine)
}

#[test]
fn an_edit_by_hand_is_found_and_the_old_words_are_not() {
    let (kit, engine) = kit_with(1);
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 1);
    let path = path_of("user0");
    kit.write(&path, &kit.read(&path).replace("heron", "kingfisher"));
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 0);
    assert_eq!(subjects(&search(&engine, "user0", "kingfisher")), ["The kingfisher nests by the mill."]);
}

#[test]
fn an_edit_does_not_wait_for_a_pile_that_came_before_it() {
    let mut kit = Kit::new();
    kit.settings.files_per_tick = 4;
    kit.settings.sweep_interval = Duration::ZERO;
    let users: Vec<String> = (0..30).map(|n| format!("user{n:02}")).collect();
    let write = |user: &str, bird: &str| {
        kit.write(&path_of(user), &episode_file(user, &[("ep_1", &format!("The {bird} nests by the mill."))]));
    };
    users.iter().for_each(|user| write(user, "heron"));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    let (edited, pile) = users.split_last().expect("users");
    pile.iter().for_each(|user| write(user, "kingfisher"));
    engine.tick(Loop::Reconcile).expect("ticked");
    write(edited, "kingfisher");
    engine.tick(Loop::Reconcile).expect("ticked");
    let n_found =
        |users: &[String]| users.iter().filter(|user| !search(&engine, user, "kingfisher").episodes.is_empty()).count();
    // One round is of what came first, and one of what waits behind it.
    let mut rounds = 0;
    while n_found(std::slice::from_ref(edited)) == 0 {
        engine.tick(Loop::Indexer).expect("ticked");
        rounds += 1;
    }
    assert!(rounds <= 3, "{rounds}");
    assert!(n_found(pile) <= 12);
    engine.quiesce().expect("synced");
    assert_eq!(n_found(&users), users.len());
}

#[test]
fn a_small_edit_amid_a_pile_does_not_wait_for_it() {
    let mut kit = Kit::new();
    kit.settings.files_per_tick = 4;
    kit.settings.sweep_interval = Duration::ZERO;
    let users: Vec<String> = (0..30).map(|n| format!("user{n:02}")).collect();
    let write = |user: &str, says: &str| kit.write(&path_of(user), &episode_file(user, &[("ep_1", says)]));
    users.iter().for_each(|user| write(user, "The heron nests by the mill."));
    let engine = kit.open();
    engine.quiesce().expect("synced");
    let (edited, pile) = users.split_last().expect("users");
    pile.iter().for_each(|user| write(user, "The kingfisher, which nobody has seen for years, nests by the mill."));
    write(edited, "The bittern nests by the mill.");
    engine.tick(Loop::Reconcile).expect("ticked");
    engine.tick(Loop::Indexer).expect("ticked");
    assert_eq!(search(&engine, edited, "bittern").episodes.len(), 1);
    engine.quiesce().expect("synced");
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
    assert!(pile.iter().all(|user| search(&engine, user, "kingfisher").episodes.len() == 1));
}

#[test]
fn an_edit_that_keeps_size_and_time_is_found() {
    let (kit, engine) = kit_with(1);
    let path = kit.path(&path_of("user0"));
    let time = fs::metadata(&path).expect("there").modified().expect("a time");
    kit.write(&path_of("user0"), &kit.read(&path_of("user0")).replace("heron", "stork"));
    File::options().write(true).open(&path).expect("opened").set_modified(time).expect("set");
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "stork").episodes.len(), 1);
}

#[test]
fn an_added_entry_is_indexed_and_a_removed_one_is_not_found_again() {
    let (kit, engine) = kit_with(1);
    let path = path_of("user0");
    kit.write(
        &path,
        &episode_file("user0", &[("ep_1", "The heron nests by the mill."), ("ep_by_hand", "A mole digs.")]),
    );
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "mole").episodes[0].episode.memory.id, "user0_ep_by_hand");
    kit.write(&path, &episode_file("user0", &[("ep_by_hand", "A mole digs.")]));
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 0);
    assert_eq!(search(&engine, "user0", "mole").episodes.len(), 1);
}

#[test]
fn a_deleted_file_is_forgotten_after_a_second_look() {
    let (kit, engine) = kit_with(2);
    fs::remove_file(kit.path(&path_of("user0"))).expect("removed");
    let report = engine.quiesce().expect("synced");
    assert_eq!((report.files_removed, report.rows_removed, report.held), (1, 1, None));
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 0);
    assert_eq!(search(&engine, "user1", "heron").episodes.len(), 1);
}

#[test]
fn a_file_that_vanishes_and_returns_with_its_old_time_is_indexed_again() {
    let (kit, engine) = kit_with(2);
    let (path, aside) = (kit.path(&path_of("user0")), kit.path("aside"));
    fs::rename(&path, &aside).expect("moved");
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 0);
    fs::rename(&aside, &path).expect("moved back");
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 1);
}

#[test]
fn losing_most_files_at_once_stops_and_asks() {
    let (kit, engine) = kit_with(12);
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    fs::rename(kit.path("default_app"), elsewhere.path().join("gone")).expect("moved");
    let report = engine.quiesce().expect("synced");
    assert!(report.held.is_some_and(|reason| reason.contains("12 of 12")));
    assert_eq!(search(&engine, "user3", "heron").episodes.len(), 1, "memories stay until somebody decides");
    let status = engine.status().expect("status");
    assert_eq!(status.verdict, Verdict::Failing);
    assert!(status.reasons.iter().any(|reason| reason.code == "mass_delete_held"));
    // A look at less than everything knows no better.
    engine.tick(Loop::Reconcile).expect("ticked");
    assert_eq!(engine.status().expect("status").verdict, Verdict::Failing);

    fs::rename(elsewhere.path().join("gone"), kit.path("default_app")).expect("moved back");
    assert_eq!(engine.quiesce().expect("synced").held, None);
    assert_eq!(engine.status().expect("status").verdict, Verdict::Ok);

    fs::remove_dir_all(kit.path("default_app")).expect("removed");
    assert!(engine.quiesce().expect("synced").held.is_some());
    let report = engine.sync(true, &mut |_| {}).expect("synced");
    assert_eq!((report.files_removed, report.held), (12, None));
    assert_eq!(search(&engine, "user3", "heron").episodes.len(), 0);
}

#[test]
fn a_broken_entry_is_told_of_and_keeps_its_last_good_row_and_its_neighbours() {
    let (kit, engine) = kit_with(0);
    let path = path_of("user0");
    let whole = episode_file("user0", &[("ep_1", "The heron nests."), ("ep_2", "The otter swims.")]);
    kit.write(&path, &whole);
    engine.quiesce().expect("synced");
    let broken = whole.replace("<!-- /entry:ep_1 -->\n", "").replace("otter", "badger");
    kit.write(&path, &broken);
    let report = engine.quiesce().expect("synced");
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].entry.as_deref(), Some("ep_1"));
    assert_eq!(search(&engine, "user0", "heron").episodes.len(), 1);
    assert_eq!(search(&engine, "user0", "badger").episodes.len(), 1);
    assert_eq!(engine.status().expect("status").verdict, Verdict::Degraded);
    kit.write(&path, &whole);
    assert_eq!(engine.quiesce().expect("synced").problems, []);
    assert_eq!(engine.status().expect("status").verdict, Verdict::Ok);
}

#[test]
fn a_file_emptied_for_a_moment_loses_nothing() {
    let (kit, engine) = kit_with(0);
    let path = path_of("user0");
    let entries: Vec<(String, String)> =
        (0..8).map(|n| (format!("ep_{n}"), format!("Bird number {n} sings."))).collect();
    let entries: Vec<(&str, &str)> = entries.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
    let whole = episode_file("user0", &entries);
    kit.write(&path, &whole);
    engine.start().expect("started");
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "bird").episodes.len(), 8);
    kit.write(&path, "");
    kit.write(&path, &whole);
    let report = engine.quiesce().expect("synced");
    assert_eq!(report.rows_removed, 0);
    assert_eq!(search(&engine, "user0", "bird").episodes.len(), 8);
    // Emptied for good, it is believed at the second look.
    kit.write(&path, "");
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "user0", "bird").episodes.len(), 0);
    engine.close().expect("closed");
}

#[test]
fn a_moved_entry_is_found_once_where_it_is_now() {
    let (kit, engine) = kit_with(1);
    let other = "default_app/default_project/users/user0/episodes/episode-2026-01-03.md";
    kit.write(other, &kit.read(&path_of("user0")));
    fs::remove_file(kit.path(&path_of("user0"))).expect("removed");
    engine.quiesce().expect("synced");
    let answer = search(&engine, "user0", "heron");
    assert_eq!(answer.episodes.len(), 1);
    assert_eq!(answer.episodes[0].episode.memory.path, other);
    assert!(engine.verify(&mut |_| {}).expect("verified").is_clean());
}

#[test]
fn a_background_engine_follows_edits_by_watching() {
    let mut kit = Kit::new();
    kit.settings.watch = true;
    kit.write(&path_of("user0"), &episode_file("user0", &[("ep_1", "The heron nests by the mill.")]));
    let engine = kit.open();
    engine.start().expect("started");
    engine.quiesce().expect("synced");
    kit.write(&path_of("user0"), &kit.read(&path_of("user0")).replace("heron", "wagtail"));
    // The watcher, not a sweep: the next one is due in half a minute.
    let found = (0..200).any(|_| {
        if search(&engine, "user0", "wagtail").episodes.len() == 1 {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(50));
        false
    });
    assert!(found);
    engine.close().expect("closed");
}

#[test]
fn a_second_engine_is_refused_and_told_who_has_the_root() {
    let (kit, engine) = kit_with(0);
    engine.set_address("http://127.0.0.1:4321").expect("signed");
    let refused = kit.try_open().err().expect("the root is in use").to_string();
    assert!(
        refused.contains("http://127.0.0.1:4321") && refused.contains(&std::process::id().to_string()),
        "{refused}"
    );
    drop(engine);
    kit.open();
}

#[test]
fn appending_beside_a_person_who_saves_loses_neither() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The first walk was in April.")]);
    let path = flush(&engine, "s").episodes[0].path.clone();
    kit.write(&path, &kit.read(&path).replace("April", "May"));
    add(&engine, "s", &[(7200, "mira", User, "The second walk was in June.")]);
    flush(&engine, "s");
    let text = kit.read(&path);
    assert!(text.contains("walk was in May") && text.contains("walk was in June"));
    engine.quiesce().expect("synced");
    assert_eq!(search(&engine, "mira", "May").episodes.len(), 1);
}

#[test]
fn a_provider_that_stays_down_costs_no_write_and_vectors_come_when_it_is_back() {
    let mut kit = Kit::new();
    let stub = StubEmbeddings::start(16);
    stub.always(Some(Answer::status(503, "down for the day")));
    let mut settings = openai::Settings::new(stub.base_url(), "stub", 16);
    settings.max_retries = 0;
    kit.provider = Some(Provider::OpenAi(Box::new(settings)));
    kit.write(&path_of("user0"), &episode_file("user0", &[("ep_1", "The heron nests by the mill.")]));
    let engine = kit.open();
    let report = engine.quiesce().expect("synced");
    assert_eq!(report.rows_upserted, 1);
    let answer = engine.search(ask("user0", "heron", Method::Hybrid)).expect("searched");
    assert_eq!((answer.episodes.len(), answer.method), (1, Some(Method::Hybrid)));
    let status = engine.status().expect("status");
    assert_eq!((status.verdict, status.queue.failing, status.queue.parked), (Verdict::Degraded, 1, 0));
    for _ in 0..3 {
        engine.hasten().expect("hastened");
        assert_eq!(engine.quiesce().expect("synced").rows_upserted, 0);
    }
    stub.always(None);
    let back = (0..100).any(|_| {
        engine.hasten().expect("hastened");
        let upserted = engine.quiesce().expect("synced").rows_upserted;
        std::thread::park_timeout(Duration::from_millis(100));
        upserted == 1
    });
    assert!(back);
    assert_eq!(engine.search(ask("user0", "heron", Method::Vector)).expect("searched").episodes.len(), 1);
    assert_eq!(engine.status().expect("status").queue.failing, 0);
}
