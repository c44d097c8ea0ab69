//! Reads a safetensors file: a length, a JSON header that names the tensors, and their bytes.

use super::LocalError;
use ndarray::{Array1, Array2};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The tensors of a model.
pub(super) struct Tensors {
    path: PathBuf,
    header: Map<String, Value>,
    bytes: Vec<u8>,
    data_at: usize,
}

impl Tensors {
    pub(super) fn read(path: PathBuf) -> Result<Self, LocalError> {
        let bytes = std::fs::read(&path).map_err(|source| LocalError::Read { path: path.clone(), source })?;
        let length = bytes.first_chunk().and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok());
        let data_at = length.and_then(|length| length.checked_add(8));
        let header = data_at.and_then(|data_at| serde_json::from_slice(bytes.get(8..data_at)?).ok());
        match (data_at, header) {
            (Some(data_at), Some(Value::Object(header))) => Ok(Self { path, header, bytes, data_at }),
            _ => Err(LocalError::Unusable { path, reason: "it is no safetensors file".to_owned() }),
        }
    }

    /// Returns a matrix of this shape.
    pub(super) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Array2<f32>, LocalError> {
        let floats = self.floats(name, rows * columns)?;
        Array2::from_shape_vec((rows, columns), floats).map_err(|_| self.unusable(name, "has another shape"))
    }

    /// Returns a vector of this length.
    pub(super) fn vector(&self, name: &str, len: usize) -> Result<Array1<f32>, LocalError> {
        Ok(Array1::from_vec(self.floats(name, len)?))
    }

    /// Some files name everything below `bert.`.
    fn entry(&self, name: &str) -> Option<&Value> {
        self.header.get(name).or_else(|| self.header.get(&format!("bert.{name}")))
    }

    fn floats(&self, name: &str, len: usize) -> Result<Vec<f32>, LocalError> {
        let entry = self.entry(name).ok_or_else(|| self.unusable(name, "is missing"))?;
        let offset = |n: usize| entry["data_offsets"][n].as_u64().and_then(|at| usize::try_from(at).ok());
        let bytes = (|| self.bytes[self.data_at..].get(offset(0)?..offset(1)?))();
        let bytes = bytes.ok_or_else(|| self.unusable(name, "is cut off"))?;
        let floats: Vec<f32> = match entry["dtype"].as_str() {
            Some("F32") => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            Some("BF16") => bytes.as_chunks().0.iter().map(|half: &[u8; 2]| wide(*half)).collect(),
            Some("F16") => bytes.as_chunks().0.iter().map(|half| half_float(u16::from_le_bytes(*half))).collect(),
            _ => return Err(self.unusable(name, "has numbers of a kind that is not known here")),
        };
        if floats.len() == len { Ok(floats) } else { Err(self.unusable(name, "has another size")) }
    }

    fn unusable(&self, name: &str, how: &str) -> LocalError {
        LocalError::Unusable { path: self.path.clone(), reason: format!("`{name}` {how}") }
    }
}

/// A bfloat16 is the upper half of a float.
fn wide(half: [u8; 2]) -> f32 {
    f32::from_le_bytes([0, 0, half[0], half[1]])
}

/// Returns the value of an IEEE half float.
fn half_float(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    match (bits >> 10) & 0x1f {
        0 => sign * fraction * f32::powi(2.0, -24),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        exponent => sign * (1.0 + fraction / 1024.0) * f32::powi(2.0, i32::from(exponent) - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_read() {
        let known = [(0x0000, 0.0), (0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8)];
        for (bits, expected) in known {
            assert_eq!(half_float(bits), expected, "{bits:x}");
        }
        assert!(half_float(0x7c00).is_infinite() && half_float(0x7e00).is_nan());
        assert_eq!(wide([0x80, 0xbf]), -1.0);
    }
}
