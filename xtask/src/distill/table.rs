//! The table as a file. Little-endian, in this order; `evermark-models/src/builtin/table.rs` reads it:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `EVMTABLE` |
//! | 6 × 4 | version, tokens, vectors, dimension, slots, bytes of text |
//! | 8 | FNV-1a of all that follows |
//! | 8 × tokens | where its text begins (4), its length (1), whether it continues a word (1), its vector or 65535 (2) |
//! | 2 × slots | the lookup: token + 1, or 0; hashed by FNV-1a of a mark and the text, linear probing |
//! | text | all pieces, one behind another |
//! | 4 × vectors | scale of each row |
//! | dimension × vectors | components, signed bytes |

/// Version of the format.
const VERSION: u32 = 1;
const SLOTS: usize = 1 << 16;
const NO_VECTOR: u16 = u16::MAX;

/// Tokens before this one are placeholders and single characters; from here on they are sorted by how often they occur.
const FIRST_WORD: usize = 1996;

/// Smooth inverse frequency, a / (a + p). Source: Arora, Liang and Ma 2017; the value by experiment, decision 0010.
const RARITY: f64 = 3e-5;

/// How often a word of a rank occurs is about 1 / (rank + 2.7). Source: Mandelbrot 1953.
const MANDELBROT: f64 = 2.7;

/// Tells whether a token means something to the table: those of other scripts are letters, and letters mean nothing.
pub(super) fn is_readable(token: &str) -> bool {
    let text = token.strip_prefix("##").filter(|rest| !rest.is_empty()).unwrap_or(token);
    let is_placeholder = text.len() > 2 && text.starts_with('[') && text.ends_with(']');
    !is_placeholder && text.chars().all(|c| !c.is_alphabetic() || is_latin(c))
}

/// Latin letters, with those of the phonetic alphabet.
fn is_latin(c: char) -> bool {
    matches!(c, '\0'..='\u{2af}' | '\u{1e00}'..='\u{1eff}')
}

/// Returns the file of these rows.
pub(super) fn write(vocabulary: &[String], rows: &[Option<Vec<f64>>]) -> Vec<u8> {
    let (mut tokens, mut text) = (Vec::new(), Vec::new());
    let (mut scales, mut components) = (Vec::new(), Vec::new());
    let mut slots = vec![0u16; SLOTS];
    let rarity = rarity(vocabulary.len());
    let mut n_vectors = 0u16;
    let mut dimension = 0;
    for (token, (piece, row)) in vocabulary.iter().zip(rows).enumerate() {
        let (mark, piece) = match piece.strip_prefix("##").filter(|rest| !rest.is_empty()) {
            Some(rest) => (1u8, rest),
            None => (0, piece.as_str()),
        };
        let mut vector = NO_VECTOR;
        if let Some(row) = row {
            vector = n_vectors;
            n_vectors += 1;
            dimension = row.len();
            let most = row.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let step = most / 127.0;
            scales.extend_from_slice(&((step * rarity[token]) as f32).to_le_bytes());
            components.extend(row.iter().map(|x| ((x / step).round() as i8).to_le_bytes()[0]));
        }
        let length = u8::try_from(piece.len()).expect("no piece of the vocabulary is so long");
        tokens.extend_from_slice(&word(text.len()));
        tokens.extend_from_slice(&[length, mark]);
        tokens.extend_from_slice(&vector.to_le_bytes());
        text.extend_from_slice(piece.as_bytes());
        let mut slot = fnv(&[&[mark], piece.as_bytes()]) as usize % SLOTS;
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = u16::try_from(token + 1).expect("the vocabulary is smaller than the lookup");
    }
    let slots: Vec<u8> = slots.into_iter().flat_map(u16::to_le_bytes).collect();
    let parts: [&[u8]; 5] = [&tokens, &slots, &text, &scales, &components];
    let mut file = b"EVMTABLE".to_vec();
    let sizes = [VERSION as usize, vocabulary.len(), usize::from(n_vectors), dimension, SLOTS, text.len()];
    sizes.into_iter().for_each(|size| file.extend_from_slice(&word(size)));
    file.extend_from_slice(&fnv(&parts).to_le_bytes());
    parts.into_iter().for_each(|part| file.extend_from_slice(part));
    file
}

/// Returns the weight of every token: the rarer, the nearer to 1.
fn rarity(n_tokens: usize) -> Vec<f64> {
    let rank = |token: usize| (token + 1).saturating_sub(FIRST_WORD).max(1) as f64;
    let share: Vec<f64> = (0..n_tokens).map(|token| 1.0 / (rank(token) + MANDELBROT)).collect();
    let whole = share.iter().fold(0.0, |sum, share| sum + share);
    share.into_iter().map(|share| RARITY / (RARITY + share / whole)).collect()
}

/// Returns the FNV-1a hash of these bytes. Source: Fowler, Noll and Vo, draft-eastlake-fnv.
fn fnv(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn word(size: usize) -> [u8; 4] {
    u32::try_from(size).expect("the table is small").to_le_bytes()
}
