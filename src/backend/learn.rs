//! What trains a model: a coarse trait beside [`super::Backend`], crossed at tokens and named f32 values.
//!
//! Parameters, gradients and the optimiser's moments stay on the device. Losses are summed, never averaged, by
//! `accumulate`, and `step` divides once: a batch gives the same update however it is cut into pieces.
//! All randomness comes from the seeds given, so that a learner has no random state to keep.

use anyhow::Result;

use crate::backend::Backend;
use crate::model::spec::ModelSpec;
use crate::protocol::TokenId;

/// One row of a batch: inputs are all tokens but the last, labels all but the first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sequence {
    /// The tokens, padding included. Those after the last label change no loss, and are not computed.
    pub tokens: Vec<TokenId>,
    /// Whether each token bears loss as a label; as long as `tokens`, the first is never one.
    pub mask: Vec<bool>,
    /// Where examples begin that must not see what stands before them (the state of the state spaces is
    /// reset, attention is masked, and positions count from there); empty where all may be seen.
    pub starts: Vec<usize>,
}

impl Sequence {
    /// Labels that bear loss.
    pub fn labels(&self) -> usize {
        self.mask.iter().skip(1).filter(|bears| **bears).count()
    }
}

/// What is made small.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Cross-entropy, summed over labels; `Losses::units` are labels.
    Tokens,
    /// ORPO over pairs: sequences come as chosen, rejected, chosen, rejected; `Losses::units` are pairs.
    Preference {
        /// Weight of the odds ratio.
        beta: f32,
    },
}

/// Weights of the router's own losses; zero where routers are not trained. A sequence's count as often as it
/// has units (its labels, or half of a pair), so that after `step` has divided they are means, as the loss is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RouterLosses {
    /// Of `X * sum_e f_e * p_e`, for each layer and sequence: f_e is the share of its tokens that take expert
    /// e, and p_e the mean of its gate.
    pub balance: f32,
    /// Of `mean(logsumexp(logits)^2)`, for each layer and sequence.
    pub z: f32,
}

/// Sums over a batch, or a part of one. The sums of parts add up to those of the whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Losses {
    /// Labels, or pairs: what sums are divided by.
    pub units: f64,
    /// The loss, without the router's.
    pub loss: f64,
    /// The router's losses, weighted, as they are added to `loss`.
    pub router: f64,
    /// Tokens read, padding included.
    pub tokens: u64,
    /// For pairs: sums of the parts.
    pub preference: Preference,
    /// For each MoE layer, in order, how often each expert was chosen.
    pub experts: Vec<Vec<u64>>,
}

/// The parts of ORPO, summed over pairs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Preference {
    /// Mean negative log-probability of the chosen.
    pub nll: f64,
    /// The odds ratio's part, `-log_sigmoid(beta * log_odds)`.
    pub odds: f64,
    /// Mean log-probability of the chosen.
    pub chosen: f64,
    /// Mean log-probability of the rejected.
    pub rejected: f64,
    /// Pairs whose chosen is the likelier.
    pub wins: f64,
}

impl Losses {
    /// Adds the sums of another part.
    pub fn add(&mut self, other: &Losses) {
        self.units += other.units;
        self.loss += other.loss;
        self.router += other.router;
        self.tokens += other.tokens;
        let (to, from) = (&mut self.preference, &other.preference);
        to.nll += from.nll;
        to.odds += from.odds;
        to.chosen += from.chosen;
        to.rejected += from.rejected;
        to.wins += from.wins;
        self.experts.resize(self.experts.len().max(other.experts.len()), Vec::new());
        for (to, from) in self.experts.iter_mut().zip(&other.experts) {
            to.resize(to.len().max(from.len()), 0);
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
    }
}

/// One step of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// What the accumulated gradients are divided by: the units of all that was accumulated.
    pub units: f64,
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Gradients whose norm is larger are scaled to it; infinite for no limit.
    pub max_grad_norm: f32,
    /// Decay, for parameters that are matrices (not magnitudes, norms or biases).
    pub weight_decay: f32,
    /// Decays of the moments.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Which step it is, from 1: for the moments' bias.
    pub step: u64,
}

/// Which values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Itself.
    Value,
    /// Mean of its gradients.
    Moment1,
    /// Mean of their squares.
    Moment2,
}

/// A trained parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its tensor's name in a file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it decays.
    pub decays: bool,
}

/// Trains a model's parameters, or those of adapters on it.
pub trait Learner {
    /// Shape of the model.
    fn spec(&self) -> &ModelSpec;

    /// What to call it, as `cpu avx512`.
    fn name(&self) -> String;

    /// What is trained, in a fixed order.
    fn parameters(&self) -> &[Parameter];

    /// Adds the gradients of the sequences' summed losses to what is accumulated. `seed` draws dropout, with the
    /// tokens of each sequence and not with its place: pieces of a batch with one seed give what the whole gives.
    /// `cancelled` is asked between layers; when true, what this call added is dropped and `None` given.
    fn accumulate(
        &mut self,
        sequences: &[Sequence],
        objective: Objective,
        router: RouterLosses,
        seed: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Losses>>;

    /// The losses alone, without dropout or gradients.
    fn evaluate(&mut self, sequences: &[Sequence], objective: Objective) -> Result<Losses>;

    /// Moves the parameters, forgets the gradients, and gives the gradients' norm before clipping. A norm that is
    /// not finite moves nothing.
    fn step(&mut self, update: &Update) -> Result<f64>;

    /// Forgets the gradients.
    fn discard(&mut self);

    /// The values of parameter `index`.
    fn read(&self, index: usize, part: Part) -> Result<Vec<f32>>;

    /// Replaces them.
    fn write(&mut self, index: usize, part: Part, values: &[f32]) -> Result<()>;

    /// The model as it is now, to ask it something: it shares the frozen weights and copies the trained ones.
    fn model(&self) -> Result<Box<dyn Backend>>;

    /// Bytes held: weights, parameters with gradients and moments, activations at most so far.
    fn memory(&self) -> LearnerMemory;
}

/// Bytes that training holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LearnerMemory {
    /// Frozen weights.
    pub frozen: u64,
    /// Trained values.
    pub trained: u64,
    /// Their gradients.
    pub gradients: u64,
    /// Their moments.
    pub moments: u64,
    /// Activations, as much as was ever needed at once.
    pub activations: u64,
}
