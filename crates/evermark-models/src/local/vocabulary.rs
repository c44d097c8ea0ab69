//! A model's own pieces of words.

use super::LocalError;
use super::folder::Folder;
use crate::wordpiece::{Case, Cutter, Pieces};
use std::collections::HashMap;

/// The pieces by text, those that continue a word apart, and the marks at the ends of a text.
pub(super) struct Vocabulary {
    starts: HashMap<Box<str>, u32>,
    continues: HashMap<Box<str>, u32>,
    longest: usize,
    first: u32,
    last: u32,
    unknown: u32,
    case: Case,
}

impl Vocabulary {
    pub(super) fn read(folder: &Folder) -> Result<Self, LocalError> {
        let (mut starts, mut continues): (HashMap<Box<str>, u32>, HashMap<Box<str>, u32>) = Default::default();
        let mut longest = 0;
        for (piece, number) in folder.pieces()? {
            longest = longest.max(piece.len());
            match piece.strip_prefix("##").filter(|rest| !rest.is_empty()) {
                Some(rest) => continues.insert(rest.into(), number),
                None => starts.insert(piece.as_str().into(), number),
            };
        }
        let mark = |name: &str| starts.get(name).copied().ok_or_else(|| folder.lacks(name));
        let (first, last, unknown) = (mark("[CLS]")?, mark("[SEP]")?, mark("[UNK]")?);
        let case = if folder.is_lowercase { Case::Folded } else { Case::Kept };
        Ok(Self { first, last, unknown, starts, continues, longest, case })
    }

    /// Returns the pieces of a text between its marks, at most `most` in all; `None` when most of its letters are of no piece.
    pub(super) fn pieces(&self, prefix: &str, text: &str, most: usize) -> Option<Vec<u32>> {
        let mut out = vec![self.first];
        Cutter::new(self, self.case).words(prefix, &mut |_, pieces| out.extend_from_slice(pieces));
        let is_read = self.append(text, &mut out);
        out.truncate(most - 1);
        out.push(self.last);
        is_read.then_some(out)
    }

    /// Returns the pieces of the first text of a pair, at most `most` in all; `None` when most of its letters are of no piece.
    pub(super) fn question(&self, text: &str, most: usize) -> Option<Vec<u32>> {
        self.pieces("", text, most.max(2))
    }

    /// Returns the pieces of a pair. The second text is cut to what is left of `most`; what it has no pieces for is read as
    /// unknown.
    pub(super) fn with_document(&self, question: &[u32], text: &str, most: usize) -> Vec<u32> {
        let mut out = question.to_vec();
        self.append(text, &mut out);
        out.truncate(most - 1);
        out.push(self.last);
        out
    }

    /// Appends the pieces of a text; tells whether most of its letters have one.
    fn append(&self, text: &str, out: &mut Vec<u32>) -> bool {
        let (mut all, mut read) = (0, 0);
        Cutter::new(self, self.case).words(text, &mut |word, pieces| {
            let n_letters = word.chars().filter(|c| c.is_alphanumeric()).count();
            all += n_letters;
            if pieces.is_empty() {
                out.push(self.unknown);
            } else {
                read += n_letters;
                out.extend_from_slice(pieces);
            }
        });
        read > 0 && read * 2 >= all
    }
}

impl Pieces for &Vocabulary {
    type Piece = u32;

    fn longest(&self, word: &str, continues: bool) -> Option<(u32, usize)> {
        let pieces = if continues { &self.continues } else { &self.starts };
        let most = word.len().min(self.longest);
        (1..=most).rev().find_map(|length| Some((*pieces.get(word.get(..length)?)?, length)))
    }
}
