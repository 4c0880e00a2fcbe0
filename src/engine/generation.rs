//! One request from its prompt to its last token.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::prompt;
use super::sampler::{Choice, Sampler};
use super::stop::StopText;
use super::worker::Worker;
use crate::backend::Logits;
use crate::model::tokenizer::Tokenizer;
use crate::model::tokenizer::decode::DecodeStream;
use crate::protocol::{Alternative, Event, FinishReason, ReadToken, Request, Stats, Token, TokenId, TokenRouting};

impl Worker {
    /// Runs a request. Every event is sent from here but that of its failure.
    pub(super) fn generate(&mut self, request: &Request) -> Result<()> {
        let begin = Instant::now();
        let sampler = Sampler::new(request.sampling.clone(), self.banned.clone())?;
        let stops = StopText::new(&request.stop)?;
        let prompt = prompt::build(&self.model, request)?;
        let reused = self.reuse(&prompt.tokens)?;
        let stats = Stats { prompt_tokens: prompt.tokens.len(), reused_tokens: reused, ..Stats::default() };
        self.lanes.send(Event::Started {
            id: request.id,
            prompt_tokens: prompt.tokens.len(),
            reused_tokens: reused,
            truncated_tokens: prompt.truncated,
            seed: sampler.seed(),
        });
        let after = if prompt.fresh_text { None } else { prompt.tokens.last().copied() };
        let mut run = Run { request, sampler, tokens: prompt.tokens, stats, begin, routing: Vec::new() };
        let first = self.read_prompt(&mut run, reused)?;
        let tokenizer = self.model.tokenizer.clone();
        let stream = tokenizer.as_ref().map(|tokenizer| tokenizer.stream(after));
        let mut text = Text { tokenizer: tokenizer.as_deref(), stream, stops };
        let ended = match first {
            Some(choice) => self.continue_from(&mut run, &mut text, choice),
            None => Ok(if self.lanes.should_stop() { FinishReason::Cancelled } else { FinishReason::MaxTokens }),
        };
        let rest = match ended {
            // What a stop string began is not part of the answer.
            Ok(FinishReason::Stop) | Err(_) => String::new(),
            Ok(_) => text.finish(),
        };
        self.lanes.send(Event::Finished { id: request.id, reason: ended?, text: rest, stats: run.stats });
        Ok(())
    }

    /// Reads the prompt from `from` on and chooses the first token: none if it was stopped or no
    /// token is wanted.
    fn read_prompt(&mut self, run: &mut Run<'_>, from: usize) -> Result<Option<Choice>> {
        let (id, total) = (run.request.id, run.tokens.len());
        let chunk = self.model.backend.chunk().max(1);
        let reading = Instant::now();
        let mut done = from;
        let mut first = None;
        while done < total {
            if self.lanes.should_stop() {
                return Ok(None);
            }
            let end = total.min(done + chunk);
            let logits = if end == total { Logits::Last } else { Logits::None };
            let mut routing = Vec::new();
            let tap = run.request.routing.then_some(&mut routing);
            let logits = self.model.backend.forward(&run.tokens[done..end], logits, tap)?;
            if end == total {
                run.routing = routing.last().cloned().unwrap_or_default();
                if run.request.max_tokens > 0 {
                    first = Some(run.sampler.choose(logits, &run.tokens, run.request.alternatives)?);
                }
            }
            let wanted = if run.request.routing { done..end } else { end..end };
            let tokens = run.tokens[wanted].iter().map(|token| self.read_token(*token)).collect();
            done = end;
            run.stats.prefill_s = reading.elapsed().as_secs_f64();
            self.tick(0);
            self.lanes.send(Event::Prefill { id, done, total, routing, tokens });
        }
        Ok(first)
    }

    fn read_token(&self, token: TokenId) -> ReadToken {
        let tokenizer = self.model.tokenizer.as_deref();
        ReadToken { token, text: tokenizer.map_or_else(String::new, |tokenizer| tokenizer.token_text(token)) }
    }

    /// Says `choice`, and what follows it.
    fn continue_from(&mut self, run: &mut Run<'_>, text: &mut Text<'_>, mut choice: Choice) -> Result<FinishReason> {
        let limit = self.model.backend.spec().max_seq_len;
        let mut saying = None;
        let mut next = Instant::now();
        loop {
            if self.lanes.should_stop() {
                return Ok(FinishReason::Cancelled);
            }
            let token = choice.token;
            if text.ends(token) {
                return Ok(FinishReason::EndOfText);
            }
            let (piece, stopped) = text.push(token);
            let index = run.stats.generated_tokens;
            run.stats.generated_tokens += 1;
            run.tokens.push(token);
            let began = *saying.get_or_insert_with(|| {
                run.stats.first_token_s = run.begin.elapsed().as_secs_f64();
                Instant::now()
            });
            run.stats.decode_s = began.elapsed().as_secs_f64();
            self.lanes.send(Event::Token(Token {
                id: run.request.id,
                index,
                token,
                text: piece,
                logprob: choice.logprob,
                alternatives: text.alternatives(&choice),
                routing: std::mem::take(&mut run.routing),
            }));
            self.tick(run.stats.generated_tokens);
            if stopped {
                return Ok(FinishReason::Stop);
            }
            if run.stats.generated_tokens >= run.request.max_tokens {
                return Ok(FinishReason::MaxTokens);
            }
            if self.model.backend.tokens().len() >= limit {
                return Ok(FinishReason::ContextFull);
            }
            if let Some(speed) = run.request.max_speed {
                // A token that came late is not made up for by hurrying after it.
                next = (next + interval(speed)).max(Instant::now());
                self.lanes.rest_until(next);
            }
            if self.lanes.should_stop() {
                return Ok(FinishReason::Cancelled);
            }
            let mut routing = Vec::new();
            let tap = run.request.routing.then_some(&mut routing);
            let logits = self.model.backend.forward(&[token], Logits::Last, tap)?;
            choice = run.sampler.choose(logits, &run.tokens, run.request.alternatives)?;
            run.routing = routing.pop().unwrap_or_default();
        }
    }
}

/// The time between two tokens at this speed; no longer than a minute, whatever is asked for.
fn interval(speed: f32) -> Duration {
    Duration::from_secs_f32(speed.recip().clamp(0.0, 60.0))
}

/// A request on its way.
struct Run<'r> {
    request: &'r Request,
    sampler: Sampler,
    /// The prompt, then what was said.
    tokens: Vec<TokenId>,
    stats: Stats,
    begin: Instant,
    /// Of the pass that gave the newest logits.
    routing: TokenRouting,
}

/// The text side of a request. Without a tokenizer it stays empty, and no token ends it.
struct Text<'t> {
    tokenizer: Option<&'t Tokenizer>,
    stream: Option<DecodeStream<'t>>,
    stops: StopText,
}

impl Text<'_> {
    fn ends(&self, token: TokenId) -> bool {
        self.tokenizer.is_some_and(|tokenizer| tokenizer.end_tokens().contains(&token))
    }

    /// The text that is certain now, and true if a stop string was met.
    fn push(&mut self, token: TokenId) -> (String, bool) {
        match &mut self.stream {
            Some(stream) => self.stops.push(&stream.push(token)),
            None => (String::new(), false),
        }
    }

    /// What was held back.
    fn finish(&mut self) -> String {
        let Some(stream) = self.stream.take() else { return String::new() };
        let (text, stopped) = self.stops.push(&stream.finish());
        if stopped { text } else { text + &self.stops.finish() }
    }

    fn alternatives(&self, choice: &Choice) -> Vec<Alternative> {
        let text = |token| self.tokenizer.map_or_else(String::new, |tokenizer| tokenizer.token_text(token));
        choice
            .others
            .iter()
            .map(|(token, logprob)| Alternative { token: *token, text: text(*token), logprob: *logprob })
            .collect()
    }
}
