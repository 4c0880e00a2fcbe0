//! The view of training runs: nothing runs from here, so it says how one is begun.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::{pane, put};

pub(super) fn draw(theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "training", true, area, frame);
    let inner = Rect { x: inner.x + 2, width: inner.width.saturating_sub(4), ..inner };
    let commands = [
        ("bit-axon init --preset small --out DIR", "makes a model to begin with"),
        ("bit-axon help", "lists the commands that this program has"),
    ];
    put(frame, inner, 1, &Line::styled("No training run is open.", theme.text));
    for (row, (command, about)) in commands.iter().enumerate() {
        let row = 3 + 2 * row as u16;
        put(frame, inner, row, &Line::from(Span::styled(*command, theme.code)));
        put(frame, inner, row + 1, &Line::from(Span::styled(format!("  {about}"), theme.dim)));
    }
}
