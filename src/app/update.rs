//! The one way in which the app changes.

use super::act::act;
use super::action::{Action, Context};
use super::chat::Change;
use super::generate;
use super::key::Key;
use super::msg::{Effect, Msg, TrainSaid};
use super::navigate;
use super::overlay::{self, Overlay};
use super::state::{App, Model, Pane, Scroll, View};
use super::{act, figures, heat, replay, sessions, slash, training};
use crate::protocol::MachineMemory;

/// Takes in what happened, and says what is to be done outside.
pub fn update(app: &mut App, msg: Msg) -> Vec<Effect> {
    if app.replay.is_some() && replay::is_deaf_to(&msg) {
        return Vec::new();
    }
    match msg {
        Msg::Tick(now) => tick(app, now),
        Msg::Key(key) => {
            app.dirty = true;
            return press(app, key);
        }
        Msg::Paste(text) => {
            app.dirty = true;
            return paste(app, &text);
        }
        Msg::Wheel(lines) => navigate::scroll(app, i64::from(lines)),
        Msg::Resize(columns, rows) => {
            app.size = (columns, rows);
            app.dirty = true;
        }
        Msg::Drawn(drawn) => {
            app.drawn = drawn;
            if let Scroll::At(_) = app.scroll {
                app.scroll = if drawn.at_end { Scroll::Follow } else { Scroll::At(drawn.top) };
            }
        }
        Msg::Opened(opened) => {
            app.model = Model::Ready(opened);
            let counted = std::mem::take(&mut app.live.session);
            figures::count_again(app, Some(counted));
            app.dirty = true;
        }
        Msg::EngineGone(why) => {
            let effects = generate::gone(app, &why);
            app.model = Model::Gone(why);
            app.dirty = true;
            return effects;
        }
        Msg::Engine(event) => return generate::event(app, event),
        Msg::Snapshot(snapshot) => {
            if app.live.snapshot != *snapshot {
                app.live.snapshot = *snapshot;
                app.live.stale = true;
            }
        }
        Msg::Heat(sensed) => heat::take(app, &sensed),
        Msg::Machine(machine) => {
            if app.live.machine.is_none_or(|shown| differs(shown, machine)) {
                app.live.machine = Some(machine);
                app.live.stale = true;
            }
        }
        Msg::Sessions(entries) => return sessions::listed(app, entries),
        Msg::Resume(id) => return sessions::begin_opening(app, id),
        Msg::SessionOpened(resumed) => return sessions::opened(app, *resumed),
        Msg::SessionNotOpened(why) => return sessions::not_opened(app, why),
        Msg::SessionNamed(id) => app.sessions.open = Some(id),
        Msg::Preview(preview) => {
            app.sessions.preview = Some(preview);
            app.dirty |= app.view == View::Sessions;
        }
        Msg::Found(found) => overlay::found(app, found),
        Msg::Saving(saving) => sessions::saving(app, saving),
        Msg::System(text) if app.sessions.opening.is_some() => app.sessions.system = Some(text),
        Msg::System(text) => {
            return generate::change(app, Change::System { text }).into_iter().collect();
        }
        Msg::History(prompts) => app.prompt.recall(prompts),
        Msg::Leaving => return generate::leave(app),
        Msg::SlowLink(slow) => {
            if slow != app.slow_link {
                app.slow_link = slow;
                app.say(if slow { "The link is slow: drawing less often" } else { "The link is fast again" });
            }
        }
        Msg::Notice(text) => app.say(text),
        Msg::Theme(name) => {
            app.theme = name;
            app.dirty = true;
        }
        Msg::Train(said) => return train(app, said),
        Msg::Runs(read) => {
            app.training.read(&read.runs, read.loading);
            app.dirty |= app.view == View::Training;
        }
    }
    Vec::new()
}

/// What became of what was asked of training runs.
fn train(app: &mut App, said: TrainSaid) -> Vec<Effect> {
    app.dirty |= app.view == View::Training || app.overlay == Some(Overlay::Form);
    match said {
        TrainSaid::Alive(folders) => app.training.living(folders),
        TrainSaid::Plan(plan) => training::form::checked(app, plan),
        TrainSaid::Started(begun) => return training::form::started(app, begun),
    }
    Vec::new()
}

/// True if memory has moved far enough from what is shown to be worth drawing. Measured from what is
/// shown, so that a figure between two steps does not flicker.
fn differs(shown: MachineMemory, now: MachineMemory) -> bool {
    let apart = |a: u64, b: u64, step: u64| a.abs_diff(b) >= step;
    apart(shown.process, now.process, 1 << 20)
        || apart(shown.used, now.used, 128 << 20)
        || apart(shown.total, now.total, 1 << 20)
}

fn tick(app: &mut App, now: f64) {
    app.now = app.now.max(now);
    if app.notice.as_ref().is_some_and(|notice| notice.until <= app.now) {
        app.notice = None;
        app.dirty = true;
    }
    replay::tick(app);
    if app.live.stale && app.live.due <= app.now {
        figures::refresh(app);
    }
}

/// The contexts in which a key is looked up now, the most special first.
fn contexts(app: &App) -> &'static [Context] {
    if app.replay.is_some() {
        return replay_contexts(app);
    }
    match (app.view, app.focus) {
        (View::Sessions, _) => &[Context::Sessions, Context::Everywhere],
        (View::Training, _) => &[Context::Training, Context::Everywhere],
        (View::Routing, _) | (View::Workbench, Pane::Routing) => &[Context::Routing, Context::Everywhere],
        (View::Workbench, Pane::Prompt) => &[Context::Prompt, Context::Everywhere],
        (View::Workbench, Pane::Chat) if app.walk.is_some() => &[Context::Tokens, Context::Everywhere],
        (View::Workbench, Pane::Chat) => &[Context::Chat, Context::Everywhere],
        _ => &[Context::Everywhere],
    }
}

/// The same where a recording is played: its keys come before those of the chat, which has others for
/// what they mean there.
fn replay_contexts(app: &App) -> &'static [Context] {
    match (app.view, app.focus) {
        (View::Routing, _) | (View::Workbench, Pane::Routing) => {
            &[Context::Routing, Context::Replay, Context::Everywhere]
        }
        (View::Workbench, Pane::Prompt) => &[Context::Prompt, Context::Everywhere],
        (View::Workbench, Pane::Chat) if app.walk.is_some() => &[Context::Tokens, Context::Replay, Context::Everywhere],
        (View::Workbench, Pane::Chat) => &[Context::Replay, Context::Chat, Context::Everywhere],
        _ => &[Context::Replay, Context::Everywhere],
    }
}

fn press(app: &mut App, key: Key) -> Vec<Effect> {
    if app.overlay.is_some() {
        return press_overlay(app, key);
    }
    if app.view == View::Training && training::typed(app, key) {
        return Vec::new();
    }
    let action = app.keymap.action(contexts(app), key);
    if action != Some(Action::SessionDelete) {
        app.sessions.deleting = false;
    }
    let editing = app.view == View::Workbench && app.focus == Pane::Prompt;
    if action.is_some() {
        // It was about what was done before.
        app.notice = None;
    }
    match action {
        // On inner lines these are the editor's.
        Some(Action::HistoryBack) if editing => {
            if !app.prompt.back() {
                app.prompt.area.input(key.input());
            }
            Vec::new()
        }
        Some(Action::HistoryOn) if editing => {
            if !app.prompt.on() {
                app.prompt.area.input(key.input());
            }
            Vec::new()
        }
        // A digit says which tenth.
        Some(Action::ReplayTenth) => {
            let tenth = key.typed().and_then(|c| c.to_digit(10)).unwrap_or(0);
            act(app, Action::ReplayTenth, &format!("{}%", tenth * 10))
        }
        Some(action) => act(app, action, ""),
        None if editing => {
            app.prompt.area.input(key.input());
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// Overlays take letters for themselves, and only a few actions besides those of lists.
fn press_overlay(app: &mut App, key: Key) -> Vec<Effect> {
    if let Some(effects) = training::form::press(app, key) {
        return effects;
    }
    if let Some(action) = app.keymap.action(&[Context::List], key) {
        return act::in_overlay(app, action);
    }
    let through =
        [Action::Escape, Action::Interrupt, Action::Quit, Action::Suspend, Action::Redraw, Action::Theme, Action::Help];
    if let Some(action) = app.keymap.action(&[Context::Everywhere], key)
        && through.contains(&action)
    {
        return act(app, action, "");
    }
    let typed = key.typed();
    let erased = key == Key::plain(crossterm::event::KeyCode::Backspace);
    if let (Some(Overlay::Help(_)), Some('q' | '?')) = (&app.overlay, typed) {
        app.overlay = None;
        return Vec::new();
    }
    edit_query(app, |text| match typed {
        Some(c) => text.push(c),
        None if erased => drop(text.pop()),
        None => {}
    })
}

fn paste(app: &mut App, text: &str) -> Vec<Effect> {
    if app.overlay.is_some() {
        let line: String = text.chars().filter(|c| !c.is_control()).collect();
        if app.overlay == Some(Overlay::Form) {
            training::form::paste(app, &line);
            return Vec::new();
        }
        return edit_query(app, |query| query.push_str(&line));
    }
    if app.view == View::Workbench {
        app.focus = Pane::Prompt;
        app.prompt.paste(text);
    }
    Vec::new()
}

/// Changes what is typed into an overlay, and looks for it again.
fn edit_query(app: &mut App, edit: impl Fn(&mut String)) -> Vec<Effect> {
    match &mut app.overlay {
        Some(Overlay::Palette(list)) => {
            edit(&mut list.query);
            list.at = 0;
        }
        Some(Overlay::Ask(ask)) => edit(&mut ask.text),
        Some(Overlay::Search(search)) => {
            let before = search.list.query.clone();
            edit(&mut search.list.query);
            if search.list.query != before {
                return search_again(app);
            }
        }
        _ => {}
    }
    Vec::new()
}

/// Looks for what is typed: here at once, elsewhere by asking.
pub(super) fn search_again(app: &mut App) -> Vec<Effect> {
    let Some(Overlay::Search(search)) = &mut app.overlay else { return Vec::new() };
    search.look(&app.chat);
    if search.waiting {
        return vec![Effect::Session(super::msg::SessionOp::Search(search.list.query.clone()))];
    }
    Vec::new()
}

/// Sends what is in the prompt: a command if it begins with a slash.
pub(super) fn send(app: &mut App) -> Vec<Effect> {
    let text = app.prompt.text();
    if text.trim().is_empty() {
        return Vec::new();
    }
    if let Some(line) = slash::command_line(&text) {
        let line = line.to_owned();
        return match slash::parse(&line) {
            Ok((action, argument)) => {
                app.prompt.set("");
                let mut effects: Vec<Effect> = remember(app, &text).into_iter().collect();
                effects.extend(act(app, action, argument));
                if app.replay.is_some() && app.focus == Pane::Prompt {
                    // The keys of the recording are wanted again.
                    app.focus = Pane::Chat;
                }
                effects
            }
            Err(why) => {
                app.say(why);
                Vec::new()
            }
        };
    }
    // Two slashes begin a prompt that begins with one.
    let prompt = text.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(&text);
    let Some(mut effects) = generate::ask(app, prompt) else { return Vec::new() };
    app.prompt.set("");
    effects.extend(remember(app, &text));
    effects
}

fn remember(app: &mut App, text: &str) -> Option<Effect> {
    app.prompt.remember(text).then(|| Effect::Remember(text.to_owned()))
}
