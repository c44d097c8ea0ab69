//! The built-in model: a table with one vector per piece of a word, so that meaning works with no key and no download.
//!
//! Flow: a text is cut into words and pieces (`wordpiece`), the vectors of the pieces that are in the table (`table`) are
//! added, each by how often it occurs and how rare it is, and the sum is brought to length 1. Nothing is read, allocated or
//! built before the first text: the table is part of the program and is looked up where it lies. It knows English best,
//! and reads Latin script only: a text that is mostly in another gets no vector rather than one without meaning. The
//! recipe: docs/decisions/0010.

mod table;

use crate::wordpiece::{Case, Cutter};
use evermark_core::embed::{EmbedError, Embedder, ModelId, Purpose};
use evermark_core::error::ErrorKind;
use std::time::Duration;
use table::Table;

/// Names the table. Another table gets another name, and with it another generation of the index.
pub const NAME: &str = "builtin-en-256-v1";

/// Width of the built-in model's vectors.
pub const DIMENSION: usize = 256;

static BYTES: &[u8] = include_bytes!("../data/builtin-en-256-v1.table");

/// Makes vectors with the table that is part of the program.
pub struct BuiltinEmbedder {
    model: ModelId,
    table: Table<'static>,
}

impl Default for BuiltinEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

impl BuiltinEmbedder {
    pub fn new() -> Self {
        let table = Table::of(BYTES).expect("the table of the program is whole: a test reads it");
        Self { model: model(), table }
    }

    /// Returns the vector of a text, `None` when most of it cannot be read.
    fn vector(&self, text: &str, space: &mut Workspace) -> Option<Vec<f32>> {
        let Workspace { cutter, shares } = space;
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
                shares.extend(pieces.iter().map(|piece| (*piece, share)));
            }
        });
        if read == 0 || read * 2 < all {
            return None;
        }
        shares.sort_unstable_by_key(|(piece, _)| *piece);
        let mut sum = vec![0.0; self.model.dimension];
        for same in shares.chunk_by(|(left, _), (right, _)| left == right) {
            // What is said twice is not said twice as much.
            let times = same.iter().map(|(_, share)| share).sum::<f32>().sqrt();
            if let Some((scale, row)) = same.first().and_then(|(piece, _)| self.table.vector(*piece)) {
                let by = times * scale;
                sum.iter_mut().zip(row).for_each(|(sum, component)| *sum += by * f32::from(component.cast_signed()));
            }
        }
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length <= 0.0 {
            return None;
        }
        sum.iter_mut().for_each(|x| *x /= length);
        Some(sum)
    }

    fn read_all(&self, texts: &[String]) -> Vec<Result<Vec<f32>, EmbedError>> {
        let mut space = Workspace::new(self.table);
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

/// Texts of one call that a second thread is started for: they take it some milliseconds.
const WORTH_A_THREAD: usize = 256;

/// Returns the built-in model.
pub fn model() -> ModelId {
    ModelId { name: NAME.to_owned(), dimension: DIMENSION }
}

/// What is used again for every text of a call.
struct Workspace {
    cutter: Cutter<Table<'static>>,
    shares: Vec<(u16, f32)>,
}

impl Workspace {
    fn new(table: Table<'static>) -> Self {
        Self { cutter: Cutter::new(table, Case::Folded), shares: Vec::new() }
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
