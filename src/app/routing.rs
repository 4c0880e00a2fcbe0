//! What the routing of many tokens adds up to.

use std::collections::HashMap;

use crate::protocol::{LayerRouting, TokenId, TokenRouting};

/// How tokens loaded the experts of one layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayerLoad {
    /// Index of the layer in the model.
    pub layer: usize,
    /// Tokens counted.
    pub tokens: u64,
    /// (X) sum of the gate weights that each expert got.
    pub weight: Vec<f64>,
    /// (X) how often each was chosen.
    pub chosen: Vec<u64>,
    /// Sum of the gates' entropies, in nats.
    pub entropy: f64,
    /// Sum and count of the shared expert's gates.
    pub shared: (f64, u64),
    /// (X, X) how often two were chosen together, row after row.
    pub pairs: Vec<u32>,
}

impl LayerLoad {
    fn new(layer: usize, experts: usize) -> Self {
        Self {
            layer,
            weight: vec![0.0; experts],
            chosen: vec![0; experts],
            pairs: vec![0; experts * experts],
            ..Self::default()
        }
    }

    fn count(&mut self, routing: &LayerRouting, more: bool) {
        let experts = self.chosen.len();
        let step = |n: &mut u64| *n = if more { *n + 1 } else { n.saturating_sub(1) };
        let sum = |s: &mut f64, n: u64, x: f32| {
            let x = f64::from(x);
            // Sums of nothing are nothing, whatever was rounded on the way.
            *s = if n == 0 {
                0.0
            } else if more {
                *s + x
            } else {
                *s - x
            };
        };
        step(&mut self.tokens);
        sum(&mut self.entropy, self.tokens, routing.entropy);
        if let Some(gate) = routing.shared_gate {
            step(&mut self.shared.1);
            sum(&mut self.shared.0, self.shared.1, gate);
        }
        for (i, expert) in routing.experts.iter().copied().enumerate().filter(|(_, e)| *e < experts) {
            step(&mut self.chosen[expert]);
            sum(&mut self.weight[expert], self.chosen[expert], routing.weights.get(i).copied().unwrap_or(0.0));
            for other in routing.experts[..i].iter().copied().filter(|o| *o < experts) {
                for pair in [expert * experts + other, other * experts + expert] {
                    let n = &mut self.pairs[pair];
                    *n = if more { *n + 1 } else { n.saturating_sub(1) };
                }
            }
        }
    }

    /// The mean gate weight of an expert, 0 to 1.
    pub fn mean_weight(&self, expert: usize) -> f64 {
        ratio(self.weight.get(expert).copied().unwrap_or(0.0), self.tokens)
    }

    /// The share of tokens that chose an expert.
    pub fn share(&self, expert: usize) -> f64 {
        ratio(self.chosen.get(expert).copied().unwrap_or(0) as f64, self.tokens)
    }

    /// Mean entropy of the gate, as a share of the largest possible: 1 chooses at random.
    pub fn mean_entropy(&self) -> f64 {
        ratio(self.entropy, self.tokens) / (self.chosen.len().max(2) as f64).ln()
    }

    /// Mean gate of the shared expert.
    pub fn mean_shared(&self) -> Option<f64> {
        (self.shared.1 > 0).then(|| self.shared.0 / self.shared.1 as f64)
    }

    /// How evenly the experts are chosen: the entropy of their shares over the largest possible. 1 is
    /// even, 0 is always the same one.
    pub fn balance(&self) -> f64 {
        let all: u64 = self.chosen.iter().sum();
        if all == 0 {
            return 0.0;
        }
        let shares = self.chosen.iter().filter(|c| **c > 0).map(|c| *c as f64 / all as f64);
        let entropy: f64 = shares.map(|p| -p * p.ln()).sum();
        (entropy / (self.chosen.len().max(2) as f64).ln()).clamp(0.0, 1.0)
    }

    /// Experts that were never chosen, once there were tokens enough to expect it of each.
    pub fn dead(&self) -> impl Iterator<Item = usize> {
        let enough = self.tokens >= 4 * self.chosen.len() as u64;
        self.chosen.iter().enumerate().filter(move |(_, c)| enough && **c == 0).map(|(expert, _)| expert)
    }

    /// How often two experts were chosen together, over how often either was (Jaccard).
    pub fn together(&self, a: usize, b: usize) -> f64 {
        let (both, either) = self.both_and_either(a, b);
        ratio(both as f64, either)
    }

    /// How often two experts were chosen together, and how often either was.
    pub fn both_and_either(&self, a: usize, b: usize) -> (u64, u64) {
        let experts = self.chosen.len();
        if a >= experts || b >= experts {
            return (0, 0);
        }
        let both = u64::from(self.pairs[a * experts + b]);
        (both, (self.chosen[a] + self.chosen[b]).saturating_sub(both))
    }
}

fn ratio(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// How tokens loaded all MoE layers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Load {
    /// In the order of the model.
    pub layers: Vec<LayerLoad>,
}

impl Load {
    /// An empty one for a model with this many experts in each layer; 0 where it does not route.
    pub fn new(experts: &[usize]) -> Self {
        let moe = experts.iter().enumerate().filter(|(_, experts)| **experts > 0);
        Self { layers: moe.map(|(layer, experts)| LayerLoad::new(layer, *experts)).collect() }
    }

    /// Counts a token.
    pub fn add(&mut self, routing: &TokenRouting) {
        self.count(routing, true);
    }

    /// Counts a token, or with `more` false takes one away that was counted.
    pub fn count(&mut self, routing: &TokenRouting, more: bool) {
        for layer in routing {
            if let Some(load) = self.layers.iter_mut().find(|l| l.layer == layer.layer) {
                load.count(layer, more);
            }
        }
    }

    /// Tokens counted.
    pub fn tokens(&self) -> u64 {
        self.layers.iter().map(|l| l.tokens).max().unwrap_or(0)
    }

    /// True if both count the same layers and experts.
    pub fn has_shape_of(&self, other: &Load) -> bool {
        let shape = |load: &Load| load.layers.iter().map(|l| (l.layer, l.chosen.len())).collect::<Vec<_>>();
        shape(self) == shape(other)
    }

    /// The most experts that any layer has.
    pub fn experts(&self) -> usize {
        self.layers.iter().map(|l| l.chosen.len()).max().unwrap_or(0)
    }
}

/// For each expert, the tokens whose reading it took part in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fires {
    /// (layer, expert) to tokens, with count and sum of weights.
    of: HashMap<(usize, usize), HashMap<TokenId, (u32, Sum)>>,
    texts: HashMap<TokenId, String>,
}

/// A sum of weights in whole steps of 2^-40: what was added can be taken away without a trace, which keeps
/// the order of tokens with equal sums the same. Floats would leave a rounding behind.
type Sum = i64;
const STEPS: f64 = (1u64 << 40) as f64;

fn steps(weight: f32) -> Sum {
    (f64::from(weight) * STEPS).round() as Sum
}

/// A token that an expert fires for.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// Which.
    pub token: TokenId,
    /// Its text; empty where it is a part of a character, or not known.
    pub text: String,
    /// How often.
    pub count: u32,
    /// With which mean weight.
    pub weight: f32,
}

impl Fires {
    /// Counts the reading of a token, or with `more` false takes one away that was counted.
    pub fn count(&mut self, token: TokenId, text: &str, routing: &TokenRouting, more: bool) {
        self.texts.entry(token).or_insert_with(|| text.to_owned());
        for layer in routing {
            for (expert, weight) in layer.experts.iter().zip(&layer.weights) {
                let tokens = self.of.entry((layer.layer, *expert)).or_default();
                let seen = tokens.entry(token).or_default();
                match (more, seen.0) {
                    (true, count) => *seen = (count + 1, seen.1.saturating_add(steps(*weight))),
                    (false, 0 | 1) => drop(tokens.remove(&token)),
                    (false, count) => *seen = (count - 1, seen.1.saturating_sub(steps(*weight))),
                }
            }
        }
    }

    /// The tokens that an expert fires for most, by the weight it had in them.
    pub fn top(&self, layer: usize, expert: usize, count: usize) -> Vec<Fired> {
        let Some(tokens) = self.of.get(&(layer, expert)) else { return Vec::new() };
        let mut tokens: Vec<(&TokenId, &(u32, Sum))> = tokens.iter().collect();
        tokens.sort_by(|a, b| b.1.1.cmp(&a.1.1).then(a.0.cmp(b.0)));
        let fired = |(token, (count, sum)): (&TokenId, &(u32, Sum))| Fired {
            token: *token,
            text: self.texts.get(token).cloned().unwrap_or_default(),
            count: *count,
            weight: (*sum as f64 / STEPS / f64::from(*count)) as f32,
        };
        tokens.into_iter().take(count).map(fired).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(layer: usize, experts: &[usize], weights: &[f32]) -> TokenRouting {
        let (experts, weights) = (experts.to_vec(), weights.to_vec());
        vec![LayerRouting { layer, experts, weights, entropy: 4f32.ln() / 2.0, shared_gate: Some(0.5) }]
    }

    #[test]
    fn loads_add_up() {
        let mut load = Load::new(&[0, 4]);
        for _ in 0..8 {
            load.add(&routing(1, &[2, 0], &[0.6, 0.2]));
        }
        for _ in 0..8 {
            load.add(&routing(1, &[2, 1], &[0.4, 0.2]));
        }
        load.add(&routing(7, &[0], &[1.0]));
        let layer = &load.layers[0];
        assert_eq!((load.tokens(), load.experts(), layer.layer), (16, 4, 1));
        assert!((layer.mean_weight(2) - 0.5).abs() < 1e-6 && (layer.share(0) - 0.5).abs() < 1e-9);
        assert!((layer.mean_entropy() - 0.5).abs() < 1e-6);
        assert_eq!(layer.mean_shared(), Some(0.5));
        assert_eq!(layer.dead().collect::<Vec<_>>(), [3]);
        assert!((layer.together(0, 2) - 0.5).abs() < 1e-9 && layer.together(0, 1) == 0.0);
        assert!(layer.balance() > 0.7 && layer.balance() < 1.0);
        assert_eq!((layer.together(9, 0), layer.share(9)), (0.0, 0.0));
    }

    #[test]
    fn experts_know_their_tokens() {
        let mut fires = Fires::default();
        fires.count(5, "fn", &routing(1, &[2, 0], &[0.6, 0.2]), true);
        fires.count(5, "fn", &routing(1, &[2, 0], &[0.8, 0.2]), true);
        fires.count(6, "x", &routing(1, &[2], &[0.9]), true);
        let top = fires.top(1, 2, 5);
        assert_eq!(top.iter().map(|f| (f.text.as_str(), f.count)).collect::<Vec<_>>(), [("fn", 2), ("x", 1)]);
        assert!((top[0].weight - 0.7).abs() < 1e-6);
        assert!(fires.top(1, 3, 5).is_empty());
    }
}
