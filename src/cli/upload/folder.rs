//! What a folder holds that could be sent, and whether it can be used by who receives it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::hub::upload::Item;
use super::super::hub::{RepoId, check_name, wanted};
use super::super::open::{self, Files};
use super::super::output;
use crate::model::checkpoint::Checkpoint;
use crate::train::folder::holds_run;

/// What training keeps for itself.
const OF_TRAINING: [&str; 2] = ["optimizer.safetensors", "state.json"];

const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER: &str = "adapters.safetensors";

/// A folder that was looked at.
pub(super) struct Folder {
    path: PathBuf,
    pub(super) what: What,
}

/// What is in it.
pub(super) enum What {
    Model(Box<Files>),
    Adapter(Adapter),
}

/// An adapter.
pub(super) struct Adapter {
    /// adapter_config.json as it is.
    config: Value,
    pub(super) values: u64,
}

impl Folder {
    /// An error if it could not be used by anyone.
    pub(super) fn look(path: &Path) -> Result<Self> {
        let shown = path.display();
        ensure!(path.is_dir(), "{shown} is no folder: give that of a model, or of an adapter");
        if holds_run(path) {
            let made: Vec<String> = ["adapter", "model"]
                .iter()
                .map(|name| path.join(name))
                .filter(|path| path.is_dir())
                .map(|path| path.display().to_string())
                .collect();
            match &made[..] {
                [] => bail!("{shown} is a training run that has not finished: there is nothing to send yet"),
                made => bail!("{shown} is a training run: send what came of it, {}", made.join(" or ")),
            }
        }
        let what = if path.join(ADAPTER_CONFIG).is_file() {
            What::Adapter(adapter(path)?)
        } else if path.join("config.json").is_file() {
            let name = path.to_str().with_context(|| format!("the name of {shown} is not text"))?;
            What::Model(Box::new(open::files(name)?))
        } else {
            bail!("{shown} holds neither a model (config.json) nor an adapter ({ADAPTER_CONFIG})");
        };
        Ok(Self { path: path.to_owned(), what })
    }

    /// What would be sent, the card aside if there is none. `base` is what an adapter stands on, by its name on the hub.
    pub(super) fn items(&self, base: Option<&RepoId>) -> Result<Vec<Item>> {
        let cannot = || format!("cannot list {}", self.path.display());
        let (mut items, mut left) = (Vec::new(), Vec::new());
        for entry in self.path.read_dir().with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let sent = wanted(&name) && check_name(&name).is_ok() && !OF_TRAINING.contains(&name.as_str());
            if sent && entry.path().is_file() {
                items.push(Item::file(&name, entry.path())?);
            } else {
                left.push(name);
            }
        }
        if !left.is_empty() {
            left.sort();
            output::note(format!("not sent, since no model needs it: {}", left.join(", ")));
        }
        if let What::Adapter(adapter) = &self.what
            && let Some(item) = items.iter_mut().find(|item| item.name == ADAPTER_CONFIG)
            && let Some(changed) = adapter.for_others(base)?
        {
            output::note(format!("{ADAPTER_CONFIG} is sent with the base `{}`, and not with its path here", changed.0));
            *item = Item::made(ADAPTER_CONFIG, changed.1);
        }
        Ok(items)
    }
}

impl Adapter {
    /// The base by its name on the hub, if it has one; where it is here concerns nobody.
    pub(super) fn base(&self) -> String {
        let named = self.config["base_model"].as_str().unwrap_or_default();
        match named.parse::<RepoId>() {
            Ok(repo) if !Path::new(named).exists() => repo.to_string(),
            _ => Path::new(named).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        }
    }

    /// A setting of it, in words.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        let value = self.config.get(name).or_else(|| self.config["lora_parameters"].get(name))?;
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// Its settings without what only holds here, if there is such a thing, and the base that they name.
    fn for_others(&self, base: Option<&RepoId>) -> Result<Option<(String, Vec<u8>)>> {
        let named = base.map_or_else(|| self.base(), ToString::to_string);
        if self.config["base_model"].as_str().is_none_or(|now| now == named) {
            return Ok(None);
        }
        let mut config = self.config.clone();
        config["base_model"] = Value::String(named.clone());
        Ok(Some((named, format!("{}\n", serde_json::to_string_pretty(&config)?).into_bytes())))
    }
}

fn adapter(path: &Path) -> Result<Adapter> {
    let file = path.join(ADAPTER_CONFIG);
    let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let config: Value = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    ensure!(config.is_object(), "{} is no adapter's: it holds no object", file.display());
    let weights = path.join(ADAPTER);
    ensure!(weights.is_file(), "{} is missing beside {ADAPTER_CONFIG}", weights.display());
    let weights = Checkpoint::open(&weights)?;
    let values = weights.tensors().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
    Ok(Adapter { config, values })
}
