//! Opens what `--model` names: its files first, checked, then what the command needs of them.

use anyhow::{Context, Result, ensure};

use super::model_arg;
use crate::backend::cpu::{CpuBackend, Options};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::spec::ModelSpec;
use crate::model::template::ChatTemplate;
use crate::model::tokenizer::Tokenizer;

/// A model's files, mapped and checked against its configuration.
pub struct ModelFiles {
    /// The tensors.
    pub checkpoint: Checkpoint,
    /// The shape that `config.json` describes.
    pub spec: ModelSpec,
}

impl ModelFiles {
    /// Finds the model, on the hub if need be, and checks that its files make one.
    pub fn find(model: &str) -> Result<Self> {
        let path = model_arg::resolve(model)?;
        let checkpoint = Checkpoint::open(&path)?;
        let config = Config::read(&checkpoint.folder().join("config.json"))?;
        let spec = config.spec();
        checkpoint.ensure_fits(&spec).with_context(|| format!("{model} cannot be run"))?;
        Ok(Self { checkpoint, spec })
    }

    /// Its vocabulary.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let folder = self.checkpoint.folder();
        ensure!(
            folder.join("tokenizer.json").is_file(),
            "{} has no tokenizer.json, so text cannot be turned into tokens (`trace --ids` needs none)",
            folder.display()
        );
        let tokenizer = Tokenizer::open(folder)?;
        tokenizer.check_fits(self.spec.vocab)?;
        Ok(tokenizer)
    }

    /// How it writes conversations.
    pub fn template(&self) -> Result<ChatTemplate> {
        ChatTemplate::open(self.checkpoint.folder())
    }

    /// What runs it.
    pub fn backend(&self, options: &Options) -> Result<CpuBackend> {
        CpuBackend::new(&self.checkpoint, self.spec.clone(), options)
    }
}
