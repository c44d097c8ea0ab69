//! Foreign tables as people read them: one line a table and a total, then what is wrong, in sentences.

mod json;

use crate::output::{Out, size, tame};
use evermark_lance::lancedb::{Class, Compacted, LanceDb, Outcome, Pruned, Run, Survey, Verified};
use std::error::Error;

/// Problems shown of one table; `--json` has all.
const SHOWN_MAX: usize = 20;

/// What every table is and weighs.
pub(crate) fn status(db: &LanceDb, outcomes: &[Outcome<Survey>], out: &mut Out) {
    if out.json {
        out.document(&json::status(db, outcomes));
        return;
    }
    headline(db, out);
    let mut table = Table::new(&[
        "table",
        "rows",
        "dead",
        "fragments",
        "versions",
        "allocated",
        "live",
        "superseded",
        "orphan",
        "debris",
        "written by",
    ]);
    let mut total = [0; 9];
    for (name, survey) in good(outcomes) {
        let figures = [
            survey.rows,
            survey.dead_rows,
            survey.fragments,
            survey.versions,
            survey.allocated_bytes,
            survey.live_bytes(),
            survey.tally(Class::Superseded).bytes,
            survey.tally(Class::Orphan).bytes,
            survey.tally(Class::Debris).bytes,
        ];
        total.iter_mut().zip(figures).for_each(|(total, figure)| *total += figure);
        let by = format!("{}, files {}", survey.written_by, survey.format);
        table.row(name, &figures, 4, &by);
    }
    table.row("total", &total, 4, "");
    table.print(out);
    for (name, survey) in good(outcomes) {
        let indexes = survey.indexes.iter().map(|index| format!("{} ({})", index.name, index.kind)).collect::<Vec<_>>();
        if !indexes.is_empty() {
            out.line(format_args!("{name}: indexes {}", tame(&indexes.join(", "))));
        }
        if !survey.tags.is_empty() {
            let tags = survey.tags.iter().map(|(tag, version)| format!("{tag} = {version}")).collect::<Vec<_>>();
            let pinned = size(survey.tally(Class::Pinned).bytes);
            out.line(format_args!("{name}: tags {}, which keep {pinned}", tame(&tags.join(", "))));
        }
        problems(name, &survey.problems, out);
    }
    failures(outcomes, out);
    let dead: u64 = total[6..].iter().sum();
    if dead > 0 {
        let path = db.path().display();
        out.line(format_args!("`evermark index prune --lancedb {path}` would free {}", size(dead)));
    }
}

/// What a prune freed, per class.
pub(crate) fn pruned(db: &LanceDb, run: Run, outcomes: &[Outcome<Pruned>], out: &mut Out) {
    if out.json {
        out.document(&json::pruned(db, run, outcomes));
        return;
    }
    headline(db, out);
    let freed = if run == Run::Dry { "would free" } else { "freed" };
    let mut table =
        Table::new(&["table", "before", freed, "superseded", "orphan", "debris", "set aside", "after", "live"]);
    let mut total = [0; 8];
    for (name, pruned) in good(outcomes) {
        let class = |class: Class| pruned.freed.get(&class).map_or(0, |tally| tally.bytes);
        let figures = [
            pruned.before.allocated_bytes,
            pruned.freed_bytes(),
            class(Class::Superseded),
            class(Class::Orphan),
            class(Class::Debris),
            pruned.set_aside.bytes,
            pruned.allocated_after,
            pruned.before.live_bytes(),
        ];
        total.iter_mut().zip(figures).for_each(|(total, figure)| *total += figure);
        table.row(name, &figures, 0, "");
    }
    table.row("total", &total, 0, "");
    table.print(out);
    good(outcomes).for_each(|(name, pruned)| beside(name, run, pruned, out));
    failures(outcomes, out);
}

fn beside(name: &str, run: Run, pruned: &Pruned, out: &mut Out) {
    for stepped in &pruned.stepped_down {
        out.line(format_args!(
            "{name}: {} version {}, the newest, is damaged and {} ({}); version {} is the newest now",
            out.paint.yellow("!"),
            stepped.version,
            if run == Run::Dry { "would be set aside" } else { "was set aside" },
            tame(&stepped.why),
            pruned.before.version,
        ));
    }
    if let Some(place) = &pruned.quarantine {
        let files = pruned.set_aside.files;
        out.line(format_args!("{name}: {files} files that only a damaged version can have named: {}", place.display()));
    }
    problems(name, &pruned.problems, out);
}

/// What a compaction did.
pub(crate) fn compacted(db: &LanceDb, run: Run, outcomes: &[Outcome<Compacted>], out: &mut Out) {
    if out.json {
        out.document(&json::compacted(db, run, outcomes));
        return;
    }
    headline(db, out);
    let groups = if run == Run::Dry { "would merge" } else { "groups" };
    let mut table = Table::new(&["table", "rows", groups, "fragments", "left", "before", "pruned", "after", "live"]);
    let mut total = [0; 8];
    for (name, done) in good(outcomes) {
        let figures = [
            done.rows_after,
            done.groups,
            done.fragments_before,
            done.fragments_after,
            done.pruned.before.allocated_bytes,
            done.pruned.freed_bytes(),
            done.allocated_after,
            done.live_after,
        ];
        total.iter_mut().zip(figures).for_each(|(total, figure)| *total += figure);
        table.row(name, &figures, 4, "");
    }
    table.row("total", &total, 4, "");
    table.print(out);
    for (name, done) in good(outcomes) {
        beside(name, run, &done.pruned, out);
        for lost in &done.lost {
            out.line(format_args!(
                "{name}: {} fragment {} was damaged ({}): {} rows written again, {} lost; its files are in {}",
                out.paint.red("!"),
                lost.fragment,
                tame(&lost.why),
                lost.rows_saved,
                lost.rows,
                lost.quarantine.display(),
            ));
        }
        if done.rows_revived > 0 {
            out.line(format_args!(
                "{name}: {} up to {} deleted rows are back: the file that listed them is damaged",
                out.paint.yellow("!"),
                done.rows_revived
            ));
        }
        for index in &done.dropped_indexes {
            let owner =
                if db.is_everos() { "EverOS makes it again when it starts" } else { "its owner has to make it again" };
            let (mark, why) = (out.paint.yellow("!"), tame(&index.why));
            out.line(format_args!("{name}: {mark} the index `{}` was dropped ({why}): {owner}", tame(&index.name)));
        }
        if let Some(why) = &done.stopped {
            out.line(format_args!("{name}: {} ended early: {}", out.paint.yellow("!"), tame(why)));
        }
        problems(name, &done.problems, out);
    }
    failures(outcomes, out);
}

/// What a verification found.
pub(crate) fn verified(db: &LanceDb, outcomes: &[Outcome<Verified>], out: &mut Out) {
    if out.json {
        out.document(&json::verified(db, outcomes));
        return;
    }
    headline(db, out);
    let mut table = Table::new(&["table", "rows", "read", "fragments", "indexes", "read", "problems"]);
    let mut total = [0; 6];
    for (name, verified) in good(outcomes) {
        let figures = [
            verified.survey.rows,
            verified.rows_read,
            verified.survey.fragments,
            verified.survey.indexes.len() as u64,
            verified.indexes_read,
            verified.problems.len() as u64,
        ];
        total.iter_mut().zip(figures).for_each(|(total, figure)| *total += figure);
        table.row(name, &figures, usize::MAX, "");
    }
    table.row("total", &total, usize::MAX, "");
    table.print(out);
    good(outcomes).for_each(|(name, verified)| problems(name, &verified.problems, out));
    failures(outcomes, out);
    if total[5] > 0 {
        let path = db.path().display();
        out.line(format_args!(
            "`evermark index compact --lancedb {path}` keeps what can be read and sets the rest aside"
        ));
    }
}

fn headline(db: &LanceDb, out: &mut Out) {
    let whose = if db.is_everos() { " (EverOS)" } else { "" };
    out.line(format_args!("{}{whose}", out.paint.bold(db.path().display())));
    for holder in db.holders() {
        out.line(format_args!("  {} {}", out.paint.yellow("!"), tame(&holder.to_string())));
    }
}

fn good<T>(outcomes: &[Outcome<T>]) -> impl Iterator<Item = (&str, &T)> {
    outcomes.iter().filter_map(|outcome| Some((outcome.table.as_str(), outcome.result.as_ref().ok()?)))
}

fn problems(name: &str, problems: &[String], out: &mut Out) {
    for problem in problems.iter().take(SHOWN_MAX) {
        out.line(format_args!("{name}: {} {}", out.paint.yellow("!"), tame(problem)));
    }
    if problems.len() > SHOWN_MAX {
        out.line(format_args!("{name}: and {} more", problems.len() - SHOWN_MAX));
    }
}

fn failures<T>(outcomes: &[Outcome<T>], out: &mut Out) {
    for outcome in outcomes {
        let Err(error) = &outcome.result else { continue };
        out.line(format_args!("{}: {} {}", outcome.table, out.paint.red("!"), tame(&error.to_string())));
        for cause in causes(error) {
            out.line(format_args!("    because: {}", tame(&cause)));
        }
    }
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes
}

/// Columns under one another: the first and the last on the left, figures on the right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(names: &[&str]) -> Self {
        Self { rows: vec![names.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// Adds a line; figures from the `bytes_from`-th on are bytes.
    fn row(&mut self, name: &str, figures: &[u64], bytes_from: usize, rest: &str) {
        let figures = figures.iter().enumerate().map(|(at, n)| if at < bytes_from { n.to_string() } else { size(*n) });
        let rest = Some(rest.to_owned()).filter(|rest| !rest.is_empty());
        self.rows.push([name.to_owned()].into_iter().chain(figures).chain(rest).collect());
    }

    fn print(&self, out: &mut Out) {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(width).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                let is_text = column == 0 || cell.contains(", ") || cell == "written by";
                if is_text { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let line = line.trim_end();
            out.line(if at == 0 { out.paint.dim(line) } else { line.to_owned() });
        }
    }
}
