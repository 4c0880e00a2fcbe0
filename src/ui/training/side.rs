//! What a run printed, and what is wrong with the runs.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::text::{clean, cut};
use super::super::theme::Theme;
use super::super::{pane, put};
use super::colour;
use crate::app::training::{Training, lock};
use crate::metrics::State;
use crate::metrics::show::number;

/// The newest lines of the chosen run.
pub(super) fn console(t: &Training, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "console", false, area, frame);
    let Some(entry) = t.chosen().map(|at| &t.entries[at]) else { return };
    let run = lock(&entry.run);
    if run.console().is_empty() {
        let words = format!(" {} prints nothing that is kept.", clean(&entry.line.name));
        return put(frame, inner, 0, &Line::styled(cut(&words, usize::from(inner.width)), theme.dim));
    }
    let rows = usize::from(inner.height);
    let first = run.console().len().saturating_sub(rows);
    for (row, line) in run.console().iter().skip(first).enumerate() {
        let words = cut(&clean(line).replace('\n', " "), usize::from(inner.width));
        put(frame, inner, row as u16, &Line::styled(words, theme.text));
    }
}

/// What is wrong now, and what runs said when they failed.
pub(super) fn alerts(t: &Training, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "alerts", false, area, frame);
    let mut row = 0;
    for entry in &t.entries {
        if let State::Failed(why) = &entry.line.state {
            let words = format!(" failed: {}", clean(why).replace('\n', " "));
            say(&entry.line.name, &words, colour(theme, entry), theme, inner, row, frame);
            row += 1;
        }
    }
    for (at, alert) in t.alerts() {
        let entry = &t.entries[at];
        let words = format!(" {}: {}, step {}", alert.kind.name(), clean(&alert.text), number(alert.step));
        say(&entry.line.name, &words, colour(theme, entry), theme, inner, row, frame);
        row += 1;
    }
    if row == 0 {
        put(frame, inner, 0, &Line::styled(" Nothing is wrong.", theme.good));
    }
}

fn say(
    name: &str,
    words: &str,
    style: ratatui::style::Style,
    theme: &Theme,
    area: Rect,
    row: u16,
    frame: &mut Frame<'_>,
) {
    let room = usize::from(area.width);
    let name = cut(&clean(name), room / 3);
    let words = cut(words, room.saturating_sub(super::super::text::width(&name) + 1));
    put(frame, area, row, &Line::from(vec![Span::styled(format!(" {name}"), style), Span::styled(words, theme.warn)]));
}
