//! What a model's folder says about itself.

use super::LocalError;
use super::tensors::Tensors;
use evermark_core::memory::Digest32;
use serde::Deserialize;
use serde_json::Value;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// The sizes of an encoder.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Shape {
    #[serde(rename = "hidden_size")]
    pub(super) width: usize,
    #[serde(rename = "num_hidden_layers")]
    pub(super) n_layers: usize,
    #[serde(rename = "num_attention_heads")]
    pub(super) n_heads: usize,
    #[serde(rename = "intermediate_size")]
    pub(super) inner: usize,
    #[serde(rename = "vocab_size")]
    pub(super) n_tokens: usize,
    #[serde(rename = "max_position_embeddings")]
    pub(super) n_positions: usize,
    #[serde(rename = "type_vocab_size", default = "one")]
    pub(super) n_segments: usize,
    #[serde(rename = "layer_norm_eps", default = "usual_epsilon")]
    pub(super) epsilon: f32,
}

fn one() -> usize {
    1
}

fn usual_epsilon() -> f32 {
    1e-12
}

/// How the states of a text's pieces become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    First,
}

/// A folder that was looked at.
pub(super) struct Folder {
    dir: PathBuf,
    pub(super) shape: Shape,
    pub(super) pooling: Pooling,
    pub(super) length_max: usize,
    pub(super) is_lowercase: bool,
    pub(super) query_prefix: String,
    pub(super) passage_prefix: String,
}

impl Folder {
    pub(super) fn read(dir: &Path, name: &str) -> Result<Self, LocalError> {
        if !dir.join(CONFIG).is_file() || !dir.join(WEIGHTS).is_file() {
            return Err(LocalError::Missing { path: dir.to_path_buf() });
        }
        let unusable = |file: &str, reason: String| LocalError::Unusable { path: dir.join(file), reason };
        let config = json(dir, CONFIG)?.unwrap_or_default();
        let family = config["model_type"].as_str().unwrap_or("bert");
        if family != "bert" {
            let reason = format!("it is of the family `{family}`; only BERT with WordPiece is known here");
            return Err(unusable(CONFIG, reason));
        }
        for (key, known) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
            if let Some(other) = config[key].as_str().filter(|found| *found != known) {
                return Err(unusable(CONFIG, format!("`{key}` is `{other}`; only `{known}` is known here")));
            }
        }
        let shape: Shape = serde_json::from_value(config).map_err(|error| unusable(CONFIG, error.to_string()))?;
        if shape.n_heads == 0 || !shape.width.is_multiple_of(shape.n_heads) || shape.n_positions < 3 {
            return Err(unusable(CONFIG, "its sizes do not fit together".to_owned()));
        }
        let pooling = match json(dir, "1_Pooling/config.json")? {
            Some(pooling) if pooling["pooling_mode_cls_token"] == true => Pooling::First,
            Some(pooling) if pooling["pooling_mode_mean_tokens"] == false => {
                let reason = "it pools in a way that is not known here: neither mean nor first token".to_owned();
                return Err(unusable("1_Pooling/config.json", reason));
            }
            Some(_) | None => Pooling::Mean,
        };
        let sentence = json(dir, "sentence_bert_config.json")?.unwrap_or_default();
        let length_max = sentence["max_seq_length"].as_u64().and_then(|most| usize::try_from(most).ok());
        let tokenizer = json(dir, "tokenizer_config.json")?.unwrap_or_default();
        let prompts = json(dir, "config_sentence_transformers.json")?.unwrap_or_default();
        let prompt =
            |names: [&str; 2]| names.iter().find_map(|name| prompts["prompts"][*name].as_str()).map(str::to_owned);
        // The E5 family is taught with these and says so on its model cards only.
        let is_e5 = name.to_ascii_lowercase().split(['/', '-', '_']).any(|part| part == "e5");
        let usual = |prefix: &str| if is_e5 { prefix.to_owned() } else { String::new() };
        Ok(Self {
            dir: dir.to_path_buf(),
            pooling,
            length_max: length_max.unwrap_or(shape.n_positions).clamp(3, shape.n_positions),
            is_lowercase: tokenizer["do_lower_case"] != false,
            query_prefix: prompt(["query", "search_query"]).unwrap_or_else(|| usual("query: ")),
            passage_prefix: prompt(["passage", "document"]).unwrap_or_else(|| usual("passage: ")),
            shape,
        })
    }

    pub(super) fn tensors(&self) -> Result<Tensors, LocalError> {
        Tensors::read(self.dir.join(WEIGHTS))
    }

    /// Returns the pieces of words by number: `vocab.txt`, or the same inside `tokenizer.json`.
    pub(super) fn pieces(&self) -> Result<Vec<(String, u32)>, LocalError> {
        let path = self.dir.join("vocab.txt");
        match std::fs::read_to_string(&path) {
            Ok(text) => return Ok(text.lines().map(str::to_owned).zip(0..).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LocalError::Read { path, source }),
        }
        let path = self.dir.join("tokenizer.json");
        let unusable = |reason: &str| LocalError::Unusable { path: path.clone(), reason: reason.to_owned() };
        let tokenizer =
            json(&self.dir, "tokenizer.json")?.ok_or(LocalError::Missing { path: self.dir.join("vocab.txt") })?;
        let model = &tokenizer["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "WordPiece") {
            return Err(unusable("only WordPiece is known here"));
        }
        let pieces = model["vocab"].as_object().ok_or_else(|| unusable("it has no vocabulary"))?;
        let numbered =
            |(piece, number): (&String, &Value)| Some((piece.clone(), u32::try_from(number.as_u64()?).ok()?));
        Ok(pieces.iter().filter_map(numbered).collect())
    }

    /// Returns the error for a vocabulary without a mark that every text needs.
    pub(super) fn lacks(&self, mark: &str) -> LocalError {
        LocalError::Unusable { path: self.dir.clone(), reason: format!("its vocabulary has no {mark}") }
    }

    /// Returns what tells these weights from others of the same name: a digest of their header, their end and the settings. The
    /// whole of them would take longer to read than all the rest.
    pub(super) fn fingerprint(&self) -> Result<String, LocalError> {
        const PART: u64 = 1 << 16;
        let path = self.dir.join(WEIGHTS);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&path)?;
            let size = file.metadata()?.len();
            let mut bytes = size.to_le_bytes().to_vec();
            file.by_ref().take(PART).read_to_end(&mut bytes)?;
            file.seek(SeekFrom::Start(size.saturating_sub(PART)))?;
            file.take(PART).read_to_end(&mut bytes)?;
            bytes.extend(std::fs::read(self.dir.join(CONFIG))?);
            Ok(bytes)
        };
        let bytes = read().map_err(|source| LocalError::Read { path: path.clone(), source })?;
        Ok(Digest32::of(&bytes).hex()[..12].to_owned())
    }
}

/// Returns a JSON file, `None` when it is not there.
fn json(dir: &Path, file: &str) -> Result<Option<Value>, LocalError> {
    let path = dir.join(file);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LocalError::Read { path, source }),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(LocalError::Unusable { path, reason: error.to_string() }),
    }
}
