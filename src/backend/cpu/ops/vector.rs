//! Vectors of f32 as wide as a level allows, so that an operator is written once.
//!
//! An operator is a generic body over [`Vector`]; [`per_level!`] compiles it once for each level
//! inside a function that has the level's instructions switched on. The scalar level runs the same
//! body with vectors of one lane, which is also what finishes the ends of slices.

use half::f16;

/// Lanes of f32 and what can be done with them.
pub(super) trait Vector: Copy {
    /// How many.
    const LANES: usize;

    fn splat(value: f32) -> Self;
    /// The first `LANES` values of the slice.
    fn load(from: &[f32]) -> Self;
    fn load_f16(from: &[f16]) -> Self;
    fn load_i8(from: &[i8]) -> Self;
    fn store(self, to: &mut [f32]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// `self * factor + addend`
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// To the nearest whole number, halves to even.
    fn round(self) -> Self;
    /// `2^self` for whole numbers from -126 to 127.
    fn pow2(self) -> Self;
    /// Sum of the lanes.
    fn sum(self) -> f32;

    /// `self * 2^n` for whole numbers `n` up to 0; next to nothing, or nothing, for those far below.
    #[inline(always)]
    fn scale_down(self, n: Self) -> Self {
        self.mul(n.max(Self::splat(-126.0)).pow2())
    }

    /// `2^self` for numbers that are not positive, to about 2e-7 of the result, and exactly 1 at 0.
    #[inline(always)]
    fn exp2_not_positive(self) -> Self {
        // 2^x = 2^n 2^f, f in [-0.5, 0.5]: the second by a minimax polynomial through 1 at 0.
        let n = self.round();
        let f = self.sub(n);
        let c = |v: f32| Self::splat(v);
        let p = c(1.327_647_2e-3).fma(f, c(9.675_541e-3));
        let p = p.fma(f, c(5.550_713e-2));
        let p = p.fma(f, c(2.402_212e-1));
        let p = p.fma(f, c(6.931_469_6e-1));
        let p = p.fma(f, c(1.0));
        p.scale_down(n)
    }

    /// `e^self`, to about 1e-7 of the result; at the ends of the range as `exp2`.
    #[inline(always)]
    fn exp(self) -> Self {
        // e^x = 2^n e^r: ln 2 in two parts, of which n times the first is exact, so that r keeps its
        // precision without fused arithmetic. e^r = 1 + r + r^2 P(r), P minimax on |r| <= ln 2 / 2.
        let c = |v: f32| Self::splat(v);
        let x = self.max(c(-87.0)).min(c(88.0));
        let n = x.mul(c(std::f32::consts::LOG2_E)).round();
        let r = n.fma(c(-0.693_359_4), x);
        let r = n.fma(c(2.121_944_4e-4), r);
        let p = c(1.987_569_1e-4).fma(r, c(1.398_199_9e-3));
        let p = p.fma(r, c(8.333_452e-3));
        let p = p.fma(r, c(4.166_579_6e-2));
        let p = p.fma(r, c(1.666_666_5e-1));
        let p = p.fma(r, c(0.500_000_1));
        let p = p.fma(r.mul(r), r.add(c(1.0)));
        p.mul(n.pow2())
    }

    /// `1 / (1 + e^-self)`
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = Self::splat(1.0);
        one.div(one.add(Self::splat(0.0).sub(self).exp()))
    }

    /// `self * sigmoid(self)`
    #[inline(always)]
    fn silu(self) -> Self {
        self.mul(self.sigmoid())
    }

    /// `ln(1 + e^self)`
    #[inline(always)]
    fn softplus(self) -> Self {
        // max(x, 0) + ln(1 + t), t = e^-|x| in (0, 1]; ln(1 + t) = 2 atanh(t / (2 + t)), whose
        // series in s = t / (2 + t) <= 1/3 needs no logarithm and loses nothing for tiny t.
        let zero = Self::splat(0.0);
        let magnitude = self.max(zero.sub(self));
        let t = zero.sub(magnitude).exp();
        let s = t.div(t.add(Self::splat(2.0)));
        let q = s.mul(s);
        let c = |v: f32| Self::splat(v);
        let p = c(2.0 / 15.0).fma(q, c(2.0 / 13.0));
        let p = p.fma(q, c(2.0 / 11.0));
        let p = p.fma(q, c(2.0 / 9.0));
        let p = p.fma(q, c(2.0 / 7.0));
        let p = p.fma(q, c(2.0 / 5.0));
        let p = p.fma(q, c(2.0 / 3.0));
        let p = p.fma(q, c(2.0));
        self.max(zero).add(p.mul(s))
    }
}

impl Vector for f32 {
    const LANES: usize = 1;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        from[0]
    }
    #[inline(always)]
    fn load_f16(from: &[f16]) -> Self {
        from[0].to_f32()
    }
    #[inline(always)]
    fn load_i8(from: &[i8]) -> Self {
        f32::from(from[0])
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[0] = self;
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        // Fused where the instruction exists; a call into the C library would be slow.
        if cfg!(target_arch = "aarch64") { self.mul_add(factor, addend) } else { self * factor + addend }
    }
    #[inline(always)]
    fn round(self) -> Self {
        self.round_ties_even()
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        f32::from_bits(((self as i32 + 127) as u32) << 23)
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        self
    }
}

/// Four lanes in plain Rust, which compilers for 64-bit Arm turn into NEON: it is that target's
/// baseline, so nothing needs to be switched on.
#[derive(Clone, Copy)]
pub(super) struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Four {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        Self(std::array::from_fn(|i| from[..4][i]))
    }
    #[inline(always)]
    fn load_f16(from: &[f16]) -> Self {
        Self(std::array::from_fn(|i| from[..4][i].to_f32()))
    }
    #[inline(always)]
    fn load_i8(from: &[i8]) -> Self {
        Self(std::array::from_fn(|i| f32::from(from[..4][i])))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..4].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| Vector::fma(self.0[i], factor.0[i], addend.0[i])))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(self.0.map(Vector::round))
    }
    #[inline(always)]
    fn pow2(self) -> Self {
        Self(self.0.map(Vector::pow2))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        (self.0[0] + self.0[2]) + (self.0[1] + self.0[3])
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Eight, Sixteen};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::Vector;

    /// Writes the methods that are one instruction each.
    ///
    /// SAFETY, for every `unsafe` block below: values of these types are only made inside functions
    /// that [`super::per_level!`] compiles with the instructions switched on and enters after they
    /// were detected, and each pointer comes from a slice whose length is checked just before.
    macro_rules! instructions {
        ($name:ident, $raw:ident, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident,
         $sub:ident, $mul:ident, $div:ident, $max:ident, $min:ident, $fma:ident) => {
            #[inline(always)]
            fn splat(value: f32) -> Self {
                // SAFETY: as above
                Self(unsafe { $splat(value) })
            }
            #[inline(always)]
            fn load(from: &[f32]) -> Self {
                assert!(from.len() >= $lanes);
                // SAFETY: as above
                Self(unsafe { $load(from.as_ptr()) })
            }
            #[inline(always)]
            fn store(self, to: &mut [f32]) {
                assert!(to.len() >= $lanes);
                // SAFETY: as above
                unsafe { $store(to.as_mut_ptr(), self.0) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $sub(self.0, other.0) })
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $mul(self.0, other.0) })
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $div(self.0, other.0) })
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $max(self.0, other.0) })
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $min(self.0, other.0) })
            }
            #[inline(always)]
            fn fma(self, factor: Self, addend: Self) -> Self {
                // SAFETY: as above
                Self(unsafe { $fma(self.0, factor.0, addend.0) })
            }
        };
    }

    /// Eight lanes: AVX2.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Eight(__m256);

    impl Vector for Eight {
        const LANES: usize = 8;

        instructions!(
            Eight,
            __m256,
            8,
            _mm256_set1_ps,
            _mm256_loadu_ps,
            _mm256_storeu_ps,
            _mm256_add_ps,
            _mm256_sub_ps,
            _mm256_mul_ps,
            _mm256_div_ps,
            _mm256_max_ps,
            _mm256_min_ps,
            _mm256_fmadd_ps
        );

        #[inline(always)]
        fn load_f16(from: &[f16]) -> Self {
            assert!(from.len() >= 8);
            // SAFETY: as above
            Self(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) })
        }
        #[inline(always)]
        fn load_i8(from: &[i8]) -> Self {
            assert!(from.len() >= 8);
            // SAFETY: as above
            Self(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) })
        }
        #[inline(always)]
        fn round(self) -> Self {
            // SAFETY: as above
            Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn pow2(self) -> Self {
            // SAFETY: as above
            unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
            }
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            let mut lanes = [0.0; 8];
            self.store(&mut lanes);
            let [a, b, c, d, e, f, g, h] = lanes;
            ((a + e) + (c + g)) + ((b + f) + (d + h))
        }
    }

    /// Sixteen lanes: AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Sixteen(__m512);

    impl Vector for Sixteen {
        const LANES: usize = 16;

        instructions!(
            Sixteen,
            __m512,
            16,
            _mm512_set1_ps,
            _mm512_loadu_ps,
            _mm512_storeu_ps,
            _mm512_add_ps,
            _mm512_sub_ps,
            _mm512_mul_ps,
            _mm512_div_ps,
            _mm512_max_ps,
            _mm512_min_ps,
            _mm512_fmadd_ps
        );

        #[inline(always)]
        fn load_f16(from: &[f16]) -> Self {
            assert!(from.len() >= 16);
            // SAFETY: as above
            Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) })
        }
        #[inline(always)]
        fn load_i8(from: &[i8]) -> Self {
            assert!(from.len() >= 16);
            // SAFETY: as above
            Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) })
        }
        #[inline(always)]
        fn round(self) -> Self {
            // SAFETY: as above
            Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
        }
        #[inline(always)]
        fn pow2(self) -> Self {
            // SAFETY: as above
            unsafe { Self(_mm512_scalef_ps(_mm512_set1_ps(1.0), self.0)) }
        }
        #[inline(always)]
        fn scale_down(self, n: Self) -> Self {
            // SAFETY: as above
            Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
        }
        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: as above
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
    }
}

/// Declares an operator: a function that takes the level first, from a body generic over the vector.
macro_rules! per_level {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::backend::cpu::ops::Level, $($arg: $ty),*) $(-> $ret)? {
            use $crate::backend::cpu::ops::Level;
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body::<$crate::backend::cpu::ops::vector::Sixteen>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body::<$crate::backend::cpu::ops::vector::Eight>($($arg),*)
                }
                match level {
                    // SAFETY: a level is only used after it was found on this machine
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Scalar | Level::Neon => {}
                }
            }
            match level {
                Level::Scalar => $body::<f32>($($arg),*),
                _ => $body::<$crate::backend::cpu::ops::vector::Four>($($arg),*),
            }
        }
    };
}
pub(super) use per_level;
