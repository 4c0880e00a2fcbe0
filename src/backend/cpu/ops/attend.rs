//! Softmax attention of one head over blocks of 32 keys, one block after the other.
//!
//! The softmax runs online: a running maximum and sum for each query, and an output that is scaled
//! down whenever the maximum grows. So the memory needed does not depend on the number of keys.

use half::f16;

use super::vector::{Vector, per_level};
use crate::backend::cpu::kv::{BLOCK, Numbers};
use crate::backend::cpu::split::ColumnBlock;

/// Queries that go over a block's keys together, so that each loaded key serves them all.
const GROUP: usize = 8;

/// One head's work on one block of keys.
pub(crate) struct Attend<'a> {
    /// Which head.
    pub(crate) head: usize,
    /// hd
    pub(crate) dim: usize,
    /// Queries, in rows of `stride` values: head `h` at `h * hd`.
    pub(crate) q: &'a [f32],
    /// See `q`.
    pub(crate) stride: usize,
    /// Position of the first query.
    pub(crate) first_query: usize,
    /// Number of queries.
    pub(crate) count: usize,
    /// W
    pub(crate) window: usize,
    /// Position of the block's first key.
    pub(crate) first_key: usize,
    /// H
    pub(crate) heads: usize,
    /// Keys (H, hd, 32), then values (H, 32, hd).
    pub(crate) block: &'a Numbers,
}

/// What one head needs beside its output: reused from block to block.
pub(crate) struct AttendScratch<'a> {
    /// Keys of the block: (hd, 32)
    keys: &'a mut [f32],
    /// Values of the block: (32, hd)
    values: &'a mut [f32],
    /// Of each query: (T)
    running: &'a mut [Running],
}

/// What is known of a query after some blocks of keys.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Running {
    /// The largest score.
    most: f32,
    /// The weights' sum.
    sum: f32,
}

impl Running {
    /// Before the first block.
    pub(crate) const NOTHING: Self = Self { most: f32::NEG_INFINITY, sum: 0.0 };

    /// Divides a query's output by the sum of its weights: after the last block.
    pub(crate) fn finish(self, out: &mut [f32]) {
        let inverse = 1.0 / self.sum;
        out.iter_mut().for_each(|v| *v *= inverse);
    }
}

impl<'a> AttendScratch<'a> {
    /// Numbers that one head needs for `count` queries.
    pub(crate) fn len(dim: usize, count: usize) -> usize {
        2 * BLOCK * dim + 2 * count
    }

    /// Lays itself out in a buffer of `len` numbers and forgets what was there.
    pub(crate) fn new(buffer: &'a mut [f32], dim: usize, count: usize) -> Self {
        let (keys, rest) = buffer.split_at_mut(BLOCK * dim);
        let (values, rest) = rest.split_at_mut(BLOCK * dim);
        let running: &mut [Running] = bytemuck::cast_slice_mut(&mut rest[..2 * count]);
        running.fill(Running::NOTHING);
        Self { keys, values, running }
    }

    /// Divides the outputs by their sums: after the last block.
    pub(crate) fn finish(&self, out: &mut ColumnBlock<'_>) {
        self.running.iter().enumerate().for_each(|(t, running)| running.finish(out.row(t)));
    }
}

per_level! {
    /// Adds one block of keys to the outputs of the queries that see any of it. `out` must start
    /// as zeros.
    pub(crate) fn attend(args: &Attend<'_>, scratch: &mut AttendScratch<'_>, out: &mut ColumnBlock<'_>) = attend_body;
}

#[inline(always)]
fn attend_body<V: Vector>(args: &Attend<'_>, scratch: &mut AttendScratch<'_>, out: &mut ColumnBlock<'_>) {
    let (head, dim) = (args.head, args.dim);
    let (keys, values) = (head, args.heads + head);
    widen::<V>(args.block, keys * dim * BLOCK, scratch.keys);
    widen::<V>(args.block, values * dim * BLOCK, scratch.values);
    let (key_scales, value_scales) = scales(args);

    // Queries i with j <= i and i - j < W for some key j of the block.
    let last_key = args.first_key + BLOCK - 1;
    let from = args.first_key.saturating_sub(args.first_query);
    let to = (last_key + args.window).saturating_sub(args.first_query).min(args.count);
    let mut t = from;
    while t < to {
        let mut weights = [[0.0; BLOCK]; GROUP];
        let size = if to - t >= GROUP { GROUP } else { 1 };
        if size == GROUP {
            scores_of_group::<V>(args, scratch.keys, t, &mut weights);
        } else {
            scores_of_one::<V>(args, scratch.keys, t, &mut weights[0]);
        }
        for (i, weights) in weights[..size].iter_mut().enumerate() {
            let shrink = weigh::<V>(args, t + i, &key_scales, &value_scales, weights, &mut scratch.running[t + i]);
            if shrink != 1.0 {
                out.row(t + i).iter_mut().for_each(|v| *v *= shrink);
            }
        }
        if size == GROUP {
            let whole = dim - dim % V::LANES;
            for d in (0..whole).step_by(V::LANES) {
                add_values::<V, GROUP>(scratch.values, dim, d, &weights, out, t);
            }
            for d in whole..dim {
                add_values::<f32, GROUP>(scratch.values, dim, d, &weights, out, t);
            }
        } else {
            let whole = dim - dim % V::LANES;
            for d in (0..whole).step_by(V::LANES) {
                add_values::<V, 1>(scratch.values, dim, d, &weights, out, t);
            }
            for d in whole..dim {
                add_values::<f32, 1>(scratch.values, dim, d, &weights, out, t);
            }
        }
        t += size;
    }
}

/// What scores are multiplied with, and weights: 8-bit numbers have a scale for each token and head. A
/// key's goes onto its score, together with the head's root, a value's onto its weight.
#[inline(always)]
pub(super) fn scales(args: &Attend<'_>) -> ([f32; BLOCK], [f32; BLOCK]) {
    let root = 1.0 / (args.dim as f32).sqrt();
    let Numbers::Q8(_, scales) = args.block else { return ([root; BLOCK], [1.0; BLOCK]) };
    let of = |part: usize, factor: f32| -> [f32; BLOCK] { std::array::from_fn(|j| scales[part * BLOCK + j] * factor) };
    (of(args.head, root), of(args.heads + args.head, 1.0))
}

/// Makes query `t`'s products with the keys the weights of the values, none for the keys that it does
/// not see; returns by what its earlier outputs shrink.
#[inline(always)]
pub(super) fn weigh<V: Vector>(
    args: &Attend<'_>,
    t: usize,
    key_scales: &[f32; BLOCK],
    value_scales: &[f32; BLOCK],
    weights: &mut [f32; BLOCK],
    running: &mut Running,
) -> f32 {
    weights.iter_mut().zip(key_scales).for_each(|(w, scale)| *w *= scale);
    let query = args.first_query + t;
    let seen_from = (query + 1).saturating_sub(args.first_key + args.window);
    let seen_to = (query + 1 - args.first_key).min(BLOCK);
    weights[..seen_from].fill(f32::NEG_INFINITY);
    weights[seen_to..].fill(f32::NEG_INFINITY);
    let shrink = soften::<V>(weights, running);
    weights[..seen_from].fill(0.0);
    weights[seen_to..].fill(0.0);
    weights.iter_mut().zip(value_scales).for_each(|(w, s)| *w *= s);
    shrink
}

/// A head's numbers of a block as f32, without their scales.
#[inline(always)]
fn widen<V: Vector>(from: &Numbers, start: usize, to: &mut [f32]) {
    let n = to.len();
    let whole = n - n % V::LANES;
    match from {
        Numbers::F32(from) => to.copy_from_slice(&from[start..start + n]),
        Numbers::F16(from) => {
            let from: &[f16] = &from[start..start + n];
            // Loops, not closures: these would not be compiled with the level's instructions.
            for i in (0..whole).step_by(V::LANES) {
                V::load_f16(&from[i..]).store(&mut to[i..]);
            }
            for i in whole..n {
                to[i] = from[i].to_f32();
            }
        }
        Numbers::Q8(from, _) => {
            let from: &[i8] = &from[start..start + n];
            for i in (0..whole).step_by(V::LANES) {
                V::load_i8(&from[i..]).store(&mut to[i..]);
            }
            for i in whole..n {
                to[i] = f32::from(from[i]);
            }
        }
    }
}

/// `weights[i][j] = q_(t+i) . k_j`
#[inline(always)]
fn scores_of_group<V: Vector>(args: &Attend<'_>, keys: &[f32], t: usize, weights: &mut [[f32; BLOCK]; GROUP]) {
    let at = args.head * args.dim;
    let q: [&[f32]; GROUP] = std::array::from_fn(|i| &args.q[(t + i) * args.stride + at..][..args.dim]);
    for j in (0..BLOCK).step_by(V::LANES) {
        let mut sums = [V::splat(0.0); GROUP];
        for d in 0..args.dim {
            let k = V::load(&keys[d * BLOCK + j..]);
            for (sum, q) in sums.iter_mut().zip(&q) {
                *sum = k.fma(V::splat(q[d]), *sum);
            }
        }
        for (sum, weights) in sums.iter().zip(weights.iter_mut()) {
            sum.store(&mut weights[j..]);
        }
    }
}

/// The same for one query: several sums over parts of the head, so that none waits for another.
#[inline(always)]
fn scores_of_one<V: Vector>(args: &Attend<'_>, keys: &[f32], t: usize, weights: &mut [f32; BLOCK]) {
    let q = &args.q[t * args.stride + args.head * args.dim..][..args.dim];
    let whole = args.dim - args.dim % 4;
    for j in (0..BLOCK).step_by(V::LANES) {
        let mut sums = [V::splat(0.0); 4];
        for d in (0..whole).step_by(4) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(&keys[(d + i) * BLOCK + j..]).fma(V::splat(q[d + i]), *sum);
            }
        }
        for d in whole..args.dim {
            sums[0] = V::load(&keys[d * BLOCK + j..]).fma(V::splat(q[d]), sums[0]);
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(&mut weights[j..]);
    }
}

/// Turns scores into weights under the running maximum; returns by what earlier outputs shrink.
#[inline(always)]
fn soften<V: Vector>(scores: &mut [f32; BLOCK], running: &mut Running) -> f32 {
    let block_most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let new_most = running.most.max(block_most);
    if new_most == f32::NEG_INFINITY {
        scores.fill(0.0);
        return 1.0;
    }
    let shrink = if running.most == new_most { 1.0 } else { (running.most - new_most).exp() };
    let mut total = V::splat(0.0);
    for j in (0..BLOCK).step_by(V::LANES) {
        let w = V::load(&scores[j..]).sub(V::splat(new_most)).exp();
        w.store(&mut scores[j..]);
        total = total.add(w);
    }
    *running = Running { most: new_most, sum: running.sum * shrink + total.sum() };
    shrink
}

/// `out_(t+i)[d..] += sum_j weights[i][j] v_j[d..]`
#[inline(always)]
fn add_values<V: Vector, const N: usize>(
    values: &[f32],
    dim: usize,
    d: usize,
    weights: &[[f32; BLOCK]; GROUP],
    out: &mut ColumnBlock<'_>,
    t: usize,
) {
    let mut sums: [V; N] = std::array::from_fn(|i| V::load(&out.row(t + i)[d..]));
    for j in 0..BLOCK {
        let v = V::load(&values[j * dim + d..]);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = v.fma(V::splat(weights[i][j]), *sum);
        }
    }
    for (i, sum) in sums.iter().enumerate() {
        sum.store(&mut out.row(t + i)[d..]);
    }
}
