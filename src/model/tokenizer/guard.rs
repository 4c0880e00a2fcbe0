//! Keeps text that people type from becoming control tokens.
//!
//! A chat template is text with control tokens in it, and what people say is put in between: if it
//! held `<|im_end|>`, it could end its own turn and speak for another. So each control token in a
//! message is broken up with [`BREAK`], a code point that Unicode keeps out of all text. The template
//! is then rendered with the broken text, and may trim and cut it as it likes. When the result is
//! encoded, control tokens are found first, and the broken ones are not among them; only then does
//! the tokenizer's normaliser, to which a step is added at its front, take the breaks away. Text
//! without control tokens is encoded exactly as it would be without all this.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use anyhow::{Result, anyhow};
use tokenizers::normalizers::{NormalizerWrapper, Replace, Sequence};

use super::Tokenizer;
use crate::protocol::Role;

/// Breaks up a control token. Unicode reserves it for use inside programs.
pub const BREAK: char = '\u{FDD0}';
/// Marks the end of a message that is to be continued. Reserved likewise.
pub const END_MARK: char = '\u{FDD1}';

/// Knows the texts that must not come through.
pub struct Guard {
    /// Control tokens: broken up whoever says them.
    special: Texts,
    /// Tokens that look like tags, as `<tool_call>`: broken up where a person says them. Templates
    /// look for them in the model's own messages.
    tags: Texts,
}

/// Texts to look for at every place, by length.
struct Texts {
    all: HashSet<String>,
    lengths: BTreeSet<usize>,
    /// The bytes they begin with.
    first: [bool; 256],
}

impl Texts {
    fn new(texts: Vec<String>) -> Self {
        let mut first = [false; 256];
        texts.iter().filter_map(|text| text.bytes().next()).for_each(|byte| first[byte as usize] = true);
        Self { lengths: texts.iter().map(String::len).collect(), all: texts.into_iter().collect(), first }
    }

    fn begin_at(&self, text: &str, at: usize) -> bool {
        self.first[text.as_bytes()[at] as usize]
            && self.lengths.iter().any(|len| text.get(at..at + len).is_some_and(|part| self.all.contains(part)))
    }
}

impl Guard {
    pub(super) fn new(special: Vec<String>, tags: Vec<String>) -> Self {
        Self { special: Texts::new(special), tags: Texts::new(tags) }
    }

    /// The message with its control tokens broken up.
    pub fn protect<'t>(&self, role: Role, text: &'t str) -> Cow<'t, str> {
        let is_hit = |at: usize| self.special.begin_at(text, at) || role == Role::User && self.tags.begin_at(text, at);
        let reserved = |c: char| c == BREAK || c == END_MARK;
        if !text.char_indices().any(|(at, c)| reserved(c) || is_hit(at)) {
            return Cow::Borrowed(text);
        }
        let mut safe = String::with_capacity(text.len() + 16);
        for (at, c) in text.char_indices() {
            if reserved(c) {
                continue;
            }
            safe.push(c);
            if is_hit(at) {
                safe.push(BREAK);
            }
        }
        Cow::Owned(safe)
    }
}

/// Adds the step that takes breaks away.
///
/// Some vocabularies hold a control token as an ordinary piece too, and would put the mended text
/// together to that very token: there a space stays where the break was.
pub(super) fn install(tokenizer: &mut Tokenizer) -> Result<()> {
    let original = tokenizer.inner.get_normalizer().cloned();
    let with = |content: &str| -> Result<NormalizerWrapper> {
        let replace = Replace::new(BREAK.to_string(), content).map_err(|error| anyhow!("{error}"))?;
        let steps = std::iter::once(replace.into()).chain(original.clone()).collect();
        Ok(Sequence::new(steps).into())
    };
    tokenizer.inner.with_normalizer(Some(with("")?));
    if leaks(tokenizer)? {
        tokenizer.inner.with_normalizer(Some(with(" ")?));
    }
    Ok(())
}

/// True if a broken control token comes back whole, in any of a few surroundings.
fn leaks(tokenizer: &Tokenizer) -> Result<bool> {
    for text in &tokenizer.guard.special.all {
        let broken = tokenizer.guard.protect(Role::User, text);
        for around in [broken.to_string(), format!("a{broken}a"), format!("a {broken} a")] {
            if tokenizer.encode_rendered(&around)?.iter().any(|id| Some(*id) == tokenizer.id(text)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
