//! Bytes into text, with what is not text marked: the parts of a file around a damaged one stay usable.

use std::borrow::Cow;
use std::ops::Range;

/// Text, and where it stands for bytes that are none.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, str>,
    /// Ascending, apart from each other.
    damages: Vec<Damage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// In [`Decoded::text`].
    pub(super) span: Range<usize>,
    /// `not_utf8` or `nul`.
    pub(super) code: &'static str,
}

impl Damage {
    pub(super) fn message(&self) -> &'static str {
        if self.code == "nul" {
            "NUL bytes: the file was cut short, or is not text"
        } else {
            "bytes that are not UTF-8"
        }
    }
}

impl<'a> Decoded<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes)
            && !bytes.contains(&0)
        {
            return Self { text: Cow::Borrowed(text), damages: Vec::new() };
        }
        let mut text = String::with_capacity(bytes.len());
        let mut damages: Vec<Damage> = Vec::new();
        let mut mark = |span: Range<usize>, code| match damages.last_mut() {
            Some(last) if last.span.end == span.start && last.code == code => last.span.end = span.end,
            _ => damages.push(Damage { span, code }),
        };
        for chunk in bytes.utf8_chunks() {
            let start = text.len();
            text.push_str(chunk.valid());
            for (at, _) in chunk.valid().match_indices('\0') {
                mark(start + at..start + at + 1, "nul");
            }
            if !chunk.invalid().is_empty() {
                let start = text.len();
                text.push(char::REPLACEMENT_CHARACTER);
                mark(start..text.len(), "not_utf8");
            }
        }
        Self { text: Cow::Owned(text), damages }
    }

    /// Returns the first damage within `span`.
    pub(super) fn damage(&self, span: Range<usize>) -> Option<&Damage> {
        let idx = self.damages.partition_point(|damage| damage.span.end <= span.start);
        self.damages.get(idx).filter(|damage| damage.span.start < span.end)
    }

    /// Returns the first damage that lies in none of `spans` (ascending), if all of them are apart.
    pub(super) fn damage_outside(&self, spans: &[Range<usize>]) -> Option<&Damage> {
        let mut at = 0;
        self.damages.iter().find(|damage| {
            while spans.get(at).is_some_and(|span| span.end <= damage.span.start) {
                at += 1;
            }
            !spans.get(at).is_some_and(|span| span.start <= damage.span.start && damage.span.end <= span.end)
        })
    }

    /// Returns the 1-based line of an offset.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }
}

#[cfg(test)]
mod tests;
