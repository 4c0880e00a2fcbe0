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
    let first = t.layer % pictures.len();
    let inner = pane(theme, &title(pictures[first]), false, area, frame);
    corner(&clean(&entry.line.name), theme.dim, area, frame);
    let (from, to) = t.view();
    let columns = usize::from(inner.width.saturating_sub(5));
    let view = View { axis: t.axis, from, to, columns };
    let room = usize::from(inner.height);
    let mut row = 0;
    // As many pictures as there is room for, the chosen one first.
    for picture in &pictures[first..] {
        let shown: Vec<_> = experts.iter().filter(|(said, layer, ..)| (said.as_str(), *layer) == *picture).collect();
        if row > 0 {
            if row + 1 + shown.len() > room {
                break;
            }
            put(frame, inner, row as u16, &Line::styled(format!(" {}", below(*picture)), theme.dim));
            row += 1;
        }
        let lines = heat(&run, &shown, view, theme);
        // Of one that is too large the last row says so.
        let left = room - row;
        let cut = if lines.len() > left { left.saturating_sub(1) } else { lines.len() };
        if cut < lines.len() {
            let words = format!("     and {} more", lines.len() - cut);
            put(frame, inner, inner.height.saturating_sub(1), &Line::styled(words, theme.dim));
        }
        for line in lines.into_iter().take(cut) {
            put(frame, inner, row as u16, &line);
            row += 1;
        }
    }
}

/// What a picture shows: what is said, of the experts of which layer.
fn title((said, layer): (&str, u32)) -> String {
    let of = match layer {
        names::ALL_LAYERS => "experts, a row a layer".into(),
        layer => format!("experts of layer {layer}"),
    };
    if said.is_empty() { of } else { format!("{}: {of}", clean(said)) }
}

/// The same for a picture below the first: shorter, where that says enough.
fn below(picture: (&str, u32)) -> String {
    match picture {
        ("", layer) if layer != names::ALL_LAYERS => format!("layer {layer}"),
        picture => title(picture),
    }
}

/// A line an expert.
fn heat(run: &Run, experts: &[&(String, u32, u32, SeriesId)], view: View, theme: &Theme) -> Vec<Line<'static>> {
    let whole = experts.iter().any(|(_, layer, ..)| *layer == names::ALL_LAYERS);
    let mut rows = Vec::new();
    for (_, _, expert, id) in experts {
        let mut dots = Vec::new();
        if let Some(series) = run.get(*id) {
            reduce(run, series, view, &mut dots);
        }
        rows.push((*expert, dots));
    }
    // A fair share is the middle of the scale, twice that and more its end.
    let fair = 1.0 / experts.len().max(1) as f64;
    let shares =
        !whole && rows.iter().flat_map(|(_, dots)| dots).filter(|dot| !dot.is_empty()).all(|dot| dot.max <= 1.0);
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
