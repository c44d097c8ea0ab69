//! The figures of a run: as JSON, as a table, and summed up in steps of time for the picture.

use super::check::{Check, Found};
use super::fault::Done;
use super::run::{Event, Happening};
use super::sample::{Bound, Sample, Series, steady};
use super::traffic::{Answer, Edits, Searches};
use crate::bench::measure::{self, latencies, ms};
use crate::output::{Out, size};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Steps of time that a run is summed up in.
const BUCKETS: usize = 480;

/// One step of time: what was highest in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    pub(super) at: Duration,
    pub(super) allocated: u64,
    pub(super) live: Option<u64>,
    pub(super) bound: Option<u64>,
    /// What would be allowed at rest, the reserve included.
    pub(super) steady: Option<u64>,
    pub(super) markdown: u64,
    pub(super) rss: u64,
    pub(super) descriptors: u64,
    pub(super) search_p50: Option<Duration>,
    pub(super) search_max: Option<Duration>,
}

/// What the picture shows.
pub(super) struct Figures {
    pub(super) title: String,
    pub(super) took: Duration,
    pub(super) buckets: Vec<Bucket>,
    pub(super) events: Vec<Event>,
}

/// Everything that was measured.
pub(super) struct Measured {
    pub(super) title: String,
    /// The arguments, as numbers.
    pub(super) settings: Value,
    pub(super) took: Duration,
    pub(super) edits: Edits,
    pub(super) searches: Searches,
    pub(super) faults: Done,
    /// Bytes that the process sent to the disk and handed to `write`, from the first edit until all were indexed.
    pub(super) to_disk: u64,
    pub(super) written: u64,
    pub(super) entries: u64,
    pub(super) found: Found,
    /// What was found once more, after it was started without what made it fail.
    pub(super) sound: Option<Found>,
    pub(super) series: Series,
    pub(super) bound: Bound,
    pub(super) events: Vec<Event>,
    /// What must be so besides what was looked for at the end.
    pub(super) checks: Vec<Check>,
}

impl Measured {
    pub(super) fn all_holds(&self) -> bool {
        let sound = self.sound.iter().flat_map(|found| &found.checks);
        self.checks.iter().chain(&self.found.checks).chain(sound).all(|check| check.holds)
    }

    /// Sums up in steps of time.
    pub(super) fn figures(&self) -> Figures {
        let end = self.series.samples.last().map_or(self.took, |sample| sample.at);
        let step = (end.as_secs_f64() / BUCKETS as f64).max(0.25);
        let place = |at: Duration| index(at.as_secs_f64() / step).min(BUCKETS - 1);
        let mut buckets = vec![Bucket::default(); BUCKETS];
        let mut took = vec![Vec::new(); BUCKETS];
        for sample in &self.series.samples {
            let bucket = &mut buckets[place(sample.at)];
            bucket.at = Duration::from_secs_f64(step * place(sample.at) as f64);
            bucket.allocated = bucket.allocated.max(sample.allocated);
            bucket.live = sample.live;
            bucket.bound = sample.live.map(|live| self.bound.of(live));
            bucket.steady = sample.live.map(|live| steady(live) + sample.ballast);
            bucket.markdown = sample.markdown;
            bucket.rss = bucket.rss.max(sample.rss);
            bucket.descriptors = bucket.descriptors.max(sample.descriptors);
        }
        for search in self.searches.all.iter().filter(|search| search.answer != Answer::Down) {
            took[place(search.at)].push(search.took);
        }
        for (bucket, mut took) in buckets.iter_mut().zip(took) {
            took.sort_unstable();
            bucket.search_p50 = took.get(took.len() / 2).copied();
            bucket.search_max = took.last().copied();
        }
        buckets.retain(|bucket| bucket.allocated > 0);
        Figures { title: self.title.clone(), took: end, buckets, events: self.events.clone() }
    }

    fn answers(&self, answer: Answer) -> Vec<Duration> {
        let all = self.searches.all.iter();
        all.filter(|search| search.answer == answer).map(|search| search.took).collect()
    }

    pub(super) fn json(&self) -> Value {
        let Self { edits, faults, series, .. } = self;
        let answered = [self.answers(Answer::Hits), self.answers(Answer::Nothing)].concat();
        let row_bytes = self.found.rest.live.unwrap_or_default() as f64 / self.entries.max(1) as f64;
        let rows_bytes = edits.entries as f64 * row_bytes;
        let figures = self.figures();
        json!({
            "bench": "churn",
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            "machine": measure::machine(),
            "settings": self.settings,
            "took_s": seconds(self.took),
            "edits": {
                "n": edits.n(), "append": edits.appends, "change": edits.changes, "delete": edits.deletes,
                "entries": edits.entries, "changed_bytes": edits.changed_bytes, "written_bytes": edits.written_bytes,
                "refused": edits.refused, "took_s": seconds(edits.took), "late_max_ms": ms(edits.late_max),
            },
            "entries": self.entries,
            "bytes": {
                "peak": sample(&series.peak),
                "peak_to_live": ratio(series.peak.allocated, series.peak.live),
                "bound_used": round(series.bound_used, 1000.0),
                "looks": series.n_looks, "looks_unjudged": series.n_unjudged, "violations": series.n_violations,
                "violation": series.violation.as_ref().map(sample),
                "at_rest": sample(&self.found.rest),
                "at_rest_sound": self.sound.as_ref().map(|found| sample(&found.rest)),
                "rss_max": series.rss_max, "descriptors_max": series.descriptors_max,
            },
            "writes": {
                "to_disk_bytes": self.to_disk, "write_bytes": self.written,
                "row_bytes": row_bytes.round(),
                "to_disk_per_changed_byte": per(self.to_disk, edits.changed_bytes as f64),
                "write_per_changed_byte": per(self.written, edits.changed_bytes as f64),
                "to_disk_per_row_byte": per(self.to_disk, rows_bytes),
                "write_per_row_byte": per(self.written, rows_bytes),
                "to_disk_per_edited_file_byte": per(self.to_disk, edits.written_bytes as f64),
            },
            "searches": {
                "took": latencies(answered), "hits": self.answers(Answer::Hits).len(),
                "nothing": self.answers(Answer::Nothing).len(), "refused": self.answers(Answer::Refused).len(),
                "down": self.answers(Answer::Down).len(), "errors": self.searches.errors,
            },
            "faults": {
                "times": faults.times, "restart_max_ms": ms(faults.restart_max),
                "restart_mean_ms": ms(faults.restart_sum.checked_div(u32::try_from(faults.times).unwrap_or(u32::MAX)).unwrap_or_default()),
                "adds_while_full": faults.adds,
            },
            "quiet_after_s": seconds(self.found.quiet_after),
            "checks": self.checks.iter().chain(&self.found.checks).map(one_check).collect::<Vec<_>>(),
            "checks_sound": self.sound.iter().flat_map(|found| &found.checks).map(one_check).collect::<Vec<_>>(),
            "health": self.found.health,
            "health_codes": self.codes(),
            "events": self.events.iter().map(event).collect::<Vec<_>>(),
            "over_time": figures.buckets.iter().map(bucket).collect::<Vec<_>>(),
        })
    }

    /// Returns every code that health has named.
    fn codes(&self) -> BTreeSet<String> {
        let codes = self.events.iter().filter_map(|event| match &event.what {
            Happening::Health { codes, .. } => Some(codes),
            _ => None,
        });
        codes.flatten().cloned().collect()
    }

    /// Prints what people want to know.
    pub(super) fn print(&self, report: &Value, out: &mut Out) {
        let Self { edits, series, faults, .. } = self;
        let at = |pointer: &str, digits| measure::figure(report, pointer, digits);
        out.line(&self.title);
        out.line(format_args!(
            "  edits      {} ({} append, {} change, {} delete; {} refused), at most {} ms late; {} entries now",
            edits.n(),
            edits.appends,
            edits.changes,
            edits.deletes,
            edits.n_refused(),
            at("/edits/late_max_ms", 0),
            self.entries
        ));
        out.line(format_args!(
            "  allocated  {} at most ({} x live, {} % of the bound); {} looks, {} above the bound, {} without a judge",
            size(series.peak.allocated),
            at("/bytes/peak_to_live", 2),
            (series.bound_used * 100.0).round(),
            series.n_looks,
            series.n_violations,
            series.n_unjudged
        ));
        let rest = |name: &str, found: &Found, out: &mut Out| {
            let live = found.rest.live.map_or_else(|| "unknown".to_owned(), size);
            out.line(format_args!(
                "  {name:10} {} allocated (reserve {}), {live} live; Markdown {}; quiet after {:.1} s",
                size(found.rest.allocated),
                size(found.rest.ballast),
                size(found.rest.markdown),
                found.quiet_after.as_secs_f64()
            ));
        };
        rest("at rest", &self.found, out);
        if let Some(sound) = &self.sound {
            rest("mended", sound, out);
        }
        out.line(format_args!(
            "  writes     {} to disk, {} in all: {} and {} for each byte of entries, {} and {} for each byte of rows",
            size(self.to_disk),
            size(self.written),
            at("/writes/to_disk_per_changed_byte", 1),
            at("/writes/write_per_changed_byte", 1),
            at("/writes/to_disk_per_row_byte", 1),
            at("/writes/write_per_row_byte", 1)
        ));
        out.line(format_args!(
            "  searches   {}: p50 {} ms, p99 {} ms, slowest {} ms; {} refused, {} while it was down",
            at("/searches/took/n", 0),
            at("/searches/took/p50_ms", 1),
            at("/searches/took/p99_ms", 1),
            at("/searches/took/max_ms", 0),
            at("/searches/refused", 0),
            at("/searches/down", 0)
        ));
        out.line(format_args!(
            "  process    {} resident at most, {} descriptors at most",
            size(series.rss_max),
            series.descriptors_max
        ));
        if faults.times > 0 {
            out.line(format_args!(
                "  faults     {} times; back after {} ms, {} ms at most",
                faults.times,
                at("/faults/restart_mean_ms", 0),
                at("/faults/restart_max_ms", 0)
            ));
        }
        for (said, n) in &faults.adds {
            out.line(format_args!("  add        while the disk was full, {n} times: {said}"));
        }
        let codes = self.codes().into_iter().collect::<Vec<_>>().join(" ");
        out.line(format_args!("  health     {}", if codes.is_empty() { "never named anything" } else { &codes }));
        for check in self.checks.iter().chain(&self.found.checks) {
            say(check, "", out);
        }
        for check in self.sound.iter().flat_map(|found| &found.checks) {
            say(check, " (mended)", out);
        }
    }
}

fn say(check: &Check, when: &str, out: &mut Out) {
    let mark = if check.holds { out.paint.green("holds ") } else { out.paint.red("BROKEN") };
    out.line(format_args!("  {mark}     {}{when}: {}", check.name, check.found));
}

fn one_check(check: &Check) -> Value {
    json!({ "name": check.name, "holds": check.holds, "found": check.found })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "at_s": seconds(sample.at), "allocated": sample.allocated, "deleted_open": sample.deleted, "live": sample.live,
        "ballast": sample.ballast, "markdown": sample.markdown, "rss": sample.rss, "descriptors": sample.descriptors,
    })
}

fn bucket(bucket: &Bucket) -> Value {
    json!([
        seconds(bucket.at),
        bucket.allocated,
        bucket.live,
        bucket.markdown,
        bucket.rss,
        bucket.descriptors,
        bucket.search_p50.map(ms),
        bucket.search_max.map(ms),
    ])
}

fn event(event: &Event) -> Value {
    let mut value = match &event.what {
        Happening::Killed => json!({ "what": "killed" }),
        Happening::Back(took) => json!({ "what": "back", "took_ms": ms(*took) }),
        Happening::DiskFull => json!({ "what": "disk full" }),
        Happening::DiskFreed => json!({ "what": "disk freed" }),
        Happening::EditsOver => json!({ "what": "edits over" }),
        Happening::Health { verdict, codes } => json!({ "what": "health", "verdict": verdict, "codes": codes }),
    };
    value["at_s"] = seconds(event.at).into();
    value
}

fn seconds(time: Duration) -> f64 {
    round(time.as_secs_f64(), 100.0)
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

fn ratio(bytes: u64, of: Option<u64>) -> Option<f64> {
    of.filter(|of| *of > 0).map(|of| round(bytes as f64 / of as f64, 100.0))
}

fn per(bytes: u64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| round(bytes as f64 / of, 100.0))
}

fn index(at: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "time is not negative")]
    let index = at as usize;
    index
}
