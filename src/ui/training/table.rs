//! The table of runs.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::text::{clean, cut, width};
use super::super::theme::Theme;
use super::super::{corner, pane, put};
use super::colour;
use crate::app::training::{Entry, Training, lock};
use crate::metrics::show::number;
use crate::metrics::{State, nearest};

/// Columns of a number.
const NUMBER: usize = 9;

pub(super) fn draw(t: &Training, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "runs", false, area, frame);
    corner(&order(t), theme.dim, area, frame);
    if t.table.is_empty() {
        return put(frame, inner, 0, &Line::styled(" No run fulfils the filter.", theme.dim));
    }
    let room = usize::from(inner.width);
    let numbers = match room {
        0..34 => 1,
        34..46 => 2,
        _ => 3,
    };
    let name = room.saturating_sub(3 + numbers * (NUMBER + 1)).max(6);
    let first = if t.cross.is_some() { "at cross" } else { "last" };
    let heads = [first, "best", "step"];
    let mut head = format!("   {:name$}", "run");
    for word in &heads[..numbers] {
        head.push_str(&format!(" {word:>NUMBER$}"));
    }
    put(frame, inner, 0, &Line::styled(head, theme.dim));
    let rows = usize::from(inner.height.saturating_sub(1)).max(1);
    // Room for the settings of the chosen run, where there is some.
    let settings = settings(t, rows.saturating_sub(t.table.len()));
    let scroll = t.at.saturating_sub(rows - 1);
    for (row, at) in t.table.iter().enumerate().skip(scroll).take(rows) {
        let line = line(t, &t.entries[*at], *at, name, numbers, theme);
        let y = (row - scroll) as u16 + 1;
        put(frame, inner, y, &line);
        if row == t.at {
            let line = Rect { y: inner.y + y, height: 1, ..inner };
            if line.y < inner.bottom() {
                frame.buffer_mut().set_style(line, theme.selection);
            }
        }
    }
    for (i, (name, value)) in settings.iter().enumerate() {
        let words = cut(&format!(" {} = {}", clean(name), clean(value)).replace('\n', " "), room);
        put(frame, inner, (t.table.len() + 2 + i) as u16, &Line::styled(words, theme.dim));
    }
}

/// By what the table is sorted, in words.
pub(super) fn order(t: &Training) -> String {
    let (sort, backwards) = &t.sort;
    format!("by {}{}", clean(sort.name()), if *backwards { " ▼" } else { "" })
}

fn line<'a>(t: &Training, entry: &Entry, at: usize, name: usize, numbers: usize, theme: &Theme) -> Line<'a> {
    let line = &entry.line;
    let mark = mark(entry, theme);
    let shown = format!("{}{}", if entry.pinned { "▲" } else { "" }, clean(&line.name).replace('\n', " "));
    // The end of a path tells runs apart.
    let shown = if width(&shown) > name {
        let tail: String =
            shown.chars().rev().take(name.saturating_sub(1)).collect::<Vec<_>>().into_iter().rev().collect();
        cut(&format!("…{tail}"), name)
    } else {
        shown
    };
    let pad = " ".repeat(name.saturating_sub(width(&shown)));
    let style = if entry.hidden { theme.dim } else { theme.text };
    let mut spans = vec![mark, Span::styled(shown + &pad, style)];
    let first = match t.cross {
        Some(x) => value_at(t, at, x),
        None => line.last,
    };
    let step = step(entry);
    let number = |x: Option<f64>| x.map_or("–".into(), number);
    for words in [number(first), number(line.best), step.unwrap_or("–".into())].into_iter().take(numbers) {
        spans.push(Span::styled(format!(" {:>NUMBER$}", cut(&words, NUMBER)), style));
    }
    Line::from(spans)
}

/// What a run does, in one character of its colour.
pub(super) fn mark<'a>(entry: &Entry, theme: &Theme) -> Span<'a> {
    let line = &entry.line;
    match (&line.state, entry.hidden) {
        (_, true) => Span::styled(" ○ ", theme.dim),
        (State::Failed(_), _) => Span::styled(" × ", theme.bad),
        (State::Finished, _) => Span::styled(" ■ ", colour(theme, entry)),
        (State::Open, _) if !line.alerts.is_empty() => Span::styled(" ! ", theme.warn),
        (State::Open, _) => Span::styled(" ● ", colour(theme, entry)),
    }
}

/// The step, and how much of all steps that is.
pub(super) fn step(entry: &Entry) -> Option<String> {
    entry.line.step.map(|step| match entry.line.goal {
        Some(goal) if goal > 0.0 && step < goal => {
            format!("{} {:>2.0}%", number(step), (step / goal * 100.0).min(99.0))
        }
        _ => number(step),
    })
}

/// The value of the chosen chart's metric under the crosshair.
pub(super) fn value_at(t: &Training, entry: usize, x: f64) -> Option<f64> {
    let (_, series) = t.charts.get(t.chart)?.curves.iter().find(|(at, _)| *at == entry)?;
    let run = lock(&t.entries[entry].run);
    nearest(&run, run.get(*series)?, t.axis, x).map(|(_, value)| value)
}

/// Settings of the chosen run in which it differs from another first.
fn settings(t: &Training, rows: usize) -> Vec<(String, String)> {
    let Some(chosen) = t.chosen() else { return Vec::new() };
    if rows < 3 {
        return Vec::new();
    }
    let mut all = t.entries[chosen].line.settings.clone();
    let differs = |name: &str, value: &str| {
        t.entries.iter().any(|entry| entry.line.settings.iter().all(|(n, v)| n != name || v != value))
    };
    all.sort_by_key(|(name, value)| !differs(name, value));
    all.truncate(rows - 2);
    all
}
