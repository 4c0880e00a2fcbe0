//! A model with an adapter at run time: the base stays as it is stored.
//!
//! It is the model that a learner would ask its questions of, were it to begin where the adapter ends: one way to
//! bind adapters, whether they are being trained or come from a file.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::cpu::Options;
use super::cpu::learn::{AdapterOptions, CpuLearner, LearnOptions, TARGETS, Train};
use super::learn::{Learner, Part};
use super::{Backend, mlx};
use crate::model::adapter::{Adapter, Module};
use crate::model::checkpoint::{Checkpoint, printable};
use crate::model::spec::ModelSpec;

/// Binds a checkpoint with an adapter to the CPU backend.
pub fn on_cpu(
    files: &Arc<Checkpoint>,
    spec: ModelSpec,
    options: &Options,
    adapter: &Adapter,
) -> Result<Box<dyn Backend>> {
    asked(&spec, options, adapter, |options| Ok(Box::new(CpuLearner::new(files.clone(), spec.clone(), options)?)))
}

/// The same with MLX, which computes adapters in f32.
pub fn on_mlx(
    files: &Arc<Checkpoint>,
    spec: ModelSpec,
    options: &Options,
    adapter: &Adapter,
) -> Result<Box<dyn Backend>> {
    asked(&spec, options, adapter, |options| mlx::learner(files, spec.clone(), options))
}

/// The model of a learner that begins where the adapter ends.
fn asked(
    spec: &ModelSpec,
    options: &Options,
    adapter: &Adapter,
    learner: impl FnOnce(LearnOptions) -> Result<Box<dyn Learner>>,
) -> Result<Box<dyn Backend>> {
    adapter.ensure_fits(spec)?;
    let mut learner = learner(learn_options(options, adapter)?)?;
    begin_with(&mut *learner, adapter)?;
    learner.model()
}

/// Gives a learner the values of an adapter. Projections that it has none for stay at their beginning, which changes
/// nothing; one that the learner has none for is an error.
pub fn begin_with(learner: &mut dyn Learner, adapter: &Adapter) -> Result<()> {
    let parameters = learner.parameters().to_vec();
    for (path, module) in adapter.modules() {
        for (part, values) in parts(module) {
            let name = format!("{path}.{part}");
            let found = parameters.iter().position(|p| p.name == name);
            let Some(index) = found.filter(|index| parameters[*index].shape.iter().product::<usize>() == values.len())
            else {
                anyhow::bail!(
                    "{} has `{}` ({} values, rank {}), which is not what is adapted here: the rank, the kind of \
                     adapter and its targets must be the same",
                    adapter.path().display(),
                    printable(&name),
                    values.len(),
                    adapter.rank()
                );
            };
            learner.write(index, Part::Value, values)?;
        }
    }
    Ok(())
}

fn parts(module: &Module) -> impl Iterator<Item = (&'static str, &[f32])> {
    [("lora_a", Some(&module.a)), ("lora_b", Some(&module.b)), ("m", module.m.as_ref())]
        .into_iter()
        .filter_map(|(part, values)| Some((part, &values?[..])))
}

/// A learner with such an adapter.
fn learn_options(options: &Options, adapter: &Adapter) -> Result<LearnOptions> {
    let paths = || adapter.modules().keys();
    let ends = |path: &String, target: &str| path.rsplit('.').next() == Some(target);
    for path in paths() {
        let known = TARGETS.iter().any(|target| ends(path, target));
        ensure!(known, "`{}` cannot have an adapter; these can: {}", printable(path), TARGETS.join(", "));
    }
    let targets = TARGETS.iter().filter(|target| paths().any(|path| ends(path, target)));
    let adapters = AdapterOptions {
        rank: adapter.rank(),
        scale: adapter.scale(),
        dropout: 0.0,
        targets: targets.map(|target| (*target).to_owned()).collect(),
        experts: paths().any(|path| path.contains(".switch_mlp.")),
    };
    let train = if adapter.is_dora() { Train::Dora(adapters) } else { Train::Lora(adapters) };
    Ok(LearnOptions {
        threads: options.threads,
        level: options.level,
        inference: options.clone(),
        ..LearnOptions::new(train)
    })
}
