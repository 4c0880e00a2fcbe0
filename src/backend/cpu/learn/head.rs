//! The head with its loss: logits of a few rows at a time, never of all.
//!
//! ```text
//! h = x output_proj^T        logits = h head^T        -log p(label) = logsumexp(logits) - logits[label]
//! ```

use super::buffers::Buffer;
use super::linear::{Kept, Linear};
use super::parameters::Numbers;
use super::rows::Rows;
use super::weight::{To, Weight};
use super::work::Pass;
use crate::backend::cpu::ops;
use crate::backend::cpu::split::{Pieces, for_each};

/// The end of the model.
pub(super) struct Head {
    /// (S, D)
    pub(super) output: Linear,
    /// (V, S)
    pub(super) table: Weight,
}

/// Rows whose logits are there at once.
const ROWS: usize = 256;

/// The rows that bear loss, on their way to it.
pub(super) struct Ending {
    /// Rows of the last layer: (L, D)
    x: Buffer,
    /// (L, S)
    h: Buffer,
    kept: Option<Kept>,
}

impl Head {
    /// Takes the labelled rows of `x` (T, D) through the projection.
    pub(super) fn begin(&self, pass: &Pass<'_>, rows: &Rows<'_>, x: &[f32]) -> Ending {
        let (d, s, count) = (self.output.weight.cols(), self.output.weight.rows(), rows.labels.len());
        let mut gathered = pass.work.buffers.get(count * d);
        for (out, (row, _)) in gathered.chunks_exact_mut(d).zip(&rows.labels) {
            out.copy_from_slice(&x[row * d..][..d]);
        }
        let mut h = pass.work.buffers.get(count * s);
        let kept = self.output.forward(pass, &gathered, &mut h);
        Ending { x: gathered, h, kept }
    }

    /// The sum of the labels' log-probabilities.
    pub(super) fn log_probability(&self, pass: &Pass<'_>, rows: &Rows<'_>, ending: &Ending) -> f64 {
        self.chunks(pass, rows, ending, 1.0, |_, _, _, _| {})
    }

    /// The sum of the labels' log-probabilities, and backward with `weight` for each negated one: adds the
    /// gradients of what is trained and gives that of `x` (T, D).
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        rows: &Rows<'_>,
        ending: &Ending,
        weight: f32,
    ) -> (f64, Buffer) {
        let (d, s) = (self.output.weight.cols(), self.output.weight.rows());
        let mut d_h = pass.work.buffers.get(ending.h.len());
        let sum = self.chunks(pass, rows, ending, weight, |first, labels, h, logits| {
            for (row, label) in logits.chunks_exact_mut(self.table.rows()).zip(labels) {
                row[*label as usize] -= weight;
            }
            self.table.own_gradient(pass, gradients, h, logits);
            self.table.input_gradient(pass, logits, To::Set(&mut d_h[first * s..][..h.len()]));
        });
        let mut d_rows = pass.work.buffers.get(ending.x.len());
        let kept = ending.kept.as_ref();
        self.output.backward(pass, gradients, &ending.x, kept, &d_h, To::Set(&mut d_rows));
        let mut dx = pass.work.buffers.zeros(rows.len() * d);
        for (from, (row, _)) in d_rows.chunks_exact(d).zip(&rows.labels) {
            dx[row * d..][..d].copy_from_slice(from);
        }
        (sum, dx)
    }

    /// Gives `f` each chunk of rows: its first, its labels, its inputs, and its probabilities times `weight`.
    /// Returns the sum of the labels' log-probabilities.
    fn chunks(
        &self,
        pass: &Pass<'_>,
        rows: &Rows<'_>,
        ending: &Ending,
        weight: f32,
        mut f: impl FnMut(usize, &[u32], &[f32], &mut [f32]),
    ) -> f64 {
        let (s, vocab) = (self.output.weight.rows(), self.table.rows());
        let labels: Vec<u32> = rows.labels.iter().map(|(_, label)| *label).collect();
        let mut logits = pass.work.buffers.get(labels.len().min(ROWS) * vocab);
        let mut found = pass.work.buffers.get(labels.len().min(ROWS));
        let mut sum = 0.0;
        for (i, labels) in labels.chunks(ROWS).enumerate() {
            let h = &ending.h[i * ROWS * s..][..labels.len() * s];
            let logits = &mut logits[..labels.len() * vocab];
            self.table.forward(pass, h, logits);
            let found = &mut found[..labels.len()];
            let split = (Pieces::new(&mut *logits, vocab), Pieces::new(&mut *found, 1));
            for_each(pass.work.pool(), split, |row, (logits, found)| {
                let of_label = logits[labels[row] as usize];
                found[0] = of_label - ops::soften(pass.work.level(), logits, 1.0, weight);
            });
            sum += found.iter().map(|v| f64::from(*v)).sum::<f64>();
            f(i * ROWS, labels, h, logits);
        }
        sum
    }
}
