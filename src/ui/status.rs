//! The line at the bottom, the tabs of small screens, and the banner.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::format::{count, rate, seconds};
use super::put;
use super::text::{clean, cut, width};
use super::theme::Theme;
use crate::app::action::Action;
use crate::app::alter::describe;
use crate::app::sessions::Saving;
use crate::app::state::{App, Model, Pane, View};
use crate::app::training::Doing;

/// `bit-axon`, the model, its speed and its context; then keys, as many as there is room for.
pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    frame.buffer_mut().set_style(area, theme.status);
    if let Some(notice) = &app.notice {
        let text = clean(&notice.text).replace('\n', " ");
        let line = Line::from(vec![
            Span::styled(" bit-axon ", theme.status.patch(theme.accent)),
            Span::styled(cut(&text, usize::from(area.width).saturating_sub(11)), theme.status.patch(theme.warn)),
        ]);
        return put(frame, area, 0, &line);
    }
    let columns = usize::from(area.width);
    let mut line = vec![Span::styled(" bit-axon ", theme.status.patch(theme.accent))];
    let mut used = 10;
    for figure in figures(app) {
        let w = width(&figure) + 2;
        if used + w > columns {
            break;
        }
        line.push(Span::styled(format!(" {figure} "), theme.status));
        used += w;
    }
    put(frame, area, 0, &Line::from(line));
    let mut keys = Vec::new();
    let mut keys_width = 0;
    for (name, what) in keys_now(app) {
        let w = width(&name) + what.len() + 3;
        if used + keys_width + w > columns {
            break;
        }
        keys.push(Span::styled(format!(" {name}"), theme.key));
        keys.push(Span::styled(format!(" {what} "), theme.status));
        keys_width += w;
    }
    let right = Rect { x: area.right() - keys_width as u16, width: keys_width as u16, ..area };
    put(frame, right, 0, &Line::from(keys));
}

/// What stands in the status line, the most wanted first. Widths are constant, so that nothing jumps.
fn figures(app: &App) -> Vec<String> {
    let shown = &app.shown;
    let mut figures = Vec::new();
    // Whoever steers a run wants its keys more than what the chat's model does.
    let live = app.training.live().filter(|live| live.alive == Some(true) && app.training.steering.allowed);
    if let Some(live) = live.filter(|_| app.view == View::Training) {
        figures.push(format!("{} {:>2.0}%", live.doing.words(), (live.share() * 100.0).floor()));
        return figures;
    }
    match &app.model {
        Model::Opening(what) => figures.push(format!("opening {}", clean(what))),
        Model::Gone(_) => figures.push("no model".into()),
        Model::Ready(opened) => {
            let name = cut(&clean(&opened.info.name), 24);
            figures.push(if opened.label.is_empty() { name } else { format!("{name} · {}", opened.label) });
            figures.push(format!("{} {}", clean(&opened.info.backend), opened.info.arithmetic));
            let speed = shown.rate.map_or("–".into(), rate);
            figures.push(format!("{speed:>5} tok/s"));
            let first = match (shown.prefill, shown.first_token) {
                (Some((done, total)), _) => format!("reading {}/{}", count(done), count(total)),
                (None, Some(s)) => format!("first {:>6}", seconds(s)),
                (None, None) => "first      –".into(),
            };
            figures.push(first);
            let (used, limit) = (shown.snapshot.context_tokens, opened.info.max_seq_len);
            let unknown = app.replay.as_ref().is_some_and(|replay| !replay.has_state());
            let used = if unknown { "–".into() } else { count(used) };
            let limit = if limit == 0 { "–".into() } else { count(limit) };
            figures.push(format!("ctx {used:>4}/{limit}"));
        }
    }
    match &app.sessions.saving {
        Saving::Saved => {}
        // What is about to be lost comes before all figures.
        Saving::Failing(_) => figures.insert(figures.len().min(1), "NOT SAVED".into()),
        Saving::Private => figures.push("private".into()),
    }
    if app.slow_link {
        figures.push("slow link".into());
    }
    figures
}

fn keys_now(app: &App) -> Vec<(String, &'static str)> {
    let key = |action: Action, what| app.keymap.short(action).map(|key| (key, what));
    let mut keys = Vec::new();
    if app.walk.is_some() && app.view == View::Workbench && app.focus == Pane::Chat {
        keys.push(key(Action::Escape, "back"));
        keys.push(key(Action::ForkHere, "fork").filter(|_| app.replay.is_none()));
    } else if app.running.is_some() {
        keys.push(key(Action::Escape, "stop"));
    }
    keys.extend([key(Action::Help, "help"), key(Action::Palette, "palette")]);
    match (app.view, app.focus) {
        (View::Workbench, Pane::Prompt) => {
            keys.extend([key(Action::ViewRouting, "routing"), key(Action::Tokens, "tokens")])
        }
        (View::Workbench, Pane::Chat) if app.replay.is_some() => {
            keys.extend([key(Action::ViewRouting, "routing"), key(Action::Tokens, "tokens")])
        }
        (View::Workbench, _) => keys.extend([key(Action::Zoom, "zoom"), key(Action::NextPane, "next")]),
        (View::Training, _) if app.training.steering.allowed => {
            let live = app.training.live().filter(|live| live.alive == Some(true));
            match live.map(|live| live.doing == Doing::Paused) {
                Some(paused) => keys.extend([
                    key(Action::RunPause, if paused { "go on" } else { "pause" }),
                    key(Action::RunSave, "save"),
                    key(Action::RunAsk, "ask"),
                    key(Action::RunEnd, "end"),
                ]),
                None => keys.extend([key(Action::RunNew, "new run"), key(Action::Escape, "back")]),
            }
        }
        _ => keys.push(key(Action::Escape, "back")),
    }
    keys.push(key(Action::Quit, "quit"));
    keys.into_iter().flatten().collect()
}

/// The panes of a small screen, the one that is seen marked.
pub(super) fn tabs(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let mut spans = Vec::new();
    for pane in app.visible_panes().filter(|pane| *pane != Pane::Prompt) {
        let here = pane == app.focus || (pane == Pane::Chat && app.focus == Pane::Prompt);
        let style = if here { theme.selection } else { theme.dim };
        spans.push(Span::styled(format!(" {} ", pane.name()), style));
        spans.push(Span::raw(" "));
    }
    put(frame, area, 0, &Line::from(spans));
}

/// Says that the routing is not the model's own.
pub(super) fn banner(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    frame.buffer_mut().set_style(area, theme.banner);
    let undo = app.keymap.short(Action::Unalter).filter(|_| app.replay.is_none());
    let undo = undo.map_or(String::new(), |key| format!("  {key} undoes it "));
    let words = format!(" routing altered: {}", describe(&app.alterations));
    // What is altered comes first: the key is in the help too.
    let room = usize::from(area.width);
    let undo = if width(&words) > room.saturating_sub(width(&undo)) && room < 60 { String::new() } else { undo };
    let words = cut(&words, room.saturating_sub(width(&undo)));
    put(frame, area, 0, &Line::styled(words, theme.banner));
    let at = Rect { x: area.right().saturating_sub(width(&undo) as u16), width: width(&undo) as u16, ..area };
    if at.x > area.x + 20 {
        put(frame, at, 0, &Line::styled(undo, theme.banner));
    }
}
