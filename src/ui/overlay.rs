//! What lies over the screen.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use super::text::{clean, cut, width};
use super::theme::Theme;
use super::{help, popup, put, training};
use crate::app::overlay::{Ask, List, Overlay, SETTINGS, Search, matching, setting};
use crate::app::state::App;

/// Draws it, and gives the last line that help can begin with.
pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) -> usize {
    match &app.overlay {
        None => {}
        Some(Overlay::Help(line)) => return draw_help(app, theme, *line, area, frame),
        Some(Overlay::Palette(list)) => palette(app, theme, list, area, frame),
        Some(Overlay::Search(search)) => draw_search(theme, search, area, frame),
        Some(Overlay::Settings(at)) => settings(app, theme, *at, area, frame),
        Some(Overlay::Ask(ask)) => question(theme, ask, area, frame),
        Some(Overlay::Form) => training::form::draw(&app.training.form, theme, area, frame),
    }
    0
}

fn margin(inner: Rect) -> Rect {
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }
}

fn draw_help(app: &App, theme: &Theme, line: usize, area: Rect, frame: &mut Frame<'_>) -> usize {
    let inner =
        margin(popup(theme, "keys: esc closes, arrows scroll", (84, area.height.saturating_sub(2)), area, frame));
    let lines = help::lines(&app.keymap, theme, usize::from(inner.width));
    let rows = usize::from(inner.height);
    let end = lines.len().saturating_sub(rows);
    let top = line.min(end);
    for (row, line) in lines.iter().skip(top).take(rows).enumerate() {
        put(frame, inner, row as u16, line);
    }
    end
}

/// What is typed, with the cursor behind it.
fn query(theme: &Theme, text: &str, row: u16, area: Rect, frame: &mut Frame<'_>) {
    let room = usize::from(area.width).saturating_sub(3);
    // The end is what is being typed.
    let mut shown = clean(text).into_owned();
    while width(&shown) > room {
        shown.remove(0);
    }
    let x = area.x + 2 + width(&shown) as u16;
    put(frame, area, row, &Line::from(vec![Span::styled("❯ ", theme.accent), Span::styled(shown, theme.text)]));
    frame.set_cursor_position(Position { x, y: area.y + row });
}

fn palette(app: &App, theme: &Theme, list: &List, area: Rect, frame: &mut Frame<'_>) {
    let inner = margin(popup(theme, "palette", (100, 18), area, frame));
    query(theme, &list.query, 0, inner, frame);
    let found = matching(&list.query);
    if found.is_empty() {
        put(frame, inner, 2, &Line::styled("Nothing is called so.", theme.dim));
    }
    let rows = usize::from(inner.height.saturating_sub(2));
    let top = list.at.saturating_sub(rows.saturating_sub(1));
    for (row, (at, info)) in found.iter().enumerate().skip(top).take(rows).enumerate() {
        let chosen = at == list.at;
        let style = if chosen { theme.selection } else { theme.text };
        let keys = app.keymap.short(info.action).unwrap_or_default();
        let about = cut(info.about, usize::from(inner.width).saturating_sub(21 + width(&keys)));
        let gap = " ".repeat(usize::from(inner.width).saturating_sub(width(&about) + 20 + width(&keys)));
        let line = Line::from(vec![
            Span::styled(format!("{:<20}", info.name), style),
            Span::styled(format!("{about}{gap}"), if chosen { style } else { theme.dim }),
            Span::styled(keys, if chosen { style } else { theme.user }),
        ]);
        put(frame, inner, row as u16 + 2, &line);
    }
}

fn draw_search(theme: &Theme, search: &Search, area: Rect, frame: &mut Frame<'_>) {
    let title = if search.all { "search all chats" } else { "search this chat" };
    let inner = margin(popup(theme, title, (90, 20), area, frame));
    query(theme, &search.list.query, 0, inner, frame);
    let columns = usize::from(inner.width);
    let places = 18.min(columns / 3);
    let count = search.hits.len();
    match (count, search.waiting) {
        (0, true) => put(frame, inner, 2, &Line::styled("Searching…", theme.dim)),
        (0, false) if !search.list.query.trim().is_empty() => {
            put(frame, inner, 2, &Line::styled("It is not there.", theme.dim));
        }
        (0, false) => {}
        (_, waiting) => {
            let more = if waiting { ", searching…" } else { "" };
            let words = format!("{} of {count}{more}", search.list.at + 1);
            put(frame, inner, 1, &Line::styled(words, theme.dim));
        }
    }
    let rows = usize::from(inner.height.saturating_sub(2));
    let top = search.list.at.saturating_sub(rows.saturating_sub(1));
    let wanted = search.list.query.to_lowercase();
    for (row, (at, hit)) in search.hits.iter().enumerate().skip(top).take(rows).enumerate() {
        let style = if at == search.list.at { theme.selection } else { theme.text };
        let place =
            if hit.session.is_some() { cut(&clean(&hit.title), places) } else { format!("message {}", hit.node + 1) };
        let excerpt = cut(&clean(&hit.excerpt), columns.saturating_sub(places + 2));
        let mut spans = vec![Span::styled(format!("{place:<places$}  "), theme.dim)];
        // Only where lower case has the same bytes can the found text be marked.
        let lower = excerpt.to_lowercase();
        match lower.find(&wanted).filter(|_| lower.len() == excerpt.len()) {
            Some(from) if excerpt.is_char_boundary(from) && excerpt.is_char_boundary(from + wanted.len()) => {
                let to = from + wanted.len();
                spans.push(Span::styled(excerpt[..from].to_owned(), style));
                spans.push(Span::styled(excerpt[from..to].to_owned(), theme.found));
                spans.push(Span::styled(excerpt[to..].to_owned(), style));
            }
            _ => spans.push(Span::styled(excerpt, style)),
        }
        put(frame, inner, row as u16 + 2, &Line::from(spans));
    }
}

fn settings(app: &App, theme: &Theme, at: usize, area: Rect, frame: &mut Frame<'_>) {
    let inner =
        margin(popup(theme, "sampling: arrows change, esc closes", (90, SETTINGS.len() as u16 + 2), area, frame));
    for (row, (action, about)) in SETTINGS.iter().enumerate() {
        let chosen = row == at;
        let style = if chosen { theme.selection } else { theme.text };
        let about = cut(about, usize::from(inner.width).saturating_sub(38));
        let line = Line::from(vec![
            Span::styled(format!("{:<18} ‹{:^15}›", action.info().name, setting(app, *action)), style),
            Span::styled(format!("  {about}"), theme.dim),
        ]);
        put(frame, inner, row as u16, &line);
    }
}

fn question(theme: &Theme, ask: &Ask, area: Rect, frame: &mut Frame<'_>) {
    let inner = margin(popup(theme, &cut(&clean(&ask.question), 60), (70, 3), area, frame));
    query(theme, &ask.text, 0, inner, frame);
}
