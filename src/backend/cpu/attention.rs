//! Sliding-window attention on the CPU: query i sees keys j with `j <= i` and `i - j < W`, scaled by
//! `1/sqrt(hd)`; no positional encoding.

use super::kv::{KvCache, Numbers};
use super::linear::{Compute, Input, Job, linear};
use super::ops::{Attend, AttendScratch, Running, attend, attend_one};
use super::scratch::Scratch;
use super::split::{Columns, Pieces, for_each};
use super::ssm::At;
use super::weights::AttentionWeights;
use crate::model::spec::AttentionSpec;

/// Reads `s.normed` (T, D), leaves the mixer's output in `s.mixed` (T, D).
pub(crate) fn forward(
    cx: &Compute,
    weights: &AttentionWeights,
    spec: &AttentionSpec,
    cache: &mut KvCache,
    at: At,
    s: &mut Scratch,
) {
    let (t, width, d) = (at.count, spec.heads * spec.head_dim, s.hidden());
    let normed = &s.normed[..t * d];
    let input = Input { x: normed, q: s.normed_quantised.of(cx, normed, t, d) };
    let (q, rest) = s.wide.split_at_mut(t * width);
    let (k, rest) = rest.split_at_mut(t * width);
    let v = &mut rest[..t * width];
    let mut jobs = [
        Job { w: &weights.q, x: input, out: &mut *q },
        Job { w: &weights.k, x: input, out: &mut *k },
        Job { w: &weights.v, x: input, out: &mut *v },
    ];
    linear(cx, t, &mut jobs);
    cache.append(k, v);

    let heads = &mut s.gated[..t * width];
    heads.fill(0.0);
    let (q, cache) = (&*q, &*cache);
    if t == 1 {
        one_token(cx, spec, cache, at.position, q, heads);
    } else {
        many_tokens(cx, spec, cache, at, q, heads, &mut s.heads);
    }

    let heads = &s.gated[..t * width];
    let x = Input { x: heads, q: s.quantised.of(cx, heads, t, width) };
    linear(cx, t, &mut [Job { w: &weights.o, x, out: &mut s.mixed[..t * d] }]);
}

/// Every head over a block before the next block: their numbers lie side by side in it, so that each
/// thread reads long stretches of memory.
fn one_token(cx: &Compute, spec: &AttentionSpec, cache: &KvCache, position: usize, q: &[f32], heads: &mut [f32]) {
    let dim = spec.head_dim;
    // Two tasks a thread, so that the threads end together.
    let together = spec.heads.div_ceil(2 * cx.pool.threads());
    for_each(&cx.pool, Pieces::new(heads, together * dim), |task, out| {
        let mut running: smallvec::SmallVec<[Running; 32]> = smallvec::smallvec![Running::NOTHING; out.len() / dim];
        for (first_key, block) in cache.blocks_from((position + 1).saturating_sub(spec.window)) {
            for (i, (out, running)) in out.chunks_exact_mut(dim).zip(&mut running).enumerate() {
                let args = args(spec, task * together + i, q, (position, 1), (first_key, block));
                attend_one(cx.level, &args, running, out);
            }
        }
        out.chunks_exact_mut(dim).zip(&running).for_each(|(out, running)| running.finish(out));
    });
}

/// One head after the other, so that the queries share what is made of its keys and values.
fn many_tokens(
    cx: &Compute,
    spec: &AttentionSpec,
    cache: &KvCache,
    at: At,
    q: &[f32],
    heads: &mut [f32],
    scratch: &mut [f32],
) {
    let (t, len) = (at.count, AttendScratch::len(spec.head_dim, at.count));
    let columns = Columns::new(heads, spec.heads * spec.head_dim, spec.head_dim);
    for_each(&cx.pool, (columns, Pieces::new(&mut scratch[..spec.heads * len], len)), |head, (mut out, scratch)| {
        let mut scratch = AttendScratch::new(scratch, spec.head_dim, t);
        for block in cache.blocks_from((at.position + 1).saturating_sub(spec.window)) {
            attend(cx.level, &args(spec, head, q, (at.position, t), block), &mut scratch, &mut out);
        }
        scratch.finish(&mut out);
    });
}

/// One head's work on one block of keys, which begins with that at `first_key`.
fn args<'a>(
    spec: &AttentionSpec,
    head: usize,
    q: &'a [f32],
    (first_query, count): (usize, usize),
    (first_key, block): (usize, &'a Numbers),
) -> Attend<'a> {
    Attend {
        head,
        dim: spec.head_dim,
        q,
        stride: spec.heads * spec.head_dim,
        first_query,
        count,
        window: spec.window,
        first_key,
        heads: spec.heads,
        block,
    }
}
