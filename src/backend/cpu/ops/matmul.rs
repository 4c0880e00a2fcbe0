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
                        if rows == M && cols == width {
                            for (r, sums) in sums.iter().enumerate() {
                                write(*sums, &mut out.row(row + r)[col..col + width], add, factor);
                            }
                        } else {
                            // A copy, so that whole tiles need not leave the registers.
                            let spilled = sums;
                            write_edge(&spilled[..rows], out, (row, col, cols), add, factor);
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
fn write<V: Vector>(sums: [V; VECTORS], out: &mut [f32], add: bool, factor: f32) {
    for (v, sum) in sums.into_iter().enumerate() {
        let to = &mut out[v * V::LANES..];
        let scaled = sum.mul(V::splat(factor));
        if add { V::load(to).add(scaled) } else { scaled }.store(to);
    }
}

/// The part of a tile that lies within the matrix: some rows, and some columns from the first.
#[inline(always)]
fn write_edge<V: Vector>(
    tile: &[[V; VECTORS]],
    out: &mut ColumnBlock<'_>,
    (row, col, cols): (usize, usize, usize),
    add: bool,
    factor: f32,
) {
    for (r, sums) in tile.iter().enumerate() {
        let mut line = [0.0f32; VECTORS * 16];
        write(*sums, &mut line, false, factor);
        for (out, sum) in out.row(row + r)[col..col + cols].iter_mut().zip(line) {
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
                let line = &from.data[row + (k0 + k) * from.along..];
                // A copy of a length that is known is a few instructions, another one a call.
                if rows == width {
                    to.copy_from_slice(&line[..width])
                } else {
                    to[..rows].copy_from_slice(&line[..rows])
                }
            }
            continue;
        }
        let line = |r: usize| &from.data[(row + r) * from.down + k0 * from.along..];
        let mut r = 0;
        if from.along == 1 {
            while r + 4 <= rows {
                across([0, 1, 2, 3].map(|i| &line(r + i)[..depth]), width, &mut panel[r..]);
                r += 4;
            }
        }
        for r in r..rows {
            let line = line(r);
            for k in 0..depth {
                panel[k * width + r] = line[k * from.along];
            }
        }
    }
}

/// Number `k` of row `r` to `to[k * width + r]`: four by four, where the compiler would gather one by one.
#[inline(always)]
fn across(rows: [&[f32]; 4], width: usize, to: &mut [f32]) {
    let count = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == count) && (count == 0 || to.len() >= (count - 1) * width + 4));
    let mut k = 0;
    #[cfg(target_arch = "x86_64")]
    while k + 4 <= count {
        use std::arch::x86_64::*;
        // SAFETY: SSE is part of the architecture; rows and places were checked above.
        unsafe {
            let [a, b, c, d] = rows.map(|row| _mm_loadu_ps(row.as_ptr().add(k)));
            let (ab_low, ab_high) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
            let to = to.as_mut_ptr().add(k * width);
            _mm_storeu_ps(to, _mm_movelh_ps(ab_low, cd_low));
            _mm_storeu_ps(to.add(width), _mm_movehl_ps(cd_low, ab_low));
            _mm_storeu_ps(to.add(2 * width), _mm_movelh_ps(ab_high, cd_high));
            _mm_storeu_ps(to.add(3 * width), _mm_movehl_ps(cd_high, ab_high));
        }
        k += 4;
    }
    for k in k..count {
        to[k * width..][..4].copy_from_slice(&rows.map(|row| row[k]));
    }
}
