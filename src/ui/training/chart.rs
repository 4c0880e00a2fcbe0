//! Charts: one metric each, with the curves of all runs, in dots of braille.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::put;
use super::super::text::{clean, cut, width};
use super::super::theme::Theme;
use super::colour;
use crate::app::state::App;
use crate::app::training::{self, Chart, Training, lock};
use crate::metrics::show::{duration, number};
use crate::metrics::{Axis, Dot, SeriesId, View, nearest, reduce, smooth};

/// Columns and rows that a chart has at least, where several are shown.
const SMALLEST: (u16, u16) = (34, 7);
/// Columns of the numbers beside a chart.
const NUMBERS: u16 = 8;

/// Room for points that is used again with every frame.
#[derive(Debug, Default)]
pub(in super::super) struct Cache {
    dots: Vec<Vec<Dot>>,
    smoothed: Vec<f64>,
}

/// Draws the chosen chart alone, or as many as there is room for, the chosen one among them.
pub(super) fn draw_all(app: &App, theme: &Theme, area: Rect, frame: &mut Frame<'_>, cache: &mut Cache) {
    let t = &app.training;
    if t.charts.is_empty() {
        let hidden = t.entries.iter().any(|entry| entry.hidden || !entry.taken);
        let why = if hidden { "No curve is left by the filters and what is hidden." } else { "No numbers yet." };
        return put(frame, area, 0, &Line::styled(why, theme.dim));
    }
    let tiles = tiles(t, area, cache);
    let chosen = tiles.iter().position(|tile| tile.chosen).unwrap_or(0);
    if tiles.is_empty() || t.large {
        return tiles.get(chosen).into_iter().for_each(|tile| draw(t, tile, theme, area, frame, cache));
    }
    let across = (area.width / SMALLEST.0).clamp(1, 4).min(tiles.len() as u16);
    let down = (area.height / SMALLEST.1).clamp(1, 6).min((tiles.len() as u16).div_ceil(across));
    let page = usize::from(across * down);
    let first = chosen / page * page;
    for (i, tile) in tiles.iter().enumerate().skip(first).take(page) {
        let (column, row) = (((i - first) as u16) % across, ((i - first) as u16) / across);
        // What does not divide goes to the first ones.
        let edge = |size: u16, parts: u16, at: u16| at * (size / parts) + at.min(size % parts);
        let (left, right) = (edge(area.width, across, column), edge(area.width, across, column + 1));
        let (top, bottom) = (edge(area.height, down, row), edge(area.height, down, row + 1));
        let area = Rect { x: area.x + left, y: area.y + top, width: right - left, height: bottom - top };
        draw(t, tile, theme, area, frame, cache);
    }
    if tiles.len() > page {
        let words = format!("{}–{} of {}", first + 1, (first + page).min(tiles.len()), tiles.len());
        let x = area.right().saturating_sub(width(&words) as u16);
        frame.buffer_mut().set_string(x, area.bottom() - 1, words, theme.dim);
    }
}

/// What one chart shows.
struct Tile<'a> {
    chart: &'a Chart,
    /// One run alone, on the scale that all have in common.
    only: Option<(usize, Option<Scale>)>,
    chosen: bool,
}

/// A curve: its run, its metric, and whether that was drawn into the chart of another.
#[derive(Debug, Clone, Copy)]
struct Curve {
    entry: usize,
    series: SeriesId,
    joined: bool,
}

/// A chart for each metric, or one of the chosen metric for each run.
fn tiles<'a>(t: &'a Training, area: Rect, cache: &mut Cache) -> Vec<Tile<'a>> {
    if !t.grid {
        let all = t.charts.iter().enumerate();
        return all.map(|(i, chart)| Tile { chart, only: None, chosen: i == t.chart }).collect();
    }
    let chart = &t.charts[t.chart];
    // In the order of the table; what it does not show has no chart.
    let has = |at: &&usize| chart.curves.iter().any(|(entry, _)| entry == *at);
    let runs: Vec<usize> = t.table.iter().filter(has).copied().collect();
    let (from, to) = t.view();
    let view = View { axis: t.axis, from, to, columns: usize::from(area.width.max(SMALLEST.0)) };
    let curves = curves(t, chart, None);
    reduce_all(t, &curves, view, cache);
    let scale = range(&cache.dots[..curves.len()], t.log);
    runs.iter().map(|at| Tile { chart, only: Some((*at, scale)), chosen: t.chosen() == Some(*at) }).collect()
}

/// The curves of a chart, those that lie above others last: of the chosen run, and of those that are pinned.
fn curves(t: &Training, chart: &Chart, only: Option<usize>) -> Vec<Curve> {
    let own = chart.curves.iter().map(|(entry, series)| Curve { entry: *entry, series: *series, joined: false });
    let more = chart.more.iter().flat_map(|(_, curves)| curves);
    let more = more.map(|(entry, series)| Curve { entry: *entry, series: *series, joined: true });
    let mut all: Vec<Curve> = own.chain(more).filter(|curve| only.is_none_or(|only| only == curve.entry)).collect();
    all.sort_by_key(|c| (t.chosen() == Some(c.entry), t.entries[c.entry].pinned, !c.joined));
    all
}

fn reduce_all(t: &Training, curves: &[Curve], view: View, cache: &mut Cache) {
    cache.dots.resize_with(curves.len().max(cache.dots.len()), Vec::new);
    for (curve, dots) in curves.iter().zip(&mut cache.dots) {
        let run = lock(&t.entries[curve.entry].run);
        match run.get(curve.series) {
            Some(series) => reduce(&run, series, view, dots),
            None => dots.clear(),
        }
    }
}

fn draw(t: &Training, tile: &Tile<'_>, theme: &Theme, area: Rect, frame: &mut Frame<'_>, cache: &mut Cache) {
    if area.height < 3 || area.width < NUMBERS + 6 {
        return;
    }
    let plot = Rect { x: area.x + NUMBERS, y: area.y + 1, width: area.width - NUMBERS - 1, height: area.height - 2 };
    let (from, to) = t.view();
    let view = View { axis: t.axis, from, to, columns: usize::from(plot.width) * 2 };
    let curves = curves(t, tile.chart, tile.only.as_ref().map(|(run, _)| *run));
    reduce_all(t, &curves, view, cache);
    let range = match &tile.only {
        Some((_, scale)) => *scale,
        None => range(&cache.dots[..curves.len()], t.log),
    };
    head(t, tile, theme, area, frame);
    let Some(scale) = range else {
        put(frame, plot, plot.height / 2, &Line::styled("nothing in this part of the axis", theme.faint));
        return axis(t, theme, area, plot, frame);
    };
    for (row, value) in [(0, 1.0), (plot.height / 2, 0.5), (plot.height - 1, 0.0)] {
        let words = number(scale.value(value));
        let x = plot.x - 1 - (width(&words) as u16).min(NUMBERS - 1);
        frame.buffer_mut().set_stringn(x, plot.y + row, words, usize::from(NUMBERS), theme.dim);
    }
    let mut canvas = Canvas::new(plot);
    if let Some(column) = t.cross.and_then(|x| view.column(x)) {
        canvas.cross(column, theme.faint);
    }
    pauses(t, view, theme, &mut canvas);
    for (curve, dots) in curves.iter().zip(&cache.dots) {
        let style = colour(theme, &t.entries[curve.entry]);
        // What belongs to another metric is told apart by its brightness: colours are those of runs.
        let style = if curve.joined { style.add_modifier(Modifier::DIM) } else { style };
        if t.smoothing > 0 {
            canvas.band(dots, &scale, theme.faint);
            smooth(dots, f64::from(t.smoothing), &mut cache.smoothed);
            canvas.curve(cache.smoothed.iter().map(|y| (*y, *y)), &scale, style);
        } else {
            canvas.curve(
                dots.iter().map(|dot| if dot.is_empty() { (f64::NAN, f64::NAN) } else { (dot.min, dot.max) }),
                &scale,
                style,
            );
        }
    }
    canvas.put(frame);
    axis(t, theme, area, plot, frame);
}

/// Where the chosen run waited: a line, or as long a stretch as it waited.
fn pauses(t: &Training, view: View, theme: &Theme, canvas: &mut Canvas) {
    let Some(entry) = t.chosen().map(|at| &t.entries[at]).filter(|entry| !entry.hidden) else { return };
    let Some(live) = entry.live.as_ref().filter(|live| !live.pauses.is_empty()) else { return };
    let run = lock(&entry.run);
    for pause in &live.pauses {
        let Some((from, to)) = training::place(&run, view.axis, pause) else { continue };
        if to < view.from || from > view.to {
            continue;
        }
        let (Some(first), Some(last)) = (view.column(from.max(view.from)), view.column(to.min(view.to))) else {
            continue;
        };
        let style = if pause.heat { theme.warn } else { theme.dim };
        // Thin, so that curves are still seen, and its edges firm.
        for column in first..=last {
            let edge = column == first || column == last;
            (0..canvas.rows())
                .filter(|row| edge || (row + column) % 4 == 0)
                .for_each(|row| canvas.dot(column, row, style));
        }
    }
}

/// The name of the metric, and the value of the chosen run: under the crosshair, or the newest.
fn head(t: &Training, tile: &Tile<'_>, theme: &Theme, area: Rect, frame: &mut Frame<'_>) {
    let chart = tile.chart;
    let style = if tile.chosen { theme.focus } else { theme.title };
    let room = usize::from(area.width.saturating_sub(NUMBERS + 1));
    let mut words = chart.name.clone();
    chart.more.iter().for_each(|(name, _)| words.push_str(&format!(" + {name}")));
    if let Some((run, _)) = tile.only {
        words = t.entries[run].line.name.clone();
    } else if t.plan.front.contains(&chart.name) {
        words.insert(0, '▲');
    }
    let name = cut(&clean(&words).replace('\n', " "), room.saturating_sub(12).max(8));
    let mut spans = vec![Span::raw(" ".repeat(usize::from(NUMBERS))), Span::styled(name, style)];
    let run = tile.only.as_ref().map(|(run, _)| *run).or(t.chosen());
    let curve = run.and_then(|run| chart.curves.iter().find(|(entry, _)| *entry == run)).or(chart.curves.last());
    if let Some((entry, series)) = curve {
        let run = lock(&t.entries[*entry].run);
        let value = run.get(*series).and_then(|series| match t.cross {
            Some(x) => nearest(&run, series, t.axis, x).map(|(_, y)| y),
            None => Some(series.last()),
        });
        if let Some(value) = value {
            let style = if value.is_finite() { colour(theme, &t.entries[*entry]) } else { theme.bad };
            spans.push(Span::styled(format!("  {}", number(value)), style));
        }
        let odd = run.get(*series).map_or(0, |series| series.odd().1);
        if odd > 0 {
            spans.push(Span::styled(format!("  {odd} not finite"), theme.bad));
        }
    }
    put(frame, area, 0, &Line::from(spans));
}

fn axis(t: &Training, theme: &Theme, area: Rect, plot: Rect, frame: &mut Frame<'_>) {
    let (from, to) = t.view();
    let words = |x: f64| match t.axis {
        Axis::Relative => duration(x),
        Axis::Time => clock(x),
        Axis::Step | Axis::Tokens => number(if (to - from) > 10.0 { x.round() } else { x }),
    };
    let (first, last) = (words(from), words(to));
    let row = area.bottom() - 1;
    let buffer = frame.buffer_mut();
    buffer.set_string(plot.x, row, &first, theme.dim);
    let x = plot.right().saturating_sub(width(&last) as u16);
    if x > plot.x + width(&first) as u16 + 1 {
        buffer.set_string(x, row, &last, theme.dim);
    }
    if let Some(cross) = t.cross.filter(|x| (from..=to).contains(x)) {
        let words = words(cross);
        let w = width(&words) as u16;
        let at = plot.x + ((cross - from) / (to - from) * f64::from(plot.width.saturating_sub(1))) as u16;
        let at = at.saturating_sub(w / 2).max(plot.x);
        if at > plot.x + width(&first) as u16 && at + w < x {
            buffer.set_string(at, row, words, theme.text);
        }
    }
}

/// `14:05:09` of a time since 1970, in universal time.
fn clock(x: f64) -> String {
    if !x.is_finite() || x < 0.0 {
        return "-".into();
    }
    let s = x as u64 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// From values to heights of 0 to 1.
#[derive(Debug, Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    fn height(&self, value: f64) -> Option<f64> {
        let value = if self.log { value.log10() } else { value };
        let height = (value - self.low) / (self.high - self.low);
        height.is_finite().then(|| height.clamp(0.0, 1.0))
    }

    fn value(&self, height: f64) -> f64 {
        let value = self.low + (self.high - self.low) * height;
        if self.log { 10f64.powf(value) } else { value }
    }
}

/// The scale on which everything fits.
fn range(curves: &[Vec<Dot>], log: bool) -> Option<Scale> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for dot in curves.iter().flatten().filter(|dot| !dot.is_empty()) {
        let (min, max) = if log { (dot.min.log10(), dot.max.log10()) } else { (dot.min, dot.max) };
        // What has no logarithm is left out.
        low = if min.is_finite() { low.min(min) } else { low };
        high = if max.is_finite() { high.max(max) } else { high };
    }
    if low > high {
        return None;
    }
    if high - low <= low.abs().max(high.abs()) * 1e-9 {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        (low, high) = (low - room, high + room);
    }
    Some(Scale { low, high, log })
}

/// Dots of braille: two a column and four a row.
struct Canvas {
    area: Rect,
    /// The pattern of each cell, and its style.
    cells: Vec<(u8, Style)>,
}

/// The bit of each dot of a cell, by row and column.
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

impl Canvas {
    fn new(area: Rect) -> Self {
        Self { area, cells: vec![(0, Style::default()); usize::from(area.width) * usize::from(area.height)] }
    }

    fn rows(&self) -> usize {
        usize::from(self.area.height) * 4
    }

    fn row(&self, height: f64) -> usize {
        let rows = self.rows() - 1;
        rows - (height * rows as f64).round() as usize
    }

    fn dot(&mut self, column: usize, row: usize, style: Style) {
        let at = row / 4 * usize::from(self.area.width) + column / 2;
        if let Some(cell) = self.cells.get_mut(at).filter(|_| column / 2 < usize::from(self.area.width)) {
            // A cell has one colour: that of what was drawn last.
            *cell = (cell.0 | BITS[row % 4][column % 2], style);
        }
    }

    fn line(&mut self, column: usize, rows: (usize, usize), style: Style) {
        (rows.0.min(rows.1)..=rows.0.max(rows.1)).for_each(|row| self.dot(column, row, style));
    }

    /// From the smallest to the largest of each column, joined where columns follow each other.
    fn curve(&mut self, columns: impl Iterator<Item = (f64, f64)>, scale: &Scale, style: Style) {
        let mut before: Option<(usize, usize, usize)> = None;
        for (column, (min, max)) in columns.enumerate() {
            let (Some(low), Some(high)) = (scale.height(min), scale.height(max)) else { continue };
            let (low, high) = (self.row(low), self.row(high));
            self.line(column, (high, low), style);
            if let Some((then, top, bottom)) = before {
                // Points far apart are joined by a straight line between their middles.
                let (a, b) = (usize::midpoint(top, bottom) as f64, usize::midpoint(high, low) as f64);
                let steps = column - then;
                for step in 1..steps {
                    let row = a + (b - a) * step as f64 / steps as f64;
                    self.dot(then + step, row.round() as usize, style);
                }
                if steps == 1 && top > low {
                    self.line(column, (low, top), style);
                } else if steps == 1 && bottom < high {
                    self.line(column, (bottom, high), style);
                }
            }
            before = Some((column, high, low));
        }
    }

    /// The values as they are, behind their smoothed curve.
    fn band(&mut self, dots: &[Dot], scale: &Scale, style: Style) {
        for (column, dot) in dots.iter().enumerate().filter(|(_, dot)| !dot.is_empty()) {
            if let (Some(low), Some(high)) = (scale.height(dot.min), scale.height(dot.max)) {
                self.line(column, (self.row(high), self.row(low)), style);
            }
        }
    }

    fn cross(&mut self, column: usize, style: Style) {
        (0..self.rows()).for_each(|row| self.dot(column, row, style));
    }

    fn put(&self, frame: &mut Frame<'_>) {
        let buffer = frame.buffer_mut();
        for (at, (pattern, style)) in self.cells.iter().enumerate().filter(|(_, (pattern, _))| *pattern != 0) {
            let (x, y) = (at as u16 % self.area.width, at as u16 / self.area.width);
            let mark = char::from_u32(0x2800 + u32::from(*pattern)).unwrap_or(' ');
            buffer[(self.area.x + x, self.area.y + y)].set_char(mark).set_style(*style);
        }
    }
}
