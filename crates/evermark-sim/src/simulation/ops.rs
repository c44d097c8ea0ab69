//! What happens in a run, as a list made from the seed alone: which file a pick means is decided when it happens, so that any
//! part of the list can be left out and the rest still means something.

use super::chance::Chance;
use super::fault::{At, Effect, Fault, POINTS, Sort, errno};
use super::subject::Loop;
use evermark_core::id::Kind;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    // People and their editors.
    Write {
        pick: u32,
        kind: Kind,
        entries: u32,
    },
    Edit {
        pick: u32,
        is_quiet: bool,
    },
    RemoveEntry {
        pick: u32,
    },
    RemoveFile {
        pick: u32,
    },
    MoveFile {
        pick: u32,
        to: u32,
    },
    /// The same text is saved again.
    Touch {
        pick: u32,
    },
    /// A save is cut off; [`Op::Mend`] saves all of it.
    Cut {
        pick: u32,
        permille: u32,
    },
    Mend,
    /// All files are away for some rounds, as on a volume that is not mounted.
    Vanish {
        rounds: u32,
    },

    // Clients.
    Add {
        session: u32,
        messages: u32,
        gap_s: u32,
        insist: bool,
    },
    /// A client that has lost the answer sends what was accepted once more.
    Resend {
        pick: u32,
    },
    Flush {
        session: u32,
    },
    Search {
        pick: u32,
    },
    /// A long read, with edits, commits and upkeep while it lasts.
    ReadAcross {
        pick: u32,
    },

    // The program's own loops, and its operator.
    Tick {
        which: Loop,
    },
    /// Every loop once.
    Round,
    /// One round of the index's upkeep, whatever the engine thinks of it.
    Beat,
    Rebuild,
    Verify,
    Close,
    Kill,

    // Time.
    Wait {
        ms: u32,
    },
    Jump {
        hours: i32,
    },

    // The environment.
    Arm {
        fault: Fault,
    },
    /// The volume has only so much left.
    Short {
        free_mib: u32,
    },
    Lift,
    ProviderDown,
    ProviderUp,
    Damage {
        what: Damage,
        pick: u32,
        is_open: bool,
    },

    /// Everything is lifted, and all that was promised must come true.
    Settle,
}

/// What can become of derived files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    IndexDirGone,
    GenerationGone,
    CurrentGone,
    LedgerGone,
    /// Overwritten with noise. The process is always closed: SQLite maps its files.
    LedgerGarbage,
    ManifestEmpty,
    ManifestCut,
    DataCut,
    DataGone,
    DataGarbage,
    DeletionsGone,
    /// Files that a crash leaves, of every kind that is known.
    Debris,
    CacheGone,
    CacheByte,
}

impl Damage {
    const ALL: [Self; 14] = [
        Self::IndexDirGone,
        Self::GenerationGone,
        Self::CurrentGone,
        Self::LedgerGone,
        Self::LedgerGarbage,
        Self::ManifestEmpty,
        Self::ManifestCut,
        Self::DataCut,
        Self::DataGone,
        Self::DataGarbage,
        Self::DeletionsGone,
        Self::Debris,
        Self::CacheGone,
        Self::CacheByte,
    ];
}

/// How much goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temper {
    /// Percent of operations that are faults or damage.
    pub trouble: u64,
    /// Operations; each fault brings some of its own.
    pub length: usize,
    /// Whether operations may hang. Costs real time.
    pub hangs: bool,
}

/// Makes the list of a seed.
pub fn generate(seed: u64, temper: Temper) -> Vec<Op> {
    let mut chance = Chance::new(seed);
    let chance = &mut chance;
    let mut ops = Vec::new();
    // Something to break.
    for _ in 0..2 {
        ops.push(write(chance));
    }
    ops.push(Op::Add { session: chance.u32() % 4, messages: 2, gap_s: 5, insist: true });
    ops.push(Op::Round);
    while ops.len() < temper.length {
        if chance.percent(temper.trouble) {
            trouble(chance, temper, &mut ops);
        } else {
            let op = ordinary(chance);
            ops.push(op);
        }
        if chance.percent(3) {
            ops.push(Op::Settle);
        }
    }
    ops.push(Op::Settle);
    ops
}

fn write(chance: &mut Chance) -> Op {
    let kind = *chance.one_of(&[Kind::Episode, Kind::Episode, Kind::AtomicFact, Kind::AgentCase]);
    Op::Write { pick: chance.u32(), kind, entries: 1 + chance.u32() % 6 }
}

fn ordinary(chance: &mut Chance) -> Op {
    let pick = chance.u32();
    match chance.below(100) {
        0..10 => write(chance),
        10..18 => Op::Edit { pick, is_quiet: chance.percent(30) },
        18..21 => Op::RemoveEntry { pick },
        21..23 => Op::RemoveFile { pick },
        23..26 => Op::MoveFile { pick, to: chance.u32() },
        26..27 => Op::Touch { pick },
        27..29 => Op::Cut { pick, permille: chance.u32() % 1000 },
        29..31 => Op::Mend,
        31..32 => Op::Vanish { rounds: 1 + pick % 4 },
        32..44 => Op::Add {
            session: pick % 4,
            messages: 1 + chance.u32() % 4,
            gap_s: *chance.one_of(&[1, 60, 2000, 8000]),
            insist: chance.percent(60),
        },
        44..50 => Op::Flush { session: pick % 4 },
        50..53 => Op::Search { pick },
        53..55 => Op::Resend { pick },
        55..58 => Op::ReadAcross { pick },
        58..66 => Op::Tick { which: *chance.one_of(&Loop::ALL) },
        66..78 => Op::Round,
        78..84 => Op::Beat,
        84..85 => Op::Rebuild,
        85..86 => Op::Verify,
        86..88 => Op::Close,
        88..91 => Op::Kill,
        91..96 => Op::Wait { ms: *chance.one_of(&[10, 400, 2500, 31_000, 3_600_000]) },
        _ => Op::Jump { hours: *chance.one_of(&[-1, 1, -25, 25, 24 * 365, -24 * 365]) },
    }
}

/// Something goes wrong, something happens meanwhile, and sometimes it is over soon.
fn trouble(chance: &mut Chance, temper: Temper, ops: &mut Vec<Op>) {
    match chance.below(100) {
        0..20 => ops.push(Op::Arm { fault: crash(chance) }),
        20..45 => ops.push(Op::Arm { fault: once(chance) }),
        45..65 => ops.push(Op::Arm { fault: lasting(chance) }),
        65..70 => ops.push(Op::Arm { fault: panic(chance) }),
        70..72 if temper.hangs => {
            let at = At::Point("lance.writing");
            ops.push(Op::Arm { fault: Fault { at, effect: Effect::Hang, skip: 0, times: Some(1), every: 1 } });
        }
        70..74 => ops.push(Op::ProviderDown),
        74..77 => ops.push(Op::Short { free_mib: *chance.one_of(&[0, 20, 100, 200]) }),
        _ => {
            let what = *chance.one_of(&Damage::ALL);
            ops.push(Op::Damage { what, pick: chance.u32(), is_open: chance.percent(60) });
        }
    }
    // Work that meets it.
    for _ in 0..1 + chance.below(4) {
        let op = ordinary(chance);
        ops.push(op);
    }
    let round = [Op::Round, Op::Beat, Op::Round, Op::Search { pick: chance.u32() }];
    ops.push(chance.one_of(&round).clone());
    if chance.percent(50) {
        ops.push(Op::Lift);
        ops.push(Op::ProviderUp);
    }
}

fn crash(chance: &mut Chance) -> Fault {
    let (point, _) = *chance.one_of(POINTS);
    let skip = if chance.percent(50) { 0 } else { chance.u32() % 6 };
    Fault { at: At::Point(point), effect: Effect::Crash, skip, times: Some(1), every: 1 }
}

fn once(chance: &mut Chance) -> Fault {
    let (point, sort) = *chance.one_of(POINTS);
    let effect = Effect::Errno(number(chance, sort));
    let effect = if point == "vault.exchange" && chance.percent(50) { Effect::Errno(errno::ENOSYS) } else { effect };
    Fault { at: At::Point(point), effect, skip: chance.u32() % 4, times: Some(1 + chance.u32() % 3), every: 1 }
}

fn lasting(chance: &mut Chance) -> Fault {
    let (at, effect, every) = match chance.below(7) {
        0 => (At::Writes, errno::ENOSPC, 1),
        1 => (At::Writes, errno::EROFS, 1),
        2 => (At::Writes, errno::EDQUOT, 1),
        3 => (At::Opens, errno::EMFILE, 1 + chance.u32() % 5),
        4 => (At::Reads, *chance.one_of(&[errno::EIO, errno::EACCES]), 1 + chance.u32() % 3),
        5 => (At::Writes, errno::ENOSPC, 2 + chance.u32() % 5),
        _ => {
            let (point, sort) = *chance.one_of(POINTS);
            (At::Point(point), number(chance, sort), 1)
        }
    };
    Fault { at, effect: Effect::Errno(effect), skip: 0, times: None, every }
}

fn panic(chance: &mut Chance) -> Fault {
    // The only point inside a call of Lance: a panic anywhere else would be a bug of ours, which ends the writer on purpose.
    let at = At::Point("lance.writing");
    Fault { at, effect: Effect::Panic, skip: chance.u32() % 3, times: Some(1 + chance.u32() % 2), every: 1 }
}

fn number(chance: &mut Chance, sort: Sort) -> i32 {
    match sort {
        Sort::Write => *chance.one_of(&[
            errno::ENOSPC,
            errno::ENOSPC,
            errno::EIO,
            errno::EROFS,
            errno::EDQUOT,
            errno::EFBIG,
            errno::EMFILE,
        ]),
        Sort::Read => *chance.one_of(&[errno::EIO, errno::EMFILE, errno::EACCES]),
        Sort::Step => errno::EIO,
    }
}

/// Returns a part of `ops` that still `fails`, from which nothing can be left out alone. Tries at most `tries` parts.
pub fn shrink(ops: &[Op], tries: usize, mut fails: impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut left = ops.to_vec();
    let mut tried = 0;
    let mut size = left.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < left.len() && tried < tries {
            let without: Vec<Op> = left[..at].iter().chain(&left[(at + size).min(left.len())..]).cloned().collect();
            tried += 1;
            if fails(&without) {
                left = without;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    left
}

#[cfg(test)]
mod tests;
