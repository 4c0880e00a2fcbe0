//! Activations to int8, and which kernels multiply them with 4-bit weights.

use super::Level;

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
pub(crate) fn quantise_row(level: Level, x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
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

/// Puts 16 rows side by side: for each group its 8 words of even inputs and 8 of odd ones, of 16 rows
/// each. `rows` of them are there; the rest of the tiles is left as it is.
pub(crate) fn tile_codes(level: Level, words: &[u32], rows: usize, groups: usize, tiles: &mut [u32]) {
    let row_words = 32 * groups.div_ceil(2);
    assert!(rows <= 16 && words.len() >= rows * row_words && tiles.len() >= groups * 256);
    for row in 0..rows {
        let words = &words[row * row_words..][..row_words];
        for group in 0..groups {
            let from = &words[group / 2 * 32 + group % 2 * 8..][..24];
            let tile = &mut tiles[group * 256..][..256];
            for d in 0..8 {
                tile[d * 16 + row] = from[d];
                tile[(8 + d) * 16 + row] = from[16 + d];
            }
        }
    }
    let _ = level;
}

/// Puts the numbers of 16 rows side by side, as `tile_codes`.
pub(crate) fn tile_floats(level: Level, from: &[f32], rows: usize, groups: usize, tiles: &mut [f32]) {
    let row_len = groups.next_multiple_of(16);
    assert!(rows <= 16 && from.len() >= rows * row_len && tiles.len() >= groups * 16);
    for row in 0..rows {
        for group in 0..groups {
            tiles[group * 16 + row] = from[row * row_len + group];
        }
    }
    let _ = level;
}
