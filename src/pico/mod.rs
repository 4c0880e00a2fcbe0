//! What the built-in model is taught, and what it is examined on: text made from facts, from a seed.
//!
//! ```text
//! facts.toml ─┐
//! tables ─────┼─> facts ──┐
//!             │           ├─> corpus: text to read, chats, preferences; the examination
//! numbers, stories, talk, unknown ─┘
//! ```
//!
//! The tables are those of the program itself (actions and their keys, commands, settings), given by the caller. So
//! what the model is taught is what `--help` says, and changes with it.
//!
//! Every topic asks in wordings of two kinds: those of training, and those of the examination, which training never
//! has. Nothing here reads a clock or a file: the same seed and tables give the same corpus.

mod ask;
mod corpus;
pub mod exam;
mod facts;
mod numbers;
mod stories;
mod talk;
mod unknown;

pub use corpus::{Corpus, Pair, corpus};
pub use facts::{ActionRow, CommandRow, SettingRow, Tables};

use crate::rng::Rng;

/// What an example is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// The program and its model.
    Help,
    /// Sums with small numbers.
    Numbers,
    /// Made-up stories.
    Stories,
    /// Greetings and the like.
    Talk,
    /// What it does not know.
    Unknown,
}

/// What the model says where it does not know; the examination looks for it.
pub const DECLINED: &str = "I do not know";

/// A conversation: questions, and answers that are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What it is about.
    pub topic: Topic,
    /// Questions and answers, in turn.
    pub turns: Vec<(String, String)>,
    /// What the last answer has to contain to be right.
    pub must: Vec<String>,
    /// A last answer that is wrong, though it looks alike.
    pub wrong: Option<String>,
}

impl Example {
    fn one(topic: Topic, question: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { topic, turns: vec![(question.into(), answer.into())], must: Vec::new(), wrong: None }
    }
}

/// Draws from lists.
struct Dice(Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// Below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        (self.0.uniform() * n as f64) as usize % n.max(1)
    }

    /// One of them; the list is not empty.
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }

    /// True this often.
    fn chance(&mut self, share: f64) -> bool {
        self.0.uniform() < share
    }
}

/// The first letter made large.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The first letter made small.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A question as some people type it.
fn typed(question: &str, dice: &mut Dice) -> String {
    // One mark only: the full stop of a key such as Alt-. is part of it.
    let bare = question.strip_suffix(['?', '.', '!']).unwrap_or(question);
    match dice.below(8) {
        0 => lower(question),
        1 => lower(bare),
        2 => bare.to_owned(),
        _ => question.to_owned(),
    }
}
