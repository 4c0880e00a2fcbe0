//! The table of runs over the whole room: a column for each setting.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::text::{clean, cut, width};
use super::super::theme::Theme;
use super::super::{corner, pane, put};
use super::table::{mark, order, step, value_at};
use crate::app::training::{Entry, Sort, Training};
use crate::metrics::show::{duration, number};

/// Columns of characters that a column of the table has at most.
const WIDEST: usize = 20;
/// Those of the names.
const NAME: usize = 28;

struct Column<'a> {
    head: &'a str,
    sort: Sort,
    cells: Vec<String>,
    width: usize,
    /// Numbers stand to the right.
    right: bool,
}

pub(super) fn draw(t: &Training, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "runs", true, area, frame);
    corner(&order(t), theme.dim, area, frame);
    if t.table.is_empty() {
        return put(frame, inner, 0, &Line::styled(" No run fulfils the filter.", theme.dim));
    }
    let rows = usize::from(inner.height.saturating_sub(1)).max(1);
    let scroll = t.at.saturating_sub(rows - 1);
    let shown: Vec<usize> = t.table.iter().copied().skip(scroll).take(rows).collect();
    let columns = columns(t, &shown);
    let names: Vec<String> = shown.iter().map(|at| name(&t.entries[*at])).collect();
    let name = names.iter().map(|name| width(name)).max().unwrap_or(0).clamp(6, NAME);
    let name = name.min((usize::from(inner.width) / 2).max(6));
    let room = usize::from(inner.width).saturating_sub(3 + name);
    let first = first(t, &columns, room);
    // Half a number would be another number.
    let mut used = 0;
    let fits = |column: &&Column<'_>| {
        used += column.width + 2;
        used <= room
    };
    let drawn = &columns[first..][..columns[first..].iter().take_while(fits).count()];
    let mut head = vec![Span::styled(format!("   {}", cell("run", name, false)), theme.dim)];
    for column in drawn {
        let style = if column.sort == t.sort.0 { theme.focus } else { theme.dim };
        head.push(Span::styled(format!("  {}", cell(column.head, column.width, column.right)), style));
    }
    put(frame, inner, 0, &Line::from(head));
    for (row, at) in shown.iter().enumerate() {
        let entry = &t.entries[*at];
        let style = if entry.hidden { theme.dim } else { theme.text };
        let mut spans = vec![mark(entry, theme), Span::styled(cell(&names[row], name, false), style)];
        for column in drawn {
            spans.push(Span::styled(format!("  {}", cell(&column.cells[row], column.width, column.right)), style));
        }
        let y = row as u16 + 1;
        put(frame, inner, y, &Line::from(spans));
        if row + scroll == t.at && y < inner.height {
            frame.buffer_mut().set_style(Rect { y: inner.y + y, height: 1, ..inner }, theme.selection);
        }
    }
}

fn name(entry: &Entry) -> String {
    let name = clean(&entry.line.name).replace('\n', " ");
    if entry.pinned { format!("▲{name}") } else { name }
}

fn columns<'a>(t: &'a Training, shown: &[usize]) -> Vec<Column<'a>> {
    let cells = |of: &dyn Fn(usize) -> Option<String>| -> Vec<String> {
        shown.iter().map(|at| of(*at).unwrap_or("–".into())).collect()
    };
    let line = |at: usize| &t.entries[at].line;
    let last = |at: usize| match t.cross {
        Some(x) => value_at(t, at, x).map(number),
        None => line(at).last.map(number),
    };
    let head = if t.cross.is_some() { "at cross" } else { "last" };
    let mut all = vec![
        column(head, Sort::Last, cells(&last)),
        column("best", Sort::Best, cells(&|at| line(at).best.map(number))),
        column("step", Sort::Step, cells(&|at| step(&t.entries[at]))),
        column("took", Sort::Took, cells(&|at| line(at).took.map(duration))),
    ];
    for name in t.setting_columns() {
        let of = |at: usize| line(at).setting(name).map(|value| clean(value).replace('\n', " "));
        all.push(column(name, Sort::Setting(name.to_owned()), cells(&of)));
    }
    all
}

fn column(head: &str, sort: Sort, cells: Vec<String>) -> Column<'_> {
    let longest = cells.iter().map(|cell| width(cell)).chain([width(head)]).max().unwrap_or(0);
    let right = cells.iter().all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || "-–.".contains(c)));
    Column { head, sort, cells, width: longest.min(WIDEST), right }
}

/// The first column that is drawn: further right only if that by which the table is sorted would not be seen.
fn first(t: &Training, columns: &[Column<'_>], room: usize) -> usize {
    let Some(sorted) = columns.iter().position(|column| column.sort == t.sort.0) else { return 0 };
    let mut used = 0;
    let fits = columns[..=sorted].iter().rev().take_while(|column| {
        used += column.width + 2;
        used <= room
    });
    (sorted + 1).saturating_sub(fits.count().max(1))
}

/// A text in as many columns of characters; the end of a path tells more than its beginning.
fn cell(text: &str, room: usize, right: bool) -> String {
    let text = clean(text).into_owned();
    let shown = if width(&text) <= room {
        text
    } else if text.contains('/') {
        let mut tail = text;
        while width(&tail) >= room.max(2) {
            tail.remove(0);
        }
        cut(&format!("…{tail}"), room)
    } else {
        cut(&text, room)
    };
    let pad = " ".repeat(room.saturating_sub(width(&shown)));
    if right { pad + &shown } else { shown + &pad }
}
