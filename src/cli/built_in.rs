//! The model that is part of the program: what runs when none is named.
//!
//! `assets/pico` is what `bit-axon pico make --install assets/pico` wrote; recipe.jsonl there has the hashes.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::open::{self, Files};
use crate::backend::cpu::Options;
use crate::engine::Loaded;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;

/// What it is called.
const NAME: &str = "built-in model pico (a small one, which knows this program)";

/// The same in one word, for a screen.
pub const SHORT_NAME: &str = "pico";
/// What must stand beside that word.
pub const LABEL: &str = "built in";

macro_rules! asset {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/pico/", $name))
    };
}

/// The files of a model folder, as bytes.
struct Parts {
    /// config.json
    config: &'static [u8],
    /// model.safetensors
    weights: &'static [u8],
    /// tokenizer.json
    tokenizer: &'static [u8],
    /// tokenizer_config.json
    tokenizer_config: &'static [u8],
}

const PICO: Parts = Parts {
    config: asset!("config.json"),
    weights: asset!("model.safetensors"),
    tokenizer: asset!("tokenizer.json"),
    tokenizer_config: asset!("tokenizer_config.json"),
};

/// Opens it. Nothing is read from or written to the disk.
pub fn loaded(options: &Options) -> Result<Loaded> {
    let made = files(&PICO).context("the built-in model is damaged")?;
    open::loaded(made, options)
}

/// The same checks as for a folder.
fn files(parts: &Parts) -> Result<Files> {
    let config = Config::parse("its config.json", parts.config)?;
    // Copied, since bytes within the program lie anywhere, and numbers must be aligned.
    let checkpoint = Checkpoint::from_bytes("its model.safetensors", parts.weights.to_vec())?;
    checkpoint.ensure_fits(&config.spec())?;
    let beside = serde_json::from_slice(parts.tokenizer_config).context("its tokenizer_config.json")?;
    let template = ChatTemplate::from_config("its tokenizer_config.json", &beside)?;
    let tokenizer = Tokenizer::from_json(parts.tokenizer, &[beside]).context("its tokenizer.json")?;
    tokenizer.check_fits(config.vocab_size)?;
    let (checkpoint, tokenizer) = (Arc::new(checkpoint), Some(tokenizer));
    Ok(Files { name: NAME.to_owned(), checkpoint, config, tokenizer, template, adapter: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_and_small() {
        let loaded = loaded(&Options::default()).unwrap();
        assert_eq!(loaded.info.name, NAME);
        assert!(loaded.tokenizer.is_some_and(|tokenizer| !tokenizer.end_tokens().is_empty()));
        let Parts { config, weights, tokenizer, tokenizer_config } = PICO;
        assert!(config.len() + weights.len() + tokenizer.len() + tokenizer_config.len() <= 6 << 20);
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        let said = |parts: Parts| format!("{:#}", files(&parts).err().unwrap());
        assert!(said(Parts { weights: &PICO.weights[..1000], ..PICO }).contains("model.safetensors"));
        assert!(said(Parts { config: b"{}", ..PICO }).contains("config.json"));
        assert!(said(Parts { tokenizer: b"{}", ..PICO }).contains("tokenizer.json"));
    }
}
