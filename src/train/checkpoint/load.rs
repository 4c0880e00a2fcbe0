//! Finds the checkpoint to go on from, and reads it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::save::{moment, remove};
use super::{MOMENTS, Output, STATE, State, VERSION, describe_file, list};
use crate::backend::learn::{Learner, Part};
use crate::model::checkpoint::{Checkpoint, Dtype};

/// The newest checkpoint that is whole. Newer ones that are not are told, and removed: they can never be used.
pub fn newest_whole(checkpoints: &Path, tell: &mut dyn FnMut(String)) -> Result<Option<(PathBuf, State)>> {
    for (step, path) in list(checkpoints)? {
        match read_state(&path, step) {
            Ok(state) => return Ok(Some((path, state))),
            Err(error) => {
                tell(format!("{} cannot be used ({error:#}): looking for the one before it", path.display()));
                remove(&path)?;
            }
        }
    }
    Ok(None)
}

fn read_state(path: &Path, step: u64) -> Result<State> {
    let text = std::fs::read(path.join(STATE)).with_context(|| format!("its {STATE} cannot be read"))?;
    let version: Option<u64> =
        serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|state| state.get("version")?.as_u64());
    ensure!(
        version.is_none_or(|version| version == u64::from(VERSION)),
        "it is of version {}, and this program knows {VERSION}",
        version.unwrap_or(0)
    );
    let state: State = serde_json::from_slice(&text).with_context(|| format!("its {STATE} is damaged"))?;
    ensure!(state.step == step, "its {STATE} is of step {}", state.step);
    for file in &state.files {
        // A name from a file must not lead elsewhere.
        ensure!(!file.name.contains(['/', '\\']) && file.name != "..", "its {STATE} names a file elsewhere");
        let found = describe_file(&path.join(&file.name), &file.name)?;
        ensure!(found.bytes == file.bytes, "{} has {} of {} bytes", file.name, found.bytes, file.bytes);
        ensure!(found.fingerprint == file.fingerprint, "{} is damaged", file.name);
    }
    Ok(state)
}

/// Gives a learner the values and moments of a checkpoint. All names and shapes are compared first.
pub fn restore(path: &Path, learner: &mut dyn Learner, output: &Output) -> Result<()> {
    let weights = Checkpoint::open(&path.join(&output.weights))?;
    let moments = Checkpoint::open(&path.join(MOMENTS))?;
    let parameters = learner.parameters().to_vec();
    let parts = [(Part::Value, &weights), (Part::Moment1, &moments), (Part::Moment2, &moments)];
    for parameter in &parameters {
        for (part, file) in parts {
            let name = moment(&parameter.name, part);
            let Some(found) = file.info(&name) else {
                bail!(
                    "{} has no tensor `{name}`, which this model and adapter need: go on with the --model and \
                     --adapter that the run began with",
                    found_in(file)
                );
            };
            ensure!(
                found.shape == parameter.shape && found.dtype == Dtype::F32,
                "{}: `{name}` has the shape {:?}, and this model needs {:?}: go on with the --model and the \
                 --lora-rank that the run began with",
                found_in(file),
                found.shape,
                parameter.shape
            );
        }
    }
    let many = weights.tensors().count();
    ensure!(
        many == parameters.len(),
        "{} holds {many} tensors, and {} are trained here: go on with the settings that the run began with",
        found_in(&weights),
        parameters.len()
    );
    for (index, parameter) in parameters.iter().enumerate() {
        for (part, file) in parts {
            let name = moment(&parameter.name, part);
            let bytes = file.tensor(&name).with_context(|| format!("`{name}` is gone"))?.bytes;
            let values: Vec<f32> = bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
            learner.write(index, part, &values)?;
        }
    }
    Ok(())
}

fn found_in(file: &Checkpoint) -> String {
    file.path().display().to_string()
}
