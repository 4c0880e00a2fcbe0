//! The load of the experts of one layer over time: a row an expert, a column a stretch of the axis.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::text::clean;
use super::super::theme::Theme;
use super::super::{corner, pane, put};
use crate::app::training::{Training, lock};
use crate::metrics::{SeriesId, View, names, reduce};

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
    // What is said of experts, by what it is and by layer.
    let mut experts: Vec<(String, u32, u32, SeriesId)> = Vec::new();
    for (at, series) in run.series().iter().enumerate().filter(|(_, series)| !series.is_empty()) {
        if let Some((layer, expert, said)) = names::expert(series.name()) {
            experts.push((said, layer, expert, SeriesId(at as u32)));
        }
    }
    experts.sort_unstable();
    let mut pictures: Vec<(&str, u32)> = experts.iter().map(|(said, layer, ..)| (said.as_str(), *layer)).collect();
    pictures.dedup();
    if pictures.is_empty() {
        let inner = pane(theme, "experts", false, area, frame);
        return put(frame, inner, 0, &Line::styled(" This run says nothing of experts.", theme.dim));
    }
    let (said, layer) = pictures[t.layer % pictures.len()];
    let whole = layer == names::ALL_LAYERS;
    let title = if whole { "experts, a row a layer".into() } else { format!("experts of layer {layer}") };
    let title = if said.is_empty() { title } else { format!("{}: {title}", clean(said)) };
    let inner = pane(theme, &title, false, area, frame);
    corner(&clean(&entry.line.name), theme.dim, area, frame);
    let (from, to) = t.view();
    let columns = usize::from(inner.width.saturating_sub(5));
    let view = View { axis: t.axis, from, to, columns };
    let all: Vec<_> = experts.iter().filter(|(what, of, ..)| what == said && *of == layer).collect();
    // Where there are more than rows, the last row says so.
    let room = usize::from(inner.height);
    let shown = if all.len() > room { &all[..room.saturating_sub(1)] } else { &all[..] };
    if shown.len() < all.len() {
        let words = format!("     and {} more", all.len() - shown.len());
        put(frame, inner, inner.height.saturating_sub(1), &Line::styled(words, theme.dim));
    }
    let mut rows = Vec::new();
    for (_, _, expert, id) in shown {
        let mut dots = Vec::new();
        if let Some(series) = run.get(*id) {
            reduce(&run, series, view, &mut dots);
        }
        rows.push((*expert, dots));
    }
    // A fair share is the middle of the scale, twice that and more its end.
    let fair = 1.0 / all.len().max(1) as f64;
    let shares =
        !whole && rows.iter().flat_map(|(_, dots)| dots).filter(|dot| !dot.is_empty()).all(|dot| dot.max <= 1.0);
    let top = rows.iter().flat_map(|(_, dots)| dots).filter(|dot| !dot.is_empty()).fold(0.0, |m: f64, d| m.max(d.mean));
    let full = if shares { 2.0 * fair } else { top };
    for (row, (expert, dots)) in rows.iter().enumerate() {
        let mut spans = vec![Span::styled(format!("{expert:>4} "), theme.dim)];
        let mut last = None;
        for dot in dots {
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
        put(frame, inner, row as u16, &Line::from(spans));
    }
}
