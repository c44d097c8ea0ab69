//! What one round of upkeep does: [`plan`] turns what was seen into steps, in order, each with its reason in words.
//!
//! The order is the safety: what frees space comes before what needs some, and never waits for it. A step that is due and
//! must not be taken now is held, with the reason: nothing is left out in silence.

use super::space::{Level, Volume, Watermarks};
use super::{Admission, Budget};

#[cfg(test)]
mod tests;

/// A part of a round that succeeds or fails by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Removes the file that was kept in reserve.
    Release,
    /// Removes what dead processes left behind.
    Janitor,
    /// Removes what no version in use names.
    Reclaim,
    /// Merges pieces, a bounded group at a time.
    Compact,
    /// Gives the ledger's free pages back and empties its log.
    Ledger,
    /// Writes rows again that damage took.
    Repair,
    /// Makes the file in reserve again.
    Ballast,
    /// Counts bytes and compares them with the bound.
    Measure,
    /// Makes a new generation.
    Rebuild,
}

impl Step {
    /// All steps, in the order in which a round takes them.
    pub const ALL: [Self; 9] = [
        Self::Release,
        Self::Janitor,
        Self::Reclaim,
        Self::Compact,
        Self::Ledger,
        Self::Repair,
        Self::Ballast,
        Self::Measure,
        Self::Rebuild,
    ];

    /// Returns the name used in JSON, metrics and health.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Janitor => "janitor",
            Self::Reclaim => "reclaim",
            Self::Compact => "compact",
            Self::Ledger => "ledger",
            Self::Repair => "repair",
            Self::Ballast => "ballast",
            Self::Measure => "measure",
            Self::Rebuild => "rebuild",
        }
    }
}

/// How a new generation is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// Beside the live one, which answers until the swap.
    Beside,
    /// In its place: the old one goes first, and searches answer what is there already.
    InPlace,
}

/// Why the live generation has to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It cannot be read.
    Damaged,
    /// Its vectors are another model's, and it answers meanwhile.
    OtherModel,
    /// Rounds in a row ended above the bound.
    OverBound,
    /// Merging goes on failing, and small and half-dead pieces pile up: all they hold counts as live, so the bound grows with
    /// them. A new generation has none.
    Unmerged,
}

/// The numbers that a round goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub watermarks: Watermarks,
    /// What everything below the index's folder may come to.
    pub budget: Budget,
    /// Size of the file in reserve.
    pub ballast_bytes: u64,
    /// The ledger's log and its free pages, before it is tidied.
    pub ledger_slack_bytes: u64,
    /// Rounds above the bound before a new generation is made.
    pub over_bound_rounds_max: u32,
    /// Share of the descriptors in use above which nothing is merged.
    pub descriptors_percent_max: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            watermarks: Watermarks::default(),
            budget: Budget { ratio: 2.0, slack_bytes: 192 << 20, cap_bytes: None },
            ballast_bytes: 64 << 20,
            ledger_slack_bytes: 4 << 20,
            over_bound_rounds_max: 2,
            descriptors_percent_max: 70,
        }
    }
}

/// What the live generation weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    pub allocated_bytes: u64,
    pub live_bytes: u64,
    pub dead_bytes: u64,
    pub orphan_bytes: u64,
    pub held_bytes: u64,
    pub versions: u64,
}

/// What was seen before a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The volume of the index; `None` when it would not say.
    pub volume: Option<Volume>,
    /// Nothing has been cleared away since the root was opened.
    pub is_first: bool,
    /// Commits since the last round.
    pub commits: u64,
    /// Somebody was refused for want of space since the last round.
    pub space_was_refused: bool,
    pub index: Option<Weight>,
    /// Pieces that are due to be merged, and their bytes.
    pub due: Option<(u64, u64)>,
    /// Everything below the index's folder, and the part of it that is live.
    pub total_bytes: u64,
    pub live_bytes: u64,
    /// The ledger's log, and pages of it that hold nothing.
    pub ledger_wal_bytes: u64,
    pub ledger_free_bytes: u64,
    /// What is in reserve now.
    pub ballast_bytes: u64,
    /// Generations and temporaries that nobody needs.
    pub debris: u64,
    /// Rows have left the index unasked.
    pub has_losses: bool,
    /// Why the generation has to be replaced.
    pub cause: Option<Cause>,
    /// Rounds in a row that ended above the bound.
    pub over_bound_rounds: u32,
    /// The last attempt at a generation beside the live one ended for want of space, whatever the numbers said.
    pub beside_found_no_room: bool,
    pub descriptors_used: u64,
    pub descriptors_max: Option<u64>,
    /// Steps that failed when they were taken last: what they were for is still to be done.
    pub failed: Vec<Step>,
    /// Steps that must not be taken now, and why: they hang, or failed a moment ago.
    pub waiting: Vec<(Step, String)>,
}

/// A step, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub step: Step,
    pub reason: String,
}

/// What a round does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub level: Level,
    /// In the order in which they are taken.
    pub steps: Vec<Planned>,
    /// What is due and is not done now.
    pub held: Vec<Planned>,
    /// How a new generation would be made, when [`Step::Rebuild`] is among the steps.
    pub rebuild: Option<Rebuild>,
}

impl Plan {
    pub fn has(&self, step: Step) -> bool {
        self.steps.iter().any(|planned| planned.step == step)
    }
}

/// What to do about a step.
enum Verdict {
    Do(String),
    Hold(String),
    NotDue,
}

/// Decides what a round does.
pub fn plan(seen: &Observation, policy: &Policy) -> Plan {
    let level = seen.volume.map_or(Level::Ample, |volume| policy.watermarks.level(&volume));
    let mut plan = Plan { level, steps: Vec::new(), held: Vec::new(), rebuild: None };
    for step in Step::ALL {
        let verdict = match step {
            Step::Release => release(seen, level),
            Step::Janitor | Step::Reclaim | Step::Measure if seen.failed.contains(&step) => {
                Verdict::Do("it failed the last time".to_owned())
            }
            Step::Janitor => janitor(seen, level),
            Step::Reclaim => reclaim(seen, level),
            Step::Compact => compact(seen, policy, level),
            Step::Ledger => ledger(seen, policy, level),
            Step::Repair => repair(seen, level),
            Step::Ballast => ballast(seen, policy, level),
            Step::Measure if plan.steps.is_empty() && seen.commits == 0 => Verdict::NotDue,
            Step::Measure => Verdict::Do("what was done is compared with the bound".to_owned()),
            Step::Rebuild => rebuild(seen, policy, level, &mut plan.rebuild),
        };
        let waiting = seen.waiting.iter().find(|(waiting, _)| *waiting == step);
        match (verdict, waiting) {
            (Verdict::NotDue, _) => {}
            (Verdict::Do(_) | Verdict::Hold(_), Some((_, why))) => {
                plan.held.push(Planned { step, reason: why.clone() });
            }
            (Verdict::Do(reason), None) => plan.steps.push(Planned { step, reason }),
            (Verdict::Hold(reason), None) => plan.held.push(Planned { step, reason }),
        }
    }
    if !plan.has(Step::Rebuild) {
        plan.rebuild = None;
    }
    plan
}

fn release(seen: &Observation, level: Level) -> Verdict {
    match (seen.ballast_bytes, level) {
        (0, _) => Verdict::NotDue,
        (bytes, Level::Out) => Verdict::Do(format!("the disk is nearly full: {bytes} bytes in reserve are given back")),
        (bytes, _) if seen.space_was_refused => {
            Verdict::Do(format!("a write found no space: {bytes} bytes in reserve are given back"))
        }
        _ => Verdict::NotDue,
    }
}

fn janitor(seen: &Observation, level: Level) -> Verdict {
    if seen.is_first {
        Verdict::Do("the process before may have left something".to_owned())
    } else if seen.debris > 0 {
        Verdict::Do(format!("{} files or folders belong to nothing", seen.debris))
    } else if level != Level::Ample || seen.space_was_refused {
        Verdict::Do("space is short".to_owned())
    } else {
        Verdict::NotDue
    }
}

fn reclaim(seen: &Observation, level: Level) -> Verdict {
    let Some(index) = seen.index else {
        return Verdict::Do("the index does not say what it weighs".to_owned());
    };
    if seen.is_first {
        Verdict::Do("the process before may have left something".to_owned())
    } else if seen.commits > 0 {
        Verdict::Do(format!("{} commits left their versions behind", seen.commits))
    } else if index.orphan_bytes > 0 {
        Verdict::Do(format!("{} bytes belong to no version in use", index.orphan_bytes))
    } else if level != Level::Ample || seen.space_was_refused {
        Verdict::Do("space is short".to_owned())
    } else {
        Verdict::NotDue
    }
}

fn compact(seen: &Observation, policy: &Policy, level: Level) -> Verdict {
    let Some((pieces, bytes)) = seen.due else { return Verdict::NotDue };
    if level != Level::Ample {
        return Verdict::Hold(format!(
            "{pieces} pieces ({bytes} bytes) are due to be merged, and nothing is rewritten while free space is {}",
            level.name()
        ));
    }
    let limit = seen.descriptors_max.map(|max| (max / 100).saturating_mul(policy.descriptors_percent_max).max(max / 2));
    if let (Some(limit), Some(max)) = (limit, seen.descriptors_max)
        && seen.descriptors_used > limit
    {
        return Verdict::Hold(format!(
            "{pieces} pieces are due to be merged, and {} of {max} descriptors are in use",
            seen.descriptors_used
        ));
    }
    Verdict::Do(format!("{pieces} pieces ({bytes} bytes) are small or half dead"))
}

fn ledger(seen: &Observation, policy: &Policy, level: Level) -> Verdict {
    let (wal, free) = (seen.ledger_wal_bytes, seen.ledger_free_bytes);
    if wal + free <= policy.ledger_slack_bytes {
        return Verdict::NotDue;
    }
    match level {
        // Emptying the log writes what is in it first.
        Level::Out => Verdict::Hold(format!("the ledger holds {wal} bytes of log, and needs space to empty it")),
        Level::Ample | Level::Low => Verdict::Do(format!("the ledger holds {wal} bytes of log and {free} free ones")),
    }
}

fn repair(seen: &Observation, level: Level) -> Verdict {
    match (seen.has_losses, level) {
        (false, _) => Verdict::NotDue,
        (true, Level::Out) => {
            Verdict::Hold("rows were lost by damage; there is no space to write them again".to_owned())
        }
        (true, _) => Verdict::Do("rows were lost by damage: what is missing is written again".to_owned()),
    }
}

fn ballast(seen: &Observation, policy: &Policy, level: Level) -> Verdict {
    if seen.ballast_bytes >= policy.ballast_bytes {
        return Verdict::NotDue;
    }
    let Some(volume) = seen.volume else { return Verdict::NotDue };
    if level == Level::Ample
        && !seen.space_was_refused
        && policy.watermarks.has_room_for_ballast(&volume, policy.ballast_bytes - seen.ballast_bytes)
    {
        Verdict::Do(format!("there is room for {} bytes in reserve", policy.ballast_bytes))
    } else {
        Verdict::NotDue
    }
}

/// Bytes that a new generation may take beyond its rows: a write and a rewrite in flight, its versions. A small one less.
const NEW_GENERATION_SLACK: u64 = 64 << 20;
const NEW_GENERATION_SLACK_MIN: u64 = 4 << 20;

fn rebuild(seen: &Observation, policy: &Policy, level: Level, how: &mut Option<Rebuild>) -> Verdict {
    let cause =
        seen.cause.or_else(|| (seen.over_bound_rounds >= policy.over_bound_rounds_max).then_some(Cause::OverBound));
    let Some(cause) = cause else { return Verdict::NotDue };
    let why = match cause {
        Cause::Damaged => "the index cannot be read".to_owned(),
        Cause::OtherModel => "the vectors are another model's".to_owned(),
        Cause::OverBound => format!("{} rounds ended above the bound", seen.over_bound_rounds),
        Cause::Unmerged => "merging goes on failing, and pieces pile up".to_owned(),
    };
    let index = seen.index.unwrap_or_default();
    let rows = index.live_bytes.saturating_sub(index.dead_bytes);
    let wanted = rows.saturating_add(NEW_GENERATION_SLACK.min(rows.saturating_add(NEW_GENERATION_SLACK_MIN)));
    let fits = policy.budget.admit(seen.live_bytes, seen.total_bytes, wanted) == Admission::Fits;
    let has_room = seen
        .volume
        .is_none_or(|volume| volume.free_bytes >= wanted.saturating_add(policy.watermarks.low.bytes_of(&volume)));
    if level == Level::Ample && fits && has_room && !seen.beside_found_no_room {
        *how = Some(Rebuild::Beside);
        return Verdict::Do(format!("{why}: a new generation is made beside it"));
    }
    // What the old one takes is free before the new one needs it.
    let freed = seen.volume.is_none_or(|volume| {
        let after = volume.free_bytes.saturating_add(index.allocated_bytes).saturating_sub(wanted);
        !volume.is_read_only && after >= policy.watermarks.out.bytes_of(&volume)
    });
    match cause {
        Cause::OtherModel | Cause::Unmerged => {
            Verdict::Hold(format!("{why}; there is no room for a new generation beside it"))
        }
        Cause::Damaged | Cause::OverBound if freed => {
            *how = Some(Rebuild::InPlace);
            Verdict::Do(format!("{why}, and there is no room beside it: it is made anew in its place"))
        }
        Cause::Damaged | Cause::OverBound => Verdict::Hold(format!("{why}; there is no room for a new generation")),
    }
}

/// Where a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub bound_bytes: u64,
    pub is_over: bool,
    /// What may still be written; 0 above the bound.
    pub headroom_bytes: u64,
}

/// Compares everything below the index's folder with what it may come to.
pub fn assess(total_bytes: u64, live_bytes: u64, budget: &Budget) -> Assessment {
    let bound_bytes = budget.bound(live_bytes);
    Assessment {
        bound_bytes,
        is_over: total_bytes > bound_bytes,
        headroom_bytes: bound_bytes.saturating_sub(total_bytes),
    }
}
