//! A model described as a list of layers, each a mixer and perhaps a feed-forward part.
//!
//! Bit-Axon's sandwich is one instance (see [`super::config`]); backends follow the list and know
//! nothing of thirds.

use std::fmt;

/// The whole shape of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// V: tokens in the vocabulary.
    pub vocab: usize,
    /// S: width of the embedding table and of the head.
    pub embed: usize,
    /// D: width of the residual stream.
    pub hidden: usize,
    /// Added under the root in every norm.
    pub norm_eps: f32,
    /// The longest context that the model is meant for.
    pub max_seq_len: usize,
    /// The head is the embedding table unless the checkpoint has a head of its own.
    pub tied_head: bool,
    /// From the first to the last.
    pub layers: Vec<LayerSpec>,
}

/// One layer: `x + mixer(norm(x))`, then `x + feed_forward(norm(x))` if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Mixes over time.
    pub mixer: Mixer,
    /// Works on each token by itself.
    pub feed_forward: Option<MoeSpec>,
}

/// What mixes over time.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// A selective state space with a short convolution before it.
    Ssm(SsmSpec),
    /// Attention over the last tokens.
    Attention(AttentionSpec),
}

/// Axon-SSM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SsmSpec {
    /// E: channels.
    pub inner: usize,
    /// N: states a channel.
    pub state: usize,
    /// K: taps of the convolution.
    pub conv: usize,
}

/// Sliding-window attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    /// H: heads.
    pub heads: usize,
    /// Width of one.
    pub head_dim: usize,
    /// W: a token sees itself and the W-1 before it.
    pub window: usize,
}

/// A mixture of SwiGLU experts, with a shared one perhaps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeSpec {
    /// X: routed experts.
    pub experts: usize,
    /// k: how many of them a token takes.
    pub top_k: usize,
    /// I: width of an expert.
    pub intermediate: usize,
    /// There is an expert that every token takes, behind a sigmoid gate.
    pub shared: bool,
}

impl ModelSpec {
    /// Indices of the layers that route.
    pub fn moe_layers(&self) -> impl Iterator<Item = (usize, &MoeSpec)> {
        self.layers.iter().enumerate().filter_map(|(i, l)| Some((i, l.feed_forward.as_ref()?)))
    }
}

impl fmt::Display for LayerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.mixer {
            Mixer::Ssm(_) => "ssm",
            Mixer::Attention(_) => "swa",
        })?;
        f.write_str(if self.feed_forward.is_some() { "+moe" } else { "" })
    }
}
