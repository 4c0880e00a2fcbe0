//! The list of saved sessions, and the end of the chosen one where there is room.
//!
//! ```text
//! wide                                     high                    small
//! ┌ sessions ────────┐┌ the chosen one ─┐  ┌ sessions ──────────┐  ┌ sessions ──┐
//! │ title   12 · now ││ you: why?       │  │ title              │  │ title      │
//! │                  ││ model: because  │  ├ the chosen one ────┤  │            │
//! └──────────────────┘└─────────────────┘  └────────────────────┘  └────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::format::bytes;
use super::text::{Piece, clean, cut, width, wrap};
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::sessions::{Preview, Saving};
use crate::app::state::{App, SessionEntry};
use crate::protocol::Role;

/// Columns from which list and preview stand side by side.
const WIDE: u16 = 110;
/// Rows from which the preview stands below the list.
const HIGH: u16 = 20;
/// What of a message is laid out: more is never seen.
const LONGEST: usize = 4000;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let list = &app.sessions;
    let previews = !list.entries.is_empty();
    let (area, preview) = match (area.width, area.height) {
        (w, _) if previews && w >= WIDE => {
            let left = w * 11 / 20;
            (Rect { width: left, ..area }, Some(Rect { x: area.x + left, width: w - left, ..area }))
        }
        (_, h) if previews && h >= HIGH => {
            let upper = h / 2;
            (Rect { height: upper, ..area }, Some(Rect { y: area.y + upper, height: h - upper, ..area }))
        }
        _ => (area, None),
    };
    let inner = pane(theme, "sessions", app.overlay.is_none(), area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    if list.entries.is_empty() {
        let words = match (list.listed, &list.saving) {
            (false, _) => "Looking…",
            (true, Saving::Private) => "Nothing is kept on disk (--no-save).",
            (true, _) => "No conversation is kept yet: the first one begins with a prompt.",
        };
        return put(frame, inner, 1, &Line::styled(words, theme.dim));
    }
    corner(&format!("{} of {}", list.at + 1, list.entries.len()), theme.dim, area, frame);
    let rows = usize::from(inner.height.saturating_sub(2));
    let first = list.at.saturating_sub(rows.saturating_sub(1));
    for (row, (at, entry)) in list.entries.iter().enumerate().skip(first).take(rows).enumerate() {
        put(frame, inner, row as u16, &line(app, theme, entry, at == list.at, usize::from(inner.width)));
    }
    put(frame, inner, inner.height.saturating_sub(1), &foot(app, theme, usize::from(inner.width)));
    if let (Some(area), Some(entry)) = (preview, list.entries.get(list.at)) {
        draw_preview(theme, entry, list.preview.as_ref(), area, frame);
    }
}

/// A session: its title, and as much about it as there is room for.
fn line(app: &App, theme: &Theme, entry: &SessionEntry, chosen: bool, columns: usize) -> Line<'static> {
    let is_open = app.sessions.open.as_ref() == Some(&entry.id);
    let style = if chosen { theme.selection } else { theme.text };
    let side = if chosen { style } else { theme.dim };
    let when = clean(&entry.when);
    let size = if entry.bytes > 0 { bytes(entry.bytes) } else { String::new() };
    let about = match (&entry.problem, columns) {
        (Some(_), _) => "cannot be opened".to_owned(),
        (None, 72..) => format!("{:>5} messages  {size:>8}  {when:>12}", entry.messages),
        (None, 56..) => format!("{:>5} msg  {size:>8}  {when:>12}", entry.messages),
        (None, 48..) => format!("{:>5} msg  {when:>12}", entry.messages),
        (None, _) => format!("{when:>12}"),
    };
    let room = columns.saturating_sub(width(&about) + 4);
    let title = cut(&clean(&entry.title).replace('\n', " "), room);
    let gap = " ".repeat(room.saturating_sub(width(&title)));
    let mark = if is_open { "● " } else { "  " };
    let about_style = if entry.problem.is_some() && !chosen { theme.bad } else { side };
    Line::from(vec![
        Span::styled(mark, if chosen { style } else { theme.accent }),
        Span::styled(title + &gap, style),
        Span::styled(format!("  {about}"), about_style),
    ])
}

/// What can be done, or what is asked.
fn foot(app: &App, theme: &Theme, columns: usize) -> Line<'static> {
    if app.sessions.opening.is_some() {
        return Line::styled("Opening…", theme.warn);
    }
    let fitting = |choices: &[&'static str]| {
        choices.iter().copied().find(|words| width(words) <= columns).unwrap_or(choices[choices.len() - 1])
    };
    if app.sessions.deleting {
        let words = [
            "Press d again to delete this session for good; any other key keeps it.",
            "Press d again to delete it for good; other keys keep it.",
            "Press d again to delete it.",
        ];
        return Line::styled(fitting(&words), theme.bad);
    }
    let words = [
        "enter opens, n begins a new chat, r renames, d deletes, c copies, e exports (E as JSON), / searches",
        "enter opens, n new, r renames, d deletes, c copies, e exports, / searches",
        "enter opens, n new, r renames, d deletes, c copies, e exports",
        "enter opens, n new, r renames, d deletes, F1 more",
        "enter n r d c e /  F1 tells",
    ];
    Line::styled(fitting(&words), theme.dim)
}

/// The last messages of a session, the end of them at the bottom.
fn draw_preview(theme: &Theme, entry: &SessionEntry, preview: Option<&Preview>, area: Rect, frame: &mut Frame<'_>) {
    let title = cut(&clean(&entry.title).replace('\n', " "), usize::from(area.width).saturating_sub(8));
    let inner = pane(theme, &title, false, area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let (columns, rows) = (usize::from(inner.width), usize::from(inner.height));
    if let Some(problem) = &entry.problem {
        let pieces: [Piece; 1] = [(clean(problem).into_owned(), theme.bad)];
        let lines = wrap(&pieces, columns, &[], &[]);
        return lines.iter().take(rows).enumerate().for_each(|(row, line)| put(frame, inner, row as u16, line));
    }
    let Some(preview) = preview.filter(|preview| preview.id == entry.id) else { return };
    // From the end, as far as there is room.
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (role, text) in preview.messages.iter().rev() {
        let mut message = said(theme, *role, text, columns);
        message.extend(lines);
        lines = message;
        if lines.len() >= rows {
            break;
        }
    }
    let about = [clean(&entry.model).into_owned(), clean(&entry.id).into_owned()];
    let about = about.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("  ");
    put(frame, inner, inner.height.saturating_sub(1), &Line::styled(cut(&about, columns), theme.dim));
    let rows = rows.saturating_sub(2);
    let skip = lines.len().saturating_sub(rows);
    for (row, line) in lines.iter().skip(skip).take(rows).enumerate() {
        put(frame, inner, row as u16, line);
    }
}

fn said(theme: &Theme, role: Role, text: &str, columns: usize) -> Vec<Line<'static>> {
    let (name, style) = match role {
        Role::User => ("❯ you", theme.user),
        Role::System => ("system", theme.system),
        Role::Assistant => ("● model", theme.answer),
    };
    let mut lines = vec![Line::styled(name, style)];
    let from = text.char_indices().rev().nth(LONGEST).map_or(0, |(at, _)| at);
    for line in text[from..].trim_end().lines() {
        let pieces: [Piece; 1] = [(clean(line).into_owned(), theme.text)];
        lines.extend(wrap(&pieces, columns, &[], &[]));
    }
    lines.push(Line::default());
    lines
}
