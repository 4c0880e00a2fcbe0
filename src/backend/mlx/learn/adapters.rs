//! What is trained beside frozen weights: its parameters, and how they stand on the weights.

use anyhow::Result;
use mlx_rs::{Array, Dtype};

use super::super::linear::{Adapter, Base, Weight};
use super::super::ops::{self, Said, number};
use super::super::weights::Weights;
use crate::backend::cpu::learn::{AdapterOptions, Train};
use crate::backend::learn::Parameter;
use crate::model::init::{mix, uniform};

/// Norms below this are taken for this, so that rows of zeros give no division by zero.
const SMALLEST_NORM: f32 = 1e-12;

/// The adapter of one projection: where its parameters are in the list.
pub(super) struct Placed {
    /// Of the projections that may have adapters.
    linear: usize,
    a: usize,
    /// m, and the squares of the norms of the rows of W: (.., out)
    magnitude: Option<(usize, Array)>,
}

/// All adapters, their parameters and first values.
pub(super) struct Adapters {
    pub(super) placed: Vec<Placed>,
    pub(super) list: Vec<Parameter>,
    pub(super) values: Vec<Array>,
}

/// The same parameters, in the same order and with the same first values, as on the CPU.
pub(super) fn make(weights: &mut Weights, train: &Train, seed: u64) -> Result<Adapters> {
    let (options, with_magnitude) = match train {
        Train::Lora(options) => (options, false),
        Train::Dora(options) => (options, true),
        Train::Full => {
            anyhow::bail!("MLX trains adapters only; every parameter is trained by the CPU backend: `--backend cpu`")
        }
    };
    let mut made = Adapters { placed: Vec::new(), list: Vec::new(), values: Vec::new() };
    for (linear, weight) in weights.linears_mut().into_iter().enumerate() {
        if options.takes(&weight.path) {
            made.add(linear, weight, options, with_magnitude, seed)?;
        }
    }
    anyhow::ensure!(!made.list.is_empty(), "nothing would be trained: this model has none of the adapters' targets");
    Ok(made)
}

impl Adapters {
    fn add(
        &mut self,
        linear: usize,
        weight: &Weight,
        options: &AdapterOptions,
        with_magnitude: bool,
        seed: u64,
    ) -> Result<()> {
        let (path, rank) = (&weight.path, options.rank);
        let (stack, cols, rows) = weight.base.sizes();
        let of = |shape: &[usize]| [&stack[..], shape].concat();
        let count: usize = stack.iter().product();
        // FNV-1a over the path, as for new models' weights.
        let name =
            path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let (key, bound) = (mix(seed ^ name), (cols as f32).sqrt().recip());
        let first: Vec<f32> =
            (0..(count * cols * rank) as u64).map(|i| bound * (2.0 * uniform(key, i) - 1.0)).collect();
        let a = self.list.len();
        self.push(format!("{path}.lora_a"), of(&[cols, rank]), true, |shape| Ok(ops::array(&first, shape)))?;
        self.push(format!("{path}.lora_b"), of(&[rank, rows]), true, |shape| ops::zeros(shape, Dtype::Float32))?;
        let mut magnitude = None;
        if with_magnitude {
            let squares = weight.base.row_squares()?;
            let norms = norms(&squares)?;
            ops::eval([&squares, &norms])?;
            magnitude = Some((self.list.len(), squares));
            self.push(format!("{path}.m"), of(&[rows]), false, |_| Ok(norms))?;
        }
        self.placed.push(Placed { linear, a, magnitude });
        Ok(())
    }

    fn push(
        &mut self,
        name: String,
        shape: Vec<usize>,
        decays: bool,
        values: impl FnOnce(&[usize]) -> Result<Array>,
    ) -> Result<()> {
        self.values.push(values(&shape)?);
        self.list.push(Parameter { name, shape, decays });
        Ok(())
    }
}

fn norms(squares: &Array) -> Result<Array> {
    ops::maximum(&ops::sqrt(&ops::maximum(squares, &number(0.0))?)?, &number(SMALLEST_NORM))
}

/// The norms of DoRA's rows for these values, one for each adapter that has magnitudes.
pub(super) fn norms_now(
    weights: &mut Weights,
    placed: &[Placed],
    values: &[Array],
    scale: f32,
) -> Result<Vec<Option<Array>>> {
    let linears = weights.linears_mut();
    let of = |p: &Placed| {
        let Some((_, base)) = &p.magnitude else { return Ok(None) };
        let (a, b) = (&values[p.a], &values[p.a + 1]);
        // ||W + s (A B)^T||^2 by row = ||W||^2 + 2 s (W A) b + s^2 b (A^T A) b: no matrix of the layer's size.
        let turned = ops::swapped(a)?;
        let once = ops::sum_of(&ops::multiply(b, &linears[p.linear].base.apply_all(&turned)?)?, -2)?;
        let twice = ops::sum_of(&ops::multiply(b, &ops::matmul(&ops::matmul(&turned, a)?, b)?)?, -2)?;
        let more =
            ops::multiply(&ops::add(&once, &ops::multiply(&twice, &number(0.5 * scale))?)?, &number(2.0 * scale))?;
        norms(&ops::add(base, &more)?).map(Some)
    };
    let all = placed.iter().map(of).collect::<Result<Vec<_>>>()?;
    ops::eval(all.iter().flatten())?;
    Ok(all)
}

/// The weights with these values beside them.
pub(super) fn onto(
    weights: &Weights,
    placed: &[Placed],
    values: &[Array],
    norms: &[Option<Array>],
    options: &AdapterOptions,
    dropout: Option<(f32, u64)>,
) -> Result<Weights> {
    let mut weights = weights.clone();
    let mut linears = weights.linears_mut();
    for (p, norms) in placed.iter().zip(norms) {
        let factor = match (&p.magnitude, norms) {
            (Some((m, _)), Some(norms)) => Some(ops::divide(&values[*m], norms)?),
            _ => None,
        };
        let (a, b) = (values[p.a].clone(), values[p.a + 1].clone());
        linears[p.linear].adapter = Some(Adapter { a, b, scale: options.scale, factor, dropout });
    }
    Ok(weights)
}

impl Base {
    /// The stack's size, if it is one, and inputs and outputs.
    fn sizes(&self) -> (Vec<usize>, usize, usize) {
        let (shape, words) = match self {
            Base::Dense(w) => (w.shape(), false),
            Base::Affine4 { codes, .. } => (codes.shape(), true),
        };
        let size = |i: usize| shape[i] as usize;
        let stack = if shape.len() == 3 { vec![size(0)] } else { Vec::new() };
        let (x, y) = (size(shape.len() - 2), size(shape.len() - 1));
        if words { (stack, 8 * y, x) } else { (stack, x, y) }
    }

    /// `||W||^2` by row: (.., out)
    fn row_squares(&self) -> Result<Array> {
        match self {
            Base::Dense(w) => ops::sum_of(&ops::square(&ops::cast(w, Dtype::Float32)?)?, -2),
            Base::Affine4 { group, codes, scales, biases } => {
                let wide = mlx_rs::ops::dequantize(codes, scales, biases, *group, 4);
                let wide = ops::cast(&wide.said("dequantize", &[codes, scales])?, Dtype::Float32)?;
                ops::sum_of(&ops::square(&wide)?, -1)
            }
        }
    }

    /// `x W^T` for each matrix of a stack: x (.., n, in), to (.., n, out).
    fn apply_all(&self, x: &Array) -> Result<Array> {
        let (stack, _, _) = self.sizes();
        let Some(count) = stack.first() else { return self.apply(x, false) };
        let all: Vec<u32> = (0..*count as u32).collect();
        self.apply_experts(x, &Array::from_slice(&all, &ops::dims(&[*count])), true, false)
    }
}
