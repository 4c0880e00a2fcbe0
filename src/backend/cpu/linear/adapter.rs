//! What an adapter adds to a matrix at run time: the matrix itself stays as it is stored.
//!
//! ```text
//! y = f * (W x + s B^T A^T x)        f = m / n by row for DoRA, 1 for LoRA
//! ```

use smallvec::{SmallVec, smallvec};

use super::Compute;
use crate::backend::cpu::ops;
use crate::backend::cpu::split::{Pieces, for_each};

/// A LoRA or DoRA adapter of one matrix.
pub struct Adapter {
    rank: usize,
    /// (r, in): A the other way round.
    a: Vec<f32>,
    /// (r, out), times the scale.
    b: Vec<f32>,
    /// (out)
    factors: Option<Vec<f32>>,
}

/// Tokens of a task.
const ROWS: usize = 8;

impl Adapter {
    /// From A `(in, r)`, B `(r, out)` and, for DoRA, the factor of each output.
    pub fn new(rank: usize, scale: f32, a: &[f32], b: &[f32], factors: Option<Vec<f32>>) -> Self {
        assert!(rank > 0 && a.len().is_multiple_of(rank) && b.len().is_multiple_of(rank));
        assert!(factors.as_ref().is_none_or(|f| f.len() == b.len() / rank));
        let a = (0..rank).flat_map(|r| a.iter().skip(r).step_by(rank)).copied().collect();
        Self { rank, a, b: b.iter().map(|b| scale * b).collect(), factors }
    }

    /// Inputs and outputs of the matrix that it fits.
    pub fn shape(&self) -> (usize, usize) {
        (self.a.len() / self.rank, self.b.len() / self.rank)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        4 * (self.a.len() + self.b.len() + self.factors.as_ref().map_or(0, Vec::len))
    }

    /// Turns the matrix's outputs for `x` into its own.
    pub(super) fn apply(&self, cx: &Compute, x: &[f32], out: &mut [f32]) {
        let (inputs, outputs) = self.shape();
        for_each(&cx.pool, Pieces::new(out, ROWS * outputs), |task, out| {
            let x = &x[task * ROWS * inputs..];
            for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact_mut(outputs)) {
                let mut z: SmallVec<[f32; 64]> = smallvec![0.0; self.rank];
                for (z, a) in z.iter_mut().zip(self.a.chunks_exact(inputs)) {
                    *z = ops::dot(cx.level, a, x);
                }
                for (z, b) in z.iter().zip(self.b.chunks_exact(outputs)) {
                    ops::add_scaled(cx.level, out, *z, b);
                }
                if let Some(factors) = &self.factors {
                    out.iter_mut().zip(factors).for_each(|(v, factor)| *v *= factor);
                }
            }
        });
    }
}
