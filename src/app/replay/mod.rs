//! A recording in the panes of the workbench: played, stepped, taken back, without a model.
//!
//! The recording's chat is the app's while nothing moves; the [`Player`] has it back whenever it does.
//! What a step adds to the sums of the routing, a step back takes away.

mod panes;
mod place;

use super::action::Action;
use super::chat::Change;
use super::msg::{Effect, Msg, Opened};
use super::routing::Load;
use super::state::{App, Model, Pane, Scroll, View};
use super::tally::Tally;
use super::{figures, navigate};
use crate::chat::{Moment, Moved, Pace, Player, Recording, Undo, What};
use crate::protocol::{Event, TokenId};

pub(super) use panes::{Pulse, pulse};
pub use place::Place;

/// A clock that stood still for longer than this was not watched: the program was stopped.
const UNWATCHED: f64 = 5.0;
/// How long the end stays before a loop begins again.
const REST: f64 = 1.5;
/// No more wakes than frames.
const FRAME: f64 = 0.033;
/// The speeds that keys step through double.
const DOUBLE: f64 = 2.0;
/// Slowest and fastest.
const SPEEDS: (f64, f64) = (1.0 / 16.0, 64.0);

/// A recording, and how it is played.
#[derive(Debug, Clone)]
pub struct Replay {
    player: Player,
    /// Begins again at its end.
    pub looped: bool,
    /// (moments) for each token, the moment of the token before in its answer, or itself for a first.
    before: Vec<u32>,
    /// What the reader did to the chat, to be taken back before the recording goes on.
    aside: Vec<Undo>,
    /// When the loop begins again.
    again: Option<f64>,
    /// The time at which it was looked at last.
    seen: f64,
    /// The second that the screen shows.
    second: u64,
    /// How many readings of heat the pane shows.
    readings: Option<usize>,
}

/// How a replay begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// Times as fast as it was recorded; none for once.
    pub speed: Option<f64>,
    /// Wait for the reader.
    pub paused: bool,
    /// Begin here.
    pub from: Option<Place>,
    /// Begin again at the end.
    pub looped: bool,
}

/// Where a replay is, for the line that says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transport {
    /// It goes on by itself.
    pub playing: bool,
    /// Everything has happened.
    pub at_end: bool,
    /// Begins again at its end.
    pub looped: bool,
    /// Times as fast as it was recorded.
    pub speed: f64,
    /// Seconds of playing: here, and in all.
    pub clock: (f64, f64),
    /// Tokens: up to here, and in all.
    pub tokens: (usize, usize),
    /// Messages likewise.
    pub messages: (usize, usize),
}

impl Replay {
    fn new(recording: Recording) -> Self {
        let mut last: std::collections::HashMap<usize, u32> = std::collections::HashMap::new();
        let before = |(at, moment): (usize, &Moment)| match &moment.what {
            What::Change(Change::Token { id, .. }) => {
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                last.insert(*id, at).unwrap_or(at)
            }
            _ => 0,
        };
        let before = recording.moments.iter().enumerate().map(before).collect();
        let player = Player::new(recording, Pace::default());
        Self { player, looped: false, before, aside: Vec::new(), again: None, seen: 0.0, second: 0, readings: None }
    }

    /// Where it is.
    pub fn transport(&self) -> Transport {
        let p = &self.player;
        Transport {
            playing: p.is_playing() || self.again.is_some(),
            at_end: p.at_end(),
            looped: self.looped,
            speed: p.speed(),
            clock: (p.clock(), p.duration()),
            tokens: p.token_count(),
            messages: p.message_count(),
        }
    }

    /// True if the recording holds the engine's state up to here.
    pub fn has_state(&self) -> bool {
        self.player.state().is_some()
    }

    /// The token before the one of this moment in its answer.
    fn token_before(&self, at: usize) -> Option<(TokenId, &str)> {
        let before = *self.before.get(at)? as usize;
        match &self.player.moments().get(before).filter(|_| before < at)?.what {
            What::Change(Change::Token { token, .. }) => Some((token.token, token.text.as_str())),
            _ => None,
        }
    }
}

impl App {
    /// A workbench that plays a recording.
    pub fn replaying(recording: Recording, start: Start) -> Self {
        let mut app = App::new(String::new());
        app.focus = Pane::Chat;
        let title = recording.title.clone();
        let notes = recording.notes.clone();
        app.replay = Some(Box::new(Replay::new(recording)));
        take_model(&mut app);
        panes::show(&mut app);
        if let Some(replay) = &mut app.replay {
            replay.player.set_speed(start.speed.unwrap_or(1.0));
            replay.looped = start.looped;
        }
        if let Some(place) = start.from {
            go(&mut app, place);
        }
        if !start.paused {
            play(&mut app);
        }
        match notes.as_slice() {
            [] => app.say(format!("Playing {title}; space stops it, F1 shows the keys")),
            [note] => app.say(note.clone()),
            [first, rest @ ..] => app.say(format!("{first} ({} more notes like this)", rest.len())),
        }
        app
    }
}

/// Messages that speak of an engine or of this machine, which a recording does not want to hear.
pub(super) fn is_deaf_to(msg: &Msg) -> bool {
    use Msg::*;
    matches!(msg, Opened(_) | EngineGone(_) | Engine(_) | Snapshot(_) | Heat(_) | Machine(_) | SessionOpened(..))
}

/// Why an action cannot be done to a recording, if so.
pub(super) fn refusal(action: Action) -> Option<&'static str> {
    use Action::*;
    match action {
        Regenerate | ChatRegenerate | RegenerateHere | Edit | ChatEdit | ForkHere => {
            Some("This is a recording and no model runs: `bit-axon chat MODEL` opens one that answers")
        }
        Mute | Force | ExpertsPerToken | RouterTemperature | SharedExpert | Unalter | UnalterHere | MuteHere
        | MuteEverywhere | ForceHere | ForceEverywhere | MoreExperts | FewerExperts | MoreEverywhere
        | FewerEverywhere | SharedHere => {
            Some("This is a recording: its routing is what it was, and no model runs that could be altered")
        }
        NewChat | SessionNew | Rename | System | Settings | Temperature | TopK | TopP | MinP | Penalty | Seed
        | MaxTokens | SearchAll | ViewSessions | SessionOpen | SessionRename | SessionDelete => {
            Some("This is a recording: `bit-axon chat` opens a chat of your own")
        }
        _ => None,
    }
}

/// Does what replays alone can do; none if the action is none of theirs.
pub(super) fn act(app: &mut App, action: Action, argument: &str) -> Option<Vec<Effect>> {
    use Action::*;
    let ours = matches!(
        action,
        Seek | Speed
            | PlayPause
            | StepOn
            | StepBack
            | MessageOn
            | MessageBack
            | Faster
            | Slower
            | ReplayStart
            | ReplayEnd
            | ReplayTenth
            | Loop
            | ReplayCommand
    );
    if !ours {
        return None;
    }
    app.dirty = true;
    let Some(replay) = &mut app.replay else {
        app.say("Nothing is played here: `bit-axon replay FILE` plays a session or a trace");
        return Some(Vec::new());
    };
    let speed = replay.player.speed();
    match action {
        Speed => match parse_speed(argument) {
            Ok(speed) => replay.player.set_speed(speed),
            Err(why) => app.say(why),
        },
        Faster => replay.player.set_speed(speed * DOUBLE),
        Slower => replay.player.set_speed(speed / DOUBLE),
        Loop => {
            replay.looped = !replay.looped;
            replay.again = None;
            let words = if replay.looped { "It begins again at its end" } else { "It stops at its end" };
            app.say(words);
        }
        PlayPause if replay.transport().playing => pause(app),
        PlayPause => play(app),
        Seek | ReplayTenth => match argument.parse() {
            Ok(place) => go(app, place),
            Err(why) => app.say(why),
        },
        ReplayStart => go(app, Place::Share(0.0)),
        ReplayEnd => go(app, Place::Share(1.0)),
        StepOn => step(app, Player::next_change),
        StepBack => step(app, Player::previous_change),
        MessageOn => step(app, Player::next_message),
        MessageBack => step(app, Player::previous_message),
        _ => {
            app.prompt.set("/");
            (app.view, app.focus, app.panes.zoom) = (View::Workbench, Pane::Prompt, false);
        }
    }
    Some(Vec::new())
}

/// Reads how many times faster.
pub fn parse_speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix(['x', '×']).unwrap_or(text).trim().parse::<f64>();
    let fits = number.ok().filter(|speed| (SPEEDS.0..=SPEEDS.1).contains(speed));
    fits.ok_or_else(|| format!("a speed is a number from 1/16 (0.0625) to 64, as 2 or 0.5, not `{text}`"))
}

fn play(app: &mut App) {
    let now = app.now;
    moves(app, |player| player.play(now));
    if let Some(replay) = &mut app.replay {
        (replay.seen, replay.again) = (now, None);
    }
}

fn pause(app: &mut App) {
    let Some(replay) = &mut app.replay else { return };
    replay.player.pause();
    replay.again = None;
}

/// One step, after which it waits for the next.
fn step(app: &mut App, step: impl FnOnce(&mut Player) -> Moved) {
    pause(app);
    moves(app, step);
}

/// Goes there, and goes on if it played.
fn go(app: &mut App, place: Place) {
    let now = app.now;
    let playing = app.replay.as_ref().is_some_and(|replay| replay.transport().playing);
    moves(app, |player| {
        let moved = match place {
            Place::Share(share) => player.seek_clock(player.duration() * share),
            Place::Seconds(seconds) => player.seek_clock(seconds),
            Place::Token(token) => player.seek_token(token),
            Place::By(by) => player.seek_token(player.token_count().0.saturating_add_signed(by)),
        };
        // Where everything takes no time, the start is still before it and the end behind.
        let edge = match place {
            Place::Share(share) if share <= 0.0 => Some(0),
            Place::Share(share) if share >= 1.0 => Some(usize::MAX),
            _ => None,
        };
        Moved { from: moved.from, to: edge.map_or(moved.to, |edge| player.seek(edge).to) }
    });
    if let Some(replay) = &mut app.replay {
        (replay.again, replay.seen) = (None, now);
        if playing && !replay.player.at_end() {
            replay.player.play(now);
        }
    }
}

/// The reader changes the chat, as to look at another branch: for now, until the recording goes on.
pub(super) fn set_aside(app: &mut App, change: &Change) {
    pause(app);
    if let (Ok(undo), Some(replay)) = (app.chat.apply_reversibly(change), &mut app.replay) {
        replay.aside.push(undo);
        app.dirty = true;
    }
}

/// Time went by.
pub(super) fn tick(app: &mut App) {
    let now = app.now;
    let Some(replay) = &mut app.replay else { return };
    let unwatched = now - replay.seen > UNWATCHED;
    replay.seen = now;
    if replay.again.is_some_and(|again| again <= now) {
        return play(app);
    }
    if !replay.player.is_playing() {
        return;
    }
    if unwatched && !replay.player.at_end() {
        replay.player.play(now);
    }
    moves(app, |player| player.advance(now));
    let Some(replay) = &mut app.replay else { return };
    if replay.player.at_end() && replay.looped && replay.again.is_none() {
        replay.again = Some(now + REST);
    }
    let second = replay.player.clock() as u64;
    app.dirty |= replay.second != second;
    replay.second = second;
}

/// When time is wanted next.
pub(super) fn next_wake(app: &App) -> Option<f64> {
    let replay = app.replay.as_ref()?;
    let due = replay.player.next_due().map(|due| app.now + due.clamp(FRAME, 1.0));
    due.or(replay.again)
}

/// Moves the player, and brings everything that is shown to where it is now.
fn moves(app: &mut App, step: impl FnOnce(&mut Player) -> Moved) {
    let Some(mut replay) = app.replay.take() else { return };
    let mut chat_moved = false;
    while let Some(undo) = replay.aside.pop() {
        app.chat.undo(undo);
        chat_moved = true;
    }
    replay.player.swap_chat(&mut app.chat);
    let named = replay.player.model_named();
    let moved = step(&mut replay.player);
    replay.player.swap_chat(&mut app.chat);
    let other_model = named != replay.player.model_named();
    app.replay = Some(replay);
    if !(other_model && take_model(app)) {
        count(app, moved.range(), moved.to > moved.from);
    }
    if moved.is_nothing() && !chat_moved {
        return;
    }
    panes::show(app);
    settle(app);
    (app.dirty, app.live.stale) = (true, true);
    if moved.to < moved.from || app.replay.as_ref().is_some_and(|r| !r.player.is_playing()) {
        // Who steps wants to see it at once.
        app.live.due = app.now;
    }
}

/// Shows the model that answers here. True if all was counted anew because it routes otherwise.
fn take_model(app: &mut App) -> bool {
    let Some(replay) = &app.replay else { return false };
    let Some((info, label)) = replay.player.model() else { return false };
    let opened = Opened { info: info.clone(), label: label.to_owned(), needs: Vec::new(), budget: 0 };
    let experts = opened.info.experts.clone();
    let other = figures::experts(app) != experts;
    let range = replay.player.routed_alike_since()..replay.player.position();
    app.model = Model::Ready(Box::new(opened));
    app.live.stale = true;
    if other {
        app.live.session = Tally::new(&experts);
        (app.live.answer, app.live.answer_of) = (Load::new(&experts), None);
        count(app, range, true);
    }
    other
}

/// Adds what happened in these moments to the sums, or takes it away.
fn count(app: &mut App, range: std::ops::Range<usize>, more: bool) {
    let Some(replay) = &app.replay else { return };
    let live = &mut app.live;
    for at in range {
        match &replay.player.moments()[at].what {
            What::Engine(Event::Prefill { routing, tokens, .. }) => live.session.prompt(routing, tokens, more),
            What::Change(Change::Token { id, token }) => {
                live.session.said(replay.token_before(at), &token.routing, more);
                if live.answer_of == Some(*id) {
                    live.answer.count(&token.routing, more);
                }
            }
            // A message that goes takes its number along: the next one may bear it.
            What::Change(Change::Add { id, .. }) if live.answer_of == Some(*id) => live.answer_of = None,
            _ => {}
        }
    }
}

/// Selection, cursor and scroll position may speak of what is no more.
fn settle(app: &mut App) {
    let count = app.chat.path().len();
    app.selected = app.selected.filter(|place| *place < count);
    if let Scroll::At(at) = app.scroll
        && at.place >= count
    {
        app.scroll = Scroll::Follow;
    }
    let tokens = |walk: super::state::TokenWalk| app.chat.node(walk.node).map_or(0, |node| node.tokens.len());
    match app.walk {
        Some(walk) if tokens(walk) == 0 => drop(navigate::leave_tokens(app)),
        Some(walk) if walk.at >= tokens(walk) => {
            let last = tokens(walk) - 1;
            app.walk = Some(super::state::TokenWalk { at: last, alternative: 0, ..walk });
        }
        _ => {}
    }
    if app.look.compare && figures::compared(app).is_none() {
        app.look.compare = false;
    }
}
