//! Asking the engine, and taking in what it answers.

use super::chat::{Change, End, NodeId, TokenRecord};
use super::msg::Effect;
use super::state::{App, Model, Running, Scroll};
use crate::protocol::{Command, Event, FinishReason, Message, Prompt, Request, Role, Token};

/// Alternatives that are kept beside each token.
const ALTERNATIVES: usize = 8;

/// Applies a change to the chat, and asks for it to be saved.
pub(super) fn change(app: &mut App, change: Change) -> Option<Effect> {
    if app.sessions.opening.is_some() {
        // It would be kept in the session that is about to take this one's place.
        app.say("A session is being opened");
        return None;
    }
    if app.replay.is_some() {
        super::replay::set_aside(app, &change);
        return None;
    }
    match app.chat.apply(&change) {
        Ok(()) => {
            app.dirty = true;
            Some(Effect::Record(change))
        }
        Err(why) => {
            app.say(format!("This is a fault of the program, please report it: {why}"));
            None
        }
    }
}

/// Why nothing can be asked now, if so.
fn hindered(app: &App) -> Option<String> {
    if app.replay.is_some() {
        return super::replay::refusal(super::action::Action::Regenerate).map(str::to_owned);
    }
    match &app.model {
        _ if app.sessions.opening.is_some() => Some("A session is being opened".into()),
        Model::Opening(_) => Some("The model is still being opened".into()),
        Model::Gone(why) => Some(format!("There is no model to ask: {why}")),
        Model::Ready(_) if app.running.is_some() => Some("An answer is being written; Esc stops it".into()),
        Model::Ready(_) => None,
    }
}

fn user(app: &mut App, parent: Option<NodeId>, text: &str) -> Option<Effect> {
    let (id, text) = (app.chat.nodes().len(), text.to_owned());
    let add = Change::Add { id, parent, role: Role::User, text, tokens: vec![], sampling: None, alterations: None };
    change(app, add)
}

/// Sends a prompt: after the last message, or beside the one that is edited. None if it cannot be
/// sent now.
pub(super) fn ask(app: &mut App, text: &str) -> Option<Vec<Effect>> {
    if let Some(why) = hindered(app) {
        app.say(why);
        return None;
    }
    let parent = match app.editing.take() {
        Some(edited) => app.chat.node(edited).and_then(|node| node.parent),
        None => app.chat.path().last().copied(),
    };
    let mut effects: Vec<Effect> = user(app, parent, text).into_iter().collect();
    effects.extend(answer(app, app.chat.path().last().copied(), String::new(), Vec::new(), false));
    Some(effects)
}

/// Answers the same message again, as a branch beside the answer.
pub(super) fn regenerate(app: &mut App) -> Vec<Effect> {
    if let Some(why) = hindered(app) {
        app.say(why);
        return Vec::new();
    }
    // An answer is written anew; a question that has none gets one.
    let chosen = app.selected.and_then(|place| app.chat.path().get(place).copied());
    let Some(id) = chosen.or(app.chat.path().last().copied()) else {
        app.say("There is nothing to answer yet");
        return Vec::new();
    };
    let question = match app.chat.node(id) {
        Some(node) if node.role == Role::Assistant => node.parent,
        _ => Some(id),
    };
    answer(app, question, String::new(), Vec::new(), false)
}

/// Forks the answer of the token view: its tokens before the cursor, then the chosen alternative.
pub(super) fn fork(app: &mut App) -> Vec<Effect> {
    if let Some(why) = hindered(app) {
        app.say(why);
        return Vec::new();
    }
    let Some(walk) = app.walk else { return Vec::new() };
    let Some(node) = app.chat.node(walk.node) else { return Vec::new() };
    let Some(at) = node.tokens.get(walk.at) else { return Vec::new() };
    // Line 0 is the token itself.
    let other = match walk.alternative.checked_sub(1) {
        None => TokenRecord { alternatives: at.alternatives.clone(), ..at.clone() },
        Some(chosen) => {
            let Some(other) = at.alternatives.get(chosen) else { return Vec::new() };
            let itself = crate::protocol::Alternative { token: at.token, text: at.text.clone(), logprob: at.logprob };
            let mut rest = at.alternatives.clone();
            rest[chosen] = itself;
            TokenRecord {
                token: other.token,
                text: other.text.clone(),
                logprob: other.logprob,
                alternatives: rest,
                routing: at.routing.clone(),
            }
        }
    };
    let mut tokens = node.tokens[..walk.at].to_vec();
    tokens.push(other);
    let vocabulary = app.opened().map_or(0, |opened| opened.info.vocabulary);
    if tokens.iter().any(|token| token.token as usize >= vocabulary) {
        app.say("This answer has tokens that the model does not know: another model gave it, so it cannot be forked");
        return Vec::new();
    }
    let text = tokens.iter().map(|t| t.text.as_str()).collect();
    let parent = node.parent;
    let foreign = super::sessions::is_foreign(app, walk.node);
    super::navigate::leave_tokens(app);
    answer(app, parent, text, tokens, foreign)
}

/// Adds an answer that begins with `text`, and asks the engine to write it. Tokens of another model are
/// foreign: only their text means something to this one.
fn answer(app: &mut App, parent: Option<NodeId>, text: String, tokens: Vec<TokenRecord>, foreign: bool) -> Vec<Effect> {
    let mut messages = app.chat.messages(parent);
    let prompt = if tokens.is_empty() {
        Prompt::Chat(messages)
    } else if foreign {
        messages.push(Message { role: Role::Assistant, content: text.clone() });
        Prompt::Continue(messages)
    } else {
        Prompt::Fork { messages, answer: tokens.iter().map(|token| token.token).collect() }
    };
    let node = app.chat.nodes().len();
    let (sampling, altered) = (Some(app.sampling.clone()), app.alterations.clone());
    let alterations = (!altered.is_none()).then_some(altered);
    let add = Change::Add { id: node, parent, role: Role::Assistant, text, tokens, sampling, alterations };
    let mut effects: Vec<Effect> = change(app, add).into_iter().collect();
    let id = app.next_request;
    app.next_request += 1;
    let request = Request {
        sampling: app.sampling.clone(),
        max_tokens: app.max_tokens,
        alternatives: ALTERNATIVES,
        routing: true,
        truncate: true,
        max_speed: app.max_speed,
        ..Request::new(id, prompt)
    };
    effects.push(Effect::Engine(Command::Generate(request)));
    app.running = Some(Running {
        request: id,
        node,
        since: app.now,
        first_token: None,
        prefill: None,
        stopping: false,
        tokens: 0,
    });
    (app.selected, app.scroll) = (None, Scroll::Follow);
    app.live.stale = true;
    effects
}

/// Tells the engine to stop; what was written stays.
pub(super) fn stop(app: &mut App) -> Vec<Effect> {
    let Some(running) = &mut app.running else { return Vec::new() };
    running.stopping = true;
    app.dirty = true;
    vec![Effect::Engine(Command::Cancel(running.request))]
}

/// The engine said something.
pub(super) fn event(app: &mut App, event: Event) -> Vec<Effect> {
    app.live.stale = true;
    let ours = |app: &App, id: u64| app.running.as_ref().is_some_and(|running| running.request == id);
    match event {
        Event::Started { id, prompt_tokens, reused_tokens, truncated_tokens, .. } => {
            if let Some(running) = app.running.as_mut().filter(|r| r.request == id) {
                running.prefill = Some((reused_tokens, prompt_tokens));
            }
            if truncated_tokens > 0 {
                app.say(format!("The context is full: the oldest {truncated_tokens} tokens were left out"));
            }
        }
        Event::Prefill { id, done, total, routing, tokens } if ours(app, id) => {
            app.live.session.prompt(&routing, &tokens, true);
            if let Some(running) = &mut app.running {
                running.prefill = Some((done, total));
            }
        }
        Event::Token(token) if ours(app, token.id) => return self::token(app, token),
        Event::Finished { id, reason, text, stats } if ours(app, id) => {
            app.last_stats = Some(stats);
            return finish(app, End::Done(reason), text, Some(stats));
        }
        Event::Failed { id, message } if ours(app, id) => {
            return finish(app, End::Failed(message), String::new(), None);
        }
        Event::Altered { alterations } => {
            app.altered = alterations;
            app.dirty = true;
        }
        Event::AlterFailed { message } => {
            app.alterations = app.altered.clone();
            app.say(message);
        }
        _ => {}
    }
    Vec::new()
}

fn token(app: &mut App, token: Token) -> Vec<Effect> {
    let now = app.now;
    let Some(running) = &mut app.running else { return Vec::new() };
    running.first_token.get_or_insert(now);
    running.tokens += 1;
    let id = running.node;
    if app.live.answer_of == Some(id) {
        app.live.answer.add(&token.routing);
    }
    // What the prompt ends with was counted when it was read, a beginning that was taken over too.
    let read = app.chat.node(id).and_then(|node| node.tokens.get(node.taken_over..)?.last());
    app.live.session.said(read.map(|read| (read.token, read.text.as_str())), &token.routing, true);
    change(app, Change::Token { id, token: token.into() }).into_iter().collect()
}

fn finish(app: &mut App, end: End, text: String, stats: Option<crate::protocol::Stats>) -> Vec<Effect> {
    let Some(running) = app.running.take() else { return Vec::new() };
    if end == End::Done(FinishReason::ContextFull) {
        app.say("The context is full; begin a new chat, or fork an earlier message");
    }
    change(app, Change::Finish { id: running.node, text, end, stats }).into_iter().collect()
}

/// The engine is gone: an answer that was being written ends here.
pub(super) fn gone(app: &mut App, why: &str) -> Vec<Effect> {
    finish(app, End::Failed(why.to_owned()), String::new(), None)
}

/// The program ends: so does the answer that is being written.
pub(super) fn leave(app: &mut App) -> Vec<Effect> {
    finish(app, End::Done(FinishReason::Cancelled), String::new(), None)
}
