//! The pictures: how long searches take as there are more facts, and what other programs make of the same memories.

use crate::bench::aims::{count, digits, size_of};
use crate::bench::picture::{LEFT, RIGHT, Scale, WIDTH, axis, polyline, put};
use serde_json::Value;

const HEIGHT: f64 = 420.0;
const PANEL: (f64, f64) = (64.0, 370.0);

/// Methods and their colours.
const METHODS: [(&str, &str); 3] = [("keyword", "#2e8b57"), ("vector", "#1f5fa8"), ("hybrid", "#6a4c93")];

/// Returns latency over the number of facts, or nothing when there is less than one size with searches over HTTP.
pub(super) fn latency(sizes: &[&Value]) -> Option<String> {
    let mut points = Vec::new();
    for size in sizes {
        let Some(facts) = size["facts"].as_f64() else { continue };
        for search in size["search"].as_array().into_iter().flatten() {
            if search["over"] != "http" || search["clients"] != 1 {
                continue;
            }
            let method = METHODS.iter().position(|(name, _)| search["method"] == *name);
            let took = |key: &str| search.pointer(&format!("/took/{key}")).and_then(Value::as_f64);
            if let (Some(method), Some(p50), Some(p99)) = (method, took("p50_ms"), took("p99_ms")) {
                points.push((facts, method, p50, p99));
            }
        }
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (least, most) = (points.first()?.0, points.last()?.0);
    let x = |facts: f64| {
        let share = if most > least { (facts / least).ln() / (most / least).ln() } else { 0.5 };
        LEFT + 40.0 + (RIGHT - LEFT - 80.0) * share
    };
    let mut svg = String::with_capacity(16 << 10);
    put(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Searches over HTTP, one client: median, and 99th percentile (dashed)</text>\n"
        ),
    );
    let aims = [2.0, 10.0];
    let scale = Scale::of(points.iter().flat_map(|point| [point.2, point.3]).chain(aims), PANEL);
    axis(&mut svg, &scale, |ms| format!("{} ms", short(ms)));
    for aim in aims {
        let y = scale.y(aim);
        polyline(&mut svg, [(LEFT, y), (RIGHT, y)].into_iter(), "#c0392b", "2 4");
        put(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" fill=\"#c0392b\">aim up to 100,000 facts: {} ms</text>\n",
                LEFT + 6.0,
                y - 4.0,
                short(aim)
            ),
        );
    }
    for (method, (name, colour)) in METHODS.iter().enumerate() {
        let of = || points.iter().filter(move |point| point.1 == method);
        polyline(&mut svg, of().map(|point| (x(point.0), scale.y(point.2))), colour, "");
        polyline(&mut svg, of().map(|point| (x(point.0), scale.y(point.3))), colour, "6 3");
        for point in of() {
            put(
                &mut svg,
                format_args!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{name}: {} ms at {} facts</title></circle>\n",
                    x(point.0),
                    scale.y(point.2),
                    digits(point.2),
                    count(point.0)
                ),
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "three methods")]
        let left = LEFT + method as f64 * 130.0;
        polyline(&mut svg, [(left, 44.0), (left + 24.0, 44.0)].into_iter(), colour, "");
        put(&mut svg, format_args!("<text x=\"{}\" y=\"48\">{name}</text>\n", left + 30.0));
    }
    let mut sizes = points.iter().map(|point| point.0).collect::<Vec<_>>();
    sizes.dedup();
    for facts in sizes {
        let (at, bottom) = (x(facts), PANEL.1);
        put(
            &mut svg,
            format_args!(
                "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#444\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{} facts</text>\n",
                bottom + 4.0,
                bottom + 18.0,
                count(facts)
            ),
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// What is compared: name, where it is in a program's figures, and the words for a value.
type Bars = (&'static str, fn(&Value) -> Option<f64>, fn(f64) -> String);

const BARS: [Bars; 6] = [
    ("files to searchable, facts/s (more is better)", |program| program["facts_per_s"].as_f64(), digits),
    ("keyword, one client, median (less is better)", |program| median(program, "keyword"), in_ms),
    ("vector, one client, median (less is better)", |program| median(program, "vector"), in_ms),
    ("hybrid, one client, median (less is better)", |program| median(program, "hybrid"), in_ms),
    ("memory (less is better)", |program| program.pointer("/memory/rss_bytes")?.as_f64(), size_of),
    ("index on disk (less is better)", |program| program["index_bytes"].as_f64(), size_of),
];

fn median(program: &Value, method: &str) -> Option<f64> {
    let mut searches = program["search"].as_array()?.iter();
    let search = searches.find(|search| search["method"] == method && search["clients"] == 1)?;
    search.pointer("/took/p50_ms")?.as_f64()
}

fn in_ms(ms: f64) -> String {
    format!("{} ms", digits(ms))
}

/// Returns the comparison as bars: each group by itself, from zero.
pub(super) fn peers(report: &Value, title: &str) -> String {
    const COLOURS: [&str; 3] = ["#1f5fa8", "#c7a03a", "#8a8a8a"];
    const BAR: f64 = 18.0;
    const NAMES: f64 = 210.0;
    const LONGEST: f64 = 560.0;
    let programs = report["programs"].as_array().map_or(&[][..], Vec::as_slice);
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let group = 30.0 + BAR * programs.len() as f64 + 10.0;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let height = 50.0 + group * BARS.len() as f64;
    let mut svg = String::with_capacity(16 << 10);
    put(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"20\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
        ),
    );
    let mut y = 50.0;
    for (name, of, words) in BARS {
        put(&mut svg, format_args!("<text x=\"20\" y=\"{}\" font-weight=\"bold\">{name}</text>\n", y + 14.0));
        let most = programs.iter().filter_map(of).fold(0.0, f64::max);
        for (i, program) in programs.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "a handful")]
            let top = y + 22.0 + BAR * i as f64;
            let said = |key: &str| program[key].as_str().unwrap_or_default();
            let value = of(program);
            let width = value.filter(|_| most > 0.0).map_or(0.0, |value| (value / most * LONGEST).max(1.0));
            put(
                &mut svg,
                format_args!(
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text>\
                     <rect x=\"{NAMES}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                    NAMES - 8.0,
                    top + 12.0,
                    said("name"),
                    said("version"),
                    BAR - 4.0,
                    COLOURS[i % COLOURS.len()],
                    NAMES + width + 6.0,
                    top + 12.0,
                    value.map_or_else(|| "not measured".to_owned(), words)
                ),
            );
        }
        y += group;
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns a round number without zeros that say nothing.
fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
