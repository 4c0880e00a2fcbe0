//! Random matrices and every kind of kernel, for tests.

use half::{bf16, f16};

use super::Compute;
use crate::backend::cpu::ops::Level;
use crate::backend::cpu::ops::int8::Int8;
use crate::model::matrix::{Bytes, Data, Float, Floats, Matrix};

/// Every level and kind of int8 kernel of this machine.
pub(in crate::backend::cpu) fn computes(threads: usize) -> Vec<Compute> {
    let kinds = |level| Int8::available(level).into_iter().map(move |int8| (level, int8));
    Level::available().into_iter().flat_map(kinds).map(|(l, i)| Compute::with_int8(threads, l, i)).collect()
}

/// A small generator of the xorshift family.
pub(in crate::backend::cpu) struct Random(u64);

impl Random {
    pub(in crate::backend::cpu) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(in crate::backend::cpu) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// From -1 to 1.
    pub(in crate::backend::cpu) fn float(&mut self) -> f32 {
        self.next() as f32 / u32::MAX as f32 * 2.0 - 1.0
    }
}

/// Values from -1 to 1.
pub(in crate::backend::cpu) fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.float()).collect()
}

/// The values in a format.
pub(in crate::backend::cpu) fn floats(format: Float, values: &[f32]) -> Floats {
    let bytes = match format {
        Float::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>(),
        Float::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Float::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
    };
    let len = bytes.len();
    Floats { format, bytes: Bytes::new(std::sync::Arc::new(bytes), 0, len).unwrap() }
}

/// A matrix of numbers.
pub(in crate::backend::cpu) fn dense(format: Float, rows: usize, cols: usize) -> Matrix {
    let values = random((rows * 31 + cols) as u64, rows * cols);
    Matrix { rows, cols, data: Data::Dense(floats(format, &values)) }
}

fn codes(rows: usize, cols: usize) -> Bytes {
    let mut random = Random::new((rows * 37 + cols) as u64);
    Bytes::from_words((0..rows * cols / 8).map(|_| random.next()).collect())
}

/// A matrix in affine 4-bit, its weights within -1 and 1 or so.
pub(in crate::backend::cpu) fn affine(format: Float, group: usize, rows: usize, cols: usize) -> Matrix {
    let n = rows * cols / group;
    let scales: Vec<f32> = random(n as u64 + 1, n).iter().map(|v| v * 0.1).collect();
    let biases: Vec<f32> = scales.iter().map(|s| -7.7 * s).collect();
    let (scales, biases) = (floats(format, &scales), floats(format, &biases));
    Matrix { rows, cols, data: Data::Affine4 { group, codes: codes(rows, cols), scales, biases } }
}

/// A matrix in NormalFloat.
pub(in crate::backend::cpu) fn nf4(format: Float, group: usize, rows: usize, cols: usize) -> Matrix {
    let n = rows * cols / group;
    let absmax = floats(format, &random(n as u64 + 2, n));
    Matrix { rows, cols, data: Data::Nf4 { group, codes: codes(rows, cols), absmax } }
}
