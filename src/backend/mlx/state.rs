//! The live state of a model: what it remembers of the tokens read so far.

use anyhow::Result;
use mlx_rs::{Array, Dtype};

use super::kv::KvCache;
use super::ops;
use crate::model::spec::{LayerSpec, Mixer, ModelSpec, SsmSpec};

/// State of one layer.
#[derive(Clone)]
pub(crate) enum LayerState {
    Ssm(SsmState),
    Attention(KvCache),
}

/// State of a state-space layer: of constant size, and never changed, only replaced.
#[derive(Clone)]
pub(crate) struct SsmState {
    /// (N, E)
    pub(crate) h: Array,
    /// The last K-1 inputs of the convolution: (K-1, E)
    pub(crate) history: Array,
}

impl SsmState {
    pub(crate) fn new(spec: &SsmSpec) -> Result<Self> {
        let h = ops::zeros(&[spec.state, spec.inner], Dtype::Float32)?;
        Ok(Self { h, history: ops::zeros(&[spec.conv - 1, spec.inner], Dtype::Float32)? })
    }

    pub(crate) fn bytes(spec: &SsmSpec) -> usize {
        4 * spec.inner * (spec.state + spec.conv - 1)
    }
}

impl LayerState {
    fn new(spec: &LayerSpec, kv: Dtype) -> Result<Self> {
        Ok(match &spec.mixer {
            Mixer::Ssm(m) => LayerState::Ssm(SsmState::new(m)?),
            Mixer::Attention(m) => LayerState::Attention(KvCache::new(*m, kv)),
        })
    }

    /// What must be computed before the next pass begins.
    pub(crate) fn arrays(&self) -> Vec<&Array> {
        match self {
            LayerState::Ssm(state) => vec![&state.h, &state.history],
            LayerState::Attention(cache) => cache.arrays().collect(),
        }
    }
}

/// The state before any token.
pub(crate) fn empty(spec: &ModelSpec, kv: Dtype) -> Result<Vec<LayerState>> {
    spec.layers.iter().map(|l| LayerState::new(l, kv)).collect()
}
