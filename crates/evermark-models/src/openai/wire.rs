//! OpenAI's `/embeddings` on the wire.

use crate::endpoint::complaint;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

/// Returns the body of a request.
pub(super) fn request(model: &str, input: &[&str], encoding_format: &str, dimensions: Option<usize>) -> Vec<u8> {
    serde_json::to_vec(&Request { model, input, encoding_format, dimensions })
        .expect("strings and numbers always become JSON")
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Components,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Components {
    Base64(String),
    /// `null` is how some encoders write NaN.
    Floats(Vec<Option<f32>>),
}

/// Returns the vectors of an answer in the order of the texts, or what is wrong with it. Components may be NaN.
pub(super) fn vectors(body: &[u8], texts: usize) -> Result<Vec<Vec<f32>>, String> {
    let answer = parse(body).ok_or_else(|| format!("answered no list of embeddings{}", complaint(body)))?;
    if answer.data.len() != texts {
        return Err(format!("answered {} vectors for {texts} texts", answer.data.len()));
    }
    let numbered = answer.data.iter().all(|item| item.index.is_some()) && texts > 1;
    let mut vectors: Vec<Option<Vec<f32>>> = (0..texts).map(|_| None).collect();
    for (at, item) in answer.data.into_iter().enumerate() {
        let place = item.index.filter(|_| numbered).unwrap_or(at);
        match vectors.get_mut(place) {
            Some(empty @ None) => *empty = Some(components(item.embedding)?),
            Some(Some(_)) => return Err(format!("answered two vectors with the index {place}")),
            None => return Err(format!("answered a vector with the index {place} for {texts} texts")),
        }
    }
    Ok(vectors.into_iter().flatten().collect())
}

fn parse(body: &[u8]) -> Option<Answer> {
    if let Ok(answer) = serde_json::from_slice(body) {
        return Some(answer);
    }
    // Python's encoder writes bare NaN and Infinity. Where such words stand inside base64 the length no longer fits.
    let text = std::str::from_utf8(body).ok()?;
    if !text.contains("NaN") && !text.contains("Infinity") {
        return None;
    }
    serde_json::from_str(&text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null")).ok()
}

fn components(components: Components) -> Result<Vec<f32>, String> {
    match components {
        Components::Floats(values) => Ok(values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect()),
        Components::Base64(text) => {
            let bytes = BASE64.decode(text.as_bytes()).map_err(|error| format!("answered bad base64: {error}"))?;
            let (values, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(format!("answered base64 of {} bytes, which are no 32-bit numbers", bytes.len()));
            }
            Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
        }
    }
}
