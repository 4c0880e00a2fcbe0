//! Linear layers: `x W^T`, with weights as they are stored.

use anyhow::Result;
use half::{bf16, f16};
use mlx_rs::{Array, Dtype, ops as mlx};

use super::ops::{self, Said, dims, size};
use crate::model::matrix::{Data, Float, Floats, Matrix};

/// Inputs whose halves would be infinite are held at the largest that is not.
const LARGEST_HALF: f32 = 65504.0;

/// A matrix, or a stack of them, ready for products.
#[derive(Clone)]
pub(crate) enum Weight {
    /// Transposed: (.., in, out).
    Dense(Array),
    /// Eight codes in each word (.., out, in / 8), one scale and bias for each group (.., out, in / group).
    Affine4 { group: i32, codes: Array, scales: Array, biases: Array },
}

impl Weight {
    /// Copies a matrix out of its file, whose memory is given back: it is never held twice. Where products are
    /// in f32, scales are widened to it once, and not anew for each product.
    pub(crate) fn new(matrix: &Matrix, halves: bool) -> Result<Self> {
        Self::stack(matrix, 1, halves)?.map(|a| ops::row(a, 0))
    }

    /// The same, of `count` matrices one under the other.
    pub(crate) fn stack(matrix: &Matrix, count: usize, halves: bool) -> Result<Self> {
        let (rows, cols) = (matrix.rows / count, matrix.cols);
        let shape = |cols: usize| dims(&[count, rows, cols]);
        let weight = match &matrix.data {
            Data::Dense(values) => Weight::Dense(ops::transpose(&array_of(values, &shape(cols)), &[0, 2, 1])?),
            Data::Affine4 { group, codes, scales, biases } => {
                let floats = |values: &Floats| -> Result<Array> {
                    let stored = array_of(values, &shape(cols / group));
                    let used = if halves { stored } else { ops::cast(&stored, Dtype::Float32)? };
                    used.eval().said("widening", &[&used])?;
                    Ok(used)
                };
                let words: &[u32] = bytemuck::cast_slice(codes);
                let codes = Array::from_slice(words, &shape(cols / 8));
                Weight::Affine4 { group: size(*group), codes, scales: floats(scales)?, biases: floats(biases)? }
            }
            Data::Nf4 { .. } => anyhow::bail!("{NF4}"),
        };
        matrix.release();
        Ok(weight)
    }

    fn map(self, change: impl Fn(&Array) -> Result<Array>) -> Result<Self> {
        Ok(match self {
            Weight::Dense(w) => Weight::Dense(change(&w)?),
            Weight::Affine4 { group, codes, scales, biases } => {
                Weight::Affine4 { group, codes: change(&codes)?, scales: change(&scales)?, biases: change(&biases)? }
            }
        })
    }

    /// Every array of it.
    pub(crate) fn arrays(&self) -> Vec<&Array> {
        match self {
            Weight::Dense(w) => vec![w],
            Weight::Affine4 { codes, scales, biases, .. } => vec![codes, scales, biases],
        }
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.arrays().iter().map(|a| a.nbytes()).sum()
    }

    /// What the inputs of its products are rounded to: on a GPU what the weights are stored in, else f32.
    fn inputs(&self, halves: bool) -> Dtype {
        let stored = match self {
            Weight::Dense(w) => w.dtype(),
            Weight::Affine4 { scales, .. } => scales.dtype(),
        };
        if halves { stored } else { Dtype::Float32 }
    }

    /// `x W^T` of f32 (.., in), in f32 (.., out).
    pub(crate) fn apply(&self, x: &Array, halves: bool) -> Result<Array> {
        let x = rounded(x, self.inputs(halves))?;
        let out = match self {
            Weight::Dense(w) => ops::matmul(&x, &ops::cast(w, x.dtype())?)?,
            Weight::Affine4 { group, codes, scales, biases } => {
                let done = mlx::quantized_matmul(&x, codes, scales, biases, true, *group, 4);
                done.said("quantized_matmul", &[&x, codes, scales])?
            }
        };
        ops::cast(&out, Dtype::Float32)
    }

    /// Row by row, with the matrix of the stack that `experts` names: x (.., 1, in) to (.., 1, out), with one
    /// expert for each of the leading dimensions. `sorted` promises that they rise.
    pub(crate) fn apply_experts(&self, x: &Array, experts: &Array, sorted: bool, halves: bool) -> Result<Array> {
        let x = rounded(x, self.inputs(halves))?;
        let out = match self {
            Weight::Dense(w) => {
                let w = ops::cast(w, x.dtype())?;
                mlx::gather_mm(&x, &w, None, experts, sorted).said("gather_mm", &[&x, &w, experts])?
            }
            Weight::Affine4 { group, codes, scales, biases } => {
                let done = mlx::gather_qmm(&x, codes, scales, biases, None, experts, true, *group, 4, sorted);
                done.said("gather_qmm", &[&x, codes, scales, experts])?
            }
        };
        ops::cast(&out, Dtype::Float32)
    }
}

/// Why a matrix cannot be used here.
const NF4: &str = "weights in NF4 run on the CPU backend only";

fn rounded(x: &Array, dtype: Dtype) -> Result<Array> {
    if dtype != Dtype::Float16 {
        return ops::cast(x, dtype);
    }
    let held = ops::minimum(&ops::maximum(x, &ops::number(-LARGEST_HALF))?, &ops::number(LARGEST_HALF))?;
    ops::cast(&held, dtype)
}

/// A copy of stored numbers, in their own format.
pub(crate) fn array_of(values: &Floats, shape: &[i32]) -> Array {
    let bytes = &*values.bytes;
    match values.format {
        Float::F32 => Array::from_slice(bytemuck::cast_slice::<u8, f32>(bytes), shape),
        Float::F16 => Array::from_slice(bytemuck::cast_slice::<u8, f16>(bytes), shape),
        Float::Bf16 => Array::from_slice(bytemuck::cast_slice::<u8, bf16>(bytes), shape),
    }
}
