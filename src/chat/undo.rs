//! Taking changes back, newest first: what a change overwrote is kept, so that a step back costs no
//! more than the step forward did.

use super::{Chat, NodeId};

/// What takes one change back. Only good for the chat as that change left it.
#[derive(Debug, Clone, PartialEq)]
pub enum Undo {
    /// A message goes.
    Add(Walk),
    /// A token goes: the answer's text was this long.
    Token {
        /// The answer.
        id: NodeId,
        /// Bytes of its text before.
        text: usize,
    },
    /// An answer is being written again.
    Finish {
        /// The answer.
        id: NodeId,
        /// Bytes of its text before.
        text: usize,
        /// Bytes of its last token's text before.
        last_token: usize,
    },
    /// Another branch was walked.
    Choose(Walk),
    /// The chat was called so.
    Title(String),
    /// The system prompt was this.
    System(String),
}

/// How the tree was walked before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Walk {
    /// Messages (none is the place of the first ones) and which of their continuations was chosen.
    pub(super) chosen: Vec<(Option<NodeId>, usize)>,
    /// So many messages of the branch stayed.
    pub(super) kept: usize,
    /// The branch below them.
    pub(super) left: Vec<NodeId>,
}

impl Chat {
    /// Takes back the change that gave this. Changes are taken back in reverse order.
    pub fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Add(walk) => {
                self.walk_again(walk);
                let Some(node) = self.nodes.pop() else { return };
                match node.parent {
                    Some(parent) => self.nodes[parent].children.pop(),
                    None => self.roots.pop(),
                };
            }
            Undo::Token { id, text } => {
                let Some(node) = self.nodes.get_mut(id) else { return };
                node.text.truncate(text);
                node.tokens.pop();
            }
            Undo::Finish { id, text, last_token } => {
                let Some(node) = self.nodes.get_mut(id) else { return };
                node.text.truncate(text);
                if let Some(last) = node.tokens.last_mut() {
                    last.text.truncate(last_token);
                }
                (node.end, node.stats) = (None, None);
            }
            Undo::Choose(walk) => self.walk_again(walk),
            Undo::Title(title) => self.title = title,
            Undo::System(text) => self.system = text,
        }
    }

    fn walk_again(&mut self, walk: Walk) {
        for (parent, chosen) in walk.chosen {
            match parent {
                Some(parent) => self.nodes[parent].chosen = chosen,
                None => self.chosen_root = chosen,
            }
        }
        self.path.truncate(walk.kept);
        self.path.extend(walk.left);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Change, End, TokenRecord};
    use super::*;
    use crate::protocol::{FinishReason, Role};

    fn change() -> impl Strategy<Value = Change> {
        let token =
            || TokenRecord { token: 1, text: "é".into(), logprob: -0.5, alternatives: vec![], routing: vec![] };
        prop_oneof![
            3 => (0..30usize, proptest::option::of(0..30usize), any::<bool>()).prop_map(move |(id, parent, model)| {
                let role = if model { Role::Assistant } else { Role::User };
                Change::Add { id, parent, role, text: "x".into(), tokens: vec![], sampling: None, alterations: None }
            }),
            3 => (0..30usize).prop_map(move |id| Change::Token { id, token: token() }),
            1 => (0..30usize).prop_map(|id| {
                let end = End::Done(FinishReason::Stop);
                Change::Finish { id, text: "held".into(), end, stats: None }
            }),
            2 => (0..30usize).prop_map(|id| Change::Choose { id }),
            1 => "[a-c]{0,2}".prop_map(|title| Change::Title { title }),
            1 => "[a-c]{0,2}".prop_map(|text| Change::System { text }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_step_can_be_taken_back(changes in proptest::collection::vec(change(), 1..120)) {
            let mut chat = Chat::default();
            let mut steps = Vec::new();
            for change in &changes {
                // Messages are numbered as they come; half of the drawn parents do not exist.
                let change = match change.clone() {
                    Change::Add { parent, role, text, tokens, sampling, alterations, .. } => {
                        let id = chat.nodes().len();
                        Change::Add { id, parent, role, text, tokens, sampling, alterations }
                    }
                    other => other,
                };
                let before = chat.clone();
                match chat.apply_reversibly(&change) {
                    Ok(undo) => steps.push((before, undo)),
                    Err(_) => prop_assert_eq!(&chat, &before),
                }
                // The branch is what the choices lead to.
                for (place, id) in chat.path().iter().enumerate() {
                    prop_assert_eq!(chat.place(*id), Some(place));
                    let parent = place.checked_sub(1).map(|above| chat.path()[above]);
                    prop_assert_eq!(chat.nodes()[*id].parent, parent);
                    let (siblings, index) = chat.siblings(*id);
                    prop_assert_eq!(siblings[index], *id);
                }
                prop_assert!(chat.path().last().is_none_or(|last| chat.after(Some(*last)).is_empty()));
            }
            for (before, undo) in steps.into_iter().rev() {
                chat.undo(undo);
                prop_assert_eq!(&chat, &before);
            }
        }
    }
}
