//! The recurrence of the state space and the short convolution before it, for a block of channels.
//!
//! Vectors run over channels, so that no sum over lanes is needed whatever the number of states.

use super::vector::{Vector, per_level};
use crate::backend::cpu::split::ColumnBlock;

/// A block of channels through some tokens of Axon-SSM's recurrence.
pub(crate) struct Scan<'a> {
    /// First channel of the block.
    pub(crate) first: usize,
    /// E: channels in all.
    pub(crate) inner: usize,
    /// N
    pub(crate) states: usize,
    /// `-exp(A_log) * log2(e)` of the block: (N, width)
    pub(crate) decay: &'a [f32],
    /// (E)
    pub(crate) dt_weight: &'a [f32],
    /// (E)
    pub(crate) dt_bias: &'a [f32],
    /// D: (E)
    pub(crate) skip: &'a [f32],
    /// Convolved inputs: (T, E)
    pub(crate) xc: &'a [f32],
    /// `[B | C | dt]`: (T, 2N + 1)
    pub(crate) dbc: &'a [f32],
    /// `[xb | z]`: (T, 2E); only z is read, and only if there is an output.
    pub(crate) xz: &'a [f32],
    /// The tokens to go through.
    pub(crate) tokens: std::ops::Range<usize>,
    /// h: (N, width), moved on.
    pub(crate) state: &'a mut [f32],
}

/// The time step's bounds, as the model defines them.
pub(super) const DT_MIN: f32 = 1e-4;
pub(super) const DT_MAX: f32 = 100.0;

per_level! {
    /// For each token:
    ///
    /// ```text
    /// dt = clip(softplus(dt * weight + bias), 1e-4, 100)
    /// h  = exp(dt A) h + (dt x) B
    /// out = (h C + D x) silu(z)
    /// ```
    pub(crate) fn scan(args: &mut Scan<'_>, out: Option<&mut ColumnBlock<'_>>) = scan_body;
}

#[inline(always)]
fn scan_body<V: Vector>(args: &mut Scan<'_>, mut out: Option<&mut ColumnBlock<'_>>) {
    let (states, width) = (args.states, args.state.len() / args.states);
    assert_eq!(args.decay.len(), args.state.len());
    let whole = width - width % V::LANES;
    for first in (0..states).step_by(TILE) {
        for c in (0..whole).step_by(V::LANES) {
            scan_tile::<V>(args, out.as_deref_mut(), c, first);
        }
        for c in whole..width {
            scan_tile::<f32>(args, out.as_deref_mut(), c, first);
        }
    }
}

/// States that go through the tokens together, in registers or next to them.
const TILE: usize = 16;

/// One vector of channels, `c` from the block's first, and up to 16 of their states from the `first`,
/// through all the tokens.
#[inline(always)]
fn scan_tile<V: Vector>(args: &mut Scan<'_>, mut out: Option<&mut ColumnBlock<'_>>, c: usize, first: usize) {
    let (e, inner, states) = (args.first + c, args.inner, args.states);
    let width = args.state.len() / states;
    let count = TILE.min(states - first);
    let (dt_weight, dt_bias) = (V::load(&args.dt_weight[e..]), V::load(&args.dt_bias[e..]));
    let skip = V::load(&args.skip[e..]);
    let (mut h, mut decay) = ([V::splat(0.0); TILE], [V::splat(0.0); TILE]);
    for n in 0..count {
        h[n] = V::load(&args.state[(first + n) * width + c..]);
        decay[n] = V::load(&args.decay[(first + n) * width + c..]);
    }
    for t in args.tokens.clone() {
        let x = V::load(&args.xc[t * inner + e..]);
        let dbc = &args.dbc[t * (2 * states + 1)..][..2 * states + 1];
        let (b, c_row) = (&dbc[first..][..count], &dbc[states + first..][..count]);
        let dt = V::splat(dbc[2 * states]).fma(dt_weight, dt_bias).softplus();
        let dt = dt.max(V::splat(DT_MIN)).min(V::splat(DT_MAX));
        let dtx = dt.mul(x);
        // Two states at a time, each with its own sum, so that one need not wait for the other.
        let (mut even, mut odd) = (V::splat(0.0), V::splat(0.0));
        let (h_pairs, h_last) = h[..count].as_chunks_mut::<2>();
        let (decay_pairs, decay_last) = decay[..count].as_chunks::<2>();
        let inputs = b.as_chunks::<2>().0.iter().zip(c_row.as_chunks::<2>().0);
        for ((h, decay), (b, c)) in h_pairs.iter_mut().zip(decay_pairs).zip(inputs) {
            even = step(&mut h[0], decay[0], (b[0], c[0]), (dt, dtx), even);
            odd = step(&mut h[1], decay[1], (b[1], c[1]), (dt, dtx), odd);
        }
        if let ([h], [decay]) = (h_last, decay_last) {
            even = step(h, *decay, (b[count - 1], c_row[count - 1]), (dt, dtx), even);
        }
        if let Some(out) = out.as_deref_mut() {
            let row = &mut out.row(t)[c..];
            // What the tiles before this one found, or the skip connection to begin with.
            let before = if first == 0 { skip.mul(x) } else { V::load(row) };
            let y = before.add(even.add(odd));
            let z = || V::load(&args.xz[(2 * t + 1) * inner + e..]);
            if first + count == states { y.mul(z().silu()) } else { y }.store(row);
        }
    }
    for (n, h) in h[..count].iter().enumerate() {
        h.store(&mut args.state[(first + n) * width + c..]);
    }
}

/// One state of a vector of channels: `h = exp(dt A) h + (dt x) B_n`; returns `y + h C_n`.
#[inline(always)]
fn step<V: Vector>(h: &mut V, decay: V, (b, c): (f32, f32), (dt, dtx): (V, V), y: V) -> V {
    *h = dt.mul(decay).exp2_not_positive().fma(*h, dtx.mul(V::splat(b)));
    h.fma(V::splat(c), y)
}

/// A block of channels through the causal depthwise convolution.
pub(crate) struct Conv<'a> {
    /// First channel of the block.
    pub(crate) first: usize,
    /// E: channels in all.
    pub(crate) inner: usize,
    /// (K, E): tap K-1 is the current token.
    pub(crate) weight: &'a [f32],
    /// (E)
    pub(crate) bias: &'a [f32],
    /// The K-1 inputs before the first token: (K-1, E)
    pub(crate) history: &'a [f32],
    /// Inputs, in rows of `stride` values: the first E of each are read.
    pub(crate) x: &'a [f32],
    /// See `x`.
    pub(crate) stride: usize,
    /// Tokens.
    pub(crate) count: usize,
}

per_level! {
    /// `out = silu(bias + sum_k weight_k x_(t-K+1+k))`
    pub(crate) fn conv(args: &Conv<'_>, out: &mut ColumnBlock<'_>) = conv_body;
}

#[inline(always)]
fn conv_body<V: Vector>(args: &Conv<'_>, out: &mut ColumnBlock<'_>) {
    let taps = args.weight.len() / args.inner;
    for t in 0..args.count {
        let row = out.row(t);
        let width = row.len();
        let whole = width - width % V::LANES;
        for c in (0..whole).step_by(V::LANES) {
            conv_lanes::<V>(args, t, taps, c).store(&mut row[c..]);
        }
        for (c, out) in row.iter_mut().enumerate().skip(whole) {
            *out = conv_lanes::<f32>(args, t, taps, c);
        }
    }
}

#[inline(always)]
fn conv_lanes<V: Vector>(args: &Conv<'_>, t: usize, taps: usize, c: usize) -> V {
    let e = args.first + c;
    let mut sum = V::load(&args.bias[e..]);
    for k in 0..taps {
        // Row t - (K-1) + k of history and inputs together.
        let at = t + k;
        let x = match at.checked_sub(taps - 1) {
            Some(token) => &args.x[token * args.stride + e..],
            None => &args.history[at * args.inner + e..],
        };
        sum = V::load(&args.weight[k * args.inner + e..]).fma(V::load(x), sum);
    }
    sum.silu()
}
