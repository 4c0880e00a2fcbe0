//! MLX's operations, with errors that say what was computed, of which shapes.

use std::fmt::Display;
use std::ops::Range;

use anyhow::{Result, anyhow};
use mlx_rs::ops::indexing::{ArrayIndex, ArrayIndexOp, TryIndexMutOp, TryIndexOp, take_along_axis, take_axis};
use mlx_rs::{Array, Dtype, ops};

/// Adds to an error of MLX what it was about.
pub(crate) trait Said<T> {
    /// `name` is the operation, `of` what it was given.
    fn said(self, name: &str, of: &[&Array]) -> Result<T>;
}

impl<T, E: Display> Said<T> for Result<T, E> {
    fn said(self, name: &str, of: &[&Array]) -> Result<T> {
        self.map_err(|error| {
            let given: Vec<String> = of.iter().map(|a| describe(a)).collect();
            let of = if given.is_empty() { "" } else { " of " };
            anyhow!("MLX could not compute {name}{of}{}: {error}", given.join(" and "))
        })
    }
}

/// As `float32 (2, 64)`.
pub(crate) fn describe(a: &Array) -> String {
    let sizes: Vec<String> = a.shape().iter().map(ToString::to_string).collect();
    format!("{} ({})", format!("{:?}", a.dtype()).to_lowercase(), sizes.join(", "))
}

macro_rules! unary {
    ($($name:ident)*) => {$(
        pub(crate) fn $name(a: &Array) -> Result<Array> {
            ops::$name(a).said(stringify!($name), &[a])
        }
    )*};
}

macro_rules! binary {
    ($($name:ident)*) => {$(
        pub(crate) fn $name(a: &Array, b: &Array) -> Result<Array> {
            ops::$name(a, b).said(stringify!($name), &[a, b])
        }
    )*};
}

unary!(exp negative sigmoid square sqrt log log1p expm1);
binary!(add subtract multiply divide matmul maximum minimum logaddexp);

/// A number, to be combined with arrays of f32.
pub(crate) fn number(value: f32) -> Array {
    Array::from_f32(value)
}

/// Numbers in rows of the last of the dimensions.
pub(crate) fn array(values: &[f32], shape: &[usize]) -> Array {
    Array::from_slice(values, &dims(shape))
}

/// Sizes as MLX counts them. Those of a model were checked to fit when its config was read.
pub(crate) fn dims(shape: &[usize]) -> Vec<i32> {
    shape.iter().map(|n| size(*n)).collect()
}

/// One size as MLX counts it; one that does not fit makes an operation that fails.
pub(crate) fn size(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

pub(crate) fn zeros(shape: &[usize], dtype: Dtype) -> Result<Array> {
    ops::zeros_dtype(&dims(shape), dtype).said("zeros", &[])
}

pub(crate) fn reshape(a: &Array, shape: &[usize]) -> Result<Array> {
    ops::reshape(a, &dims(shape)).said("reshape", &[a])
}

pub(crate) fn transpose(a: &Array, axes: &[i32]) -> Result<Array> {
    ops::transpose_axes(a, axes).said("transpose", &[a])
}

/// With its last two dimensions swapped.
pub(crate) fn swapped(a: &Array) -> Result<Array> {
    ops::swap_axes(a, -1, -2).said("swap", &[a])
}

pub(crate) fn expand(a: &Array, axes: &[i32]) -> Result<Array> {
    ops::expand_dims_axes(a, axes).said("expand", &[a])
}

pub(crate) fn concatenate(arrays: &[&Array], axis: i32) -> Result<Array> {
    ops::concatenate(arrays, axis).said("concatenate", arrays)
}

pub(crate) fn stack(arrays: &[Array], axis: i32) -> Result<Array> {
    ops::stack(arrays, axis).said("stack", &arrays.iter().collect::<Vec<_>>())
}

pub(crate) fn sum(a: &Array) -> Result<Array> {
    ops::sum(a, false).said("sum", &[a])
}

pub(crate) fn sum_of(a: &Array, axis: i32) -> Result<Array> {
    ops::sum_axis(a, axis, false).said("sum", &[a])
}

pub(crate) fn mean(a: &Array) -> Result<Array> {
    ops::mean(a, false).said("mean", &[a])
}

pub(crate) fn mean_of(a: &Array, axis: i32) -> Result<Array> {
    ops::mean_axis(a, axis, false).said("mean", &[a])
}

pub(crate) fn logsumexp(a: &Array) -> Result<Array> {
    ops::logsumexp_axis(a, -1, false).said("logsumexp", &[a])
}

/// Where the condition holds the one, else the other.
pub(crate) fn select(condition: &Array, a: &Array, b: &Array) -> Result<Array> {
    ops::select(condition, a, b).said("select", &[condition, a, b])
}

pub(crate) fn less(a: &Array, b: &Array) -> Result<Array> {
    ops::lt(a, b).said("less", &[a, b])
}

pub(crate) fn equal(a: &Array, b: &Array) -> Result<Array> {
    ops::eq(a, b).said("equal", &[a, b])
}

/// Computes all of them now.
pub(crate) fn eval<'a>(all: impl IntoIterator<Item = &'a Array>) -> Result<()> {
    mlx_rs::transforms::eval(all).said("what it was asked for", &[])
}

pub(crate) fn cumsum(a: &Array, axis: i32) -> Result<Array> {
    ops::cumsum(a, axis, None, None).said("cumsum", &[a])
}

pub(crate) fn softmax(a: &Array) -> Result<Array> {
    ops::softmax_axis(a, -1, true).said("softmax", &[a])
}

pub(crate) fn argsort(a: &Array) -> Result<Array> {
    ops::argsort_axis(a, -1).said("argsort", &[a])
}

pub(crate) fn take(a: &Array, indices: &Array) -> Result<Array> {
    take_axis(a, indices, 0).said("take", &[a, indices])
}

/// For each row, the values at the row's own indices.
pub(crate) fn take_along(a: &Array, indices: &Array) -> Result<Array> {
    take_along_axis(a, indices, -1).said("take along", &[a, indices])
}

pub(crate) fn cast(a: &Array, dtype: Dtype) -> Result<Array> {
    if a.dtype() == dtype {
        return Ok(a.clone());
    }
    a.as_dtype(dtype).said("cast", &[a])
}

/// Its own copy if it is a part of something much larger, which is then let go.
pub(crate) fn contiguous(a: &Array) -> Result<Array> {
    a.contiguous().said("contiguous", &[a])
}

/// A range of one dimension, everything of the others.
pub(crate) fn narrow(a: &Array, axis: usize, range: Range<usize>) -> Result<Array> {
    if range.start == 0 && Some(&size(range.end)) == a.shape().get(axis) {
        return Ok(a.clone());
    }
    a.try_index(&within(axis, range)[..]).said("narrow", &[a])
}

/// Replaces a range of one dimension; in place if nobody else holds the array.
pub(crate) fn replace(a: &mut Array, axis: usize, range: Range<usize>, by: &Array) -> Result<()> {
    let place = within(axis, range);
    let done = a.try_index_mut(&place[..], by);
    done.said("replace", &[a, by])
}

fn within(axis: usize, range: Range<usize>) -> Vec<ArrayIndexOp<'static>> {
    let mut all = vec![(..).index_op(); axis];
    all.push((size(range.start)..size(range.end)).index_op());
    all
}

/// Row `i` of the first dimension, which is then gone.
pub(crate) fn row(a: &Array, i: usize) -> Result<Array> {
    a.try_index(size(i)).said("row", &[a])
}

/// `a * sigmoid(a)`
pub(crate) fn silu(a: &Array) -> Result<Array> {
    multiply(a, &sigmoid(a)?)
}

/// `x / sqrt(mean(x^2) + eps) * w`
pub(crate) fn rms_norm(x: &Array, weight: &Array, eps: f32) -> Result<Array> {
    mlx_rs::fast::rms_norm(x, Some(weight), eps).said("rms_norm", &[x, weight])
}

/// Its values, once they are computed, as f32.
pub(crate) fn floats(a: &Array) -> Result<Vec<f32>> {
    let whole = contiguous(&cast(a, Dtype::Float32)?)?;
    whole.to_vec_exact::<f32>().said("reading", &[a])
}

/// Its values, once they are computed, as indices.
pub(crate) fn indices(a: &Array) -> Result<Vec<usize>> {
    let whole = contiguous(&cast(a, Dtype::Uint32)?)?;
    let all = whole.to_vec_exact::<u32>().said("reading", &[a])?;
    Ok(all.into_iter().map(|i| i as usize).collect())
}
