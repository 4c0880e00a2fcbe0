//! Which experts a token takes.
//!
//! ```text
//! g = softmax(u gate^T / temperature)     the k largest g choose, and weigh, the experts
//! ```

use anyhow::Result;
use mlx_rs::{Array, Dtype};

use super::ops::{self, Said, number};
use crate::model::spec::MoeSpec;
use crate::protocol::{Alteration, LayerRouting};

/// The choices of all tokens of a pass in one layer.
pub(crate) struct Choices {
    /// Probabilities: (T, X)
    pub(crate) gates: Array,
    /// Experts for each token, the likeliest first: (T, k)
    pub(crate) experts: Array,
    /// Their probabilities: (T, k)
    pub(crate) weights: Array,
    /// The shared expert's gate, where there is one: (T, 1)
    pub(crate) shared: Option<Array>,
    /// k in force.
    pub(crate) k: usize,
    /// What the probabilities were made of: (T, X)
    pub(crate) logits: Array,
}

/// Chooses for every token, by the router's logits (T, X).
pub(crate) fn choose(logits: &Array, spec: &MoeSpec, alteration: &Alteration) -> Result<Choices> {
    let k = alteration.top_k.unwrap_or(spec.top_k);
    if alteration.is_none() {
        let gates = ops::softmax(logits)?;
        let experts = largest(&gates, k)?;
        let weights = ops::take_along(&gates, &experts)?;
        return Ok(Choices { gates, experts, weights, shared: None, k, logits: logits.clone() });
    }
    let mark = |list: &[usize], value: f32| {
        let marks: Vec<f32> = (0..spec.experts).map(|e| if list.contains(&e) { value } else { 0.0 }).collect();
        ops::array(&marks, &[spec.experts])
    };
    let cooled = ops::divide(logits, &number(alteration.temperature))?;
    let gates = ops::softmax(&ops::add(&cooled, &mark(&alteration.mute, f32::NEG_INFINITY))?)?;
    // Probabilities lie between 0 and 1: the forced come before all others, the muted after.
    let order = ops::add(&gates, &mark(&alteration.force, 2.0))?;
    let order = ops::subtract(&order, &mark(&alteration.mute, 2.0))?;
    let chosen = largest(&order, k)?;
    let weights = ops::take_along(&gates, &chosen)?;
    let rank = ops::argsort(&ops::negative(&weights)?)?;
    let (experts, weights) = (ops::take_along(&chosen, &rank)?, ops::take_along(&weights, &rank)?);
    Ok(Choices { gates, experts, weights, shared: None, k, logits: logits.clone() })
}

/// Indices of the k largest of each row, the largest first; of equals the first.
fn largest(rows: &Array, k: usize) -> Result<Array> {
    // Which they are has no slope.
    let rows = mlx_rs::stop_gradient(rows).said("stop_gradient", &[rows])?;
    let order = ops::argsort(&ops::negative(&rows)?)?;
    ops::cast(&ops::narrow(&order, 1, 0..k)?, Dtype::Uint32)
}

impl Choices {
    /// Everything that [`Choices::routing`] reads.
    pub(crate) fn arrays(&self) -> impl Iterator<Item = &Array> {
        [&self.gates, &self.experts, &self.weights].into_iter().chain(&self.shared)
    }

    /// What is told of each token of the pass.
    pub(crate) fn routing(&self, layer: usize) -> Result<Vec<LayerRouting>> {
        let (gates, experts) = (ops::floats(&self.gates)?, ops::indices(&self.experts)?);
        let weights = ops::floats(&self.weights)?;
        let shared = self.shared.as_ref().map(ops::floats).transpose()?;
        let tokens = experts.len() / self.k;
        let rows = gates.chunks_exact(gates.len() / tokens);
        let chosen = experts.chunks_exact(self.k).zip(weights.chunks_exact(self.k));
        let routing = rows.zip(chosen).enumerate().map(|(token, (gates, (experts, weights)))| LayerRouting {
            layer,
            experts: experts.to_vec(),
            weights: weights.to_vec(),
            entropy: gates.iter().filter(|g| **g > 0.0).map(|g| -g * g.ln()).sum(),
            shared_gate: shared.as_ref().map(|all| all[token]),
        });
        Ok(routing.collect())
    }
}
