//! Sliding-window attention: row i sees rows j of its own example with `j <= i` and `i - j < W`.
//!
//! Each head goes over blocks of queries. A block's scores reach over the keys that its queries see, so that
//! memory grows with the window and never with the square of the length; the backward pass computes them again
//! from one number a query.

use std::ops::Range;

use super::buffers::Buffer;
use super::linear::{Kept, Linear};
use super::parameters::Numbers;
use super::product::{View, multiply_here};
use super::rows::Rows;
use super::weight::To;
use super::work::Pass;
use crate::backend::cpu::ops;
use crate::backend::cpu::split::{Pieces, for_each};
use crate::model::spec::AttentionSpec;

/// Queries of a block.
const BLOCK: usize = 64;

/// The layer.
pub(super) struct Attention {
    pub(super) spec: AttentionSpec,
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
}

/// What the backward pass needs; rows of one head after those of another: (H, T, hd).
pub(super) struct Saved {
    q: Buffer,
    k: Buffer,
    v: Buffer,
    /// What the heads give: (H, T, hd), and side by side: (T, H hd)
    heads: Buffer,
    merged: Buffer,
    /// Logarithm of the sum of each query's exponentials: (H, T)
    sums: Buffer,
    kept: [Option<Kept>; 4],
}

/// One head's rows.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    scale: f32,
    window: usize,
    sees_from: &'a [usize],
}

impl Head<'_> {
    /// The keys that query `i` sees.
    fn seen(&self, i: usize) -> Range<usize> {
        self.sees_from[i].max((i + 1).saturating_sub(self.window))..i + 1
    }

    /// Blocks of queries, each with the keys that they see together.
    fn blocks(&self) -> impl DoubleEndedIterator<Item = (Range<usize>, Range<usize>)> {
        let t = self.sees_from.len();
        (0..t.div_ceil(BLOCK)).map(move |b| {
            let queries = b * BLOCK..((b + 1) * BLOCK).min(t);
            let keys = self.seen(queries.start).start..queries.end;
            (queries, keys)
        })
    }

    /// Numbers of the largest block of scores.
    fn room(&self) -> usize {
        self.blocks().map(|(queries, keys)| queries.len() * keys.len()).max().unwrap_or(0)
    }
}

impl Attention {
    /// Reads `u` (T, D), writes `out` (T, D).
    pub(super) fn forward(&self, pass: &Pass<'_>, rows: &Rows<'_>, u: &[f32], out: &mut [f32]) -> Saved {
        let AttentionSpec { heads: count, head_dim, .. } = self.spec;
        let (t, width, buffers, level) = (rows.len(), count * head_dim, &pass.work.buffers, pass.work.level());
        let mut flat = buffers.get(t * width);
        let mut project = |linear: &Linear| {
            let kept = linear.forward(pass, u, &mut flat);
            let mut by_head = buffers.get(t * width);
            to_heads(pass, t, &flat, head_dim, &mut by_head);
            (by_head, kept)
        };
        let ((q, q_kept), (k, k_kept), (v, v_kept)) = (project(&self.q), project(&self.k), project(&self.v));
        let (mut heads, mut sums) = (buffers.get(t * width), buffers.get(count * t));
        let split = (Pieces::new(&mut heads, t * head_dim), Pieces::new(&mut sums, t));
        for_each(pass.work.pool(), split, |h, (out, sums)| {
            let head = self.head(rows, h, &q, &k, &v);
            let mut scores = buffers.get(head.room());
            for (queries, keys) in head.blocks() {
                let n = keys.len();
                let scores = &mut scores[..queries.len() * n];
                let k = head.k.rows(keys.clone());
                multiply_here(level, scores, head.q.rows(queries.clone()), k.transposed(), false);
                for (i, row) in queries.clone().zip(scores.chunks_exact_mut(n)) {
                    let seen = head.seen(i);
                    let seen = seen.start - keys.start..seen.end - keys.start;
                    row[..seen.start].fill(0.0);
                    row[seen.end..].fill(0.0);
                    sums[i] = ops::soften(level, &mut row[seen], head.scale, 1.0);
                }
                let out = &mut out[queries.start * head_dim..queries.end * head_dim];
                let weights = View::new(scores, queries.len(), n);
                multiply_here(level, out, weights, head.v.rows(keys), false);
            }
        });
        let mut merged = flat;
        from_heads(pass, t, &heads, head_dim, &mut merged);
        let o_kept = self.o.forward(pass, &merged, out);
        Saved { q, k, v, heads, merged, sums, kept: [q_kept, k_kept, v_kept, o_kept] }
    }

    fn head<'a>(&self, rows: &'a Rows<'_>, h: usize, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Head<'a> {
        let (t, dim) = (rows.len(), self.spec.head_dim);
        let of = |all: &'a [f32]| View::new(&all[h * t * dim..][..t * dim], t, dim);
        let scale = 1.0 / (dim as f32).sqrt();
        Head { q: of(q), k: of(k), v: of(v), scale, window: self.spec.window, sees_from: &rows.sees_from }
    }

    /// From `d_out` (T, D) to `d_u` (T, D), which is written.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        (u, saved): (&[f32], &Saved),
        d_out: &[f32],
        d_u: &mut [f32],
    ) {
        let AttentionSpec { heads: count, head_dim: dim, .. } = self.spec;
        let (t, width, buffers, level) = (rows.len(), count * dim, &pass.work.buffers, pass.work.level());
        let [q_kept, k_kept, v_kept, o_kept] = &saved.kept;
        let mut flat = buffers.get(t * width);
        self.o.backward(pass, gradients, &saved.merged, o_kept.as_ref(), d_out, To::Set(&mut flat));
        let mut d_heads = buffers.get(t * width);
        to_heads(pass, t, &flat, dim, &mut d_heads);

        let (mut dq, mut dk, mut dv) = (buffers.get(t * width), buffers.zeros(t * width), buffers.zeros(t * width));
        let piece = t * dim;
        let split = (Pieces::new(&mut dq, piece), (Pieces::new(&mut dk, piece), Pieces::new(&mut dv, piece)));
        for_each(pass.work.pool(), split, |h, (dq, (dk, dv))| {
            let head = self.head(rows, h, &saved.q, &saved.k, &saved.v);
            let sums = &saved.sums[h * t..][..t];
            let (out, d_head) = (&saved.heads[h * piece..][..piece], &d_heads[h * piece..][..piece]);
            let d_out = View::new(d_head, t, dim);
            let (mut weights, mut d_scores) = (buffers.get(head.room()), buffers.get(head.room()));
            for (queries, keys) in head.blocks() {
                let (m, n) = (queries.len(), keys.len());
                let (weights, d_scores) = (&mut weights[..m * n], &mut d_scores[..m * n]);
                let (q, k) = (head.q.rows(queries.clone()), head.k.rows(keys.clone()));
                let d_out = d_out.rows(queries.clone());
                multiply_here(level, weights, q, k.transposed(), false);
                multiply_here(level, d_scores, d_out, head.v.rows(keys.clone()).transposed(), false);
                let both = weights.chunks_exact_mut(n).zip(d_scores.chunks_exact_mut(n));
                for (i, (weights, d)) in queries.clone().zip(both) {
                    let seen = head.seen(i);
                    let seen = seen.start - keys.start..seen.end - keys.start;
                    for row in [&mut *weights, &mut *d] {
                        row[..seen.start].fill(0.0);
                        row[seen.end..].fill(0.0);
                    }
                    ops::exponentials(level, &mut weights[seen.clone()], head.scale, sums[i]);
                    let along = ops::dot(level, &out[i * dim..][..dim], &d_head[i * dim..][..dim]);
                    ops::soften_back(level, &weights[seen.clone()], &mut d[seen], along, head.scale);
                }
                let (weights, d_scores) = (View::new(weights, m, n), View::new(d_scores, m, n));
                let of_keys = keys.start * dim..keys.end * dim;
                multiply_here(level, &mut dq[queries.start * dim..queries.end * dim], d_scores, k, false);
                multiply_here(level, &mut dk[of_keys.clone()], d_scores.transposed(), q, true);
                multiply_here(level, &mut dv[of_keys], weights.transposed(), d_out, true);
            }
        });

        let projections = [(&self.q, q_kept, &dq), (&self.k, k_kept, &dk), (&self.v, v_kept, &dv)];
        for (i, (linear, kept, by_head)) in projections.into_iter().enumerate() {
            from_heads(pass, t, by_head, dim, &mut flat);
            let d_u = if i == 0 { To::Set(&mut *d_u) } else { To::Add(&mut *d_u) };
            linear.backward(pass, gradients, u, kept.as_ref(), &flat, d_u);
        }
    }
}

/// (T, H hd) to (H, T, hd).
fn to_heads(pass: &Pass<'_>, t: usize, flat: &[f32], dim: usize, out: &mut [f32]) {
    let width = flat.len() / t;
    for_each(pass.work.pool(), Pieces::new(out, t * dim), |h, out| {
        for (out, row) in out.chunks_exact_mut(dim).zip(flat.chunks_exact(width)) {
            out.copy_from_slice(&row[h * dim..][..dim]);
        }
    });
}

/// (H, T, hd) to (T, H hd).
fn from_heads(pass: &Pass<'_>, t: usize, heads: &[f32], dim: usize, out: &mut [f32]) {
    let width = heads.len() / t;
    pass.by_rows(out, width, |first, out| {
        for (i, row) in out.chunks_exact_mut(width).enumerate() {
            for (h, out) in row.chunks_exact_mut(dim).enumerate() {
                out.copy_from_slice(&heads[(h * t + first + i) * dim..][..dim]);
            }
        }
    });
}
