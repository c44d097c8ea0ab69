//! The functions that are not exact by IEEE 754, made of those that are: a C library's own differ in their last bits.

/// Returns e to the power of `x`, within a few units of the last place.
pub(super) fn exp(x: f64) -> f64 {
    // Source: ln 2 in two parts, so that the rest after taking out the powers of two is exact enough (Cody and Waite 1980).
    const LN_2: (f64, f64) = (0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10);
    if x < -700.0 {
        return 0.0;
    }
    let power = (x / (LN_2.0 + LN_2.1)).round();
    let rest = (x - power * LN_2.0) - power * LN_2.1;
    // |rest| ≤ 0.35: the 18th term is below the last place.
    let series = (1..18).rev().fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "-1010 to 1023 by the range of x")]
    let bits = ((power as i64 + 1023) as u64) << 52;
    series * f64::from_bits(bits)
}

/// The distribution function of the normal distribution, by a table: what GELU multiplies with.
pub(super) struct Normal {
    /// Value and slope at every step.
    knots: Vec<(f64, f64)>,
}

/// Steps per unit. Cubic interpolation between them is within 2e-10: below what a 32-bit float shows.
const STEPS: f64 = 64.0;
/// Beyond this the function is 0 or 1 to 15 digits.
const RANGE: f64 = 8.0;

impl Normal {
    pub(super) fn new() -> Self {
        let n_knots = 2 * (RANGE * STEPS) as u32 + 1;
        let knots = (0..=n_knots).map(|n| {
            let x = f64::from(n) / STEPS - RANGE;
            let slope = exp(-0.5 * x * x) * 0.398_942_280_401_432_7;
            // Source: Marsaglia 2004, x + x³/3 + x⁵/(3·5) + …, all terms of one sign.
            let (mut term, mut sum, mut n) = (x.abs(), x.abs(), 1.0);
            while term > sum * 1e-17 {
                n += 2.0;
                term = term * x * x / n;
                sum += term;
            }
            let half = slope * sum;
            (if x < 0.0 { 0.5 - half } else { 0.5 + half }, slope)
        });
        Self { knots: knots.collect() }
    }

    /// Returns x · Φ(x), the activation that BERT calls GELU.
    pub(super) fn gelu(&self, x: f32) -> f32 {
        let x = f64::from(x);
        if x <= -RANGE {
            return 0.0;
        }
        if x >= RANGE {
            return x as f32;
        }
        let place = (x + RANGE) * STEPS;
        let knot = place as usize;
        let t = place - knot as f64;
        let ((left, left_slope), (right, right_slope)) = (self.knots[knot], self.knots[knot + 1]);
        // Hermite's cubic through two values and two slopes.
        let (m, n) = (left_slope / STEPS, right_slope / STEPS);
        let rise = right - left;
        let (b, a) = (3.0 * rise - 2.0 * m - n, m + n - 2.0 * rise);
        (x * (left + t * (m + t * (b + t * a)))) as f32
    }
}
