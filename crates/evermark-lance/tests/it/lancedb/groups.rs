//! Which fragments are merged: cases.

use evermark_lance::lancedb::{Part, groups};

const MB: u64 = 1 << 20;

fn part(id: u64, bytes: u64) -> Part {
    Part { id, rows: 100, dead: 0, bytes, indexes: vec![], excluded: false }
}

#[track_caller]
fn check(parts: &[Part], expected: &[&[u64]]) {
    assert_eq!(groups(parts), expected);
}

#[test]
fn neighbours_are_merged_and_walls_are_kept() {
    check(&[], &[]);
    check(&[part(1, MB)], &[]);
    check(&[part(1, MB), part(2, MB), part(5, MB)], &[&[1, 2, 5]]);
    // A large one is a wall, and so is one that must not be touched.
    check(&[part(1, MB), part(2, 40 * MB), part(3, MB), part(4, MB)], &[&[3, 4]]);
    let excluded = Part { excluded: true, dead: 90, ..part(2, MB) };
    check(&[part(1, MB), excluded, part(3, MB)], &[]);
    // A group is bounded in bytes.
    check(&[part(1, 30 * MB), part(2, 30 * MB), part(3, 30 * MB), part(4, MB)], &[&[1, 2], &[3, 4]]);
    // Indexed and not indexed rows are not mixed.
    let indexed = |id| Part { indexes: vec![0], ..part(id, MB) };
    check(&[indexed(1), indexed(2), part(3, MB), part(4, MB)], &[&[1, 2], &[3, 4]]);
    // One row in ten may be dead, more is rewritten, however large.
    let rotting = |id, bytes, dead| Part { dead, ..part(id, bytes) };
    check(&[rotting(1, MB, 10)], &[]);
    check(&[rotting(1, MB, 11)], &[&[1]]);
    check(&[rotting(1, 500 * MB, 11), part(2, MB)], &[&[1]]);
}

#[test]
fn many_small_ones_make_several_groups() {
    let parts: Vec<Part> = (0..2_000).map(|id| part(id, 4_096)).collect();
    let made = groups(&parts);
    assert!(made.iter().all(|group| group.len() <= 512), "{:?}", made.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(made.concat(), (0..2_000).collect::<Vec<_>>());
}
