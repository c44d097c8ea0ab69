//! The figures beside what is aimed at and what the hardware allows, read from a report's JSON: nothing here measures.
//!
//! Knows nothing of the program, so that its tests can take it in by itself.

use serde_json::Value;

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Good {
    AtMost,
    AtLeast,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    /// One value, or a median and a 99th percentile.
    pub(super) measured: Vec<f64>,
    pub(super) unit: &'static str,
    pub(super) good: Good,
    /// For each value, where there is an aim.
    pub(super) aims: Vec<f64>,
    /// What the hardware allows for the first value, and what that is made of.
    pub(super) limit: Option<(f64, String)>,
}

impl Line {
    /// Tells whether every aim is met; `None` without one.
    pub(super) fn is_met(&self) -> Option<bool> {
        let meets = |(measured, aim): (&f64, &f64)| match self.good {
            Good::AtMost => measured <= aim,
            Good::AtLeast => measured >= aim,
        };
        (!self.aims.is_empty()).then(|| self.measured.iter().zip(&self.aims).all(meets))
    }

    /// Returns how many times the limit the first value is away from it; 1 is the limit itself.
    pub(super) fn times_limit(&self) -> Option<f64> {
        let ((limit, _), measured) = (self.limit.as_ref()?, *self.measured.first()?);
        let times = match self.good {
            Good::AtMost => measured / limit,
            Good::AtLeast => limit / measured,
        };
        times.is_finite().then_some(times)
    }
}

/// Searches have to be this quick up to so many facts; above, the median alone is limited.
const QUICK_UP_TO: f64 = 100_000.0;

/// Returns every line there is a figure for. `limits` is what the machine can do.
pub(super) fn lines(size: &Value, limits: &Value) -> Vec<Line> {
    let mut lines = searches(size, limits);
    lines.extend(ingest(size, limits));
    lines.extend(meanwhile(size));
    lines.extend(weights(size));
    lines
}

fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

fn p50_p99(took: &Value) -> Option<Vec<f64>> {
    (number(took, "/n")? > 0.0).then_some(vec![number(took, "/p50_ms")?, number(took, "/p99_ms")?])
}

fn searches(size: &Value, limits: &Value) -> Vec<Line> {
    let facts = number(size, "/facts").unwrap_or_default();
    let mut lines = Vec::new();
    for search in size["search"].as_array().into_iter().flatten() {
        let (Some(method), Some(clients)) = (search["method"].as_str(), search["clients"].as_u64()) else { continue };
        let Some(took) = p50_p99(&search["took"]) else { continue };
        let over = if search["over"] == "http" { "over HTTP" } else { "in the process" };
        let who = if clients == 1 { "one client".to_owned() } else { format!("{clients} clients") };
        let name = format!("{method} {over}, {who}");
        let bytes = number(size, &format!("/must/{method}_bytes"));
        let limit = |per_s: Option<f64>| Some((bytes.filter(|bytes| *bytes > 0.0)?, per_s?));
        if clients == 1 {
            let aims = if facts <= QUICK_UP_TO { vec![2.0, 10.0] } else { vec![5.0] };
            let limit = limit(number(limits, "/memory_bytes_per_s"))
                .map(|(bytes, per_s)| (bytes / per_s * 1e3, format!("{} of memory", size_of(bytes))));
            lines.push(Line { name, measured: took, unit: "ms", good: Good::AtMost, aims, limit });
        } else {
            let Some(per_s) = number(search, "/per_s") else { continue };
            let limit = limit(number(limits, "/memory_bytes_per_s_all"))
                .map(|(bytes, all)| (all / bytes, format!("{} of memory each", size_of(bytes))));
            let aims = vec![1000.0];
            lines.push(Line {
                name: name.clone(),
                measured: vec![per_s],
                unit: "/s",
                good: Good::AtLeast,
                aims,
                limit,
            });
            lines.push(plain(format!("{name}, p50 / p99"), took, "ms", Vec::new()));
        }
    }
    lines
}

fn plain(name: impl Into<String>, measured: Vec<f64>, unit: &'static str, aims: Vec<f64>) -> Line {
    Line { name: name.into(), measured, unit, good: Good::AtMost, aims, limit: None }
}

/// The parts of ingest that nothing can do without, in facts a second, by name.
pub(super) fn ingest_limits(size: &Value, limits: &Value) -> Vec<(&'static str, f64)> {
    let Some(facts) = number(size, "/facts") else { return Vec::new() };
    let each = |bytes: Option<f64>, per_s: Option<f64>| Some(facts / (bytes? / per_s?));
    let markdown = number(size, "/markdown_bytes");
    let parts = [
        ("reading the Markdown", each(markdown, number(size, "/read/bytes_per_s"))),
        ("hashing it", each(markdown, number(limits, "/hash_bytes_per_s"))),
        ("embedding", number(size, "/must/embed_facts_per_s")),
        ("writing the index", each(number(size, "/disk/live_bytes"), number(limits, "/disk_bytes_per_s"))),
    ];
    parts.into_iter().filter_map(|(name, part)| Some((name, part?))).collect()
}

fn ingest(size: &Value, limits: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    let parts = ingest_limits(size, limits);
    let least = parts.iter().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, rate)| (*rate, (*name).to_owned()));
    let rate = |name: &str, pointer: &str, aims: &[f64]| {
        let measured = vec![number(size, pointer)?];
        let (name, aims, limit) = (name.to_owned(), aims.to_vec(), least.clone());
        Some(Line { name, measured, unit: "facts/s", good: Good::AtLeast, aims, limit })
    };
    lines.extend(rate("files to searchable", "/ingest/facts_per_s", &[20_000.0]));
    lines.extend(rate("the same, beside searches and edits", "/during/ingest/facts_per_s", &[]));
    let settle = number(size, "/settle_ms");
    for (name, pointer, aim) in [
        ("an edited file searchable, idle, p50 / p99", "/edits/idle", Some(300.0)),
        ("an edited file searchable, full ingest, p50 / p99", "/edits/ingest", Some(2000.0)),
        ("the same, while known files are replaced by the thousand", "/edits/replacing", None),
    ] {
        let Some(took) = size.pointer(pointer).and_then(p50_p99) else { continue };
        // Only the slow end has an aim; the median cannot miss it alone.
        let limit = settle.filter(|ms| *ms > 0.0).map(|ms| (ms, "until a file counts as saved".to_owned()));
        let aims = aim.map_or_else(Vec::new, |aim| vec![aim, aim]);
        lines.push(Line { limit, ..plain(name, took, "ms", aims) });
    }
    lines
}

fn meanwhile(size: &Value) -> Vec<Line> {
    let took = |what| {
        let took = size.pointer(&format!("/during/{what}/took")).and_then(p50_p99)?;
        Some(plain(format!("searches during {what}, p50 / p99"), took, "ms", vec![50.0, 50.0]))
    };
    ["ingest", "replacing", "compaction", "rebuild"].into_iter().filter_map(took).collect()
}

fn weights(size: &Value) -> Vec<Line> {
    const MB: f64 = 1e6;
    let facts = number(size, "/facts").unwrap_or_default();
    let mut lines = Vec::new();
    let idle_max = if facts <= 20_000.0 {
        Some(60.0)
    } else if facts >= 1e6 {
        Some(250.0)
    } else {
        None
    };
    for (name, pointer, aim) in [
        ("memory, idle after start", "/memory/idle/rss_bytes", idle_max),
        ("memory, every user searched", "/memory/searched/rss_bytes", None),
        ("memory, at rest again", "/memory/rested/rss_bytes", idle_max),
        ("memory, at most", "/memory/end/rss_max_bytes", None),
    ] {
        if let Some(bytes) = number(size, pointer) {
            lines.push(plain(name, vec![bytes / MB], "MB", aim.into_iter().collect()));
        }
    }
    if let Some(took) = size.pointer("/start/listens").and_then(p50_p99) {
        lines.push(plain("start to listening, p50 / p99", took, "ms", Vec::new()));
    }
    if let Some(took) = size.pointer("/start/first_answer").and_then(p50_p99) {
        let aims = if facts <= QUICK_UP_TO { vec![200.0, 200.0] } else { Vec::new() };
        lines.push(plain("start to first answer, p50 / p99", took, "ms", aims));
    }
    let disk = |key: &str| number(size, &format!("/disk/{key}"));
    if let (Some(index), Some(text), Some(vectors)) = (disk("index_bytes"), disk("text_bytes"), disk("vector_bytes")) {
        let live = text + vectors;
        let what = format!("{} of text, {} of vectors", size_of(text), size_of(vectors));
        let aims = vec![1.5 * live / MB];
        lines.push(Line { limit: Some((live / MB, what)), ..plain("index on disk", vec![index / MB], "MB", aims) });
    }
    lines
}

/// Returns bytes for people.
pub(super) fn size_of(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "KB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bytes >= *unit).unwrap_or((1.0, "B"));
    format!("{:.*} {name}", usize::from(unit > 1.0), bytes / unit)
}

/// Returns a number with three digits that say something, and its thousands apart.
pub(super) fn digits(number: f64) -> String {
    let decimals = match number.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.0 => 0,
        _ => 3,
    };
    spaced(&format!("{number:.decimals$}"))
}

/// Returns a whole number, its thousands apart.
pub(super) fn count(number: f64) -> String {
    spaced(&format!("{number:.0}"))
}

fn spaced(text: &str) -> String {
    let whole = text.split('.').next().unwrap_or_default().len();
    let mut spaced = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) && digit.is_ascii_digit() {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    spaced
}

/// Returns a limit with its unit: what memory allows is often far below the unit of what was measured.
fn limit(value: f64, unit: &str) -> String {
    match unit {
        "ms" if value < 1e-3 => format!("{} ns", digits(value * 1e6)),
        "ms" if value < 0.1 => format!("{} µs", digits(value * 1e3)),
        _ => format!("{} {unit}", digits(value)),
    }
}

/// The cells of a line: name, measured, aim, whether it is met, limit, how far away, what the limit is made of.
pub(super) fn cells(line: &Line) -> [String; 7] {
    let join = |values: &[f64]| values.iter().map(|value| digits(*value)).collect::<Vec<_>>().join(" / ");
    let sign = if line.good == Good::AtMost { "≤" } else { "≥" };
    let mut aims = line.aims.clone();
    aims.dedup();
    [
        line.name.clone(),
        format!("{} {}", join(&line.measured), line.unit),
        if aims.is_empty() { String::new() } else { format!("{sign} {}", join(&aims)) },
        line.is_met().map_or("", |met| if met { "yes" } else { "no" }).to_owned(),
        line.limit.as_ref().map_or_else(String::new, |(value, _)| limit(*value, line.unit)),
        line.times_limit().map_or_else(String::new, |times| format!("{} x", digits(times))),
        line.limit.as_ref().map_or_else(String::new, |(_, what)| what.clone()),
    ]
}

/// Programs that are compared.
const PROGRAMS: usize = 3;

/// Returns headings and rows of a comparison: a column for each program, `–` where there is no figure.
pub(super) fn beside(report: &Value) -> ([String; 1 + PROGRAMS], Vec<[String; 1 + PROGRAMS]>) {
    let programs: [&Value; PROGRAMS] = std::array::from_fn(|i| &report["programs"][i]);
    let mut headings: [String; 1 + PROGRAMS] = std::array::from_fn(|_| String::new());
    for (heading, program) in headings[1..].iter_mut().zip(programs) {
        let said = |key: &str| program[key].as_str().unwrap_or_default();
        *heading = format!("{} {}", said("name"), said("version")).trim().to_owned();
    }
    let clients = report["clients"].as_u64().unwrap_or_default();
    let mut rows = Vec::new();
    let mut row = |name: String, of: &dyn Fn(&Value) -> Option<String>| {
        let mut cells: [String; 1 + PROGRAMS] = std::array::from_fn(|_| "–".to_owned());
        cells[0] = name;
        for (cell, program) in cells[1..].iter_mut().zip(programs) {
            if let Some(said) = of(program) {
                *cell = said;
            }
        }
        rows.push(cells);
    };
    row("files to searchable, facts/s".to_owned(), &|program| number(program, "/facts_per_s").map(digits));
    row("start on nothing".to_owned(), &|program| Some(format!("{} ms", digits(number(program, "/start_ms")?))));
    for method in ["keyword", "vector", "hybrid"] {
        row(format!("{method}, one client, p50 / p99"), &|program| {
            let took = p50_p99(&searched(program, method, 1)?["took"])?;
            Some(format!("{} / {} ms", digits(took[0]), digits(took[1])))
        });
    }
    for method in ["keyword", "vector", "hybrid"] {
        row(format!("{method}, {clients} clients, searches/s"), &|program| {
            number(searched(program, method, clients)?, "/per_s").map(digits)
        });
    }
    for method in ["keyword", "vector", "hybrid"] {
        row(format!("{method}, share of searches that find something"), &|program| {
            number(searched(program, method, 1)?, "/found").map(digits)
        });
    }
    row("memory after all that".to_owned(), &|program| number(program, "/memory/rss_bytes").map(size_of));
    row("index on disk".to_owned(), &|program| number(program, "/index_bytes").map(size_of));
    (headings, rows)
}

fn searched<'a>(program: &'a Value, method: &str, clients: u64) -> Option<&'a Value> {
    let mut searches = program["search"].as_array()?.iter();
    searches.find(|search| search["method"] == method && search["clients"] == clients)
}

/// What stands above the cells.
pub(super) const HEADINGS: [&str; 7] = ["", "measured", "aim", "met", "limit", "away", "the limit is made of"];
