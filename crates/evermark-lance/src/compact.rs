//! Which data files to merge: size-tiered, bounded, pure.
//!
//! A tier holds pieces of about the same size. When a tier has [`FANOUT`] of them they become one piece of the next
//! tier, so a row is rewritten once per tier, O(log n) times, and a full piece is left alone until a quarter of
//! it is dead. No pass reads or writes more than two full pieces.

use evermark_core::maintenance::Budget;

/// Pieces of one tier that make a piece of the next. Lower rewrites rows more often, higher leaves more files to open.
pub(crate) const FANOUT: usize = 8;
/// Descriptors one pass may hold.
pub(crate) const GROUP_PIECES_MAX: usize = 32;
/// A piece this large is not merged further: [`FANOUT`] of them would not fit a group.
const FULL_BYTES: u64 = 16 << 20;
/// Smaller than this a piece is mostly footer.
const FULL_BYTES_MIN: u64 = 64 << 10;

/// How large pieces, passes and writes may be: all follow from a full piece, and that from the room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    full_bytes: u64,
}

impl Sizes {
    /// Returns sizes with which a pass, a write, and what both leave behind fit a budget.
    ///
    /// One writer: a pass (2) or a write (1.5), what a commit superseded (1.5) with what earlier ones did, and readers' files
    /// come to less than seven full pieces; under a cap everything in flight is at most a sixteenth of it.
    pub fn within(budget: &Budget) -> Self {
        let by_cap = budget.cap_bytes.map_or(u64::MAX, |cap| cap / 32);
        Self { full_bytes: FULL_BYTES.min(budget.slack_bytes / 7).min(by_cap).max(FULL_BYTES_MIN) }
    }

    /// Bounds one pass: what it reads, what it writes, and so the space it needs beside the old files.
    pub(crate) fn group_bytes_max(self) -> u64 {
        self.full_bytes * 2
    }

    /// Bounds one commit.
    pub(crate) fn write_bytes_max(self) -> u64 {
        self.full_bytes / 2 * 3
    }
}

/// Tiers start here: a one-row file has about 10 KiB, most of it footer.
const SMALLEST_TIER_BYTES: u64 = 64 << 10;
/// A piece is rewritten by itself when a quarter of its rows is dead.
const DEAD_SHARE: u64 = 4;
/// ... and a twentieth when room is needed.
const DEAD_SHARE_FOR_ROOM: u64 = 20;

/// One fragment, as far as this decision goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    pub id: u64,
    /// Rows in the file, dead ones included.
    pub rows: u64,
    pub dead: u64,
    pub bytes: u64,
}

impl Piece {
    /// Returns what the piece would weigh without its dead rows.
    pub(crate) fn live_bytes(self) -> u64 {
        let dead = (self.bytes * self.dead.min(self.rows)).checked_div(self.rows);
        self.bytes - dead.unwrap_or(self.bytes)
    }

    fn is_rotten(self) -> bool {
        self.dead * DEAD_SHARE > self.rows
    }

    fn tier(self) -> u32 {
        let mut tier = 0;
        let mut limit = SMALLEST_TIER_BYTES;
        while self.live_bytes() > limit {
            limit *= FANOUT as u64;
            tier += 1;
        }
        tier
    }
}

/// Returns the ids of pieces to merge into one, or `None` when the pieces are as they should be.
pub fn choose(pieces: &[Piece], sizes: Sizes) -> Option<Vec<u64>> {
    let rotten: Vec<Piece> = pieces.iter().copied().filter(|piece| piece.is_rotten()).collect();
    if !rotten.is_empty() {
        return Some(take(rotten, sizes));
    }
    let mut tiers: std::collections::BTreeMap<u32, Vec<Piece>> = std::collections::BTreeMap::new();
    for piece in pieces.iter().copied().filter(|piece| piece.live_bytes() < sizes.full_bytes) {
        tiers.entry(piece.tier()).or_default().push(piece);
    }
    let crowded = tiers.into_values().find(|tier| tier.len() >= FANOUT)?;
    Some(take(crowded, sizes)).filter(|group| group.len() > 1)
}

/// Returns the pieces whose merging gives back most, for when bytes are needed now: a twentieth of dead rows is enough then.
pub fn choose_for_room(pieces: &[Piece], sizes: Sizes) -> Option<Vec<u64>> {
    let mut worth: Vec<Piece> =
        pieces.iter().copied().filter(|piece| piece.dead * DEAD_SHARE_FOR_ROOM > piece.rows).collect();
    worth.sort_by_key(|piece| (std::cmp::Reverse(piece.bytes - piece.live_bytes()), piece.id));
    let mut bytes = 0;
    worth.retain(|piece| {
        bytes += piece.bytes;
        bytes <= sizes.group_bytes_max() || bytes == piece.bytes
    });
    worth.truncate(GROUP_PIECES_MAX);
    (!worth.is_empty()).then(|| worth.into_iter().map(|piece| piece.id).collect())
}

/// Takes the smallest pieces that fit one pass; at least one, whatever it weighs.
fn take(mut pieces: Vec<Piece>, sizes: Sizes) -> Vec<u64> {
    pieces.sort_by_key(|piece| (piece.live_bytes(), piece.id));
    let mut bytes = 0;
    let mut group = Vec::new();
    for piece in pieces {
        bytes += piece.bytes;
        if !group.is_empty() && (bytes > sizes.group_bytes_max() || group.len() >= GROUP_PIECES_MAX) {
            break;
        }
        group.push(piece.id);
    }
    group
}
