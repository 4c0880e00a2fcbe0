//! Every gradient against float64, and what a learner promises.

mod behaviour;
mod four_bits;
mod gradients;
mod operators;
mod reference;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use self::reference::Reference;
use super::{CpuLearner, LearnOptions, Train};
use crate::backend::learn::{Learner, Part, Sequence};
use crate::model::checkpoint::{Checkpoint, Format, plan_new, write_tensors};
use crate::model::config::Config;
use crate::model::init::{RandomWeights, mix, uniform};
use crate::model::spec::ModelSpec;
use crate::model::tensors::{Kind, tensors};

/// A model of the fixtures.
fn fixture(name: &str) -> (Arc<Checkpoint>, ModelSpec) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let spec = Config::read(&folder.join("config.json")).unwrap().spec();
    (Arc::new(Checkpoint::open(&folder).unwrap()), spec)
}

/// A made-up model: none of its sizes is a multiple of another's, or of a vector.
fn odd_sizes() -> Config {
    Config {
        vocab_size: 37,
        hidden_dim: 40,
        num_layers: 3,
        num_heads: 2,
        d_source_model: 24,
        ssm_d_state: 5,
        ssm_d_conv: 3,
        ssm_expand: 2,
        swa_window_size: 37,
        moe_num_experts: 5,
        moe_intermediate_dim: 28,
        ..Config::preset("small").unwrap()
    }
}

/// Random weights for it, in memory.
fn made(config: &Config, format: Format) -> (Arc<Checkpoint>, ModelSpec) {
    let spec = config.spec();
    let jobs = plan_new(&spec, format, 32).unwrap();
    let weights = RandomWeights::new(&spec, 5);
    let bytes = write_tensors(Cursor::new(Vec::new()), &weights, &jobs, 1, &mut |_, _, _| Ok(())).unwrap();
    (Arc::new(Checkpoint::from_bytes("made", bytes.into_inner()).unwrap()), spec)
}

/// Numbers between -1 and 1, the same every time.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64).map(|i| 2.0 * uniform(mix(seed), i) - 1.0).collect()
}

/// A learner on two threads.
fn learner((checkpoint, spec): &(Arc<Checkpoint>, ModelSpec), train: Train) -> CpuLearner {
    let options = LearnOptions { threads: Some(2), ..LearnOptions::new(train) };
    CpuLearner::new(checkpoint.clone(), spec.clone(), options).unwrap()
}

/// Moves every parameter a little, so that none is 0 or 1 throughout: B of an adapter would hide A.
fn stir(learner: &mut CpuLearner) {
    for i in 0..learner.parameters().len() {
        let mut values = learner.read(i, Part::Value).unwrap();
        let moves = numbers(values.len(), 77 + i as u64);
        values.iter_mut().zip(moves).for_each(|(v, m)| *v += 0.02 * m);
        learner.write(i, Part::Value, &values).unwrap();
    }
    learner.refresh();
}

/// The same model in f64.
fn reference(learner: &CpuLearner) -> Reference {
    let mut all = BTreeMap::new();
    for t in tensors(&learner.spec) {
        if !learner.checkpoint.contains(&t.name) {
            continue;
        }
        let matrices = match t.kind {
            Kind::ExpertStack => learner.checkpoint.stack(&t).unwrap(),
            Kind::Embedding | Kind::Head | Kind::Linear => vec![learner.checkpoint.matrix(&t).unwrap()],
            _ => {
                let values = learner.checkpoint.floats(&t).unwrap();
                all.insert(t.name.clone(), values.into_iter().map(f64::from).collect());
                continue;
            }
        };
        let mut values: Vec<f64> = Vec::new();
        for matrix in &matrices {
            let mut row = vec![0.0; matrix.cols];
            for i in 0..matrix.rows {
                matrix.row_into(i, &mut row);
                values.extend(row.iter().map(|v| f64::from(*v)));
            }
        }
        all.insert(t.name.clone(), values);
    }
    for (parameter, values) in learner.parameters.list.iter().zip(&learner.parameters.values.0) {
        all.insert(parameter.name.clone(), values.iter().map(|v| f64::from(*v)).collect());
    }
    let adapters = learner.adapters();
    let mut reference = Reference {
        spec: learner.spec.clone(),
        tensors: all,
        scale: adapters.map_or(0.0, |a| f64::from(a.scale)),
        rank: adapters.map_or(0, |a| a.rank),
        norms: BTreeMap::new(),
        dropout: (0.0, 0),
    };
    reference.take_norms();
    reference
}

/// A sequence of `n` tokens; every third label bears no loss.
fn sequence(n: usize, vocab: usize, seed: u64, starts: &[usize]) -> Sequence {
    let tokens = (0..n as u64).map(|i| (mix(seed ^ (i << 20)) % vocab as u64) as u32).collect();
    Sequence { tokens, mask: (0..n).map(|i| i % 3 != 2).collect(), starts: starts.to_vec() }
}

/// An error unless the slope of `f` along a random direction of `values` is the gradient's.
fn assert_slope(what: &str, values: &[f64], gradient: &[f32], mut f: impl FnMut(&[f64]) -> f64) {
    assert_eq!(values.len(), gradient.len(), "{what}");
    let direction: Vec<f64> = numbers(values.len(), 999).into_iter().map(f64::from).collect();
    const STEP: f64 = 1e-6;
    let mut at = |sign: f64| {
        let moved: Vec<f64> = values.iter().zip(&direction).map(|(v, d)| v + sign * STEP * d).collect();
        f(&moved)
    };
    let want = (at(1.0) - at(-1.0)) / (2.0 * STEP);
    let found: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
    let size = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    assert!((found - want).abs() <= 1e-4 * size + 1e-7, "{what}: slope {found}, should be {want} (of {size})");
}
