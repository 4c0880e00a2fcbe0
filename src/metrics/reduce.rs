//! A metric as a chart needs it: one dot a column, with the peaks that lie within it.

use super::pyramid;
use super::run::{Axis, Run};
use super::series::Series;

/// Blocks a column has at least. A block is drawn in every column that it lies in, so that no peak is lost and none
/// is further off than a dot.
const BLOCKS: f64 = 0.75;

/// Which part of which axis is drawn, on how many columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Along the bottom.
    pub axis: Axis,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Columns of dots.
    pub columns: usize,
}

impl View {
    /// The column of a place; none outside.
    pub fn column(&self, x: f64) -> Option<usize> {
        self.columns().of(x)
    }

    fn columns(&self) -> Columns {
        let wide = self.to > self.from;
        let scale = if wide { self.columns as f64 / (self.to - self.from) } else { 0.0 };
        Columns {
            from: self.from,
            to: self.to,
            scale,
            begin: if wide { 0 } else { self.columns / 2 },
            count: self.columns,
        }
    }

    /// The place in the middle of a column.
    pub fn x(&self, column: usize) -> f64 {
        self.from + (self.to - self.from) * (column as f64 + 0.5) / self.columns.max(1) as f64
    }
}

/// From places to columns, without a division for each.
#[derive(Debug, Clone, Copy)]
struct Columns {
    from: f64,
    to: f64,
    scale: f64,
    begin: usize,
    count: usize,
}

impl Columns {
    #[inline]
    fn of(&self, x: f64) -> Option<usize> {
        let inside = x >= self.from && x <= self.to && self.count > 0;
        inside.then(|| (self.begin + ((x - self.from) * self.scale) as usize).min(self.count - 1))
    }
}

/// Points that follow each other in one column.
struct Heap {
    count: u32,
    min: f64,
    max: f64,
    sum: f64,
}

impl Heap {
    const EMPTY: Heap = Heap { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0 };

    #[inline]
    fn take(&mut self, value: f64) {
        if value.is_finite() {
            self.count += 1;
            self.min = if value < self.min { value } else { self.min };
            self.max = if value > self.max { value } else { self.max };
            self.sum += value;
        }
    }
}

/// The points that lie in a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dot {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean; NaN if there is none.
    pub mean: f64,
    /// What the mean is made of: points, or blocks of points.
    parts: u32,
}

impl Dot {
    const EMPTY: Dot = Dot { min: f64::INFINITY, max: f64::NEG_INFINITY, mean: f64::NAN, parts: 0 };

    /// True if no point lies here that is a number.
    pub fn is_empty(&self) -> bool {
        self.parts == 0
    }

    fn block(&mut self, min: f64, max: f64, mean: f64) {
        if mean.is_finite() {
            self.take(&Heap { count: 1, min, max, sum: mean });
        }
    }

    fn take(&mut self, heap: &Heap) {
        if heap.count == 0 {
            return;
        }
        (self.min, self.max) = (self.min.min(heap.min), self.max.max(heap.max));
        let before = if self.parts == 0 { 0.0 } else { self.mean * f64::from(self.parts) };
        self.parts += heap.count;
        self.mean = (before + heap.sum) / f64::from(self.parts);
    }
}

/// The points of a metric in a view: `out` gets one dot a column. What it costs depends on the columns alone.
pub fn reduce(run: &Run, series: &Series, view: View, out: &mut Vec<Dot>) {
    out.clear();
    out.resize(view.columns, Dot::EMPTY);
    let columns = view.columns();
    for (from, to) in passes(run, series, view.axis) {
        let x = |at: usize| run.x(view.axis, series.row(at));
        let low = partition(from, to, |at| x(at) < view.from);
        let high = partition(low, to, |at| x(at) <= view.to);
        let mut points = |from: usize, to: usize| {
            let (mut places, mut values) = (Vec::with_capacity(to - from), Vec::with_capacity(to - from));
            series.read(from, to, &mut places, &mut values);
            run.places(view.axis, &mut places);
            let (mut heap, mut place) = (Heap::EMPTY, 0);
            for (x, value) in places.iter().zip(&values) {
                let Some(column) = columns.of(*x) else { continue };
                if column != place {
                    out[place].take(&heap);
                    (heap, place) = (Heap::EMPTY, column);
                }
                heap.take(*value);
            }
            if let Some(dot) = out.get_mut(place) {
                dot.take(&heap);
            }
        };
        let Some(level) = series.pyramid.level(high - low, (view.columns as f64 * BLOCKS) as usize) else {
            points(low, high);
            continue;
        };
        let size = pyramid::size(level);
        let blocks = series.pyramid.blocks(level);
        let (first, last) = (low.div_ceil(size), (high / size).min(blocks.len()));
        if first >= last {
            points(low, high);
            continue;
        }
        points(low, first * size);
        points(last * size, high);
        let mut begin = columns.of(x(first * size));
        for (i, block) in blocks[first..last].iter().enumerate() {
            let next = (first + i + 1) * size;
            // Where the next block begins this one ends, but for the last of all.
            let after = columns.of(if next < high { x(next) } else { x(next - 1) });
            if let (Some(from), Some(to)) = (begin, after) {
                let to = if next < high { to.saturating_sub(1).max(from) } else { to };
                for dot in &mut out[from..=to] {
                    dot.block(block.min.into(), block.max.into(), block.mean.into());
                }
            }
            begin = after;
        }
    }
}

/// The point whose place is nearest to `x`: its place and value. Of several passes over it the newest counts.
pub fn nearest(run: &Run, series: &Series, axis: Axis, x: f64) -> Option<(f64, f64)> {
    let place = |at: usize| run.x(axis, series.row(at));
    let mut best: Option<(f64, usize)> = None;
    for (from, to) in passes(run, series, axis) {
        let after = partition(from, to, |at| place(at) < x);
        for at in [after.checked_sub(1).filter(|at| *at >= from), (after < to).then_some(after)].into_iter().flatten() {
            let distance = (place(at) - x).abs();
            if best.is_none_or(|(least, _)| distance <= least) {
                best = Some((distance, at));
            }
        }
    }
    best.map(|(_, at)| (place(at), series.value(at)))
}

/// The means of the dots, each drawn towards those before it; `strength` 0 changes nothing, and N weighs about
/// the last N columns. Columns without a point stay without one.
pub fn smooth(dots: &[Dot], strength: f64, out: &mut Vec<f64>) {
    out.clear();
    let keep = strength.max(0.0) / (strength.max(0.0) + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    for dot in dots {
        // The weight of what came before fades with every column, whether or not it holds a point.
        (sum, weight) = (sum * keep, weight * keep);
        if dot.is_empty() {
            out.push(f64::NAN);
        } else {
            (sum, weight) = (sum + dot.mean, weight + 1.0);
            out.push(sum / weight);
        }
    }
}

/// The stretches of a metric in which the axis only grows.
fn passes(run: &Run, series: &Series, axis: Axis) -> impl Iterator<Item = (usize, usize)> {
    let starts: Vec<usize> = run.breaks(axis).iter().map(|row| series.at_row(*row as usize)).collect();
    let mut from = 0;
    starts.into_iter().chain([series.len()]).filter_map(move |to| {
        let pass = (from, to);
        from = to;
        (pass.0 < pass.1).then_some(pass)
    })
}

fn partition(from: usize, to: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Row;

    fn run(values: &[f64], step: impl Fn(usize) -> f64) -> Run {
        let mut run = Run::new("a", "test");
        let loss = run.series_id("loss").unwrap();
        for (i, value) in values.iter().enumerate() {
            run.add(Row { step: Some(step(i)), ..Row::default() }, &[(loss, *value)]);
        }
        run
    }

    fn dots(run: &Run, view: View) -> Vec<Dot> {
        let mut out = Vec::new();
        reduce(run, &run.series()[0], view, &mut out);
        out
    }

    #[test]
    fn a_single_peak_among_a_hundred_thousand_is_seen_wherever_one_looks() {
        let mut values = vec![1.0; 100_000];
        values[67_891] = 1000.0;
        values[3] = f64::NAN;
        let run = run(&values, |i| i as f64 * 10.0);
        for columns in [1, 7, 80, 400, 3000] {
            let view = View { axis: Axis::Step, from: 0.0, to: 999_990.0, columns };
            let dots = dots(&run, view);
            let peak = dots.iter().position(|d| d.max == 1000.0).unwrap();
            let want = view.column(678_910.0).unwrap();
            assert!(peak.abs_diff(want) <= 2, "{columns}: {peak} {want}");
            assert!(dots.iter().all(|d| d.min == 1.0));
        }
        let near = dots(&run, View { axis: Axis::Step, from: 678_900.0, to: 678_920.0, columns: 3 });
        assert_eq!(near.iter().map(|d| d.max).collect::<Vec<_>>(), [1.0, 1000.0, 1.0]);
        let series = &run.series()[0];
        assert_eq!(nearest(&run, series, Axis::Step, 678_912.0), Some((678_910.0, 1000.0)));
        assert_eq!(nearest(&run, series, Axis::Step, 1e9), Some((999_990.0, 1.0)));
    }

    #[test]
    fn a_run_that_went_back_shows_both_passes_and_the_crosshair_the_newer() {
        let values: Vec<f64> = (0..150).map(f64::from).collect();
        let run = run(&values, |i| if i < 100 { i as f64 } else { i as f64 - 50.0 });
        let dots = dots(&run, View { axis: Axis::Step, from: 0.0, to: 99.0, columns: 100 });
        assert_eq!((dots[60].min, dots[60].max), (60.0, 110.0));
        assert_eq!(nearest(&run, &run.series()[0], Axis::Step, 60.0), Some((60.0, 110.0)));
    }

    #[test]
    fn smoothing_follows_and_never_overshoots() {
        let dot = |mean: f64| Dot { min: mean, max: mean, mean, parts: 1 };
        let (mut out, dots) = (Vec::new(), [dot(1.0), Dot::EMPTY, dot(3.0), dot(3.0)]);
        smooth(&dots, 0.0, &mut out);
        assert_eq!((out[0], out[2], out[3]), (1.0, 3.0, 3.0));
        assert!(out[1].is_nan());
        smooth(&dots, 5.0, &mut out);
        assert!(out[0] == 1.0 && out[2] > 1.0 && out[2] < out[3] && out[3] < 3.0);
    }

    #[test]
    fn nothing_at_all_is_no_reason_to_fail() {
        let run = run(&[], |_| 0.0);
        let mut empty = Run::new("b", "test");
        empty.series_id("loss");
        for (run, series) in [(&run, &run.series()[0]), (&empty, &empty.series()[0])] {
            let mut out = Vec::new();
            for columns in [0, 3] {
                reduce(run, series, View { axis: Axis::Time, from: 0.0, to: 0.0, columns }, &mut out);
                assert!(out.iter().all(Dot::is_empty));
            }
            assert_eq!(nearest(run, series, Axis::Step, 0.0), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_peak_is_lost(n in 1usize..20_000, columns in 1usize..300, from in 0.0f64..1.0, width in 0.01f64..1.0) {
            let value = |i: usize| ((i * 7919) % 10_007) as f64;
            let values: Vec<f64> = (0..n).map(value).collect();
            let run = run(&values, |i| i as f64);
            let from = from * n as f64;
            let to = from + width * n as f64;
            let dots = dots(&run, View { axis: Axis::Step, from, to, columns });
            let seen = (0..n).filter(|i| (from..=to).contains(&(*i as f64))).map(value);
            let (low, high) = seen.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
            prop_assert_eq!(dots.iter().map(|d| d.min).fold(f64::INFINITY, f64::min), low);
            prop_assert_eq!(dots.iter().map(|d| d.max).fold(f64::NEG_INFINITY, f64::max), high);
        }
    }
}
