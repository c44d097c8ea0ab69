//! The main directions of a cloud of vectors: eigenvectors of a symmetric matrix, by Jacobi's rotations.

/// Returns the `n` eigenvectors of the symmetric `width` × `width` matrix with the largest eigenvalues, largest first.
///
/// Each has length 1, and its component of largest size is positive.
pub(super) fn largest(matrix: &[f64], width: usize, n: usize) -> Vec<Vec<f64>> {
    let mut a = matrix.to_vec();
    // Rows of this become the eigenvectors.
    let mut v: Vec<f64> = (0..width * width).map(|at| if at / width == at % width { 1.0 } else { 0.0 }).collect();
    // Convergence is quadratic: a dozen sweeps leave nothing, and a fixed number leaves no choice to rounding.
    const SWEEPS: usize = 14;
    for _ in 0..SWEEPS {
        for p in 0..width {
            for q in p + 1..width {
                rotate(&mut a, &mut v, width, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&i, &j| a[j * width + j].total_cmp(&a[i * width + i]));
    let vectors = order.into_iter().take(n).map(|at| {
        let vector = &v[at * width..][..width];
        let biggest = vector.iter().fold(0.0f64, |most, x| if x.abs() > most.abs() { *x } else { most });
        vector.iter().map(|x| if biggest < 0.0 { -x } else { *x }).collect()
    });
    vectors.collect()
}

/// Turns the axes `p` and `q` so that their mixed term vanishes. Source: Golub and Van Loan, Matrix Computations, 8.5.
fn rotate(a: &mut [f64], v: &mut [f64], width: usize, p: usize, q: usize) {
    let mixed = a[p * width + q];
    if mixed == 0.0 {
        return;
    }
    let tau = (a[q * width + q] - a[p * width + p]) / (2.0 * mixed);
    let tangent =
        if tau >= 0.0 { 1.0 / (tau + (1.0 + tau * tau).sqrt()) } else { -1.0 / (-tau + (1.0 + tau * tau).sqrt()) };
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = tangent * cosine;
    for k in 0..width {
        let (x, y) = (a[k * width + p], a[k * width + q]);
        a[k * width + p] = cosine * x - sine * y;
        a[k * width + q] = sine * x + cosine * y;
    }
    turn(a, width, p, q, cosine, sine);
    turn(v, width, p, q, cosine, sine);
    // What rounding left of it would come back.
    a[p * width + q] = 0.0;
    a[q * width + p] = 0.0;
}

fn turn(rows: &mut [f64], width: usize, p: usize, q: usize, cosine: f64, sine: f64) {
    let (head, tail) = rows.split_at_mut(q * width);
    for (x, y) in head[p * width..][..width].iter_mut().zip(&mut tail[..width]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}
