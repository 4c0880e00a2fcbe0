//! The live state of a model: what it remembers of the tokens read so far.

use super::kv::KvCache;
use crate::model::footprint::KvFormat;
use crate::model::spec::{LayerSpec, Mixer, ModelSpec, SsmSpec};

/// Channels of a state-space layer that one task works on, and that lie together in memory.
pub(crate) const CHANNELS: usize = 64;

/// State of one layer.
#[derive(Clone)]
pub(crate) enum LayerState {
    Ssm(SsmState),
    Attention(KvCache),
}

/// State of a state-space layer: of constant size.
#[derive(Clone)]
pub(crate) struct SsmState {
    /// Blocks of 64 channels, each (N, width): E * N values.
    pub(crate) h: Vec<f32>,
    /// The last K-1 inputs of the convolution: (K-1, E)
    pub(crate) history: Vec<f32>,
}

impl SsmState {
    pub(crate) fn new(spec: &SsmSpec) -> Self {
        Self { h: vec![0.0; spec.inner * spec.state], history: vec![0.0; (spec.conv - 1) * spec.inner] }
    }

    /// Moves the convolution's history on by `count` inputs, in rows of `stride` values.
    pub(crate) fn push_history(&mut self, x: &[f32], stride: usize, count: usize, spec: &SsmSpec) {
        let (rows, e) = (spec.conv - 1, spec.inner);
        let kept = rows.saturating_sub(count);
        self.history.copy_within((rows - kept) * e.., 0);
        for (to, row) in (kept..rows).enumerate().map(|(i, row)| (count - (rows - kept) + i, row)) {
            self.history[row * e..][..e].copy_from_slice(&x[to * stride..][..e]);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        4 * (self.h.len() + self.history.len())
    }
}

impl LayerState {
    pub(crate) fn new(spec: &LayerSpec, kv: KvFormat) -> Self {
        match &spec.mixer {
            Mixer::Ssm(m) => LayerState::Ssm(SsmState::new(m)),
            Mixer::Attention(m) => LayerState::Attention(KvCache::new(*m, kv)),
        }
    }
}

/// The state before any token.
pub(crate) fn empty(spec: &ModelSpec, kv: KvFormat) -> Vec<LayerState> {
    spec.layers.iter().map(|l| LayerState::new(l, kv)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_keeps_the_last_inputs_however_they_come() {
        let spec = SsmSpec { inner: 1, state: 1, conv: 4 };
        for pieces in [vec![6], vec![1; 6], vec![2, 4], vec![4, 2], vec![1, 3, 2]] {
            let mut state = SsmState::new(&spec);
            let mut next = 1.0;
            for count in pieces {
                // Rows of two, of which the first is read.
                let x: Vec<f32> = (0..count).flat_map(|i| [next + i as f32, -1.0]).collect();
                state.push_history(&x, 2, count, &spec);
                next += count as f32;
            }
            assert_eq!(state.history, [4.0, 5.0, 6.0]);
        }
    }
}
