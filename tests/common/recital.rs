//! A model that says one text, whatever it is asked: a real folder of files for the real program.
//!
//! Its layers add nothing (what they put out is multiplied by zero), so that a token's row of the
//! embedding reaches the head as it is; there it is the row of the token that shall follow.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use bit_axon::model::checkpoint::{Format, Source, plan_new, write_tensors};
use bit_axon::model::config::Config;
use bit_axon::model::init::RandomWeights;
use bit_axon::model::tensors::TensorSpec;
use bit_axon::model::tokenizer::byte_level;
use serde_json::{Value, json};

/// Bytes and ChatML's control tokens come first.
const FIRST_PIECE: usize = 259;
const IM_END: usize = 258;
/// What every chat ends with before the answer begins.
const LINE_END: usize = b'\n' as usize;

/// How large the model is.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub layers: usize,
    /// Columns of the residual stream.
    pub hidden: usize,
    /// Inside of an expert.
    pub intermediate: usize,
    pub format: Format,
}

/// A model that answers at once.
pub const SMALL: Shape = Shape { layers: 6, hidden: 64, intermediate: 16, format: Format::F32 };

/// Writes the model's folder. Each piece becomes a token; no piece may come twice.
pub fn write(folder: &Path, shape: Shape, pieces: &[impl AsRef<str>]) {
    let pieces: Vec<&str> = pieces.iter().map(AsRef::as_ref).collect();
    assert_eq!(pieces.iter().collect::<HashSet<_>>().len(), pieces.len(), "a piece comes twice");
    let config = Config {
        vocab_size: FIRST_PIECE + pieces.len(),
        hidden_dim: shape.hidden,
        num_layers: shape.layers,
        num_heads: 2,
        d_source_model: shape.hidden,
        swa_window_size: 64,
        moe_num_experts: 8,
        moe_intermediate_dim: shape.intermediate,
        weight_tying: false,
        max_seq_len: 1 << 20,
        ..Config::preset("small").unwrap()
    };
    fs::create_dir_all(folder).unwrap();
    let spec = config.spec();
    let weights = Recital { pieces: pieces.len(), hidden: shape.hidden, random: RandomWeights::new(&spec, 1) };
    let jobs = plan_new(&spec, shape.format, 64).unwrap();
    let file = BufWriter::new(File::create(folder.join("model.safetensors")).unwrap());
    write_tensors(file, &weights, &jobs, 2, &mut |_, _, _| Ok(())).unwrap();
    fs::write(folder.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer(&pieces)).unwrap();
    fs::write(folder.join("tokenizer_config.json"), byte_level::config_json()).unwrap();
}

/// Words that count: `w0 w1 w2 ...`.
pub fn counting(n: usize) -> Vec<String> {
    (0..n).map(|i| if i == 0 { "w0".into() } else { format!(" w{i}") }).collect()
}

/// A text in pieces of about four characters, none of them twice.
pub fn pieces(text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for c in text.chars() {
        piece.push(c);
        if piece.chars().count() >= 4 && seen.insert(piece.clone()) {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    // The rest belongs to the last piece, which it makes longer than all others.
    match pieces.last_mut() {
        Some(last) => last.push_str(&piece),
        None => pieces.push(piece),
    }
    pieces
}

fn tokenizer(pieces: &[&str]) -> String {
    let mut tokenizer: Value = serde_json::from_str(&byte_level::tokenizer_json()).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let letters: HashMap<u64, String> =
        vocab.iter().map(|(letter, byte)| (byte.as_u64().unwrap(), letter.clone())).collect();
    // The library counts added tokens from the end of the vocabulary unless they are in it.
    for (i, name) in byte_level::CONTROL.iter().enumerate() {
        vocab.insert((*name).to_owned(), json!(256 + i));
    }
    for (i, piece) in pieces.iter().enumerate() {
        let name: String = piece.bytes().map(|byte| letters[&u64::from(byte)].as_str()).collect();
        let taken = vocab.insert(name, json!(FIRST_PIECE + i));
        assert!(taken.is_none(), "{piece:?} is a single byte, which has a token already");
    }
    tokenizer.to_string()
}

struct Recital {
    pieces: usize,
    hidden: usize,
    random: RandomWeights,
}

impl Recital {
    /// What comes before this token, if something does.
    fn before(&self, token: usize) -> Option<usize> {
        match token {
            IM_END => Some(FIRST_PIECE + self.pieces - 1),
            FIRST_PIECE => Some(LINE_END),
            piece if piece > FIRST_PIECE => Some(piece - 1),
            _ => None,
        }
    }
}

/// One of the values that tell a token from all others: plus or minus one, without a pattern.
fn mark(token: usize, column: usize) -> f32 {
    let mut x = (token as u64) << 32 | column as u64;
    for _ in 0..3 {
        x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    }
    if x >> 63 == 0 { 1.0 } else { -1.0 }
}

impl Source for Recital {
    fn fill(&self, t: &TensorSpec, first: usize, out: &mut [f32]) {
        let name = t.name.as_str();
        if ["out_proj.weight", "o_proj.weight", "down_proj.weight"].iter().any(|end| name.ends_with(end)) {
            return out.fill(0.0);
        }
        // The logit of the token that follows is about 10, those of others are around 0.
        let size = (10.0 / self.hidden as f32).sqrt();
        for (i, value) in (first..).zip(out.iter_mut()) {
            let (row, column) = (i / self.hidden, i % self.hidden);
            *value = match name {
                "embed_tokens.weight" => size * mark(row, column),
                "lm_head.weight" => self.before(row).map_or(0.0, |before| size * mark(before, column)),
                "input_proj.weight" | "output_proj.weight" => f32::from(u8::from(row == column)),
                _ => return self.random.fill(t, first, out),
            };
        }
    }
}
