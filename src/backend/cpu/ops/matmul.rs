//! Products of f32 matrices on one thread.
//!
//! Blocks of both matrices are copied into panels that are read in order, then a tile of the result at a time is
//! summed in registers. Every number of the result is summed over the same stretches in the same order, wherever
//! in the matrix it stands: how a product is split over threads changes no bit.

use super::vector::{Vector, per_level};
use crate::backend::cpu::split::ColumnBlock;

/// A matrix somewhere in memory, read in any direction.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// From one row to the next.
    down: usize,
    /// From one column to the next.
    along: usize,
}

impl<'a> View<'a> {
    /// Rows one after the other.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "{rows} x {cols}");
        Self { data, rows, cols, down: cols, along: 1 }
    }

    /// The same with rows for columns.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.cols, cols: self.rows, down: self.along, along: self.down, ..self }
    }

    /// Some of the rows.
    pub(crate) fn rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        let start = (rows.start * self.down).min(self.data.len());
        Self { data: &self.data[start..], rows: rows.len(), ..self }
    }

    /// Some of the columns.
    pub(crate) fn cols(self, cols: std::ops::Range<usize>) -> Self {
        self.transposed().rows(cols).transposed()
    }

    /// One row, where rows lie one after the other.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        assert!(self.along == 1 && row < self.rows);
        &self.data[row * self.down..][..self.cols]
    }
}

/// Summands of a stretch: a panel of the right matrix then lies in the first cache.
const DEPTH: usize = 256;
/// Rows of the left matrix that are packed at once, a multiple of every tile's: for the second cache.
const HIGH: usize = 240;
/// Columns of the right matrix that are packed at once.
const WIDE: usize = 1024;
/// Tiles are this many vectors wide.
const VECTORS: usize = 2;
/// Numbers that are packed across at once.
const SQUARE: usize = 16;

per_level! {
    /// `out = factor * a b`, or `out += factor * a b`. `packed` is memory that is used again.
    pub(crate) fn matmul(
        out: &mut ColumnBlock<'_>,
        a: View<'_>,
        b: View<'_>,
        add: bool,
        factor: f32,
        packed: &mut Vec<f32>,
    ) = matmul_body;
}

#[inline(always)]
fn matmul_body<V: Vector>(
    out: &mut ColumnBlock<'_>,
    a: View<'_>,
    b: View<'_>,
    add: bool,
    factor: f32,
    packed: &mut Vec<f32>,
) {
    // As many rows as registers hold sums for: AVX2 has sixteen, the others twice as many.
    if V::LANES == 8 {
        blocks::<V, 6>(out, a, b, add, factor, packed);
    } else {
        blocks::<V, 12>(out, a, b, add, factor, packed);
    }
}

#[inline(always)]
fn blocks<V: Vector, const M: usize>(
    out: &mut ColumnBlock<'_>,
    a: View<'_>,
    b: View<'_>,
    mut add: bool,
    factor: f32,
    packed: &mut Vec<f32>,
) {
    assert_eq!(a.cols, b.rows);
    let (m, n, k, width) = (a.rows, b.cols, a.cols, VECTORS * V::LANES);
    if k == 0 && !add {
        (0..m).for_each(|i| out.row(i)[..n].fill(0.0));
    }
    let room = DEPTH * (HIGH + WIDE.next_multiple_of(width));
    if packed.len() < room {
        packed.resize(room, 0.0);
    }
    let (packed_a, packed_b) = packed.split_at_mut(DEPTH * HIGH);
    for k0 in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - k0);
        for n0 in (0..n).step_by(WIDE) {
            let wide = WIDE.min(n - n0);
            pack(b.transposed(), n0, wide, k0, depth, width, packed_b);
            for m0 in (0..m).step_by(HIGH) {
                let high = HIGH.min(m - m0);
                pack(a, m0, high, k0, depth, M, packed_a);
                for (j, panel_b) in packed_b.chunks_exact(depth * width).take(wide.div_ceil(width)).enumerate() {
                    for (i, panel_a) in packed_a.chunks_exact(depth * M).take(high.div_ceil(M)).enumerate() {
                        let sums = tile::<V, M>(panel_a, panel_b);
                        let (row, rows) = (m0 + i * M, M.min(high - i * M));
                        let (col, cols) = (n0 + j * width, width.min(wide - j * width));
                        for (r, sums) in sums.iter().enumerate().take(rows) {
                            write(sums, &mut out.row(row + r)[col..col + cols], add, factor);
                        }
                    }
                }
            }
        }
        add = true;
    }
}

/// A tile's sums over one stretch.
#[inline(always)]
fn tile<V: Vector, const M: usize>(a: &[f32], b: &[f32]) -> [[V; VECTORS]; M] {
    let mut sums = [[V::splat(0.0); VECTORS]; M];
    for (a, b) in a.chunks_exact(M).zip(b.chunks_exact(VECTORS * V::LANES)) {
        let (left, right) = (V::load(b), V::load(&b[V::LANES..]));
        for i in 0..M {
            let a = V::splat(a[i]);
            sums[i] = [left.fma(a, sums[i][0]), right.fma(a, sums[i][1])];
        }
    }
    sums
}

/// One row of a tile to where it belongs.
#[inline(always)]
fn write<V: Vector>(sums: &[V; VECTORS], out: &mut [f32], add: bool, factor: f32) {
    let mut edge = [0.0f32; 2 * SQUARE];
    let whole = out.len() == VECTORS * V::LANES;
    let to = if whole { &mut *out } else { &mut edge[..] };
    for (v, sum) in sums.iter().enumerate() {
        let to = &mut to[v * V::LANES..];
        let scaled = sum.mul(V::splat(factor));
        // At an edge, what is there is added below.
        if add && whole { V::load(to).add(scaled) } else { scaled }.store(to);
    }
    if !whole {
        for (out, sum) in out.iter_mut().zip(edge) {
            *out = if add { *out + sum } else { sum };
        }
    }
}

/// Rows from `first` in panels of `width`, each going along `depth` columns: `(panel, column, row)`, with zeros
/// where rows are missing.
#[inline(always)]
fn pack(from: View<'_>, first: usize, count: usize, k0: usize, depth: usize, width: usize, to: &mut [f32]) {
    for (p, panel) in to.chunks_exact_mut(depth * width).take(count.div_ceil(width)).enumerate() {
        let row = first + p * width;
        let rows = width.min(count - p * width);
        if rows < width {
            panel.fill(0.0);
        }
        if from.down == 1 {
            for (k, to) in panel.chunks_exact_mut(width).enumerate() {
                to[..rows].copy_from_slice(&from.data[row + (k0 + k) * from.along..][..rows]);
            }
            continue;
        }
        // A square at a time, so that what is read and what is written both stay near.
        for (s, square) in panel.chunks_mut(SQUARE * width).enumerate() {
            for r in 0..rows {
                let start = (row + r) * from.down + (k0 + s * SQUARE) * from.along;
                if from.along == 1 {
                    let line = &from.data[start..][..square.len() / width];
                    for (to, v) in square.chunks_exact_mut(width).zip(line) {
                        to[r] = *v;
                    }
                } else {
                    for (k, to) in square.chunks_exact_mut(width).enumerate() {
                        to[r] = from.data[start + k * from.along];
                    }
                }
            }
        }
    }
}
