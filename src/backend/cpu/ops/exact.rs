//! Weights of any format times f32 activations: the exact path, and what the fast path does with
//! matrices that are not 4-bit in groups of 64.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Level;
use super::q4::Scratch;
use crate::model::matrix::{Data, Float, Floats, Matrix, NF4};

/// Codes are used as they are; scale and bias make weights of them.
const AFFINE: [f32; 16] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];

/// A matrix of 4-bit codes: `w = scale * table[code] + bias`.
#[derive(Clone, Copy)]
pub(super) struct Coded<'a> {
    pub(super) codes: &'a [u8],
    pub(super) group: usize,
    pub(super) table: &'static [f32; 16],
    scales: &'a Floats,
    biases: Option<&'a Floats>,
    cols: usize,
}

impl<'a> Coded<'a> {
    fn new(m: &'a Matrix) -> Option<Self> {
        let cols = m.cols;
        match &m.data {
            Data::Dense(_) => None,
            Data::Affine4 { group, codes, scales, biases } => {
                Some(Self { codes, group: *group, table: &AFFINE, scales, biases: Some(biases), cols })
            }
            Data::Nf4 { group, codes, absmax } => {
                Some(Self { codes, group: *group, table: &NF4, scales: absmax, biases: None, cols })
            }
        }
    }

    /// The codes of a row.
    pub(super) fn row(&self, row: usize) -> &'a [u8] {
        &self.codes[row * self.cols / 2..][..self.cols / 2]
    }
}

/// Lanes of the kernels that read codes a word at a time, if the level has them and they can read `m`.
///
/// A word has eight codes; shifted by `4 n` bits, a vector of words gives one code of each, inputs
/// `8 lane + n`. So nothing is unpacked, if the activations are in that order too (`pack`).
fn word_lanes(level: Level, m: &Matrix) -> Option<usize> {
    let lanes = match level {
        Level::Avx512 => 16,
        Level::Avx2 => 8,
        Level::Scalar | Level::Neon => return None,
    };
    let group = Coded::new(m)?.group;
    // One scale for each word, and blocks that hold whole groups or groups that hold whole blocks.
    (group >= 8 && group.is_power_of_two() && m.cols.is_multiple_of(group)).then_some(lanes)
}

/// Floats that `pack` needs for a row of activations of `m`; none if `m` takes them as they are.
pub(crate) fn packed_len(level: Level, m: &Matrix) -> usize {
    let Some(lanes) = word_lanes(level, m) else { return 0 };
    let group = Coded::new(m).map_or(1, |c| c.group);
    m.cols.next_multiple_of(8 * lanes) + m.cols / group
}

/// True if what `pack` makes of a row serves both matrices.
pub(crate) fn packs_alike(a: &Matrix, b: &Matrix) -> bool {
    a.cols == b.cols && Coded::new(a).map(|c| c.group) == Coded::new(b).map(|c| c.group)
}

/// Activations in the order in which the kernels of `m` want them, then their sums over each group.
pub(crate) fn pack(level: Level, m: &Matrix, x: &[f32], out: &mut [f32]) {
    let (Some(lanes), Some(coded)) = (word_lanes(level, m), Coded::new(m)) else { return };
    let (packed, sums) = out.split_at_mut(m.cols.next_multiple_of(8 * lanes));
    packed.fill(0.0);
    for (block, x) in packed.chunks_exact_mut(8 * lanes).zip(x.chunks(8 * lanes)) {
        for (lane, x) in x.chunks_exact(8).enumerate() {
            for (n, x) in x.iter().enumerate() {
                block[n * lanes + lane] = *x;
            }
        }
    }
    for (sum, x) in sums.iter_mut().zip(x.chunks_exact(coded.group)) {
        *sum = x.iter().sum();
    }
}

/// `out[i] = m[first + i] . x`, in f32. `packed` is what `pack` made of `x`.
pub(crate) fn matvec(
    level: Level,
    m: &Matrix,
    first: usize,
    x: &[f32],
    packed: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    assert!(x.len() == m.cols && first + out.len() <= m.rows);
    match (&m.data, Coded::new(m), word_lanes(level, m)) {
        (Data::Dense(values), ..) => {
            for (i, out) in out.iter_mut().enumerate() {
                *out = dot_floats(level, values, (first + i) * m.cols, x);
            }
        }
        #[cfg(target_arch = "x86_64")]
        (_, Some(coded), Some(_)) => by_words(level, m, &coded, first, packed, out, scratch),
        _ => {
            let [row] = scratch.pieces([m.cols]);
            for (i, out) in out.iter_mut().enumerate() {
                row_to_f32(level, m, first + i, row);
                *out = dot(level, row, x);
            }
        }
    }
}

/// `matvec` with the kernels that read codes a word at a time.
#[cfg(target_arch = "x86_64")]
fn by_words(
    level: Level,
    m: &Matrix,
    coded: &Coded<'_>,
    first: usize,
    packed: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    const ROWS: usize = 4;
    assert_eq!(packed.len(), packed_len(level, m));
    let groups = m.cols / coded.group;
    let (x, sums) = packed.split_at(packed.len() - groups);
    // The kernels load sixteen scales where fewer are left.
    let [scales, biases] = scratch.pieces([ROWS * groups + 16, groups]);
    let mut row = first;
    for out in out.chunks_mut(ROWS) {
        let here = out.len();
        floats_to_f32(coded.scales, row * groups, &mut scales[..here * groups]);
        let codes = |i| coded.row(row + i);
        let scales = |i| &scales[i * groups..];
        // SAFETY: the level is one that the machine has; the lengths are those that the kernels check.
        unsafe {
            match (level, here) {
                (Level::Avx512, ROWS) => {
                    let y = super::exact_avx512::dots::<ROWS>(
                        coded,
                        std::array::from_fn(codes),
                        std::array::from_fn(scales),
                        x,
                    );
                    out.copy_from_slice(&y);
                }
                (Level::Avx512, _) => {
                    for (i, out) in out.iter_mut().enumerate() {
                        [*out] = super::exact_avx512::dots(coded, [codes(i)], [scales(i)], x);
                    }
                }
                _ => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = super::exact_avx2::dot(coded, codes(i), scales(i), x);
                    }
                }
            }
        }
        if let Some(stored) = coded.biases {
            for (i, out) in out.iter_mut().enumerate() {
                floats_to_f32(stored, (row + i) * groups, biases);
                *out += dot(level, biases, sums);
            }
        }
        row += here;
    }
}

/// One row as f32.
pub(crate) fn row_to_f32(level: Level, m: &Matrix, row: usize, out: &mut [f32]) {
    assert!(out.len() == m.cols && row < m.rows);
    let coded = match (&m.data, Coded::new(m)) {
        (Data::Dense(values), _) => return floats_to_f32(values, row * m.cols, out),
        (_, Some(coded)) => coded,
        (_, None) => unreachable!("a matrix is dense or coded"),
    };
    if !m.cols.is_multiple_of(coded.group) || !coded.group.is_multiple_of(16) {
        return m.row_into(row, out);
    }
    let groups = m.cols / coded.group;
    let codes = coded.row(row).chunks_exact(coded.group / 2);
    for (g, (codes, out)) in codes.zip(out.chunks_exact_mut(coded.group)).enumerate() {
        let scale = coded.scales.get(row * groups + g);
        let bias = coded.biases.map_or(0.0, |b| b.get(row * groups + g));
        let table = coded.table.map(|v| scale * v + bias);
        match level {
            // SAFETY: the level is one that the machine has; a group is a multiple of 16.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { super::exact_avx512::look_up(codes, &table, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { super::exact_avx2::look_up(codes, &table, out) },
            _ => {
                for (code, out) in codes.iter().zip(out.chunks_exact_mut(2)) {
                    out[0] = table[usize::from(code & 15)];
                    out[1] = table[usize::from(code >> 4)];
                }
            }
        }
    }
}

/// `out.len()` numbers from `start`, as f32.
pub(crate) fn floats_to_f32(values: &Floats, start: usize, out: &mut [f32]) {
    let range = start..start + out.len();
    match values.format {
        Float::F32 => out.copy_from_slice(&bytemuck::cast_slice::<u8, f32>(&values.bytes)[range]),
        Float::F16 => bytemuck::cast_slice::<u8, f16>(&values.bytes)[range].convert_to_f32_slice(out),
        Float::Bf16 => {
            for (out, v) in out.iter_mut().zip(&bytemuck::cast_slice::<u8, bf16>(&values.bytes)[range]) {
                *out = f32::from_bits(u32::from(v.to_bits()) << 16);
            }
        }
    }
}

/// Numbers from `start` on, times `x`.
fn dot_floats(level: Level, values: &Floats, start: usize, x: &[f32]) -> f32 {
    if values.format == Float::F32 {
        return dot(level, &bytemuck::cast_slice(&values.bytes)[start..start + x.len()], x);
    }
    #[cfg(target_arch = "x86_64")]
    if matches!(level, Level::Avx2 | Level::Avx512) {
        let values16 = &bytemuck::cast_slice::<u8, u16>(&values.bytes)[start..start + x.len()];
        // SAFETY: the level is one that the machine has; the lengths are equal.
        return unsafe {
            match (level, values.format) {
                (Level::Avx512, Float::F16) => super::exact_avx512::dot_f16(values16, x),
                (Level::Avx512, _) => super::exact_avx512::dot_bf16(values16, x),
                (_, Float::F16) => super::exact_avx2::dot_f16(values16, x),
                _ => super::exact_avx2::dot_bf16(values16, x),
            }
        };
    }
    let mut sum = 0.0;
    let mut wide = [0.0; 256];
    for (i, x) in x.chunks(256).enumerate() {
        let wide = &mut wide[..x.len()];
        floats_to_f32(values, start + i * 256, wide);
        sum += dot(level, wide, x);
    }
    sum
}

/// `a . b`
pub(crate) fn dot(level: Level, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    match level {
        // SAFETY: the level is one that the machine has; the lengths are equal.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { super::exact_avx512::dot_f32(a, b) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { super::exact_avx2::dot_f32(a, b) },
        _ => dot_portable(a, b),
    }
}

/// Sixteen sums side by side, which the compiler turns into whatever vectors the target has (NEON).
fn dot_portable(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a16, b16) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a16.remainder().iter().zip(b16.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a16.zip(b16) {
        for i in 0..16 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}
