//! Training on the CPU: [`CpuLearner`].
//!
//! ```text
//! mod.rs        the Learner trait's side
//! options.rs    what is trained, and how
//! parameters.rs optimiser.rs    values, gradients, moments; AdamW
//! bind.rs       a checkpoint and new adapters bound to the network
//! batch.rs      sequences and pairs: forward, loss, backward
//! rows.rs preference.rs    a sequence checked; the loss of a pair
//! rounded.rs    values as 4 bits will store them, for the last steps before quantising
//! network.rs layer.rs      the whole model; one layer; what is kept and what is computed again
//! norm.rs ssm.rs attention.rs moe.rs expert.rs head.rs    one operator each, forward and backward
//! linear.rs weight.rs      linear layers with adapters; matrices, frozen in any format or trained
//! product.rs buffers.rs work.rs    matrix products on all threads; memory; what a pass is given
//! live.rs       the model as it is now, for inference
//! tests/        every gradient against float64
//! ```
//!
//! Everything is f32 over whole sequences. Results depend on the number of threads at most, never on timing:
//! each number is computed by one task, and sums over tasks are added in their order.

mod attention;
mod batch;
mod bind;
mod buffers;
mod expert;
mod head;
mod layer;
mod linear;
mod live;
mod moe;
mod network;
mod norm;
mod optimiser;
mod options;
mod parameters;
mod preference;
mod product;
mod rounded;
mod rows;
mod ssm;
mod weight;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::{Result, bail, ensure};

use self::batch::Batch;
#[allow(unused_imports, reason = "MLX's learner uses it, where that is built")]
pub(crate) use self::batch::check;
use self::network::{Keep, Network};
pub use self::options::{AdapterOptions, LearnOptions, TARGETS, Train};
use self::parameters::{Numbers, Parameters};
pub use self::rounded::FourBits;
use self::rounded::Rounded;
#[allow(unused_imports, reason = "as above")]
pub(crate) use self::rows::Rows;
use self::work::Work;
use super::ops::Level;
use crate::backend::Backend;
use crate::backend::learn::{
    Learner, LearnerMemory, Losses, Objective, Parameter, Part, RouterLosses, Sequence, Update,
};
use crate::model::checkpoint::Checkpoint;
use crate::model::spec::ModelSpec;

/// The tensor that embeddings are read from.
const TABLE: &str = "embed_tokens.weight";

/// A model that is trained on the CPU.
pub struct CpuLearner {
    checkpoint: Arc<Checkpoint>,
    spec: ModelSpec,
    options: LearnOptions,
    work: Work,
    network: Network,
    parameters: Parameters,
    /// Where the model learns for 4 bits.
    rounded: Option<Rounded>,
    /// Values changed since what follows from them was computed.
    stale: bool,
}

impl CpuLearner {
    /// Binds a checkpoint to a spec. Frozen weights stay where they are, in the mapped files; for
    /// [`Train::Full`] all are copied, widened to f32.
    pub fn new(checkpoint: Arc<Checkpoint>, spec: ModelSpec, options: LearnOptions) -> Result<Self> {
        if let Train::Lora(adapters) | Train::Dora(adapters) = &options.train {
            adapters.check()?;
        }
        let level = match options.level {
            Some(level) => level,
            None => Level::detect()?,
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(cores);
        ensure!((1..=1024).contains(&threads), "{threads} threads were asked for; 1 to 1024 make sense");
        checkpoint.ensure_fits(&spec)?;
        let work = Work::new(threads, level);
        let (network, parameters) = bind::bind(&checkpoint, &spec, &work, &options.train, options.seed)?;
        let rounded = match (options.rounded, &options.train) {
            (None, _) => None,
            (Some(format), Train::Full) => Some(Rounded::new(format, &spec, network.own_head, &parameters)),
            (Some(_), _) => bail!("only a model whose parameters are all trained can learn for 4 bits"),
        };
        Ok(Self { checkpoint, spec, options, work, network, parameters, rounded, stale: true })
    }

    fn refresh(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.network.refresh(&self.work, &self.parameters.values);
            if let Some(rounded) = &mut self.rounded {
                rounded.refresh(self.work.pool(), &self.parameters.values);
            }
        }
    }

    /// What is computed with.
    fn values(&self) -> &Numbers {
        self.rounded.as_ref().map_or(&self.parameters.values, |rounded| &rounded.values)
    }

    fn adapters(&self) -> Option<&AdapterOptions> {
        match &self.options.train {
            Train::Full => None,
            Train::Lora(options) | Train::Dora(options) => Some(options),
        }
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.work.pool().threads()
    }
}

impl Learner for CpuLearner {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn name(&self) -> String {
        format!("cpu {}", self.work.level())
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters.list
    }

    fn accumulate(
        &mut self,
        sequences: &[Sequence],
        objective: Objective,
        router: RouterLosses,
        seed: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Losses>> {
        let rows = batch::check(sequences, objective, self.spec.vocab)?;
        self.refresh();
        let batch = Batch {
            work: &self.work,
            network: &self.network,
            values: self.rounded.as_ref().map_or(&self.parameters.values, |rounded| &rounded.values),
            table: &self.parameters.values,
            router,
            keep: if self.options.recompute { Keep::Inputs } else { Keep::All },
            dropout: (self.adapters().map_or(0.0, |a| a.dropout), seed),
            cancelled,
        };
        // What was there before this call, should it be cancelled.
        let before = self.parameters.any.then(|| self.parameters.gradients.0.clone());
        let losses = batch.run(&rows, objective, Some(&mut self.parameters.gradients));
        match (&losses, before) {
            (Some(_), _) => self.parameters.any = true,
            (None, Some(before)) => self.parameters.gradients.0 = before,
            (None, None) => self.parameters.gradients.clear(),
        }
        Ok(losses)
    }

    fn evaluate(&mut self, sequences: &[Sequence], objective: Objective) -> Result<Losses> {
        let rows = batch::check(sequences, objective, self.spec.vocab)?;
        self.refresh();
        let batch = Batch {
            work: &self.work,
            network: &self.network,
            values: self.values(),
            table: &self.parameters.values,
            router: RouterLosses::default(),
            keep: Keep::Nothing,
            dropout: (0.0, 0),
            cancelled: &|| false,
        };
        Ok(batch.run(&rows, objective, None).unwrap_or_default())
    }

    fn step(&mut self, update: &Update) -> Result<f64> {
        ensure!(
            update.units > 0.0 && update.units.is_finite(),
            "gradients of {} units cannot be averaged",
            update.units
        );
        ensure!(update.step > 0, "steps are counted from 1");
        self.stale = true;
        self.parameters.any = false;
        Ok(optimiser::step(self.work.pool(), &mut self.parameters, update))
    }

    fn discard(&mut self) {
        self.parameters.any = false;
        self.parameters.gradients.clear();
    }

    fn read(&self, index: usize, part: Part) -> Result<Vec<f32>> {
        self.parameters.read(index, part)
    }

    fn write(&mut self, index: usize, part: Part, values: &[f32]) -> Result<()> {
        self.stale = true;
        self.parameters.write(index, part, values)
    }

    fn model(&self) -> Result<Box<dyn Backend>> {
        self.live()
    }

    fn memory(&self) -> LearnerMemory {
        let p = &self.parameters;
        LearnerMemory {
            frozen: self.network.frozen_bytes() as u64,
            trained: p.values.bytes() + self.rounded.as_ref().map_or(0, |rounded| rounded.values.bytes()),
            gradients: p.gradients.bytes(),
            moments: p.first.bytes() + p.second.bytes(),
            activations: self.work.buffers.most_bytes() as u64,
        }
    }
}
