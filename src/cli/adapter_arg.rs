//! What a user calls an adapter: a run folder, one of its checkpoints, a folder of an adapter, or its file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Usage, output};
use crate::model::adapter::{Adapter, WEIGHTS};
use crate::train::checkpoint;
use crate::train::folder::settings_path;

/// The flag of every command that runs a model.
#[derive(Debug, Clone, Default, Args)]
pub struct AdapterArg {
    /// Put an adapter onto the model: a run folder, a checkpoint in one, or an adapter's file
    ///
    /// Without a model, the one that it was trained on is taken.
    #[arg(long, value_name = "PATH")]
    adapter: Option<PathBuf>,
}

impl AdapterArg {
    /// True if there is one.
    pub fn is_given(&self) -> bool {
        self.adapter.is_some()
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<Option<Adapter>> {
        self.adapter.as_deref().map(open).transpose()
    }
}

/// Opens what is meant.
pub(super) fn open(named: &Path) -> Result<Adapter> {
    Adapter::open(&file(named)?)
}

/// The file that is meant. Of a run that is not done, it is the newest checkpoint's.
fn file(named: &Path) -> Result<PathBuf> {
    let shown = named.display();
    let about = named.metadata().with_context(|| format!("cannot open the adapter {shown}"))?;
    if !about.is_dir() {
        let weights = named.extension().is_some_and(|end| end == "safetensors");
        anyhow::ensure!(weights, "{shown} is no adapter: give a run folder, a checkpoint in one, or a {WEIGHTS}");
        return Ok(named.to_owned());
    }
    for file in [named.join(WEIGHTS), named.join("adapter").join(WEIGHTS)] {
        if file.is_file() {
            return Ok(file);
        }
    }
    let checkpoints = named.join("checkpoints");
    if checkpoints.is_dir() {
        for (step, path) in checkpoint::list(&checkpoints)? {
            if path.join(WEIGHTS).is_file() {
                output::note(format!("the run {shown} is not done: using its checkpoint of step {step}"));
                return Ok(path.join(WEIGHTS));
            }
        }
    }
    if let Some(model) = ["model", "."].map(|folder| named.join(folder)).iter().find(|m| m.join("config.json").exists())
    {
        bail!("{shown} is a whole model, not an adapter: use it as one (--model {})", model.display());
    }
    if settings_path(named).exists() {
        bail!("the run {shown} has no adapter yet: it has saved no checkpoint");
    }
    bail!("{shown} holds no adapter: give a run folder, a checkpoint in one, or a {WEIGHTS}")
}

/// The model for an adapter: the one that is named, else the one that it was trained on.
pub(super) fn base(adapter: &Adapter, model: Option<&str>) -> Result<String> {
    if let Some(model) = model {
        return Ok(model.to_owned());
    }
    let Some(base) = adapter.base() else {
        let why = format!("{} does not say which model it was trained on: name it (--model)", adapter.path().display());
        return Err(Usage(why).into());
    };
    Ok(base.to_owned())
}

/// What to call it: the run, where it lies in one.
pub(super) fn name(adapter: &Adapter) -> String {
    let plain = |name: &str| matches!(name, "adapter" | "checkpoints" | WEIGHTS);
    let parts = adapter.path().iter().rev().map(|part| part.to_string_lossy());
    let found = parts.into_iter().find(|part| !plain(part) && !part.starts_with("step-"));
    found.map_or_else(|| "an adapter".to_owned(), |name| name.into_owned())
}
