//! Training through MLX's automatic differentiation: [`MlxLearner`].
//!
//! ```text
//! mod.rs        the Learner trait's side
//! network.rs    whole sequences through the operators of inference, without a state
//! loss.rs       losses of sequences and pairs
//! adapters.rs   what is trained: LoRA and DoRA beside frozen weights
//! optimiser.rs  AdamW
//! ```
//!
//! Names, shapes, order and first values of parameters are those of the CPU's learner, so that a checkpoint of one
//! goes on with the other.

mod adapters;
mod loss;
mod network;
mod optimiser;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mlx_rs::error::Exception;
use mlx_rs::transforms::value_and_grad_with_argnums;
use mlx_rs::{Array, Dtype, memory};

use self::adapters::Placed;
use super::model::MlxModel;
use super::ops;
use super::weights::Weights;
use super::{MlxBackend, Ways, compiles, device, kept_as};
use crate::backend::Backend;
use crate::backend::cpu::learn::{AdapterOptions, LearnOptions, Rows, Train, check};
use crate::backend::learn::{
    Learner, LearnerMemory, Losses, Objective, Parameter, Part, RouterLosses, Sequence, Update,
};
use crate::model::checkpoint::Checkpoint;
use crate::model::spec::ModelSpec;

/// A model whose adapters MLX trains.
pub struct MlxLearner {
    spec: ModelSpec,
    options: LearnOptions,
    device: &'static str,
    weights: Weights,
    placed: Vec<Placed>,
    list: Vec<Parameter>,
    values: Vec<Array>,
    gradients: Option<Vec<Array>>,
    first: Vec<Array>,
    second: Vec<Array>,
    /// DoRA's norms for the values as they are; none since these were changed.
    norms: Option<Vec<Option<Array>>>,
    /// The most that a pass needed beside what was there before it.
    activations: u64,
    /// Stays on the thread that made it.
    _here: PhantomData<*const ()>,
}

/// A sequence, or a pair of them, whose loss is taken at once.
enum Unit<'a> {
    Tokens(&'a Rows<'a>),
    Pair(&'a Rows<'a>, &'a Rows<'a>, f32),
}

impl Unit<'_> {
    /// The arrays that `loss` names.
    fn losses(&self, weights: &Weights, spec: &ModelSpec, router: RouterLosses) -> Result<Vec<Array>> {
        match self {
            Unit::Tokens(rows) => loss::tokens(&network::read(weights, spec, rows, router, rows.labels.len() as f32)?),
            // A pair is one unit, and the router reads two sequences for it.
            Unit::Pair(chosen, rejected, beta) => {
                let [c, r] = [chosen, rejected].map(|rows| network::read(weights, spec, rows, router, 0.5));
                loss::pair(&c?, &r?, *beta)
            }
        }
    }

    fn told(&self, all: &[Array]) -> Result<Losses> {
        match self {
            Unit::Tokens(rows) => loss::told_of_tokens(all, rows.labels.len(), rows.given),
            Unit::Pair(chosen, rejected, _) => loss::told_of_pair(all, chosen.given + rejected.given),
        }
    }

    /// What dropout is drawn by: it follows from what is read.
    fn key(&self, seed: u64) -> u64 {
        let rows = match self {
            Unit::Tokens(rows) => [rows.tokens, &[]],
            Unit::Pair(chosen, rejected, _) => [chosen.tokens, rejected.tokens],
        };
        let mix = crate::model::init::mix;
        rows.concat().iter().fold(mix(seed), |key, token| mix(key ^ u64::from(*token)))
    }
}

fn units<'a>(rows: &'a [Rows<'a>], objective: Objective) -> Vec<Unit<'a>> {
    match objective {
        Objective::Tokens => rows.iter().map(Unit::Tokens).collect(),
        Objective::Preference { beta } => rows.chunks_exact(2).map(|p| Unit::Pair(&p[0], &p[1], beta)).collect(),
    }
}

impl MlxLearner {
    /// Copies a checkpoint's weights to where MLX computes, frozen, and makes adapters beside them.
    pub fn new(checkpoint: &Arc<Checkpoint>, spec: ModelSpec, options: LearnOptions) -> Result<Self> {
        if let Train::Lora(adapters) | Train::Dora(adapters) = &options.train {
            adapters.check()?;
        }
        checkpoint.ensure_fits(&spec)?;
        let mut weights = Weights::bind(checkpoint, &spec, false)?;
        let made = adapters::make(&mut weights, &options.train, options.seed)?;
        let zeros = || made.values.iter().map(zeros_like).collect::<Result<Vec<_>>>();
        let (first, second) = (zeros()?, zeros()?);
        Ok(Self {
            spec,
            options,
            device: device()?,
            weights,
            placed: made.placed,
            list: made.list,
            values: made.values,
            gradients: None,
            first,
            second,
            norms: None,
            activations: 0,
            _here: PhantomData,
        })
    }

    fn adapters(&self) -> AdapterOptions {
        match &self.options.train {
            Train::Lora(options) | Train::Dora(options) => options.clone(),
            Train::Full => AdapterOptions::default(),
        }
    }

    fn norms(&mut self) -> Result<Vec<Option<Array>>> {
        if self.norms.is_none() {
            let scale = self.adapters().scale;
            self.norms = Some(adapters::norms_now(&mut self.weights, &self.placed, &self.values, scale)?);
        }
        Ok(self.norms.clone().unwrap_or_default())
    }

    /// The losses of one unit and the gradients of all parameters.
    fn slopes(&mut self, unit: &Unit<'_>, router: RouterLosses, seed: u64) -> Result<(Losses, Vec<Array>)> {
        let norms = self.norms()?;
        let options = self.adapters();
        let dropout = (options.dropout > 0.0).then(|| (options.dropout, unit.key(seed)));
        let before = memory::active_memory().unwrap_or(0);
        let _ = memory::reset_peak_memory();
        let trained: Vec<i32> = (0..ops::size(self.values.len())).collect();
        let (weights, placed, spec) = (&self.weights, &self.placed, &self.spec);
        let losses = |values: &[Array]| -> Result<Vec<Array>, Exception> {
            let adapted = adapters::onto(weights, placed, values, &norms, &options, dropout);
            let losses = adapted.and_then(|weights| unit.losses(&weights, spec, router));
            losses.map_err(|error| Exception::custom(format!("{error:#}")))
        };
        let (all, gradients) = value_and_grad_with_argnums(losses, &trained[..])(&self.values)
            .map_err(|error| anyhow::anyhow!("{}", error.what()))
            .context("MLX could not take the loss's slopes")?;
        ops::eval(all.iter().chain(&gradients))?;
        let most = memory::peak_memory().unwrap_or(0).saturating_sub(before) as u64;
        self.activations = self.activations.max(most);
        Ok((unit.told(&all)?, gradients))
    }
}

fn zeros_like(a: &Array) -> Result<Array> {
    let shape: Vec<usize> = a.shape().iter().map(|n| *n as usize).collect();
    ops::zeros(&shape, Dtype::Float32)
}

impl Learner for MlxLearner {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn name(&self) -> String {
        format!("mlx {}", self.device)
    }

    fn parameters(&self) -> &[Parameter] {
        &self.list
    }

    fn accumulate(
        &mut self,
        sequences: &[Sequence],
        objective: Objective,
        router: RouterLosses,
        seed: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Losses>> {
        let rows = check(sequences, objective, self.spec.vocab)?;
        let (mut losses, mut sums) = (Losses::default(), self.gradients.clone());
        for unit in units(&rows, objective) {
            if cancelled() {
                return Ok(None);
            }
            if let Unit::Tokens(Rows { labels, given, .. }) = unit
                && labels.is_empty()
            {
                losses.tokens += *given as u64;
                continue;
            }
            let (of_unit, gradients) = self.slopes(&unit, router, seed)?;
            losses.add(&of_unit);
            sums = Some(match sums {
                None => gradients,
                Some(sums) => sums.iter().zip(&gradients).map(|(a, b)| ops::add(a, b)).collect::<Result<_>>()?,
            });
            ops::eval(sums.iter().flatten())?;
        }
        if cancelled() {
            return Ok(None);
        }
        self.gradients = sums;
        Ok(Some(losses))
    }

    fn evaluate(&mut self, sequences: &[Sequence], objective: Objective) -> Result<Losses> {
        let rows = check(sequences, objective, self.spec.vocab)?;
        let norms = self.norms()?;
        let weights = adapters::onto(&self.weights, &self.placed, &self.values, &norms, &self.adapters(), None)?;
        let mut losses = Losses::default();
        for unit in units(&rows, objective) {
            if let Unit::Tokens(Rows { labels, given, .. }) = unit
                && labels.is_empty()
            {
                losses.tokens += *given as u64;
                continue;
            }
            let all = unit.losses(&weights, &self.spec, RouterLosses::default())?;
            ops::eval(&all)?;
            losses.add(&unit.told(&all)?);
        }
        Ok(losses)
    }

    fn step(&mut self, update: &Update) -> Result<f64> {
        ensure!(
            update.units > 0.0 && update.units.is_finite(),
            "gradients of {} units cannot be averaged",
            update.units
        );
        ensure!(update.step > 0, "steps are counted from 1");
        let gradients = match self.gradients.take() {
            Some(gradients) => gradients,
            None => self.values.iter().map(zeros_like).collect::<Result<_>>()?,
        };
        let norm = optimiser::norm(&gradients, update.units)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let mut all = Vec::with_capacity(self.list.len());
        for (i, (parameter, gradient)) in self.list.iter().zip(&gradients).enumerate() {
            let now = [&self.values[i], &self.first[i], &self.second[i]];
            all.push(optimiser::moved(parameter, now, gradient, norm, update)?);
        }
        ops::eval(all.iter().flatten())?;
        for (i, [value, first, second]) in all.into_iter().enumerate() {
            (self.values[i], self.first[i], self.second[i]) = (value, first, second);
        }
        self.norms = None;
        Ok(norm)
    }

    fn discard(&mut self) {
        self.gradients = None;
    }

    fn read(&self, index: usize, part: Part) -> Result<Vec<f32>> {
        ensure!(index < self.list.len(), "there is no parameter {index}: {} are trained", self.list.len());
        let all = match part {
            Part::Value => &self.values,
            Part::Moment1 => &self.first,
            Part::Moment2 => &self.second,
        };
        ops::floats(&all[index])
    }

    fn write(&mut self, index: usize, part: Part, values: &[f32]) -> Result<()> {
        ensure!(index < self.list.len(), "there is no parameter {index}: {} are trained", self.list.len());
        let Parameter { name, shape, .. } = &self.list[index];
        let len: usize = shape.iter().product();
        ensure!(len == values.len(), "`{name}` has {len} values, not {}", values.len());
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        ensure!(bad == 0, "{bad} of {} values for `{name}` are infinite or not a number", values.len());
        let all = match part {
            Part::Value => &mut self.values,
            Part::Moment1 => &mut self.first,
            Part::Moment2 => &mut self.second,
        };
        all[index] = ops::array(values, shape);
        self.norms = None;
        Ok(())
    }

    fn model(&self) -> Result<Box<dyn Backend>> {
        let mut weights = self.weights.clone();
        let norms = match &self.norms {
            Some(norms) => norms.clone(),
            None => adapters::norms_now(&mut weights, &self.placed, &self.values, self.adapters().scale)?,
        };
        let weights = adapters::onto(&weights, &self.placed, &self.values, &norms, &self.adapters(), None)?;
        let inference = &self.options.inference;
        let ways = Ways { halves: false, compiled: compiles(self.device) };
        let kv = kept_as(inference, ways)?;
        let model = MlxModel::new(self.spec.clone(), weights, ways, kv, inference.rewind_budget)?;
        Ok(Box::new(MlxBackend { model, device: self.device, _here: PhantomData }))
    }

    fn memory(&self) -> LearnerMemory {
        let bytes = |all: &[Array]| all.iter().map(|a| a.nbytes() as u64).sum::<u64>();
        LearnerMemory {
            frozen: self.weights.bytes() as u64,
            trained: bytes(&self.values),
            gradients: self.gradients.as_deref().map_or(0, bytes),
            moments: bytes(&self.first) + bytes(&self.second),
            activations: self.activations,
        }
    }
}
