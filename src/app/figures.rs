//! Figures on the screen: renewed a few times a second, so that a fast model does not flood a slow
//! terminal.

use super::routing::{Counted, Load};
use super::state::{App, Model, Scope};

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
    let shown = super::state::Shown {
        machine: app.live.machine,
        heat: app.live.heat.clone(),
        load: load(app),
        other: app.look.compare.then(|| other(app)).flatten(),
        fires: app.expert_at_cursor().map_or_else(Vec::new, |(l, e)| app.live.fires.top(l, e, FIRES)),
        first_token,
        rate,
        tokens: running.map_or(0, |r| r.tokens),
        prefill: running.filter(|r| r.first_token.is_none()).and_then(|r| r.prefill),
        snapshot,
    };
    if shown != app.shown {
        app.shown = shown;
        app.dirty = true;
    }
}

fn experts(app: &App) -> &[usize] {
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

/// Counts what all answers of the chat say of the routing, unless that was done for such a model.
pub(super) fn recount(app: &mut App, counted: Option<Counted>) {
    let empty = Load::new(experts(app));
    let fits = |load: &Load| app.opened().is_none() || load.has_shape_of(&empty);
    let Counted { load, fires } = match counted {
        Some(counted) if fits(&counted.load) => counted,
        _ => Counted::of(&app.chat, experts(app)),
    };
    (app.live.session, app.live.fires) = (load, fires);
    (app.live.answer_of, app.live.stale) = (None, true);
}

fn of_answer(app: &App, answer: Option<usize>) -> Load {
    let mut load = Load::new(experts(app));
    let tokens = answer.and_then(|id| app.chat.node(id)).map(|node| node.tokens.as_slice());
    tokens.unwrap_or_default().iter().for_each(|token| load.add(&token.routing));
    load
}

fn load(app: &App) -> Load {
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
        (Scope::Session, _) => app.live.session.clone(),
    }
}

/// The branch before the chosen answer, if there is one; else the answer before it in the chat.
fn other(app: &App) -> Option<Load> {
    let other = compared(app)?;
    Some(of_answer(app, Some(other)))
}

/// The answer that the chosen one is compared with.
pub(super) fn compared(app: &App) -> Option<usize> {
    let answer = app.answer()?;
    let (siblings, index) = app.chat.siblings(answer);
    if siblings.len() > 1 {
        return Some(siblings[(index + siblings.len() - 1) % siblings.len()]);
    }
    let place = app.chat.place(answer)?;
    let earlier = app.chat.path()[..place].iter().rev().copied();
    earlier.into_iter().find(|id| app.chat.node(*id).is_some_and(|n| !n.tokens.is_empty()))
}

/// When the app wants to hear the time again even if nothing happens.
pub fn next_wake(app: &App) -> Option<f64> {
    let figures = app.live.stale.then_some(app.live.due);
    let notice = app.notice.as_ref().map(|notice| notice.until);
    [figures, notice].into_iter().flatten().min_by(f64::total_cmp)
}
