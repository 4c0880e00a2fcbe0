//! Keys and values of one attention layer: blocks of 32 tokens, shared and copied on write.
//!
//! The blocks of the window make a ring: a new one is added at the end, and those that no token can
//! see any more fall off at the front (see [`super::rewind`], which may keep some for a while).

use std::collections::VecDeque;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::model::footprint::KvFormat;
use crate::model::spec::AttentionSpec;

/// Tokens in a block.
pub(crate) const BLOCK: usize = 32;

/// Bytes of one block of a layer.
fn block_bytes(format: KvFormat, spec: &AttentionSpec) -> usize {
    2 * BLOCK * format.bytes(spec.heads, spec.head_dim) as usize
}

/// Keys (H, hd, 32), tokens innermost, so that a score is computed for many at once; then values
/// (H, 32, hd). Both in one piece of memory, since each piece leaves a part of its last page unused.
#[derive(Clone)]
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    /// Codes, and scales (2H, 32).
    Q8(Vec<i8>, Vec<f32>),
}

impl Numbers {
    fn new(format: KvFormat, spec: &AttentionSpec) -> Self {
        let len = 2 * BLOCK * spec.heads * spec.head_dim;
        match format {
            KvFormat::F32 => Numbers::F32(vec![0.0; len]),
            KvFormat::F16 => Numbers::F16(vec![f16::ZERO; len]),
            KvFormat::Q8 => Numbers::Q8(vec![0; len], vec![0.0; 2 * BLOCK * spec.heads]),
        }
    }

    /// Stores one token's row of keys (H * hd).
    fn put_keys(&mut self, row: &[f32], slot: usize, spec: &AttentionSpec) {
        let dim = spec.head_dim;
        self.put(row, slot, spec, 0, |h, d| (h * dim + d) * BLOCK + slot);
    }

    /// Stores one token's row of values (H * hd).
    fn put_values(&mut self, row: &[f32], slot: usize, spec: &AttentionSpec) {
        let dim = spec.head_dim;
        self.put(row, slot, spec, spec.heads, |h, d| (h * BLOCK + slot) * dim + d);
    }

    /// Number `d` of head `h` goes to `place(h, d)` after the first `skip` heads.
    fn put(
        &mut self,
        row: &[f32],
        slot: usize,
        spec: &AttentionSpec,
        skip: usize,
        place: impl Fn(usize, usize) -> usize,
    ) {
        let dim = spec.head_dim;
        let place = |h: usize, d: usize| skip * BLOCK * dim + place(h, d);
        match self {
            Numbers::F32(to) => {
                for (h, head) in row.chunks_exact(dim).enumerate() {
                    head.iter().enumerate().for_each(|(d, v)| to[place(h, d)] = *v);
                }
            }
            Numbers::F16(to) => {
                let mut half = [f16::ZERO; 64];
                for (h, head) in row.chunks_exact(dim).enumerate() {
                    for (c, part) in head.chunks(64).enumerate() {
                        half[..part.len()].convert_from_f32_slice(part);
                        for (d, v) in half[..part.len()].iter().enumerate() {
                            to[place(h, c * 64 + d)] = saturated(*v);
                        }
                    }
                }
            }
            Numbers::Q8(to, scales) => {
                for (h, head) in row.chunks_exact(dim).enumerate() {
                    let most = head.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    let scale = most / 127.0;
                    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                    scales[(skip + h) * BLOCK + slot] = scale;
                    head.iter().enumerate().for_each(|(d, v)| to[place(h, d)] = (v * inverse).round() as i8);
                }
            }
        }
    }
}

/// The largest finite half instead of infinity: one enormous key must not turn a whole row to NaN.
fn saturated(v: f16) -> f16 {
    if v == f16::INFINITY {
        f16::MAX
    } else if v == f16::NEG_INFINITY {
        f16::MIN
    } else {
        v
    }
}

/// All keys and values that are kept of one layer.
#[derive(Clone)]
pub(crate) struct KvCache {
    spec: AttentionSpec,
    format: KvFormat,
    /// Block `i` holds tokens from `32 * (first + i)`.
    blocks: VecDeque<Arc<Numbers>>,
    first: usize,
    /// Tokens appended in all, those that fell off included.
    len: usize,
}

impl KvCache {
    pub(crate) fn new(spec: AttentionSpec, format: KvFormat) -> Self {
        Self { spec, format, blocks: VecDeque::new(), first: 0, len: 0 }
    }

    /// Appends tokens; `k` and `v` have one row of H * hd each.
    pub(crate) fn append(&mut self, k: &[f32], v: &[f32]) {
        let (spec, width) = (self.spec, self.spec.heads * self.spec.head_dim);
        for (k, v) in k.chunks_exact(width).zip(v.chunks_exact(width)) {
            let slot = self.len % BLOCK;
            let index = self.len / BLOCK - self.first;
            if index == self.blocks.len() {
                self.blocks.push_back(Arc::new(Numbers::new(self.format, &spec)));
            }
            // Copies the block if a snapshot shares it: only ever the last, unfinished one.
            let block = Arc::make_mut(&mut self.blocks[index]);
            block.put_keys(k, slot, &spec);
            block.put_values(v, slot, &spec);
            self.len += 1;
        }
    }

    /// Blocks that hold tokens `from..len`, with the position of each one's first token.
    pub(crate) fn blocks_from(&self, from: usize) -> impl Iterator<Item = (usize, &Numbers)> {
        let skip = (from / BLOCK).saturating_sub(self.first);
        let first = self.first;
        self.blocks.iter().enumerate().skip(skip).map(move |(i, b)| ((first + i) * BLOCK, &**b))
    }

    /// The block of the oldest token that a token at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.spec.window) / BLOCK
    }

    /// True if every token that one at `position`, or after it, sees is still there.
    pub(crate) fn reaches(&self, position: usize) -> bool {
        self.first <= self.first_seen(position)
    }

    /// Forgets the blocks of which no token at `position`, or after it, sees anything.
    pub(crate) fn forget_unseen_from(&mut self, position: usize) {
        while self.first < self.first_seen(position) && !self.blocks.is_empty() {
            self.blocks.pop_front();
            self.first += 1;
        }
    }

    /// Forgets the tokens from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        assert!(len <= self.len && self.first * BLOCK <= len);
        self.blocks.truncate(len.div_ceil(BLOCK) - self.first);
        self.len = len;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.spec, self.format);
    }

    /// Bytes of the blocks that the next token sees some token of, and of those that are only kept.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let kept = self.first_seen(self.len).saturating_sub(self.first).min(self.blocks.len());
        let block = block_bytes(self.format, &self.spec);
        ((self.blocks.len() - kept) * block, kept * block)
    }

    /// Bytes of the blocks that are only there for a return to `from` once `to` tokens are read.
    pub(crate) fn kept_bytes(&self, from: usize, to: usize) -> usize {
        self.first_seen(to).saturating_sub(self.first_seen(from)) * block_bytes(self.format, &self.spec)
    }

    /// Tokens that the next one can see.
    pub(crate) fn visible(&self) -> usize {
        self.len.min(self.spec.window)
    }

    /// How long a token can be seen.
    pub(crate) fn window(&self) -> usize {
        self.spec.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> KvCache {
        KvCache::new(AttentionSpec { heads: 2, head_dim: 4, window: 40 }, KvFormat::F16)
    }

    fn row(t: usize) -> Vec<f32> {
        (0..8).map(|i| (t * 8 + i) as f32).collect()
    }

    #[test]
    fn a_shared_block_is_copied_when_it_is_written() {
        let mut live = cache();
        (0..40).for_each(|t| live.append(&row(t), &row(t)));
        let kept = live.clone();
        assert!(Arc::ptr_eq(&live.blocks[1], &kept.blocks[1]), "a snapshot copies nothing");
        live.append(&row(99), &row(99));
        assert!(Arc::ptr_eq(&live.blocks[0], &kept.blocks[0]), "a full block stays shared");
        assert!(!Arc::ptr_eq(&live.blocks[1], &kept.blocks[1]), "the block that is written is copied");
        let Numbers::F16(old) = &*kept.blocks[1] else { panic!("not f16") };
        assert_eq!(old[2 * 4 * BLOCK + 8 * 4], f16::ZERO, "the snapshot does not see the new token");
    }

    #[test]
    fn the_ring_forgets_and_returns() {
        let mut live = cache();
        (0..100).for_each(|t| live.append(&row(t), &row(t)));
        live.forget_unseen_from(100);
        assert!(live.reaches(100) && !live.reaches(70));
        assert_eq!(live.blocks_from(61).map(|(p, _)| p).collect::<Vec<_>>(), [32, 64, 96]);
        live.truncate(64);
        assert_eq!(live.blocks_from(0).map(|(p, _)| p).collect::<Vec<_>>(), [32]);
        (64..70).for_each(|t| live.append(&row(t), &row(t)));
        assert_eq!(live.visible(), 40);
        let block = block_bytes(KvFormat::F16, &live.spec);
        assert_eq!(live.bytes(), (2 * block, 0));
    }

    #[test]
    fn a_full_ring_of_3b_takes_what_the_design_allows() {
        let spec = crate::model::config::Config::preset("3b").unwrap().spec();
        let ring = |format| -> usize {
            let of = |m: &crate::model::spec::Mixer| match m {
                // The window, and the block that is being written.
                crate::model::spec::Mixer::Attention(a) => (a.window / BLOCK + 1) * block_bytes(format, a),
                crate::model::spec::Mixer::Ssm(_) => 0,
            };
            spec.layers.iter().map(|l| of(&l.mixer)).sum()
        };
        assert!(ring(KvFormat::F16) <= 340_000_000, "{}", ring(KvFormat::F16));
        assert!(ring(KvFormat::Q8) <= 180_000_000, "{}", ring(KvFormat::Q8));
        assert_eq!(ring(KvFormat::Q8), 177_537_024);
    }

    #[test]
    fn enormous_numbers_stay_finite_in_f16() {
        let mut live = cache();
        live.append(&[1e9; 8], &[-1e9; 8]);
        let Numbers::F16(numbers) = &*live.blocks[0] else { panic!("not f16") };
        assert_eq!(numbers[2 * 4 * BLOCK], f16::MIN);
    }
}
