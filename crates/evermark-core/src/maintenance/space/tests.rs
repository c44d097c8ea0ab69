use super::{Level, Volume, Watermarks};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn volume(total_bytes: u64, free_bytes: u64) -> Volume {
    Volume { free_bytes, total_bytes, free_inodes: 900_000, total_inodes: 1_000_000, is_read_only: false }
}

fn check(volume: Volume, expected: Level) {
    assert_eq!(Watermarks::default().level(&volume), expected, "{volume:?}");
}

#[test]
fn on_a_large_volume_the_marks_are_amounts() {
    check(volume(100 * GIB, 256 * MIB), Level::Ample);
    check(volume(100 * GIB, 256 * MIB - 1), Level::Low);
    check(volume(100 * GIB, 64 * MIB), Level::Low);
    check(volume(100 * GIB, 64 * MIB - 1), Level::Out);
    check(volume(100 * GIB, 0), Level::Out);
}

#[test]
fn on_a_small_volume_they_are_shares_of_it() {
    check(volume(100 * MIB, 11 * MIB), Level::Ample);
    check(volume(100 * MIB, 9 * MIB), Level::Low);
    check(volume(100 * MIB, 3 * MIB), Level::Out);
    check(volume(0, 0), Level::Ample);
}

#[test]
fn inodes_run_out_as_bytes_do_where_there_is_a_number_of_them() {
    let inodes = |free_inodes, total_inodes| Volume { free_inodes, total_inodes, ..volume(100 * GIB, 50 * GIB) };
    check(inodes(2000, 1_000_000), Level::Ample);
    check(inodes(1999, 1_000_000), Level::Low);
    check(inodes(499, 1_000_000), Level::Out);
    check(inodes(90, 2000), Level::Low);
    check(inodes(30, 2000), Level::Out);
    check(inodes(0, 0), Level::Ample);
}

#[test]
fn a_volume_that_cannot_be_written_has_no_room() {
    check(Volume { is_read_only: true, ..volume(100 * GIB, 50 * GIB) }, Level::Out);
}

#[test]
fn ballast_is_kept_where_it_is_not_missed() {
    let marks = Watermarks::default();
    assert!(marks.has_room_for_ballast(&volume(100 * GIB, 320 * MIB), 64 * MIB));
    assert!(!marks.has_room_for_ballast(&volume(100 * GIB, 319 * MIB), 64 * MIB));
    assert!(!marks.has_room_for_ballast(&volume(GIB - 1, 900 * MIB), 64 * MIB));
    assert!(!marks.has_room_for_ballast(&volume(100 * GIB, 10 * MIB), 64 * MIB));
}
