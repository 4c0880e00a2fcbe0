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
    /// `-exp(A_log) * log2(e)`: (N, E)
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
const DT_MIN: f32 = 1e-4;
const DT_MAX: f32 = 100.0;

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
    let states = args.decay.len() / args.inner;
    let width = args.state.len() / states;
    let whole = width - width % V::LANES;
    for c in (0..whole).step_by(V::LANES) {
        scan_lanes::<V>(args, out.as_deref_mut(), c, width, states);
    }
    for c in whole..width {
        scan_lanes::<f32>(args, out.as_deref_mut(), c, width, states);
    }
}

/// One vector of channels, `c` from the block's first, through all the tokens. The usual numbers of
/// states keep theirs in registers meanwhile.
#[inline(always)]
fn scan_lanes<V: Vector>(
    args: &mut Scan<'_>,
    out: Option<&mut ColumnBlock<'_>>,
    c: usize,
    width: usize,
    states: usize,
) {
    match states {
        16 => scan_states::<V, [V; 16]>(args, out, c, width, states, [V::splat(0.0); 16]),
        8 => scan_states::<V, [V; 8]>(args, out, c, width, states, [V::splat(0.0); 8]),
        4 => scan_states::<V, [V; 4]>(args, out, c, width, states, [V::splat(0.0); 4]),
        _ => scan_states::<V, [V; 0]>(args, out, c, width, states, []),
    }
}

#[inline(always)]
fn scan_states<V: Vector, R: AsMut<[V]>>(
    args: &mut Scan<'_>,
    mut out: Option<&mut ColumnBlock<'_>>,
    c: usize,
    width: usize,
    states: usize,
    mut registers: R,
) {
    let (e, inner) = (args.first + c, args.inner);
    let (dt_weight, dt_bias) = (V::load(&args.dt_weight[e..]), V::load(&args.dt_bias[e..]));
    let skip = V::load(&args.skip[e..]);
    let registers = registers.as_mut();
    for (n, h) in registers.iter_mut().enumerate() {
        *h = V::load(&args.state[n * width + c..]);
    }
    for t in args.tokens.clone() {
        let x = V::load(&args.xc[t * inner + e..]);
        let dbc = &args.dbc[t * (2 * states + 1)..][..2 * states + 1];
        let dt = V::splat(dbc[2 * states]).fma(dt_weight, dt_bias).softplus();
        let dt = dt.max(V::splat(DT_MIN)).min(V::splat(DT_MAX));
        let dtx = dt.mul(x);
        // Two sums, so that one addition need not wait for the one before it.
        let mut y = [skip.mul(x), V::splat(0.0)];
        let mut step = |n: usize, h: V| {
            let keep = dt.mul(V::load(&args.decay[n * inner + e..])).exp2_not_positive();
            let new = keep.fma(h, dtx.mul(V::splat(dbc[n])));
            y[n % 2] = new.fma(V::splat(dbc[states + n]), y[n % 2]);
            new
        };
        if registers.is_empty() {
            for n in 0..states {
                let h = &mut args.state[n * width + c..];
                step(n, V::load(h)).store(h);
            }
        } else {
            for (n, h) in registers.iter_mut().enumerate() {
                *h = step(n, *h);
            }
        }
        if let Some(out) = out.as_deref_mut() {
            let z = V::load(&args.xz[(2 * t + 1) * inner + e..]);
            y[0].add(y[1]).mul(z.silu()).store(&mut out.row(t)[c..]);
        }
    }
    for (n, h) in registers.iter().enumerate() {
        h.store(&mut args.state[n * width + c..]);
    }
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
