//! Temperature over time, in the bands in which machines slow down.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::format::level;
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::state::{App, Pane};
use crate::protocol::HeatReading;

/// Degrees at the bottom and the top of the chart.
const RANGE: (f32, f32) = (30.0, 105.0);
/// Where the bands begin.
const BANDS: [(f32, &str); 3] = [(75.0, "warm"), (85.0, "hot"), (95.0, "critical")];

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let inner = pane(theme, "heat", app.focus == Pane::Heat && app.overlay.is_none(), area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let Some(sensor) = &app.sensor else {
        let recorded = app.replay.is_some();
        let why = if recorded { "No temperature was recorded." } else { "No temperature sensor here." };
        put(frame, inner, 0, &Line::styled(why, theme.dim));
        put(frame, inner, 1, &in_flight(app, theme));
        return;
    };
    corner(&super::text::clean(sensor), theme.dim, area, frame);
    let Some((_, newest)) = app.shown.heat.last() else {
        put(frame, inner, 0, &Line::styled("The sensor has given nothing yet.", theme.dim));
        put(frame, inner, 1, &in_flight(app, theme));
        return;
    };
    put(frame, inner, 0, &figures(newest, theme));
    let chart = Rect { y: inner.y + 1, height: inner.height.saturating_sub(2), ..inner };
    if inner.height > 3 {
        draw_chart(app, theme, chart, frame);
    }
    put(frame, inner, inner.height.saturating_sub(1).max(1), &in_flight(app, theme));
}

fn figures(reading: &HeatReading, theme: &Theme) -> Line<'static> {
    let mut spans = Vec::new();
    match reading.celsius {
        Some(c) => {
            let band = BANDS.iter().rev().find(|(from, _)| c >= *from).map_or("cool", |(_, name)| name);
            spans.push(Span::styled(format!("{c:.0} °C {band}"), theme.band(c)));
        }
        None => spans.push(Span::styled("no temperature", theme.dim)),
    }
    if let Some(watts) = reading.watts {
        spans.push(Span::styled(format!("  {watts:.1} W"), theme.text));
    }
    if let Some(rpm) = reading.fan_rpm {
        spans.push(Span::styled(format!("  fan {rpm:.0}/min"), theme.text));
    }
    match reading.throttled {
        Some(true) => spans.push(Span::styled("  throttled", theme.bad)),
        Some(false) => spans.push(Span::styled("  not throttled", theme.dim)),
        None => {}
    }
    Line::from(spans)
}

fn in_flight(app: &App, theme: &Theme) -> Line<'static> {
    match (app.shown.prefill, app.shown.answering.is_some()) {
        (Some((done, total)), _) => Line::styled(format!("reading {done} of {total} tokens"), theme.dim),
        (None, true) => Line::styled(format!("{} tokens in flight", app.shown.tokens), theme.dim),
        (None, false) => Line::styled("nothing in flight", theme.dim),
    }
}

/// A column a reading, the newest at the right; the bands' limits as rules.
fn draw_chart(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let label = 4;
    let rows = f32::from(area.height);
    let height = |celsius: f32| ((celsius - RANGE.0) / (RANGE.1 - RANGE.0)).clamp(0.0, 1.0) * rows;
    let buffer = frame.buffer_mut();
    for (limit, _) in BANDS {
        let row = area.bottom() - 1 - (height(limit) as u16).min(area.height - 1);
        buffer.set_string(area.x, row, format!("{limit:.0}"), theme.band(limit));
        buffer.set_string(area.x + label, row, "┄".repeat(usize::from(area.width.saturating_sub(label))), theme.faint);
    }
    let columns = usize::from(area.width.saturating_sub(label));
    let readings = app.shown.heat.iter().rev().take(columns);
    for (back, (_, reading)) in readings.enumerate() {
        let Some(celsius) = reading.celsius else { continue };
        let x = area.right() - 1 - back as u16;
        let filled = height(celsius);
        for row in 0..area.height {
            let part = filled - f32::from(row);
            if part > 0.06 {
                buffer.set_string(x, area.bottom() - 1 - row, level(f64::from(part)), theme.band(celsius));
            }
        }
    }
}
