//! The built-in model: a table with one vector per piece of a word, so that meaning works with no key and no download.
//!
//! Flow: a text is cut into words and pieces (`wordpiece`), the vectors of the pieces that are in the table (`table`) are
//! added, each by how often it occurs and how rare it is, and the sum is brought to length 1. Nothing is read, allocated or
//! built before the first text: the table is part of the program and is looked up where it lies, with the help of 64 KB that
//! the first text makes. It knows English best, and reads Latin script only: a text that is mostly in another gets no vector
//! rather than one without meaning. The recipe: docs/decisions/0010.

mod table;

use crate::wordpiece::{Case, Cutter};
use evermark_core::embed::{EmbedError, Embedder, ModelId, Purpose};
use evermark_core::error::ErrorKind;
use fearless_simd::{Level, Simd, dispatch};
use std::sync::OnceLock;
use std::time::Duration;
use table::{Table, Vocabulary};

/// Names the table. Another table gets another name, and with it another generation of the index.
pub const NAME: &str = "builtin-en-256-v1";

/// Width of the built-in model's vectors.
pub const DIMENSION: usize = 256;

static BYTES: &[u8] = include_bytes!("../data/builtin-en-256-v1.table");

/// Makes vectors with the table that is part of the program.
pub struct BuiltinEmbedder {
    model: ModelId,
    table: Table<'static>,
    /// See [`Table::tags`].
    tags: OnceLock<Vec<u8>>,
}

impl Default for BuiltinEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

impl BuiltinEmbedder {
    pub fn new() -> Self {
        let table = Table::of(BYTES).expect("the table of the program is whole: a test reads it");
        Self { model: model(), table, tags: OnceLock::new() }
    }

    /// Returns the vector of a text, `None` when most of it cannot be read.
    fn vector(&self, text: &str, space: &mut Workspace<'_>) -> Option<Vec<f32>> {
        let Workspace { cutter, shares, rows } = space;
        shares.clear();
        // Letters and digits of the text, and of the words that can be read.
        let (mut all, mut read) = (0, 0);
        cutter.words(text, &mut |word, pieces| {
            let n_letters = word.chars().filter(|c| c.is_alphanumeric()).count();
            all += n_letters;
            if !pieces.is_empty() && pieces.iter().all(|piece| self.table.vector(*piece).is_some()) {
                read += n_letters;
                // A word is one word, in how many pieces it may be.
                let share = 1.0 / (pieces.len() as f32).sqrt();
                shares.extend(pieces.iter().map(|piece| pack(*piece, share)));
            }
        });
        if read == 0 || read * 2 < all {
            return None;
        }
        shares.sort_unstable();
        rows.clear();
        for same in shares.chunk_by(|left, right| piece_of(*left) == piece_of(*right)) {
            // What is said twice is not said twice as much.
            let times = same.iter().map(|share| share_of(*share)).sum::<f32>().sqrt();
            if let Some((scale, row)) = same.first().and_then(|share| self.table.vector(piece_of(*share))) {
                rows.push((times * scale, row));
            }
        }
        let mut sum = vec![0.0; self.model.dimension];
        dispatch!(Level::new(), simd => add_up(simd, rows, &mut sum));
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length <= 0.0 {
            return None;
        }
        sum.iter_mut().for_each(|x| *x /= length);
        Some(sum)
    }

    fn read_all(&self, texts: &[String]) -> Vec<Result<Vec<f32>, EmbedError>> {
        let tags = self.tags.get_or_init(|| self.table.tags());
        let mut space = Workspace::new(Vocabulary { table: self.table, tags });
        let unreadable = || EmbedError {
            kind: ErrorKind::Invalid,
            class: EmbedError::UNREADABLE,
            message: "the built-in model reads Latin script only, and most of this text is in none that it knows"
                .to_owned(),
            retry_after: None,
        };
        texts.iter().map(|text| self.vector(text, &mut space).ok_or_else(unreadable)).collect()
    }
}

/// Puts a piece and its share into one number, in the order of pieces: such numbers are sorted the quickest.
fn pack(piece: u16, share: f32) -> u64 {
    u64::from(piece) << 32 | u64::from(share.to_bits())
}

fn piece_of(packed: u64) -> u16 {
    (packed >> 32) as u16
}

fn share_of(packed: u64) -> f32 {
    f32::from_bits(packed as u32)
}

/// Components that are added up at once, for all rows: they stay in registers meanwhile.
const LANES: usize = 64;

/// Adds up rows of signed bytes, compiled for what the processor at hand can do.
#[inline(always)]
fn add_up<S: Simd>(_: S, rows: &[(f32, &[u8])], sum: &mut [f32]) {
    let (blocks, rest) = sum.as_chunks_mut::<LANES>();
    for (n, block) in blocks.iter_mut().enumerate() {
        for (by, row) in rows {
            if let Some(row) = row[n * LANES..].first_chunk::<LANES>() {
                for lane in 0..LANES {
                    block[lane] += by * f32::from(row[lane].cast_signed());
                }
            }
        }
    }
    let start = blocks.len() * LANES;
    for (by, row) in rows {
        rest.iter_mut().zip(&row[start..]).for_each(|(sum, byte)| *sum += by * f32::from(byte.cast_signed()));
    }
}

/// Texts of one call that a second thread is started for: they take it some milliseconds.
const WORTH_A_THREAD: usize = 256;

/// Returns the built-in model.
pub fn model() -> ModelId {
    ModelId { name: NAME.to_owned(), dimension: DIMENSION }
}

/// What is used again for every text of a call.
struct Workspace<'a> {
    cutter: Cutter<Vocabulary<'a>>,
    /// Pieces and their shares, as [`pack`] puts them together.
    shares: Vec<u64>,
    /// What is added up, and how much of it.
    rows: Vec<(f32, &'static [u8])>,
}

impl<'a> Workspace<'a> {
    fn new(vocabulary: Vocabulary<'a>) -> Self {
        Self { cutter: Cutter::new(vocabulary, Case::Folded), shares: Vec::new(), rows: Vec::new() }
    }
}

impl Embedder for BuiltinEmbedder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn embed(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_each(texts, purpose, deadline).into_iter().collect()
    }

    /// Queries and passages are read alike, and no call takes long enough to need a deadline. Many texts are read on two threads.
    fn embed_each(&self, texts: &[String], _: Purpose, _: Duration) -> Vec<Result<Vec<f32>, EmbedError>> {
        if texts.len() < WORTH_A_THREAD {
            return self.read_all(texts);
        }
        let (left, right) = texts.split_at(texts.len() / 2);
        std::thread::scope(|scope| {
            let right = scope.spawn(|| self.read_all(right));
            let mut all = self.read_all(left);
            match right.join() {
                Ok(mut right) => all.append(&mut right),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            all
        })
    }

    fn is_costly(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
