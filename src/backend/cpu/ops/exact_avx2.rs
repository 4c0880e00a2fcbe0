//! f32 activations with AVX2.

use core::arch::x86_64::*;

use super::exact::Coded;
use super::q4_avx2::add_lanes;

/// A row of codes times packed activations, without biases: `sum_g s_g sum_i table[code_i] x_i`.
///
/// # Safety
/// The machine must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot(w: &Coded<'_>, codes: &[u8], scales: &[f32], x: &[f32]) -> f32 {
    let blocks = codes.len().div_ceil(32);
    let groups = codes.len() * 2 / w.group;
    assert!(x.len() >= blocks * 64 && codes.len().is_multiple_of(4) && scales.len() >= groups + 8);
    let table = Table::new(w.table);
    let lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    let log = w.group.trailing_zeros();
    // Which of a block's scales belongs to each lane, a word of eight inputs.
    let scale_of = _mm256_srl_epi32(_mm256_slli_epi32::<3>(lane), _mm_cvtsi32_si128(log.cast_signed()));
    let mut sum = _mm256_setzero_ps();
    for block in 0..blocks {
        let at = block * 32;
        // Inputs past the end are zeros in `x`.
        let words = ((codes.len() - at) / 4).min(8);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(words as i32), lane);
        // SAFETY: the mask keeps the load of codes in the row, and the assertion says that 64 inputs and
        // 8 scales can be loaded.
        unsafe {
            let mut word = _mm256_maskload_epi32(codes.as_ptr().add(at).cast(), mask);
            let x = x.as_ptr().add(block * 64);
            let mut parts = [_mm256_setzero_ps(); 2];
            for n in 0..8 {
                parts[n % 2] = _mm256_fmadd_ps(table.look_up(word), _mm256_loadu_ps(x.add(n * 8)), parts[n % 2]);
                word = _mm256_srli_epi32::<4>(word);
            }
            let scales = _mm256_loadu_ps(scales.as_ptr().add((block * 64) >> log));
            let scale = _mm256_permutevar8x32_ps(scales, scale_of);
            sum = _mm256_fmadd_ps(_mm256_add_ps(parts[0], parts[1]), scale, sum);
        }
    }
    add_lanes(sum)
}

/// Sixteen floats to look up by the low four bits of a lane.
#[derive(Clone, Copy)]
struct Table {
    low: __m256,
    high: __m256,
}

impl Table {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(values: &[f32; 16]) -> Self {
        // SAFETY: there are sixteen.
        unsafe { Self { low: _mm256_loadu_ps(values.as_ptr()), high: _mm256_loadu_ps(values.as_ptr().add(8)) } }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn look_up(self, code: __m256i) -> __m256 {
        // The permutations read three bits; the fourth, moved to the sign, chooses between them.
        let (low, high) = (_mm256_permutevar8x32_ps(self.low, code), _mm256_permutevar8x32_ps(self.high, code));
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(code)))
    }
}

/// `out[i] = table[code i]`, in the order of the inputs.
///
/// # Safety
/// The machine must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn look_up(codes: &[u8], table: &[f32; 16], out: &mut [f32]) {
    let table = Table::new(table);
    let shift = _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    for (codes, out) in codes.chunks_exact(4).zip(out.chunks_exact_mut(8)) {
        let word = _mm256_set1_epi32(i32::from_le_bytes([codes[0], codes[1], codes[2], codes[3]]));
        // SAFETY: eight floats out.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), table.look_up(_mm256_srlv_epi32(word, shift))) };
    }
}

/// Makes a dot product of eight values at a time, loaded by `$load(pointer)`; `$wide(value)` widens one.
macro_rules! dot {
    ($(#[$doc:meta])* $name:ident, $t:ty, $load:expr, $wide:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// The machine must have AVX2, FMA and F16C; `w` and `x` must be of one length.
        #[target_feature(enable = "avx2,fma,f16c")]
        pub(super) unsafe fn $name(w: &[$t], x: &[f32]) -> f32 {
            let mut sums = [_mm256_setzero_ps(); 4];
            let whole = x.len() / 32 * 32;
            for at in (0..whole).step_by(32) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: 32 values from `at` are in both.
                    unsafe {
                        let x = _mm256_loadu_ps(x.as_ptr().add(at + i * 8));
                        *sum = _mm256_fmadd_ps($load(w.as_ptr().add(at + i * 8)), x, *sum);
                    }
                }
            }
            let rest: f32 = w[whole..].iter().zip(&x[whole..]).map(|(w, x)| $wide(*w) * x).sum();
            let [a, b, c, d] = sums;
            add_lanes(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d))) + rest
        }
    };
}

dot!(
    /// f32 weights.
    dot_f32,
    f32,
    |w: *const f32| _mm256_loadu_ps(w),
    |w: f32| w
);
dot!(
    /// f16 weights.
    dot_f16,
    u16,
    |w: *const u16| _mm256_cvtph_ps(_mm_loadu_si128(w.cast())),
    |w: u16| half::f16::from_bits(w).to_f32()
);
dot!(
    /// bf16 weights: the upper halves of floats.
    dot_bf16,
    u16,
    |w: *const u16| {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(w.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    },
    |w: u16| half::bf16::from_bits(w).to_f32()
);
