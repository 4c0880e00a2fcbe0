//! The routing in full.
//!
//! ```text
//! ┌ routing ──────────────────────┬ layer 4, expert 2 ────┐     compared:
//! │ layers × experts              │ share, weight, gate   │     ┌ this ──────┬ the one before ┐
//! │                               │ fires for ...         │     │            │                │
//! │                               │ chosen together with  │     └────────────┴────────────────┘
//! └───────────────────────────────┴───────────────────────┘
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::format::{bar, share};
use super::heat::flow;
use super::routing::{drawable, has_keys, heatmap, measure_name, scale, scope_name, summary, tokens};
use super::text::{clean, cut, one_line, width};
use super::theme::Theme;
use super::{pane, put};
use crate::app::routing::{LayerLoad, Load};
use crate::app::state::App;

/// Columns that the details like to have.
const DETAILS: u16 = 44;
/// Columns of one difference between two answers.
const DIFFERENCE: usize = 16;

pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    if let Some((name, other)) = &app.shown.other {
        return compared(app, theme, (name, other), area, frame);
    }
    let narrow = area.width < 80;
    let details = if narrow { area.width } else { DETAILS.min(area.width / 2) };
    let keys = keys_line(app).split("  ").map(|key| (key.to_owned(), theme.dim)).collect();
    let keys = flow(keys, usize::from(if narrow { area.width } else { area.width - details }).saturating_sub(4));
    // The names of the experts, a row a layer, the summary.
    let needed = app.shown.load.layers.len().min(500) as u16 + 2;
    let (map_area, details_area) = if narrow {
        // Where both have room the details keep some; else the map comes first.
        let most = if area.height < 20 { area.height } else { area.height - 8 };
        let rows = (needed + 2 + keys.len() as u16).clamp(6, most);
        let rows = if area.height - rows < 3 { area.height } else { rows };
        let map = Rect { height: rows, ..area };
        (map, Rect { y: map.bottom(), height: area.height - rows, ..area })
    } else {
        let map = Rect { width: area.width - details, ..area };
        (map, Rect { x: map.right(), width: details, ..area })
    };
    let title = format!("routing: {}, {}", scope_name(app), measure_name(app));
    let inner = pane(theme, &title, has_keys(app), map_area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    if drawable(app, theme, inner, frame) {
        let load = &app.shown.load;
        // The layers come before the keys.
        let keys_rows = (keys.len() as u16).min(inner.height.saturating_sub(needed));
        let map = Rect { height: inner.height - 1 - keys_rows, ..inner };
        let scale = scale(app, &[load]);
        heatmap(app, theme, load, scale, map, frame.buffer_mut(), true);
        put(frame, inner, map.height, &summary(load, scale, theme, usize::from(inner.width)));
        for (row, line) in keys.iter().take(usize::from(keys_rows)).enumerate() {
            put(frame, inner, map.height + 1 + row as u16, line);
        }
    }
    if details_area.height > 2 {
        draw_details(app, theme, details_area, frame);
    }
}

/// Keys of the view: what a recording cannot do is left out.
fn keys_line(app: &App) -> &'static str {
    if app.replay.is_some() {
        "s scope  v measure  c compare  o with another  e export"
    } else {
        "s scope  v measure  m mute  f force  +/- k  x shared  c compare  e export  r answer again"
    }
}

fn layer_at_cursor(app: &App) -> Option<&LayerLoad> {
    app.shown.load.layers.get(app.look.cursor.0)
}

/// The expert under the cursor.
fn draw_details(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let (Some(layer), Some((index, expert))) = (layer_at_cursor(app), app.expert_at_cursor()) else {
        pane(theme, "expert", false, area, frame);
        return;
    };
    let inner = pane(theme, &format!("layer {index}, expert {expert}"), false, area, frame);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let columns = usize::from(inner.width);
    let fact = |name: &str, value: String| {
        Line::from(vec![Span::styled(format!("{name:<16}"), theme.dim), Span::styled(value, theme.text)])
    };
    let mut lines = vec![
        fact(
            "chosen",
            format!(
                "{} of {} ({})",
                layer.chosen.get(expert).unwrap_or(&0),
                tokens(layer.tokens),
                share(layer.share(expert))
            ),
        ),
        fact("mean weight", share(layer.mean_weight(expert))),
        fact("layer's entropy", format!("{} of the largest", share(layer.mean_entropy()))),
        fact("layer's balance", share(layer.balance())),
        fact("shared gate", layer.mean_shared().map_or("none".into(), share)),
    ];
    let dead: Vec<String> = layer.dead().map(|e| e.to_string()).collect();
    if !dead.is_empty() {
        lines.push(fact("dead experts", dead.join(" ")));
    }
    lines.push(Line::default());
    lines.push(Line::styled("chosen together with", theme.strong));
    let mut others: Vec<(usize, f64)> =
        (0..layer.chosen.len()).filter(|e| *e != expert).map(|e| (e, layer.together(expert, e))).collect();
    others.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let most = if inner.height > 20 { 7 } else { 3 };
    for (other, together) in others.into_iter().take(most) {
        let (filled, rest) = bar(together, columns.saturating_sub(14).min(24));
        lines.push(Line::from(vec![
            Span::styled(format!("  {other:>3}  "), theme.text),
            Span::styled(filled, theme.meter),
            Span::styled(rest, theme.meter_back),
            Span::styled(format!("  {}", share(together)), theme.dim),
        ]));
    }
    lines.push(Line::default());
    lines.push(Line::styled("fires for, in this session", theme.strong));
    if app.shown.fires.is_empty() {
        lines.push(Line::styled("  no token yet", theme.dim));
    }
    for fired in &app.shown.fires {
        let text = if fired.text.is_empty() { format!("⟨{}⟩", fired.token) } else { visible(&fired.text) };
        let text = cut(&text, columns.saturating_sub(24));
        let gap = " ".repeat(columns.saturating_sub(width(&text) + 22));
        lines.push(Line::from(vec![
            Span::styled(format!("  {text}{gap}"), theme.code_string),
            Span::styled(format!("{:>6}×  weight {}", fired.count, share(f64::from(fired.weight))), theme.dim),
        ]));
    }
    for (row, line) in lines.iter().enumerate().take(usize::from(inner.height)) {
        put(frame, inner, row as u16, line);
    }
}

/// A token's text with its spaces shown.
pub(super) fn visible(text: &str) -> String {
    one_line(text).replace(' ', "␣")
}

/// Two answers side by side, and where they differ most.
fn compared(app: &App, theme: &Theme, (name, other): (&str, &Load), area: Rect, frame: &mut Frame<'_>) {
    let side = area.width >= 80;
    // Two maps in a few rows say nothing; the differences do.
    let rows = if !side && area.height < 20 { 0 } else { area.height.saturating_sub(5) };
    let (left, right) = if side {
        let left = Rect { width: area.width / 2, height: rows, ..area };
        (left, Rect { x: left.right(), width: area.width - left.width, ..left })
    } else {
        let left = Rect { height: rows / 2, ..area };
        (left, Rect { y: left.bottom(), height: rows - rows / 2, ..left })
    };
    // One scale for both, or their heights would say nothing.
    let scale = scale(app, &[&app.shown.load, other]);
    for (title, load, area, cursor) in
        [(app.shown.name.as_str(), &app.shown.load, left, true), (name, other, right, false)]
    {
        if area.height == 0 {
            continue;
        }
        let inner = pane(theme, &format!("{}: {}", clean(title), measure_name(app)), cursor, area, frame);
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        if inner.height > 2 {
            let map = Rect { height: inner.height - 1, ..inner };
            heatmap(app, theme, load, scale, map, frame.buffer_mut(), cursor);
            put(frame, inner, inner.height - 1, &summary(load, scale, theme, usize::from(inner.width)));
        }
    }
    let below = Rect { y: area.y + rows, height: area.height - rows, ..area };
    let inner = pane(theme, "where they differ most", false, below, frame);
    let mut differences: Vec<(f64, usize, usize)> = Vec::new();
    for (a, b) in app.shown.load.layers.iter().zip(&other.layers) {
        differences.extend((0..a.chosen.len()).map(|e| (a.mean_weight(e) - b.mean_weight(e), a.layer, e)));
    }
    differences.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    // Whole entries side by side, the largest differences first.
    let across = (usize::from(inner.width) / DIFFERENCE).max(1);
    let room = across * usize::from(inner.height);
    for (at, (difference, layer, expert)) in differences.iter().take(room).enumerate() {
        let style = if *difference > 0.0 { theme.good } else { theme.warn };
        let line = Line::from(vec![
            Span::styled(format!(" {:<8}", format!("L{layer}.{expert}")), theme.text),
            Span::styled(format!("{difference:+.2}"), style),
        ]);
        let x = (at % across * DIFFERENCE) as u16;
        let place = Rect { x: inner.x + x, width: inner.width.saturating_sub(x), ..inner };
        put(frame, place, (at / across) as u16, &line);
    }
}
