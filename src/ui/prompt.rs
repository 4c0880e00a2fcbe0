//! The prompt editor, and what completes a slash line.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};

use super::layout::Split;
use super::text::{cut, width};
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::action::Action;
use crate::app::slash;
use crate::app::state::{App, Model, Pane};

/// Completions that are shown.
const SHOWN: usize = 7;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let focused = app.focus == Pane::Prompt && app.overlay.is_none();
    let title = if app.editing.is_some() { "edit, and send as a branch" } else { "prompt" };
    let inner = pane(theme, title, focused, area, frame);
    let s = &app.sampling;
    if app.replay.is_none() {
        let system = if app.chat.system.is_empty() { "" } else { "system prompt, " };
        corner(&format!("{system}temperature {:.2}", s.temperature), theme.dim, area, frame);
    }
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    frame.render_widget(&app.prompt.area, inner);
    if app.prompt.is_empty() {
        let words = match &app.model {
            _ if app.replay.is_some() => "A recording is played; / for a command",
            Model::Opening(_) => "The model is being opened…",
            Model::Gone(_) => "There is no model to ask",
            Model::Ready(_) => "Ask something, or / for a command",
        };
        put(frame, inner, 0, &Line::styled(cut(words, usize::from(inner.width)), theme.dim));
    }
    if focused && inner.width > 0 && inner.height > 0 {
        let cursor = app.prompt.area.screen_cursor();
        let (top, left) = app.prompt.area.scroll_offset();
        let x = (inner.x + (cursor.col as u16).saturating_sub(left)).min(inner.right() - 1);
        let y = (inner.y + (cursor.row as u16).saturating_sub(top)).min(inner.bottom() - 1);
        frame.set_cursor_position(Position { x, y });
    }
}

/// What a slash line can become, above the prompt.
pub(super) fn completions(app: &App, theme: &Theme, screen: &Split, frame: &mut Frame<'_>) {
    let Some((_, prompt)) = screen.panes.iter().find(|(pane, _)| *pane == Pane::Prompt) else { return };
    if app.focus != Pane::Prompt || app.overlay.is_some() {
        return;
    }
    let all = slash::completions(app);
    // Inside of the frame above.
    let room = prompt.y.saturating_sub(screen.main.y).saturating_sub(2);
    let count = all.len().min(SHOWN).min(usize::from(room));
    let rows = if all.is_empty() { room.min(1) } else { count as u16 };
    let area = Rect { x: prompt.x + 1, y: prompt.y - 1 - rows, width: prompt.width - 2, height: rows };
    let columns = usize::from(area.width);
    if all.is_empty() {
        if let Some(usage) = slash::usage(app).filter(|_| rows > 0) {
            Clear.render(area, frame.buffer_mut());
            put(
                frame,
                area,
                0,
                &Line::styled(cut(&format!(" {usage}"), columns.saturating_sub(1)), theme.background.patch(theme.dim)),
            );
        }
        return;
    }
    Clear.render(area, frame.buffer_mut());
    if count < all.len() {
        let words = format!(" {count} of {} ", all.len());
        let x = (prompt.right() - 1).saturating_sub(width(&words) as u16 + 1);
        frame.buffer_mut().set_string(x, prompt.y - 1, words, theme.dim);
    }
    let names = all.iter().take(count).map(|c| width(&c.line)).max().unwrap_or(0).max(14);
    let take = app.keymap.short(Action::Complete).unwrap_or_default();
    for (row, completion) in all.iter().take(count).enumerate() {
        let style = if row == 0 { theme.selection } else { theme.background.patch(theme.text) };
        let about = cut(&completion.about, columns.saturating_sub(names + 5 + width(&take)));
        let line = Line::from(vec![
            Span::styled(format!(" {:<names$}  ", completion.line), style),
            Span::styled(about, if row == 0 { style } else { theme.dim }),
        ]);
        let here = Rect { y: area.y + row as u16, height: 1, ..area };
        frame.buffer_mut().set_style(here, style);
        put(frame, here, 0, &line);
        if row == 0 {
            let x = here.right().saturating_sub(width(&take) as u16 + 1);
            frame.buffer_mut().set_string(x, here.y, &take, style);
        }
    }
}
