//! RMSNorm: `y = x / sqrt(mean(x^2) + eps) * w`.

use super::parameters::Numbers;
use super::weight::Few;
use super::work::{Pass, rows_per_task};
use crate::backend::cpu::ops;
use crate::backend::cpu::split::{Pieces, for_each};

/// A norm.
pub(super) struct Norm {
    /// (D)
    pub(super) weight: Few,
    pub(super) eps: f32,
}

impl Norm {
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &[f32], out: &mut [f32]) {
        let weight = self.weight.of(pass.values);
        let d = weight.len();
        pass.by_rows(out, d, |row, out| {
            for (x, out) in x[row * d..].chunks_exact(d).zip(out.chunks_exact_mut(d)) {
                ops::rms_norm(pass.work.level(), x, weight, self.eps, out);
            }
        });
    }

    /// Adds to `dx`.
    pub(super) fn backward(&self, pass: &Pass<'_>, gradients: &mut Numbers, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let weight = self.weight.of(pass.values);
        let d = weight.len();
        let rows = rows_per_task(d);
        let mut scales = pass.work.buffers.get(x.len() / d);
        let split = (Pieces::new(dx, rows * d), Pieces::new(&mut scales, rows));
        for_each(pass.work.pool(), split, |task, (dx, scales)| {
            let at = task * rows * d;
            let dx_rows = dx.chunks_exact_mut(d).zip(scales);
            for (((dx, scale), x), dy) in dx_rows.zip(x[at..].chunks_exact(d)).zip(dy[at..].chunks_exact(d)) {
                *scale = ops::rms_norm_back(pass.work.level(), x, weight, self.eps, dy, dx);
            }
        });
        let Some(gradient) = self.weight.gradient(gradients) else { return };
        pass.work.pool().split(gradient, 1, 64, |first, gradient| {
            let mut sums = [0.0f32; 64];
            let sums = &mut sums[..gradient.len()];
            for ((x, dy), scale) in x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(&*scales) {
                let (x, dy) = (&x[first..][..sums.len()], &dy[first..][..sums.len()]);
                for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                    *sum += x * dy * scale;
                }
            }
            gradient.iter_mut().zip(sums).for_each(|(g, sum)| *g += *sum);
        });
    }
}
