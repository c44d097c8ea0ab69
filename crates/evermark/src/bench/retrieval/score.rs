//! How good rankings are: the share of what was to be found among the first k, and how far chance may have moved it.

use fastrand::Rng;

/// How many of the first places are looked at.
pub(crate) const AT: [usize; 5] = [1, 5, 10, 20, 50];
/// Source: Efron and Tibshirani 1993, chapter 13: a thousand for intervals of 95 %.
pub(crate) const RESAMPLINGS: usize = 1000;
/// One seed for all: methods that are compared are resampled alike, and a run repeats exactly.
const SEED: u64 = 20_250_101;

/// A figure for each of [`AT`].
pub(crate) type Shares = [f64; AT.len()];

/// Returns the place each message of `gold` has in a ranking, from 0; `None` where it is missing.
pub(crate) fn places(gold: &[usize], ranking: &[usize]) -> Vec<Option<usize>> {
    gold.iter().map(|doc| ranking.iter().position(|ranked| ranked == doc)).collect()
}

/// Returns the share of the gold that is among the first k, for each k. `places` must not be empty.
pub(crate) fn shares(places: &[Option<usize>]) -> Shares {
    AT.map(|k| {
        let n_found = places.iter().filter(|place| place.is_some_and(|place| place < k)).count();
        n_found as f64 / places.len() as f64
    })
}

/// A mean and the 95 % interval of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Returns the mean over questions and its interval, for each of [`AT`], from a percentile bootstrap.
///
/// Rows that belong to the same questions in the same order are resampled alike, so differences of two methods, row by row,
/// give a paired interval.
pub(crate) fn bootstrap(rows: &[Shares]) -> [Estimate; AT.len()] {
    if rows.is_empty() {
        return Default::default();
    }
    let n = rows.len() as f64;
    let mut rng = Rng::with_seed(SEED);
    let mut means = vec![[0.0; AT.len()]; RESAMPLINGS];
    for mean in &mut means {
        for _ in 0..rows.len() {
            add(mean, &rows[rng.usize(..rows.len())]);
        }
    }
    let mut whole = [0.0; AT.len()];
    rows.iter().for_each(|row| add(&mut whole, row));
    std::array::from_fn(|i| {
        let mut sorted = means.iter().map(|mean| mean[i] / n).collect::<Vec<_>>();
        sorted.sort_unstable_by(f64::total_cmp);
        let tail = RESAMPLINGS / 40;
        Estimate { mean: whole[i] / n, low: sorted[tail], high: sorted[RESAMPLINGS - 1 - tail] }
    })
}

fn add(sum: &mut Shares, row: &Shares) {
    sum.iter_mut().zip(row).for_each(|(sum, share)| *sum += share);
}

/// Returns what the first of each pair is better by.
pub(crate) fn differences(better: &[Shares], than: &[Shares]) -> Vec<Shares> {
    better.iter().zip(than).map(|(better, than)| std::array::from_fn(|i| better[i] - than[i])).collect()
}
