//! Activations as bytes, for the fast path: `x = scale * code`, a scale for each group of 64.

use bytemuck::{Pod, Zeroable};

use super::linear::Compute;
use super::ops::Level;
use super::ops::int8::{self, Int8, quantise_row};

/// Inputs that share a scale.
pub const GROUP: usize = 64;

/// Rows that are kept, and tiled, together.
pub(super) const BLOCK: usize = 16;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; 16]);

// SAFETY: sixteen floats without padding; all bits zero are zeros.
unsafe impl Zeroable for Line {}
// SAFETY: as above, and every pattern of bits is a float.
unsafe impl Pod for Line {}

/// Rows of activations in int8, in the order in which the 4-bit kernels read them: the low nibbles of a
/// matrix hold the even inputs and the high ones the odd, so these are split alike. The buffer grows to
/// what is asked of it and stays so.
///
/// Rows are kept in blocks of 16, one after another. A block of `r` rows holds
///
/// | part | 64-byte lines | |
/// |---|---|---|
/// | codes | r × 2 × pairs | for each pair of groups: 32 even inputs of the first, of the second, then the odd ones |
/// | scales | r × ceil(groups / 16) | f32, zeros after the last |
/// | sums | the same | scale × sum of the codes, for the biases of the weights |
/// | tiles | groups × 16 | only for AMX: line `d` of a group has 4 codes (even inputs 8d.. for d < 8, then the odd) of each of 16 rows |
/// | tiled scales, tiled sums | groups each | only for AMX: of 16 rows |
#[derive(Default)]
pub struct QuantRows {
    lines: Vec<Line>,
    rows: usize,
    cols: usize,
    tiled: bool,
}

/// One row, as the kernels read it.
#[derive(Clone, Copy)]
pub(super) struct Int8Row<'a> {
    /// `128 * pairs` codes.
    pub(super) codes: &'a [i8],
    /// One for each group, zeros up to a multiple of 16.
    pub(super) scales: &'a [f32],
    /// Scale times the sum of the codes, as many as scales.
    pub(super) sums: &'a [f32],
}

/// Sixteen rows side by side, as the AMX kernel reads them.
#[derive(Clone, Copy)]
pub(super) struct Int8Tiles<'a> {
    /// `groups * 16 * 16 * 4` codes.
    pub(super) codes: &'a [i8],
    /// `groups * 16`.
    pub(super) scales: &'a [f32],
    /// `groups * 16`.
    pub(super) sums: &'a [f32],
}

/// Where the parts of a block of `rows` rows begin, in lines.
struct Layout {
    groups: usize,
    /// Lines of codes of one row.
    codes: usize,
    /// Lines of scales of one row.
    scales: usize,
    rows: usize,
    tiled: bool,
}

impl Layout {
    fn scales_at(&self) -> usize {
        self.rows * self.codes
    }
    fn sums_at(&self) -> usize {
        self.scales_at() + self.rows * self.scales
    }
    fn tiles_at(&self) -> usize {
        self.sums_at() + self.rows * self.scales
    }
    fn tiled_scales_at(&self) -> usize {
        self.tiles_at() + if self.tiled { 16 * self.groups } else { 0 }
    }
    fn tiled_sums_at(&self) -> usize {
        self.tiled_scales_at() + if self.tiled { self.groups } else { 0 }
    }
    fn lines(&self) -> usize {
        self.tiled_sums_at() + if self.tiled { self.groups } else { 0 }
    }
}

impl QuantRows {
    /// Takes `x`, `rows` rows of `cols` values.
    pub fn quantise(&mut self, cx: &Compute, x: &[f32], rows: usize, cols: usize) {
        assert_eq!(x.len(), rows * cols);
        (self.rows, self.cols) = (rows, cols);
        self.tiled = cx.int8 == Int8::Amx && rows > 1;
        let layout = self.layout();
        let lines = layout.lines() * rows.div_ceil(BLOCK);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::zeroed());
        }
        let level = cx.level;
        cx.pool.split(&mut self.lines[..lines], layout.lines().max(1), 1, |block, lines| {
            let first = block * BLOCK;
            let here = layout.rows.min(rows - first);
            quantise_block(level, &layout, &x[first * cols..(first + here) * cols], cols, lines);
        });
    }

    fn layout(&self) -> Layout {
        let groups = self.cols.div_ceil(GROUP);
        Layout {
            groups,
            codes: 2 * groups.div_ceil(2),
            scales: groups.div_ceil(16),
            rows: self.rows.min(BLOCK),
            tiled: self.tiled,
        }
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of the buffer.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }

    /// The row `row`.
    pub(super) fn row(&self, row: usize) -> Int8Row<'_> {
        assert!(row < self.rows);
        let layout = self.layout();
        let block = &self.lines[row / BLOCK * layout.lines()..][..layout.lines()];
        let row = row % BLOCK;
        Int8Row {
            codes: bytemuck::cast_slice(&block[row * layout.codes..][..layout.codes]),
            scales: bytemuck::cast_slice(&block[layout.scales_at() + row * layout.scales..][..layout.scales]),
            sums: bytemuck::cast_slice(&block[layout.sums_at() + row * layout.scales..][..layout.scales]),
        }
    }

    /// Rows `16 * block` and on, tiled. There are none for a single row or without AMX.
    pub(super) fn tiles(&self, block: usize) -> Option<Int8Tiles<'_>> {
        if !self.tiled {
            return None;
        }
        let layout = self.layout();
        let lines = &self.lines[block * layout.lines()..][..layout.lines()];
        Some(Int8Tiles {
            codes: bytemuck::cast_slice(&lines[layout.tiles_at()..][..16 * layout.groups]),
            scales: bytemuck::cast_slice(&lines[layout.tiled_scales_at()..][..layout.groups]),
            sums: bytemuck::cast_slice(&lines[layout.tiled_sums_at()..][..layout.groups]),
        })
    }
}

fn quantise_block(level: Level, layout: &Layout, x: &[f32], cols: usize, lines: &mut [Line]) {
    lines.fill(Line::zeroed());
    let (codes, rest) = lines.split_at_mut(layout.scales_at());
    let (scales, rest) = rest.split_at_mut(layout.sums_at() - layout.scales_at());
    let (sums, rest) = rest.split_at_mut(layout.tiles_at() - layout.sums_at());
    for (row, x) in x.chunks_exact(cols.max(1)).enumerate() {
        quantise_row(
            level,
            x,
            bytemuck::cast_slice_mut(&mut codes[row * layout.codes..][..layout.codes]),
            bytemuck::cast_slice_mut(&mut scales[row * layout.scales..][..layout.scales]),
            bytemuck::cast_slice_mut(&mut sums[row * layout.scales..][..layout.scales]),
        );
    }
    if !layout.tiled {
        return;
    }
    let (tiles, rest) = rest.split_at_mut(16 * layout.groups);
    let (tiled_scales, tiled_sums) = rest.split_at_mut(layout.groups);
    int8::tile_codes(codes, layout.codes, tiles);
    int8::tile_floats(scales, layout.scales, tiled_scales);
    int8::tile_floats(sums, layout.scales, &mut tiled_sums[..layout.groups]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::linear::test_data::{computes, random};

    #[test]
    fn codes_times_scales_give_the_values() {
        for cx in computes(2) {
            for (rows, cols) in [(1, 64), (1, 192), (3, 128), (37, 320)] {
                let x = random(rows as u64, rows * cols);
                let mut q = QuantRows::default();
                q.quantise(&cx, &x, rows, cols);
                for (r, want) in x.chunks(cols).enumerate() {
                    let row = q.row(r);
                    for (i, v) in want.iter().enumerate() {
                        let (g, k) = (i / 64, i % 64);
                        let at = g / 2 * 128 + k % 2 * 64 + g % 2 * 32 + k / 2;
                        let got = f32::from(row.codes[at]) * row.scales[g];
                        assert!((got - v).abs() <= row.scales[g] * 0.5001, "{r} {i}: {got} {v}");
                        if let Some(tiles) = q.tiles(r / 16) {
                            let d = k / 8 + k % 2 * 8;
                            let code = tiles.codes[((g * 16 + d) * 16 + r % 16) * 4 + k % 8 / 2];
                            assert_eq!(code, row.codes[at]);
                            assert_eq!(tiles.scales[g * 16 + r % 16], row.scales[g]);
                            assert_eq!(tiles.sums[g * 16 + r % 16], row.sums[g]);
                        }
                    }
                    for (g, x) in row.codes.chunks(128).zip(0..) {
                        let sum: i32 =
                            g.iter().enumerate().filter(|(i, _)| i % 64 < 32).map(|(_, c)| i32::from(*c)).sum();
                        assert!((row.sums[2 * x] - row.scales[2 * x] * sum as f32).abs() < 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn a_smaller_job_after_a_larger_one_reads_nothing_stale() {
        let cx = &computes(1)[0];
        let mut q = QuantRows::default();
        q.quantise(cx, &random(1, 40 * 640), 40, 640);
        let bytes = q.bytes();
        q.quantise(cx, &random(2, 64), 1, 64);
        assert_eq!(q.bytes(), bytes);
        let row = q.row(0);
        assert!(row.scales[1..].iter().chain(&row.sums[1..]).all(|v| *v == 0.0));
        assert!(row.codes[32..64].iter().chain(&row.codes[96..]).all(|v| *v == 0));
    }

    #[test]
    fn zeros_and_what_is_not_a_number() {
        for cx in computes(1) {
            let mut q = QuantRows::default();
            q.quantise(&cx, &[0.0; 64], 1, 64);
            assert_eq!(q.row(0).scales[0], 0.0);
            let mut x = [1.0; 64];
            x[5] = f32::NAN;
            q.quantise(&cx, &x, 1, 64);
            assert!(q.row(0).scales[0].is_nan(), "a fault must not be hidden");
        }
    }
}
