//! Sliding-window attention: query i sees keys j with `j <= i` and `i - j < W`, scaled by `1/sqrt(hd)`; no
//! positional encoding.

use anyhow::Result;
use mlx_rs::Array;
use mlx_rs::fast::{ScaledDotProductAttentionMask as Mask, scaled_dot_product_attention};

use super::kv::{KvCache, Visible};
use super::ops::{self, Said};
use super::ssm::At;
use super::weights::AttentionWeights;
use crate::model::spec::AttentionSpec;

/// The mixer's output (T, D) of its normed input (T, D).
pub(crate) fn forward(
    weights: &AttentionWeights,
    spec: &AttentionSpec,
    cache: &mut KvCache,
    at: At,
    u: &Array,
) -> Result<Array> {
    let [q, k, v] = heads(weights, spec, at, u)?;
    let seen = cache.append([k, v], at.count, at.needed)?;
    let mask = mask(spec.window, at, seen.first)?;
    let out = attend(spec, &q, &seen, mask.as_ref())?;
    weights.o.apply(&joined(spec, at.count, &out)?, at.halves)
}

/// Queries, keys and values, each (H, T, hd).
pub(crate) fn heads(weights: &AttentionWeights, spec: &AttentionSpec, at: At, u: &Array) -> Result<[Array; 3]> {
    let split = |x: Array| -> Result<Array> {
        ops::transpose(&ops::reshape(&x, &[at.count, spec.heads, spec.head_dim])?, &[1, 0, 2])
    };
    let [q, k, v] = [&weights.q, &weights.k, &weights.v].map(|w| split(w.apply(u, at.halves)?));
    Ok([q?, k?, v?])
}

/// Heads (H, T, hd) side by side (T, H * hd).
pub(crate) fn joined(spec: &AttentionSpec, count: usize, out: &Array) -> Result<Array> {
    ops::reshape(&ops::transpose(out, &[1, 0, 2])?, &[count, spec.heads * spec.head_dim])
}

/// Weighted values (H, T, hd).
pub(crate) fn attend(spec: &AttentionSpec, q: &Array, seen: &Visible, mask: Option<&Array>) -> Result<Array> {
    let scale = 1.0 / (spec.head_dim as f32).sqrt();
    let [q, k, v] = [q, &seen.keys, &seen.values].map(|a| ops::expand(a, &[0]));
    let (q, k, v) = (q?, k?, v?);
    let out = scaled_dot_product_attention(&q, &k, &v, scale, mask.map(Mask::Array), None);
    ops::row(&out.said("attention", &[&q, &k, &v])?, 0)
}

/// Which keys each query sees (T, L): none where it sees all of them.
fn mask(window: usize, at: At, first: usize) -> Result<Option<Array>> {
    if at.count == 1 {
        return Ok(None);
    }
    let range = |from: usize, to: usize| -> Result<Array> {
        mlx_rs::ops::arange::<i32, i32>(ops::size(from), ops::size(to), None).said("positions", &[])
    };
    let queries = ops::expand(&range(at.position, at.position + at.count)?, &[1])?;
    let age = ops::subtract(&queries, &ops::expand(&range(first, at.position + at.count)?, &[0])?)?;
    let zero = Array::from_int(0);
    let past = mlx_rs::ops::ge(&age, &zero).said("mask", &[&age])?;
    let near = mlx_rs::ops::lt(&age, Array::from_int(ops::size(window))).said("mask", &[&age])?;
    Ok(Some(mlx_rs::ops::logical_and(&past, &near).said("mask", &[&past, &near])?))
}
