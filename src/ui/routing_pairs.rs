//! Which experts of a layer are chosen together: a row and a column each.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::format::level;
use super::routing::heat;
use super::theme::Theme;
use crate::app::routing::{LayerLoad, Load};
use crate::app::state::App;

/// Columns of an expert's number.
const LABEL: u16 = 7;

pub(super) fn draw(app: &App, theme: &Theme, load: &Load, scale: f64, area: Rect, buffer: &mut Buffer, cursor: bool) {
    let Some(layer) = load.layers.get(app.look.cursor.0) else { return };
    let experts = layer.chosen.len().max(1) as u16;
    let at = app.look.cursor.1 as u16;
    let room = area.width.saturating_sub(LABEL);
    let cell = (room / experts).clamp(1, 4);
    // Where not all fit, the part around the cursor is seen.
    let columns = (room / cell).min(experts);
    let rows = area.height.saturating_sub(1).min(experts);
    let first = |seen: u16| at.saturating_sub(seen.saturating_sub(1));
    let (left, top) = (first(columns), first(rows));
    buffer.set_string(area.x, area.y, "expert", theme.dim);
    for i in 0..columns {
        if cell > 1 || i % 4 == 0 {
            let name = format!("{:>w$}", left + i, w = usize::from(cell).min(2));
            buffer.set_string(area.x + LABEL + i * cell, area.y, name, theme.dim);
        }
    }
    let value = |a: u16, b: u16| layer.together(usize::from(a), usize::from(b));
    for row in 0..rows {
        let (expert, y) = (top + row, area.y + 1 + row);
        let here = cursor && expert == at;
        buffer.set_string(area.x, y, format!("{expert:>5}"), if here { theme.accent } else { theme.dim });
        for i in 0..columns {
            let other = left + i;
            let v = value(expert, other) / scale;
            let (mark, style) = match v {
                _ if other == expert => ("–", theme.faint),
                v if v < 0.0625 => (level(v), theme.faint),
                v => (level(v), heat(theme, v)),
            };
            let style = if here && other == expert { style.add_modifier(Modifier::REVERSED) } else { style };
            let wide = usize::from(cell.saturating_sub(u16::from(cell > 2)).max(1));
            buffer.set_string(area.x + LABEL + i * cell, y, mark.repeat(wide), style);
        }
    }
}

/// How often the two that are chosen together most are.
pub(super) fn largest(layer: &LayerLoad) -> f64 {
    let experts = layer.chosen.len();
    let pairs = (0..experts).flat_map(|a| (a + 1..experts).map(move |b| (a, b)));
    pairs.map(|(a, b)| layer.together(a, b)).fold(0.0, f64::max)
}
