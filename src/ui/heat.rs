//! Temperature over time, in the bands of the thermal policy; power, fan, throttling and battery where
//! they are sensed. What is not sensed is said in words, and never as a number.
//!
//! ```text
//! ╭ heat ─────────── k10temp Tctl ╮
//! │ 78 °C warm  34 W  fan 2100/min│   figures, in as many lines as they need
//! │ not throttled  battery 64%    │
//! │ 95 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ │   the chart, if two rows are left for it
//! │ 75 ┄┄┄┄┄┄┄┄┄┄┄┄▁▂▂▃▃▂▂▃▃▄▃▃▂▂ │
//! │-6m ▆▆▆▇▇▇██████████████████████│
//! │ phase pause: training waits    │   the policy
//! │ 12 tokens in flight           │
//! ╰───────────────────────────────╯
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::format::{count, level};
use super::routing::tokens;
use super::text::{clean, cut, one_line, width, wrap};
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::heat::{Heat, STEP_S, Sensed};
use crate::app::state::{App, Pane};
use crate::protocol::{HeatLimits, HeatPhase, HeatReading, PowerSupply, REDUCE_AT, SensorState};

/// Columns for the limits at the left of the chart.
const LABEL: u16 = 4;
/// Fewer rows than this draw no chart.
const CHART_ROWS: u16 = 2;
/// The chart goes back at least this many steps: five minutes.
const STEPS_SEEN: usize = 60;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "heat", app.focus == Pane::Heat && app.overlay.is_none(), area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let heat = &app.shown.heat;
    if let SensorState::Reading { source, .. } | SensorState::Problem { source, .. } = &heat.newest.sensor {
        corner(&one_line(source), theme.dim, area, frame);
    }
    let columns = usize::from(inner.width);
    let rows = usize::from(inner.height);
    let mut below = policy(&heat.newest, theme);
    below.push(in_flight(app, theme));
    let mut top = figures(&heat.newest, app.heat_limits, theme, columns, rows.saturating_sub(below.len()));
    // Where there is little room, the chart is worth more than words.
    if !heat.steps.is_empty() && rows < top.len() + below.len() + usize::from(CHART_ROWS) {
        top.truncate(rows.saturating_sub(1 + usize::from(CHART_ROWS)).max(1));
        below = vec![in_short(app, theme)];
    }
    below.truncate(rows.saturating_sub(1));
    let top_rows = top.len().min(rows.saturating_sub(below.len()));
    let chart_rows = inner.height.saturating_sub((top_rows + below.len()) as u16);
    let drawn = !heat.steps.is_empty() && chart_rows >= CHART_ROWS;
    let (chart_at, chart_rows) = (top_rows as u16, if drawn { chart_rows } else { 0 });
    for (row, line) in top.iter().take(top_rows).enumerate() {
        put(frame, inner, row as u16, line);
    }
    if drawn {
        let chart = Rect { y: inner.y + chart_at, height: chart_rows, ..inner };
        draw_chart(heat, app.heat_limits, theme, chart, frame);
    }
    for (row, line) in below.iter().enumerate() {
        put(frame, inner, chart_at + chart_rows + row as u16, line);
    }
}

/// Rows that the pane would like to have, frame included: what is not drawn over time needs no chart.
pub(super) fn rows_liked(app: &App, columns: u16) -> i32 {
    let heat = &app.shown.heat;
    let columns = usize::from(columns.saturating_sub(4)).max(1);
    let lines = match &heat.newest.sensor {
        SensorState::Reading { .. } => 1,
        SensorState::Waiting => 1,
        SensorState::Problem { problem, .. } => width(problem).div_ceil(columns) as i32 + 1,
        SensorState::NoSensor { reason } => width(reason).div_ceil(columns) as i32 + 1,
    };
    let chart = if heat.steps.is_empty() { 0 } else { 5 };
    3 + lines.min(4) + chart + i32::from(heat.newest.phase.is_some())
}

/// What is sensed now, or why nothing is.
fn figures(newest: &Sensed, limits: HeatLimits, theme: &Theme, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let said = |text: &str, style: Style| wrap(&[(clean(text).into_owned(), style)], columns.max(1), &[], &[]);
    let mut figures = Vec::new();
    let mut lines = match &newest.sensor {
        SensorState::Waiting => said("The sensor has not answered yet.", theme.dim),
        SensorState::NoSensor { reason } => {
            let mut lines = said("No temperature sensor here:", theme.dim);
            lines.extend(said(reason, theme.dim));
            // Where there is no room for all, why there is none says that there is none.
            if lines.len() > rows {
                lines.remove(0);
                let more = lines.len() > rows;
                lines.truncate(rows);
                if let Some(last) = lines.last_mut().filter(|_| more) {
                    *last = Line::styled(cut(&format!("{} …", last.to_string().trim_end()), columns), theme.dim);
                }
            }
            lines
        }
        SensorState::Problem { problem, .. } => said(&format!("The sensor gives nothing: {problem}"), theme.warn),
        SensorState::Reading { reading, .. } => {
            figures = of_reading(reading, limits, theme);
            Vec::new()
        }
    };
    figures.extend(newest.supply.map(|supply| of_supply(supply, theme)));
    lines.extend(flow(figures, columns));
    lines
}

fn of_reading(reading: &HeatReading, limits: HeatLimits, theme: &Theme) -> Vec<(String, Style)> {
    let unit = if theme.ascii { "C" } else { "°C" };
    let mut figures = vec![match reading.celsius {
        Some(celsius) => {
            let phase = limits.phase(celsius);
            let band = match phase {
                HeatPhase::Normal => "cool",
                HeatPhase::Reduce => "warm",
                HeatPhase::Pause => "hot",
                HeatPhase::Stop => "critical",
            };
            (format!("{celsius:.0} {unit} {band}"), theme.phase(phase))
        }
        None => ("no temperature".into(), theme.dim),
    }];
    if let Some(watts) = reading.watts {
        let digits = usize::from(watts < 9.95);
        figures.push((format!("{watts:.digits$} W"), theme.text));
    }
    if let Some(rpm) = reading.fan_rpm {
        figures.push((format!("fan {rpm:.0}/min"), theme.text));
    }
    match reading.throttled {
        Some(true) => figures.push(("throttled".into(), theme.bad)),
        Some(false) => figures.push(("not throttled".into(), theme.dim)),
        None => {}
    }
    figures
}

fn of_supply(supply: PowerSupply, theme: &Theme) -> (String, Style) {
    let charge = supply.charge_percent.map_or(String::new(), |percent| format!(" {percent:.0}%"));
    match supply.on_battery {
        true => (format!("on battery{charge}"), theme.warn),
        false if charge.is_empty() => ("on mains".into(), theme.dim),
        false => (format!("on mains, battery{charge}"), theme.dim),
    }
}

/// Figures one after another, as many to a line as fit.
pub(super) fn flow(figures: Vec<(String, Style)>, columns: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    let mut used = usize::MAX;
    for (text, style) in figures {
        let needed = width(&text) + 2;
        match lines.last_mut() {
            Some(line) if used.saturating_add(needed) <= columns => {
                line.spans.push(Span::raw("  "));
                line.spans.push(Span::styled(text, style));
                used += needed;
            }
            _ => {
                lines.push(Line::from(Span::styled(text, style)));
                used = needed - 2;
            }
        }
    }
    lines
}

/// What the temperature asks of training. A chat is not held back by it: ARCHITECTURE.md says why.
fn policy(newest: &Sensed, theme: &Theme) -> Vec<Line<'static>> {
    let Some(phase) = newest.phase else { return Vec::new() };
    let would = match phase {
        HeatPhase::Normal => "training would run".into(),
        HeatPhase::Reduce if newest.halvings > 6 => "training with batches of 1".into(),
        HeatPhase::Reduce => format!("training batch at 1/{}", 1u64 << newest.halvings),
        HeatPhase::Pause => "training would wait".into(),
        HeatPhase::Stop => "training would save and end".into(),
    };
    vec![Line::from(vec![
        Span::styled(format!("phase {phase}"), theme.phase(phase)),
        Span::styled(format!(": {would}"), theme.dim),
    ])]
}

fn in_flight(app: &App, theme: &Theme) -> Line<'static> {
    match (app.shown.prefill, app.shown.answering.is_some()) {
        (Some((done, total)), _) => Line::styled(format!("reading {done} of {total} tokens"), theme.dim),
        (None, true) => Line::styled(format!("{} in flight", tokens(app.shown.tokens as u64)), theme.dim),
        (None, false) => Line::styled("nothing in flight", theme.dim),
    }
}

/// Policy and tokens in one short line.
fn in_short(app: &App, theme: &Theme) -> Line<'static> {
    let newest = &app.shown.heat.newest;
    let mut spans: Vec<Span<'static>> =
        newest.phase.map(|phase| Span::styled(format!("phase {phase}  "), theme.phase(phase))).into_iter().collect();
    let flight = match app.shown.prefill {
        Some((done, total)) => format!("reading {}/{}", count(done), count(total)),
        None => format!("{} in flight", app.shown.tokens),
    };
    spans.push(Span::styled(flight, theme.dim));
    Line::from(spans)
}

/// A column for one or more steps, the newest at the right; the limits of the bands as rules.
fn draw_chart(heat: &Heat, limits: HeatLimits, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    if area.width <= LABEL {
        return;
    }
    let columns = usize::from(area.width - LABEL);
    let each = STEPS_SEEN.div_ceil(columns);
    let values = columns_of(heat, each, columns);
    // Whatever is seen has its place between the two, and the limits too.
    let lowest = values.iter().flatten().copied().fold(60.0, f32::min);
    let (low, high) = (((lowest - 5.0) / 10.0).floor() * 10.0, limits.stop + 10.0);
    let rows = f32::from(area.height);
    let height = |celsius: f32| ((celsius - low) / (high - low)).clamp(0.0, 1.0) * rows;
    let row_of = |celsius: f32| area.bottom() - 1 - (height(celsius) as u16).min(area.height - 1);
    let buffer = frame.buffer_mut();
    let minutes = (columns * each) as f64 * STEP_S / 60.0;
    buffer.set_string(area.x, area.bottom() - 1, format!("{:>3}", format!("-{minutes:.0}m")), theme.faint);
    // Where two limits share a row, the lower one is named: it is reached first.
    for limit in [limits.stop, limits.pause, REDUCE_AT] {
        let row = row_of(limit);
        buffer.set_string(area.x, row, format!("{limit:>3.0}"), theme.phase(limits.phase(limit)));
        buffer.set_string(area.x + LABEL, row, "┄".repeat(columns), theme.faint);
    }
    for (back, celsius) in values.iter().enumerate() {
        let Some(celsius) = *celsius else { continue };
        let x = area.right() - 1 - back as u16;
        // What was sensed is seen, however cold.
        let filled = height(celsius).max(0.13);
        let style = theme.phase(limits.phase(celsius));
        for row in 0..area.height {
            let part = filled - f32::from(row);
            if part > 0.06 {
                buffer.set_string(x, area.bottom() - 1 - row, level(f64::from(part)), style);
            }
        }
    }
}

/// The highest temperature of every `each` steps, newest first. Columns begin at multiples of `each`,
/// so that what is drawn moves by whole columns.
fn columns_of(heat: &Heat, each: usize, columns: usize) -> Vec<Option<f32>> {
    let newest = heat.step / each as u64;
    let mut values = vec![None; columns];
    for (back, celsius) in heat.steps.iter().rev().enumerate() {
        let column = newest.saturating_sub(heat.step.saturating_sub(back as u64) / each as u64) as usize;
        let Some(value) = values.get_mut(column) else { break };
        *value = match (*value, *celsius) {
            (Some(a), Some(b)) => Some(f32::max(a, b)),
            (a, b) => a.or(b),
        };
    }
    values
}
