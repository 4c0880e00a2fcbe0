//! What the tokens of a whole conversation add up to, and how they are taken away again when a
//! recording goes back.

use super::chat::Chat;
use super::routing::{Fires, Load};
use crate::protocol::{ReadToken, TokenId, TokenRouting};

/// Counts of a conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// How its tokens loaded the experts.
    pub load: Load,
    /// Which tokens each expert fires for.
    pub fires: Fires,
}

impl Tally {
    /// An empty one for a model with this many experts in each layer.
    pub fn new(experts: &[usize]) -> Self {
        Self { load: Load::new(experts), fires: Fires::default() }
    }

    /// Everything that a conversation holds, every branch of it. What was read to answer is not kept in
    /// it, but for the last token of each prompt.
    pub fn of_chat(experts: &[usize], chat: &Chat) -> Self {
        let mut tally = Self::new(experts);
        for node in chat.nodes() {
            for (at, token) in node.tokens.iter().enumerate().skip(node.taken_over) {
                let before = at.checked_sub(1).map(|before| &node.tokens[before]);
                tally.count(before.map(|b| (b.token, b.text.as_str())), &token.routing, true);
            }
        }
        tally
    }

    /// Tokens of a prompt were read; with `more` false, they were not.
    pub fn prompt(&mut self, routing: &[TokenRouting], tokens: &[ReadToken], more: bool) {
        for (at, routing) in routing.iter().enumerate() {
            self.count(tokens.get(at).map(|read| (read.token, read.text.as_str())), routing, more);
        }
    }

    /// A token was said; with `more` false, it was not. Its routing is of the pass that read the token
    /// before: the first one's belongs to the prompt, which was counted when it was read.
    pub fn said(&mut self, before: Option<(TokenId, &str)>, routing: &TokenRouting, more: bool) {
        if before.is_some() {
            self.count(before, routing, more);
        }
    }

    fn count(&mut self, read: Option<(TokenId, &str)>, routing: &TokenRouting, more: bool) {
        self.load.count(routing, more);
        if let Some((token, text)) = read {
            self.fires.count(token, text, routing, more);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::LayerRouting;

    fn routing(expert: usize, other: usize, weight: u8) -> TokenRouting {
        let experts = if expert == other { vec![expert] } else { vec![expert, other] };
        let weight = f32::from(weight) / 256.0;
        let weights = vec![weight, weight / 3.0][..experts.len()].to_vec();
        vec![LayerRouting { layer: 1, experts, weights, entropy: weight, shared_gate: Some(weight) }]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_is_taken_away_leaves_no_trace(
            tokens in proptest::collection::vec((0..5u32, 0..4usize, 0..4usize, any::<u8>()), 1..60),
            kept in 0..60usize,
        ) {
            let count = |tally: &mut Tally, token: &(u32, usize, usize, u8), more| {
                tally.said(Some((token.0, "x")), &routing(token.1, token.2, token.3), more);
            };
            let kept = kept.min(tokens.len());
            let (mut back, mut straight) = (Tally::new(&[0, 4]), Tally::new(&[0, 4]));
            tokens.iter().for_each(|token| count(&mut back, token, true));
            tokens[kept..].iter().rev().for_each(|token| count(&mut back, token, false));
            tokens[..kept].iter().for_each(|token| count(&mut straight, token, true));
            let (a, b) = (&back.load.layers[0], &straight.load.layers[0]);
            prop_assert_eq!((a.tokens, &a.chosen, &a.pairs, a.shared.1), (b.tokens, &b.chosen, &b.pairs, b.shared.1));
            prop_assert!((0..4).all(|e| (a.weight[e] - b.weight[e]).abs() < 1e-9));
            prop_assert!((a.entropy - b.entropy).abs() < 1e-9 && (a.shared.0 - b.shared.0).abs() < 1e-9);
            for expert in 0..4 {
                let (a, b) = (back.fires.top(1, expert, 9), straight.fires.top(1, expert, 9));
                prop_assert_eq!(a, b);
            }
        }
    }
}
