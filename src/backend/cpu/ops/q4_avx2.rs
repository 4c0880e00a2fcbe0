//! 4-bit weights times int8 activations with AVX2.

use core::arch::x86_64::*;

use super::q4::Q4;
use crate::backend::cpu::quantised_rows::Int8Row;

/// One row with `N` tokens.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dots<const N: usize>(w: &Q4<'_>, row: usize, x: [Int8Row<'_>; N]) -> [f32; N] {
    let (codes, scales, biases) = w.row(row);
    for x in &x {
        assert!(x.codes.len() >= w.groups.div_ceil(2) * 128 && x.scales.len() >= w.groups && x.sums.len() >= w.groups);
    }
    let mut sums = [_mm256_setzero_ps(); N];
    let mut bias = [_mm256_setzero_ps(); N];
    let low = _mm256_set1_epi8(15);
    for first in (0..w.groups).step_by(8) {
        let here = (w.groups - first).min(8);
        let scale = halves(&scales[first..first + here]);
        let mut scale_of = [[0.0; 8]; N];
        let b = halves(&biases[first..first + here]);
        for t in 0..N {
            // SAFETY: the rows are padded with zeros to a multiple of 16 groups.
            let (a, s) = unsafe {
                (_mm256_loadu_ps(x[t].scales.as_ptr().add(first)), _mm256_loadu_ps(x[t].sums.as_ptr().add(first)))
            };
            bias[t] = _mm256_fmadd_ps(b, s, bias[t]);
            // SAFETY: it has eight places.
            unsafe { _mm256_storeu_ps(scale_of[t].as_mut_ptr(), _mm256_mul_ps(scale, a)) };
        }
        for g in first..first + here {
            // SAFETY: a row has 32 bytes for each group, and the activations 128 for each two (asserted).
            let code = unsafe { _mm256_loadu_si256(codes.as_ptr().add(g * 32).cast()) };
            let even = _mm256_and_si256(code, low);
            let odd = _mm256_and_si256(_mm256_srli_epi16::<4>(code), low);
            for t in 0..N {
                // SAFETY: as above.
                let (qe, qo) = unsafe {
                    let q = x[t].codes.as_ptr().add(g / 2 * 128 + g % 2 * 32);
                    (_mm256_loadu_si256(q.cast()), _mm256_loadu_si256(q.add(64).cast()))
                };
                // At most 4 * 15 * 127 in 16 bits: no overflow.
                let pairs = _mm256_add_epi16(_mm256_maddubs_epi16(even, qe), _mm256_maddubs_epi16(odd, qo));
                let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                sums[t] = _mm256_fmadd_ps(dot, _mm256_set1_ps(scale_of[t][g - first]), sums[t]);
            }
        }
    }
    let mut y = [0.0; N];
    for t in 0..N {
        y[t] = add_lanes(_mm256_add_ps(sums[t], bias[t]));
    }
    y
}

/// Up to eight halves as floats, then zeros.
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(values: &[half::f16]) -> __m256 {
    let mut eight = [0u16; 8];
    for (to, from) in eight.iter_mut().zip(values) {
        *to = from.to_bits();
    }
    // SAFETY: it has eight places.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(eight.as_ptr().cast()) })
}

/// The sum of all lanes.
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_lanes(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
}
