//! Which pieces are merged: a table of cases, and the two bounds under random work.

use evermark_core::maintenance::Budget;
use evermark_lance::{Piece, Sizes};

fn choose(pieces: &[Piece]) -> Option<Vec<u64>> {
    evermark_lance::choose(pieces, Sizes::within(&Budget::UNBOUNDED))
}

fn choose_for_room(pieces: &[Piece]) -> Option<Vec<u64>> {
    evermark_lance::choose_for_room(pieces, Sizes::within(&Budget::UNBOUNDED))
}

fn piece(id: u64, rows: u64, dead: u64) -> Piece {
    Piece { id, rows, dead, bytes: 8_000 + rows * 1_500 }
}

#[track_caller]
fn check(pieces: &[Piece], expected: Option<&[u64]>) {
    assert_eq!(choose(pieces).as_deref(), expected);
}

#[test]
fn pieces_are_merged_when_there_are_many_of_a_size_or_they_rot() {
    check(&[], None);
    check(&[piece(1, 1, 0)], None);
    check(&(0..7).map(|id| piece(id, 1, 0)).collect::<Vec<_>>(), None);
    check(&(0..8).map(|id| piece(id, 1, 0)).collect::<Vec<_>>(), Some(&[0, 1, 2, 3, 4, 5, 6, 7]));
    // A large one does not count among small ones.
    check(&(0..8).map(|id| piece(id, if id == 0 { 5_000 } else { 1 }, 0)).collect::<Vec<_>>(), None);
    // A quarter dead is borne, more is not; others stay out of it.
    check(&[piece(1, 100, 25), piece(2, 100, 0)], None);
    check(&[piece(1, 100, 26), piece(2, 100, 0)], Some(&[1]));
    // Full pieces are left alone, however many there are.
    check(&(0..40).map(|id| piece(id, 12_000, 0)).collect::<Vec<_>>(), None);
    // At most 32 at once.
    assert_eq!(choose(&(0..100).map(|id| piece(id, 1, 0)).collect::<Vec<_>>()).unwrap().len(), 32);
}

#[test]
fn a_row_is_rewritten_a_few_times_and_pieces_stay_few() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut written, mut rewritten, mut id) = (0, 0, 0);
    for _ in 0..40_000 {
        id += 1;
        let rows = random.u64(1..12);
        written += rows;
        pieces.push(piece(id, rows, 0));
        while let Some(group) = choose(&pieces) {
            let rows =
                pieces.iter().filter(|piece| group.contains(&piece.id)).map(|piece| piece.rows - piece.dead).sum();
            let bytes: u64 = pieces.iter().filter(|piece| group.contains(&piece.id)).map(|piece| piece.bytes).sum();
            assert!(bytes <= 32 << 20 || group.len() == 1);
            rewritten += rows;
            pieces.retain(|piece| !group.contains(&piece.id));
            id += 1;
            pieces.push(piece(id, rows, 0));
        }
        let full = pieces.iter().filter(|piece| piece.bytes >= 16 << 20).count();
        assert!(pieces.len() - full <= 7 * 4, "{} pieces", pieces.len());
    }
    assert!(rewritten < written * 5, "{written} rows written, {rewritten} rewritten");
}

#[test]
fn for_room_the_deadest_pieces_come_first_within_one_pass() {
    assert_eq!(choose_for_room(&[piece(1, 100, 5), piece(2, 100, 0)]), None);
    assert_eq!(choose_for_room(&[piece(1, 100, 6), piece(2, 100, 50), piece(3, 100, 0)]), Some(vec![2, 1]));
    // One that alone exceeds a pass is taken alone; what does not fit waits for the next.
    let huge = |id| Piece { id, rows: 100, dead: 50, bytes: 40 << 20 };
    assert_eq!(choose_for_room(&[huge(1), huge(2)]), Some(vec![1]));
    assert_eq!(choose_for_room(&(0..100).map(|id| piece(id, 10, 5)).collect::<Vec<_>>()).unwrap().len(), 32);
}

#[test]
fn little_room_means_small_pieces_and_small_passes() {
    let cap = 32 << 20;
    let tight = Sizes::within(&Budget { ratio: 1.0, slack_bytes: u64::MAX, cap_bytes: Some(cap) });
    let pieces: Vec<_> = (0..40).map(|id| Piece { id, rows: 100, dead: 0, bytes: 300 << 10 }).collect();
    let group = evermark_lance::choose(&pieces, tight).unwrap();
    assert!(group.len() as u64 * (300 << 10) <= cap / 16, "{} pieces", group.len());
    // A megabyte is a full piece here.
    let full: Vec<_> = (0..40).map(|id| Piece { id, rows: 100, dead: 0, bytes: 1 << 20 }).collect();
    assert_eq!(evermark_lance::choose(&full, tight), None);
    let slack = Sizes::within(&Budget { ratio: 1.0, slack_bytes: 7 << 20, cap_bytes: None });
    assert_eq!(slack, tight);
}
