//! Which tensors a new file holds, and in which format each.

use std::fmt;

use anyhow::{Result, bail};

use super::convert::{Job, Store};
use crate::model::matrix::Float;
use crate::model::quant;
use crate::model::spec::ModelSpec;
use crate::model::tensors::{Kind, TensorSpec, tensors};

/// Formats of a whole model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Everything in f32.
    F32,
    /// Matrices in f16; norms, convolutions and the state space in f32.
    F16,
    /// Matrices in MLX's affine 4-bit, the embedding table in f16.
    Affine4,
    /// Matrices in NormalFloat, the embedding table in f16.
    Nf4,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Affine4 => "affine4",
            Format::Nf4 => "nf4",
        })
    }
}

/// The tensors of a new model. In 4 bits, a tied head is written as a tensor of its own, since the
/// embedding table stays in floating point.
pub fn plan_new(spec: &ModelSpec, format: Format, group: usize) -> Result<Vec<Job>> {
    let dense = |t: &TensorSpec| match t.kind {
        Kind::Embedding | Kind::Head | Kind::Linear | Kind::ExpertStack if format != Format::F32 => Float::F16,
        _ => Float::F32,
    };
    plan(spec, format, group, dense)
}

/// The tensors of a floating-point model in 4 bits. `stored` tells the format of those that it has;
/// what is not quantised keeps its format, except that an f32 embedding table becomes f16.
pub fn plan_quantised(
    spec: &ModelSpec,
    format: Format,
    group: usize,
    stored: impl Fn(&TensorSpec) -> Option<Float>,
) -> Result<Vec<Job>> {
    if !matches!(format, Format::Affine4 | Format::Nf4) {
        bail!("{format} is not a 4-bit format: choose affine4 or nf4");
    }
    let dense = |t: &TensorSpec| match stored(t) {
        Some(Float::F32) if t.kind == Kind::Embedding => Float::F16,
        Some(float) => float,
        None => Float::F32,
    };
    // A head that the source stores is kept even where it cannot be quantised.
    let mut spec = spec.clone();
    let head = tensors(&spec).into_iter().find(|t| t.kind == Kind::Head);
    spec.tied_head &= head.is_none_or(|head| stored(&head).is_none());
    plan(&spec, format, group, dense)
}

fn plan(spec: &ModelSpec, format: Format, group: usize, dense: impl Fn(&TensorSpec) -> Float) -> Result<Vec<Job>> {
    quant::check_group(group)?;
    let job = |tensor: TensorSpec| {
        let store = match format {
            Format::Affine4 if tensor.quantised(group) => Store::Affine4 { group },
            Format::Nf4 if tensor.quantised(group) => Store::Nf4 { group },
            _ => Store::Dense(dense(&tensor)),
        };
        Job { tensor, store }
    };
    let wanted = |job: &Job| job.tensor.required || !matches!(job.store, Store::Dense(_));
    Ok(tensors(spec).into_iter().map(job).filter(wanted).collect())
}
