//! Whole sequences through the model, in f32, without a state.

use anyhow::{Context, Result};
use mlx_rs::{Array, Dtype};

use super::super::attention;
use super::super::kv::Visible;
use super::super::moe;
use super::super::ops::{self, number};
use super::super::router::Choices;
use super::super::scan::Scan;
use super::super::ssm::{self, At};
use super::super::state::SsmState;
use super::super::weights::{MixerWeights, SsmWeights, Weights};
use crate::backend::cpu::learn::Rows;
use crate::backend::learn::RouterLosses;
use crate::model::spec::{Mixer, ModelSpec, MoeSpec, SsmSpec};
use crate::protocol::Alteration;

/// What came of a sequence.
pub(super) struct Read {
    /// Log-probabilities of the labels: (labels)
    pub(super) log_probabilities: Array,
    /// The router's losses, weighted.
    pub(super) router: Array,
    /// For each MoE layer how often each expert was chosen: (X)
    pub(super) experts: Vec<Array>,
}

/// Takes a sequence through the model. `units` is what its router's losses are multiplied by.
pub(super) fn read(
    weights: &Weights,
    spec: &ModelSpec,
    rows: &Rows<'_>,
    router: RouterLosses,
    units: f32,
) -> Result<Read> {
    let count = rows.len();
    let at = At { position: 0, count, needed: 0, halves: false };
    let mut x = weights.input.apply(&weights.embed.rows(rows.tokens)?, false)?;
    let mut losses = number(0.0);
    let mut experts = Vec::new();
    for (i, (layer, weights)) in spec.layers.iter().zip(&weights.layers).enumerate() {
        let what = || format!("layer {i}");
        let normed = ops::rms_norm(&x, &weights.norm, spec.norm_eps)?;
        let mixed = match (&layer.mixer, &weights.mixer) {
            (Mixer::Ssm(spec), MixerWeights::Ssm(weights)) => recur(weights, spec, rows, &normed).with_context(what)?,
            (Mixer::Attention(spec), MixerWeights::Attention(weights)) => {
                let [q, keys, values] = attention::heads(weights, spec, at, &normed).with_context(what)?;
                let seen = Visible { keys, values, first: 0 };
                let out = attention::attend(spec, &q, &seen, Some(&mask(rows, spec.window)))?;
                weights.o.apply(&attention::joined(spec, count, &out)?, false)?
            }
            _ => unreachable!("weights are made from the same spec"),
        };
        x = ops::add(&x, &mixed)?;
        let (Some(moe), Some(weights)) = (&layer.feed_forward, &weights.moe) else { continue };
        let normed = ops::rms_norm(&x, &weights.norm, spec.norm_eps)?;
        let (out, choices) = moe::forward(weights, moe, &Alteration::default(), at, &normed).with_context(what)?;
        x = ops::add(&x, &out)?;
        let counts = counts(moe, &choices)?;
        if let Some(loss) = router_loss(moe, &choices, &counts, count, router)? {
            losses = ops::add(&losses, &ops::multiply(&loss, &number(units))?)?;
        }
        experts.push(counts);
    }
    Ok(Read { log_probabilities: log_probabilities(weights, rows, &x)?, router: losses, experts })
}

/// The state space over each example by itself.
fn recur(weights: &SsmWeights, spec: &SsmSpec, rows: &Rows<'_>, normed: &Array) -> Result<Array> {
    // MLX takes slopes through a function as it is, not through what it compiled of it.
    let scan = Scan::new(false);
    let mut parts = Vec::with_capacity(rows.examples.len());
    for example in &rows.examples {
        let at = At { position: 0, count: example.len(), needed: 0, halves: false };
        let u = ops::narrow(normed, 0, example.clone())?;
        parts.push(ssm::forward(weights, spec, &SsmState::new(spec)?, &scan, at, &u)?.0);
    }
    ops::concatenate(&parts.iter().collect::<Vec<_>>(), 0)
}

/// Which rows each row sees: (T, T)
fn mask(rows: &Rows<'_>, window: usize) -> Array {
    let count = rows.len();
    let seen = |i: usize, j: usize| j <= i && i - j < window && j >= rows.sees_from[i];
    let all: Vec<bool> = (0..count).flat_map(|i| (0..count).map(move |j| seen(i, j))).collect();
    Array::from_slice(&all, &ops::dims(&[count, count]))
}

/// How often each expert was chosen: (X)
fn counts(spec: &MoeSpec, choices: &Choices) -> Result<Array> {
    let all: Vec<u32> = (0..spec.experts as u32).collect();
    let all = Array::from_slice(&all, &ops::dims(&[1, 1, spec.experts]));
    let chosen = ops::cast(&ops::equal(&ops::expand(&choices.experts, &[2])?, &all)?, Dtype::Float32)?;
    ops::sum_of(&ops::sum_of(&chosen, 0)?, 0)
}

/// `balance X sum_e f_e p_e + z mean(logsumexp(logits)^2)`
fn router_loss(
    spec: &MoeSpec,
    choices: &Choices,
    counts: &Array,
    count: usize,
    weights: RouterLosses,
) -> Result<Option<Array>> {
    if weights == RouterLosses::default() {
        return Ok(None);
    }
    let share = ops::multiply(counts, &number(weights.balance * spec.experts as f32 / count as f32))?;
    let balance = ops::sum(&ops::multiply(&share, &ops::mean_of(&choices.gates, 0)?)?)?;
    let z = ops::mean(&ops::square(&ops::logsumexp(&choices.logits)?)?)?;
    Ok(Some(ops::add(&balance, &ops::multiply(&z, &number(weights.z))?)?))
}

/// Of the labels: (labels)
fn log_probabilities(weights: &Weights, rows: &Rows<'_>, x: &Array) -> Result<Array> {
    let (at, labels): (Vec<u32>, Vec<u32>) = rows.labels.iter().map(|(row, label)| (*row as u32, *label)).unzip();
    let n = at.len();
    let x = ops::take(x, &Array::from_slice(&at, &ops::dims(&[n])))?;
    let logits = weights.head.apply(&weights.output.apply(&x, false)?, false)?;
    let of_label = ops::take_along(&logits, &Array::from_slice(&labels, &ops::dims(&[n, 1])))?;
    ops::subtract(&ops::reshape(&of_label, &[n])?, &ops::logsumexp(&logits)?)
}
