//! Which files of a folder are a model's weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::printable;

/// Says which file holds which tensor, where there are many.
pub(super) const INDEX: &str = "model.safetensors.index.json";

const MAX_INDEX_BYTES: u64 = 100_000_000;

/// Name of a tensor, and of the file that should hold it.
type Promised = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Index {
    weight_map: Promised,
}

/// The files to map, and what an index promises about them.
///
/// `path` may be a file itself. In a folder with an index, the files that it names; else those
/// called `model*.safetensors`; else all but adapters. What training leaves beside a model, such as
/// adapters and the optimiser's state, is thus never taken for a part of it.
pub(super) fn weight_files(path: &Path) -> Result<(Vec<PathBuf>, Promised)> {
    let about = path.metadata().with_context(|| format!("cannot open the model {}", path.display()))?;
    if !about.is_dir() {
        return Ok((vec![path.to_owned()], Promised::new()));
    }
    let index = path.join(INDEX);
    if index.is_file() {
        let promised = read_index(&index).with_context(|| format!("{} cannot be used", index.display()))?;
        let names: BTreeSet<&String> = promised.values().collect();
        return Ok((names.into_iter().map(|name| path.join(name)).collect(), promised));
    }
    Ok((guess(path)?, Promised::new()))
}

/// The folder's weight files where nothing names them.
fn guess(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all = names(folder)?;
    all.retain(|name| name.ends_with(".safetensors") && !name.starts_with('.'));
    let named_model = all.iter().any(|name| name.starts_with("model"));
    all.retain(|name| if named_model { name.starts_with("model") } else { !name.starts_with("adapter") });
    if all.is_empty() {
        bail!(
            "{} holds no model: there is no .safetensors file in it (adapters do not count); make a model with \
             `bit-axon init`, or fetch one with `bit-axon download`",
            folder.display()
        );
    }
    Ok(all.into_iter().map(|name| folder.join(name)).collect())
}

/// Files that a new model in this folder must not be mixed with.
pub(super) fn model_files(folder: &Path) -> Result<Vec<String>> {
    let mut all = names(folder)?;
    all.retain(|name| name == INDEX || (name.starts_with("model") && name.ends_with(".safetensors")));
    Ok(all)
}

/// Everything in a folder whose name is text, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut all = Vec::new();
    for entry in folder.read_dir().with_context(cannot)? {
        all.extend(entry.with_context(cannot)?.file_name().into_string());
    }
    all.sort();
    Ok(all)
}

fn read_index(path: &Path) -> Result<Promised> {
    let size = path.metadata()?.len();
    ensure!(size <= MAX_INDEX_BYTES, "it has {size} bytes; {MAX_INDEX_BYTES} is the most allowed");
    let index: Index = serde_json::from_slice(&std::fs::read(path)?)?;
    ensure!(!index.weight_map.is_empty(), "its weight_map names no tensor");
    for file in index.weight_map.values() {
        let mut parts = Path::new(file).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        ensure!(
            plain && file.ends_with(".safetensors"),
            "its weight_map names `{}`, which is not a .safetensors file in the same folder",
            printable(file)
        );
    }
    Ok(index.weight_map)
}
