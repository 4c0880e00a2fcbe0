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
use super::q4_vnni_matmul::rows_side_by_side;
use crate::backend::cpu::quantised_rows::{Int8Tiles, QuantRows};

/// Rows at a time: two tiles.
const ROWS: usize = 32;
/// Groups unpacked at a time: 16 KB, which stays in the first cache.
const GROUPS: usize = 8;
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
    // codes: GROUPS * 2 tiles; scales, biases: groups * 32 rows; dots: 2 * 4 tiles;
    // sums: blocks * 32 rows * 16 tokens
    let [codes, scales, biases, dots, sums] =
        scratch.pieces([GROUPS * 2 * TILE / 4, padded, padded, 2 * 4 * TILE / 4, blocks * ROWS * 16]);
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
            for b in (0..blocks).step_by(2) {
                let sums = &mut sums[b * ROWS * 16..];
                let tiles = |b| x.tiles(b).expect("the caller says that x is tiled");
                // SAFETY: as above.
                unsafe {
                    if b + 1 < blocks {
                        tile.multiply([tiles(b), tiles(b + 1)], dots, sums);
                    } else {
                        tile.multiply([tiles(b)], dots, sums);
                    }
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
    /// Adds the products with `N` times 16 tokens to `sums`, `N * 32 * 16`; the first groups of a row
    /// begin them.
    ///
    /// # Safety
    /// As of `matmul`; slices as long as they say, of lines of 64 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn multiply<const N: usize>(&self, x: [Int8Tiles<'_>; N], dots: &mut [f32], sums: &mut [f32]) {
        assert!(sums.len() >= N * ROWS * 16 && dots.len() >= 2 * 4 * TILE / 4);
        if self.groups.start == 0 {
            sums[..N * ROWS * 16].fill(0.0);
        }
        let (these, others) = dots.split_at_mut(4 * TILE / 4);
        let mut dots = [these.as_mut_ptr(), others.as_mut_ptr()];
        for (i, g) in self.groups.clone().enumerate() {
            // SAFETY: each group has two tiles of codes and one of each block of tokens.
            unsafe {
                let codes = self.codes.as_ptr().add(i * 2 * TILE);
                let q: [*const i8; N] = std::array::from_fn(|n| x[n].codes[g * TILE..][..TILE].as_ptr());
                if N == 2 {
                    products_2x2(codes, q[0], q[1], dots[0]);
                } else {
                    products_2x1(codes, q[0], dots[0]);
                }
                if i > 0 {
                    self.scale(g - 1, &x, dots[1], sums);
                }
            }
            dots.swap(0, 1);
        }
        // SAFETY: as above.
        unsafe { self.scale(self.groups.end - 1, &x, dots[1], sums) };
    }

    /// `sums[n, row, token] += s_g a_g dot + b_g (a_g sum q)`
    ///
    /// # Safety
    /// As of `multiply`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn scale<const N: usize>(&self, g: usize, x: &[Int8Tiles<'_>; N], dots: *const f32, sums: &mut [f32]) {
        let scales = &self.scales[g * ROWS..][..ROWS];
        let biases = &self.biases[g * ROWS..][..ROWS];
        // SAFETY: 16 tokens of each block for the group; 16 lanes for each row of each tile.
        unsafe {
            let a: [__m512; N] = std::array::from_fn(|n| _mm512_loadu_ps(x[n].scales[g * 16..][..16].as_ptr()));
            let s: [__m512; N] = std::array::from_fn(|n| _mm512_loadu_ps(x[n].sums[g * 16..][..16].as_ptr()));
            for row in 0..ROWS {
                let (scale, bias) = (_mm512_set1_ps(scales[row]), _mm512_set1_ps(biases[row]));
                for n in 0..N {
                    let at = (n * ROWS + row) * 16;
                    let dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots.add(at).cast()));
                    let sum = sums.as_mut_ptr().add(at);
                    let y = _mm512_fmadd_ps(_mm512_mul_ps(dot, a[n]), scale, _mm512_load_ps(sum));
                    _mm512_store_ps(sum, _mm512_fmadd_ps(bias, s[n], y));
                }
            }
        }
    }
}

/// Two tiles of weights times two of activations: `out[n, row, token]`.
///
/// # Safety
/// AMX must be available and set up; `w` holds 2 tiles, `x` and `y` one each, `out` 4.
#[inline]
unsafe fn products_2x2(w: *const u8, x: *const i8, y: *const i8, out: *mut f32) {
    // SAFETY: demanded above.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{w} + {s}*1]",
            "tileloadd tmm6, [{x} + {s}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{y} + {s}*1]",
            "tdpbusd tmm2, tmm4, tmm7",
            "tileloadd tmm5, [{w} + {s}*1 + 1024]",
            "tdpbusd tmm1, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "tilestored [{o} + {s}*1], tmm0",
            "tilestored [{o} + {s}*1 + 2048], tmm2",
            "tilestored [{o} + {s}*1 + 1024], tmm1",
            "tilestored [{o} + {s}*1 + 3072], tmm3",
            w = in(reg) w, x = in(reg) x, y = in(reg) y, o = in(reg) out, s = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Two tiles of weights times one of activations: `out[row, token]`.
///
/// # Safety
/// AMX must be available and set up; `w` holds 2 tiles, `x` one, `out` 2.
#[inline]
unsafe fn products_2x1(w: *const u8, x: *const i8, out: *mut f32) {
    // SAFETY: demanded above.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tileloadd tmm4, [{w} + {s}*1]",
            "tileloadd tmm6, [{x} + {s}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{w} + {s}*1 + 1024]",
            "tdpbusd tmm1, tmm5, tmm6",
            "tilestored [{o} + {s}*1], tmm0",
            "tilestored [{o} + {s}*1 + 1024], tmm1",
            w = in(reg) w, x = in(reg) x, o = in(reg) out, s = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        );
    }
}

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
