//! Tokens to text, one at a time and in linear time.
//!
//! Every token of a byte-level or byte-fallback vocabulary stands for some bytes, whatever is around
//! it. The stream lines those bytes up and lets whole characters through; what is left at the end, or
//! can become no character, is replaced by U+FFFD as [`String::from_utf8_lossy`] does.

use serde_json::Value;

use super::Tokenizer;
use super::byte_level::byte_of;
use crate::protocol::TokenId;

/// How this vocabulary writes bytes, read from its decoder.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pieces {
    /// Each token is some bytes: the steps that lead there, and what is dropped where a text begins.
    Bytes { steps: Vec<Step>, lead: Lead },
    /// Tokens change with their neighbours; pairs are decoded by the library.
    Pairs,
}

/// One step from a token to its bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Replace a character by a text.
    Replace(char, String),
    /// `<0xE2>` is that byte.
    ByteFallback,
    /// Each character is a byte.
    ByteLevel,
}

/// What is dropped where a text begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lead {
    /// Up to so many of this character, from the text's beginning.
    Text(char, usize),
    /// Every space sign of the first token.
    Token(char),
}

impl Pieces {
    /// Understands the `decoder` of a `tokenizer.json`.
    pub(super) fn parse(decoder: &Value) -> Self {
        let list = match decoder["type"].as_str() {
            Some("Sequence") => decoder["decoders"].as_array().cloned().unwrap_or_default(),
            Some(_) => vec![decoder.clone()],
            None => return Self::Pairs,
        };
        let (mut steps, mut lead, mut fused) = (Vec::new(), Lead::Text(' ', 0), false);
        for part in &list {
            let step = match part["type"].as_str() {
                Some("ByteLevel") => {
                    fused = true;
                    Some(Step::ByteLevel)
                }
                Some("ByteFallback") if !fused => Some(Step::ByteFallback),
                Some("Fuse") => {
                    fused = true;
                    None
                }
                Some("Metaspace") if !fused && matches!(lead, Lead::Text(_, 0)) => {
                    let Some(sign) = one_char(&part["replacement"]) else { return Self::Pairs };
                    let old_style = part["add_prefix_space"] == Value::Bool(false);
                    if part["prepend_scheme"].as_str() != Some("never") && !old_style {
                        lead = Lead::Token(sign);
                    }
                    Some(Step::Replace(sign, " ".into()))
                }
                Some("Replace") => match (one_char(&part["pattern"]["String"]), part["content"].as_str()) {
                    (Some(from), Some(to)) => Some(Step::Replace(from, to.into())),
                    _ => return Self::Pairs,
                },
                Some("Strip") if fused && part["stop"] == 0 && matches!(lead, Lead::Text(_, 0)) => {
                    match (one_char(&part["content"]), part["start"].as_u64()) {
                        (Some(c), Some(count)) => lead = Lead::Text(c, count as usize),
                        _ => return Self::Pairs,
                    }
                    None
                }
                _ => return Self::Pairs,
            };
            steps.extend(step);
        }
        Self::Bytes { steps, lead }
    }

    /// The bytes of one token; none if they depend on its neighbours.
    pub(super) fn bytes(&self, token: &str) -> Option<Vec<u8>> {
        let Self::Bytes { steps, .. } = self else { return None };
        let mut text = token.to_owned();
        for step in steps {
            match step {
                Step::Replace(from, to) => text = text.replace(*from, to),
                Step::ByteFallback => {
                    let hex = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                    let byte = hex.filter(|hex| hex.len() == 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                    if let Some(byte) = byte {
                        return Some(vec![byte]);
                    }
                }
                // A token with a character that stands for no byte is text as it is: added ones are.
                Step::ByteLevel => {
                    let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
                    return Some(bytes.unwrap_or_else(|| text.into_bytes()));
                }
            }
        }
        Some(text.into_bytes())
    }
}

fn one_char(value: &Value) -> Option<char> {
    let mut chars = value.as_str()?.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// Text from tokens as they come. See [`Tokenizer::stream`].
pub struct DecodeStream<'t> {
    tokenizer: &'t Tokenizer,
    /// Bytes of a character that is not whole yet: at most 3.
    pending: Vec<u8>,
    /// The token before, for vocabularies that need it.
    previous: Option<TokenId>,
    /// What is still to be dropped from the text's beginning.
    lead: Lead,
}

impl<'t> DecodeStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, after: Option<TokenId>) -> Self {
        let lead = match &tokenizer.pieces {
            Pieces::Bytes { lead, .. } if after.is_none() => lead.clone(),
            _ => Lead::Text(' ', 0),
        };
        Self { tokenizer, pending: Vec::new(), previous: after, lead }
    }

    /// The text that became certain with this token: may be empty. Control tokens, and ids that the
    /// vocabulary lacks, have no text.
    pub fn push(&mut self, id: TokenId) -> String {
        let Some(token) = self.tokenizer.token(id).filter(|_| !self.tokenizer.is_special(id)) else {
            return String::new();
        };
        let lead_sign = match self.lead {
            Lead::Token(sign) => Some(sign),
            Lead::Text(..) => None,
        };
        let bytes = match lead_sign {
            Some(sign) => {
                self.lead = Lead::Text(' ', 0);
                self.tokenizer.pieces.bytes(&token.replace(sign, ""))
            }
            None => self.tokenizer.pieces.bytes(&token),
        };
        let Some(bytes) = bytes else { return self.push_pair(id) };
        self.pending.extend(bytes);
        let text = self.take_whole();
        self.strip(text)
    }

    /// What is left: one U+FFFD if the last character was never finished.
    pub fn finish(mut self) -> String {
        if std::mem::take(&mut self.pending).is_empty() { String::new() } else { char::REPLACEMENT_CHARACTER.into() }
    }

    /// Takes whole characters out of `pending`, and replaces what can become none.
    fn take_whole(&mut self) -> String {
        let mut text = String::new();
        let mut from = 0;
        loop {
            match std::str::from_utf8(&self.pending[from..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    from = self.pending.len();
                    break;
                }
                Err(error) => {
                    let whole = from + error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[from..whole]));
                    from = whole;
                    let Some(bad) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    from += bad;
                }
            }
        }
        self.pending.drain(..from);
        text
    }

    /// Drops what the tokenizer put before the first word.
    fn strip(&mut self, text: String) -> String {
        let Lead::Text(sign, left) = &mut self.lead else { return text };
        if *left == 0 || text.is_empty() {
            return text;
        }
        let dropped = text.chars().take(*left).take_while(|c| c == sign).count();
        // Something else came first: nothing more is dropped.
        *left = if dropped == text.chars().count() { *left - dropped } else { 0 };
        text.chars().skip(dropped).collect()
    }

    /// What this token adds to the one before.
    fn push_pair(&mut self, id: TokenId) -> String {
        let alone = || self.tokenizer.decode_whole(&[id]);
        let text = match self.previous {
            None => alone(),
            Some(previous) => {
                let before = self.tokenizer.decode_whole(&[previous]);
                let both = self.tokenizer.decode_whole(&[previous, id]);
                both.strip_prefix(&before).map_or_else(alone, str::to_owned)
            }
        };
        self.previous = Some(id);
        text
    }
}
