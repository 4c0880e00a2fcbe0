//! The mixture of experts on the CPU.
//!
//! ```text
//! expert(u) = down(silu(gate u) * up u)
//! out = sum_k g_k expert_k(u) + sigmoid(u shared_expert_gate^T) shared_expert(u)
//! ```

use super::linear::{Compute, Input, Job, linear};
use super::ops;
use super::router::Choices;
use super::scratch::Scratch;
use super::split::{Pieces, for_each};
use super::weights::{ExpertWeights, MoeWeights};
use crate::model::spec::MoeSpec;
use crate::protocol::{Alteration, TokenRouting};

/// Reads `s.normed` (T, D), adds the layer's output to `s.x`.
#[allow(clippy::too_many_arguments, reason = "the operator's inputs, each used once")]
pub(crate) fn forward(
    cx: &Compute,
    weights: &MoeWeights,
    spec: &MoeSpec,
    (layer, t): (usize, usize),
    alteration: &Alteration,
    choices: &mut Choices,
    tap: Option<&mut [TokenRouting]>,
    s: &mut Scratch,
) {
    let d = s.hidden();
    let shared = weights.shared.as_ref().filter(|_| !alteration.no_shared);

    // The router decides what everything after it is: always in f32.
    let input = Input { x: &s.normed[..t * d], q: None };
    let gates = &mut s.gates[..t * spec.experts];
    linear(cx, t, &mut [Job { w: &weights.gate, x: input, out: &mut *gates }]);
    choices.choose(gates, spec, alteration);
    if let Some((gate, _)) = shared {
        linear(cx, t, &mut [Job { w: gate, x: input, out: &mut s.shared_gate[..t] }]);
        s.shared_gate[..t].iter_mut().for_each(|g| *g = ops::sigmoid(*g));
    }
    if let Some(tap) = tap {
        for (token, routing) in tap.iter_mut().enumerate() {
            let shared_gate = shared.map(|_| s.shared_gate[token]);
            let gates = &s.gates[token * spec.experts..][..spec.experts];
            routing.push(choices.routing(layer, token, gates, shared_gate));
        }
    }

    let slots = choices.k + usize::from(shared.is_some());
    // Only routing that was altered can need more than there is.
    if s.wide.len() < t * slots * d {
        s.wide.resize(t * slots * d, 0.0);
    }
    if t == 1 {
        one_token(cx, weights, shared.map(|(_, e)| e), spec.intermediate, choices, s);
    } else {
        many_tokens(cx, weights, shared.map(|(_, e)| e), spec.intermediate, choices, t, s);
    }

    // Always added in the same order, whatever pieces the tokens came in.
    let (out, shared_gate) = (&s.wide, &s.shared_gate);
    let rows_per_task = if t == 1 { t } else { 8 };
    for_each(&cx.pool, Pieces::new(&mut s.x[..t * d], rows_per_task * d), |task, x| {
        for (row, x) in x.chunks_exact_mut(d).enumerate() {
            let token = task * rows_per_task + row;
            for slot in 0..slots {
                let weight =
                    if slot < choices.k { choices.weights[token * choices.k + slot] } else { shared_gate[token] };
                ops::add_scaled(cx.level, x, weight, &out[(token * slots + slot) * d..][..d]);
            }
        }
    });
}

/// One token: all its experts side by side, so that the threads meet twice and not twice an expert.
fn one_token(
    cx: &Compute,
    weights: &MoeWeights,
    shared: Option<&ExpertWeights>,
    width: usize,
    choices: &Choices,
    s: &mut Scratch,
) {
    let d = s.hidden();
    let expert = |slot: usize| match choices.experts.get(slot) {
        Some(e) => &weights.experts[*e],
        None => shared.expect("the slot after the last choice is the shared expert's"),
    };
    let slots = choices.k + usize::from(shared.is_some());
    let normed = &s.normed[..d];
    let x = Input { x: normed, q: s.normed_quantised.of(cx, normed, 1, d) };
    let gates = s.inner[..slots * width].chunks_exact_mut(width);
    let ups = s.gated[..slots * width].chunks_exact_mut(width);
    let mut jobs: smallvec::SmallVec<[Job<'_>; 32]> = smallvec::SmallVec::new();
    for (slot, (gate, up)) in gates.zip(ups).enumerate() {
        jobs.push(Job { w: &expert(slot).gate, x, out: gate });
        jobs.push(Job { w: &expert(slot).up, x, out: up });
    }
    linear(cx, 1, &mut jobs);
    drop(jobs);

    let mut jobs: smallvec::SmallVec<[Job<'_>; 32]> = smallvec::SmallVec::new();
    let gates = s.inner[..slots * width].chunks_exact_mut(width);
    let ups = s.gated[..slots * width].chunks_exact(width);
    let outs = s.wide[..slots * d].chunks_exact_mut(d);
    for (slot, (((gate, up), out), quantised)) in gates.zip(ups).zip(outs).zip(&mut s.slots).enumerate() {
        ops::silu_mul(cx.level, gate, up);
        let gate = &*gate;
        jobs.push(Job { w: &expert(slot).down, x: Input { x: gate, q: quantised.of(cx, gate, 1, width) }, out });
    }
    linear(cx, 1, &mut jobs);
}

/// Many tokens: one expert after the other, over all the tokens that chose it.
fn many_tokens(
    cx: &Compute,
    weights: &MoeWeights,
    shared: Option<&ExpertWeights>,
    width: usize,
    choices: &Choices,
    t: usize,
    s: &mut Scratch,
) {
    let d = s.hidden();
    let slots = choices.k + usize::from(shared.is_some());
    let all = weights.experts.iter().enumerate().map(|(e, w)| (Some(e), w));
    for (index, expert) in all.chain(shared.map(|w| (None, w))) {
        // (token, slot) of those that take this expert
        let taken: Vec<(usize, usize)> = match index {
            Some(e) => {
                let at = |(i, _): (usize, &usize)| (i / choices.k, i % choices.k);
                choices.experts.iter().enumerate().filter(|(_, c)| **c == e).map(at).collect()
            }
            None => (0..t).map(|token| (token, choices.k)).collect(),
        };
        let n = taken.len();
        if n == 0 {
            continue;
        }
        for ((token, _), row) in taken.iter().zip(s.mixed.chunks_exact_mut(d)) {
            row.copy_from_slice(&s.normed[token * d..][..d]);
        }
        let gathered = &s.mixed[..n * d];
        let x = Input { x: gathered, q: s.quantised.of(cx, gathered, n, d) };
        let (gate, up) = (&mut s.inner[..n * width], &mut s.gated[..n * width]);
        linear(cx, n, &mut [Job { w: &expert.gate, x, out: &mut *gate }, Job { w: &expert.up, x, out: &mut *up }]);
        let up = &*up;
        for_each(&cx.pool, Pieces::new(gate, 8 * width), |i, gate| {
            ops::silu_mul(cx.level, gate, &up[i * 8 * width..][..gate.len()]);
        });
        let gate = &s.inner[..n * width];
        let x = Input { x: gate, q: s.quantised.of(cx, gate, n, width) };
        let out = &mut s.mixed[..n * d];
        linear(cx, n, &mut [Job { w: &expert.down, x, out: &mut *out }]);
        for ((token, slot), row) in taken.iter().zip(out.chunks_exact(d)) {
            s.wide[(token * slots + slot) * d..][..d].copy_from_slice(row);
        }
    }
}
