//! Training runs: charts with all runs in them, the table of runs, and what else is asked for.
//!
//! ```text
//!  wide                                          narrow (under 100 columns)
//! ┌ charts ─────────────────┐┌ runs ──────────┐  ┌ charts ────────────────┐
//! │ loss          │ val_loss││● sky    1.234  │  │                        │
//! │               │         ││● sea    1.345  │  ├ runs ──────────────────┤
//! │───────────────┼─────────│├ console ───────┤  │● sky   1.234           │
//! │ lr            │ grad_.. ││                │  └────────────────────────┘
//! └─────────────────────────┘└────────────────┘   what is asked for takes the table's place
//! ```

mod chart;
mod columns;
mod experts;
pub(super) mod form;
mod now;
mod side;
mod table;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::text::{clean, cut};
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::state::App;
use crate::app::training::{Entry, Input, Side, Training};
use crate::metrics::show::number;

pub(super) use chart::Cache;

/// Columns from which the table stands beside the charts.
const WIDE: u16 = 100;
/// Rows from which experts stand below the state of a run.
const ROOM_FOR_EXPERTS: u16 = 12;

/// Where everything stands.
struct Split {
    charts: Rect,
    table: Option<Rect>,
    side: Option<Rect>,
}

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>, cache: &mut Cache) {
    let t = &app.training;
    if t.entries.is_empty() {
        return nothing(t, theme, area, frame);
    }
    if t.columns {
        return columns::draw(t, theme, area, frame);
    }
    let split = split(t, area);
    let inner = pane(theme, &title(t), true, split.charts, frame);
    corner(&state(t), theme.dim, split.charts, frame);
    chart::draw_all(app, theme, inner, frame, cache);
    if let Some(area) = split.table {
        table::draw(t, theme, area, frame);
    }
    if let Some(area) = split.side {
        match t.side {
            Side::Runs => {}
            Side::Console => side::console(t, theme, area, frame),
            Side::Alerts => side::alerts(t, theme, area, frame),
            Side::Experts => experts::draw(t, theme, area, frame),
            Side::Run => run_and_experts(app, theme, area, frame),
        }
    }
}

/// The state of the chosen run; where there is much room, its experts below it.
fn run_and_experts(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let t = &app.training;
    let rows = area.height / 2;
    if rows < ROOM_FOR_EXPERTS || !experts::are_there(t) {
        return now::draw(app, theme, area, frame);
    }
    now::draw(app, theme, Rect { height: area.height - rows, ..area }, frame);
    experts::draw(t, theme, Rect { y: area.bottom() - rows, height: rows, ..area }, frame);
}

fn split(t: &Training, area: Rect) -> Split {
    let more = t.side != Side::Runs;
    if area.width >= WIDE {
        let width = (area.width / 3).clamp(36, 64);
        let right = Rect { x: area.right() - width, width, ..area };
        let charts = Rect { width: area.width - width, ..area };
        if !more {
            return Split { charts, table: Some(right), side: None };
        }
        let rows = (t.table.len() as u16 + 3).clamp(5, area.height / 3 + 1);
        let table = Rect { height: rows, ..right };
        let side = Rect { y: right.y + rows, height: right.height - rows, ..right };
        return Split { charts, table: Some(table), side: Some(side) };
    }
    let rows = if t.side == Side::Run { (area.height / 2).min((area.height * 2 / 5).max(6)) } else { area.height / 2 };
    let rows = if more { rows } else { (t.table.len() as u16 + 3).min(area.height / 3) };
    // On the smallest screens the curves have the right of way.
    if area.height < 16 && !more {
        return Split { charts: area, table: None, side: None };
    }
    let charts = Rect { height: area.height - rows, ..area };
    let below = Rect { y: charts.bottom(), height: rows, ..area };
    if more {
        Split { charts, table: None, side: Some(below) }
    } else {
        Split { charts, table: Some(below), side: None }
    }
}

fn title(t: &Training) -> String {
    match t.input {
        Some(Input::Runs) => format!("runs: {}▏", clean(&t.run_filter)),
        Some(Input::Metrics) => format!("metrics: {}▏", clean(&t.metric_filter)),
        None => {
            let mut title = "training".to_owned();
            for (name, filter) in [("runs", &t.run_filter), ("metrics", &t.metric_filter)] {
                if !filter.is_empty() {
                    title.push_str(&format!(" · {name} {}", cut(&clean(filter), 20)));
                }
            }
            title
        }
    }
}

/// How the charts are drawn, and how far reading is.
fn state(t: &Training) -> String {
    let mut words = Vec::new();
    // It is said in full where the state of the run is shown.
    if let Some(live) = t.live().filter(|live| live.alive == Some(true) && t.side != Side::Run) {
        words.push(live.doing.words().to_owned());
    }
    if let Some((read, total)) = t.loading {
        words.push(format!("reading {:.0}%", read as f64 / total.max(1) as f64 * 100.0));
    }
    let alerts = t.alerts().count();
    if alerts > 0 {
        words.push(format!("{alerts} alert{}", if alerts == 1 { "" } else { "s" }));
    }
    if let Some(x) = t.cross {
        words.push(format!("at {}", number(x)));
    }
    words.push(t.axis.name().to_owned());
    if t.grid {
        words.push("a chart each".into());
    }
    if t.log {
        words.push("log".into());
    }
    if t.smoothing > 0 {
        words.push(format!("smooth {}", t.smoothing));
    }
    words.join(" · ")
}

/// The colour of a run: styles that every theme has, at every depth.
fn colour(theme: &Theme, entry: &Entry) -> Style {
    let all = [
        theme.accent,
        theme.warn,
        theme.good,
        theme.code_keyword,
        theme.link,
        theme.bad,
        theme.code_string,
        theme.text,
    ];
    let style = all[entry.colour % all.len()];
    Style { fg: style.fg, ..Style::default() }
}

fn nothing(t: &Training, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "training", true, area, frame);
    let inner = Rect { x: inner.x + 2, width: inner.width.saturating_sub(4), ..inner };
    if !t.source.is_empty() {
        put(frame, inner, 1, &Line::styled(format!("Nothing yet in {}.", clean(&t.source)), theme.text));
        put(frame, inner, 2, &Line::styled("Runs appear here as they begin.", theme.dim));
        return;
    }
    let start = if t.form.fields.is_empty() { "bit-axon train DATA --model DIR" } else { "R, or /train in the chat" };
    let commands = [
        (start, "starts a run here, which is then watched and steered in this view"),
        ("bit-axon monitor PATH", "watches any training run: logs, TensorBoard, W&B, JSONL, CSV"),
        ("bit-axon init --preset small --out DIR", "makes a model to begin with"),
    ];
    put(frame, inner, 1, &Line::styled("No training run is open.", theme.text));
    for (row, (command, about)) in commands.iter().enumerate() {
        let row = 3 + 2 * row as u16;
        put(frame, inner, row, &Line::from(Span::styled(*command, theme.code)));
        put(frame, inner, row + 1, &Line::from(Span::styled(format!("  {about}"), theme.dim)));
    }
}
