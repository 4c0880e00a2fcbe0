//! Axon-SSM on the CPU.
//!
//! ```text
//! [xb | z] = u in_proj^T          xc = silu(conv(xb))        [B | C | dt] = xc x_proj^T
//! h = exp(dt A) h + (dt xc) B     y = h C + D xc             out = (y silu(z)) out_proj^T
//! ```

use super::linear::{Compute, Input, Job, linear};
use super::ops::{self, Conv, Level, Scan};
use super::pool::Pool;
use super::rewind::Rewind;
use super::scratch::Scratch;
use super::split::{Columns, Pieces, for_each};
use super::state::{CHANNELS, SsmState};
use super::weights::SsmWeights;
use crate::model::spec::SsmSpec;

/// Where in the model and in time a layer works.
#[derive(Clone, Copy)]
pub(crate) struct At {
    /// Index of the layer.
    pub(crate) layer: usize,
    /// Tokens read before these.
    pub(crate) position: usize,
    /// T: tokens now.
    pub(crate) count: usize,
}

/// Reads `scratch.normed` (T, D), leaves the mixer's output in `scratch.mixed` (T, D).
pub(crate) fn forward(
    cx: &Compute,
    weights: &SsmWeights,
    spec: &SsmSpec,
    state: &mut SsmState,
    rewind: &mut Rewind,
    at: At,
    s: &mut Scratch,
) {
    let (t, e, width) = (at.count, spec.inner, 2 * spec.state + 1);
    let d = s.hidden();
    let normed = &s.normed[..t * d];
    let x = Input { x: normed, q: s.normed_quantised.of(cx, normed, t, d) };
    linear(cx, t, &mut [Job { w: &weights.in_proj, x, out: &mut s.wide[..t * 2 * e] }]);
    let xz = &s.wide[..t * 2 * e];
    convolve(&cx.pool, cx.level, weights, spec, &state.history, xz, 2 * e, t, &mut s.inner);
    // Small, and all of the recurrence hangs on it: in f32 even on the fast path.
    let xc = &s.inner[..t * e];
    let dbc = &mut s.dbc[..t * width];
    linear(cx, t, &mut [Job { w: &weights.x_proj, x: Input { x: xc, q: None }, out: dbc }]);
    rewind.log(at.layer, at.position, xz, 2 * e, &s.dbc[..t * width]);

    // The recurrence, interrupted where the state is to be kept.
    let ends: smallvec::SmallVec<[usize; 16]> = rewind.stops().map(|p| p - at.position).collect();
    let mut from = 0;
    for to in ends.iter().copied().chain([t]) {
        let split =
            (Pieces::new(&mut state.h, CHANNELS * spec.state), Columns::new(&mut s.gated[..t * e], e, CHANNELS));
        for_each(&cx.pool, split, |i, (h, mut out)| {
            let mut args = Scan {
                first: i * CHANNELS,
                inner: e,
                states: spec.state,
                decay: &weights.decay[i * CHANNELS * spec.state..][..h.len()],
                dt_weight: &weights.dt_weight,
                dt_bias: &weights.dt_bias,
                skip: &weights.skip,
                xc: &s.inner,
                dbc: &s.dbc,
                xz,
                tokens: from..to,
                state: h,
            };
            ops::scan(cx.level, &mut args, Some(&mut out));
        });
        state.push_history(&xz[from * 2 * e..], 2 * e, to - from, spec);
        if ends.contains(&to) {
            rewind.keep(at.layer, at.position + to, state, spec, &cx.pool);
        }
        from = to;
    }

    let gated = &s.gated[..t * e];
    let x = Input { x: gated, q: s.quantised.of(cx, gated, t, e) };
    linear(cx, t, &mut [Job { w: &weights.out_proj, x, out: &mut s.mixed[..t * d] }]);
}

/// The convolution of `count` tokens into `out` (T, E).
#[allow(clippy::too_many_arguments)]
pub(crate) fn convolve(
    pool: &Pool,
    level: Level,
    weights: &SsmWeights,
    spec: &SsmSpec,
    history: &[f32],
    x: &[f32],
    stride: usize,
    count: usize,
    out: &mut [f32],
) {
    // Wide blocks: it is little work for each channel.
    let block = CHANNELS * if count == 1 { 8 } else { 1 };
    for_each(pool, Columns::new(&mut out[..count * spec.inner], spec.inner, block), |i, mut out| {
        let args = Conv {
            first: i * block,
            inner: spec.inner,
            weight: &weights.conv_weight,
            bias: &weights.conv_bias,
            history,
            x,
            stride,
            count,
        };
        ops::conv(level, &args, &mut out);
    });
}
