//! What pictures are made of: logarithmic scales, lines and text, in SVG. Knows nothing of the program, so that its tests can
//! take it in by itself.

use std::fmt::Write;

pub(super) const WIDTH: f64 = 960.0;
pub(super) const LEFT: f64 = 74.0;
pub(super) const RIGHT: f64 = 940.0;

/// Values from `low` to `high` on a panel, by their logarithms.
pub(super) struct Scale {
    low: f64,
    high: f64,
    top: f64,
    bottom: f64,
}

impl Scale {
    /// Returns a scale between powers of ten (or thrice one) that holds all values above zero.
    pub(super) fn of(values: impl Iterator<Item = f64>, (top, bottom): (f64, f64)) -> Self {
        let values = values.filter(|value| *value > 0.0).collect::<Vec<_>>();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        let (low, high) = if low < high { (low, high) } else { (1.0, 10.0) };
        Self { low: step_below(low * 0.9), high: step_above(high * 1.1), top, bottom }
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let share = (value.max(self.low) / self.low).ln() / (self.high / self.low).ln();
        self.bottom - share.min(1.0) * (self.bottom - self.top)
    }

    /// Returns the values to write at the axis.
    pub(super) fn ticks(&self) -> Vec<f64> {
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

/// Writes a panel's lines and their values.
pub(super) fn axis(svg: &mut String, scale: &Scale, name: impl Fn(f64) -> String) {
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

/// Joins points.
pub(super) fn polyline(svg: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str, dashes: &str) {
    let points = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    put(
        svg,
        format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"{dashes}\"/>\n"
        ),
    );
}

pub(super) fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("writing to a string does not fail");
}
