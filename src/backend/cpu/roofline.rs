//! Work that shows what the machine can do: reading memory, int8 dot products, f32 matrix products.
//!
//! These do a known amount of work and say how much; whoever asks holds the clock.

use gemm::Parallelism;

use super::linear::Compute;
use super::ops::Level;
use super::pool::{Pool, Shareable};

/// Reads all of `data` once, on all threads, four streams each. Gives a sum, so that it is really read.
pub fn read(cx: &Compute, data: &[u8]) -> u64 {
    // Long pieces, as streams need them, but enough of them that the threads end together.
    let piece = (data.len() / (16 * cx.pool.threads())).clamp(1 << 16, 4 << 20);
    let sum = std::sync::atomic::AtomicU64::new(0);
    cx.pool.run(data.len().div_ceil(piece), |i| {
        let part = &data[i * piece..((i + 1) * piece).min(data.len())];
        let part = match cx.level {
            // SAFETY: the level is one that the machine has.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::read_avx512(part) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::read_avx2(part) },
            _ => read_portable(part),
        };
        sum.fetch_add(part, std::sync::atomic::Ordering::Relaxed);
    });
    sum.into_inner()
}

fn read_portable(data: &[u8]) -> u64 {
    let mut sums = [0u64; 8];
    for words in data.chunks_exact(64) {
        for (sum, word) in sums.iter_mut().zip(words.chunks_exact(8)) {
            *sum = sum.wrapping_add(u64::from_le_bytes(word.try_into().expect("chunks of eight")));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Multiplies bytes and adds up the products with the best byte product of the level that works on
/// vectors (VNNI on AVX-512; tiles are not counted), on all threads. Gives the operations done, two for
/// each product.
pub fn byte_dots(cx: &Compute, rounds: usize) -> u64 {
    let tasks = cx.pool.threads();
    let per_round = match cx.level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if cx.level.has_vnni() => x86::DOTS_AVX512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 => x86::DOTS_AVX2,
        _ => 2 * 64,
    };
    cx.pool.run(tasks, |_| match cx.level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is one that the machine has, and so is VNNI.
        Level::Avx512 if cx.level.has_vnni() => unsafe { x86::dots_avx512(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 | Level::Avx512 => unsafe { x86::dots_avx2(rounds) },
        _ => dots_portable(rounds),
    });
    (tasks * rounds) as u64 * per_round
}

fn dots_portable(rounds: usize) {
    let (a, b) = std::hint::black_box(([7u8; 64], [-3i8; 64]));
    let mut sums = [0i32; 64];
    for _ in 0..rounds {
        for i in 0..64 {
            sums[i] = sums[i].wrapping_add(i32::from(a[i]) * i32::from(b[i]));
        }
        std::hint::black_box(&mut sums);
    }
}

/// `c = a b` for square matrices of side `n`, in f32, on all threads. Gives the operations done.
pub fn matrix_product(pool: &Pool, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) -> u64 {
    assert!(a.len() == n * n && b.len() == n * n && c.len() == n * n);
    let columns = n.div_ceil(pool.threads()).next_multiple_of(32);
    let base = Shareable(c.as_mut_ptr());
    let stride = n.cast_signed();
    pool.run(n.div_ceil(columns), |task| {
        let first = task * columns;
        // SAFETY: n x n matrices in row order; tasks write different columns of `c`, which is borrowed
        // until all are done.
        unsafe {
            let (c, b) = (base.get().add(first), b.as_ptr().add(first));
            let here = columns.min(n - first);
            let (alpha, beta) = (0.0, 1.0);
            let single = Parallelism::None;
            gemm::gemm(
                n,
                here,
                n,
                c,
                1,
                stride,
                false,
                a.as_ptr(),
                1,
                stride,
                b,
                1,
                stride,
                alpha,
                beta,
                false,
                false,
                false,
                single,
            );
        }
    });
    2 * (n * n * n) as u64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;
    use std::hint::black_box;

    /// Bytes that a stream is ahead with its prefetches.
    const AHEAD: usize = 4096;
    const SUMS: usize = 12;
    /// Operations of one round of `dots_avx512`.
    pub(super) const DOTS_AVX512: u64 = 2 * 64 * SUMS as u64;
    /// Operations of one round of `dots_avx2`.
    pub(super) const DOTS_AVX2: u64 = 2 * 32 * 8;

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn read_avx512(data: &[u8]) -> u64 {
        let stream = data.len() / 4 / 64 * 64;
        let mut sums = [_mm512_setzero_si512(); 4];
        for at in (0..stream).step_by(64) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: four streams of this length are in the data; a prefetch may name any address.
                unsafe {
                    let from = data.as_ptr().add(i * stream + at);
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
                    *sum = _mm512_add_epi64(*sum, _mm512_loadu_si512(from.cast()));
                }
            }
        }
        let [a, b, c, d] = sums;
        let sum = _mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d));
        _mm512_reduce_add_epi64(sum).cast_unsigned().wrapping_add(super::read_portable(&data[4 * stream..]))
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn read_avx2(data: &[u8]) -> u64 {
        let stream = data.len() / 4 / 64 * 64;
        let mut sums = [_mm256_setzero_si256(); 4];
        for at in (0..stream).step_by(64) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as in `read_avx512`.
                unsafe {
                    let from = data.as_ptr().add(i * stream + at);
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
                    let both =
                        _mm256_add_epi64(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast()));
                    *sum = _mm256_add_epi64(*sum, both);
                }
            }
        }
        let [a, b, c, d] = sums;
        let sum = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
        let mut lanes = [0u64; 4];
        // SAFETY: it has four places.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
        lanes.iter().fold(super::read_portable(&data[4 * stream..]), |a, b| a.wrapping_add(*b))
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn dots_avx512(rounds: usize) {
        let (a, b) = (black_box(_mm512_set1_epi8(7)), black_box(_mm512_set1_epi8(-3)));
        let mut sums = black_box([_mm512_setzero_si512(); SUMS]);
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(&mut sums);
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn dots_avx2(rounds: usize) {
        let (a, b) = (black_box(_mm256_set1_epi8(7)), black_box(_mm256_set1_epi8(-3)));
        let mut sums = black_box([_mm256_setzero_si256(); 8]);
        let mut a = a;
        for _ in 0..rounds {
            for sum in &mut sums {
                // The product must not be the same in each round, or it would be made once.
                a = _mm256_xor_si256(a, *sum);
                let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1));
                *sum = _mm256_add_epi32(*sum, pairs);
            }
        }
        black_box(&mut sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::linear::test_data::{computes, random};

    #[test]
    fn every_byte_is_read() {
        let data: Vec<u8> = random(1, 300_000).iter().map(|v| (v * 128.0) as u8).collect();
        for len in [0, 64, 1000, 300_000] {
            let len = len / 8 * 8;
            let mut want = 0u64;
            for word in data[..len / 64 * 64].chunks_exact(8) {
                want = want.wrapping_add(u64::from_le_bytes(word.try_into().unwrap()));
            }
            for cx in computes(2) {
                assert_eq!(read(&cx, &data[..len / 64 * 64]), want, "{}", cx.level);
            }
        }
    }

    #[test]
    fn products_are_counted_and_right() {
        for cx in computes(2) {
            assert!(byte_dots(&cx, 3) >= 3 * 2 * 2 * 64);
            let n = 50;
            let (a, b) = (random(1, n * n), random(2, n * n));
            let mut c = vec![0.0; n * n];
            assert_eq!(matrix_product(&cx.pool, n, &a, &b, &mut c), 250_000);
            for (i, j) in [(0, 0), (3, 49), (49, 20)] {
                let want: f32 = (0..n).map(|k| a[i * n + k] * b[k * n + j]).sum();
                assert!((c[i * n + j] - want).abs() < 1e-4);
            }
        }
    }
}
