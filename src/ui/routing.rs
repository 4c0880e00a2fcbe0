//! The routing pane: a heatmap of layers and experts.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::format::{count, level, share};
use super::routing_pairs;
use super::text::width;
use super::theme::Theme;
use super::{corner, pane, put};
use crate::app::routing::{LayerLoad, Load};
use crate::app::state::{App, Measure, Pane, View};

/// Columns of the layer's name.
const LABEL: u16 = 5;
/// Columns of the figures behind the cells: entropy, balance, shared gate.
const FIGURES: u16 = 15;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let focused = app.focus == Pane::Routing && app.overlay.is_none();
    let inner = pane(theme, "routing", focused, area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    corner(&format!("{}, {}", scope_name(app), measure_name(app)), theme.dim, area, frame);
    if !drawable(app, theme, inner, frame) {
        return;
    }
    let map = Rect { height: inner.height.saturating_sub(1), ..inner };
    let load = &app.shown.load;
    let scale = scale(app, &[load]);
    heatmap(app, theme, load, scale, map, frame.buffer_mut(), focused);
    put(frame, inner, inner.height - 1, &summary(load, scale, theme, usize::from(inner.width)));
}

/// Says why there is nothing to draw, if so.
pub(super) fn drawable(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) -> bool {
    let why = match app.opened() {
        None => "No model is open.",
        Some(opened) if opened.info.experts.iter().all(|e| *e == 0) => "This model has no experts.",
        Some(_) => return area.height > 2,
    };
    put(frame, area, 0, &Line::styled(why, theme.dim));
    false
}

pub(super) fn scope_name(app: &App) -> &'static str {
    crate::app::export::scope_name(app.look.scope)
}

pub(super) fn measure_name(app: &App) -> String {
    match app.look.measure {
        Measure::Weights => "weights".into(),
        Measure::Choices => "choices".into(),
        Measure::Together => {
            format!("together in layer {}", app.expert_at_cursor().map_or(0, |(layer, _)| layer))
        }
    }
}

/// So many tokens, in words.
pub(super) fn tokens(count: u64) -> String {
    format!("{count} token{}", if count == 1 { "" } else { "s" })
}

/// Tokens counted, how even the load is, dead experts, and what a full cell stands for: in as many words
/// as there is room for.
pub(super) fn summary(load: &Load, scale: f64, theme: &Theme, columns: usize) -> Line<'static> {
    let dead: usize = load.layers.iter().map(|l| l.dead().count()).sum();
    let layers = load.layers.len().max(1) as f64;
    let balance = load.layers.iter().map(LayerLoad::balance).sum::<f64>() / layers;
    let (all, few) = (tokens(load.tokens()), format!("{} tok", count(load.tokens() as usize)));
    let balance = format!("balance {}", share(balance));
    let full = if scale < 1.0 { format!("█ = 1/{:.0}", scale.recip()) } else { "█ = 1".to_owned() };
    let dead_style = if dead > 0 { theme.warn } else { theme.dim };
    let dead = format!("{dead} dead");
    let ways: [(Vec<&str>, usize); 4] = [
        (vec![&all, &balance, &dead, &full], 2),
        (vec![&all, &balance, &dead], 2),
        (vec![&few, &balance, &dead], 2),
        (vec![&few, &balance, &dead], 1),
    ];
    let fits = |(words, gap): &&(Vec<&str>, usize)| {
        words.iter().map(|word| width(word)).sum::<usize>() + gap * (words.len() - 1) <= columns
    };
    // Where nothing was counted no cell stands for anything.
    let skip = usize::from(load.tokens() == 0);
    let (words, gap) = ways[skip..].iter().find(fits).unwrap_or(&ways[3]);
    let mut spans = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            spans.push(Span::raw(" ".repeat(*gap)));
        }
        spans.push(Span::styled((*word).to_owned(), if at == 2 { dead_style } else { theme.dim }));
    }
    Line::from(spans)
}

/// What a full cell stands for, the same for all these loads. It steps by doubling, so that cells seldom
/// change colour all at once.
pub(super) fn scale(app: &App, loads: &[&Load]) -> f64 {
    let largest = |load: &&Load| match app.look.measure {
        Measure::Together => load.layers.get(app.look.cursor.0).map_or(0.0, routing_pairs::largest),
        measure => {
            load.layers.iter().flat_map(|l| (0..l.chosen.len()).map(move |e| value(l, e, measure))).fold(0.0, f64::max)
        }
    };
    let largest = loads.iter().map(largest).fold(0.0, f64::max);
    [0.0625, 0.125, 0.25, 0.5].into_iter().find(|s| largest <= *s).unwrap_or(1.0)
}

fn value(layer: &LayerLoad, expert: usize, measure: Measure) -> f64 {
    match measure {
        Measure::Choices => layer.share(expert),
        _ => layer.mean_weight(expert),
    }
}

/// A row a layer, a cell an expert, full at `scale`.
pub(super) fn heatmap(
    app: &App,
    theme: &Theme,
    load: &Load,
    scale: f64,
    area: Rect,
    buffer: &mut Buffer,
    cursor: bool,
) {
    if app.look.measure == Measure::Together {
        return routing_pairs::draw(app, theme, load, scale, area, buffer, cursor);
    }
    let experts = load.experts().max(1) as u16;
    let room = area.width.saturating_sub(LABEL + FIGURES);
    let figures = room >= experts;
    let room = if figures { room } else { area.width.saturating_sub(LABEL) };
    let cell = (room / experts).clamp(1, 4);
    let shown = (room / cell).min(experts);
    // Where not all fit, the part around the cursor is seen.
    let first = (app.look.cursor.1 as u16).saturating_sub(shown.saturating_sub(1));
    let rows = usize::from(area.height.saturating_sub(1));
    let top = app.look.cursor.0.saturating_sub(rows.saturating_sub(1)).min(load.layers.len().saturating_sub(rows));
    buffer.set_string(area.x, area.y, "layer", theme.dim);
    for i in 0..shown {
        if cell > 1 || i % 4 == 0 {
            let name = format!("{:>w$}", first + i, w = usize::from(cell).min(2));
            buffer.set_string(area.x + LABEL + i * cell, area.y, name, theme.dim);
        }
    }
    let figures_x = area.x + LABEL + shown * cell + 1;
    if figures {
        buffer.set_string(figures_x, area.y, "entr even gate", theme.dim);
    }
    for (row, (index, layer)) in load.layers.iter().enumerate().skip(top).take(rows).enumerate() {
        let y = area.y + 1 + row as u16;
        let here = cursor && index == app.look.cursor.0;
        buffer.set_string(area.x, y, format!("{:>4}", layer.layer), if here { theme.accent } else { theme.dim });
        let altered = app.alterations.of(layer.layer);
        let dead: Vec<usize> = layer.dead().collect();
        for i in 0..shown {
            let expert = usize::from(first + i);
            if expert >= layer.chosen.len() {
                break;
            }
            let v = value(layer, expert, app.look.measure) / scale;
            let (mark, style): (&str, Style) = if altered.mute.contains(&expert) {
                ("×", theme.muted)
            } else if dead.contains(&expert) {
                ("○", theme.warn)
            } else {
                let style = heat(theme, v);
                let style = if altered.force.contains(&expert) { style.patch(theme.forced) } else { style };
                (level(v), if v < 0.0625 { theme.faint } else { style })
            };
            let wide = usize::from(cell.saturating_sub(u16::from(cell > 2)).max(1));
            let style =
                if here && expert == app.look.cursor.1 { style.add_modifier(Modifier::REVERSED) } else { style };
            buffer.set_string(area.x + LABEL + i * cell, y, mark.repeat(wide), style);
        }
        if figures && layer.tokens > 0 {
            let gate = layer.mean_shared().map_or(" –".into(), share);
            let k = if altered.no_shared { " off".into() } else { format!(" {gate}") };
            let words = format!(" {}  {} {k}", share(layer.mean_entropy()), share(layer.balance()));
            buffer.set_string(figures_x, y, words, theme.dim);
        }
    }
}

/// The style of a value of a heatmap, 0 to 1.
pub(super) fn heat(theme: &Theme, value: f64) -> Style {
    match value {
        v if v > 0.66 => theme.heat_high,
        v if v > 0.33 => theme.heat_mid,
        _ => theme.heat_low,
    }
}

/// True if keys of the routing reach it.
pub(super) fn has_keys(app: &App) -> bool {
    app.overlay.is_none() && (app.view == View::Routing || app.focus == Pane::Routing)
}
