//! A conversation as a tree: every message may have several continuations, one of which is walked.
//!
//! A chat changes only by [`Change`]s, so that a file which lists them is the chat, and a change that
//! was applied is all that need be saved. Each can be taken back.

use super::undo::{Undo, Walk};
use super::{Change, End, NodeId, TokenRecord};
use crate::protocol::{Alterations, Message, Role, Sampling, Stats};

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it follows.
    pub parent: Option<NodeId>,
    /// What may follow it, oldest first.
    pub children: Vec<NodeId>,
    /// Which of the children is walked.
    pub chosen: usize,
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub text: String,
    /// The tokens of an answer.
    pub tokens: Vec<TokenRecord>,
    /// How many of the first tokens were taken over from the answer that this one was forked from.
    pub taken_over: usize,
    /// How it ended; none while it is being written, and for what people say.
    pub end: Option<End>,
    /// What it took.
    pub stats: Option<Stats>,
    /// How its tokens were chosen.
    pub sampling: Option<Sampling>,
    /// What was altered in the routing.
    pub alterations: Option<Alterations>,
    /// Its index among the messages that stand in the same place.
    index: usize,
    /// How many messages lead to it.
    depth: usize,
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// What it is called; empty until named.
    pub title: String,
    /// The system prompt; empty if there is none.
    pub system: String,
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<NodeId>,
    pub(super) chosen_root: usize,
    pub(super) path: Vec<NodeId>,
}

impl Chat {
    /// All messages, by number.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A message.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The branch that is walked, from the first message to the last.
    pub fn path(&self) -> &[NodeId] {
        &self.path
    }

    /// The message at this place of the branch.
    pub fn at(&self, place: usize) -> Option<&Node> {
        self.node(*self.path.get(place)?)
    }

    /// Where a message stands in the branch that is walked.
    pub fn place(&self, id: NodeId) -> Option<usize> {
        let depth = self.node(id)?.depth;
        (self.path.get(depth) == Some(&id)).then_some(depth)
    }

    /// The last answer of the branch.
    pub fn last_answer(&self) -> Option<NodeId> {
        self.path.iter().rev().copied().find(|id| self.nodes[*id].role == Role::Assistant)
    }

    /// What may follow this message, oldest first; for none, the first messages.
    pub fn after(&self, id: Option<NodeId>) -> &[NodeId] {
        match id {
            None => &self.roots,
            Some(id) => self.node(id).map_or(&[], |node| &node.children),
        }
    }

    /// The messages that stand in the same place as this one, itself among them, and its index.
    pub fn siblings(&self, id: NodeId) -> (&[NodeId], usize) {
        let Some(node) = self.node(id) else { return (&[], 0) };
        (self.after(node.parent), node.index)
    }

    /// What the model reads to answer after this message: the system prompt and the branch up to it.
    pub fn messages(&self, last: Option<NodeId>) -> Vec<Message> {
        let mut turns = Vec::new();
        let mut at = last;
        while let Some(node) = at.and_then(|id| self.node(id)) {
            turns.push(Message { role: node.role, content: node.text.clone() });
            at = node.parent;
        }
        if !self.system.is_empty() {
            turns.push(Message { role: Role::System, content: self.system.clone() });
        }
        turns.reverse();
        turns
    }

    /// The name, or the beginning of the first message.
    pub fn name(&self) -> String {
        if !self.title.is_empty() {
            return self.title.clone();
        }
        let first = self.at(0).map(|node| node.text.trim()).unwrap_or_default();
        let line = first.lines().next().unwrap_or_default();
        line.chars().take(48).collect()
    }

    /// Applies a change; an error, and no change, if it does not fit this chat.
    pub fn apply(&mut self, change: &Change) -> Result<(), String> {
        self.apply_reversibly(change).map(drop)
    }

    /// [`Chat::apply`], and what takes the change back.
    pub fn apply_reversibly(&mut self, change: &Change) -> Result<Undo, String> {
        Ok(match change {
            Change::Add { id, parent, role, text, tokens, sampling, alterations } => {
                let count = self.nodes.len();
                if *id != count || parent.is_some_and(|p| p >= count) {
                    return Err(format!("message {id} does not fit a chat of {count} messages"));
                }
                let depth = parent.map_or(0, |p| self.nodes[p].depth + 1);
                let siblings = match parent {
                    Some(parent) => &mut self.nodes[*parent].children,
                    None => &mut self.roots,
                };
                let index = siblings.len();
                siblings.push(*id);
                self.nodes.push(Node {
                    parent: *parent,
                    children: Vec::new(),
                    chosen: 0,
                    role: *role,
                    text: text.clone(),
                    tokens: tokens.clone(),
                    taken_over: tokens.len(),
                    end: None,
                    stats: None,
                    sampling: sampling.clone(),
                    alterations: alterations.clone(),
                    index,
                    depth,
                });
                Undo::Add(self.choose(*id))
            }
            Change::Token { id, token } => {
                let node = self.answer(*id)?;
                let text = node.text.len();
                node.text.push_str(&token.text);
                node.tokens.push(token.clone());
                Undo::Token { id: *id, text }
            }
            Change::Finish { id, text, end, stats } => {
                let node = self.answer(*id)?;
                let undo = Undo::Finish {
                    id: *id,
                    text: node.text.len(),
                    last_token: node.tokens.last().map_or(0, |token| token.text.len()),
                };
                node.text.push_str(text);
                // The token view shows the text token by token: what was held back belongs to the last.
                if let Some(last) = node.tokens.last_mut() {
                    last.text.push_str(text);
                }
                node.end = Some(end.clone());
                node.stats = *stats;
                undo
            }
            Change::Choose { id } => {
                if *id >= self.nodes.len() {
                    return Err(format!("there is no message {id}"));
                }
                Undo::Choose(self.choose(*id))
            }
            Change::Title { title } => Undo::Title(std::mem::replace(&mut self.title, title.clone())),
            Change::System { text } => Undo::System(std::mem::replace(&mut self.system, text.clone())),
        })
    }

    fn answer(&mut self, id: NodeId) -> Result<&mut Node, String> {
        let node = self.nodes.get_mut(id).ok_or_else(|| format!("there is no message {id}"))?;
        if node.role != Role::Assistant || node.end.is_some() {
            return Err(format!("message {id} is no answer that is being written"));
        }
        Ok(node)
    }

    /// Makes every message above `id` lead to it, and walks on below it as before.
    fn choose(&mut self, id: NodeId) -> Walk {
        let mut chosen = Vec::new();
        let mut at = id;
        // Above a message that is walked already, everything leads to it.
        while self.place(at).is_none() {
            let node = &self.nodes[at];
            let (parent, index) = (node.parent, node.index);
            let slot = match parent {
                Some(parent) => &mut self.nodes[parent].chosen,
                None => &mut self.chosen_root,
            };
            if *slot != index {
                chosen.push((parent, *slot));
                *slot = index;
            }
            match parent {
                Some(parent) => at = parent,
                None => break,
            }
        }
        let kept = if self.place(at).is_some() { self.nodes[at].depth + 1 } else { 0 };
        let left = self.path.split_off(kept);
        let mut next = match self.path.last() {
            None => self.roots.get(self.chosen_root).copied(),
            Some(last) => self.continued(*last),
        };
        while let Some(id) = next {
            self.path.push(id);
            next = self.continued(id);
        }
        Walk { chosen, kept, left }
    }

    fn continued(&self, id: NodeId) -> Option<NodeId> {
        let node = &self.nodes[id];
        node.children.get(node.chosen).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FinishReason;

    fn add(chat: &mut Chat, parent: Option<NodeId>, role: Role, text: &str) -> NodeId {
        let id = chat.nodes().len();
        let text = text.to_owned();
        chat.apply(&Change::Add { id, parent, role, text, tokens: vec![], sampling: None, alterations: None }).unwrap();
        id
    }

    #[test]
    fn branches_are_walked_and_kept() {
        let mut chat = Chat::default();
        let question = add(&mut chat, None, Role::User, "why?");
        let first = add(&mut chat, Some(question), Role::Assistant, "because");
        let thanks = add(&mut chat, Some(first), Role::User, "thanks");
        assert_eq!(chat.path(), [question, first, thanks]);
        let second = add(&mut chat, Some(question), Role::Assistant, "who knows");
        assert_eq!(chat.path(), [question, second]);
        assert_eq!(chat.siblings(second), (&[first, second][..], 1));
        chat.apply(&Change::Choose { id: first }).unwrap();
        assert_eq!(chat.path(), [question, first, thanks]);
        let other = add(&mut chat, None, Role::User, "how?");
        assert_eq!((chat.path(), chat.name().as_str()), (&[other][..], "how?"));
        chat.apply(&Change::System { text: "be brief".into() }).unwrap();
        let said: Vec<String> = chat.messages(Some(thanks)).into_iter().map(|m| m.content).collect();
        assert_eq!(said, ["be brief", "why?", "because", "thanks"]);
    }

    #[test]
    fn changes_that_do_not_fit_change_nothing() {
        let mut chat = Chat::default();
        let question = add(&mut chat, None, Role::User, "why?");
        let before = chat.clone();
        let token = TokenRecord { token: 1, text: "x".into(), logprob: 0.0, alternatives: vec![], routing: vec![] };
        let end = End::Done(FinishReason::Stop);
        for change in [
            Change::Token { id: question, token: token.clone() },
            Change::Token { id: 9, token },
            Change::Finish { id: question, text: String::new(), end, stats: None },
            Change::Choose { id: 7 },
        ] {
            assert!(chat.apply(&change).is_err());
            let json = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change);
        }
        assert_eq!(chat, before);
    }
}
