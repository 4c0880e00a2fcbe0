//! Moving about: views, panes, scrolling, messages, branches, tokens.

use super::action::Action;
use super::chat::{Change, Chat};
use super::generate::change;
use super::msg::{Effect, SessionOp, TrainOp};
use super::state::{Anchor, App, LEAST_CHAT, LEAST_SIDE, Pane, SIDE_BY_SIDE, Scope, Scroll, TokenWalk, View};
use crate::protocol::Role;

/// A probability below this is a surprise.
const SURPRISE: f32 = 0.2;

/// Shows a view; asked for the one that is shown, goes back to the workbench.
pub(super) fn view(app: &mut App, view: View) -> Vec<Effect> {
    app.view = if app.view == view { View::Workbench } else { view };
    app.live.stale = true;
    app.live.due = app.now;
    match app.view {
        View::Sessions => vec![Effect::Session(SessionOp::List)],
        View::Training => vec![Effect::Train(TrainOp::Look)],
        _ => Vec::new(),
    }
}

/// True where there are panes; says where they are, if not.
fn on_workbench(app: &mut App) -> bool {
    let here = app.view == View::Workbench;
    if !here {
        let key = app.keymap.short(Action::ViewWorkbench).unwrap_or_else(|| "/workbench".into());
        app.say(format!("The panes are in the workbench: {key} goes there"));
    }
    here
}

/// True where panes stand side by side; says why not, if not.
fn side_by_side(app: &mut App) -> bool {
    if !on_workbench(app) {
        return false;
    }
    let (columns, rows) = app.size;
    let several = !app.panes.zoom && columns >= SIDE_BY_SIDE.0 && rows >= SIDE_BY_SIDE.1;
    if !several {
        app.say("Only one pane is seen here, and has all the room");
    }
    several
}

/// Gives the focused pane the whole screen, or takes it back.
pub(super) fn zoom(app: &mut App) {
    if on_workbench(app) {
        app.panes.zoom = !app.panes.zoom;
    }
}

/// Makes the chat wider by so many percent of the screen, or narrower, as far as both sides have room.
pub(super) fn wider(app: &mut App, percent: i16) {
    if !side_by_side(app) {
        return;
    }
    let columns = i32::from(app.size.0.max(1));
    let share = |columns_of: i32| columns_of * 100 / columns;
    let (least, most) = ((share(LEAST_CHAT) + 1).max(30), share(columns - LEAST_SIDE).min(85));
    let now = i32::from(app.panes.chat_percent);
    let then = (now + i32::from(percent)).clamp(least, most.max(least));
    if then == now {
        app.say(if percent > 0 { "The chat is as wide as it can be" } else { "The chat is as narrow as it can be" });
    }
    app.panes.chat_percent = then as u16;
}

/// Moves the focus among the panes that are seen.
pub(super) fn focus(app: &mut App, by: isize) {
    if !on_workbench(app) {
        return;
    }
    let panes: Vec<Pane> = app.visible_panes().collect();
    let at = panes.iter().position(|pane| *pane == app.focus).unwrap_or(0) as isize;
    app.focus = panes[(at + by).rem_euclid(panes.len() as isize) as usize];
}

/// Hides a pane; chat and prompt stay.
pub(super) fn hide(app: &mut App, name: &str) {
    let pane = if name.is_empty() { Some(app.focus) } else { Pane::ALL.into_iter().find(|p| p.name() == name) };
    match pane {
        None => app.say(format!("There is no pane {name}: there are routing, heat and memory")),
        Some(Pane::Chat | Pane::Prompt) => app.say("Chat and prompt stay; zoom another pane to have it alone"),
        Some(pane) => {
            if !app.panes.hidden.contains(&pane) {
                app.panes.hidden.push(pane);
            }
            let key = app.keymap.short(Action::ShowPanes).unwrap_or_else(|| "/show".into());
            app.say(format!("Hidden: {}; {key} shows it again", pane.name()));
            if app.focus == pane {
                (app.focus, app.panes.zoom) = (Pane::Prompt, false);
            }
        }
    }
}

/// Shows hidden panes again: the named one, or all.
pub(super) fn show(app: &mut App, name: &str) {
    if !name.is_empty() && !Pane::ALL.iter().any(|pane| pane.name() == name) {
        return app.say(format!("There is no pane {name}: there are routing, heat and memory"));
    }
    if app.panes.hidden.is_empty() {
        return app.say("No pane is hidden");
    }
    app.panes.hidden.retain(|pane| !name.is_empty() && pane.name() != name);
}

/// Gives a pane of the right column more rows or fewer.
pub(super) fn taller(app: &mut App, by: i16) {
    if !side_by_side(app) {
        return;
    }
    let at = match app.focus {
        Pane::Routing => 0,
        Pane::Heat => 1,
        Pane::Memory => 2,
        Pane::Chat | Pane::Prompt => return app.say("Move the focus to routing, heat or memory: their heights change"),
    };
    app.panes.more_rows[at] = (app.panes.more_rows[at] + by).clamp(-20, 20);
}

/// Scrolls the chat by lines, down if positive.
pub(super) fn scroll(app: &mut App, lines: i64) {
    let top = match app.scroll {
        Scroll::Follow if lines > 0 => return,
        Scroll::Follow => app.drawn.top,
        Scroll::At(top) => top,
    };
    app.scroll = Scroll::At(Anchor { line: top.line + lines, ..top });
    app.dirty = true;
}

/// Scrolls by a page that keeps two lines in sight.
pub(super) fn page(app: &mut App, down: bool) {
    let page = i64::from(app.drawn.rows).saturating_sub(2).max(1);
    scroll(app, if down { page } else { -page });
}

/// Goes to the first message.
pub(super) fn top(app: &mut App) {
    app.scroll = Scroll::At(Anchor::default());
}

/// Goes to the end and follows it.
pub(super) fn end(app: &mut App) {
    (app.scroll, app.selected) = (Scroll::Follow, None);
}

/// Chooses the message above or below; below the last one, none.
pub(super) fn select(app: &mut App, down: bool) {
    let count = app.chat.path().len();
    if count == 0 {
        return;
    }
    let next = match (app.selected, down) {
        (None, false) => Some(count - 1),
        (None, true) => None,
        (Some(at), false) => Some(at.saturating_sub(1)),
        (Some(at), true) if at + 1 < count => Some(at + 1),
        (Some(_), true) => None,
    };
    app.selected = next;
    match next {
        None => app.scroll = Scroll::Follow,
        Some(at) => reveal(app, at),
    }
    app.live.stale = true;
}

/// Scrolls so that a message is seen, if it is not.
pub(super) fn reveal(app: &mut App, place: usize) {
    let (first, last) = app.drawn.seen;
    if place < first || place >= last {
        app.scroll = Scroll::At(Anchor { place, line: 0 });
    }
}

/// Walks to a branch beside the chosen message, or beside the last one that has any.
pub(super) fn branch(app: &mut App, by: isize) -> Vec<Effect> {
    let several = |id: &usize| app.chat.siblings(*id).0.len() > 1;
    let chosen = app.selected.and_then(|place| app.chat.path().get(place).copied());
    let at = chosen.filter(several).or_else(|| app.chat.path().iter().rev().copied().find(several));
    let Some(at) = at else {
        app.say("There is one branch only; ctrl-r answers again, alt-e edits a message");
        return Vec::new();
    };
    if app.running.is_some() {
        app.say("An answer is being written; Esc stops it");
        return Vec::new();
    }
    let (siblings, index) = app.chat.siblings(at);
    let id = siblings[(index as isize + by).rem_euclid(siblings.len() as isize) as usize];
    leave_tokens(app);
    app.live.stale = true;
    let effect = change(app, Change::Choose { id });
    if let Some(place) = app.chat.place(id) {
        if app.selected.is_some() {
            app.selected = Some(place);
        }
        reveal(app, place);
    }
    effect.into_iter().collect()
}

/// Puts a message of the user into the prompt; sending it makes a branch.
pub(super) fn edit(app: &mut App) {
    let path = app.chat.path();
    let place = app.selected.unwrap_or(path.len().saturating_sub(1));
    let user = |place: &usize| app.chat.at(*place).is_some_and(|n| n.role == Role::User);
    let Some(place) = (0..=place).rev().find(user) else {
        app.say("There is no message of yours to edit");
        return;
    };
    let (id, text) = (path[place], app.chat.at(place).map(|n| n.text.clone()).unwrap_or_default());
    app.prompt.set(&text);
    (app.editing, app.selected, app.focus, app.view) = (Some(id), Some(place), Pane::Prompt, View::Workbench);
    app.panes.zoom = false;
}

/// Opens the token view on the chosen or last answer, or closes it.
pub(super) fn tokens(app: &mut App) {
    if leave_tokens(app) {
        return;
    }
    let node = app.answer().filter(|id| app.chat.node(*id).is_some_and(|n| !n.tokens.is_empty()));
    let Some(node) = node else {
        app.say("There is no answer with tokens to walk yet");
        return;
    };
    let scope = app.look.scope;
    app.walk = Some(TokenWalk { node, at: 0, alternative: 0, from: app.focus, scope, experts: None });
    // Beside the tokens the routing is that of the one under the cursor, unless asked for more.
    app.look.scope = Scope::Token;
    (app.focus, app.view, app.live.stale) = (Pane::Chat, View::Workbench, true);
}

/// Closes the token view, if it is open; the focus goes back to where it was.
pub(super) fn leave_tokens(app: &mut App) -> bool {
    let Some(walk) = app.walk.take() else { return false };
    (app.focus, app.live.stale) = (walk.from, true);
    if app.look.scope == Scope::Token {
        app.look.scope = walk.scope;
    }
    true
}

/// Moves the cursor of the token view.
pub(super) fn walk(app: &mut App, by: isize) {
    let Some(walk) = &mut app.walk else { return };
    let count = app.chat.node(walk.node).map_or(0, |n| n.tokens.len());
    walk.at = walk.at.saturating_add_signed(by).min(count.saturating_sub(1));
    walk.alternative = 0;
    (app.live.stale, app.live.due) = (true, app.now);
}

/// Goes to the next token that was unlikely.
pub(super) fn surprise(app: &mut App) {
    let Some(walk) = app.walk else { return };
    let Some(node) = app.chat.node(walk.node) else { return };
    let count = node.tokens.len();
    let after = (1..=count).map(|by| (walk.at + by) % count.max(1));
    let found = after.into_iter().find(|at| node.tokens[*at].logprob < SURPRISE.ln());
    match found {
        Some(at) => self::walk(app, at as isize - walk.at as isize),
        None => app.say("No token of this answer was unlikely"),
    }
}

/// Chooses among the token itself and its alternatives.
pub(super) fn alternative(app: &mut App, by: isize) {
    let Some(walk) = &mut app.walk else { return };
    let token = app.chat.node(walk.node).and_then(|n| n.tokens.get(walk.at));
    if let Some(from) = &mut walk.experts {
        let layers = token.map_or(0, |t| t.routing.len());
        *from = from.saturating_add_signed(by).min(layers.saturating_sub(1));
        return;
    }
    let count = token.map_or(1, |t| t.alternatives.len() + 1);
    walk.alternative = walk.alternative.saturating_add_signed(by).min(count - 1);
}

/// Lists the experts of the token in every layer, or its alternatives again.
pub(super) fn token_experts(app: &mut App) {
    if let Some(walk) = &mut app.walk {
        walk.experts = if walk.experts.is_some() { None } else { Some(0) };
    }
}

/// Moves the cursor over layers and experts.
pub(super) fn expert(app: &mut App, layers: isize, experts: isize) {
    let all = &app.live.session.load.layers;
    let layer = app.look.cursor.0.saturating_add_signed(layers).min(all.len().saturating_sub(1));
    let most = all.get(layer).map_or(0, |l| l.chosen.len()).saturating_sub(1);
    app.look.cursor = (layer, app.look.cursor.1.saturating_add_signed(experts).min(most));
    (app.live.stale, app.live.due) = (true, app.now);
}

/// Puts another conversation in the place of this one.
pub(super) fn replace_chat(app: &mut App, chat: Chat) {
    app.chat = chat;
    app.chat_generation += 1;
    leave_tokens(app);
    (app.selected, app.scroll, app.editing) = (None, Scroll::Follow, None);
    app.dirty = true;
    (app.look.compare, app.look.against) = (false, None);
    super::figures::count_again(app, None);
}
