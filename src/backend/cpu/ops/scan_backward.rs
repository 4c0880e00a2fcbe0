//! Gradients of the state space's recurrence and of the short convolution, for a block of channels.
//!
//! The states of a stretch of tokens are computed again from the one before it, so that memory holds the
//! states of one stretch and not those of every token.

use super::backward::silu_slope;
use super::scan::{DT_MAX, DT_MIN};
use super::vector::{Vector, per_level};
use crate::backend::cpu::split::ColumnBlock;

/// A block of channels, backward through some tokens of Axon-SSM's recurrence. Inputs are those of
/// [`super::Scan`].
pub(crate) struct ScanBack<'a> {
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
    /// (T, E)
    pub(crate) xc: &'a [f32],
    /// (T, 2N + 1)
    pub(crate) dbc: &'a [f32],
    /// (T, 2E)
    pub(crate) xz: &'a [f32],
    /// The tokens to go through.
    pub(crate) tokens: std::ops::Range<usize>,
    /// The state before the first of them: (N, width)
    pub(crate) start: &'a [f32],
    /// Gradient of the output: (T, E)
    pub(crate) d_out: &'a [f32],
    /// Gradient of the state after the last token, then of `start`: (N, width)
    pub(crate) carry: &'a mut [f32],
    /// This block's part of the gradient of `dbc`: (T, 2N + 1), written.
    pub(crate) d_dbc: &'a mut [f32],
    /// Sums of the gradients of the block's own parameters.
    pub(crate) sums: ChannelSums<'a>,
    /// [`ScanBack::scratch`] numbers.
    pub(crate) scratch: &'a mut [f32],
}

/// Gradients of the parameters that a channel has, added up over tokens.
pub(crate) struct ChannelSums<'a> {
    /// Of A, not of its logarithm: (N, width)
    pub(crate) decay: &'a mut [f32],
    /// (width)
    pub(crate) dt_weight: &'a mut [f32],
    /// (width)
    pub(crate) dt_bias: &'a mut [f32],
    /// (width)
    pub(crate) skip: &'a mut [f32],
}

/// Most lanes that a vector has.
const LANES: usize = 16;

impl ScanBack<'_> {
    /// Numbers that `tokens` tokens of a block need.
    pub(crate) fn scratch(tokens: usize, states: usize, width: usize) -> usize {
        (2 * tokens + 1) * states * width + (2 * states + 1) * LANES
    }
}

per_level! {
    /// For each token, from the last to the first, with `g` the gradient of the output:
    ///
    /// ```text
    /// dy = g silu(z)          dz = g y silu'(z)         dD += dy x
    /// dh = carry + dy C       dC = dy h                 dB = dh dt x
    /// de = dh h_before a      (a = exp(e), e = dt A)    dA += de dt
    /// d dt = sum de A + x sum dh B                      dx = D dy + dt sum dh B       carry = dh a
    /// ```
    pub(crate) fn scan_back(args: &mut ScanBack<'_>, d_xc: &mut ColumnBlock<'_>, d_z: &mut ColumnBlock<'_>)
        = scan_back_body;
}

#[inline(always)]
fn scan_back_body<V: Vector>(args: &mut ScanBack<'_>, d_xc: &mut ColumnBlock<'_>, d_z: &mut ColumnBlock<'_>) {
    let states = args.states;
    let width = args.start.len() / states;
    let whole = width - width % V::LANES;
    args.scratch[..states * width].copy_from_slice(args.start);
    for t in args.tokens.clone() {
        for c in (0..whole).step_by(V::LANES) {
            again::<V>(args, t, c);
        }
        for c in whole..width {
            again::<f32>(args, t, c);
        }
    }
    let sums = args.scratch.len() - (2 * states + 1) * LANES;
    for t in args.tokens.clone().rev() {
        args.scratch[sums..].fill(0.0);
        for c in (0..whole).step_by(V::LANES) {
            back::<V>(args, t, c, sums, d_xc, d_z);
        }
        for c in whole..width {
            back::<f32>(args, t, c, sums, d_xc, d_z);
        }
        let row = &mut args.d_dbc[t * (2 * states + 1)..][..2 * states + 1];
        for (out, lanes) in row.iter_mut().zip(args.scratch[sums..].chunks_exact(LANES)) {
            *out = V::load(lanes).sum();
        }
    }
}

/// The time step of some channels: before softplus, after it, and as it is used.
#[inline(always)]
fn time_step<V: Vector>(args: &ScanBack<'_>, t: usize, e: usize) -> (V, V, V) {
    let raw = V::splat(args.dbc[t * (2 * args.states + 1) + 2 * args.states]);
    let before = raw.fma(V::load(&args.dt_weight[e..]), V::load(&args.dt_bias[e..]));
    let soft = before.softplus();
    (before, soft, soft.max(V::splat(DT_MIN)).min(V::splat(DT_MAX)))
}

/// The recurrence again: keeps each token's state and decay.
#[inline(always)]
fn again<V: Vector>(args: &mut ScanBack<'_>, t: usize, c: usize) {
    let (states, width) = (args.states, args.start.len() / args.states);
    let (e, at, tokens) = (args.first + c, t - args.tokens.start, args.tokens.len());
    let (_, _, dt) = time_step::<V>(args, t, e);
    let dtx = dt.mul(V::load(&args.xc[t * args.inner + e..]));
    let b = &args.dbc[t * (2 * states + 1)..][..states];
    let (h, a) = args.scratch.split_at_mut((tokens + 1) * states * width);
    let (before, after) = h.split_at_mut((at + 1) * states * width);
    let before = &before[at * states * width..];
    let a = &mut a[at * states * width..];
    for (n, b) in b.iter().enumerate() {
        let i = n * width + c;
        let decay = dt.mul(V::load(&args.decay[i..])).exp2_not_positive();
        decay.store(&mut a[i..]);
        decay.fma(V::load(&before[i..]), dtx.mul(V::splat(*b))).store(&mut after[i..]);
    }
}

/// One vector of channels, one token backward.
#[inline(always)]
fn back<V: Vector>(
    args: &mut ScanBack<'_>,
    t: usize,
    c: usize,
    sums: usize,
    d_xc: &mut ColumnBlock<'_>,
    d_z: &mut ColumnBlock<'_>,
) {
    let (states, width) = (args.states, args.start.len() / args.states);
    let (e, at, tokens) = (args.first + c, t - args.tokens.start, args.tokens.len());
    let (before, soft, dt) = time_step::<V>(args, t, e);
    let x = V::load(&args.xc[t * args.inner + e..]);
    let z = V::load(&args.xz[(2 * t + 1) * args.inner + e..]);
    let g = V::load(&args.d_out[t * args.inner + e..]);
    let skip = V::load(&args.skip[e..]);
    let row = &args.dbc[t * (2 * states + 1)..][..2 * states + 1];
    let sigmoid = z.sigmoid();
    let dy = g.mul(z.mul(sigmoid));
    let dtx = dt.mul(x);

    let (scratch, lanes) = args.scratch.split_at_mut(sums);
    let (h, a) = scratch.split_at((tokens + 1) * states * width);
    let (h_before, h_after) = (&h[at * states * width..], &h[(at + 1) * states * width..]);
    let a = &a[at * states * width..];
    let add = |lanes: &mut [f32], n: usize, v: V| {
        let to = &mut lanes[n * LANES..];
        V::load(to).add(v).store(to);
    };
    let (mut y, mut d_dtx, mut d_dt) = (skip.mul(x), V::splat(0.0), V::splat(0.0));
    for n in 0..states {
        let i = n * width + c;
        let (h, a) = (V::load(&h_after[i..]), V::load(&a[i..]));
        let (b, c_n) = (V::splat(row[n]), V::splat(row[states + n]));
        y = h.fma(c_n, y);
        let dh = dy.fma(c_n, V::load(&args.carry[i..]));
        add(lanes, n, dh.mul(dtx));
        add(lanes, states + n, dy.mul(h));
        d_dtx = dh.fma(b, d_dtx);
        let through = dh.mul(a);
        through.store(&mut args.carry[i..]);
        let d_exponent = through.mul(V::load(&h_before[i..]));
        d_dt = d_exponent.fma(V::load(&args.decay[i..]), d_dt);
        let sum = &mut args.sums.decay[i..];
        d_exponent.fma(dt, V::load(sum)).store(sum);
    }
    // The decays are given times log2(e).
    let d_dt = d_dtx.fma(x, d_dt.mul(V::splat(std::f32::consts::LN_2)));
    // 1 within the bounds of the time step, 0 beyond them.
    let (zero, one, steep) = (V::splat(0.0), V::splat(1.0), V::splat(1e30));
    let above = soft.sub(V::splat(DT_MIN)).mul(steep).max(zero).min(one);
    let below = V::splat(DT_MAX).sub(soft).mul(steep).max(zero).min(one);
    let d_before = d_dt.mul(before.sigmoid()).mul(above.mul(below));
    add(lanes, 2 * states, d_before.mul(V::load(&args.dt_weight[e..])));
    let plus = |to: &mut [f32], v: V| V::load(to).add(v).store(to);
    plus(&mut args.sums.dt_weight[c..], d_before.mul(V::splat(row[2 * states])));
    plus(&mut args.sums.dt_bias[c..], d_before);
    plus(&mut args.sums.skip[c..], dy.mul(x));
    d_dtx.fma(dt, skip.mul(dy)).store(&mut d_xc.row(t)[c..]);
    g.mul(y).mul(silu_slope(z, sigmoid)).store(&mut d_z.row(t)[c..]);
}

/// A block of channels backward through the causal convolution and its SiLU, without what lies before.
pub(crate) struct ConvBack<'a> {
    /// First channel of the block.
    pub(crate) first: usize,
    /// E: channels in all.
    pub(crate) inner: usize,
    /// (K, E)
    pub(crate) weight: &'a [f32],
    /// (E)
    pub(crate) bias: &'a [f32],
    /// Inputs, in rows of `2 E`: the first E of each are read.
    pub(crate) x: &'a [f32],
    /// Gradient of the output: (T, E)
    pub(crate) d_out: &'a [f32],
    /// The tokens of one example.
    pub(crate) tokens: std::ops::Range<usize>,
    /// Added up over tokens: (K, width)
    pub(crate) d_weight: &'a mut [f32],
    /// (width)
    pub(crate) d_bias: &'a mut [f32],
}

per_level! {
    /// Adds to `d_x`, which starts as zeros.
    pub(crate) fn conv_back(args: &mut ConvBack<'_>, d_x: &mut ColumnBlock<'_>) = conv_back_body;
}

#[inline(always)]
fn conv_back_body<V: Vector>(args: &mut ConvBack<'_>, d_x: &mut ColumnBlock<'_>) {
    let width = args.d_bias.len();
    let whole = width - width % V::LANES;
    for t in args.tokens.clone() {
        for c in (0..whole).step_by(V::LANES) {
            conv_back_lanes::<V>(args, t, c, d_x);
        }
        for c in whole..width {
            conv_back_lanes::<f32>(args, t, c, d_x);
        }
    }
}

#[inline(always)]
fn conv_back_lanes<V: Vector>(args: &mut ConvBack<'_>, t: usize, c: usize, d_x: &mut ColumnBlock<'_>) {
    let (e, inner, width) = (args.first + c, args.inner, args.d_bias.len());
    let taps = args.weight.len() / inner;
    // Tap k sees token t - (K-1) + k.
    let first = (taps - 1).saturating_sub(t - args.tokens.start);
    let seen = |k: usize| t + k - (taps - 1);
    let mut sum = V::load(&args.bias[e..]);
    for k in first..taps {
        let x = V::load(&args.x[seen(k) * 2 * inner + e..]);
        sum = V::load(&args.weight[k * inner + e..]).fma(x, sum);
    }
    let d = V::load(&args.d_out[t * inner + e..]).mul(silu_slope(sum, sum.sigmoid()));
    for k in first..taps {
        let x = V::load(&args.x[seen(k) * 2 * inner + e..]);
        let to = &mut args.d_weight[k * width + c..];
        d.fma(x, V::load(to)).store(to);
        let to = &mut d_x.row(seen(k))[c..];
        V::load(&args.weight[k * inner + e..]).fma(d, V::load(to)).store(to);
    }
    let to = &mut args.d_bias[c..];
    V::load(to).add(d).store(to);
}
