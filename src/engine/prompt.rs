//! From what is asked to the tokens that are read.

use anyhow::{Context, Result, bail, ensure};

use super::Loaded;
use crate::model::template::Tail;
use crate::model::tokenizer::Tokenizer;
use crate::protocol::{Message, Prompt, Request, Role, TokenId};

/// A prompt, ready to be read.
pub(super) struct Built {
    /// At least one.
    pub(super) tokens: Vec<TokenId>,
    /// How many were dropped.
    pub(super) truncated: usize,
    /// The answer is a text of its own, and not the continuation of one.
    pub(super) fresh_text: bool,
}

/// Encodes the prompt, and checks it against the model.
pub(super) fn build(model: &Loaded, request: &Request) -> Result<Built> {
    let spec = model.backend.spec();
    let tokens = encode(model, &request.prompt)?;
    ensure!(!tokens.is_empty(), "the prompt is empty: there is nothing to continue");
    if let Some(at) = tokens.iter().position(|token| *token as usize >= spec.vocab) {
        bail!(
            "token {} at place {at} of the prompt is outside the model's vocabulary of {} tokens",
            tokens[at],
            spec.vocab
        );
    }
    let (count, limit) = (tokens.len(), spec.max_seq_len);
    let mut built = Built { tokens, truncated: 0, fresh_text: matches!(request.prompt, Prompt::Chat(_)) };
    if count > limit {
        ensure!(
            request.truncate,
            "the prompt has {count} tokens, and the model's context holds {limit}; shorten it, or let the oldest \
             tokens be dropped (--truncate)"
        );
        // Some room is left to answer in.
        let room = limit - request.max_tokens.min(limit / 4);
        if let Prompt::Chat(messages) = &request.prompt {
            built.tokens = shorten_chat(model, messages, room, built.tokens)?;
        }
        let excess = built.tokens.len().saturating_sub(room);
        built.tokens.drain(..excess);
        built.truncated = count - built.tokens.len();
    }
    Ok(built)
}

fn encode(model: &Loaded, prompt: &Prompt) -> Result<Vec<TokenId>> {
    match prompt {
        Prompt::Tokens(tokens) => Ok(tokens.clone()),
        Prompt::Text(text) => tokenizer(model)?.encode(text),
        Prompt::Chat(messages) => model.template.encode(tokenizer(model)?, messages, Tail::Reply),
        Prompt::Fork { messages, answer } => {
            let mut tokens = model.template.encode(tokenizer(model)?, messages, Tail::Reply)?;
            tokens.extend(answer);
            Ok(tokens)
        }
        Prompt::Continue(messages) => {
            let own = messages.last().is_some_and(|last| last.role == Role::Assistant);
            ensure!(own, "only a message of the model can be continued, and the last one is not");
            model.template.encode(tokenizer(model)?, messages, Tail::Continue)
        }
    }
}

fn tokenizer(model: &Loaded) -> Result<&Tokenizer> {
    model
        .tokenizer
        .as_deref()
        .context("this model has no tokenizer, so it reads token ids only; put its tokenizer.json beside its weights")
}

/// Drops whole messages, oldest first, until the conversation fits. What the system says first stays,
/// and the rest begins with the user's turn, as templates want it.
fn shorten_chat(model: &Loaded, messages: &[Message], room: usize, mut tokens: Vec<TokenId>) -> Result<Vec<TokenId>> {
    let system = messages.iter().take_while(|message| message.role == Role::System).count();
    let starts: Vec<usize> = (system + 1..messages.len()).filter(|at| messages[*at].role == Role::User).collect();
    // The first start from which the rest fits: fewer messages are never more tokens.
    let (mut low, mut high) = (0, starts.len());
    while low < high {
        let middle = (low + high) / 2;
        let shorter = [&messages[..system], &messages[starts[middle]..]].concat();
        let encoded = model.template.encode(tokenizer(model)?, &shorter, Tail::Reply)?;
        if encoded.len() <= room {
            (tokens, high) = (encoded, middle);
        } else {
            if middle + 1 == starts.len() {
                tokens = encoded;
            }
            low = middle + 1;
        }
    }
    Ok(tokens)
}
