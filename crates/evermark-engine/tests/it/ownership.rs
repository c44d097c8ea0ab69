//! A root that is not in its place any more, or not ours any more, is not written.

use crate::kit::{Kit, add, flush, search, subjects, try_add};
use evermark_core::error::ErrorKind;
use evermark_core::memory::Role::User;
use std::fs;
use std::path::PathBuf;

/// Moves everything in the root aside and leaves an empty folder, as an unmounted volume does.
fn take_away(kit: &Kit) -> PathBuf {
    let aside = kit.root().with_extension("aside");
    fs::rename(kit.root(), &aside).expect("moved");
    fs::create_dir(kit.root()).expect("made");
    aside
}

fn bring_back(kit: &Kit, aside: &PathBuf) {
    fs::remove_dir(kit.root()).expect("nothing was written meanwhile");
    fs::rename(aside, kit.root()).expect("moved");
}

#[test]
fn nothing_is_written_where_a_root_went_away_and_all_goes_on_when_it_is_back() {
    let kit = Kit::new();
    let engine = kit.open();
    add(&engine, "s", &[(0, "mira", User, "The lantern hangs in the shed.")]);
    flush(&engine, "s");
    let aside = take_away(&kit);
    let refused = try_add(&engine, "t", &[(1, "mira", User, "Whose words are these?")]).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("is its volume mounted?"), "{refused}");
    assert!(engine.quiesce().is_err());
    assert!(engine.status().expect("status").reasons.iter().any(|reason| reason.code == "root_lost"));
    bring_back(&kit, &aside);
    add(&engine, "t", &[(1, "mira", User, "The boat needs a rudder.")]);
    flush(&engine, "t");
    engine.quiesce().expect("synced");
    assert_eq!(subjects(&search(&engine, "mira", "lantern")), ["The lantern hangs in the shed."]);
    assert_eq!(subjects(&search(&engine, "mira", "rudder")), ["The boat needs a rudder."]);
}

#[test]
fn another_root_in_its_place_is_not_written() {
    let kit = Kit::new();
    let engine = kit.open();
    let aside = take_away(&kit);
    let other = Kit::new();
    drop(other.open());
    fs::create_dir(kit.path(".evermark")).expect("made");
    fs::copy(other.path(".evermark/identity.json"), kit.path(".evermark/identity.json")).expect("copied");
    let refused = try_add(&engine, "t", &[(1, "mira", User, "Whose words are these?")]).expect_err("refused");
    assert!(refused.to_string().contains("another root"), "{refused}");
    fs::remove_dir_all(kit.path(".evermark")).expect("removed");
    bring_back(&kit, &aside);
}

#[test]
fn a_removed_lock_file_is_made_again_or_lost_to_whoever_took_it() {
    let kit = Kit::new();
    let engine = kit.open();
    fs::remove_file(kit.path(".evermark/lock")).expect("removed");
    add(&engine, "s", &[(0, "mira", User, "The lantern hangs in the shed.")]);
    assert!(kit.try_open().is_err(), "it is ours again");
    fs::remove_file(kit.path(".evermark/lock")).expect("removed");
    let thief = kit.try_open().expect("nobody holds it");
    let refused = try_add(&engine, "s", &[(1, "mira", User, "Who owns this?")]).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(engine.quiesce().is_err());
    add(&thief, "s", &[(2, "mira", User, "I do.")]);
}
