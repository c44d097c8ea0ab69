//! Which files to merge: neighbours that the same indexes cover, bounded in bytes and number. Pure.
//!
//! Lance refuses a group in which some fragments are indexed and some are not, so coverage is a wall; and neighbours keep
//! their place, so rows keep their order.

/// Bounds one group: what is read and written by one task.
pub(super) const GROUP_BYTES_MAX: u64 = 64 << 20;
/// Fragments of one group.
const GROUP_PARTS_MAX: usize = 512;
/// A file this large is not merged for its size.
const FULL_BYTES: u64 = 32 << 20;
/// A file is rewritten by itself when more than one row in ten is dead.
const DEAD_SHARE: u64 = 10;

/// One fragment, as far as this decision goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub id: u64,
    /// Rows in the file, dead ones included.
    pub rows: u64,
    pub dead: u64,
    pub bytes: u64,
    /// Numbers of the indexes that cover it.
    pub indexes: Vec<usize>,
    /// Must not be touched.
    pub excluded: bool,
}

impl Part {
    pub(super) fn is_rotten(&self) -> bool {
        self.dead * DEAD_SHARE > self.rows
    }

    fn is_small(&self) -> bool {
        self.bytes < FULL_BYTES
    }
}

/// Returns groups of fragments to merge, each in the order of the table; none when the table is as it should be.
pub fn groups(parts: &[Part]) -> Vec<Vec<u64>> {
    let mut groups: Vec<Vec<&Part>> = Vec::new();
    let mut open: Vec<&Part> = Vec::new();
    let mut bytes = 0;
    for part in parts {
        let joins = !part.excluded
            && (part.is_small() || part.is_rotten())
            && open.first().is_none_or(|first| first.indexes == part.indexes)
            && open.len() < GROUP_PARTS_MAX
            && (open.is_empty() || bytes + part.bytes <= GROUP_BYTES_MAX);
        if !joins {
            groups.push(std::mem::take(&mut open));
            bytes = 0;
            if part.excluded || !(part.is_small() || part.is_rotten()) {
                continue;
            }
        }
        open.push(part);
        bytes += part.bytes;
    }
    groups.push(open);
    let worth = |group: &Vec<&Part>| group.len() > 1 || group.first().is_some_and(|part| part.is_rotten());
    groups.into_iter().filter(worth).map(|group| group.into_iter().map(|part| part.id).collect()).collect()
}
