//! Gradients of the operators that work on each number by itself or on one row, and what training computes
//! beside inference.

use super::vector::{Vector, per_level};

per_level! {
    /// SwiGLU's middle, keeping its inputs: `out = silu(gate) * up`.
    pub(crate) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) = swiglu_body;
}

#[inline(always)]
fn swiglu_body<V: Vector>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = out.len();
    assert!(gate.len() == n && up.len() == n);
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&gate[i..]).silu().mul(V::load(&up[i..])).store(&mut out[i..]);
    }
    for i in whole..n {
        out[i] = Vector::silu(gate[i]) * up[i];
    }
}

per_level! {
    /// SwiGLU's middle backward: `d` holds the gradient of its output and becomes that of `gate`.
    pub(crate) fn swiglu_back(gate: &[f32], up: &[f32], d: &mut [f32], d_up: &mut [f32]) = swiglu_back_body;
}

#[inline(always)]
fn swiglu_back_body<V: Vector>(gate: &[f32], up: &[f32], d: &mut [f32], d_up: &mut [f32]) {
    let n = d.len();
    assert!(gate.len() == n && up.len() == n && d_up.len() == n);
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        swiglu_back_lanes::<V>(&gate[i..], &up[i..], &mut d[i..], &mut d_up[i..]);
    }
    for i in whole..n {
        swiglu_back_lanes::<f32>(&gate[i..], &up[i..], &mut d[i..], &mut d_up[i..]);
    }
}

#[inline(always)]
fn swiglu_back_lanes<V: Vector>(gate: &[f32], up: &[f32], d: &mut [f32], d_up: &mut [f32]) {
    let (g, u, out) = (V::load(gate), V::load(up), V::load(d));
    let s = g.sigmoid();
    out.mul(g.mul(s)).store(d_up);
    out.mul(u).mul(silu_slope(g, s)).store(d);
}

/// Slope of `x sigmoid(x)`, where `s` is `sigmoid(x)`.
#[inline(always)]
pub(super) fn silu_slope<V: Vector>(x: V, s: V) -> V {
    // s (1 + x (1 - s))
    s.mul(x.fma(V::splat(1.0).sub(s), V::splat(1.0)))
}

per_level! {
    /// RMSNorm backward: adds to `dx` and returns `1 / sqrt(mean(x^2) + eps)`.
    pub(crate) fn rms_norm_back(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) -> f32 = norm_back_body;
}

#[inline(always)]
fn norm_back_body<V: Vector>(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32]) -> f32 {
    let n = x.len();
    assert!(weight.len() == n && dy.len() == n && dx.len() == n);
    let whole = n - n % V::LANES;
    let (mut squares, mut along) = (V::splat(0.0), V::splat(0.0));
    for i in (0..whole).step_by(V::LANES) {
        let x = V::load(&x[i..]);
        squares = x.fma(x, squares);
        along = x.fma(V::load(&weight[i..]).mul(V::load(&dy[i..])), along);
    }
    let (mut squares, mut along) = (squares.sum(), along.sum());
    for i in whole..n {
        squares += x[i] * x[i];
        along += x[i] * weight[i] * dy[i];
    }
    let scale = 1.0 / (squares / n as f32 + eps).sqrt();
    // dx = scale * weight * dy - x * scale^3 * sum(x weight dy) / n
    let back = scale * scale * scale * along / n as f32;
    for i in (0..whole).step_by(V::LANES) {
        let straight = V::load(&weight[i..]).mul(V::load(&dy[i..]));
        let sum = straight.fma(V::splat(scale), V::load(&dx[i..]));
        V::load(&x[i..]).fma(V::splat(-back), sum).store(&mut dx[i..]);
    }
    for i in whole..n {
        dx[i] += scale * weight[i] * dy[i] - back * x[i];
    }
    scale
}

per_level! {
    /// Softmax of `factor * x` in place, times `weight`; returns the logarithm of the sum of exponentials.
    pub(crate) fn soften(x: &mut [f32], factor: f32, weight: f32) -> f32 = soften_body;
}

#[inline(always)]
fn soften_body<V: Vector>(x: &mut [f32], factor: f32, weight: f32) -> f32 {
    let n = x.len();
    let whole = n - n % V::LANES;
    let mut most = V::splat(f32::NEG_INFINITY);
    for i in (0..whole).step_by(V::LANES) {
        most = most.max(V::load(&x[i..]).mul(V::splat(factor)));
    }
    let mut lanes = [f32::NEG_INFINITY; 16];
    most.store(&mut lanes);
    let mut most = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for v in &x[whole..] {
        most = most.max(v * factor);
    }
    let mut sum = V::splat(0.0);
    for i in (0..whole).step_by(V::LANES) {
        let e = V::load(&x[i..]).fma(V::splat(factor), V::splat(-most)).exp();
        e.store(&mut x[i..]);
        sum = sum.add(e);
    }
    let mut sum = sum.sum();
    for v in &mut x[whole..] {
        *v = Vector::exp(*v * factor - most);
        sum += *v;
    }
    let scale = weight / sum;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&x[i..]).mul(V::splat(scale)).store(&mut x[i..]);
    }
    for v in &mut x[whole..] {
        *v *= scale;
    }
    most + sum.ln()
}

per_level! {
    /// `x = exp(factor * x - shift)`: what `soften` made of a row, again.
    pub(crate) fn exponentials(x: &mut [f32], factor: f32, shift: f32) = exponentials_body;
}

#[inline(always)]
fn exponentials_body<V: Vector>(x: &mut [f32], factor: f32, shift: f32) {
    let n = x.len();
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&x[i..]).fma(V::splat(factor), V::splat(-shift)).exp().store(&mut x[i..]);
    }
    for v in &mut x[whole..] {
        *v = Vector::exp(*v * factor - shift);
    }
}

per_level! {
    /// Softmax backward: `d = factor * p * (d - along)`, with `along = sum(p d)` over the whole row.
    pub(crate) fn soften_back(p: &[f32], d: &mut [f32], along: f32, factor: f32) = soften_back_body;
}

#[inline(always)]
fn soften_back_body<V: Vector>(p: &[f32], d: &mut [f32], along: f32, factor: f32) {
    let n = d.len();
    assert_eq!(p.len(), n);
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        let difference = V::load(&d[i..]).sub(V::splat(along));
        V::load(&p[i..]).mul(difference).mul(V::splat(factor)).store(&mut d[i..]);
    }
    for i in whole..n {
        d[i] = factor * p[i] * (d[i] - along);
    }
}
