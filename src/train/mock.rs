//! A learner small enough to be obviously right: the next token follows from a bias and the token before it. Its
//! gradients are real, so that losses fall; its randomness comes from the seeds alone.

use anyhow::{Result, ensure};

use super::fingerprint::mix;
use crate::backend::learn::{
    Learner, LearnerMemory, Losses, Objective, Parameter, Part, Preference, RouterLosses, Sequence, Update,
};
use crate::backend::{Backend, Logits, Snapshot};
use crate::model::config::Config;
use crate::model::spec::ModelSpec;
use crate::protocol::{Alterations, MemoryReport, TokenId, TokenRouting};

/// Rows of the table: tokens that are alike modulo this are one.
const ROWS: usize = 16;

pub(crate) struct Bigram {
    spec: ModelSpec,
    parameters: Vec<Parameter>,
    /// Of each parameter: value, gradient, moments.
    state: Vec<[Vec<f32>; 4]>,
    /// Calls of `step` and `accumulate` so far.
    pub(crate) steps: u64,
    /// After so many steps, losses are no numbers.
    pub(crate) poisoned_from: u64,
    /// Each batch takes so long.
    pub(crate) delay: std::time::Duration,
}

impl Bigram {
    pub(crate) const VOCAB: usize = 300;

    pub(crate) fn new() -> Self {
        let mut spec = Config::preset("small").unwrap().spec();
        spec.vocab = Self::VOCAB;
        let parameter =
            |name: &str, shape: &[usize], decays| Parameter { name: name.into(), shape: shape.to_vec(), decays };
        let parameters = vec![parameter("bias", &[Self::VOCAB], false), parameter("table", &[ROWS, Self::VOCAB], true)];
        let state = parameters.iter().map(|p| std::array::from_fn(|_| vec![0.0; p.shape.iter().product()])).collect();
        Self { spec, parameters, state, steps: 0, poisoned_from: u64::MAX, delay: Default::default() }
    }

    fn logits(&self, before: TokenId, table: bool) -> Vec<f32> {
        let row = before as usize % ROWS * Self::VOCAB;
        let share = if table { 1.0 } else { 0.0 };
        (0..Self::VOCAB).map(|i| self.state[0][0][i] + share * self.state[1][0][row + i]).collect()
    }

    /// Sum of the losses of a sequence's labels, each weighted; gradients are added where wanted.
    fn sequence(&mut self, sequence: &Sequence, weight: f32, seed: Option<u64>) -> f64 {
        let mut sum = 0.0;
        for t in 1..sequence.tokens.len() {
            if !sequence.mask[t] {
                continue;
            }
            let (before, next) = (sequence.tokens[t - 1], sequence.tokens[t] as usize);
            let table = seed.is_none_or(|seed| !mix(seed ^ mix(t as u64)).is_multiple_of(8));
            let logits = self.logits(before, table);
            let most = logits.iter().copied().fold(f32::MIN, f32::max);
            let total: f32 = logits.iter().map(|x| (x - most).exp()).sum();
            sum += f64::from(weight * (total.ln() + most - logits[next]));
            if seed.is_some() {
                let row = before as usize % ROWS * Self::VOCAB;
                for (i, x) in logits.iter().enumerate() {
                    let p = (x - most).exp() / total - if i == next { 1.0 } else { 0.0 };
                    self.state[0][1][i] += weight * p;
                    if table {
                        self.state[1][1][row + i] += weight * p;
                    }
                }
            }
        }
        sum
    }

    fn losses(&mut self, sequences: &[Sequence], objective: Objective, seed: Option<u64>) -> Losses {
        let mut losses = Losses { experts: vec![vec![0; 4]], ..Losses::default() };
        for (i, sequence) in sequences.iter().enumerate() {
            losses.tokens += sequence.tokens.len() as u64;
            sequence.tokens.iter().for_each(|token| losses.experts[0][*token as usize % 4] += 1);
            // Each sequence by itself, so that it does not matter how batches are cut.
            let seed = seed.map(|seed| sequence.tokens.iter().fold(seed, |seed, token| mix(seed ^ u64::from(*token))));
            match objective {
                Objective::Tokens => {
                    losses.loss += self.sequence(sequence, 1.0, seed);
                    losses.units += sequence.labels() as f64;
                }
                Objective::Preference { beta } => {
                    let weight = (sequence.labels() as f32).recip() * if i % 2 == 0 { 1.0 } else { -beta };
                    let loss = self.sequence(sequence, weight, seed);
                    losses.loss += loss;
                    losses.units += 0.5;
                    let chosen = if i % 2 == 0 { -loss } else { 0.0 };
                    losses.preference.chosen += chosen;
                    losses.preference.nll -= chosen;
                }
            }
        }
        if objective == Objective::Tokens {
            losses.preference = Preference::default();
        }
        losses
    }
}

impl Learner for Bigram {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn name(&self) -> String {
        "bigram".into()
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn accumulate(
        &mut self,
        sequences: &[Sequence],
        objective: Objective,
        _: RouterLosses,
        seed: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Losses>> {
        std::thread::sleep(self.delay);
        ensure!(sequences.iter().all(|s| s.tokens.iter().all(|t| (*t as usize) < Self::VOCAB)), "out of range");
        if cancelled() {
            return Ok(None);
        }
        let mut losses = self.losses(sequences, objective, Some(seed));
        if self.steps >= self.poisoned_from {
            losses.loss = f64::NAN;
        }
        Ok(Some(losses))
    }

    fn evaluate(&mut self, sequences: &[Sequence], objective: Objective) -> Result<Losses> {
        Ok(self.losses(sequences, objective, None))
    }

    fn step(&mut self, update: &Update) -> Result<f64> {
        let scale = 1.0 / update.units as f32;
        let norm = self.state.iter().flat_map(|[_, gradient, ..]| gradient).map(|g| f64::from(g * scale).powi(2));
        let norm = norm.sum::<f64>().sqrt();
        let clip = scale * (update.max_grad_norm / norm as f32).min(1.0);
        let (b1, b2) = update.betas;
        for (parameter, [value, gradient, m1, m2]) in self.parameters.iter().zip(&mut self.state) {
            for i in 0..value.len() {
                let g = gradient[i] * clip;
                m1[i] = b1 * m1[i] + (1.0 - b1) * g;
                m2[i] = b2 * m2[i] + (1.0 - b2) * g * g;
                let first = m1[i] / (1.0 - b1.powi(update.step as i32));
                let second = m2[i] / (1.0 - b2.powi(update.step as i32));
                let decay = if parameter.decays { update.weight_decay * value[i] } else { 0.0 };
                value[i] -= update.learning_rate * (first / (second.sqrt() + update.epsilon) + decay);
            }
        }
        self.steps = update.step;
        self.discard();
        Ok(norm)
    }

    fn discard(&mut self) {
        self.state.iter_mut().for_each(|[_, gradient, ..]| gradient.fill(0.0));
    }

    fn read(&self, index: usize, part: Part) -> Result<Vec<f32>> {
        Ok(self.state[index][place(part)].clone())
    }

    fn write(&mut self, index: usize, part: Part, values: &[f32]) -> Result<()> {
        self.state[index][place(part)].copy_from_slice(values);
        Ok(())
    }

    fn model(&self) -> Result<Box<dyn Backend>> {
        let logits = (0..Self::VOCAB as TokenId).map(|token| self.logits(token, true)).collect();
        Ok(Box::new(Frozen { spec: self.spec.clone(), logits, tokens: Vec::new() }))
    }

    fn memory(&self) -> LearnerMemory {
        LearnerMemory::default()
    }
}

fn place(part: Part) -> usize {
    match part {
        Part::Value => 0,
        Part::Moment1 => 2,
        Part::Moment2 => 3,
    }
}

/// It, as a model to be asked.
struct Frozen {
    spec: ModelSpec,
    logits: Vec<Vec<f32>>,
    tokens: Vec<TokenId>,
}

impl Backend for Frozen {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn name(&self) -> String {
        "bigram".into()
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    fn chunk(&self) -> usize {
        3
    }

    fn forward(&mut self, tokens: &[TokenId], _: Logits, _: Option<&mut Vec<TokenRouting>>) -> Result<&[f32]> {
        ensure!((1..=3).contains(&tokens.len()), "a chunk is at most 3");
        self.tokens.extend(tokens);
        Ok(&self.logits[tokens[tokens.len() - 1] as usize])
    }

    fn rewind(&mut self, _: usize) -> Result<usize> {
        unreachable!("training does not go back")
    }

    fn snapshot(&mut self) -> Snapshot {
        unreachable!("training keeps no states")
    }

    fn restore(&mut self, _: &Snapshot) -> Result<()> {
        unreachable!("training keeps no states")
    }

    fn alter(&mut self, _: &Alterations) -> Result<()> {
        Ok(())
    }

    fn memory(&self) -> MemoryReport {
        MemoryReport::default()
    }
}
