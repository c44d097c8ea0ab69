//! An embedder that needs no model: texts that share words point the same way.

use super::{EmbedError, Embedder, ModelId, Purpose};
use crate::memory::Digest32;
use crate::vector;
use std::time::Duration;

/// Embeds by hashing words, offline and the same on every machine. For tests and demonstrations.
///
/// Words are runs of `a-z0-9_` of the text in lower case, and every two neighbouring characters of Chinese runs. The
/// SHA-256 of a word adds 1.0 in one component and 0.5 in another; the sum is scaled to length 1. A text without words
/// gives zeros, which point nowhere. (The fixtures' `stub-hash-1024` is the same rule with MD5.)
#[derive(Clone, Debug)]
pub struct HashEmbedder {
    model: ModelId,
}

impl HashEmbedder {
    /// Makes an embedder of vectors this wide; 0 is taken as 1.
    pub fn new(dimension: usize) -> Self {
        let dimension = dimension.max(1);
        Self { model: ModelId { name: format!("hash-{dimension}"), dimension } }
    }

    /// Returns the vector of one text.
    pub fn vector(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0.0; self.model.dimension];
        for_each_word(&text.to_lowercase(), &mut |word| {
            let digest = Digest32::of(word.as_bytes()).0;
            for (weight, bytes) in [(1.0, &digest[..8]), (0.5, &digest[8..16])] {
                let hash = bytes.iter().fold(0_u64, |hash, &byte| hash << 8 | u64::from(byte));
                sum[place(hash, self.model.dimension)] += weight;
            }
        });
        vector::unit(&sum).unwrap_or(sum)
    }
}

fn place(hash: u64, dimension: usize) -> usize {
    usize::try_from(hash % dimension as u64).unwrap_or_default()
}

fn for_each_word(text: &str, visit: &mut dyn FnMut(&str)) {
    let is_latin = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    let is_chinese = |c: char| matches!(c, '\u{4e00}'..='\u{9fff}');
    for word in text.split(|c| !is_latin(c)).filter(|word| !word.is_empty()) {
        visit(word);
    }
    for run in text.split(|c| !is_chinese(c)) {
        let starts: Vec<usize> = run.char_indices().map(|(at, _)| at).chain([run.len()]).collect();
        for window in starts.windows(3) {
            visit(&run[window[0]..window[2]]);
        }
    }
}

impl Embedder for HashEmbedder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn embed(&self, texts: &[String], _: Purpose, _: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| self.vector(text)).collect())
    }

    fn is_costly(&self) -> bool {
        false
    }
}
