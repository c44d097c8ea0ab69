//! Vectors in twice 8 bits a component: coarse ones for the pass over all, what these leave over for the few that win it.
//!
//! A component c is stored as round(127·c ÷ the largest |c|), so that every model's components use the whole range, and 254
//! times what that rounds off; one factor a vector makes its length 1. A question's vector has 16 bits a component. A coarse
//! cosine is wrong by 6e-4 (rms) at 256 components, a fine one by less than 1e-4. No sum can overflow 32 bits up to 2^17
//! components: by Cauchy–Schwarz it is at most 127·√width·32767.

use super::names::{bytes_of, extend, push};
use crate::vector;
use fearless_simd::{Level, Simd, dispatch};

const ROW_MAX: f32 = 127.0;
/// What is left of a component after rounding is half a step at most.
const LEFT_SCALE: f32 = 254.0;
const QUESTION_MAX: f32 = 32_767.0;

#[derive(Debug, Default)]
pub(super) struct Vectors {
    width: usize,
    coarse: Vec<i8>,
    left: Vec<i8>,
    /// What makes a vector's product with a question's a cosine.
    factors: Vec<f32>,
    /// The row of each vector.
    rows: Vec<u32>,
}

/// A question's vector.
pub(super) struct Packed(Vec<i16>);

/// A row's vector.
#[derive(Debug)]
pub(super) struct Stored {
    /// The coarse components, then what they leave over.
    components: Vec<i8>,
    factor: f32,
}

/// Sums and maxima are taken side by side in so many lanes: one after the other, each would wait for the one before.
const LANES: usize = 16;

impl Stored {
    /// `None` when the vector points nowhere.
    pub(super) fn of(vector: &[f32]) -> Option<Self> {
        if let Some(stored) = dispatch!(Level::new(), simd => Self::scaled(simd, vector)) {
            return Some(stored);
        }
        // All zeros, not finite, or so small or large that 32 bits do not do: rare, and decided where it always is.
        let unit = vector::unit(vector)?;
        dispatch!(Level::new(), simd => Self::scaled(simd, &unit))
    }

    /// `None` when 32 bits do not do.
    #[inline(always)]
    fn scaled<S: Simd>(_: S, vector: &[f32]) -> Option<Self> {
        let (whole, rest) = vector.as_chunks::<LANES>();
        // Filled up with zeros, which change nothing.
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);

        let (mut largest, mut sum) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        for chunk in whole.iter().chain([&last]) {
            for lane in 0..LANES {
                let size = chunk[lane].abs();
                largest[lane] = if size > largest[lane] { size } else { largest[lane] };
                sum[lane] += chunk[lane];
            }
        }
        let largest = largest.into_iter().fold(0.0, f32::max);
        let by = ROW_MAX / largest;
        // Not a number is in no comparison: the sum tells.
        if largest <= 0.0 || !by.is_finite() || !largest.is_finite() || !sum.into_iter().sum::<f32>().is_finite() {
            return None;
        }
        let mut components = vec![0; 2 * vector.len()];
        let (coarse, left) = components.split_at_mut(vector.len());
        let (coarse, coarse_rest) = coarse.as_chunks_mut::<LANES>();
        let (left, left_rest) = left.as_chunks_mut::<LANES>();
        let mut square = [0.0_f32; LANES];
        for (chunk, (coarse, left)) in whole.iter().zip(coarse.iter_mut().zip(left)) {
            (*coarse, *left) = split(chunk, by, &mut square);
        }
        let (coarse, left) = split(&last, by, &mut square);
        coarse_rest.copy_from_slice(&coarse[..rest.len()]);
        left_rest.copy_from_slice(&left[..rest.len()]);
        let length = square.into_iter().sum::<f32>().sqrt();
        Some(Self { components, factor: 1.0 / (length * QUESTION_MAX) })
    }
}

/// Returns components in coarse steps and what these leave over, and adds the squares of what both stand for.
#[inline(always)]
fn split(chunk: &[f32; LANES], by: f32, square: &mut [f32; LANES]) -> ([i8; LANES], [i8; LANES]) {
    let (mut coarse, mut left) = ([0; LANES], [0; LANES]);
    for lane in 0..LANES {
        let component = chunk[lane] * by;
        let rough = component + TO_WHOLE;
        let rest = (component - (rough - TO_WHOLE)) * LEFT_SCALE + TO_WHOLE;
        (coarse[lane], left[lane]) = (low_byte(rough), low_byte(rest));
        let both = (rough - TO_WHOLE) + (rest - TO_WHOLE) * (1.0 / LEFT_SCALE);
        square[lane] += both * both;
    }
    (coarse, left)
}

/// Added to a number below 2^22, it leaves no bits for a fraction, so that the sum is rounded; what is rounded to stands in the
/// lowest bits. Many times quicker than a conversion that minds what cannot be here.
const TO_WHOLE: f32 = 12_582_912.0;

/// Returns a whole number between -128 and 127 that [`TO_WHOLE`] was added to.
#[inline(always)]
fn low_byte(sum: f32) -> i8 {
    sum.to_bits() as i8
}

impl Vectors {
    pub(super) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Adds a row's vector and returns its place; `None` when there is none left.
    pub(super) fn put(&mut self, row: u32, stored: &Stored) -> Option<u32> {
        let place = u32::try_from(self.rows.len()).ok()?;
        let (coarse, left) = stored.components.split_at(self.width);
        extend(&mut self.coarse, coarse);
        extend(&mut self.left, left);
        push(&mut self.factors, stored.factor);
        push(&mut self.rows, row);
        Some(place)
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, n_more: usize) {
        self.coarse.reserve_exact(n_more * self.width);
        self.left.reserve_exact(n_more * self.width);
        self.factors.reserve_exact(n_more);
        self.rows.reserve_exact(n_more);
    }

    /// Returns the row of each place.
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Returns the coarse cosine of every vector to a question's, by place.
    pub(super) fn cosines(&self, question: &Packed) -> Vec<f32> {
        let mut cosines = vec![0.0; self.rows.len()];
        dispatch!(Level::new(), simd => fill(simd, &question.0, &self.coarse, &self.factors, &mut cosines));
        cosines
    }

    /// Returns the fine cosines of the vectors at some places to a question's.
    pub(super) fn fine(&self, places: &[u32], question: &Packed) -> Vec<f32> {
        let mut cosines = vec![0.0; places.len()];
        dispatch!(Level::new(), simd => self.fill_fine(simd, places, &question.0, &mut cosines));
        cosines
    }

    #[inline(always)]
    fn fill_fine<S: Simd>(&self, _: S, places: &[u32], question: &[i16], cosines: &mut [f32]) {
        for (cosine, &place) in cosines.iter_mut().zip(places) {
            let at = place as usize * self.width..(place as usize + 1) * self.width;
            let (coarse, left) = (dot(question, &self.coarse[at.clone()]), dot(question, &self.left[at]));
            let product = coarse as f32 + left as f32 / LEFT_SCALE;
            *cosine = (product * self.factors[place as usize]).clamp(-1.0, 1.0);
        }
    }

    /// Renumbers rows; the vectors of those without a new number go. Returns each new row's new place through `placed`.
    pub(super) fn rebuild(&mut self, renumber: impl Fn(u32) -> Option<u32>, mut placed: impl FnMut(u32, u32)) {
        let mut kept = 0;
        for at in 0..self.rows.len() {
            let Some(row) = renumber(self.rows[at]) else { continue };
            for components in [&mut self.coarse, &mut self.left] {
                components.copy_within(at * self.width..(at + 1) * self.width, kept * self.width);
            }
            self.factors[kept] = self.factors[at];
            self.rows[kept] = row;
            placed(row, kept as u32);
            kept += 1;
        }
        self.rows.truncate(kept);
        self.factors.truncate(kept);
        self.coarse.truncate(kept * self.width);
        self.left.truncate(kept * self.width);
        self.shrink();
    }

    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.factors.shrink_to_fit();
        self.coarse.shrink_to_fit();
        self.left.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.coarse) + bytes_of(&self.left) + bytes_of(&self.factors) + bytes_of(&self.rows)
    }
}

/// Scales a question's vector to length 1 and packs it; `None` when it points nowhere.
pub(super) fn pack(vector: &[f32]) -> Option<Packed> {
    let unit = vector::unit(vector)?;
    // Saturating: a component of 1 + rounding error stays 32767.
    Some(Packed(unit.into_iter().map(|component| (component * QUESTION_MAX).round() as i16).collect()))
}

/// One pass over all vectors, compiled for what the processor at hand can do: at the speed of memory with AVX2 or NEON.
#[inline(always)]
fn fill<S: Simd>(_: S, question: &[i16], components: &[i8], factors: &[f32], cosines: &mut [f32]) {
    let vectors = components.chunks_exact(question.len().max(1));
    for ((cosine, vector), &factor) in cosines.iter_mut().zip(vectors).zip(factors) {
        *cosine = dot(question, vector) as f32 * factor;
    }
}

/// Wrapping, because checks would keep the compiler from multiplying and adding pairs at once; it cannot overflow, see above.
/// Inlined, so that it is compiled for each processor along with its caller.
#[inline(always)]
fn dot(question: &[i16], vector: &[i8]) -> i32 {
    let product = |(&a, &b): (&i16, &i8)| i32::from(a).wrapping_mul(i32::from(i16::from(b)));
    question.iter().zip(vector).map(product).fold(0, i32::wrapping_add)
}
