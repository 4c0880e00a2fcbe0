//! All that a run needs to go on as if it had never stopped.
//!
//! ```text
//! checkpoints/step-00000100/
//!   adapters.safetensors or model.safetensors    what is trained
//!   adapter_config.json or config.json           so that the folder can be used as it is
//!   optimizer.safetensors                        the moments
//!   state.json                                   the rest, with the size and fingerprint of the others
//! ```
//!
//! A checkpoint is written under another name, synced, and renamed. When one is chosen to go on from, every file is
//! compared with what `state.json` says: one that was cut short is passed over for the one before.

mod load;
mod save;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
pub use load::{newest_whole, restore};
pub(super) use save::write_weights;
pub use save::{prune, save, tidy};
use serde::{Deserialize, Serialize};

use super::data::Place;
use super::fingerprint::Fingerprint;

/// The version of the format that this program writes and reads.
const VERSION: u32 = 1;

/// Beginning of the names of checkpoints.
const PREFIX: &str = "step-";
/// Beginnings of the names of what is no checkpoint yet, or no longer.
const UNFINISHED: &str = ".unfinished-";
const REMOVED: &str = ".removed-";

const STATE: &str = "state.json";
const MOMENTS: &str = "optimizer.safetensors";

/// Everything but the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Of the format.
    pub version: u32,
    /// Steps that were made.
    pub step: u64,
    /// The place in the data, and in the packing buffer.
    pub place: Place,
    /// All that is random follows from it, with step and place.
    pub seed: u64,
    /// Tokens read, padding included.
    pub tokens: u64,
    /// Losses of the steps since the checkpoint before.
    pub recent: Mean,
    /// What this checkpoint is ranked by.
    pub loss: Option<f64>,
    /// The best so far, this one perhaps.
    pub best: Option<Best>,
    /// How often heat has halved the batch.
    pub halvings: u32,
    /// The largest batch that a person allows.
    pub ceiling: Option<usize>,
    /// Length of metrics.jsonl.
    pub metrics_bytes: u64,
    /// What it belongs to.
    pub identity: Identity,
    /// What computed it, as `cpu avx512`: others sum in another order. Empty where an earlier version wrote it.
    #[serde(default)]
    pub backend: String,
    /// The other files.
    pub files: Vec<StoredFile>,
}

/// Tells the things that a run rests on from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Weights of the base model.
    pub base: u64,
    /// The data.
    pub data: u64,
    /// Tokenizer and chat template.
    pub encoder: u64,
}

/// A sum and what it is of.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mean {
    /// Of the values.
    #[serde(with = "exact")]
    pub sum: f64,
    /// How many.
    pub count: u64,
}

impl Mean {
    /// Takes another value.
    pub fn add(&mut self, value: f64) {
        (self.sum, self.count) = (self.sum + value, self.count + 1);
    }

    /// The mean, if there is a value.
    pub fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// The checkpoint with the lowest loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its loss.
    #[serde(with = "exact")]
    pub loss: f64,
}

/// Numbers as text: readers of JSON may lose the last bit of one.
mod exact {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its fingerprint.
    pub fingerprint: u64,
}

/// How what is trained is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name of the file of weights.
    pub weights: String,
    /// Metadata in its header.
    pub metadata: std::collections::BTreeMap<String, String>,
    /// Small files that belong beside it.
    pub beside: Vec<(String, Vec<u8>)>,
}

/// Name of the folder of a step.
pub fn folder_name(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

/// Checkpoints in a folder, the newest first, whole or not.
pub fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let cannot = || format!("cannot list {}", checkpoints.display());
    let mut all = Vec::new();
    for entry in checkpoints.read_dir().with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        all.extend(step.map(|step| (step, entry.path())));
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    Ok(all)
}

fn describe_file(path: &Path, name: &str) -> Result<StoredFile> {
    use std::io::Read;
    let cannot = || format!("cannot read {}", path.display());
    let mut file = std::fs::File::open(path).with_context(cannot)?;
    let (mut all, mut bytes) = (Fingerprint::new(), 0);
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece).with_context(cannot)? {
            0 => return Ok(StoredFile { name: name.into(), bytes, fingerprint: all.finish() }),
            read => {
                all.add(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
}
