//! Decides what to do about one file, from what is known and what is seen. Pure: the clock is an argument.
//!
//! Invariant: an entry leaves the index only on positive evidence, twice. Whatever cannot be looked at stays as it was.

use crate::memory::Digest32;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What a cheap look at a file tells about its content. Equal stamps mean equal content, but for the cases [`decide`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub size: u64,
    /// Nanoseconds since 1970. People and tools set it as they like.
    pub mtime_ns: i64,
    pub inode: u64,
    /// Nanoseconds since 1970. Only the file system sets it.
    pub ctime_ns: i64,
}

/// What the ledger remembers about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub stamp: Stamp,
    pub digest: Digest32,
    /// When the content was last read and compared, microseconds since 1970.
    pub verified_at_us: i64,
    /// When it was first missed, microseconds since 1970, if it is being missed.
    pub missing_since_us: Option<i64>,
}

/// What a look at the file's place found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Present(Stamp),
    /// Nothing of that name. `parent_listed` tells whether the folder that should hold it could really be read.
    Absent {
        parent_listed: bool,
    },
    /// The place could not be looked at, or holds something that is not a regular file.
    Unknown,
}

/// How patient and how thorough to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A file written to less than this ago may be half-written.
    pub settle: Duration,
    /// A missing file must still be missing this much later before it counts as deleted.
    pub second_look: Duration,
    /// File times may be this coarse: an edit so soon after a read can leave the stamp unchanged.
    pub granularity: Duration,
    /// Read and compare every file again when this much time has passed; `None` never does.
    pub audit: Option<Duration>,
    /// Missing this share of all files at once is taken for an accident, from 0 to 100.
    pub guard_percent: u64,
    /// ... unless it is fewer files than this.
    pub guard_files_min: u64,
}

impl Default for Policy {
    /// Settle, ratio and floor are choices; granularity is that of FAT, the coarsest in use (2 s); an audit
    /// a day reads 26 MB of Markdown in well under a second.
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(300),
            second_look: Duration::from_secs(2),
            granularity: Duration::from_secs(2),
            audit: Some(Duration::from_secs(24 * 60 * 60)),
            guard_percent: 50,
            guard_files_min: 10,
        }
    }
}

/// What to do about one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changed.
    Unchanged,
    /// Read it and compare digests; enqueue it when they differ, else record the new stamp and the time.
    Hash,
    /// Have it parsed and indexed.
    Enqueue,
    /// It is being written: look again at this time, microseconds since 1970.
    Settle(i64),
    /// It is gone at first sight: remember since when.
    SuspectGone,
    /// It is gone at second sight too: remove what came from it, if the [`guard`] agrees.
    ConfirmGone,
    /// No evidence either way: leave everything as it is.
    Keep,
}

/// Returns what to do about a file.
///
/// Units: `now_us` is microseconds since 1970, the wall clock that stamps come from. A clock that jumps delays a decision by
/// one look at most, and a file time in the future is handled once, like any other.
pub fn decide(known: Option<&Known>, seen: Seen, policy: &Policy, now_us: i64) -> Decision {
    match (seen, known) {
        (Seen::Unknown | Seen::Absent { parent_listed: false }, _) => Decision::Keep,
        (Seen::Absent { parent_listed: true }, None) => Decision::Unchanged,
        (Seen::Absent { parent_listed: true }, Some(known)) => match known.missing_since_us {
            // A clock that went back makes the first sight worthless.
            None => Decision::SuspectGone,
            Some(since) if since > now_us => Decision::SuspectGone,
            Some(since) if now_us - since >= micros(policy.second_look) => Decision::ConfirmGone,
            Some(_) => Decision::Keep,
        },
        (Seen::Present(stamp), None) => settled(stamp, policy, now_us).unwrap_or(Decision::Enqueue),
        (Seen::Present(stamp), Some(known)) => present(known, stamp, policy, now_us),
    }
}

fn present(known: &Known, stamp: Stamp, policy: &Policy, now_us: i64) -> Decision {
    if stamp != known.stamp || known.missing_since_us.is_some() {
        return settled(stamp, policy, now_us).unwrap_or({
            // A file that came back is done again even when its stamp is the old one: its rows may be gone (EverOS, E12).
            if stamp.size != known.stamp.size || known.missing_since_us.is_some() {
                Decision::Enqueue
            } else {
                Decision::Hash
            }
        });
    }
    // The stamp is the known one. An edit within one tick of the file system's clock after our read would not show in it,
    // so a read that came that soon after the last change is repeated once, later.
    let sure_us = (stamp.ctime_ns / 1000).saturating_add(micros(policy.granularity));
    if known.verified_at_us < sure_us && now_us >= sure_us {
        return Decision::Hash;
    }
    match policy.audit {
        // `abs_diff`: a clock that was wrong by a year must not switch the audit off for a year.
        Some(audit) if now_us.abs_diff(known.verified_at_us) >= micros(audit).unsigned_abs() => Decision::Hash,
        Some(_) | None => Decision::Unchanged,
    }
}

/// Returns the wait for a file that was written to a moment ago. A time in the future says nothing, so it waits for nothing.
fn settled(stamp: Stamp, policy: &Policy, now_us: i64) -> Option<Decision> {
    let written_us = stamp.mtime_ns / 1000;
    let until_us = written_us.saturating_add(micros(policy.settle));
    (written_us <= now_us && now_us < until_us).then_some(Decision::Settle(until_us))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Whether the folder we look at is the one the ledger was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootIdentity {
    Same,
    /// The identity file is not there: an unmounted volume, or a folder somebody emptied.
    Missing,
    /// Another root stands in this place.
    Different,
}

/// A person's word that this many files may go, given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    pub files: u64,
}

/// Whether removals may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Removals may go on. `confirmation_used` tells that they do so by the person's word, which is thereby spent.
    Proceed {
        confirmation_used: bool,
    },
    Hold {
        reason: Hold,
    },
}

/// Why removals stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    RootMissing,
    RootDifferent,
    TooMany { gone: u64, known: u64 },
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RootMissing => f.write_str("the root's identity file is missing: is the volume mounted?"),
            Self::RootDifferent => f.write_str("another root stands in this place"),
            Self::TooMany { gone, known } => write!(f, "{gone} of {known} files are gone at once"),
        }
    }
}

/// Decides whether the files that are gone may be forgotten.
///
/// Units: `known` counts the files in the ledger, `gone` those of them now missing. A confirmation covers at most the number
/// of files the person was shown; it never covers a root that is not the known one.
pub fn guard(known: u64, gone: u64, identity: RootIdentity, confirmed: Option<Confirmed>, policy: &Policy) -> Guard {
    match identity {
        RootIdentity::Missing => return Guard::Hold { reason: Hold::RootMissing },
        RootIdentity::Different => return Guard::Hold { reason: Hold::RootDifferent },
        RootIdentity::Same => {}
    }
    let many = gone >= policy.guard_files_min && gone.saturating_mul(100) >= known.saturating_mul(policy.guard_percent);
    match confirmed {
        _ if !many => Guard::Proceed { confirmation_used: false },
        Some(confirmed) if gone <= confirmed.files => Guard::Proceed { confirmation_used: true },
        Some(_) | None => Guard::Hold { reason: Hold::TooMany { gone, known } },
    }
}
