//! Directions in the space of meanings: unit vectors and their cosines.

#[cfg(test)]
mod tests;

/// Returns the vector scaled to length 1, or `None` when it points nowhere: all zeros, or not finite.
///
/// Every index treats a row whose vector points nowhere as a row without a vector.
pub fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let squares: f64 = vector.iter().map(|&component| f64::from(component) * f64::from(component)).sum();
    let length = squares.sqrt();
    if !(length.is_finite() && length > 0.0) {
        return None;
    }
    Some(vector.iter().map(|&component| (f64::from(component) / length) as f32).collect())
}

/// Returns the cosine of two vectors in [-1, 1]; 0 when either points nowhere.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        dot += a * b;
        aa += a * a;
        bb += b * b;
    }
    let cosine = dot / (aa.sqrt() * bb.sqrt());
    if cosine.is_finite() { cosine.clamp(-1.0, 1.0) as f32 } else { 0.0 }
}
