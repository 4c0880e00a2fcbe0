//! The list of saved sessions.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::text::{clean, cut, width};
use super::theme::Theme;
use super::{pane, put};
use crate::app::state::App;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let list = &app.sessions;
    let inner = pane(theme, "sessions", app.overlay.is_none(), area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    if list.entries.is_empty() {
        put(
            frame,
            inner,
            1,
            &Line::styled("No conversation is kept yet: the first one begins with a prompt.", theme.dim),
        );
        return;
    }
    let rows = usize::from(inner.height.saturating_sub(2));
    let first = list.at.saturating_sub(rows.saturating_sub(1));
    let columns = usize::from(inner.width);
    for (row, (at, entry)) in list.entries.iter().enumerate().skip(first).take(rows).enumerate() {
        let style = if at == list.at { theme.selection } else { theme.text };
        let open = if list.open.as_ref() == Some(&entry.id) { "● " } else { "  " };
        let right = format!("{:>5} messages  {}", entry.messages, clean(&entry.when));
        let room = columns.saturating_sub(width(&right) + 4);
        let title = cut(&clean(&entry.title), room);
        let gap = " ".repeat(room.saturating_sub(width(&title)));
        let side = if at == list.at { style } else { theme.dim };
        let line = Line::from(vec![
            Span::styled(open, if at == list.at { style } else { theme.accent }),
            Span::styled(title + &gap, style),
            Span::styled(format!("  {right}"), side),
        ]);
        put(frame, inner, row as u16, &line);
    }
    let keys = if list.deleting {
        Line::styled("Press d again to delete this session for good; any other key keeps it.", theme.bad)
    } else {
        Line::styled("enter opens, n begins a new chat, r renames, d deletes", theme.dim)
    };
    put(frame, inner, inner.height.saturating_sub(1), &keys);
}
