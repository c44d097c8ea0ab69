//! Where and how things go wrong: the named points of a walk, and what may happen at each.

/// What a point is about, which says what can go wrong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Something was, or is about to be, written.
    Write,
    /// Something is about to be read or looked at.
    Read,
    /// A step of a walk: nothing fails there by itself, but a process may die.
    Step,
}

/// Every point the program passes. One that is passed and missing here fails a run, so that no walk grows a point that
/// nobody breaks.
pub const POINTS: &[(&str, Sort)] = &[
    ("durable.temp_written", Sort::Write),
    ("durable.renamed", Sort::Write),
    ("vault.staged", Sort::Write),
    ("vault.exchange", Sort::Write),
    ("vault.comparing", Sort::Read),
    ("vault.compared", Sort::Write),
    ("vault.read", Sort::Read),
    ("vault.look", Sort::Read),
    ("vault.list_dir", Sort::Read),
    ("vault.stat_file", Sort::Read),
    ("ledger.open", Sort::Write),
    ("ledger.record", Sort::Write),
    ("ledger.forget", Sort::Write),
    ("jobs.enqueue", Sort::Write),
    ("jobs.claim", Sort::Write),
    ("jobs.outcome", Sort::Write),
    ("cache.append", Sort::Write),
    ("cache.create", Sort::Write),
    ("add.stored", Sort::Step),
    ("add.enqueued", Sort::Step),
    ("extract.planned", Sort::Step),
    ("extract.episode", Sort::Step),
    ("extract.facts", Sort::Step),
    ("extract.consumed", Sort::Step),
    ("index.claimed", Sort::Step),
    ("index.embedded", Sort::Step),
    ("index.upserted", Sort::Step),
    ("index.flushed", Sort::Step),
    ("index.recorded", Sort::Step),
    ("rebuild.file", Sort::Step),
    ("rebuild.swap", Sort::Step),
    ("rebuild.emptied", Sort::Step),
    ("space.ballast", Sort::Write),
    ("lance.reading", Sort::Read),
    ("lance.inspecting", Sort::Read),
    ("lance.merging", Sort::Read),
    ("lance.dropping", Sort::Write),
    ("lance.writing", Sort::Write),
    ("lance.appended", Sort::Write),
    ("lance.committed", Sort::Write),
    ("lance.reclaiming", Sort::Write),
    ("lance.merged", Sort::Write),
];

/// Which points a fault is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Point(&'static str),
    /// Every point where something is written.
    Writes,
    /// Every point where something is read.
    Reads,
    /// Every point where something is opened: all but the steps.
    Opens,
}

impl At {
    pub fn holds(self, point: &str) -> bool {
        let sort = POINTS.iter().find(|(name, _)| *name == point).map(|(_, sort)| *sort);
        match self {
            Self::Point(name) => name == point,
            Self::Writes => sort == Some(Sort::Write),
            Self::Reads => sort == Some(Sort::Read),
            Self::Opens => matches!(sort, Some(Sort::Read | Sort::Write)),
        }
    }
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The operating system says no, with this number.
    Errno(i32),
    /// The process is killed: whatever is on the disk now is what the next one finds.
    Crash,
    /// The operation does not end until the fault is lifted.
    Hang,
    /// Code that we call panics.
    Panic,
}

/// Linux's numbers; macOS agrees on all but `EDQUOT` and `ENOSYS`, which classify the same as unknown errors there.
pub mod errno {
    pub const EIO: i32 = 5;
    pub const EACCES: i32 = 13;
    pub const EMFILE: i32 = 24;
    pub const EFBIG: i32 = 27;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
    pub const ENOSYS: i32 = 38;
    pub const EDQUOT: i32 = 122;
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: At,
    pub effect: Effect,
    /// Passes that go well first.
    pub skip: u32,
    /// How often it strikes; `None` until it is lifted.
    pub times: Option<u32>,
    /// Strikes at every so many passes, from the first on; 1 is always.
    pub every: u32,
}
