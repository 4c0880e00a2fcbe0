//! A vocabulary of the 256 bytes and ChatML's control tokens: for a model that has none of its own.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

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

/// `tokenizer_config.json` beside it.
pub fn config_json() -> String {
    let config = json!({
        "bos_token": null, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": null,
        "chat_template": crate::model::template::CHATML,
    });
    format!("{config:#}\n")
}
