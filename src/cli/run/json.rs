//! An answer as one JSON object a token, and a summary.

use anyhow::Result;
use serde::Serialize;

use super::ask::Asker;
use super::{Io, note_truncated};
use crate::cli::output;
use crate::cli::resources::peak_resident;
use crate::protocol::{Event, FinishReason, LayerRouting, Request, Stats, Token, TokenId};

#[derive(Serialize)]
struct TokenLine<'a> {
    r#type: &'static str,
    index: usize,
    id: TokenId,
    text: &'a str,
    logprob: f32,
    alternatives: Vec<AlternativeEntry<'a>>,
    routing: &'a [LayerRouting],
}

#[derive(Serialize)]
struct AlternativeEntry<'a> {
    id: TokenId,
    text: &'a str,
    logprob: f32,
}

#[derive(Serialize)]
struct Summary<'a> {
    r#type: &'static str,
    /// Text that was held back: it belongs at the end.
    text: &'a str,
    reason: FinishReason,
    seed: u64,
    prompt_tokens: usize,
    truncated_tokens: usize,
    generated_tokens: usize,
    prompt_tokens_per_second: Option<f64>,
    decode_tokens_per_second: Option<f64>,
    time_to_first_token_s: Option<f64>,
    peak_memory_bytes: Option<u64>,
    model_memory_bytes: u64,
}

/// Asks, and prints every token as it comes.
pub(super) fn answer(asker: &mut Asker, request: Request, io: &mut Io<'_>) -> Result<FinishReason> {
    let mut started = (0, 0);
    let mut finished: Option<(String, FinishReason, Stats)> = None;
    asker.ask(request, |event| {
        match event {
            Event::Started { seed, truncated_tokens, .. } => {
                started = (*seed, *truncated_tokens);
                note_truncated(event)?;
            }
            Event::Token(token) => line(io, &token_line(token))?,
            Event::Finished { text, reason, stats, .. } => finished = Some((text.clone(), *reason, *stats)),
            _ => {}
        }
        Ok(())
    })?;
    let (text, reason, stats) = finished.unwrap_or_else(|| unreachable!("an answer without an end is an error"));
    let summary = Summary {
        r#type: "summary",
        text: &text,
        reason,
        seed: started.0,
        prompt_tokens: stats.prompt_tokens,
        truncated_tokens: started.1,
        generated_tokens: stats.generated_tokens,
        prompt_tokens_per_second: stats.prefill_rate(),
        decode_tokens_per_second: stats.decode_rate(),
        time_to_first_token_s: (stats.generated_tokens > 0).then_some(stats.first_token_s),
        peak_memory_bytes: peak_resident(),
        model_memory_bytes: asker.memory().total(),
    };
    line(io, &summary)?;
    Ok(reason)
}

fn token_line(token: &Token) -> TokenLine<'_> {
    let alternatives = token.alternatives.iter();
    TokenLine {
        r#type: "token",
        index: token.index,
        id: token.token,
        text: &token.text,
        logprob: token.logprob,
        alternatives: alternatives
            .map(|a| AlternativeEntry { id: a.token, text: &a.text, logprob: a.logprob })
            .collect(),
        routing: &token.routing,
    }
}

fn line(io: &mut Io<'_>, value: &impl Serialize) -> Result<()> {
    writeln!(io.out, "{}", output::json(value)?)?;
    Ok(io.out.flush()?)
}
