//! A 4-bit matrix times one int8 vector with AVX-512 and VNNI: what decoding is made of.
//!
//! Memory gives its best rate to one long stream, so long rows are read one after another: four of them
//! side by side reach a tenth less on an AMD EPYC. Short rows come from the caches or lie close together;
//! four at a time share the activations and the sums at the end. The prefetches go through the matrix in
//! the order of its bytes, a fixed distance ahead. Which distance is best depends on how busy the memory
//! is: 6 KB comes within a twentieth of the best of both kinds of moment, 2 KB costs a sixth.

use core::arch::x86_64::*;

use half::f16;

use super::q4::Q4;
use crate::backend::cpu::quantised_rows::{Int8Row, Line};

/// Short rows at a time.
const ROWS: usize = 4;
/// Groups of the longest row that is called short.
const SHORT: usize = 16;
/// Bytes from the rows that are read to the codes that are prefetched.
const AHEAD: usize = 6 << 10;
/// The same for scales and biases, in numbers.
const SCALES_AHEAD: usize = 640;

/// `out[i] = w[first + i] . x`
///
/// # Safety
/// The machine must have AVX-512 F, BW, DQ, VL and VNNI, and the rows must be in the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn matvec(w: &Q4<'_>, first: usize, x: Int8Row<'_>, out: &mut [f32]) {
    assert!(x.codes.len() >= w.groups.div_ceil(2) * 128 && x.scales.len() >= w.groups.div_ceil(16) * 16);
    let (short, long) = out.split_at_mut(if w.groups <= SHORT { out.len() / ROWS * ROWS } else { 0 });
    let mut row = first;
    for out in short.chunks_exact_mut(ROWS) {
        // SAFETY: the caller answers for the rows, the assertion for the activations.
        let y = unsafe { dots::<ROWS>(w, row, x) };
        out.copy_from_slice(&y);
        row += ROWS;
    }
    for out in long {
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
                _mm_prefetch::<_MM_HINT_T1>(w.scales.as_ptr().wrapping_add(at + SCALES_AHEAD).cast());
                _mm_prefetch::<_MM_HINT_T1>(w.biases.as_ptr().wrapping_add(at + SCALES_AHEAD).cast());
            }
            let codes = w.codes.as_ptr().add((row * n + block) * 32);
            let ahead = w.codes.as_ptr().wrapping_add(row * n * 32 + block * 32 * N + AHEAD);
            let q = x.codes.as_ptr().add(block * 64);
            let mut lanes = pair;
            for p in 0..here / 2 {
                let even = _mm512_loadu_si512(q.add(p * 128).cast());
                let odd = _mm512_loadu_si512(q.add(p * 128 + 64).cast());
                for r in 0..N {
                    let code = codes.add(r * n * 32 + p * 64);
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add((p * N + r) * 64).cast());
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
                    let code = codes.add(r * n * 32 + p * 64);
                    // Half a line, but of every second row nothing else names it: left out, an odd row
                    // waits for memory once in two rows, which costs a third of the rate.
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add((p * N + r) * 64).cast());
                    let code = _mm512_maskz_loadu_epi32(0xff, code.cast());
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

/// See `int8::side_by_side`; `rows` begins with the first row's line.
///
/// # Safety
/// The machine must have AVX-512 F; `count` rows, 16 at most, must be there.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn side_by_side(rows: &[Line], row_lines: usize, count: usize, first: usize, out: &mut [Line]) {
    let mut v = [_mm512_setzero_si512(); 16];
    for (i, v) in v.iter_mut().enumerate().take(count) {
        // SAFETY: a line has 64 bytes, and the caller says that this one is there.
        *v = unsafe { _mm512_load_si512(rows.as_ptr().add(i * row_lines).cast()) };
    }
    for (v, line) in transpose(v).into_iter().skip(first).zip(out) {
        // SAFETY: a line has 64 bytes.
        unsafe { _mm512_store_si512((&raw mut *line).cast(), v) };
    }
}

/// See `int8::quantise_row`.
///
/// # Safety
/// The machine must have AVX-512 F, BW, DQ and VL; the slices must be as long as there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn quantise(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    for (g, x) in x.chunks(64).enumerate() {
        let mut v = [_mm512_setzero_ps(); 4];
        let mut largest = _mm512_setzero_si512();
        for (i, v) in v.iter_mut().enumerate() {
            let mask = 0xffff_u32.checked_shr(16 - x.len().saturating_sub(i * 16).min(16) as u32);
            // SAFETY: the mask leaves out what is past the end.
            *v = unsafe { _mm512_maskz_loadu_ps(mask.unwrap_or(0) as u16, x.as_ptr().wrapping_add(i * 16)) };
            // The bits of positive floats are in the order of the floats; a NaN is above them all.
            let bits = _mm512_and_si512(_mm512_castps_si512(*v), _mm512_set1_epi32(0x7fff_ffff));
            largest = _mm512_max_epi32(largest, bits);
        }
        let largest = f32::from_bits(_mm512_reduce_max_epi32(largest).cast_unsigned());
        let inverse = _mm512_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let mut sum = _mm512_setzero_si512();
        for (i, v) in v.iter().enumerate() {
            let code = _mm512_cvtps_epi32(_mm512_mul_ps(*v, inverse));
            sum = _mm512_add_epi32(sum, code);
            // SAFETY: a pair of groups has 128 codes: the even ones of both, then the odd ones.
            unsafe {
                let to = codes.as_mut_ptr().add(g / 2 * 128 + g % 2 * 32 + i * 8);
                _mm_storel_epi64(to.cast(), _mm512_cvtepi64_epi8(code));
                _mm_storel_epi64(to.add(64).cast(), _mm512_cvtepi64_epi8(_mm512_srli_epi64::<32>(code)));
            }
        }
        scales[g] = largest / 127.0;
        sums[g] = scales[g] * _mm512_reduce_add_epi32(sum) as f32;
    }
}
