//! `run`: a prompt in, the model's answer out.

mod ask;
mod chat;
mod json;
mod model;
mod record;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use self::ask::Asker;
pub use self::model::{OpenArgs, open};
use self::record::Recorder;
use super::sampling::SamplingArgs;
use super::{Usage, interrupt, output, settings};
use crate::config::Settings;
use crate::engine::{self, Loaded};
use crate::protocol::{Event, FinishReason, Message, Prompt, Request, Role};

/// Answer a prompt, complete a text, or hold a conversation
///
/// The prompt, from the argument or from standard input, is one turn of a conversation: it goes
/// through the model's chat template. With --raw it is text to be completed as it is. The answer is
/// streamed to standard output; notices go to standard error. Ctrl-C stops the answer and keeps what
/// is there.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// What to say to the model; read from standard input if not given (one line end at its end is dropped)
    prompt: Option<String>,
    #[command(flatten)]
    open: OpenArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Stop before this text would appear; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Tell the model how to behave, before the conversation begins
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Complete the prompt as text, without a chat template
    #[arg(long, conflicts_with = "chat")]
    raw: bool,
    /// Hold a conversation, line by line
    #[arg(long)]
    chat: bool,
    /// Print one JSON object for each token, then a summary
    #[arg(long, conflicts_with = "chat")]
    json: bool,
    /// How many other tokens to report beside each; 3 if not given
    #[arg(long, value_name = "N", requires = "json")]
    alternatives: Option<usize>,
    /// Drop the oldest part of a prompt that is too long, instead of refusing it
    #[arg(long)]
    truncate: bool,
    /// Keep the conversation in this file as it happens, or go on with the one that is there
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    session: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bit-axon run \"Why is the sky blue?\"
  git diff | bit-axon run --model models/mine --system \"Summarise this change.\"
  bit-axon run --raw \"Once upon a time\" --seed 7 --max-tokens 100
  bit-axon run --chat --model models/mine
  bit-axon run \"Name a colour.\" --adapter runs/chats-dora
  bit-axon run --chat --session talk.jsonl && bit-axon sessions show talk.jsonl
  bit-axon run \"Name a colour.\" --json --alternatives 5 > tokens.jsonl

A line of --json looks like this; the last line has \"type\":\"summary\", the text that was still held
back, why it ended, the seed, speeds, the time to the first token and the peak memory:
  {\"type\":\"token\",\"index\":0,\"id\":17,\"text\":\"Blue\",\"logprob\":-0.3,\"alternatives\":[..],\"routing\":[..]}";

/// Where `run` reads and writes.
pub struct Io<'a> {
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Someone types it.
    pub input_is_terminal: bool,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Someone looks at it: what a terminal would obey is shown instead.
    pub out_is_terminal: bool,
}

impl Io<'_> {
    /// Prints text of the model at once.
    fn say(&mut self, text: &str) -> Result<()> {
        if self.out_is_terminal {
            self.out.write_all(output::safe(text).as_bytes())?;
        } else {
            self.out.write_all(text.as_bytes())?;
        }
        Ok(self.out.flush()?)
    }
}

/// Runs the command. `open` opens the model; it is called on the engine's thread.
pub fn run(mut args: RunArgs, open: impl FnOnce(&OpenArgs) -> Result<Loaded> + Send + 'static) -> Result<()> {
    args.fill(&settings::load()?.settings);
    let mut io = Io {
        input: &mut io::stdin().lock(),
        input_is_terminal: io::stdin().is_terminal(),
        out: &mut output::stdout(),
        out_is_terminal: io::stdout().is_terminal(),
    };
    run_with(&args, open, &mut io)
}

impl RunArgs {
    /// From now on what is not given comes from the settings.
    fn fill(&mut self, settings: &Settings) {
        self.open.fill(settings);
        self.sampling.fill(&settings.sampling);
        if !self.raw {
            self.system = self.system.take().or(settings.sampling.system.clone());
        }
    }
}

/// [`run`], reading and writing somewhere else.
pub fn run_with(
    args: &RunArgs,
    open: impl FnOnce(&OpenArgs) -> Result<Loaded> + Send + 'static,
    io: &mut Io<'_>,
) -> Result<()> {
    // A missing prompt is said before a model is opened.
    let prompt = match &args.prompt {
        None if args.chat => None,
        None => Some(read_prompt(io)?),
        Some(prompt) => Some(prompt.clone()),
    };
    if prompt.as_ref().is_some_and(String::is_empty) {
        return Err(Usage("the prompt is empty: give one as an argument or on standard input".into()).into());
    }
    let options = args.open.clone();
    let engine = engine::spawn(move || open(&options)).wait()?;
    let info = engine.handle.info().clone();
    output::note(format!("{}: {}, {} arithmetic", info.name, info.backend, info.arithmetic));
    let recorder = args.session.as_ref().map(|path| Recorder::open(path, &info)).transpose()?;
    let mut asker = Asker::new(engine, recorder)?;
    let done = match prompt {
        prompt if args.chat => chat::converse(args, &mut asker, io, prompt),
        Some(prompt) => once(args, &mut asker, io, prompt),
        None => Ok(()),
    };
    asker.close()?;
    done
}

fn read_prompt(io: &mut Io<'_>) -> Result<String> {
    if io.input_is_terminal {
        output::note("Type the prompt, and end it with Ctrl-D on a line of its own.");
    }
    let mut bytes = Vec::new();
    io.input.read_to_end(&mut bytes).context("cannot read the prompt from standard input")?;
    let mut text = String::from_utf8(bytes).context("the prompt on standard input is not UTF-8 text")?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// One prompt, one answer.
fn once(args: &RunArgs, asker: &mut Asker, io: &mut Io<'_>, prompt: String) -> Result<()> {
    let prompt = if args.raw {
        Prompt::Text(prompt)
    } else {
        let mut turns = begin(args, asker);
        turns.push(Message { role: Role::User, content: prompt });
        Prompt::Chat(turns)
    };
    let request = request(args, prompt);
    let ended = if args.json { json::answer(asker, request, io)? } else { plain(asker, request, io)? };
    if ended == FinishReason::Cancelled { Err(interrupt::Interrupted.into()) } else { Ok(()) }
}

/// What was said before: the session's turns, with the system prompt that is asked for.
fn begin(args: &RunArgs, asker: &Asker) -> Vec<Message> {
    let mut turns = asker.turns();
    if let Some(system) = &args.system {
        turns.retain(|turn| turn.role != Role::System);
        turns.insert(0, Message { role: Role::System, content: system.clone() });
    }
    // An answer that never began is no turn.
    while turns.last().is_some_and(|turn| turn.role == Role::User || turn.content.is_empty()) {
        turns.pop();
    }
    turns
}

/// Streams the answer as text, and ends its last line.
fn plain(asker: &mut Asker, request: Request, io: &mut Io<'_>) -> Result<FinishReason> {
    let mut at_line_start = true;
    let ended = asker.ask(request, |event| {
        let text = match event {
            Event::Started { truncated_tokens: 1.., .. } => return note_truncated(event),
            Event::Token(token) => &token.text,
            Event::Finished { text, .. } => text,
            _ => return Ok(()),
        };
        if !text.is_empty() {
            at_line_start = text.ends_with('\n');
            io.say(text)?;
        }
        Ok(())
    });
    if !at_line_start {
        io.say("\n")?;
    }
    let ended = ended?;
    note_end(ended.reason, ended.generated);
    Ok(ended.reason)
}

fn note_truncated(event: &Event) -> Result<()> {
    if let Event::Started { truncated_tokens: count @ 1.., .. } = event {
        output::note(format!("The oldest {count} tokens were dropped: the context holds no more."));
    }
    Ok(())
}

/// Says why an answer may look cut off.
fn note_end(reason: FinishReason, generated: usize) {
    match reason {
        FinishReason::MaxTokens => output::note(format!("Stopped after {generated} tokens; --max-tokens allows more.")),
        FinishReason::ContextFull => output::note("Stopped because the context is full."),
        FinishReason::EndOfText | FinishReason::Stop | FinishReason::Cancelled => {}
    }
}

fn request(args: &RunArgs, prompt: Prompt) -> Request {
    Request {
        sampling: args.sampling.sampling(),
        max_tokens: args.sampling.max_tokens(),
        stop: args.stop.clone(),
        alternatives: match (args.json, &args.session) {
            (true, _) => args.alternatives.unwrap_or(3),
            (false, Some(_)) => record::ALTERNATIVES,
            (false, None) => 0,
        },
        routing: args.json || args.session.is_some(),
        truncate: args.truncate,
        ..Request::new(0, prompt)
    }
}
