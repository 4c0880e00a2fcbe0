//! A 4-bit matrix times several int8 vectors with AVX-512 and VNNI.
//!
//! Thirty-two rows are unpacked once, side by side (a lane for each row), a few groups at a time so that
//! they stay in the first cache; then eight tokens at a time are multiplied with them. The integer sums
//! of a group stay in registers, the float sums in a tile of `tokens * 32`.

use core::arch::x86_64::*;
use std::ops::Range;

use super::q4::{Columns, Q4, Scratch};
use super::q4_avx512::{halves, transpose};
use crate::backend::cpu::quantised_rows::{Int8Row, QuantRows};

/// Rows side by side: two vectors.
const ROWS: usize = 32;
/// Tokens at a time.
const TOKENS: usize = 8;
/// Groups unpacked at a time: 16 KB.
pub(super) const GROUPS: usize = 8;
/// Bytes of one group of `ROWS` rows.
const TILE: usize = 64 * ROWS;

/// See `q4::matmul`.
///
/// # Safety
/// As there, and the machine must have AVX-512 F, BW, DQ, VL and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn matmul(w: &Q4<'_>, rows: Range<usize>, x: &QuantRows, out: Columns, scratch: &mut Scratch) {
    let tokens = x.rows();
    let padded = w.groups.next_multiple_of(16) * ROWS;
    // codes: GROUPS * 32 rows; scales, biases: groups * 32 rows; sums: tokens * 32 rows
    let [codes, scales, biases, sums] = scratch.pieces([GROUPS * TILE / 4, padded, padded, tokens * ROWS]);
    let codes: &mut [u8] = bytemuck::cast_slice_mut(codes);
    for first in rows.clone().step_by(ROWS) {
        let here = (rows.end - first).min(ROWS);
        // Past the end, the last row once more; its results are not stored.
        let row = |i: usize| first + i.min(here - 1);
        // SAFETY: the pieces have the sizes that these functions ask for.
        unsafe {
            rows_side_by_side(w.scales, w.groups, row, scales);
            rows_side_by_side(w.biases, w.groups, row, biases);
        }
        for block in (0..w.groups).step_by(GROUPS) {
            let groups = block..(block + GROUPS).min(w.groups);
            for half in 0..2 {
                // SAFETY: as above; the rows are in the matrix.
                unsafe { unpack(w, |i| row(half * 16 + i), groups.clone(), &mut codes[half * 64..]) };
            }
            let tile = Tile { codes, scales: &scales[block * ROWS..], biases: &biases[block * ROWS..], groups };
            let next = if tile.groups.end < w.groups { (first, tile.groups.end) } else { (first + ROWS, 0) };
            for t in (0..tokens).step_by(TOKENS) {
                prefetch(w, next, t / TOKENS, tokens.div_ceil(TOKENS));
                let sums = &mut sums[t * ROWS..];
                let x = |i: usize| x.row((t + i).min(tokens - 1));
                // SAFETY: the pieces have the sizes that these functions ask for.
                unsafe {
                    match tokens - t {
                        1 => tile.multiply::<1>(x, sums),
                        2 => tile.multiply::<2>(x, sums),
                        3 => tile.multiply::<3>(x, sums),
                        4 => tile.multiply::<4>(x, sums),
                        5 => tile.multiply::<5>(x, sums),
                        6 => tile.multiply::<6>(x, sums),
                        7 => tile.multiply::<7>(x, sums),
                        _ => tile.multiply::<TOKENS>(x, sums),
                    }
                }
            }
        }
        for (t, sums) in sums.chunks_exact(ROWS).enumerate() {
            // SAFETY: the caller answers for these rows at every token.
            unsafe { sums.as_ptr().copy_to_nonoverlapping(out.base.add(t * out.stride + first), here) };
        }
    }
}

/// A few groups of 32 rows.
struct Tile<'a> {
    /// For each group, 16 words of 4 codes (even inputs 8d.. for d < 8, then the odd) of 32 rows.
    codes: &'a [u8],
    /// `groups * 32`
    scales: &'a [f32],
    /// `groups * 32`
    biases: &'a [f32],
    groups: Range<usize>,
}

impl Tile<'_> {
    /// Adds the products with `N` tokens to `sums`, `N * 32`; the first groups of a row begin them.
    ///
    /// # Safety
    /// As of `matmul`; slices as long as they say, of lines of 64 bytes.
    #[inline]
    #[expect(clippy::needless_range_loop, reason = "several arrays share the index")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn multiply<'x, const N: usize>(&self, x: impl Fn(usize) -> Int8Row<'x>, sums: &mut [f32]) {
        let x: [Int8Row<'_>; N] = std::array::from_fn(x);
        assert!(sums.len() >= N * ROWS);
        if self.groups.start == 0 {
            sums[..N * ROWS].fill(0.0);
        }
        // A number that the compiler does not know: it would unroll the loop below, load all of it ahead
        // and run out of registers, at half the speed.
        let words = std::hint::black_box(8);
        for (i, g) in self.groups.clone().enumerate() {
            let q: [*const i8; N] = std::array::from_fn(|t| x[t].codes[g / 2 * 128 + g % 2 * 32..].as_ptr());
            let mut dots = [[_mm512_setzero_si512(); 2]; N];
            // SAFETY: a group has 16 words of 32 rows, and 8 even and 8 odd words of a token.
            unsafe {
                let codes = self.codes.as_ptr().add(i * TILE);
                for odd in 0..2 {
                    for d in 0..words {
                        let codes = codes.add((odd * 8 + d) * 4 * ROWS);
                        let (a, b) = (_mm512_load_si512(codes.cast()), _mm512_load_si512(codes.add(64).cast()));
                        for t in 0..N {
                            let q = _mm512_set1_epi32(q[t].add(odd * 64 + 4 * d).cast::<i32>().read_unaligned());
                            dots[t][0] = _mm512_dpbusd_epi32(dots[t][0], a, q);
                            dots[t][1] = _mm512_dpbusd_epi32(dots[t][1], b, q);
                        }
                    }
                }
                for half in 0..2 {
                    let scale = _mm512_load_ps(self.scales.as_ptr().add(i * ROWS + half * 16));
                    let bias = _mm512_load_ps(self.biases.as_ptr().add(i * ROWS + half * 16));
                    for t in 0..N {
                        let sum = sums.as_mut_ptr().add(t * ROWS + half * 16);
                        let a = _mm512_set1_ps(x[t].scales[g]);
                        let dot = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[t][half]), a);
                        let y = _mm512_fmadd_ps(dot, scale, _mm512_load_ps(sum));
                        _mm512_store_ps(sum, _mm512_fmadd_ps(bias, _mm512_set1_ps(x[t].sums[g]), y));
                    }
                }
            }
        }
    }
}

/// Unpacks `groups` of sixteen rows side by side: `out` has, for each group and word, 4 codes of 16 rows
/// and then 64 bytes for others.
///
/// # Safety
/// The machine must have AVX-512 F and BW; the rows must be in `w` and `out` as long as it must be.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack(w: &Q4<'_>, row: impl Fn(usize) -> usize, groups: Range<usize>, out: &mut [u8]) {
    let low = _mm512_set1_epi8(15);
    for g in groups.clone().step_by(2) {
        let mask = if g + 1 < w.groups { 0xffff } else { 0xff };
        let mut words = [_mm512_setzero_si512(); 16];
        for (i, word) in words.iter_mut().enumerate() {
            let at = (row(i) * w.groups + g) * 32;
            // SAFETY: a row has 32 bytes for each group; the mask leaves out a group that is not there.
            *word = unsafe { _mm512_maskz_loadu_epi32(mask, w.codes.as_ptr().add(at).cast()) };
        }
        let words = transpose(words);
        let ends = (groups.end - g).min(2);
        for (d, word) in words.iter().enumerate().take(8 * ends) {
            let at = (g - groups.start + d / 8) * TILE + d % 8 * 4 * ROWS;
            // SAFETY: `out` has `TILE` bytes for each group, less the 64 for others at the end.
            unsafe {
                let out = out.as_mut_ptr().add(at);
                _mm512_storeu_si512(out.cast(), _mm512_and_si512(*word, low));
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(*word), low);
                _mm512_storeu_si512(out.add(8 * 4 * ROWS).cast(), high);
            }
        }
    }
}

/// Fetches a part of the codes that will be unpacked next, from a row and group on, into the second
/// cache: part `part` of `parts`, so that it goes on beside the multiplying.
pub(super) fn prefetch(w: &Q4<'_>, (first, group): (usize, usize), part: usize, parts: usize) {
    for row in first + ROWS * part / parts..first + ROWS * (part + 1) / parts {
        let codes = w.codes.as_ptr().wrapping_add((row * w.groups + group) * 32);
        for line in 0..=GROUPS / 2 {
            // SAFETY: every x86-64 processor has it, and it may name any address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(codes.wrapping_add(line * 64).cast()) };
        }
    }
}

/// `out[g, i] = from[row(i), g]` for 32 rows, as f32.
///
/// # Safety
/// The machine must have AVX-512 F, BW and VL; the rows must be in `from`, and `out` must have 32 places
/// for each group and for a multiple of 16 groups.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn rows_side_by_side(
    from: &[half::f16],
    groups: usize,
    row: impl Fn(usize) -> usize,
    out: &mut [f32],
) {
    for block in (0..groups).step_by(16) {
        let mask = 0xffff_u16 >> (16 - (groups - block).min(16));
        for half in 0..2 {
            let mut values = [_mm512_setzero_si512(); 16];
            for (i, value) in values.iter_mut().enumerate() {
                // SAFETY: the mask leaves out what is past the row's end.
                let v = unsafe { halves(from.as_ptr().add(row(half * 16 + i) * groups + block), mask) };
                *value = _mm512_castps_si512(v);
            }
            for (g, value) in transpose(values).into_iter().enumerate() {
                // SAFETY: demanded above.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().add((block + g) * ROWS + half * 16).cast(), value) };
            }
        }
    }
}
