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
    let mut say = |name: &str, what: &str, style, words: &str| {
        let room = usize::from(inner.width);
        let name = cut(&format!(" {}", clean(name)), room.saturating_sub(what.len() + 2));
        let head = vec![Span::styled(name, style), Span::styled(format!(" {what}"), theme.warn)];
        put(frame, inner, row, &Line::from(head));
        let words = format!("   {}", clean(words).replace('\n', " "));
        put(frame, inner, row + 1, &Line::styled(cut(&words, room), theme.text));
        row += 2;
    };
    for entry in &t.entries {
        if let State::Failed(why) = &entry.line.state {
            say(&entry.line.name, "failed", colour(theme, entry), why);
        }
    }
    for (at, alert) in t.alerts() {
        let entry = &t.entries[at];
        let words = format!("{}, step {}", alert.text, number(alert.step));
        say(&entry.line.name, alert.kind.name(), colour(theme, entry), &words);
    }
    if row == 0 {
        put(frame, inner, 0, &Line::styled(" Nothing is wrong.", theme.good));
    }
}
