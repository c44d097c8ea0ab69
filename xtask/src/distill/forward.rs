//! The forward pass of a small BERT over `[CLS] token [SEP]`, for many tokens at once.
//!
//! Plain loops over 32-bit floats; each output is one sum, over the inputs in order. The kernel keeps eight such sums in
//! registers, which changes nothing about any of them.

use super::math::{Normal, exp};
use super::weights::Weights;
use crate::chore::Failure;

/// Width of all-MiniLM-L6-v2's vectors, and the rest of its shape (config.json).
pub(super) const WIDTH: usize = 384;
const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;
const LAYERS: usize = 6;
const HEADS: usize = 12;
const HEAD: usize = WIDTH / HEADS;
const INNER: usize = 1536;
const EPSILON: f64 = 1e-12;
const CLS: usize = 101;
const SEP: usize = 102;
/// Positions per token: [CLS], the token, [SEP].
const LENGTH: usize = 3;

pub(super) struct Model {
    words: Vec<f32>,
    /// Position and segment embeddings of the three positions, added up.
    places: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    normal: Normal,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attended: Norm,
    wide: Linear,
    narrow: Linear,
    done: Norm,
}

impl Model {
    pub(super) fn new(weights: &Weights) -> Result<Self, Failure> {
        let positions = weights.tensor("embeddings.position_embeddings.weight", POSITIONS * WIDTH)?;
        let segments = weights.tensor("embeddings.token_type_embeddings.weight", 2 * WIDTH)?;
        let places = positions.iter().take(LENGTH * WIDTH).zip(segments[..WIDTH].iter().cycle());
        let layer = |n: usize| {
            let name = |part: &str| format!("encoder.layer.{n}.{part}");
            Ok(Layer {
                query: Linear::read(weights, &name("attention.self.query"), WIDTH, WIDTH)?,
                key: Linear::read(weights, &name("attention.self.key"), WIDTH, WIDTH)?,
                value: Linear::read(weights, &name("attention.self.value"), WIDTH, WIDTH)?,
                output: Linear::read(weights, &name("attention.output.dense"), WIDTH, WIDTH)?,
                attended: Norm::read(weights, &name("attention.output.LayerNorm"))?,
                wide: Linear::read(weights, &name("intermediate.dense"), WIDTH, INNER)?,
                narrow: Linear::read(weights, &name("output.dense"), INNER, WIDTH)?,
                done: Norm::read(weights, &name("output.LayerNorm"))?,
            })
        };
        Ok(Self {
            words: weights.tensor("embeddings.word_embeddings.weight", VOCABULARY * WIDTH)?,
            places: places.map(|(position, segment)| position + segment).collect(),
            norm: Norm::read(weights, "embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(layer).collect::<Result<_, Failure>>()?,
            normal: Normal::new(),
        })
    }

    /// Returns the last hidden states of every token: three positions of [`WIDTH`] each.
    pub(super) fn hidden(&self, tokens: &[usize]) -> Vec<f32> {
        let mut hidden = Vec::with_capacity(tokens.len() * LENGTH * WIDTH);
        for &token in tokens {
            for (position, word) in [CLS, token, SEP].into_iter().enumerate() {
                let word = &self.words[word * WIDTH..][..WIDTH];
                let place = &self.places[position * WIDTH..][..WIDTH];
                hidden.extend(word.iter().zip(place).map(|(word, place)| word + place));
            }
        }
        self.norm.apply(&mut hidden);
        for layer in &self.layers {
            let attended = attend(&layer.query.apply(&hidden), &layer.key.apply(&hidden), &layer.value.apply(&hidden));
            add(&mut hidden, &layer.output.apply(&attended));
            layer.attended.apply(&mut hidden);
            let mut wide = layer.wide.apply(&hidden);
            wide.iter_mut().for_each(|x| *x = self.normal.gelu(*x));
            add(&mut hidden, &layer.narrow.apply(&wide));
            layer.done.apply(&mut hidden);
        }
        hidden
    }
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

/// Returns what every position takes from the positions of its own token.
fn attend(query: &[f32], key: &[f32], value: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; query.len()];
    let scale = 1.0 / (HEAD as f64).sqrt();
    let sequences = out.chunks_exact_mut(LENGTH * WIDTH).zip(query.chunks_exact(LENGTH * WIDTH));
    let sides = key.chunks_exact(LENGTH * WIDTH).zip(value.chunks_exact(LENGTH * WIDTH));
    for ((out, query), (key, value)) in sequences.zip(sides) {
        for head in 0..HEADS {
            let part = |of: usize| of * WIDTH + head * HEAD..of * WIDTH + (head + 1) * HEAD;
            for to in 0..LENGTH {
                let scores: [f64; LENGTH] = std::array::from_fn(|from| {
                    let products = query[part(to)].iter().zip(&key[part(from)]);
                    scale * products.fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b))
                });
                let most = scores.iter().fold(f64::MIN, |most, score| most.max(*score));
                let shares = scores.map(|score| exp(score - most));
                let whole: f64 = shares.iter().fold(0.0, |sum, share| sum + share);
                for (from, share) in shares.into_iter().enumerate() {
                    let share = (share / whole) as f32;
                    for (out, value) in out[part(to)].iter_mut().zip(&value[part(from)]) {
                        *out += share * value;
                    }
                }
            }
        }
    }
    out
}

/// Layer normalisation.
struct Norm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Norm {
    fn read(weights: &Weights, name: &str) -> Result<Self, Failure> {
        let scale = weights.tensor(&format!("{name}.weight"), WIDTH)?;
        Ok(Self { scale, shift: weights.tensor(&format!("{name}.bias"), WIDTH)? })
    }

    fn apply(&self, hidden: &mut [f32]) {
        for row in hidden.chunks_exact_mut(WIDTH) {
            let mean = row.iter().fold(0.0, |sum, x| sum + f64::from(*x)) / WIDTH as f64;
            let spread = row.iter().fold(0.0, |sum, x| sum + (f64::from(*x) - mean) * (f64::from(*x) - mean));
            let by = 1.0 / (spread / WIDTH as f64 + EPSILON).sqrt();
            for ((x, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
                *x = ((f64::from(*x) - mean) * by) as f32 * scale + shift;
            }
        }
    }
}

/// Outputs and rows that the kernel works on together.
const OUTPUTS: usize = 4;
const ROWS: usize = 2;

/// A linear layer.
struct Linear {
    n_inputs: usize,
    /// For each four outputs, the weights of every input, side by side.
    packed: Vec<[f32; OUTPUTS]>,
    bias: Vec<f32>,
}

impl Linear {
    fn read(weights: &Weights, name: &str, n_inputs: usize, n_outputs: usize) -> Result<Self, Failure> {
        let weight = weights.tensor(&format!("{name}.weight"), n_outputs * n_inputs)?;
        let mut packed = Vec::with_capacity(weight.len() / OUTPUTS);
        for block in weight.chunks_exact(OUTPUTS * n_inputs) {
            packed.extend((0..n_inputs).map(|input| std::array::from_fn(|output| block[output * n_inputs + input])));
        }
        Ok(Self { n_inputs, packed, bias: weights.tensor(&format!("{name}.bias"), n_outputs)? })
    }

    fn apply(&self, inputs: &[f32]) -> Vec<f32> {
        let n_outputs = self.bias.len();
        let n_rows = inputs.len() / self.n_inputs;
        let mut out = vec![0.0; n_rows * n_outputs];
        let pairs: Vec<Vec<[f32; ROWS]>> = (0..n_rows)
            .step_by(ROWS)
            .map(|first| {
                let second = (first + 1).min(n_rows - 1);
                let row = |n: usize| &inputs[n * self.n_inputs..][..self.n_inputs];
                row(first).iter().zip(row(second)).map(|(a, b)| [*a, *b]).collect()
            })
            .collect();
        for (block, weights) in self.packed.chunks_exact(self.n_inputs).enumerate() {
            for (pair, inputs) in pairs.iter().enumerate() {
                let sums = sums(inputs, weights);
                for (nth, sums) in sums.iter().enumerate().take(n_rows - pair * ROWS) {
                    let at = (pair * ROWS + nth) * n_outputs + block * OUTPUTS;
                    let outputs = out[at..at + OUTPUTS].iter_mut().zip(&self.bias[block * OUTPUTS..]);
                    outputs.zip(sums).for_each(|((out, bias), sum)| *out = sum + bias);
                }
            }
        }
        out
    }
}

/// Returns the inner products of two rows with the weights of four outputs. Written out: the build does not unroll for us.
fn sums(inputs: &[[f32; ROWS]], weights: &[[f32; OUTPUTS]]) -> [[f32; OUTPUTS]; ROWS] {
    let (mut a, mut b, mut c, mut d) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
    let (mut e, mut f, mut g, mut h) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
    for (x, w) in inputs.iter().zip(weights) {
        a += x[0] * w[0];
        b += x[0] * w[1];
        c += x[0] * w[2];
        d += x[0] * w[3];
        e += x[1] * w[0];
        f += x[1] * w[1];
        g += x[1] * w[2];
        h += x[1] * w[3];
    }
    [[a, b, c, d], [e, f, g, h]]
}
