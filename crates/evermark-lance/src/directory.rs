//! Where every row is: the few words per row that make writing and loading a matter of addresses, not of scans.
//!
//! Lance finds rows by joining or filtering whole columns; with this directory an upsert names the rows it replaces and an
//! owner's rows are read as a handful of ranges. It is read once from three narrow columns and then kept in step.

use evermark_core::id::Kind;
use evermark_core::id::{MemoryKey, Owner};
use evermark_core::memory::Digest32;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

/// The fingerprint of a [`MemoryKey`]: 64 bits of SHA-256, so a million rows collide once in 10^7 tries.
pub(crate) fn key_of(key: &MemoryKey) -> u64 {
    fingerprint(&[owner_parts(&key.owner).as_slice(), &[key.kind.name(), &key.id]].concat())
}

/// The fingerprint of an [`Owner`], by which rows are clustered.
pub(crate) fn owner_of(owner: &Owner) -> u64 {
    fingerprint(&owner_parts(owner))
}

fn owner_parts(owner: &Owner) -> Vec<&str> {
    vec![&owner.scope.app, &owner.scope.project, owner.track.name(), &owner.id]
}

fn fingerprint(parts: &[&str]) -> u64 {
    // Lengths first: no two lists of parts share their bytes.
    let mut bytes = Vec::with_capacity(128);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let digest = Digest32::of(&bytes).0;
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// A row's place: fragment in the high half, offset in the low half, as Lance's own row address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    pub(crate) fn new(fragment: u64, offset: u32) -> Self {
        Self(fragment << 32 | u64::from(offset))
    }

    pub(crate) fn fragment(self) -> u64 {
        self.0 >> 32
    }

    pub(crate) fn offset(self) -> u32 {
        // The low half, by construction.
        (self.0 & 0xffff_ffff) as u32
    }
}

/// Keys are fingerprints already.
#[derive(Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(crate) type ByFingerprint<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// One row as the directory knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: u64,
    pub(crate) owner: u64,
    pub(crate) kind: Kind,
}

/// Every live row of one version of the table.
#[derive(Default)]
pub(crate) struct Directory {
    rows: ByFingerprint<Address>,
    /// Each owner's rows, ascending.
    owners: ByFingerprint<Vec<Address>>,
    counts: [u64; Kind::ALL.len()],
}

impl Directory {
    /// Makes an empty one for so many rows: growing step by step would move all of them again and again.
    pub(crate) fn with_room(n_rows: usize) -> Self {
        Self { rows: HashMap::with_capacity_and_hasher(n_rows, BuildHasherDefault::default()), ..Self::default() }
    }

    pub(crate) fn find(&self, key: u64) -> Option<Address> {
        self.rows.get(&key).copied()
    }

    pub(crate) fn owner_rows(&self, owner: u64) -> &[Address] {
        self.owners.get(&owner).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// Adds a row, which must not be there yet. Returns false when it is (the table holds a key twice).
    pub(crate) fn insert(&mut self, entry: Entry, address: Address) -> bool {
        if self.rows.insert(entry.key, address).is_some() {
            return false;
        }
        self.counts[entry.kind as usize] += 1;
        let rows = self.owners.entry(entry.owner).or_default();
        match rows.last() {
            Some(last) if *last > address => {
                let at = rows.partition_point(|other| *other < address);
                rows.insert(at, address);
            }
            _ => rows.push(address),
        }
        true
    }

    /// Takes rows out. All at once: an owner's list is rebuilt, not shifted row by row.
    pub(crate) fn remove(&mut self, rows: &[Entry]) {
        let mut gone: ByFingerprint<Vec<Address>> = HashMap::default();
        for entry in rows {
            if let Some(address) = self.rows.remove(&entry.key) {
                self.counts[entry.kind as usize] -= 1;
                gone.entry(entry.owner).or_default().push(address);
            }
        }
        for (owner, mut addresses) in gone {
            addresses.sort_unstable();
            if let Some(rows) = self.owners.get_mut(&owner) {
                rows.retain(|address| addresses.binary_search(address).is_err());
                if rows.is_empty() {
                    self.owners.remove(&owner);
                }
            }
        }
    }

    /// Moves rows to where a rewrite has put them.
    pub(crate) fn relocate(&mut self, fragments: &[u64], rows: &[(Entry, Address)]) {
        let mut owners: Vec<u64> = rows.iter().map(|(entry, _)| entry.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        for owner in &owners {
            if let Some(list) = self.owners.get_mut(owner) {
                list.retain(|address| !fragments.contains(&address.fragment()));
            }
        }
        for (entry, address) in rows {
            self.rows.insert(entry.key, *address);
            self.owners.entry(entry.owner).or_default().push(*address);
        }
        for owner in owners {
            if let Some(list) = self.owners.get_mut(&owner) {
                list.sort_unstable();
            }
        }
    }
}

/// Offsets of rows in one fragment, as ranges.
pub(crate) type Ranges = Vec<Range<u64>>;

/// Returns addresses (ascending) as ranges of offsets per fragment.
pub(crate) fn ranges(addresses: &[Address]) -> Vec<(u64, Ranges)> {
    let mut all: Vec<(u64, Ranges)> = Vec::new();
    for address in addresses {
        let offset = u64::from(address.offset());
        if all.last().is_none_or(|(fragment, _)| *fragment != address.fragment()) {
            all.push((address.fragment(), Ranges::new()));
        }
        let Some((_, ranges)) = all.last_mut() else { continue };
        match ranges.last_mut() {
            Some(range) if range.end == offset => range.end += 1,
            _ => ranges.push(offset..offset + 1),
        }
    }
    all
}
