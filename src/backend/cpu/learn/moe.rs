//! The mixture of experts, grouped by expert: each goes once over all the rows that chose it.
//!
//! ```text
//! g = softmax(u gate^T)      out = sum_k g_k expert_k(u) + sigmoid(u shared_gate^T) shared(u)
//! balance = X sum_e f_e p_e           f the share of rows that chose e, p the mean of g
//! z = mean(logsumexp(u gate^T)^2)
//! ```
//!
//! The choice itself has no gradient; the weights of the chosen have.

use super::buffers::Buffer;
use super::expert::{self, Expert};
use super::linear::Linear;
use super::parameters::Numbers;
use super::weight::To;
use super::work::Pass;
use crate::backend::cpu::ops;
use crate::backend::cpu::router::Choices;
use crate::model::spec::MoeSpec;
use crate::protocol::Alteration;

/// The layer.
pub(super) struct Moe {
    pub(super) spec: MoeSpec,
    /// (X, D)
    pub(super) gate: Linear,
    pub(super) experts: Vec<Expert>,
    /// (1, D), and the expert.
    pub(super) shared: Option<(Linear, Expert)>,
}

/// What the backward pass needs.
pub(super) struct Saved {
    /// Gate probabilities: (T, X)
    gates: Buffer,
    /// Logarithm of the sum of the exponentials of the router's logits: (T)
    sums: Buffer,
    choices: Choices,
    /// Rows that chose each expert, as (row, place among its choices): those of one after those of another.
    groups: Vec<Vec<(usize, usize)>>,
    /// Where each choice's row lies among all groups': (T, k)
    places: Vec<usize>,
    /// Inputs and outputs of the experts, group after group: (T k, D)
    inputs: Buffer,
    outputs: Buffer,
    experts: Vec<Option<expert::Saved>>,
    shared: Option<SharedSaved>,
}

struct SharedSaved {
    /// (T)
    gate: Buffer,
    /// (T, D)
    output: Buffer,
    expert: expert::Saved,
}

/// What the router did with one sequence.
#[derive(Default)]
pub(super) struct Routed {
    /// How often each expert was chosen.
    pub(super) counts: Vec<u64>,
    /// Its losses, weighted.
    pub(super) loss: f64,
}

impl Moe {
    /// Reads `u` (T, D), adds the layer's output to `x` (T, D).
    pub(super) fn forward(&self, pass: &Pass<'_>, u: &[f32], x: &mut [f32]) -> (Saved, Routed) {
        let (d, experts, buffers) = (self.gate.weight.cols(), self.spec.experts, &pass.work.buffers);
        let t = u.len() / d;
        let mut gates = buffers.get(t * experts);
        self.gate.forward(pass, u, &mut gates);
        let mut sums = buffers.get(t);
        for (sum, logits) in sums.iter_mut().zip(gates.chunks_exact(experts)) {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            *sum = most + logits.iter().map(|l| (l - most).exp()).sum::<f32>().ln();
        }
        let mut choices = Choices::default();
        choices.choose(&mut gates, &self.spec, &Alteration::default());
        let k = choices.k;

        let mut groups = vec![Vec::new(); experts];
        for (i, e) in choices.experts.iter().enumerate() {
            groups[*e].push((i / k, i % k));
        }
        let mut places = vec![0; t * k];
        for (place, (row, slot)) in groups.iter().flatten().enumerate() {
            places[row * k + slot] = place;
        }
        let order: Vec<usize> = groups.iter().flatten().map(|(row, _)| *row).collect();
        let mut inputs = buffers.get(t * k * d);
        pass.by_rows(&mut inputs, d, |first, out| {
            for (out, row) in out.chunks_exact_mut(d).zip(&order[first..]) {
                out.copy_from_slice(&u[row * d..][..d]);
            }
        });
        let mut outputs = buffers.get(t * k * d);
        let mut saved = Vec::with_capacity(experts);
        let mut first = 0;
        for (expert, group) in self.experts.iter().zip(&groups) {
            let at = first * d..(first + group.len()) * d;
            first += group.len();
            let run = !group.is_empty();
            saved.push(run.then(|| expert.forward(pass, &inputs[at.clone()], &mut outputs[at])));
        }
        let shared = self.shared.as_ref().map(|(gate, expert)| {
            let mut open = buffers.get(t);
            gate.forward(pass, u, &mut open);
            open.iter_mut().for_each(|g| *g = ops::sigmoid(*g));
            let mut output = buffers.get(t * d);
            let expert = expert.forward(pass, u, &mut output);
            SharedSaved { gate: open, output, expert }
        });

        pass.by_rows(x, d, |first, x| {
            for (row, x) in (first..).zip(x.chunks_exact_mut(d)) {
                for i in row * k..(row + 1) * k {
                    ops::add_scaled(pass.work.level(), x, choices.weights[i], &outputs[places[i] * d..][..d]);
                }
                if let Some(shared) = &shared {
                    ops::add_scaled(pass.work.level(), x, shared.gate[row], &shared.output[row * d..][..d]);
                }
            }
        });
        let saved = Saved { gates, sums, choices, groups, places, inputs, outputs, experts: saved, shared };
        let routed = self.routed(pass, &saved);
        (saved, routed)
    }

    /// Counts, and the router's losses.
    fn routed(&self, pass: &Pass<'_>, saved: &Saved) -> Routed {
        let (t, experts) = (saved.sums.len() as f64, self.spec.experts);
        let counts: Vec<u64> = saved.groups.iter().map(|group| group.len() as u64).collect();
        let (balance, z) = pass.router;
        let mut loss = 0.0;
        if balance != 0.0 {
            for (e, count) in counts.iter().enumerate() {
                let mean = saved.gates.iter().skip(e).step_by(experts).map(|g| f64::from(*g)).sum::<f64>() / t;
                loss += f64::from(balance) * experts as f64 * (*count as f64 / t) * mean;
            }
        }
        if z != 0.0 {
            loss += f64::from(z) * saved.sums.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / t;
        }
        Routed { counts, loss }
    }

    /// From `d_out` (T, D) to `d_u` (T, D), which is written.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        (u, saved): (&[f32], &Saved),
        d_out: &[f32],
        d_u: &mut [f32],
    ) {
        let (d, buffers, level) = (self.gate.weight.cols(), &pass.work.buffers, pass.work.level());
        let (t, k) = (u.len() / d, saved.choices.k);
        let mut d_shared_gate = buffers.zeros(t);
        match self.shared.as_ref().zip(saved.shared.as_ref()) {
            None => d_u.fill(0.0),
            Some(((gate, expert), shared)) => {
                let mut d_output = buffers.get(t * d);
                pass.by_rows(&mut d_output, d, |first, out| {
                    for (row, out) in (first..).zip(out.chunks_exact_mut(d)) {
                        let from = &d_out[row * d..][..d];
                        out.iter_mut().zip(from).for_each(|(out, v)| *out = shared.gate[row] * v);
                    }
                });
                expert.backward(pass, gradients, (u, &shared.expert), &d_output, To::Set(&mut *d_u));
                pass.by_rows(&mut d_shared_gate, 1, |first, out| {
                    for (row, out) in (first..).zip(out) {
                        let g = shared.gate[row];
                        let along = ops::dot(level, &d_out[row * d..][..d], &shared.output[row * d..][..d]);
                        *out = along * g * (1.0 - g);
                    }
                });
                gate.backward(pass, gradients, u, None, &d_shared_gate, To::Add(&mut *d_u));
            }
        }

        // The experts, each over its own rows.
        let mut d_outputs = buffers.get(t * k * d);
        let order: Vec<(usize, usize)> = saved.groups.iter().flatten().copied().collect();
        pass.by_rows(&mut d_outputs, d, |first, out| {
            for (out, (row, slot)) in out.chunks_exact_mut(d).zip(&order[first..]) {
                let weight = saved.choices.weights[row * k + slot];
                let from = &d_out[row * d..][..d];
                out.iter_mut().zip(from).for_each(|(out, v)| *out = weight * v);
            }
        });
        let mut d_inputs = buffers.get(t * k * d);
        let mut first = 0;
        for ((expert, group), kept) in self.experts.iter().zip(&saved.groups).zip(&saved.experts) {
            let at = first * d..(first + group.len()) * d;
            first += group.len();
            if let Some(kept) = kept {
                let x = (&saved.inputs[at.clone()], kept);
                expert.backward(pass, gradients, x, &d_outputs[at.clone()], To::Set(&mut d_inputs[at]));
            }
        }
        pass.by_rows(d_u, d, |first, d_u| {
            for (row, d_u) in (first..).zip(d_u.chunks_exact_mut(d)) {
                for place in &saved.places[row * k..(row + 1) * k] {
                    ops::add(level, d_u, &d_inputs[place * d..][..d]);
                }
            }
        });

        let d_logits = self.router_back(pass, saved, d_out);
        self.gate.backward(pass, gradients, u, None, &d_logits, To::Add(d_u));
    }

    /// Gradient of the router's logits: (T, X).
    fn router_back(&self, pass: &Pass<'_>, saved: &Saved, d_out: &[f32]) -> Buffer {
        let (d, experts, k) = (self.gate.weight.cols(), self.spec.experts, saved.choices.k);
        let t = saved.sums.len();
        let (balance, z) = pass.router;
        // Every gate's part in the balance is the same for all rows.
        let share = |group: &Vec<_>| balance * experts as f32 * (group.len() as f32 / t as f32) / t as f32;
        let of_balance: Vec<f32> = saved.groups.iter().map(share).collect();
        let mut d_logits = pass.work.buffers.get(t * experts);
        pass.by_rows(&mut d_logits, experts, |first, out| {
            for (row, out) in (first..).zip(out.chunks_exact_mut(experts)) {
                out.copy_from_slice(&of_balance);
                for i in row * k..(row + 1) * k {
                    let output = &saved.outputs[saved.places[i] * d..][..d];
                    out[saved.choices.experts[i]] += ops::dot(pass.work.level(), &d_out[row * d..][..d], output);
                }
                let gates = &saved.gates[row * experts..][..experts];
                let along: f32 = gates.iter().zip(&*out).map(|(g, d)| g * d).sum();
                let of_z = 2.0 * z * saved.sums[row] / t as f32;
                out.iter_mut().zip(gates).for_each(|(d, g)| *d = g * (*d - along + of_z));
            }
        });
        d_logits
    }
}
