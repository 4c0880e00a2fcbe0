//! A 4-bit matrix times several int8 vectors with AMX, the tile unit of recent Xeons.
//!
//! One instruction multiplies 16 rows of weights by 16 tokens over a whole group of 64. What takes the
//! time is to scale its integer sums, 256 of them for each group: this is done for one group while the
//! tiles of the next are multiplied.
//!
//! The compiler has no stable intrinsics for AMX, so its instructions are written in assembly.

use core::arch::asm;
use core::arch::x86_64::*;
use std::ops::Range;
use std::sync::OnceLock;

use super::q4::{Columns, Q4, Scratch};
use super::q4_avx512::transpose;
use super::q4_vnni_matmul::{GROUPS, prefetch, rows_side_by_side};
use crate::backend::cpu::quantised_rows::{Int8Tiles, QuantRows};

/// Rows at a time: two tiles.
const ROWS: usize = 32;
/// Tiles of integer sums that wait to be scaled.
const SLOTS: usize = 4;
/// How many groups the scaling is behind the multiplying.
const LAG: usize = 2;
/// Bytes of a tile: 16 rows of 64.
const TILE: usize = 1024;

/// True if the processor has AMX for bytes and the system lets this process use it.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let leaf = __cpuid_count(7, 0);
        let (tile, int8) = (leaf.edx >> 24 & 1, leaf.edx >> 25 & 1);
        __cpuid(0).eax >= 7 && tile == 1 && int8 == 1 && allowed()
    })
}

/// Asks Linux for the tile registers, which it gives a process on request only.
#[cfg(target_os = "linux")]
fn allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and only sets what this process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> bool {
    false
}

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config([u8; 64]);

static CONFIG: Config = {
    let mut config = [0; 64];
    config[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        config[16 + 2 * tile] = 64;
        config[48 + tile] = 16;
        tile += 1;
    }
    Config(config)
};

/// The tile registers, set up for as long as this lives: a thread that leaves them in use makes every
/// switch between threads dearer.
struct Registers;

impl Registers {
    /// # Safety
    /// AMX must be available.
    unsafe fn new() -> Self {
        // SAFETY: demanded above; the configuration is a valid one.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Registers
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: AMX is available where one of these was made.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// See `q4::matmul`.
///
/// # Safety
/// As there; the machine must have AMX and AVX-512 F, BW, DQ and VL, and `x` must be tiled.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn matmul(w: &Q4<'_>, rows: Range<usize>, x: &QuantRows, out: Columns, scratch: &mut Scratch) {
    let tokens = x.rows();
    let blocks = tokens.div_ceil(16);
    let padded = w.groups.next_multiple_of(16) * ROWS;
    // codes: GROUPS * 2 tiles; scales, biases: groups * 32 rows; dots: SLOTS tiles;
    // sums: blocks * 32 rows * 16 tokens
    let [codes, scales, biases, dots, sums] =
        scratch.pieces([GROUPS * 2 * TILE / 4, padded, padded, SLOTS * TILE / 4, blocks * ROWS * 16]);
    let codes: &mut [u8] = bytemuck::cast_slice_mut(codes);
    // SAFETY: the caller says that there is AMX.
    let registers = unsafe { Registers::new() };
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
            // SAFETY: as above; the rows are in the matrix.
            unsafe { unpack(w, row, groups.clone(), codes) };
            let tile = Tile { codes, scales, biases, groups };
            let next = if tile.groups.end < w.groups { (first, tile.groups.end) } else { (first + ROWS, 0) };
            for (b, sums) in sums.chunks_exact_mut(ROWS * 16).enumerate() {
                prefetch(w, next, b, blocks);
                let x = x.tiles(b).expect("the caller says that x is tiled");
                for (half, sums) in sums.chunks_exact_mut(16 * 16).enumerate() {
                    // SAFETY: as above.
                    unsafe { tile.multiply(half * 16, x, dots, sums) };
                }
            }
        }
        for (b, sums) in sums.chunks_exact(ROWS * 16).enumerate() {
            // SAFETY: the caller answers for these rows at every token.
            unsafe { store(sums, first, here, b * 16, (tokens - b * 16).min(16), out) };
        }
    }
    drop(registers);
}

/// A few groups of 32 rows.
struct Tile<'a> {
    /// For each group, 32 rows of 32 even and 32 odd inputs.
    codes: &'a [u8],
    /// `all groups * 32`
    scales: &'a [f32],
    /// `all groups * 32`
    biases: &'a [f32],
    groups: Range<usize>,
}

impl Tile<'_> {
    /// Adds the products of 16 rows, from `first`, with 16 tokens to `sums`, 16 rows of 16; the first groups
    /// of a row begin them.
    ///
    /// # Safety
    /// As of `matmul`; slices as long as they say, of lines of 64 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn multiply(&self, first: usize, x: Int8Tiles<'_>, dots: &mut [f32], sums: &mut [f32]) {
        assert!(sums.len() >= 16 * 16 && dots.len() >= SLOTS * TILE / 4 && x.codes.len() >= self.groups.end * TILE);
        assert!(x.scales.len() >= self.groups.end * 16 && x.sums.len() >= self.groups.end * 16);
        assert!(self.scales.len() >= self.groups.end * ROWS && self.biases.len() >= self.groups.end * ROWS);
        let slot = |g: usize| g % SLOTS * (TILE / 4);
        let mut y = [_mm512_setzero_ps(); 16];
        // SAFETY: each group has a tile of these rows' codes and one of the tokens', and a scale and a bias
        // for each of 32 rows, as asserted.
        unsafe {
            if self.groups.start > 0 {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = _mm512_load_ps(sums.as_ptr().add(i * 16));
                }
            }
            for g in self.groups.start..self.groups.end + LAG {
                if g < self.groups.end {
                    let codes = self.codes.as_ptr().add(((g - self.groups.start) * ROWS + first) * 64);
                    let (tokens, dots) = (x.codes.as_ptr().add(g * TILE), dots.as_mut_ptr().add(slot(g)));
                    if g % 2 == 0 { product_a(codes, tokens, dots) } else { product_b(codes, tokens, dots) }
                }
                if g < self.groups.start + LAG {
                    continue;
                }
                // y[row, token] += s_g a_g dot + b_g (a_g sum q)
                let g = g - LAG;
                let a = _mm512_loadu_ps(x.scales.as_ptr().add(g * 16));
                let s = _mm512_loadu_ps(x.sums.as_ptr().add(g * 16));
                let scales = self.scales.as_ptr().add(g * ROWS + first);
                let biases = self.biases.as_ptr().add(g * ROWS + first);
                let dots = dots.as_ptr().add(slot(g));
                for (i, y) in y.iter_mut().enumerate() {
                    let dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots.add(i * 16).cast()));
                    let scaled = _mm512_fmadd_ps(_mm512_mul_ps(dot, a), _mm512_set1_ps(*scales.add(i)), *y);
                    *y = _mm512_fmadd_ps(s, _mm512_set1_ps(*biases.add(i)), scaled);
                }
            }
            for (i, y) in y.iter().enumerate() {
                _mm512_store_ps(sums.as_mut_ptr().add(i * 16), *y);
            }
        }
    }
}

/// Makes a function that multiplies one tile of weights with one of activations, `out[row, token]`, in
/// the tile registers given.
macro_rules! product {
    ($name:ident, $sums:tt, $weights:tt, $tokens:tt) => {
        /// # Safety
        /// AMX must be available and set up; `w`, `x` and `out` must each hold a tile.
        #[inline]
        unsafe fn $name(w: *const u8, x: *const i8, out: *mut f32) {
            // SAFETY: demanded above.
            unsafe {
                asm!(
                    concat!("tilezero ", $sums),
                    concat!("tileloadd ", $weights, ", [{w} + {s}*1]"),
                    concat!("tileloadd ", $tokens, ", [{x} + {s}*1]"),
                    concat!("tdpbusd ", $sums, ", ", $weights, ", ", $tokens),
                    concat!("tilestored [{o} + {s}*1], ", $sums),
                    w = in(reg) w, x = in(reg) x, o = in(reg) out, s = in(reg) 64usize,
                    out($sums) _, out($weights) _, out($tokens) _,
                    options(nostack),
                );
            }
        }
    };
}

// Two, used by turns, so that one product need not wait for the registers of the one before.
product!(product_a, "tmm0", "tmm1", "tmm2");
product!(product_b, "tmm3", "tmm4", "tmm5");

/// Unpacks `groups` of 32 rows: for each group 32 rows of 64 bytes.
///
/// # Safety
/// The machine must have AVX-512 F and BW; the rows must be in `w`, and `out` as long as that.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack(w: &Q4<'_>, row: impl Fn(usize) -> usize, groups: Range<usize>, out: &mut [u8]) {
    assert!(out.len() >= groups.len() * 2 * TILE);
    let low = _mm256_set1_epi8(15);
    for i in 0..ROWS {
        let from = row(i) * w.groups;
        for g in groups.clone() {
            // SAFETY: a row has 32 bytes for each group; `out` was measured above.
            unsafe {
                let code = _mm256_loadu_si256(w.codes.as_ptr().add((from + g) * 32).cast());
                let to = out.as_mut_ptr().add((g - groups.start) * 2 * TILE + i * 64);
                _mm256_store_si256(to.cast(), _mm256_and_si256(code, low));
                _mm256_store_si256(to.add(32).cast(), _mm256_and_si256(_mm256_srli_epi16::<4>(code), low));
            }
        }
    }
}

/// Turns the sums of a block, 32 rows of 16 tokens, and puts `rows` of `tokens` into their places.
///
/// # Safety
/// The machine must have AVX-512 F; `out` must be writable there.
#[target_feature(enable = "avx512f")]
unsafe fn store(sums: &[f32], first_row: usize, rows: usize, first_token: usize, tokens: usize, out: Columns) {
    for half in 0..rows.div_ceil(16) {
        // SAFETY: a row has 16 lanes.
        let lines =
            std::array::from_fn(|i| unsafe { _mm512_loadu_si512(sums[(half * 16 + i) * 16..][..16].as_ptr().cast()) });
        let mask = 0xffff_u16 >> (16 - (rows - half * 16).min(16));
        for (t, line) in transpose(lines).into_iter().enumerate().take(tokens) {
            // SAFETY: the caller answers for these places.
            unsafe {
                let to = out.base.add((first_token + t) * out.stride + first_row + half * 16);
                _mm512_mask_storeu_epi32(to.cast(), mask, line);
            }
        }
    }
}
