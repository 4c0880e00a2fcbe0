//! The load of the experts of one layer over time: a row an expert, a column a stretch of the axis.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::text::clean;
use super::super::theme::Theme;
use super::super::{corner, pane, put};
use crate::app::training::{Training, lock};
use crate::metrics::{Dot, Run, SeriesId, View, names, reduce};

/// True if the chosen run says something of experts.
pub(super) fn are_there(t: &Training) -> bool {
    let Some(entry) = t.chosen().map(|at| &t.entries[at]) else { return false };
    lock(&entry.run).series().iter().any(|series| !series.is_empty() && names::expert(series.name()).is_some())
}

pub(super) fn draw(t: &Training, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let Some(entry) = t.chosen().map(|at| &t.entries[at]) else {
        pane(theme, "experts", false, area, frame);
        return;
    };
    let run = lock(&entry.run);
    let mut experts: Vec<(u32, u32, SeriesId)> = Vec::new();
    for (at, series) in run.series().iter().enumerate().filter(|(_, series)| !series.is_empty()) {
        if let Some((layer, expert, _)) = names::expert(series.name()) {
            experts.push((layer, expert, SeriesId(at as u32)));
        }
    }
    experts.sort_unstable();
    let mut layers: Vec<u32> = experts.iter().map(|(layer, ..)| *layer).collect();
    layers.dedup();
    if layers.is_empty() {
        let inner = pane(theme, "experts", false, area, frame);
        return put(frame, inner, 0, &Line::styled(" This run says nothing of experts.", theme.dim));
    }
    let first = t.layer % layers.len();
    let inner = pane(theme, &format!("experts of layer {}", layers[first]), false, area, frame);
    corner(&clean(&entry.line.name), theme.dim, area, frame);
    let (from, to) = t.view();
    let columns = usize::from(inner.width.saturating_sub(5));
    let view = View { axis: t.axis, from, to, columns };
    let mut row = 0;
    // As many layers as there is room for, the chosen one first.
    for layer in &layers[first..] {
        let shown: Vec<_> = experts.iter().filter(|(of, ..)| of == layer).collect();
        if row > 0 {
            if row + 1 + shown.len() > usize::from(inner.height) {
                break;
            }
            put(frame, inner, row as u16, &Line::styled(format!(" layer {layer}"), theme.dim));
            row += 1;
        }
        for line in heat(&run, &shown, view, theme).into_iter().take(usize::from(inner.height) - row) {
            put(frame, inner, row as u16, &line);
            row += 1;
        }
    }
}

/// A line an expert.
fn heat(run: &Run, experts: &[&(u32, u32, SeriesId)], view: View, theme: &Theme) -> Vec<Line<'static>> {
    let mut rows = Vec::new();
    for (_, expert, id) in experts {
        let mut dots = Vec::new();
        if let Some(series) = run.get(*id) {
            reduce(run, series, view, &mut dots);
        }
        rows.push((*expert, dots));
    }
    // A fair share is the middle of the scale, twice that and more its end.
    let fair = 1.0 / experts.len().max(1) as f64;
    let shares = rows.iter().flat_map(|(_, dots)| dots).filter(|dot| !dot.is_empty()).all(|dot| dot.max <= 1.0);
    let top = rows.iter().flat_map(|(_, dots)| dots).filter(|dot| !dot.is_empty()).fold(0.0, |m: f64, d| m.max(d.mean));
    let full = if shares { 2.0 * fair } else { top };
    let line = |(expert, dots): (u32, Vec<Dot>)| {
        let mut spans = vec![Span::styled(format!("{expert:>4} "), theme.dim)];
        let mut last = None;
        for dot in &dots {
            // Between two points stands the one before.
            last = if dot.is_empty() { last } else { Some(dot.mean) };
            let heat = last.map(|mean| if full > 0.0 { mean / full } else { 0.0 });
            spans.push(match heat {
                None => Span::raw(" "),
                Some(h) if h < 0.25 => Span::styled("░", theme.heat_low),
                Some(h) if h < 0.45 => Span::styled("▒", theme.heat_low),
                Some(h) if h < 0.6 => Span::styled("▒", theme.heat_mid),
                Some(h) if h < 0.8 => Span::styled("▓", theme.heat_mid),
                Some(_) => Span::styled("█", theme.heat_high),
            });
        }
        Line::from(spans)
    };
    rows.into_iter().map(line).collect()
}
