//! Axon-SSM.
//!
//! ```text
//! [xb | z] = u in_proj^T          xc = silu(conv(xb))        [B | C | dt] = xc x_proj^T
//! h = exp(dt A) h + (dt xc) B     y = h C + D xc             out = (y silu(z)) out_proj^T
//! ```

use anyhow::Result;
use mlx_rs::Array;

use super::ops::{self, number};
use super::scan::{Inputs, Scan, States};
use super::state::SsmState;
use super::weights::SsmWeights;
use crate::model::spec::SsmSpec;

/// Where in time a layer works, and how.
#[derive(Clone, Copy)]
pub(crate) struct At {
    /// Tokens read before these.
    pub(crate) position: usize,
    /// T: tokens now.
    pub(crate) count: usize,
    /// The oldest position that may be returned to.
    pub(crate) needed: usize,
    /// Products take halves.
    pub(crate) halves: bool,
}

/// What a pass leaves behind: the state after any of its tokens.
pub(crate) struct Trail {
    /// Inputs of the convolution: those remembered, and those of the pass (K-1 + T, E).
    inputs: Array,
    states: States,
    remembered: usize,
}

impl Trail {
    /// The state after the first `count` tokens of the pass.
    pub(crate) fn state_after(&self, count: usize) -> Result<SsmState> {
        let history = ops::narrow(&self.inputs, 0, count..count + self.remembered)?;
        Ok(SsmState { h: self.states.after(count)?, history: ops::contiguous(&history)? })
    }
}

/// The mixer's output (T, D) of its normed input (T, D), from a state.
pub(crate) fn forward(
    weights: &SsmWeights,
    spec: &SsmSpec,
    state: &SsmState,
    scan: &Scan,
    at: At,
    u: &Array,
) -> Result<(Array, Trail)> {
    let (e, n) = (spec.inner, spec.state);
    let xz = weights.in_proj.apply(u, at.halves)?;
    let (xb, z) = (ops::narrow(&xz, 1, 0..e)?, ops::narrow(&xz, 1, e..2 * e)?);
    let remembered = spec.conv - 1;
    let inputs = if remembered == 0 { xb } else { ops::concatenate(&[&state.history, &xb], 0)? };
    let xc = convolved(weights, at.count, &inputs)?;
    // Small, and all of the recurrence hangs on it: in f32 even where other products take halves.
    let dbc = weights.x_proj.apply(&xc, false)?;
    let inputs_of_scan = Inputs {
        dt: time_step(weights, &ops::narrow(&dbc, 1, 2 * n..2 * n + 1)?)?,
        b: ops::narrow(&dbc, 1, 0..n)?,
        c: ops::narrow(&dbc, 1, n..2 * n)?,
        x: xc,
    };
    let (y, states) = scan.forward(&weights.decay, &state.h, &inputs_of_scan, at.count)?;
    let y = ops::add(&y, &ops::multiply(&weights.skip, &inputs_of_scan.x)?)?;
    let out = weights.out_proj.apply(&ops::multiply(&y, &ops::silu(&z)?)?, at.halves)?;
    Ok((out, Trail { inputs, states, remembered }))
}

/// `silu(conv(inputs))`: (T, E) of (K-1 + T, E).
fn convolved(weights: &SsmWeights, count: usize, inputs: &Array) -> Result<Array> {
    let mut sum = weights.conv_bias.clone();
    for (k, tap) in weights.taps.iter().enumerate() {
        sum = ops::add(&sum, &ops::multiply(&ops::narrow(inputs, 0, k..k + count)?, tap)?)?;
    }
    ops::silu(&sum)
}

/// `clip(softplus(dt w + b), 1e-4, 100)`: (T, E) of (T, 1).
fn time_step(weights: &SsmWeights, dt: &Array) -> Result<Array> {
    let x = ops::add(&ops::multiply(dt, &weights.dt_weight)?, &weights.dt_bias)?;
    let positive = ops::logaddexp(&x, &number(0.0))?;
    ops::minimum(&ops::maximum(&positive, &number(1e-4))?, &number(100.0))
}
