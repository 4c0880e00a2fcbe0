//! A conversation in plain lines: nothing moves the cursor, so that a screen reader can follow.
//!
//! Who speaks stands on standard error, what the model says on standard output, which can therefore
//! be kept in a file.

use anyhow::Result;

use super::ask::Asker;
use super::{Io, RunArgs, note_end, note_truncated, request};
use crate::cli::output;
use crate::protocol::{Event, FinishReason, Message, Prompt, Role};

const HELP: &str = "\
/help          shows this
/reset         forgets the conversation
/system TEXT   tells the model how to behave, and begins anew; without TEXT, takes that back
/quit          ends, as Ctrl-D does
Ctrl-C stops an answer and keeps what was said of it.
A line that ends with \\ goes on in the next. A space before / makes it part of what you say.";

/// Until the person leaves.
pub(super) fn converse(args: &RunArgs, asker: &mut Asker, io: &mut Io<'_>, first: Option<String>) -> Result<()> {
    let mut turns: Vec<Message> = Vec::new();
    set_system(&mut turns, args.system.as_deref());
    output::note("Type a message and press Enter. /help lists the commands.");
    let mut next = first;
    loop {
        let said = match next.take() {
            Some(said) => said,
            None => match listen(io)? {
                Some(said) => said,
                None => return Ok(()),
            },
        };
        let (command, rest) = said.split_once(' ').unwrap_or((&said, ""));
        match command {
            "" if said.trim().is_empty() => {}
            "/help" => output::note(HELP),
            "/quit" | "/exit" => return Ok(()),
            "/reset" => {
                turns.retain(|turn| turn.role == Role::System);
                output::note("The conversation begins anew.");
            }
            "/system" => {
                let rest = rest.trim();
                set_system(&mut turns, (!rest.is_empty()).then_some(rest));
                output::note("The conversation begins anew.");
            }
            slash if slash.starts_with('/') => {
                output::note(format!("There is no command {slash}. /help lists them."));
            }
            _ => answer(args, asker, io, &mut turns, said)?,
        }
    }
}

fn set_system(turns: &mut Vec<Message>, text: Option<&str>) {
    turns.clear();
    turns.extend(text.map(|text| Message { role: Role::System, content: text.to_owned() }));
}

/// What the person says next; none at the end of the input.
fn listen(io: &mut Io<'_>) -> Result<Option<String>> {
    let mut said = String::new();
    loop {
        if io.input_is_terminal {
            output::label(if said.is_empty() { "You: " } else { "...: " });
        }
        let mut line = Vec::new();
        if io.input.read_until(b'\n', &mut line)? == 0 {
            if io.input_is_terminal {
                output::note("");
            }
            return Ok((!said.is_empty()).then_some(said));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.strip_suffix('\\') {
            Some(more) => {
                said.push_str(more);
                said.push('\n');
            }
            None => {
                said.push_str(line);
                return Ok(Some(said));
            }
        }
    }
}

/// Lets the model take its turn. A failure is said, and the conversation goes on without this turn;
/// only what cannot be mended ends it.
fn answer(args: &RunArgs, asker: &mut Asker, io: &mut Io<'_>, turns: &mut Vec<Message>, said: String) -> Result<()> {
    turns.push(Message { role: Role::User, content: said });
    output::label("Model: ");
    let mut told = String::new();
    let mut failure = None;
    let ended = asker.ask(request(args, Prompt::Chat(turns.clone())), |event| {
        let text = match event {
            Event::Started { .. } => return note_truncated(event),
            Event::Token(token) => &token.text,
            Event::Finished { text, .. } => text,
            _ => return Ok(()),
        };
        told.push_str(text);
        // A reader that has gone is no fault of the model.
        io.say(text).or_else(|error| {
            failure = Some(error);
            anyhow::bail!("cannot write")
        })
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    if ended.is_err() || !told.ends_with('\n') {
        io.say("\n")?;
    }
    match ended {
        Ok(ended) => {
            match ended.reason {
                FinishReason::Cancelled => output::note("Stopped."),
                reason => note_end(reason, ended.generated),
            }
            if told.is_empty() && ended.reason == FinishReason::Cancelled {
                turns.pop();
            } else {
                turns.push(Message { role: Role::Assistant, content: told });
            }
        }
        Err(error) => {
            turns.pop();
            output::error(&error);
            asker.check()?;
        }
    }
    Ok(())
}
