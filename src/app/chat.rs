//! A conversation as a tree: every message may have several continuations, one of which is walked.
//!
//! A chat changes only by [`Change`]s, so that a file which lists them is the chat, and a change that
//! was applied is all that need be saved.

use serde::{Deserialize, Serialize};

use crate::protocol::{
    Alterations, Alternative, FinishReason, Message, Role, Sampling, Stats, Token, TokenId, TokenRouting,
};

/// A message's number in its chat: messages are numbered as they are added.
pub type NodeId = usize;

/// One token of an answer, as it was generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The token.
    pub token: TokenId,
    /// Text that became certain with it.
    pub text: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// What else the model considered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// Routing of the pass that produced it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing: TokenRouting,
}

impl From<Token> for TokenRecord {
    fn from(t: Token) -> Self {
        Self { token: t.token, text: t.text, logprob: t.logprob, alternatives: t.alternatives, routing: t.routing }
    }
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As it should, or because it was stopped.
    Done(FinishReason),
    /// It failed: what the engine said.
    Failed(String),
}

/// One step in the life of a chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A message is there; it becomes the one that is walked.
    Add {
        /// Its number: the count of messages before.
        id: NodeId,
        /// What it follows; none for a first message.
        parent: Option<NodeId>,
        /// Who says it.
        role: Role,
        /// Its text; for an answer that was forked, the beginning that it shares.
        text: String,
        /// The tokens of that beginning.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tokens: Vec<TokenRecord>,
        /// How its tokens are chosen, for an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sampling: Option<Sampling>,
        /// What was altered in the routing, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alterations: Option<Alterations>,
    },
    /// The answer goes on by a token.
    Token {
        /// The answer.
        id: NodeId,
        /// The token.
        token: TokenRecord,
    },
    /// The answer ends.
    Finish {
        /// The answer.
        id: NodeId,
        /// Text that was held back and belongs at its end.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// How.
        end: End,
        /// What it took.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stats: Option<Stats>,
    },
    /// The branch through this message is walked.
    Choose {
        /// The message.
        id: NodeId,
    },
    /// The chat has a name.
    Title {
        /// The name.
        title: String,
    },
    /// The chat has a system prompt; an empty one is none.
    System {
        /// The prompt.
        text: String,
    },
}

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
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// What it is called; empty until named.
    pub title: String,
    /// The system prompt; empty if there is none.
    pub system: String,
    nodes: Vec<Node>,
    roots: Vec<NodeId>,
    chosen_root: usize,
    path: Vec<NodeId>,
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
        self.path.iter().position(|n| *n == id)
    }

    /// The last answer of the branch.
    pub fn last_answer(&self) -> Option<NodeId> {
        self.path.iter().rev().copied().find(|id| self.nodes[*id].role == Role::Assistant)
    }

    /// The messages that stand in the same place as this one, itself among them, and its index.
    pub fn siblings(&self, id: NodeId) -> (&[NodeId], usize) {
        let Some(node) = self.node(id) else { return (&[], 0) };
        let all = match node.parent {
            Some(parent) => &self.nodes[parent].children,
            None => &self.roots,
        };
        (all, all.iter().position(|n| *n == id).unwrap_or(0))
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
        match change {
            Change::Add { id, parent, role, text, tokens, sampling, alterations } => {
                if *id != self.nodes.len() || parent.is_some_and(|p| p >= self.nodes.len()) {
                    return Err(format!("message {id} does not fit a chat of {} messages", self.nodes.len()));
                }
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
                });
                match parent {
                    Some(parent) => self.nodes[*parent].children.push(*id),
                    None => self.roots.push(*id),
                }
                self.choose(*id);
            }
            Change::Token { id, token } => {
                let node = self.answer(*id)?;
                node.text.push_str(&token.text);
                node.tokens.push(token.clone());
            }
            Change::Finish { id, text, end, stats } => {
                let node = self.answer(*id)?;
                node.text.push_str(text);
                // The token view shows the text token by token: what was held back belongs to the last.
                if let Some(last) = node.tokens.last_mut() {
                    last.text.push_str(text);
                }
                node.end = Some(end.clone());
                node.stats = *stats;
            }
            Change::Choose { id } => {
                if *id >= self.nodes.len() {
                    return Err(format!("there is no message {id}"));
                }
                self.choose(*id);
            }
            Change::Title { title } => self.title.clone_from(title),
            Change::System { text } => self.system.clone_from(text),
        }
        Ok(())
    }

    fn answer(&mut self, id: NodeId) -> Result<&mut Node, String> {
        let node = self.nodes.get_mut(id).ok_or_else(|| format!("there is no message {id}"))?;
        if node.role != Role::Assistant || node.end.is_some() {
            return Err(format!("message {id} is no answer that is being written"));
        }
        Ok(node)
    }

    /// Makes every message above `id` lead to it, and walks on below it as before.
    fn choose(&mut self, id: NodeId) {
        let mut at = id;
        loop {
            let (siblings, index) = self.siblings(at);
            debug_assert_eq!(siblings[index], at);
            match self.nodes[at].parent {
                Some(parent) => {
                    self.nodes[parent].chosen = index;
                    at = parent;
                }
                None => {
                    self.chosen_root = index;
                    break;
                }
            }
        }
        // A message that is added at the end of the branch is the usual case, and needs no new walk.
        if self.nodes[id].parent == self.path.last().copied() && self.nodes[id].children.is_empty() {
            self.path.push(id);
            return;
        }
        self.path.clear();
        let mut next = self.roots.get(self.chosen_root).copied();
        while let Some(id) = next {
            self.path.push(id);
            next = self.nodes[id].children.get(self.nodes[id].chosen).copied();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
