//! f32 activations with AVX-512.

use core::arch::x86_64::*;

use super::exact::Coded;

/// Rows of codes times packed activations, without biases: `sum_g s_g sum_i table[code_i] x_i`.
///
/// # Safety
/// The machine must have AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn dots<const N: usize>(
    w: &Coded<'_>,
    codes: [&[u8]; N],
    scales: [&[f32]; N],
    x: &[f32],
) -> [f32; N] {
    let bytes = codes[0].len();
    let blocks = bytes.div_ceil(64);
    let groups = bytes * 2 / w.group;
    assert!(x.len() >= blocks * 128 && bytes.is_multiple_of(4));
    for r in 0..N {
        assert!(codes[r].len() == bytes && scales[r].len() >= groups + 16);
    }
    // SAFETY: the table has sixteen places.
    let table = unsafe { _mm512_loadu_ps(w.table.as_ptr()) };
    // Which of a block's scales belongs to each lane, a word of eight inputs.
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let log = w.group.trailing_zeros();
    let scale_of = _mm512_srl_epi32(_mm512_slli_epi32::<3>(lane), _mm_cvtsi32_si128(log.cast_signed()));
    let mut sums = [_mm512_setzero_ps(); N];
    for block in 0..blocks {
        let at = block * 64;
        // Inputs past the end are zeros in `x`.
        let mask = 0xffff_u16 >> (16 - ((bytes - at) / 4).min(16));
        let first_scale = (block * 128) >> log;
        // SAFETY: the mask keeps the loads of codes in the row, and the assertions say that 128 inputs
        // and 16 scales can be loaded.
        unsafe {
            let mut words = [_mm512_setzero_si512(); N];
            for r in 0..N {
                _mm_prefetch::<_MM_HINT_T0>(codes[r].as_ptr().wrapping_add(at + N * bytes).cast());
                words[r] = _mm512_maskz_loadu_epi32(mask, codes[r].as_ptr().add(at).cast());
            }
            let x = x.as_ptr().add(block * 128);
            // Two sums a row, so that one does not wait for the other.
            let mut even = [_mm512_setzero_ps(); N];
            let mut odd = [_mm512_setzero_ps(); N];
            for n in 0..4 {
                let (x0, x1) = (_mm512_loadu_ps(x.add(n * 32)), _mm512_loadu_ps(x.add(n * 32 + 16)));
                for r in 0..N {
                    // The permutation reads the low four bits of a lane and no others.
                    even[r] = _mm512_fmadd_ps(_mm512_permutexvar_ps(words[r], table), x0, even[r]);
                    let next = _mm512_srli_epi32::<4>(words[r]);
                    odd[r] = _mm512_fmadd_ps(_mm512_permutexvar_ps(next, table), x1, odd[r]);
                    words[r] = _mm512_srli_epi32::<8>(words[r]);
                }
            }
            for r in 0..N {
                let scale = _mm512_permutexvar_ps(scale_of, _mm512_loadu_ps(scales[r].as_ptr().add(first_scale)));
                sums[r] = _mm512_fmadd_ps(_mm512_add_ps(even[r], odd[r]), scale, sums[r]);
            }
        }
    }
    let mut y = [0.0; N];
    for r in 0..N {
        y[r] = _mm512_reduce_add_ps(sums[r]);
    }
    y
}

/// `out[i] = table[code i]`, in the order of the inputs.
///
/// # Safety
/// The machine must have AVX-512 F, BW, DQ and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn look_up(codes: &[u8], table: &[f32; 16], out: &mut [f32]) {
    // SAFETY: the table has sixteen places.
    let table = unsafe { _mm512_loadu_ps(table.as_ptr()) };
    let word = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    let shift = _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    for (codes, out) in codes.chunks_exact(8).zip(out.chunks_exact_mut(16)) {
        // SAFETY: eight bytes in, sixteen floats out.
        unsafe {
            let both = _mm512_set1_epi64(codes.as_ptr().cast::<i64>().read_unaligned());
            let code = _mm512_srlv_epi32(_mm512_permutexvar_epi32(word, both), shift);
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_permutexvar_ps(code, table));
        }
    }
}

/// Makes a dot product of sixteen values at a time, loaded by `$load(pointer, mask)`.
macro_rules! dot {
    ($(#[$doc:meta])* $name:ident, $t:ty, $load:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The machine must have AVX-512 F, BW, DQ and VL; `w` and `x` must be of one length.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        pub(super) unsafe fn $name(w: &[$t], x: &[f32]) -> f32 {
            let mut sums = [_mm512_setzero_ps(); 4];
            for at in (0..x.len()).step_by(64) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = at + i * 16;
                    if at < x.len() {
                        let mask = 0xffff_u16 >> (16 - (x.len() - at).min(16));
                        // SAFETY: the mask keeps the loads in the slices.
                        unsafe {
                            let x = _mm512_maskz_loadu_ps(mask, x.as_ptr().add(at));
                            *sum = _mm512_fmadd_ps($load(w.as_ptr().add(at), mask), x, *sum);
                        }
                    }
                }
            }
            let [a, b, c, d] = sums;
            _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
        }
    };
}

dot!(
    /// f32 weights.
    dot_f32,
    f32,
    |w: *const f32, mask| _mm512_maskz_loadu_ps(mask, w)
);
dot!(
    /// f16 weights.
    dot_f16,
    u16,
    |w: *const u16, mask| _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, w.cast()))
);
dot!(
    /// bf16 weights: the upper halves of floats.
    dot_bf16,
    u16,
    |w: *const u16, mask| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(
        _mm256_maskz_loadu_epi16(mask, w.cast())
    )))
);
