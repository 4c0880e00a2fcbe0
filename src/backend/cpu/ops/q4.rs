//! 4-bit weights times int8 activations: what the kernels share, and the choice among them.
//!
//! For a row of weights `w = s_g * code + b_g` and activations `x = a_g * q`, groups `g` of 64:
//!
//! ```text
//! y = sum_g s_g a_g (sum_i code_i q_i) + sum_g b_g (a_g sum_i q_i)
//! ```
//!
//! The inner sums are integers and exact.

use std::ops::Range;

use bytemuck::Zeroable;
use half::f16;

use super::int8::Int8;
use crate::backend::cpu::quantised_rows::{Int8Row, Line, QuantRows};

/// Rows of an affine 4-bit matrix with groups of 64 and scales in f16.
#[derive(Clone, Copy)]
pub(crate) struct Q4<'a> {
    /// `rows * groups * 32` bytes: input `2 i` in the low nibble of byte `i`, `2 i + 1` in the high one.
    pub(crate) codes: &'a [u8],
    /// `rows * groups`.
    pub(crate) scales: &'a [f16],
    /// `rows * groups`.
    pub(crate) biases: &'a [f16],
    /// Groups in a row.
    pub(crate) groups: usize,
}

impl<'a> Q4<'a> {
    /// A row's codes, scales and biases.
    pub(super) fn row(&self, row: usize) -> (&'a [u8], &'a [f16], &'a [f16]) {
        let n = self.groups;
        (&self.codes[row * n * 32..][..n * 32], &self.scales[row * n..][..n], &self.biases[row * n..][..n])
    }

    /// Rows in it.
    pub(super) fn rows(&self) -> usize {
        self.scales.len() / self.groups.max(1)
    }
}

/// Where a matrix product puts its columns: `out[token * stride + row]`.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    /// Element (0, 0).
    pub(crate) base: *mut f32,
    /// Elements from one token to the next.
    pub(crate) stride: usize,
}

/// Aligned memory of one thread, kept between tasks.
#[derive(Default)]
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// `N` pieces of the lengths given, in f32, each on a cache line of its own. What they hold is left
    /// over from before.
    pub(crate) fn pieces<const N: usize>(&mut self, lens: [usize; N]) -> [&mut [f32]; N] {
        let lines: usize = lens.iter().map(|len| len.div_ceil(16)).sum();
        if self.0.len() < lines {
            self.0.resize(lines, Line::zeroed());
        }
        let mut rest = &mut self.0[..];
        lens.map(|len| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(len.div_ceil(16));
            rest = after;
            &mut bytemuck::cast_slice_mut(piece)[..len]
        })
    }
}

/// `out[i] = w[first + i] . x`
pub(crate) fn matvec(int8: Int8, w: &Q4<'_>, first: usize, x: Int8Row<'_>, out: &mut [f32]) {
    assert!(first + out.len() <= w.rows() && x.scales.len() >= w.groups);
    match int8 {
        // SAFETY: `int8` names a kind that the machine has; the rows are inside the matrix.
        #[cfg(target_arch = "x86_64")]
        Int8::Vnni | Int8::Amx => unsafe { super::q4_avx512::matvec(w, first, x, out) },
        #[cfg(target_arch = "x86_64")]
        Int8::Avx2 => {
            for (i, out) in out.iter_mut().enumerate() {
                // SAFETY: as above.
                [*out] = unsafe { super::q4_avx2::dots(w, first + i, [x]) };
            }
        }
        #[cfg(target_arch = "aarch64")]
        Int8::Neon => {
            for (i, out) in out.iter_mut().enumerate() {
                [*out] = super::q4_neon::dots(w, first + i, [x]);
            }
        }
        _ => {
            for (i, out) in out.iter_mut().enumerate() {
                *out = dot(w, first + i, x);
            }
        }
    }
}

/// `out[t, i] = w[i] . x[t]` for the rows `i` given and all tokens of `x`.
///
/// # Safety
/// `out` must be writable at those rows for every token of `x`, and nobody else may touch them.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only tiles need scratch"))]
pub(crate) unsafe fn matmul(
    int8: Int8,
    w: &Q4<'_>,
    rows: Range<usize>,
    x: &QuantRows,
    out: Columns,
    scratch: &mut Scratch,
) {
    assert!(rows.end <= w.rows() && x.cols().div_ceil(64) == w.groups);
    match int8 {
        // SAFETY: `int8` names a kind that the machine has; the caller answers for `out`.
        #[cfg(target_arch = "x86_64")]
        Int8::Amx if x.tiles(0).is_some() => unsafe { super::q4_amx::matmul(w, rows, x, out, scratch) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Int8::Amx | Int8::Vnni => unsafe { super::q4_vnni_matmul::matmul(w, rows, x, out, scratch) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Int8::Avx2 => unsafe { by_dots(rows, x, out, |row, x| super::q4_avx2::dots::<4>(w, row, x)) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Int8::Neon => unsafe { by_dots(rows, x, out, |row, x| super::q4_neon::dots::<4>(w, row, x)) },
        // SAFETY: as above.
        _ => unsafe { by_dots(rows, x, out, |row, x: [_; 1]| x.map(|x| dot(w, row, x))) },
    }
}

/// A matrix product out of dot products of one row with `N` tokens.
///
/// # Safety
/// As of `matmul`.
unsafe fn by_dots<const N: usize>(
    rows: Range<usize>,
    x: &QuantRows,
    out: Columns,
    dots: impl Fn(usize, [Int8Row<'_>; N]) -> [f32; N],
) {
    let tokens = x.rows();
    for row in rows {
        for first in (0..tokens).step_by(N) {
            // Past the end, the last token once more: it gives the same value again.
            let token = |i: usize| (first + i).min(tokens - 1);
            let y = dots(row, std::array::from_fn(|i| x.row(token(i))));
            for (i, y) in y.into_iter().enumerate() {
                // SAFETY: the caller answers for these rows at every token.
                unsafe { out.base.add(token(i) * out.stride + row).write(y) };
            }
        }
    }
}

/// One row with one token: the reference.
fn dot(w: &Q4<'_>, row: usize, x: Int8Row<'_>) -> f32 {
    let (codes, scales, biases) = w.row(row);
    let mut y = 0.0;
    for (g, codes) in codes.chunks_exact(32).enumerate() {
        let q = &x.codes[g / 2 * 128 + g % 2 * 32..];
        let mut sum = 0;
        for (i, code) in codes.iter().enumerate() {
            sum += i32::from(code & 15) * i32::from(q[i]) + i32::from(code >> 4) * i32::from(q[64 + i]);
        }
        y += scales[g].to_f32() * x.scales[g] * sum as f32 + biases[g].to_f32() * x.sums[g];
    }
    y
}
