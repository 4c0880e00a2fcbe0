//! Writes checkpoints, and removes old ones.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{MOMENTS, Output, REMOVED, STATE, State, UNFINISHED, VERSION, describe_file, folder_name, list};
use crate::backend::learn::{Learner, Part};
use crate::model::checkpoint::{Dtype, Planned, TensorWriter, printable};
use crate::whole::sync_folder;

/// Checkpoints that are kept beside the best.
const KEPT: usize = 3;

/// Writes a checkpoint: whole, or not at all. `state.files` is filled in here.
pub fn save(checkpoints: &Path, learner: &dyn Learner, output: &Output, mut state: State) -> Result<()> {
    let name = folder_name(state.step);
    let path = checkpoints.join(&name);
    let cannot = || format!("cannot write the checkpoint {}", path.display());
    let staged = checkpoints.join(format!("{UNFINISHED}{name}"));
    let written = write(&staged, learner, output, &mut state).and_then(|()| {
        // One of the same step is there if a run went back: it is the same, or it is not whole.
        if path.exists() {
            remove(&path)?;
        }
        fs::rename(&staged, &path)?;
        sync_folder(checkpoints);
        Ok(())
    });
    if written.is_err() {
        // Room for others on a full disk.
        let _ = fs::remove_dir_all(&staged);
    }
    written.with_context(cannot)
}

fn write(staged: &Path, learner: &dyn Learner, output: &Output, state: &mut State) -> Result<()> {
    if staged.exists() {
        fs::remove_dir_all(staged)?;
    }
    fs::create_dir(staged)?;
    write_weights(File::create(staged.join(&output.weights))?, learner, output)?;
    write_moments(&staged.join(MOMENTS), learner)?;
    let mut names = vec![output.weights.clone(), MOMENTS.to_owned()];
    for (name, contents) in &output.beside {
        put(&staged.join(name), contents)?;
        names.push(name.clone());
    }
    state.version = VERSION;
    state.files = names.iter().map(|name| describe_file(&staged.join(name), name)).collect::<Result<_>>()?;
    put(&staged.join(STATE), format!("{}\n", serde_json::to_string_pretty(state)?).as_bytes())?;
    sync_folder(staged);
    Ok(())
}

fn put(path: &Path, contents: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(contents)?;
    Ok(file.sync_all()?)
}

/// Writes what is trained.
pub(in crate::train) fn write_weights(file: File, learner: &dyn Learner, output: &Output) -> Result<()> {
    let parameters = learner.parameters();
    let plan = parameters.iter().map(|p| planned(p.name.clone(), &p.shape)).collect();
    let mut writer = TensorWriter::new(BufWriter::new(file), plan, &output.metadata)?;
    for (index, parameter) in parameters.iter().enumerate() {
        append(&mut writer, learner, index, Part::Value, &parameter.name)?;
    }
    finish(writer)
}

fn write_moments(path: &Path, learner: &dyn Learner) -> Result<()> {
    let parameters = learner.parameters();
    let both =
        |name: &str| [(Part::Moment1, moment(name, Part::Moment1)), (Part::Moment2, moment(name, Part::Moment2))];
    let plan = parameters.iter().flat_map(|p| both(&p.name).map(|(_, name)| planned(name, &p.shape))).collect();
    let mut writer = TensorWriter::new(BufWriter::new(File::create(path)?), plan, &Default::default())?;
    for (index, parameter) in parameters.iter().enumerate() {
        for (part, name) in both(&parameter.name) {
            append(&mut writer, learner, index, part, &name)?;
        }
    }
    finish(writer)
}

/// The tensor of a moment.
pub(super) fn moment(name: &str, part: Part) -> String {
    match part {
        Part::Value => name.to_owned(),
        Part::Moment1 => format!("{name}.moment1"),
        Part::Moment2 => format!("{name}.moment2"),
    }
}

fn planned(name: String, shape: &[usize]) -> Planned {
    Planned { name, dtype: Dtype::F32, shape: shape.to_vec() }
}

fn append(
    writer: &mut TensorWriter<BufWriter<File>>,
    learner: &dyn Learner,
    index: usize,
    part: Part,
    name: &str,
) -> Result<()> {
    let values = learner.read(index, part)?;
    // The checkpoint before is better than one that cannot be gone on from.
    ensure!(
        values.iter().all(|value| value.is_finite()),
        "{} holds numbers that are infinite or no numbers: training went wrong before this; go on from an earlier \
         checkpoint with a lower --learning-rate",
        printable(name)
    );
    writer.append(name, bytemuck::cast_slice(&values))
}

fn finish(writer: TensorWriter<BufWriter<File>>) -> Result<()> {
    let file = writer.finish()?.into_inner().map_err(|error| error.into_error())?;
    Ok(file.sync_all()?)
}

/// Removes all but the newest few and the best. `newest` is how many, where fewer shall stay than usual.
pub fn prune(checkpoints: &Path, best: Option<u64>, newest: Option<usize>) -> Result<()> {
    let keep = newest.unwrap_or(KEPT);
    for (step, path) in list(checkpoints)?.into_iter().skip(keep) {
        if Some(step) != best {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes what an earlier process left half-done.
pub fn tidy(checkpoints: &Path) -> Result<()> {
    for entry in checkpoints.read_dir().with_context(|| format!("cannot list {}", checkpoints.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let left = name.to_str().is_some_and(|name| name.starts_with(UNFINISHED) || name.starts_with(REMOVED));
        if left {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Under another name first, so that what is half removed is never taken for a checkpoint.
pub(super) fn remove(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = path.with_file_name(format!("{REMOVED}{name}"));
    let gone = || -> std::io::Result<()> {
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        fs::rename(path, &aside)?;
        fs::remove_dir_all(&aside)
    };
    gone().with_context(|| format!("cannot remove the old checkpoint {}", path.display()))
}
