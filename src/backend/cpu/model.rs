//! The forward pass: embedding, layers, head.
//!
//! ```text
//! x = embed[ids] input_proj^T;  x += mixer(norm(x));  x += moe(norm(x));  x output_proj^T lm_head^T
//! ```

use anyhow::{Result, ensure};

use super::attention;
use super::linear::{Compute, Input, Job, linear};
use super::moe;
use super::ops;
use super::rewind::Rewind;
use super::router::Choices;
use super::scratch::{CHUNK, Scratch};
use super::split::{Pieces, for_each};
use super::ssm::{self, At};
use super::state::{self, LayerState};
use super::weights::{MixerWeights, Weights};
use crate::backend::Logits;
use crate::model::footprint::KvFormat;
use crate::model::spec::{Mixer, ModelSpec};
use crate::protocol::{Alterations, TokenId, TokenRouting};

/// A model with its live state.
pub(crate) struct CpuModel {
    pub(crate) cx: Compute,
    pub(crate) spec: ModelSpec,
    pub(crate) weights: Weights,
    pub(crate) fast: bool,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) layers: Vec<LayerState>,
    pub(crate) rewind: Rewind,
    pub(crate) scratch: Scratch,
    pub(crate) choices: Choices,
    pub(crate) alterations: Alterations,
    /// Rows of the embedding that were looked up since its memory was given back.
    looked_up: usize,
}

/// Rows of the embedding that may be looked up before its memory is given back: the system brings
/// each in with its neighbours, and a large table would come to lie in memory whole for a few rows.
const LOOKED_UP: usize = 64;

impl CpuModel {
    pub(crate) fn new(cx: Compute, spec: ModelSpec, weights: Weights, fast: bool, kv: KvFormat, budget: usize) -> Self {
        Self {
            layers: state::empty(&spec, kv),
            rewind: Rewind::new(&spec, budget, !fast),
            scratch: Scratch::new(&spec, fast),
            choices: Choices::default(),
            alterations: Alterations::default(),
            looked_up: 0,
            tokens: Vec::with_capacity(spec.max_seq_len.min(1 << 16)),
            cx,
            spec,
            weights,
            fast,
        }
    }

    /// See [`crate::backend::Backend::forward`].
    pub(crate) fn forward(
        &mut self,
        tokens: &[TokenId],
        logits: Logits,
        mut tap: Option<&mut Vec<TokenRouting>>,
    ) -> Result<&[f32]> {
        let (t, v) = (tokens.len(), self.spec.vocab);
        ensure!((1..=CHUNK).contains(&t), "one pass reads 1 to {CHUNK} tokens, not {t}");
        if let Some(bad) = tokens.iter().find(|id| **id as usize >= v) {
            anyhow::bail!("token {bad} is outside the vocabulary: the model has tokens 0 to {}", v - 1);
        }
        let position = self.tokens.len();
        self.rewind.begin(position, t, &mut self.layers);
        let first_routing = tap.as_ref().map_or(0, |tap| tap.len());
        if let Some(tap) = &mut tap {
            tap.resize_with(first_routing + t, Vec::new);
        }

        self.embed(tokens);
        for layer in 0..self.spec.layers.len() {
            let routing = tap.as_mut().map(|tap| &mut tap[first_routing..]);
            self.layer(At { layer, position, count: t }, routing);
        }
        self.tokens.extend_from_slice(tokens);
        self.rewind.finish(position + t, &mut self.layers);

        let rows = match logits {
            Logits::None => 0,
            Logits::Last => 1,
            Logits::All => t,
        };
        self.head(t - rows, rows);
        Ok(&self.scratch.logits[..rows * v])
    }

    /// `x = embed[ids] input_proj^T`
    fn embed(&mut self, tokens: &[TokenId]) {
        let (s, width) = (&mut self.scratch, self.spec.embed);
        let rows = &mut s.embed[..tokens.len() * width];
        for (id, row) in tokens.iter().zip(rows.chunks_exact_mut(width)) {
            self.weights.embed.row_into(*id as usize, row);
        }
        let t = tokens.len();
        self.looked_up += t;
        if self.weights.own_head && self.looked_up >= LOOKED_UP {
            self.weights.embed.release();
            self.looked_up = 0;
        }
        let q = s.quantised.of(&self.cx, rows, t, width);
        let x = Input { x: rows, q };
        linear(&self.cx, t, &mut [Job { w: &self.weights.input, x, out: &mut s.x[..t * self.spec.hidden] }]);
    }

    fn layer(&mut self, at: At, tap: Option<&mut [TokenRouting]>) {
        let (cx, s, t, d) = (&self.cx, &mut self.scratch, at.count, self.spec.hidden);
        let (spec, weights) = (&self.spec.layers[at.layer], &self.weights.layers[at.layer]);
        norm(cx, &s.x[..t * d], &weights.norm, self.spec.norm_eps, &mut s.normed[..t * d]);
        match (&spec.mixer, &weights.mixer, &mut self.layers[at.layer]) {
            (Mixer::Ssm(spec), MixerWeights::Ssm(weights), LayerState::Ssm(state)) => {
                ssm::forward(cx, weights, spec, state, &mut self.rewind, at, s);
            }
            (Mixer::Attention(spec), MixerWeights::Attention(weights), LayerState::Attention(cache)) => {
                attention::forward(cx, weights, spec, cache, at, s);
            }
            _ => unreachable!("weights and state are made from the same spec"),
        }
        let mixed = &s.mixed[..t * d];
        for_each(&cx.pool, Pieces::new(&mut s.x[..t * d], 8 * d), |i, x| {
            ops::add(cx.level, x, &mixed[i * 8 * d..][..x.len()]);
        });
        if let (Some(spec), Some(weights)) = (&spec.feed_forward, &weights.moe) {
            norm(cx, &s.x[..t * d], &weights.norm, self.spec.norm_eps, &mut s.normed[..t * d]);
            let alteration = self.alterations.of(at.layer);
            moe::forward(cx, weights, spec, (at.layer, t), alteration, &mut self.choices, tap, s);
        }
    }

    /// Logits of `rows` tokens from the `first` of the pass.
    fn head(&mut self, first: usize, rows: usize) {
        if rows == 0 {
            return;
        }
        let (s, d, width) = (&mut self.scratch, self.spec.hidden, self.spec.embed);
        if s.logits.len() < rows * self.spec.vocab {
            s.logits.resize(rows * self.spec.vocab, 0.0);
        }
        let x = &s.x[first * d..][..rows * d];
        let q = s.quantised.of(&self.cx, x, rows, d);
        let out = &mut s.embed[..rows * width];
        linear(&self.cx, rows, &mut [Job { w: &self.weights.output, x: Input { x, q }, out: &mut *out }]);
        let q = s.quantised.of(&self.cx, out, rows, width);
        let logits = &mut s.logits[..rows * self.spec.vocab];
        linear(&self.cx, rows, &mut [Job { w: &self.weights.head, x: Input { x: out, q }, out: logits }]);
    }
}

fn norm(cx: &Compute, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let d = weight.len();
    for_each(&cx.pool, Pieces::new(out, 8 * d), |i, out| {
        for (x, out) in x[i * 8 * d..].chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            ops::rms_norm(cx.level, x, weight, eps, out);
        }
    });
}
