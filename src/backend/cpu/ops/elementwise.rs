//! Operators that work on each number by itself, or on one row.

use super::vector::{Vector, per_level};

per_level! {
    /// RMSNorm: `out = x / sqrt(mean(x^2) + eps) * weight`.
    pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body;
}

#[inline(always)]
fn rms_norm_body<V: Vector>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len();
    let scale = 1.0 / (dot_body::<V>(x, x) / n as f32 + eps).sqrt();
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&x[i..]).mul(V::splat(scale)).mul(V::load(&weight[i..])).store(&mut out[i..]);
    }
    for i in whole..n {
        out[i] = x[i] * scale * weight[i];
    }
}

per_level! {
    /// `sum(a * b)`
    pub fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body;
}

#[inline(always)]
fn dot_body<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len();
    assert_eq!(n, b.len());
    // Four sums, so that one addition need not wait for the one before it.
    let mut sums = [V::splat(0.0); 4];
    let step = 4 * V::LANES;
    let whole = n - n % step;
    for i in (0..whole).step_by(step) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let at = i + lane * V::LANES;
            *sum = V::load(&a[at..]).fma(V::load(&b[at..]), *sum);
        }
    }
    let mut rest = 0.0;
    for i in whole..n {
        rest += a[i] * b[i];
    }
    sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum() + rest
}

per_level! {
    /// `x += y`
    pub fn add(x: &mut [f32], y: &[f32]) = add_body;
}

#[inline(always)]
fn add_body<V: Vector>(x: &mut [f32], y: &[f32]) {
    let n = x.len();
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&x[i..]).add(V::load(&y[i..])).store(&mut x[i..]);
    }
    for i in whole..n {
        x[i] += y[i];
    }
}

per_level! {
    /// `x += factor * y`
    pub fn add_scaled(x: &mut [f32], factor: f32, y: &[f32]) = add_scaled_body;
}

#[inline(always)]
fn add_scaled_body<V: Vector>(x: &mut [f32], factor: f32, y: &[f32]) {
    let n = x.len();
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&y[i..]).fma(V::splat(factor), V::load(&x[i..])).store(&mut x[i..]);
    }
    for i in whole..n {
        x[i] = Vector::fma(y[i], factor, x[i]);
    }
}

per_level! {
    /// SwiGLU's middle: `gate = silu(gate) * up`.
    pub fn silu_mul(gate: &mut [f32], up: &[f32]) = silu_mul_body;
}

#[inline(always)]
fn silu_mul_body<V: Vector>(gate: &mut [f32], up: &[f32]) {
    let n = gate.len();
    let whole = n - n % V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load(&gate[i..]).silu().mul(V::load(&up[i..])).store(&mut gate[i..]);
    }
    for i in whole..n {
        gate[i] = Vector::silu(gate[i]) * up[i];
    }
}

/// `1 / (1 + e^-x)` of one number.
pub fn sigmoid(x: f32) -> f32 {
    Vector::sigmoid(x)
}

/// Softmax of a few numbers in place, skipping those that are minus infinity.
pub fn softmax(x: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for v in x.iter_mut() {
        *v = if *v == f32::NEG_INFINITY { 0.0 } else { (*v - most).exp() };
        sum += *v;
    }
    x.iter_mut().for_each(|v| *v /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::ops::Level;

    /// Numbers between -`scale` and `scale`, the same every time.
    fn numbers(n: usize, scale: f32) -> Vec<f32> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        std::iter::repeat_with(next).take(n).collect()
    }

    per_level! { fn exps(x: &mut [f32]) = exps_body; }
    fn exps_body<V: Vector>(x: &mut [f32]) {
        x.chunks_exact_mut(V::LANES).for_each(|c| V::load(c).exp().store(c));
    }
    per_level! { fn exp2s(x: &mut [f32]) = exp2s_body; }
    fn exp2s_body<V: Vector>(x: &mut [f32]) {
        x.chunks_exact_mut(V::LANES).for_each(|c| V::load(c).exp2_not_positive().store(c));
    }
    per_level! { fn softpluses(x: &mut [f32]) = softpluses_body; }
    fn softpluses_body<V: Vector>(x: &mut [f32]) {
        x.chunks_exact_mut(V::LANES).for_each(|c| V::load(c).softplus().store(c));
    }

    #[test]
    fn transcendental_functions_are_right_to_rounding_at_every_level() {
        for level in Level::available() {
            for (f, reference, scale) in [
                (exps as fn(Level, &mut [f32]), f64::exp as fn(f64) -> f64, 80.0),
                (exp2s, f64::exp2, -120.0),
                (softpluses, |x: f64| x.exp().ln_1p(), 40.0),
            ] {
                let mut x = numbers(4096, scale);
                if scale < 0.0 {
                    x.iter_mut().for_each(|x| *x = -x.abs());
                }
                let mut y = x.clone();
                f(level, &mut y);
                for (x, y) in x.iter().zip(&y) {
                    let want = reference(f64::from(*x));
                    let error = (f64::from(*y) / want - 1.0).abs();
                    assert!(error < 6e-7, "{level}: f({x}) = {y}, should be {want}");
                }
            }
        }
    }

    #[test]
    fn rows_of_any_length_agree_with_the_formula() {
        for level in Level::available() {
            for n in [1, 3, 16, 63, 64, 100, 257] {
                let (x, w) = (numbers(n, 2.0), numbers(n, 1.0));
                let mut out = vec![0.0; n];
                rms_norm(level, &x, &w, 1e-6, &mut out);
                let mean = x.iter().map(|v| f64::from(v * v)).sum::<f64>() / n as f64;
                let mut glu = x.clone();
                silu_mul(level, &mut glu, &w);
                let mut scaled = x.clone();
                add_scaled(level, &mut scaled, 0.5, &w);
                for i in 0..n {
                    let (x, w) = (f64::from(x[i]), f64::from(w[i]));
                    let close = |found: f32, want: f64| (f64::from(found) - want).abs() < 1e-5;
                    assert!(close(out[i], x / (mean + 1e-6).sqrt() * w), "{level} norm {n}");
                    assert!(close(glu[i], x / (1.0 + (-x).exp()) * w), "{level} silu {n}");
                    assert!(close(scaled[i], x + 0.5 * w), "{level} scaled {n}");
                }
                let want: f64 = x.iter().zip(&w).map(|(a, b)| f64::from(a * b)).sum();
                assert!((f64::from(dot(level, &x, &w)) - want).abs() < 1e-4, "{level} dot {n}");
            }
        }
    }

    #[test]
    fn softmax_skips_what_is_muted() {
        let mut x = [1.0, f32::NEG_INFINITY, 1.0];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.0, 0.5]);
    }
}
