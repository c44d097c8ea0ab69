//! The picture: bytes over time on a logarithmic scale, and below it how long searches took.

use super::report::{Bucket, Figures};
use super::run::Happening;
use crate::bench::picture::{LEFT, RIGHT, Scale, WIDTH, axis, polyline, put};
use std::time::Duration;

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
