//! The model that is part of the program: what runs when none is named.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::open::{self, Files};
use crate::backend::cpu::Options;
use crate::engine::Loaded;
use crate::model::checkpoint::{Checkpoint, Format, plan_new, write_tensors};
use crate::model::config::Config;
use crate::model::init::RandomWeights;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::{Tokenizer, byte_level};

/// What it is called.
const NAME: &str = "built-in model, random weights (it says nothing sensible)";

/// The same in one word, for a screen.
pub const SHORT_NAME: &str = "small";
/// What must stand beside that word.
pub const LABEL: &str = "random weights";

/// The files of a model folder, as bytes.
struct Parts {
    /// config.json
    config: Vec<u8>,
    /// model.safetensors
    weights: Vec<u8>,
    /// tokenizer.json
    tokenizer: Vec<u8>,
    /// tokenizer_config.json
    tokenizer_config: Vec<u8>,
}

/// Opens it. Nothing is read from or written to the disk.
pub fn loaded(options: &Options) -> Result<Loaded> {
    let made = parts().and_then(files).context("the built-in model is damaged")?;
    open::loaded(made, options)
}

/// Until a trained model is part of the program, whose bytes go here: a small one with random weights,
/// always the same.
fn parts() -> Result<Parts> {
    let config = Config::preset("small")?;
    let spec = config.spec();
    let jobs = plan_new(&spec, Format::Affine4, 64)?;
    let weights = RandomWeights::new(&spec, 0);
    let written = write_tensors(Cursor::new(Vec::new()), &weights, &jobs, 1, &mut |_, _, _| Ok(()))?;
    Ok(Parts {
        config: serde_json::to_vec(&config)?,
        weights: written.into_inner(),
        tokenizer: byte_level::tokenizer_json().into_bytes(),
        tokenizer_config: byte_level::config_json().into_bytes(),
    })
}

/// The same checks as for a folder.
fn files(parts: Parts) -> Result<Files> {
    let config = Config::parse("its config.json", &parts.config)?;
    let checkpoint = Checkpoint::from_bytes("its model.safetensors", parts.weights)?;
    checkpoint.ensure_fits(&config.spec())?;
    let beside = serde_json::from_slice(&parts.tokenizer_config).context("its tokenizer_config.json")?;
    let template = ChatTemplate::from_config("its tokenizer_config.json", &beside)?;
    let tokenizer = Tokenizer::from_json(&parts.tokenizer, &[beside]).context("its tokenizer.json")?;
    tokenizer.check_fits(config.vocab_size)?;
    let checkpoint = Arc::new(checkpoint);
    Ok(Files { name: NAME.to_owned(), checkpoint, config, tokenizer: Some(tokenizer), template, adapter: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_and_the_same_every_time() {
        assert!(parts().unwrap().weights == parts().unwrap().weights);
        let loaded = loaded(&Options::default()).unwrap();
        assert_eq!(loaded.info.name, NAME);
        assert!(loaded.tokenizer.is_some_and(|tokenizer| !tokenizer.end_tokens().is_empty()));
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        let said = |change: fn(&mut Parts)| {
            let mut parts = parts().unwrap();
            change(&mut parts);
            format!("{:#}", files(parts).err().unwrap())
        };
        assert!(said(|parts| parts.weights.truncate(1000)).contains("model.safetensors"));
        assert!(said(|parts| parts.config = b"{}".to_vec()).contains("config.json"));
        assert!(said(|parts| parts.tokenizer = b"{}".to_vec()).contains("tokenizer.json"));
    }
}
