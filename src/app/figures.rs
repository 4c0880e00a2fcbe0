//! Figures on the screen: renewed a few times a second, so that a fast model does not flood a slow
//! terminal.

use super::chat::NodeId;
use super::replay::{self, Pulse};
use super::routing::Load;
use super::state::{App, Model, Scope};
use super::tally::Tally;

/// Seconds between figures on a slow link, at least.
const EVERY_SLOW: f64 = 1.0;
/// Tokens listed for an expert.
const FIRES: usize = 24;

/// Puts the newest figures on the screen.
pub(super) fn refresh(app: &mut App) {
    app.live.stale = false;
    app.live.due = app.now + if app.slow_link { app.figures_every.max(EVERY_SLOW) } else { app.figures_every };
    renew_answer(app);
    let snapshot = app.live.snapshot.clone();
    let running = app.running.as_ref();
    let first_token = match running {
        Some(running) => running.first_token.map(|at| at - running.since),
        None => app.last_stats.map(|stats| stats.first_token_s).filter(|s| *s > 0.0),
    };
    let rate = match running {
        Some(_) => snapshot.tokens_per_second,
        None => app.last_stats.and_then(|stats| stats.decode_rate()),
    };
    let prefill = running.filter(|r| r.first_token.is_none()).and_then(|r| r.prefill);
    let (answering, tokens) = (running.map(|r| r.node), running.map_or(0, |r| r.tokens));
    let live = Pulse { answering, first_token, rate, tokens, prefill };
    let Pulse { answering, first_token, rate, tokens, prefill } =
        app.replay.as_ref().map_or(live, |replay| replay::pulse(app, replay));
    let shown = super::state::Shown {
        machine: app.live.machine,
        heat: app.live.heat.clone(),
        load: load(app),
        other: app.look.compare.then(|| other(app)).flatten(),
        name: app.answer().filter(|_| app.look.compare).map_or_else(String::new, |id| name_of(app, id)),
        fires: app.expert_at_cursor().map_or_else(Vec::new, |(l, e)| app.live.session.fires.top(l, e, FIRES)),
        first_token,
        rate,
        answering,
        tokens,
        prefill,
        snapshot,
    };
    if shown != app.shown {
        app.shown = shown;
        app.dirty = true;
    }
}

/// Counts the conversation anew, another one or of another model, unless that was done for such a model.
pub(super) fn count_again(app: &mut App, counted: Option<Tally>) {
    let empty = Load::new(experts(app));
    let fits = |load: &Load| app.opened().is_none() || load.has_shape_of(&empty);
    app.live.session = match counted {
        Some(counted) if fits(&counted.load) => counted,
        _ => Tally::of_chat(experts(app), &app.chat),
    };
    app.live.answer = empty;
    (app.live.answer_of, app.live.stale) = (None, true);
}

pub(super) fn experts(app: &App) -> &[usize] {
    match &app.model {
        Model::Ready(opened) => &opened.info.experts,
        _ => &[],
    }
}

/// Counts the chosen answer anew if it is another one than before.
fn renew_answer(app: &mut App) {
    let answer = app.answer();
    if answer != app.live.answer_of {
        app.live.answer = of_answer(app, answer);
        app.live.answer_of = answer;
    }
}

pub(super) fn of_answer(app: &App, answer: Option<usize>) -> Load {
    let mut load = Load::new(experts(app));
    let tokens = answer.and_then(|id| app.chat.node(id)).map(|node| node.tokens.as_slice());
    tokens.unwrap_or_default().iter().for_each(|token| load.add(&token.routing));
    load
}

pub(super) fn load(app: &App) -> Load {
    let one = |routing: &crate::protocol::TokenRouting| {
        let mut load = Load::new(experts(app));
        load.add(routing);
        load
    };
    match (app.look.scope, &app.walk) {
        // Walking tokens is about the one under the cursor.
        (Scope::Token, Some(walk)) => {
            let token = app.chat.node(walk.node).and_then(|n| n.tokens.get(walk.at));
            token.map_or_else(|| Load::new(experts(app)), |t| one(&t.routing))
        }
        (Scope::Token, None) => {
            let newest = app.answer().and_then(|id| app.chat.node(id)).and_then(|n| n.tokens.last());
            newest.map_or_else(|| Load::new(experts(app)), |t| one(&t.routing))
        }
        (Scope::Answer, _) => app.live.answer.clone(),
        (Scope::Session, _) => app.live.session.load.clone(),
    }
}

/// The answer that the chosen one is compared with, and what it is called.
pub(super) fn other(app: &App) -> Option<(String, Load)> {
    let other = compared(app)?;
    Some((name_of(app, other), of_answer(app, Some(other))))
}

/// What an answer is called beside others: its branch, else its number.
pub(super) fn name_of(app: &App, id: NodeId) -> String {
    let (siblings, index) = app.chat.siblings(id);
    let own = app.answer().is_some_and(|answer| siblings.contains(&answer));
    if own && siblings.len() > 1 {
        return format!("answer {} of {}", index + 1, siblings.len());
    }
    let question = app.chat.node(id).and_then(|node| app.chat.node(node.parent?));
    let words: String = question.map_or(String::new(), |node| node.text.chars().take(24).collect());
    format!("message {} ({})", id + 1, words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The answers that the chosen one can be compared with: its branches first, from the one before it
/// on in a circle, then the others, the nearest before it first.
pub(super) fn comparable(app: &App) -> Vec<NodeId> {
    let Some(answer) = app.answer() else { return Vec::new() };
    let (siblings, index) = app.chat.siblings(answer);
    let branches = (1..siblings.len()).map(|by| siblings[(index + siblings.len() - by) % siblings.len()]);
    let mut all: Vec<NodeId> = branches.collect();
    let others = (0..answer).rev().chain(answer + 1..app.chat.nodes().len());
    let others: Vec<NodeId> = others.filter(|id| !all.contains(id)).collect();
    all.extend(others);
    all.retain(|id| app.chat.node(*id).is_some_and(|node| !node.tokens.is_empty()));
    all
}

/// The answer that the chosen one is compared with.
pub(super) fn compared(app: &App) -> Option<NodeId> {
    let all = comparable(app);
    app.look.against.filter(|id| all.contains(id)).or_else(|| all.first().copied())
}

/// When the app wants to hear the time again even if nothing happens.
pub fn next_wake(app: &App) -> Option<f64> {
    let figures = app.live.stale.then_some(app.live.due);
    let notice = app.notice.as_ref().map(|notice| notice.until);
    [figures, notice, replay::next_wake(app)].into_iter().flatten().min_by(f64::total_cmp)
}
