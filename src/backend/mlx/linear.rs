//! Linear layers: `x W^T`, with weights as they are stored.

use std::sync::{Arc, OnceLock};

use anyhow::Result;
use half::{bf16, f16};
use mlx_rs::{Array, Dtype, ops as mlx};

use super::ops::{self, Said, dims, size};
use crate::model::matrix::{Data, Float, Floats, Matrix};

/// Inputs whose halves would be infinite are held at the largest that is not.
const LARGEST_HALF: f32 = 65504.0;

/// A matrix, or a stack of them, ready for products.
#[derive(Clone)]
pub(crate) struct Weight {
    /// The name of its tensor without `.weight`.
    pub(crate) path: Arc<str>,
    pub(crate) base: Base,
    /// What is trained beside it.
    pub(crate) adapter: Option<Adapter>,
}

/// Values as they are stored.
#[derive(Clone)]
pub(crate) enum Base {
    /// Transposed: (.., in, out).
    Dense(Array),
    /// Eight codes in each word (.., out, in / 8), one scale and bias for each group (.., out, in / group).
    Affine4 { group: i32, codes: Array, scales: Array, biases: Array },
}

/// `y = factor * (x W^T + scale * drop(x) A B)`
#[derive(Clone)]
pub(crate) struct Adapter {
    /// (.., in, r)
    pub(crate) a: Array,
    /// (.., r, out)
    pub(crate) b: Array,
    pub(crate) scale: f32,
    /// DoRA's m / n: (.., out)
    pub(crate) factor: Option<Array>,
    /// The share of the inputs that is dropped, and what draws them.
    pub(crate) dropout: Option<(f32, u64)>,
}

impl Weight {
    /// Copies a matrix out of its file, whose memory is given back: it is never held twice. Where products are
    /// in f32, scales are widened to it once, and not anew for each product.
    pub(crate) fn new(path: &str, matrix: &Matrix, halves: bool) -> Result<Self> {
        let mut weight = Self::stack(path, matrix, 1, halves)?;
        weight.base = weight.base.map(|a| ops::row(a, 0))?;
        Ok(weight)
    }

    /// The same, of `count` matrices one under the other.
    pub(crate) fn stack(path: &str, matrix: &Matrix, count: usize, halves: bool) -> Result<Self> {
        let (rows, cols) = (matrix.rows / count, matrix.cols);
        let shape = |cols: usize| dims(&[count, rows, cols]);
        let base = match &matrix.data {
            Data::Dense(values) => Base::Dense(ops::transpose(&array_of(values, &shape(cols)), &[0, 2, 1])?),
            Data::Affine4 { group, codes, scales, biases } => {
                let floats = |values: &Floats| -> Result<Array> {
                    let stored = array_of(values, &shape(cols / group));
                    let used = if halves { stored } else { ops::cast(&stored, Dtype::Float32)? };
                    used.eval().said("widening", &[&used])?;
                    Ok(used)
                };
                let words: &[u32] = bytemuck::cast_slice(codes);
                let codes = Array::from_slice(words, &shape(cols / 8));
                Base::Affine4 { group: size(*group), codes, scales: floats(scales)?, biases: floats(biases)? }
            }
            Data::Nf4 { .. } => anyhow::bail!("{NF4}"),
        };
        matrix.release();
        Ok(Self { path: path.into(), base, adapter: None })
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let adapter = self
            .adapter
            .as_ref()
            .map_or(0, |a| a.a.nbytes() + a.b.nbytes() + a.factor.as_ref().map_or(0, Array::nbytes));
        adapter + self.base.arrays().iter().map(|a| a.nbytes()).sum::<usize>()
    }

    /// `x W^T` of f32 (.., in), in f32 (.., out).
    pub(crate) fn apply(&self, x: &Array, halves: bool) -> Result<Array> {
        let out = self.base.apply(x, halves)?;
        let Some(adapter) = &self.adapter else { return Ok(out) };
        let z = ops::matmul(&adapter.dropped(x, &self.path)?, &adapter.a)?;
        adapter.onto(&out, &ops::matmul(&z, &adapter.b)?, adapter.factor.as_ref())
    }

    /// Row by row, with the matrix of the stack that `experts` names: x (.., 1, in) to (.., 1, out), with one
    /// expert for each of the leading dimensions. `sorted` promises that they rise.
    pub(crate) fn apply_experts(&self, x: &Array, experts: &Array, sorted: bool, halves: bool) -> Result<Array> {
        let out = self.base.apply_experts(x, experts, sorted, halves)?;
        let Some(adapter) = &self.adapter else { return Ok(out) };
        let z = gather(&adapter.dropped(x, &self.path)?, &adapter.a, experts, sorted)?;
        let add = gather(&z, &adapter.b, experts, sorted)?;
        let of_expert = |factor: &Array| ops::expand(&ops::take(factor, experts)?, &[-2]);
        adapter.onto(&out, &add, adapter.factor.as_ref().map(of_expert).transpose()?.as_ref())
    }
}

impl Adapter {
    /// The branch's input.
    fn dropped(&self, x: &Array, path: &str) -> Result<Array> {
        let Some((share, seed)) = self.dropout else { return Ok(x.clone()) };
        // FNV-1a over the path: each projection drops its own.
        let name = path.bytes().fold(seed, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let key = mlx_rs::random::key(name).said("a key", &[])?;
        let chance = Array::from_f32(1.0 - share);
        let kept = mlx_rs::random::bernoulli(&chance, x.shape(), &key).said("dropout", &[x])?;
        let mask = ops::multiply(&ops::cast(&kept, Dtype::Float32)?, &ops::number(1.0 / (1.0 - share)))?;
        ops::multiply(x, &mask)
    }

    fn onto(&self, out: &Array, add: &Array, factor: Option<&Array>) -> Result<Array> {
        let sum = ops::add(out, &ops::multiply(add, &ops::number(self.scale))?)?;
        factor.map_or(Ok(sum.clone()), |factor| ops::multiply(&sum, factor))
    }
}

fn gather(x: &Array, w: &Array, experts: &Array, sorted: bool) -> Result<Array> {
    mlx::gather_mm(x, w, None, experts, sorted).said("gather_mm", &[x, w, experts])
}

impl Base {
    fn map(self, change: impl Fn(&Array) -> Result<Array>) -> Result<Self> {
        Ok(match self {
            Base::Dense(w) => Base::Dense(change(&w)?),
            Base::Affine4 { group, codes, scales, biases } => {
                Base::Affine4 { group, codes: change(&codes)?, scales: change(&scales)?, biases: change(&biases)? }
            }
        })
    }

    fn arrays(&self) -> Vec<&Array> {
        match self {
            Base::Dense(w) => vec![w],
            Base::Affine4 { codes, scales, biases, .. } => vec![codes, scales, biases],
        }
    }

    /// What the inputs of its products are rounded to: on a GPU what the weights are stored in, else f32.
    fn inputs(&self, halves: bool) -> Dtype {
        let stored = match self {
            Base::Dense(w) => w.dtype(),
            Base::Affine4 { scales, .. } => scales.dtype(),
        };
        if halves { stored } else { Dtype::Float32 }
    }

    /// See [`Weight::apply`]; without the adapter.
    pub(crate) fn apply(&self, x: &Array, halves: bool) -> Result<Array> {
        let x = rounded(x, self.inputs(halves))?;
        let out = match self {
            Base::Dense(w) => ops::matmul(&x, &ops::cast(w, x.dtype())?)?,
            Base::Affine4 { group, codes, scales, biases } => {
                let done = mlx::quantized_matmul(&x, codes, scales, biases, true, *group, 4);
                done.said("quantized_matmul", &[&x, codes, scales])?
            }
        };
        ops::cast(&out, Dtype::Float32)
    }

    /// See [`Weight::apply_experts`]; without the adapter.
    pub(crate) fn apply_experts(&self, x: &Array, experts: &Array, sorted: bool, halves: bool) -> Result<Array> {
        // MLX's CPU device gathers dense matrices in f32 alone.
        let halves = halves && (on_gpu() || matches!(self, Base::Affine4 { .. }));
        let x = rounded(x, self.inputs(halves))?;
        let out = match self {
            Base::Dense(w) => gather(&x, &ops::cast(w, x.dtype())?, experts, sorted)?,
            Base::Affine4 { group, codes, scales, biases } => {
                let done = mlx::gather_qmm(&x, codes, scales, biases, None, experts, true, *group, 4, sorted);
                done.said("gather_qmm", &[&x, codes, scales, experts])?
            }
        };
        ops::cast(&out, Dtype::Float32)
    }
}

fn on_gpu() -> bool {
    static ON_GPU: OnceLock<bool> = OnceLock::new();
    *ON_GPU.get_or_init(|| super::device().is_ok_and(|device| device == "gpu"))
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
