//! Activations to int8, and which kernels multiply them with 4-bit weights.

use super::Level;
use crate::backend::cpu::quantised_rows::Line;

/// The kernels for int8 activations. All give the same integers; they differ in speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8 {
    /// Plain Rust.
    Scalar,
    /// NEON.
    Neon,
    /// AVX2.
    Avx2,
    /// AVX-512 with VNNI.
    Vnni,
    /// As `Vnni`, with tiles (AMX) for several rows of activations.
    Amx,
}

impl Int8 {
    /// Every kind that this machine can run at `level`, the slowest first.
    pub fn available(level: Level) -> Vec<Self> {
        match level {
            Level::Scalar => vec![Int8::Scalar],
            Level::Neon => vec![Int8::Neon],
            Level::Avx2 => vec![Int8::Avx2],
            Level::Avx512 => {
                let mut kinds = vec![Int8::Avx2];
                if level.has_vnni() {
                    kinds.push(Int8::Vnni);
                    #[cfg(target_arch = "x86_64")]
                    if super::q4_amx::available() {
                        kinds.push(Int8::Amx);
                    }
                }
                kinds
            }
        }
    }
}

/// Turns a row into codes, scales and scaled sums, in the order that `QuantRows` describes.
pub(in crate::backend::cpu) fn quantise_row(
    level: Level,
    x: &[f32],
    codes: &mut [i8],
    scales: &mut [f32],
    sums: &mut [f32],
) {
    assert!(codes.len() >= x.len().div_ceil(128) * 128);
    assert!(scales.len() >= x.len().div_ceil(64) && sums.len() >= x.len().div_ceil(64));
    match level {
        // SAFETY: the level is one that the machine has.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { super::q4_avx512::quantise(x, codes, scales, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { quantise_avx2(x, codes, scales, sums) },
        _ => quantise(x, codes, scales, sums),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn quantise_avx2(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    quantise(x, codes, scales, sums);
}

/// `scale = max |x| / 127`, `code = round(x / scale)`, `sum = scale * sum of codes`.
// Inlined into functions that may use wider vectors: the compiler makes them out of these loops.
#[inline(always)]
fn quantise(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    for (g, x) in x.chunks(64).enumerate() {
        let mut group = [0.0f32; 64];
        group[..x.len()].copy_from_slice(x);
        // The bits of positive floats are in the order of the floats; a NaN is above them all.
        let largest = group.iter().fold(0, |m: u32, v| m.max(v.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest);
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut even = [0i8; 32];
        let mut odd = [0i8; 32];
        let mut sum = 0;
        for i in 0..32 {
            // Adding 1.5 * 2^23 leaves the rounded integer in the low bits. (|code| <= 127.)
            let code = |v: f32| (v * inverse + 12_582_912.0).to_bits() as i8;
            even[i] = code(group[2 * i]);
            odd[i] = code(group[2 * i + 1]);
            sum += i32::from(even[i]) + i32::from(odd[i]);
        }
        let at = g / 2 * 128 + g % 2 * 32;
        codes[at..at + 32].copy_from_slice(&even);
        codes[at + 64..at + 96].copy_from_slice(&odd);
        scales[g] = largest / 127.0;
        sums[g] = scales[g] * sum as f32;
    }
}

/// Puts up to 16 rows side by side for the AMX kernel, as `QuantRows` describes: `tiles` gets a line for
/// each word of four codes, with a lane for each row. `codes` are rows of `row_lines` lines.
pub(in crate::backend::cpu) fn tile_codes(codes: &[Line], row_lines: usize, tiles: &mut [Line]) {
    for (group, tile) in tiles.chunks_exact_mut(16).enumerate() {
        let (even, odd) = tile.split_at_mut(8);
        // A pair of groups has a line of even codes and one of odd ones, half a line for each.
        side_by_side(codes, row_lines, group / 2 * 2, group % 2 * 8, even);
        side_by_side(codes, row_lines, group / 2 * 2 + 1, group % 2 * 8, odd);
    }
}

/// The same for the scales or the sums of up to 16 rows: a line for each group.
pub(in crate::backend::cpu) fn tile_floats(from: &[Line], row_lines: usize, tiles: &mut [Line]) {
    for (column, tiles) in tiles.chunks_mut(16).enumerate() {
        side_by_side(from, row_lines, column, 0, tiles);
    }
}

/// Turns line `column` of up to 16 rows so that rows become lanes; `out` gets the lines from `first` on.
fn side_by_side(rows: &[Line], row_lines: usize, column: usize, first: usize, out: &mut [Line]) {
    let count = rows.len() / row_lines;
    assert!(count <= 16 && column < row_lines && first + out.len() <= 16);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512 F, and the lines are there.
        return unsafe { super::q4_avx512::side_by_side(&rows[column..], row_lines, count, first, out) };
    }
    for (i, out) in out.iter_mut().enumerate() {
        for (lane, row) in out.0.iter_mut().zip(rows.chunks_exact(row_lines)) {
            *lane = row[column].0[first + i];
        }
    }
}
