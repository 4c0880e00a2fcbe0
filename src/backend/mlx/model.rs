//! The forward pass: embedding, layers, head.
//!
//! ```text
//! x = embed[ids] input_proj^T;  x += mixer(norm(x));  x += moe(norm(x));  x output_proj^T lm_head^T
//! ```

use anyhow::{Context, Result, ensure};
use mlx_rs::{Array, Dtype};

use super::Ways;
use super::attention;
use super::moe;
use super::ops;
use super::rewind::Rewind;
use super::router::Choices;
use super::scan::Scan;
use super::ssm::{self, At};
use super::state::{self, LayerState};
use super::weights::{MixerWeights, Weights};
use crate::backend::Logits;
use crate::model::spec::{Mixer, ModelSpec};
use crate::protocol::{Alterations, TokenId, TokenRouting};

/// Tokens that one forward pass takes: enough for matrix products to run at full speed, and few enough that
/// cancelling is prompt.
pub(crate) const CHUNK: usize = 256;

/// A model with its live state.
pub(crate) struct MlxModel {
    pub(crate) spec: ModelSpec,
    pub(crate) weights: Weights,
    /// Products take halves where weights are stored so.
    pub(crate) halves: bool,
    /// How keys and values are kept.
    pub(crate) kv: Dtype,
    scan: Scan,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) layers: Vec<LayerState>,
    pub(crate) rewind: Rewind,
    pub(crate) alterations: Alterations,
    pub(crate) logits: Vec<f32>,
}

/// What a pass computes beside the state.
struct Outputs {
    logits: Option<Array>,
    choices: Vec<(usize, Choices)>,
}

impl MlxModel {
    pub(crate) fn new(spec: ModelSpec, weights: Weights, ways: Ways, kv: Dtype, budget: usize) -> Result<Self> {
        Ok(Self {
            layers: state::empty(&spec, kv)?,
            rewind: Rewind::new(&spec, budget),
            alterations: Alterations::default(),
            logits: Vec::new(),
            tokens: Vec::with_capacity(spec.max_seq_len.min(1 << 16)),
            spec,
            weights,
            halves: ways.halves,
            kv,
            scan: Scan::new(ways.compiled),
        })
    }

    /// See [`crate::backend::Backend::forward`].
    pub(crate) fn forward(
        &mut self,
        tokens: &[TokenId],
        logits: Logits,
        tap: Option<&mut Vec<TokenRouting>>,
    ) -> Result<&[f32]> {
        let (t, v) = (tokens.len(), self.spec.vocab);
        ensure!((1..=CHUNK).contains(&t), "one pass reads 1 to {CHUNK} tokens, not {t}");
        if let Some(bad) = tokens.iter().find(|id| **id as usize >= v) {
            anyhow::bail!("token {bad} is outside the vocabulary: the model has tokens 0 to {}", v - 1);
        }
        let computed = self.compute(tokens, logits, tap);
        if let Err(error) = computed {
            // What was read is half replaced: the only state that is sure is the first.
            self.clear()?;
            return Err(error.context(format!("while MLX read {t} tokens")));
        }
        Ok(&self.logits)
    }

    fn compute(&mut self, tokens: &[TokenId], logits: Logits, tap: Option<&mut Vec<TokenRouting>>) -> Result<()> {
        let outputs = self.pass(tokens, logits)?;
        let choices = outputs.choices.iter().filter(|_| tap.is_some());
        let wanted = choices.flat_map(|(_, c)| c.arrays()).chain(&outputs.logits);
        let state = self.layers.iter().flat_map(LayerState::arrays).chain(self.rewind.arrays());
        ops::eval(wanted.chain(state))?;
        self.logits.clear();
        if let Some(logits) = &outputs.logits {
            self.logits.extend(ops::floats(logits)?);
        }
        if let Some(tap) = tap {
            let first = tap.len();
            tap.resize_with(first + tokens.len(), Vec::new);
            for (layer, choices) in &outputs.choices {
                for (routing, of) in tap[first..].iter_mut().zip(choices.routing(*layer)?) {
                    routing.push(of);
                }
            }
        }
        self.rewind.finish();
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Says what is to be computed; nothing is yet.
    fn pass(&mut self, tokens: &[TokenId], logits: Logits) -> Result<Outputs> {
        let (position, count) = (self.tokens.len(), tokens.len());
        let needed = self.rewind.begin(position, count, &self.layers);
        let at = At { position, count, needed, halves: self.halves };
        let mut x = self.weights.input.apply(&self.weights.embed.rows(tokens)?, at.halves)?;
        let mut choices = Vec::new();
        for layer in 0..self.spec.layers.len() {
            let (after, chosen) = self.layer(layer, at, x).with_context(|| format!("layer {layer}"))?;
            x = after;
            choices.extend(chosen.map(|c| (layer, c)));
        }
        let first = match logits {
            Logits::None => None,
            Logits::Last => Some(count - 1),
            Logits::All => Some(0),
        };
        let logits = first.map(|first| self.head(&ops::narrow(&x, 0, first..count)?)).transpose()?;
        Ok(Outputs { logits, choices })
    }

    fn layer(&mut self, layer: usize, at: At, x: Array) -> Result<(Array, Option<Choices>)> {
        let (spec, weights) = (&self.spec.layers[layer], &self.weights.layers[layer]);
        let normed = ops::rms_norm(&x, &weights.norm, self.spec.norm_eps)?;
        let mixed = match (&spec.mixer, &weights.mixer, &mut self.layers[layer]) {
            (Mixer::Ssm(spec), MixerWeights::Ssm(weights), LayerState::Ssm(state)) => {
                let (mixed, trail) = ssm::forward(weights, spec, state, &self.scan, at, &normed)?;
                let last = trail.state_after(at.count)?;
                self.rewind.keep(at, Some((&trail, &last)))?;
                *state = last;
                mixed
            }
            (Mixer::Attention(spec), MixerWeights::Attention(weights), LayerState::Attention(cache)) => {
                self.rewind.keep(at, None)?;
                attention::forward(weights, spec, cache, at, &normed)?
            }
            _ => unreachable!("weights and state are made from the same spec"),
        };
        let x = ops::add(&x, &mixed)?;
        let (Some(spec), Some(weights)) = (&spec.feed_forward, &weights.moe) else { return Ok((x, None)) };
        let normed = ops::rms_norm(&x, &weights.norm, self.spec.norm_eps)?;
        let (out, choices) = moe::forward(weights, spec, self.alterations.of(layer), at, &normed)?;
        Ok((ops::add(&x, &out)?, Some(choices)))
    }

    fn head(&self, x: &Array) -> Result<Array> {
        self.weights.head.apply(&self.weights.output.apply(x, self.halves)?, self.halves)
    }

    /// Forgets every token.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.tokens.clear();
        self.layers = state::empty(&self.spec, self.kv)?;
        self.rewind.truncate(0);
        Ok(())
    }
}
