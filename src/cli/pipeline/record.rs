//! What a pipeline has done so far: `stages.json` in its folder.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::super::eval::Report;
use crate::whole;

/// Of the file.
const VERSION: u32 = 1;

/// One step of the way, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    Sft,
    Orpo,
    Merge,
    Quantize,
    Evaluate,
}

impl Stage {
    /// Its folder in that of the pipeline.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Stage::Sft => "1-sft",
            Stage::Orpo => "2-orpo",
            Stage::Merge => "3-merged",
            Stage::Quantize => "4-quantised",
            Stage::Evaluate => "5-evaluation",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Sft => "SFT",
            Stage::Orpo => "ORPO",
            Stage::Merge => "merge",
            Stage::Quantize => "quantise",
            Stage::Evaluate => "evaluate",
        })
    }
}

/// A stage that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) stage: Stage,
    /// Time that it computed, over all that it was begun.
    pub(super) seconds: f64,
    pub(super) figures: Figures,
}

/// What a stage has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Figures {
    Trained(Trained),
    Written { bytes: u64, format: String },
    Evaluated { models: Vec<Evaluated> },
}

/// A training run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Trained {
    pub(super) steps: u64,
    pub(super) tokens: u64,
    /// Means over the first and the last tenth of the steps.
    pub(super) first_loss: f64,
    pub(super) last_loss: f64,
    /// The lowest loss of held-out data.
    pub(super) held_loss: Option<f64>,
    /// Share of pairs that were won in the last tenth of the steps.
    pub(super) accuracy: Option<f64>,
}

/// A model, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Evaluated {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// One for each file of examples.
    pub(super) reports: Vec<Report>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    stages: Vec<Done>,
}

/// The stages that are done, kept in a folder.
pub(super) struct Record {
    path: PathBuf,
    done: Vec<Done>,
}

impl Record {
    /// What a folder has, which is nothing at first.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("stages.json");
        if !path.exists() {
            return Ok(Self { path, done: Vec::new() });
        }
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let damaged = || format!("{} is damaged: remove it, and all stages are done anew", path.display());
        let file: File = serde_json::from_slice(&text).with_context(damaged)?;
        ensure!(file.version == VERSION, "{} is of version {}: {VERSION} is known", path.display(), file.version);
        Ok(Self { path, done: file.stages })
    }

    pub(super) fn get(&self, stage: Stage) -> Option<&Done> {
        self.done.iter().find(|done| done.stage == stage)
    }

    pub(super) fn all(&self) -> &[Done] {
        &self.done
    }

    pub(super) fn add(&mut self, done: Done) -> Result<()> {
        self.done.push(done);
        let file = File { version: VERSION, stages: self.done.clone() };
        whole::write(&self.path, format!("{}\n", serde_json::to_string_pretty(&file)?).as_bytes())
    }
}
