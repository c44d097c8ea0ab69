//! The picture: bytes over time on a logarithmic scale, and below it how long searches took.

use super::report::{Bucket, Figures};
use super::run::Happening;
use std::fmt::Write;
use std::time::Duration;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 940.0;
/// The panels, from top to bottom.
const BYTES: (f64, f64) = (64.0, 400.0);
const LATENCY: (f64, f64) = (440.0, 540.0);
const HEIGHT: f64 = 580.0;

/// Lines of the upper panel: name, colour, dashes.
const LINES: [(&str, &str, &str); 5] = [
    ("bound", "#c0392b", "6 3"),
    ("steady state", "#e08e0b", "2 3"),
    ("allocated", "#1f5fa8", ""),
    ("live", "#2e8b57", ""),
    ("Markdown", "#8a8a8a", ""),
];

/// Values from `low` to `high` on a panel, by their logarithms.
struct Scale {
    low: f64,
    high: f64,
    top: f64,
    bottom: f64,
}

impl Scale {
    /// Returns a scale between powers of ten (or thrice one) that holds all values above zero.
    fn of(values: impl Iterator<Item = f64>, (top, bottom): (f64, f64)) -> Self {
        let values = values.filter(|value| *value > 0.0).collect::<Vec<_>>();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        let (low, high) = if low < high { (low, high) } else { (1.0, 10.0) };
        Self { low: step_below(low * 0.9), high: step_above(high * 1.1), top, bottom }
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.bottom - share.min(1.0) * (self.bottom - self.top)
    }

    /// Returns the values to write at the axis.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![self.low];
        while let Some(last) = ticks.last().copied().filter(|last| *last < self.high * 0.99) {
            ticks.push(step_above(last * 1.01));
        }
        ticks
    }
}

/// Returns the least of 1, 3, 10, 30, … that is not below `value`.
fn step_above(value: f64) -> f64 {
    let ten = 10_f64.powf(value.log10().floor());
    [1.0, 3.0, 10.0].map(|step| step * ten).into_iter().find(|step| *step >= value * 0.9999).unwrap_or(10.0 * ten)
}

fn step_below(value: f64) -> f64 {
    let ten = 10_f64.powf(value.log10().floor());
    [3.0, 1.0].map(|step| step * ten).into_iter().find(|step| *step <= value * 1.0001).unwrap_or(ten)
}

/// Returns the picture as SVG.
pub(super) fn svg(figures: &Figures) -> String {
    let mut svg = String::with_capacity(64 << 10);
    let buckets = &figures.buckets;
    let end = figures.took.as_secs_f64().max(1.0);
    let x = |at: Duration| LEFT + (RIGHT - LEFT) * at.as_secs_f64() / end;
    put(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            figures.title
        ),
    );
    happenings(&mut svg, figures, &x);

    let series = |bucket: &Bucket| {
        let known = |bytes: Option<u64>| bytes.map(float);
        [
            known(bucket.bound),
            known(bucket.steady),
            Some(float(bucket.allocated)),
            known(bucket.live),
            Some(float(bucket.markdown)),
        ]
    };
    let scale = Scale::of(buckets.iter().flat_map(|bucket| series(bucket).into_iter().flatten()), BYTES);
    axis(&mut svg, &scale, |bytes| crate::output::size(whole(bytes)).replace(".0 ", " "));
    for (line, (name, colour, dashes)) in LINES.iter().enumerate() {
        let points = buckets.iter().filter_map(|bucket| Some((x(bucket.at), scale.y(series(bucket)[line]?))));
        polyline(&mut svg, points, colour, dashes);
        legend(&mut svg, line, name, colour, dashes);
    }

    let took =
        |bucket: &Bucket| [bucket.search_p50, bucket.search_max].map(|took| took.map(|took| took.as_secs_f64() * 1e3));
    let scale = Scale::of(buckets.iter().flat_map(|bucket| took(bucket).into_iter().flatten()), LATENCY);
    axis(&mut svg, &scale, |ms| format!("{} ms", (ms * 1e3).round() / 1e3));
    for (line, colour) in ["#6a4c93", "#c79fd6"].iter().enumerate().rev() {
        let points = buckets.iter().filter_map(|bucket| Some((x(bucket.at), scale.y(took(bucket)[line]?))));
        polyline(&mut svg, points, colour, "");
    }
    let (top, bottom) = LATENCY;
    put(
        &mut svg,
        format_args!(
            "<text x=\"{LEFT}\" y=\"{}\">searches: <tspan fill=\"#6a4c93\">median</tspan>, <tspan fill=\"#a36fb8\">slowest</tspan></text>\n",
            top - 6.0
        ),
    );
    for minute in minutes(end) {
        let at = x(Duration::from_secs_f64(minute * 60.0));
        put(
            &mut svg,
            format_args!(
                "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#444\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{minute} min</text>\n",
                bottom + 4.0,
                bottom + 18.0
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws what happened behind everything else.
fn happenings(svg: &mut String, figures: &Figures, x: &dyn Fn(Duration) -> f64) {
    let (top, bottom) = (BYTES.0, LATENCY.1);
    let mut full_since = None;
    let mut names = Vec::new();
    for event in &figures.events {
        match &event.what {
            Happening::Killed => {
                names.push(("#e2574c", "kill -9"));
                let at = x(event.at);
                put(
                    svg,
                    format_args!(
                        "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#e2574c\" stroke-width=\"1\"/>\n",
                        top + 8.0
                    ),
                );
            }
            Happening::DiskFull => full_since = Some(x(event.at)),
            Happening::DiskFreed => {
                names.push(("#f3c7c3", "disk full"));
                let Some(from) = full_since.take() else { continue };
                put(
                    svg,
                    format_args!(
                        "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\" fill=\"#f3c7c3\" fill-opacity=\"0.6\"/>\n",
                        x(event.at) - from,
                        bottom - top
                    ),
                );
            }
            Happening::EditsOver => {
                let at = x(event.at);
                put(
                    svg,
                    format_args!(
                        "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#444\" stroke-dasharray=\"1 3\"/>\
                     <text x=\"{:.1}\" y=\"{}\" text-anchor=\"end\" fill=\"#444\">edits end</text>\n",
                        at - 4.0,
                        bottom - 4.0
                    ),
                );
            }
            Happening::Back(_) | Happening::Health { .. } => {}
        }
    }
    names.dedup();
    if let Some((colour, name)) = names.first() {
        put(
            svg,
            format_args!("<text x=\"{RIGHT}\" y=\"22\" text-anchor=\"end\" fill=\"{colour}\">&#9646; {name}</text>\n"),
        );
    }
}

fn axis(svg: &mut String, scale: &Scale, name: impl Fn(f64) -> String) {
    for tick in scale.ticks() {
        let y = scale.y(tick);
        put(
            svg,
            format_args!(
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 6.0,
                y + 4.0,
                name(tick)
            ),
        );
    }
}

fn polyline(svg: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str, dashes: &str) {
    let points = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    put(
        svg,
        format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"{dashes}\"/>\n"
        ),
    );
}

fn legend(svg: &mut String, place: usize, name: &str, colour: &str, dashes: &str) {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let x = LEFT + place as f64 * 130.0;
    let y = 44.0;
    put(
        svg,
        format_args!(
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
         <text x=\"{}\" y=\"{}\">{name}</text>\n",
            x + 24.0,
            x + 30.0,
            y + 4.0
        ),
    );
}

/// Returns the minutes to write below.
fn minutes(seconds: f64) -> Vec<f64> {
    let all = seconds / 60.0;
    let step =
        [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 360.0].into_iter().find(|step| all / step <= 10.0).unwrap_or(1440.0);
    std::iter::successors(Some(0.0), |minute| Some(minute + step)).take_while(|minute| *minute <= all).collect()
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("writing to a string does not fail");
}

fn float(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a picture shows three digits")]
    let float = bytes as f64;
    float
}

fn whole(bytes: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ticks are positive")]
    let whole = bytes.round() as u64;
    whole
}
