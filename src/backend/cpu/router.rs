//! Which experts a token takes.
//!
//! ```text
//! g = softmax(u gate^T / temperature)     the k largest g choose, and weigh, the experts
//! ```

use super::ops;
use crate::model::spec::MoeSpec;
use crate::protocol::{Alteration, LayerRouting};

/// The choices of all tokens of a pass in one layer.
#[derive(Default)]
pub(crate) struct Choices {
    /// Experts for each token: (T, k)
    pub(crate) experts: Vec<usize>,
    /// Their gate probabilities: (T, k)
    pub(crate) weights: Vec<f32>,
    /// k in force.
    pub(crate) k: usize,
}

impl Choices {
    /// Chooses for every token. `gates` holds the router's logits (T, X), and its probabilities after.
    pub(crate) fn choose(&mut self, gates: &mut [f32], spec: &MoeSpec, alteration: &Alteration) {
        self.experts.clear();
        self.weights.clear();
        self.k = alteration.top_k.unwrap_or(spec.top_k);
        for gates in gates.chunks_exact_mut(spec.experts) {
            if !alteration.is_none() {
                gates.iter_mut().for_each(|g| *g /= alteration.temperature);
                alteration.mute.iter().for_each(|e| gates[*e] = f32::NEG_INFINITY);
            }
            ops::softmax(gates);
            let first = self.experts.len();
            self.experts.extend(&alteration.force);
            while self.experts.len() < first + self.k {
                let chosen = &self.experts[first..];
                let free = (0..gates.len()).filter(|e| !chosen.contains(e) && !alteration.mute.contains(e));
                // The largest; of equals the first.
                let best = free.reduce(|best, e| if gates[e] > gates[best] { e } else { best });
                self.experts.extend(best);
            }
            self.experts[first..].sort_by(|a, b| gates[*b].total_cmp(&gates[*a]));
            self.weights.extend(self.experts[first..].iter().map(|e| gates[*e]));
        }
    }

    /// What is told of one token.
    pub(crate) fn routing(&self, layer: usize, token: usize, gates: &[f32], shared: Option<f32>) -> LayerRouting {
        let of = token * self.k..(token + 1) * self.k;
        let entropy = gates.iter().filter(|g| **g > 0.0).map(|g| -g * g.ln()).sum();
        LayerRouting {
            layer,
            experts: self.experts[of.clone()].to_vec(),
            weights: self.weights[of].to_vec(),
            entropy,
            shared_gate: shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(alteration: Alteration) -> (Vec<usize>, Vec<f32>) {
        let spec = MoeSpec { experts: 4, top_k: 2, intermediate: 1, shared: false };
        let mut gates = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln);
        let mut choices = Choices::default();
        choices.choose(&mut gates, &spec, &alteration);
        let rounded = choices.weights.iter().map(|w| (w * 1000.0).round() / 1000.0);
        (choices.experts.clone(), rounded.collect())
    }

    #[test]
    fn routing_can_be_altered() {
        let none = Alteration::default();
        assert_eq!(choose(none.clone()), (vec![3, 2], vec![0.4, 0.3]));
        let muted = Alteration { mute: vec![3], ..none.clone() };
        assert_eq!(choose(muted), (vec![2, 1], vec![0.5, 0.333]));
        let forced = Alteration { force: vec![0], ..none.clone() };
        assert_eq!(choose(forced), (vec![3, 0], vec![0.4, 0.1]));
        let more = Alteration { top_k: Some(3), ..none.clone() };
        assert_eq!(choose(more).0, [3, 2, 1]);
        let flat = Alteration { temperature: 1e6, ..none };
        assert_eq!(choose(flat).1, [0.25, 0.25]);
    }
}
