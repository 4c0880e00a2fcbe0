//! Sliding-window attention on the CPU: query i sees keys j with `j <= i` and `i - j < W`, scaled by
//! `1/sqrt(hd)`; no positional encoding.

use super::kv::KvCache;
use super::linear::{Compute, Input, Job, linear};
use super::ops::{Attend, AttendScratch, attend};
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
    let scratch = AttendScratch::len(spec.head_dim, t);
    let split = (Columns::new(heads, width, spec.head_dim), Pieces::new(&mut s.heads[..spec.heads * scratch], scratch));
    let (q, cache) = (&*q, &*cache);
    for_each(&cx.pool, split, |head, (mut out, scratch)| {
        let mut scratch = AttendScratch::new(scratch, spec.head_dim, t);
        for (first_key, block) in cache.blocks_from((at.position + 1).saturating_sub(spec.window)) {
            let args = Attend {
                head,
                dim: spec.head_dim,
                q,
                stride: width,
                first_query: at.position,
                count: t,
                window: spec.window,
                first_key,
                heads: spec.heads,
                block,
            };
            attend(cx.level, &args, &mut scratch, &mut out);
        }
        scratch.finish(&mut out);
    });

    let heads = &s.gated[..t * width];
    let x = Input { x: heads, q: s.quantised.of(cx, heads, t, width) };
    linear(cx, t, &mut [Job { w: &weights.o, x, out: &mut s.mixed[..t * d] }]);
}
