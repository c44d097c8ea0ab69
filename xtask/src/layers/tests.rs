use super::{ARROWS, Tree, matches, violations};

/// Checks what a printed tree is blamed for: one piece of text per broken rule, in order.
fn check(tree: &str, expected: &[&str]) {
    let found = violations(&Tree::parse(tree));
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "`{found}` does not say `{expected}`");
    }
}

#[test]
fn a_tree_as_it_should_be_breaks_nothing() {
    check(
        "0evermark-engine v0.1.0 (/src/crates/evermark-engine)\n\
         1evermark-core v0.1.0 (/src/crates/evermark-core)\n\
         2jiff v0.2.1\n\
         1evermark-models v0.1.0 (/src/crates/evermark-models)\n\
         2evermark-core v0.1.0 (/src/crates/evermark-core) (*)\n\
         2ureq v3.0.0\n\
         1evermark-store v0.1.0 (/src/crates/evermark-store)\n\
         2rusqlite v0.40.0\n\
         3libsqlite3-sys v0.38.0\n",
        &[],
    );
}

#[test]
fn an_arrow_that_is_not_in_the_table_is_caught() {
    check(
        "0evermark-store v0.1.0\n1evermark-core v0.1.0\n1evermark-models v0.1.0\n2evermark-core v0.1.0 (*)\n",
        &["`evermark-store` may not be built on `evermark-models`"],
    );
    check("0evermark-core v0.1.0\n1evermark-sim v0.1.0\n", &["`evermark-core` may not be built on `evermark-sim`"]);
}

#[test]
fn what_a_room_must_not_be_linked_with_is_caught_however_deep() {
    check(
        "0evermark-core v0.1.0\n1jiff v0.2.1\n1helpful v1.0.0\n2deep v1.0.0\n3tokio-util v0.7.0\n",
        &["`evermark-core` → `helpful` → `deep` → `tokio-util`: core decides"],
    );
}

#[test]
fn what_is_behind_a_deduplicated_line_is_caught() {
    // `shared` is spelled out under `first` only; the second line of it stands for the same packages.
    check(
        "0evermark-models v0.1.0\n1first v1.0.0\n2shared v1.0.0\n3tokio v1.0.0\n1second v1.0.0\n2shared v1.0.0 (*)\n",
        &["`shared` → `tokio`: the rooms below the server are sync"],
    );
}

#[test]
fn a_fence_is_passed_at_its_door_only() {
    let through = "0evermark v0.1.0\n1evermark-server v0.1.0\n2axum v0.8.0\n";
    check(through, &[]);
    let around = "0evermark v0.1.0\n1axum v0.8.0\n1evermark-server v0.1.0\n2axum v0.8.0 (*)\n";
    check(around, &["`evermark` → `axum`, not through `evermark-server`"]);
    let astray = "0evermark-server v0.1.0\n1evermark-engine v0.1.0\n2rusqlite v0.40.0\n";
    check(astray, &["`evermark-engine` → `rusqlite`, not through `evermark-store`"]);
}

#[test]
fn two_versions_are_two_packages() {
    // Only the second version leads to SQLite, and only from the store.
    check("0evermark-engine v0.1.0\n1cache v1.0.0\n1evermark-store v0.1.0\n2cache v2.0.0\n3rusqlite v0.40.0\n", &[]);
}

#[test]
fn a_member_without_a_row_is_caught() {
    check("0evermark-cloud v0.1.0\n1serde v1.0.0\n", &["`evermark-cloud` has no row"]);
}

#[test]
fn the_table_points_one_way() {
    for (position, (room, may)) in ARROWS.iter().enumerate() {
        let below: Vec<&str> = ARROWS[..position].iter().map(|(room, _)| *room).collect();
        assert!(may.iter().all(|other| below.contains(other)), "`{room}` points at a room that stands later");
    }
}

#[test]
fn a_star_ends_a_pattern() {
    assert!(matches("arrow*", "arrow-array") && matches("arrow*", "arrow") && matches("*", "anything"));
    assert!(!matches("arrow*", "narrow") && !matches("notify", "notify-types"));
}
