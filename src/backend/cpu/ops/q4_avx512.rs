//! A 4-bit matrix times one int8 vector with AVX-512 and VNNI: what decoding is made of.
//!
//! Four rows at a time, so that the activations are loaded once for them, and each row prefetches the
//! same place four rows on: a shorter distance halves the rate from memory.

use core::arch::x86_64::*;

use half::f16;

use super::q4::Q4;
use crate::backend::cpu::quantised_rows::Int8Row;

/// Rows at a time.
const ROWS: usize = 4;

/// `out[i] = w[first + i] . x`
///
/// # Safety
/// The machine must have AVX-512 F, BW, DQ, VL and VNNI, and the rows must be in the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn matvec(w: &Q4<'_>, first: usize, x: Int8Row<'_>, out: &mut [f32]) {
    assert!(x.codes.len() >= w.groups.div_ceil(2) * 128 && x.scales.len() >= w.groups.div_ceil(16) * 16);
    let mut row = first;
    let mut fours = out.chunks_exact_mut(ROWS);
    for out in &mut fours {
        // SAFETY: the caller answers for the rows, the assertion for the activations.
        let y = unsafe { dots::<ROWS>(w, row, x) };
        out.copy_from_slice(&y);
        row += ROWS;
    }
    for out in fours.into_remainder() {
        // SAFETY: as above.
        [*out] = unsafe { dots::<1>(w, row, x) };
        row += 1;
    }
}

/// `N` rows from `row`.
///
/// # Safety
/// As of `matvec`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dots<const N: usize>(w: &Q4<'_>, row: usize, x: Int8Row<'_>) -> [f32; N] {
    let n = w.groups;
    let low = _mm512_set1_epi8(15);
    // Lanes of one group, then of the next.
    let pair = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    let mut sums = [_mm512_setzero_ps(); N];
    let mut bias = [_mm512_setzero_ps(); N];
    let mut scale = [_mm512_setzero_ps(); N];
    for block in (0..n).step_by(16) {
        let here = (n - block).min(16);
        let mask = 0xffff_u16 >> (16 - here);
        // SAFETY: the masked loads stay inside each row's scales, biases and codes; the activations are
        // padded to whole pairs and sixteens. A prefetch may name any address.
        unsafe {
            let a = _mm512_loadu_ps(x.scales.as_ptr().add(block));
            let s = _mm512_loadu_ps(x.sums.as_ptr().add(block));
            for r in 0..N {
                let at = (row + r) * n + block;
                scale[r] = _mm512_mul_ps(halves(w.scales.as_ptr().add(at), mask), a);
                bias[r] = _mm512_fmadd_ps(halves(w.biases.as_ptr().add(at), mask), s, bias[r]);
                _mm_prefetch::<_MM_HINT_T0>(w.scales.as_ptr().wrapping_add(at + N * n).cast());
                _mm_prefetch::<_MM_HINT_T0>(w.biases.as_ptr().wrapping_add(at + N * n).cast());
            }
            let codes = w.codes.as_ptr().add((row * n + block) * 32);
            let q = x.codes.as_ptr().add(block * 64);
            let mut lanes = pair;
            for p in 0..here / 2 {
                let even = _mm512_loadu_si512(q.add(p * 128).cast());
                let odd = _mm512_loadu_si512(q.add(p * 128 + 64).cast());
                for r in 0..N {
                    let code = codes.add(r * n * 32 + p * 64);
                    _mm_prefetch::<_MM_HINT_T0>(code.wrapping_add(N * n * 32).cast());
                    let code = _mm512_loadu_si512(code.cast());
                    let dot = both(code, even, odd, low);
                    sums[r] = _mm512_fmadd_ps(dot, _mm512_permutexvar_ps(lanes, scale[r]), sums[r]);
                }
                lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
            }
            if here % 2 == 1 {
                let p = here / 2;
                let even = _mm512_loadu_si512(q.add(p * 128).cast());
                let odd = _mm512_loadu_si512(q.add(p * 128 + 64).cast());
                for r in 0..N {
                    let code = _mm512_maskz_loadu_epi32(0xff, codes.add(r * n * 32 + p * 64).cast());
                    let dot = both(code, even, odd, low);
                    sums[r] = _mm512_fmadd_ps(dot, _mm512_permutexvar_ps(lanes, scale[r]), sums[r]);
                }
            }
        }
    }
    let mut y = [0.0; N];
    for r in 0..N {
        y[r] = _mm512_reduce_add_ps(_mm512_add_ps(sums[r], bias[r]));
    }
    y
}

/// Low nibbles times `even` plus high nibbles times `odd`, in sums of eight products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn both(code: __m512i, even: __m512i, odd: __m512i, low: __m512i) -> __m512 {
    let dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_and_si512(code, low), even);
    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(code), low);
    _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(dot, high, odd))
}

/// The halves that `mask` names, as floats; the rest are zeros.
///
/// # Safety
/// Those halves must be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn halves(from: *const f16, mask: u16) -> __m512 {
    // SAFETY: demanded above.
    _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) })
}

/// Turns rows into columns: lane `i` of vector `j` becomes lane `j` of vector `i`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(v: [__m512i; 16]) -> [__m512i; 16] {
    let mut a = v;
    // 2 x 2 blocks of words, then of double words, then of 128-bit quarters, twice.
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    let mut b = a;
    for i in 0..4 {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    // Now quarter q of b[4 i + j] holds column 4 q + j of rows 4 i to 4 i + 3.
    let mut out = b;
    for j in 0..4 {
        let x = _mm512_shuffle_i32x4::<0x88>(b[j], b[4 + j]);
        let y = _mm512_shuffle_i32x4::<0x88>(b[8 + j], b[12 + j]);
        out[j] = _mm512_shuffle_i32x4::<0x88>(x, y);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(x, y);
        let x = _mm512_shuffle_i32x4::<0xdd>(b[j], b[4 + j]);
        let y = _mm512_shuffle_i32x4::<0xdd>(b[8 + j], b[12 + j]);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(x, y);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(x, y);
    }
    out
}
