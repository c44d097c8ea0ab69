//! `evermark adopt`: vectors that EverOS has paid for are not paid for again.

use crate::kit::Home;
use crate::lancedb::fixture;
use evermark_sim::stub_embeddings::StubEmbeddings;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The width of EverOS's vectors in the fixture.
const WIDTH: usize = 1024;

/// A home whose root is EverOS's, with `model` served by a stub.
fn everos(model: &str) -> Option<(Home, StubEmbeddings)> {
    let mut home = Home::new();
    let path = fixture(&home, "everos-root-1.5.1")?;
    std::fs::rename(path, home.root()).unwrap();
    let stub = StubEmbeddings::start(WIDTH);
    home.set("EVERMARK_EMBEDDING__BASE_URL", &stub.base_url()).set("EVERMARK_EMBEDDING__MODEL", model);
    Some((home, stub))
}

/// Every file that EverOS wrote, and its content's length and time.
fn theirs(root: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ours = path.ends_with(".evermark") || path.ends_with(".index/evermark");
            if path.is_dir() && !ours {
                folders.push(path);
            } else if path.is_file() {
                let metadata = path.metadata().unwrap();
                found.insert(path, (metadata.len(), metadata.modified().unwrap()));
            }
        }
    }
    found
}

fn count(answer: &Value, what: &str) -> u64 {
    answer["vectors"][what].as_u64().unwrap_or_else(|| panic!("{what}: {answer}"))
}

#[test]
fn vectors_of_unchanged_texts_are_taken_over_and_not_asked_for() {
    let Some((home, stub)) = everos("stub-hash-1024") else { return };
    let before = theirs(&home.root());
    let answer = home.run(&["adopt", "--json"]).json();
    assert_eq!(theirs(&home.root()), before, "nothing of EverOS's has changed");
    assert_eq!(stub.texts(), 0);
    let memories = count(&answer, "memories");
    assert_eq!(memories, 165 + 1_294 + 68 + 3 + 3 + 6, "{answer}");
    for none in ["other_text", "no_vector", "wrong_dimension", "no_row", "unreadable_rows", "rows_without_memory"] {
        assert_eq!(count(&answer, none), 0, "{none}: {answer}");
    }
    // Equal texts share a vector: the second of them is there already.
    assert_eq!(count(&answer, "taken") + count(&answer, "already_there"), memories);
    assert!(answer["measured"]["lancedb_bytes"].as_u64() > answer["measured"]["markdown_bytes"].as_u64());

    let again = home.run(&["adopt", "--json"]).json();
    assert_eq!((count(&again, "taken"), count(&again, "already_there")), (0, memories));

    let synced = home.run(&["sync", "--json"]).json();
    assert_eq!(synced["texts_embedded"], 0, "{synced}");
    assert_eq!(stub.texts(), 0, "the endpoint was asked for nothing");
    let shown = home.run(&["status", "--json"]).json();
    assert_eq!(shown["entries"]["atomic_fact"], 1_294, "{shown}");
}

#[test]
fn an_edited_text_is_embedded_anew_and_everos_index_is_pruned_when_asked() {
    let Some((home, stub)) = everos("stub-hash-1024") else { return };
    let file = home.root().join("default_app/default_project/users/dev_ana/episodes/episode-2026-11-22.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("### Content\n").unwrap() + "### Content\n".len();
    std::fs::write(&file, format!("{}Edited. {}", &text[..at], &text[at..])).unwrap();

    let said = home.run(&["adopt"]);
    said.ok();
    assert!(said.stdout.contains("taken over") && said.stdout.contains("of another text"), "{}", said.stdout);
    assert!(said.stdout.contains("could be") && said.stdout.contains("adopt --prune"), "{}", said.stdout);
    let pruned = home.run(&["adopt", "--prune", "--json"]).json();
    assert!(pruned["pruned"]["freed_bytes"].as_u64().unwrap() > 100_000, "{pruned}");
    assert_eq!(count(&pruned, "other_text"), 1, "{pruned}");

    home.run(&["sync"]).ok();
    assert_eq!(stub.texts(), 1);
}

#[test]
fn vectors_of_another_model_are_refused() {
    let Some((home, stub)) = everos("another-model") else { return };
    home.run(&["adopt"]).fails(2, "stub-hash-1024").fails(2, "another-model");
    assert_eq!(stub.texts(), 0);
    // Without an endpoint there is nothing to mix.
    let home = home;
    let plain = home.run_with(&["adopt", "--json"], &[("EVERMARK_EMBEDDING__PROVIDER", "none")]).json();
    assert!(plain["vectors"].is_null(), "{plain}");
}

#[test]
fn a_root_without_everos_and_one_that_is_in_use_are_refused() {
    let home = Home::new();
    home.run(&["init"]).ok();
    home.run(&["adopt"]).fails(4, "no EverOS has been");
    let Some((home, _stub)) = everos("stub-hash-1024") else { return };
    let lock = std::fs::File::open(home.root().join(".index/sqlite/ome.db.lock")).unwrap();
    lock.lock().unwrap();
    home.run(&["adopt"]).fails(3, "EverOS");
}
