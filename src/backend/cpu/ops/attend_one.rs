//! Softmax attention of one head with a single query: what decoding does.
//!
//! Each key and value is used once, so nothing is widened in advance: the numbers go from the cache's
//! format straight into the sums. What lies one head further in the block is asked for ahead.

use half::f16;

use super::attend::{Attend, Running, scales, weigh};
use super::vector::{Vector, per_level};
use crate::backend::cpu::kv::{BLOCK, Numbers};

/// Vectors of a value that are summed up side by side.
const WIDE: usize = 4;

/// A format that keys and values are kept in.
trait Stored: Copy {
    /// The first numbers as a vector.
    fn load<V: Vector>(from: &[Self]) -> V;
}

impl Stored for f32 {
    #[inline(always)]
    fn load<V: Vector>(from: &[Self]) -> V {
        V::load(from)
    }
}

impl Stored for f16 {
    #[inline(always)]
    fn load<V: Vector>(from: &[Self]) -> V {
        V::load_f16(from)
    }
}

impl Stored for i8 {
    #[inline(always)]
    fn load<V: Vector>(from: &[Self]) -> V {
        V::load_i8(from)
    }
}

per_level! {
    /// As `attend`, for one query.
    pub(crate) fn attend_one(args: &Attend<'_>, running: &mut Running, out: &mut [f32]) = attend_one_body;
}

#[inline(always)]
fn attend_one_body<V: Vector>(args: &Attend<'_>, running: &mut Running, out: &mut [f32]) {
    match args.block {
        Numbers::F32(all) => one::<V, _>(args, all, running, out),
        Numbers::F16(all) => one::<V, _>(args, all, running, out),
        Numbers::Q8(all, _) => one::<V, _>(args, all, running, out),
    }
}

#[inline(always)]
fn one<V: Vector, N: Stored>(args: &Attend<'_>, all: &[N], running: &mut Running, out: &mut [f32]) {
    let (head, dim) = (args.head, args.dim);
    let len = BLOCK * dim;
    let (keys, values) = (head * len, (args.heads + head) * len);
    let q = &args.q[head * dim..][..dim];
    let (key_scales, value_scales) = scales(args);

    let mut weights = [0.0; BLOCK];
    scores::<V, N>(q, &all[keys..][..len], &mut weights);
    let shrink = weigh::<V>(args, 0, &key_scales, &value_scales, &mut weights, running);
    if shrink != 1.0 {
        out.iter_mut().for_each(|v| *v *= shrink);
    }

    let values = &all[values..][..len];
    let mut d = 0;
    while d + WIDE * V::LANES <= dim {
        add_values::<V, N, WIDE>(values, dim, d, &weights, out);
        d += WIDE * V::LANES;
    }
    while d + V::LANES <= dim {
        add_values::<V, N, 1>(values, dim, d, &weights, out);
        d += V::LANES;
    }
    for d in d..dim {
        add_values::<f32, N, 1>(values, dim, d, &weights, out);
    }
}

/// `weights[j] = q . k_j`; keys (hd, 32). Two vectors of tokens at a time, each with two sums, so that
/// none waits for another.
#[inline(always)]
fn scores<V: Vector, N: Stored>(q: &[f32], keys: &[N], weights: &mut [f32; BLOCK]) {
    let pairs = q.len() - q.len() % 2;
    for j in (0..BLOCK).step_by(2 * V::LANES) {
        let mut sums = [[V::splat(0.0); 2]; 2];
        for d in (0..pairs).step_by(2) {
            for (i, sums) in sums.iter_mut().enumerate() {
                let at = (d + i) * BLOCK + j;
                prefetch(keys, at + keys.len());
                let q = V::splat(q[d + i]);
                sums[0] = N::load::<V>(&keys[at..]).fma(q, sums[0]);
                sums[1] = N::load::<V>(&keys[at + V::LANES..]).fma(q, sums[1]);
            }
        }
        for d in pairs..q.len() {
            let (at, q) = (d * BLOCK + j, V::splat(q[d]));
            sums[0][0] = N::load::<V>(&keys[at..]).fma(q, sums[0][0]);
            sums[0][1] = N::load::<V>(&keys[at + V::LANES..]).fma(q, sums[0][1]);
        }
        sums[0][0].add(sums[1][0]).store(&mut weights[j..]);
        sums[0][1].add(sums[1][1]).store(&mut weights[j + V::LANES..]);
    }
}

/// `out[d..] += sum_j weights[j] v_j[d..]`, for `M` vectors; values (32, hd).
#[inline(always)]
fn add_values<V: Vector, N: Stored, const M: usize>(
    values: &[N],
    dim: usize,
    d: usize,
    weights: &[f32; BLOCK],
    out: &mut [f32],
) {
    // Even and odd tokens have their own sums, so that one need not wait for the other.
    let mut sums = [[V::splat(0.0); M]; 2];
    for j in (0..BLOCK).step_by(2) {
        for (i, sums) in sums.iter_mut().enumerate() {
            let weight = V::splat(weights[j + i]);
            for (m, sum) in sums.iter_mut().enumerate() {
                let at = (j + i) * dim + d + m * V::LANES;
                prefetch(values, at + values.len());
                *sum = N::load::<V>(&values[at..]).fma(weight, *sum);
            }
        }
    }
    for m in 0..M {
        let to = &mut out[d + m * V::LANES..];
        V::load(to).add(sums[0][m].add(sums[1][m])).store(to);
    }
}

/// Asks for the cache line that lies so many numbers from the slice's beginning, be it there or not.
#[inline(always)]
fn prefetch<N>(from: &[N], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see, and may name any address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, at);
}
