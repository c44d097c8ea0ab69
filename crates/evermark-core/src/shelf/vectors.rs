//! Unit vectors in 16 bits a component, one after the other.
//!
//! A component c is stored as round(32767·c). The error of a cosine is about 1e-5; and as both vectors have length 1,
//! no sum of products passes 32767² (Cauchy–Schwarz; rounding adds less than 1 % at any width below 10^5), so 32-bit
//! sums cannot overflow and the loop needs nothing but multiply-and-add of 16-bit pairs.

use super::names::{bytes_of, extend, push};
use crate::vector;

const SCALE: f32 = 32_767.0;

#[derive(Debug, Default)]
pub(super) struct Vectors {
    width: usize,
    components: Vec<i16>,
    /// The row of each vector.
    rows: Vec<u32>,
}

impl Vectors {
    pub(super) fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Adds a row's vector and returns its place; `None` when it points nowhere.
    pub(super) fn add(&mut self, row: u32, vector: &[f32]) -> Option<u32> {
        let packed = pack(vector)?;
        let place = u32::try_from(self.rows.len()).ok()?;
        extend(&mut self.components, &packed);
        push(&mut self.rows, row);
        Some(place)
    }

    /// Visits every row with its vector's cosine to a packed one, when `is_wanted`.
    pub(super) fn each(&self, packed: &[i16], is_wanted: impl Fn(u32) -> bool, mut visit: impl FnMut(u32, f32)) {
        for (vector, &row) in self.components.chunks_exact(self.width.max(1)).zip(&self.rows) {
            if is_wanted(row) {
                visit(row, cosine(vector, packed));
            }
        }
    }

    /// Returns the cosine of the vector at a place to a packed one.
    pub(super) fn cosine(&self, place: u32, packed: &[i16]) -> f32 {
        let start = place as usize * self.width;
        cosine(&self.components[start..start + self.width], packed)
    }

    /// Renumbers rows; the vectors of those without a new number go. Returns each new row's new place through `placed`.
    pub(super) fn rebuild(&mut self, renumber: impl Fn(u32) -> Option<u32>, mut placed: impl FnMut(u32, u32)) {
        let mut kept = 0;
        for at in 0..self.rows.len() {
            let Some(row) = renumber(self.rows[at]) else { continue };
            self.components.copy_within(at * self.width..(at + 1) * self.width, kept * self.width);
            self.rows[kept] = row;
            placed(row, kept as u32);
            kept += 1;
        }
        self.rows.truncate(kept);
        self.components.truncate(kept * self.width);
        self.shrink();
    }

    pub(super) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.components.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.components) + bytes_of(&self.rows)
    }
}

/// Scales a vector to length 1 and packs it; `None` when it points nowhere.
pub(super) fn pack(vector: &[f32]) -> Option<Vec<i16>> {
    let unit = vector::unit(vector)?;
    // Saturating: a component of 1 + rounding error stays 32767.
    Some(unit.into_iter().map(|component| (component * SCALE).round() as i16).collect())
}

fn cosine(a: &[i16], b: &[i16]) -> f32 {
    (dot(a, b) as f32 / (SCALE * SCALE)).clamp(-1.0, 1.0)
}

/// Wrapping, because checks would keep the compiler from using `pmaddwd`; it cannot overflow, see above.
fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).fold(0_i32, |sum, (&a, &b)| sum.wrapping_add(i32::from(a).wrapping_mul(i32::from(b))))
}
