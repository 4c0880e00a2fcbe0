//! The mixture of experts.
//!
//! ```text
//! expert(u) = down(silu(gate u) * up u)
//! out = sum_k g_k expert_k(u) + sigmoid(u shared_expert_gate^T) shared_expert(u)
//! ```

use anyhow::Result;
use mlx_rs::{Array, Dtype};

use super::ops;
use super::router::{self, Choices};
use super::ssm::At;
use super::weights::{ExpertWeights, MoeWeights};
use crate::model::spec::MoeSpec;
use crate::protocol::Alteration;

/// From so many choices on they are sorted by expert, so that each expert's weights are read once.
const SORTED_FROM: usize = 32;

/// The layer's output (T, D) of its normed input (T, D), and which experts were taken.
pub(crate) fn forward(
    weights: &MoeWeights,
    spec: &MoeSpec,
    alteration: &Alteration,
    at: At,
    u: &Array,
) -> Result<(Array, Choices)> {
    // The router decides what everything after it is: always in f32.
    let mut choices = router::choose(&weights.gate.apply(u, false)?, spec, alteration)?;
    let mut out = routed(&weights.experts, &choices, at, u)?;
    if let Some((gate, expert)) = weights.shared.as_ref().filter(|_| !alteration.no_shared) {
        let share = ops::sigmoid(&gate.apply(u, false)?)?;
        let hidden = swiglu(&expert.gate.apply(u, at.halves)?, &expert.up.apply(u, at.halves)?)?;
        out = ops::add(&out, &ops::multiply(&share, &expert.down.apply(&hidden, at.halves)?)?)?;
        choices.shared = Some(share);
    }
    Ok((out, choices))
}

fn swiglu(gate: &Array, up: &Array) -> Result<Array> {
    ops::multiply(&ops::silu(gate)?, up)
}

/// The chosen experts' outputs, weighed and added: (T, D).
fn routed(experts: &ExpertWeights, choices: &Choices, at: At, u: &Array) -> Result<Array> {
    let (t, k) = (at.count, choices.k);
    let outputs = if t * k < SORTED_FROM {
        let x = ops::expand(u, &[1, 2])?;
        ops::reshape(&through(experts, &x, &choices.experts, false, at.halves)?, &[t, k, u.dim(1) as usize])?
    } else {
        let flat = ops::reshape(&choices.experts, &[t * k])?;
        let order = ops::argsort(&flat)?;
        let token = mlx_rs::ops::floor_divide(&order, Array::from_int(ops::size(k)));
        let token = ops::Said::said(token, "token of a choice", &[&order])?;
        let x = ops::expand(&ops::take(u, &ops::cast(&token, Dtype::Uint32)?)?, &[1])?;
        let sorted = through(experts, &x, &ops::take(&flat, &order)?, true, at.halves)?;
        let back = ops::argsort(&order)?;
        ops::reshape(&ops::take(&sorted, &back)?, &[t, k, u.dim(1) as usize])?
    };
    let weighed = ops::matmul(&ops::expand(&choices.weights, &[1])?, &outputs)?;
    ops::reshape(&weighed, &[t, u.dim(1) as usize])
}

/// Rows (.., 1, D) through an expert each.
fn through(experts: &ExpertWeights, x: &Array, index: &Array, sorted: bool, halves: bool) -> Result<Array> {
    let gate = experts.gate.apply_experts(x, index, sorted, halves)?;
    let up = experts.up.apply_experts(x, index, sorted, halves)?;
    experts.down.apply_experts(&swiglu(&gate, &up)?, index, sorted, halves)
}
