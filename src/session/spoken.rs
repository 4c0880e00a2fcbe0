//! What was said, as far as a line of a session tells it. The rest of the line, which is most of it, is passed over
//! without being kept.

use serde::Deserialize;

use crate::protocol::Role;

/// What of a line matters to who only wants the words.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Spoken {
    pub(super) add: Option<Added>,
    pub(super) tok: Option<Token>,
    pub(super) end: Option<Ended>,
    pub(super) title: Option<String>,
    pub(super) choose: Option<usize>,
}

#[derive(Deserialize)]
pub(super) struct Added {
    pub(super) m: usize,
    pub(super) parent: Option<usize>,
    pub(super) role: Role,
    pub(super) text: String,
}

#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) m: usize,
    pub(super) x: String,
}

#[derive(Deserialize)]
pub(super) struct Ended {
    pub(super) m: usize,
    #[serde(default)]
    pub(super) text: String,
}
