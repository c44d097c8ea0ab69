//! The forward pass of a BERT encoder, over texts laid one behind another: no padding, so nothing is computed for nothing.

use super::LocalError;
use super::folder::Shape;
use super::tensors::Tensors;
use ndarray::{Array1, Array2, ArrayView2, Axis, AxisDescription, Slice};

pub(super) struct Bert {
    words: Array2<f32>,
    /// Position embeddings, that of the first segment added.
    places: Array2<f32>,
    /// What the second segment's pieces have more than the first's.
    second: Array1<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    n_heads: usize,
}

/// A text, or two of them.
#[derive(Clone, Copy)]
pub(super) struct Pieces<'a> {
    pub(super) pieces: &'a [u32],
    /// Where the second text begins.
    pub(super) second_at: usize,
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

impl Bert {
    pub(super) fn read(tensors: &Tensors, shape: &Shape) -> Result<Self, LocalError> {
        let (width, inner) = (shape.width, shape.inner);
        let linear = |name: String, from: usize, to: usize| Linear::read(tensors, &name, from, to);
        let norm = |name: String| {
            let scale = tensors.vector(&format!("{name}.weight"), width)?;
            Ok(Norm { scale, shift: tensors.vector(&format!("{name}.bias"), width)?, epsilon: shape.epsilon })
        };
        let layer = |n: usize| {
            let name = |part: &str| format!("encoder.layer.{n}.{part}");
            Ok(Layer {
                query: linear(name("attention.self.query"), width, width)?,
                key: linear(name("attention.self.key"), width, width)?,
                value: linear(name("attention.self.value"), width, width)?,
                output: linear(name("attention.output.dense"), width, width)?,
                attended: norm(name("attention.output.LayerNorm"))?,
                wide: linear(name("intermediate.dense"), width, inner)?,
                narrow: linear(name("output.dense"), inner, width)?,
                done: norm(name("output.LayerNorm"))?,
            })
        };
        let places = tensors.matrix("embeddings.position_embeddings.weight", shape.n_positions, width)?;
        let segments = tensors.matrix("embeddings.token_type_embeddings.weight", shape.n_segments, width)?;
        Ok(Self {
            words: tensors.matrix("embeddings.word_embeddings.weight", shape.n_tokens, width)?,
            second: if shape.n_segments > 1 { &segments.row(1) - &segments.row(0) } else { Array1::zeros(width) },
            places: places + segments.row(0),
            norm: norm("embeddings.LayerNorm".to_owned())?,
            layers: (0..shape.n_layers).map(layer).collect::<Result<_, LocalError>>()?,
            n_heads: shape.n_heads,
        })
    }

    /// Returns the last hidden states of all pieces of all texts, one text behind another. A piece beyond the vocabulary counts
    /// as the first one.
    pub(super) fn hidden(&self, texts: &[Pieces<'_>]) -> Array2<f32> {
        let width = self.words.ncols();
        let mut hidden = Array2::zeros((texts.iter().map(|text| text.pieces.len()).sum(), width));
        let mut rows = hidden.axis_iter_mut(Axis(0));
        for text in texts {
            let places = self.places.axis_iter(Axis(0)).enumerate();
            for (((at, place), piece), mut row) in places.zip(text.pieces).zip(&mut rows) {
                let piece = usize::try_from(*piece).ok().filter(|piece| *piece < self.words.nrows()).unwrap_or(0);
                row.assign(&(&self.words.row(piece) + &place));
                if at >= text.second_at {
                    row += &self.second;
                }
            }
        }
        self.norm.apply(&mut hidden);
        for layer in &self.layers {
            let (query, key, value) = (layer.query.of(&hidden), layer.key.of(&hidden), layer.value.of(&hidden));
            let mut attended = Array2::zeros(hidden.raw_dim());
            let (mut at, part) = (0, width / self.n_heads);
            for text in texts {
                for head in 0..self.n_heads {
                    let (rows, columns) = (at..at + text.pieces.len(), head * part..(head + 1) * part);
                    let here = |axis: AxisDescription| {
                        Slice::from(if axis.axis == Axis(0) { rows.clone() } else { columns.clone() })
                    };
                    let found =
                        attend(query.slice_each_axis(here), key.slice_each_axis(here), value.slice_each_axis(here));
                    attended.slice_each_axis_mut(here).assign(&found);
                }
                at += text.pieces.len();
            }
            hidden += &layer.output.of(&attended);
            layer.attended.apply(&mut hidden);
            let mut wide = layer.wide.of(&hidden);
            wide.mapv_inplace(gelu);
            hidden += &layer.narrow.of(&wide);
            layer.done.apply(&mut hidden);
        }
        hidden
    }
}

/// One head's attention within one text.
fn attend(query: ArrayView2<'_, f32>, key: ArrayView2<'_, f32>, value: ArrayView2<'_, f32>) -> Array2<f32> {
    let scale = 1.0 / (query.ncols() as f32).sqrt();
    let mut scores = query.dot(&key.t());
    for mut row in scores.axis_iter_mut(Axis(0)) {
        let most = row.fold(f32::MIN, |most, score| most.max(*score));
        row.mapv_inplace(|score| ((score - most) * scale).exp());
        let whole = row.sum();
        row /= whole;
    }
    scores.dot(&value)
}

/// What turns a pair's first state into one number: the pooler and the classifier.
pub(super) struct Head {
    pooler: Linear,
    classifier: Linear,
}

impl Head {
    pub(super) fn read(tensors: &Tensors, shape: &Shape) -> Result<Self, LocalError> {
        let pooler = Linear::read(tensors, "pooler.dense", shape.width, shape.width)?;
        Ok(Self { pooler, classifier: Linear::read(tensors, "classifier", shape.width, 1)? })
    }

    /// Returns one logit per pair.
    pub(super) fn of(&self, hidden: &Array2<f32>, texts: &[Pieces<'_>]) -> Vec<f32> {
        let starts = texts.iter().scan(0, |at, text| {
            let start = *at;
            *at += text.pieces.len();
            Some(start)
        });
        let firsts = hidden.select(Axis(0), &starts.collect::<Vec<_>>());
        let mut pooled = self.pooler.of(&firsts);
        pooled.mapv_inplace(f32::tanh);
        self.classifier.of(&pooled).into_raw_vec_and_offset().0
    }
}

/// A linear layer.
struct Linear {
    /// One row per output.
    weight: Array2<f32>,
    bias: Array1<f32>,
}

impl Linear {
    fn read(tensors: &Tensors, name: &str, from: usize, to: usize) -> Result<Self, LocalError> {
        let weight = tensors.matrix(&format!("{name}.weight"), to, from)?;
        Ok(Self { weight, bias: tensors.vector(&format!("{name}.bias"), to)? })
    }

    fn of(&self, inputs: &Array2<f32>) -> Array2<f32> {
        inputs.dot(&self.weight.t()) + &self.bias
    }
}

/// Layer normalisation.
struct Norm {
    scale: Array1<f32>,
    shift: Array1<f32>,
    epsilon: f32,
}

impl Norm {
    fn apply(&self, hidden: &mut Array2<f32>) {
        let width = self.scale.len() as f32;
        for mut row in hidden.axis_iter_mut(Axis(0)) {
            let mean = row.sum() / width;
            row.mapv_inplace(|x| x - mean);
            let by = 1.0 / (row.fold(0.0, |sum, x| sum + x * x) / width + self.epsilon).sqrt();
            ndarray::Zip::from(&mut row)
                .and(&self.scale)
                .and(&self.shift)
                .for_each(|x, scale, shift| *x = *x * by * scale + shift);
        }
    }
}

/// Returns x · Φ(x). Source: Abramowitz and Stegun 7.1.26, within 1.5e-7.
fn gelu(x: f32) -> f32 {
    const A: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let rest = 0.5 * A.iter().fold(0.0, |sum, a| (sum + a) * t) * (-z * z).exp();
    if x < 0.0 { x * rest } else { x * (1.0 - rest) }
}
