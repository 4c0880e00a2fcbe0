//! What happens in a chat, one step at a time.

use serde::{Deserialize, Serialize};

use crate::protocol::{Alterations, Alternative, FinishReason, Role, Sampling, Stats, Token, TokenId, TokenRouting};

/// A message's number in its chat: messages are numbered as they are added.
pub type NodeId = usize;

/// One token of an answer, as it was generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The token.
    pub token: TokenId,
    /// Text that became certain with it.
    pub text: String,
    /// Natural logarithm of its probability; not a number where it is not known, as in a trace.
    pub logprob: f32,
    /// What else the model considered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
    /// Routing of the pass that produced it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing: TokenRouting,
}

impl TokenRecord {
    /// Its probability; none where it is not known.
    pub fn probability(&self) -> Option<f32> {
        (!self.logprob.is_nan()).then(|| self.logprob.exp())
    }
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
