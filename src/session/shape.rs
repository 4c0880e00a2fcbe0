//! The shape of a model, as far as its routing tells it.

use crate::chat::{Change, Moment, What};
use crate::protocol::{Event, LayerRouting, ModelInfo};

use super::rules::{MOST_EXPERTS, MOST_LAYERS, MOST_PAIRS};

/// Layers and experts that were seen.
#[derive(Default)]
pub(super) struct Shape {
    experts: Vec<usize>,
    top_k: Vec<usize>,
}

impl Shape {
    /// What the routing of these moments tells.
    pub(super) fn of(moments: &[Moment]) -> Self {
        let mut shape = Self::default();
        for moment in moments {
            match &moment.what {
                What::Change(Change::Token { token, .. }) => shape.add(&token.routing),
                What::Change(Change::Add { tokens, .. }) => tokens.iter().for_each(|token| shape.add(&token.routing)),
                What::Engine(Event::Prefill { routing, .. }) => routing.iter().for_each(|token| shape.add(token)),
                _ => {}
            }
        }
        shape
    }

    pub(super) fn add(&mut self, layers: &[LayerRouting]) {
        for layer in layers {
            if self.experts.len() <= layer.layer {
                self.experts.resize(layer.layer + 1, 0);
                self.top_k.resize(layer.layer + 1, 0);
            }
            let most = layer.experts.iter().max().map_or(0, |expert| expert + 1);
            self.experts[layer.layer] = self.experts[layer.layer].max(most);
            self.top_k[layer.layer] = self.top_k[layer.layer].max(layer.experts.len());
        }
    }

    /// True if the screen can count it.
    pub(super) fn is_possible(&self) -> bool {
        is_possible(&self.experts)
    }

    /// A model of that shape.
    pub(super) fn model(self, name: String) -> ModelInfo {
        let kind = |experts: &usize| if *experts > 0 { "moe".into() } else { "?".into() };
        ModelInfo {
            name,
            backend: "none".into(),
            arithmetic: "as recorded".into(),
            layers: self.experts.iter().map(kind).collect(),
            experts: self.experts,
            top_k: self.top_k,
            total_parameters: 0,
            active_parameters: 0,
            vocabulary: 0,
            max_seq_len: 0,
        }
    }
}

/// Screens have a cell for each layer and expert, and count pairs of experts: a file must not make them
/// millions.
pub(super) fn is_possible(experts: &[usize]) -> bool {
    experts.len() <= MOST_LAYERS
        && experts.iter().all(|experts| *experts <= MOST_EXPERTS)
        && experts.iter().map(|experts| experts * experts).sum::<usize>() <= MOST_PAIRS
}
