//! Reads a safetensors file: a length, a JSON header that names the tensors, and their bytes.

use crate::chore::Failure;
use std::io;
use std::path::{Path, PathBuf};

/// The tensors of a model.
pub(super) struct Weights {
    path: PathBuf,
    header: String,
    bytes: Vec<u8>,
    data_at: usize,
}

impl Weights {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|source| Failure::Read { path: path.to_path_buf(), source })?;
        let weights = Self { path: path.to_path_buf(), header: String::new(), bytes, data_at: 0 };
        let length = weights.bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
        let data_at = length.and_then(|length| usize::try_from(length).ok()).and_then(|length| length.checked_add(8));
        let header = data_at.and_then(|data_at| weights.bytes.get(8..data_at));
        match (data_at, header.and_then(|header| std::str::from_utf8(header).ok())) {
            (Some(data_at), Some(header)) => Ok(Self { header: header.to_owned(), data_at, ..weights }),
            _ => Err(weights.broken("it has no header")),
        }
    }

    /// Returns the 32-bit floats of a tensor, which must be `len` of them.
    pub(super) fn tensor(&self, name: &str, len: usize) -> Result<Vec<f32>, Failure> {
        let found = self.find(name).and_then(|(start, end)| self.bytes.get(self.data_at + start..self.data_at + end));
        let (words, rest) = found.ok_or_else(|| self.broken(&format!("it has no floats named {name}")))?.as_chunks();
        if words.len() != len || !rest.is_empty() {
            return Err(self.broken(&format!("{name} has {} floats, not {len}", words.len())));
        }
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// Returns where a tensor begins and ends. The header is written by a machine: names need no escapes, and nothing is spaced.
    fn find(&self, name: &str) -> Option<(usize, usize)> {
        let (_, entry) = self.header.split_once(&format!("\"{name}\":{{\"dtype\":\"F32\","))?;
        let (_, offsets) = entry.split_once("\"data_offsets\":[")?;
        let (start, end) = offsets.split_once(']')?.0.split_once(',')?;
        Some((start.parse().ok()?, end.parse().ok()?))
    }

    fn broken(&self, why: &str) -> Failure {
        let source = io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        Failure::Read { path: self.path.clone(), source }
    }
}
