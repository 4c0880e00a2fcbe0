//! A vocabulary of the 256 bytes and ChatML's control tokens: for a model that has none of its own.

use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

/// The control tokens, with the ids after the bytes.
pub const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Byte-level vocabularies write every byte as one printable character. These are the characters,
/// by byte: printable Latin-1 stands for itself, the rest is moved to U+0100 and on.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut moved = 0x100..;
    std::array::from_fn(|byte| {
        let own = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if own { byte as u32 } else { moved.next().unwrap_or(0x100) };
        char::from_u32(code).unwrap_or('\0')
    })
});

/// The byte that a character of a byte-level vocabulary stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match c as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        0x100..=0x143 => CHARS.iter().position(|own| *own == c).map(|byte| byte as u8),
        _ => None,
    }
}

/// `tokenizer.json` of this vocabulary: ids 0 to 255 are the bytes, [`CONTROL`] follows.
pub fn tokenizer_json() -> String {
    let vocab: Map<String, Value> =
        CHARS.iter().enumerate().map(|(byte, c)| (c.to_string(), Value::from(byte))).collect();
    let added: Vec<Value> = CONTROL
        .iter()
        .enumerate()
        .map(|(i, text)| {
            json!({"id": 256 + i, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": []},
    });
    format!("{tokenizer:#}\n")
}

/// `tokenizer.json` of at most `size` tokens, learned from texts: the bytes, [`CONTROL`], and the pieces that
/// shorten these texts most (byte pair encoding). The same texts give the same tokens.
pub fn learned_json(texts: impl Iterator<Item = String> + Send, size: usize) -> Result<String> {
    let wrong = |error| anyhow!("cannot learn a vocabulary of {size} tokens: {error}");
    let byte_level = ByteLevel::new(false, true, true);
    let control = CONTROL.map(|text| AddedToken::from(text, true));
    let trainer = BpeTrainer::builder()
        .vocab_size(size)
        .show_progress(false)
        .special_tokens(control.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(byte_level))
        .build()
        .map_err(wrong)?;
    tokenizer.train(&mut { trainer }, texts).map_err(wrong)?;
    tokenizer.to_string(true).map(|json| json + "\n").map_err(wrong)
}

/// `tokenizer_config.json` beside it.
pub fn config_json() -> String {
    let config = json!({
        "bos_token": null, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": null,
        "chat_template": crate::model::template::CHATML,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::Tokenizer;

    #[test]
    fn learned_tokens_are_shorter_and_still_hold_every_text() {
        let texts = || (0..50).map(|i| format!("Press Alt-Z to zoom pane {i}. What is the key to zoom?"));
        let json = learned_json(texts(), 300).unwrap();
        assert_eq!(json, learned_json(texts(), 300).unwrap(), "the same texts give the same tokens");
        let tokenizer =
            Tokenizer::from_json(json.as_bytes(), &[serde_json::from_str(&config_json()).unwrap()]).unwrap();
        let short = tokenizer.encode("What is the key to zoom?").unwrap();
        assert!(short.len() < 15, "{short:?}");
        let odd = "é 漢字 \u{1F980} \n\t{}";
        let ids = tokenizer.encode(odd).unwrap();
        assert_eq!(tokenizer.decode(&ids), odd);
        assert_eq!(tokenizer.encode_rendered("<|im_end|>").unwrap().len(), 1);
    }
}
