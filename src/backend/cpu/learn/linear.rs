//! A linear layer with what is trained beside it.
//!
//! ```text
//! LoRA  y = x W^T + s drop(x) A B
//! DoRA  y = (m / n) * (x W^T + s drop(x) A B)      n = ||W + s (A B)^T|| by row, a constant backward
//! ```

use super::buffers::Buffer;
use super::parameters::{Numbers, Place};
use super::product::View;
use super::weight::{To, Weight};
use super::work::{Pass, Work};

/// A linear layer.
pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) adapter: Option<Adapter>,
}

/// What is trained beside a frozen matrix.
pub(super) struct Adapter {
    /// (in, r)
    pub(super) a: Place,
    /// (r, out)
    pub(super) b: Place,
    pub(super) rank: usize,
    pub(super) scale: f32,
    /// Tells its dropout from that of others.
    pub(super) name: u64,
    pub(super) magnitude: Option<Magnitude>,
}

/// The part of DoRA that LoRA has not.
pub(super) struct Magnitude {
    /// m: (out)
    pub(super) place: Place,
    /// Squares of the norms of the rows of W.
    pub(super) base: Vec<f64>,
    /// n: (out), for the values as they are.
    pub(super) norms: Vec<f32>,
}

/// What the backward pass of an adapter needs of the forward pass.
pub(super) struct Kept {
    /// drop(x) A: (T, r)
    z: Buffer,
    /// What DoRA scales: (T, out)
    unscaled: Option<Buffer>,
}

/// Norms below this are taken for this, so that rows of zeros give no division by zero.
const SMALLEST_NORM: f64 = 1e-12;

fn norm(square: f64) -> f32 {
    square.max(0.0).sqrt().max(SMALLEST_NORM) as f32
}

impl Linear {
    /// `out = linear(x)`, for rows of `x`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &[f32], out: &mut [f32]) -> Option<Kept> {
        self.weight.forward(pass, x, out);
        let adapter = self.adapter.as_ref()?;
        let (rows, cols, r) = (self.weight.rows(), self.weight.cols(), adapter.rank);
        let t = out.len() / rows;
        let mut z = pass.work.buffers.get(t * r);
        let a = View::new(pass.values.at(adapter.a), cols, r);
        let dropped = adapter.dropped(pass, x, cols);
        pass.multiply(&mut z, View::new(dropped.as_deref().unwrap_or(x), t, cols), a);
        let b = View::new(pass.values.at(adapter.b), r, rows);
        pass.add_product(out, View::new(&z, t, r), b, adapter.scale);
        let unscaled = adapter.magnitude.as_ref().map(|magnitude| {
            let unscaled = pass.work.buffers.copy(out);
            magnitude.scale(pass, out);
            unscaled
        });
        Some(Kept { z, unscaled })
    }

    /// Adds the gradients of what is trained, and gives that of the input.
    pub(super) fn backward(
        &self,
        pass: &Pass<'_>,
        gradients: &mut Numbers,
        x: &[f32],
        kept: Option<&Kept>,
        dy: &[f32],
        dx: To<'_>,
    ) {
        self.weight.own_gradient(pass, gradients, x, dy);
        let Some((adapter, kept)) = self.adapter.as_ref().zip(kept) else {
            return self.weight.input_gradient(pass, dy, dx);
        };
        let mut scaled = None;
        if let Some((magnitude, unscaled)) = adapter.magnitude.as_ref().zip(kept.unscaled.as_ref()) {
            magnitude.backward(pass, gradients, unscaled, dy);
            let mut dv = pass.work.buffers.copy(dy);
            magnitude.scale(pass, &mut dv);
            scaled = Some(dv);
        }
        let dy = scaled.as_deref().unwrap_or(dy);

        let (rows, cols, r) = (self.weight.rows(), self.weight.cols(), adapter.rank);
        let t = dy.len() / rows;
        let dy_view = View::new(dy, t, rows);
        pass.add_product(gradients.at_mut(adapter.b), View::new(&kept.z, t, r).transposed(), dy_view, adapter.scale);
        let mut dz = pass.work.buffers.zeros(t * r);
        let b = View::new(pass.values.at(adapter.b), r, rows);
        pass.add_product(&mut dz, dy_view, b.transposed(), adapter.scale);
        let dz = View::new(&dz, t, r);
        let dropped = adapter.dropped(pass, x, cols);
        let x = View::new(dropped.as_deref().unwrap_or(x), t, cols);
        pass.add_product(gradients.at_mut(adapter.a), x.transposed(), dz, 1.0);
        let dx = match dx {
            To::Nowhere => return,
            To::Set(dx) => {
                self.weight.input_gradient(pass, dy, To::Set(&mut *dx));
                dx
            }
            To::Add(dx) => {
                self.weight.input_gradient(pass, dy, To::Add(&mut *dx));
                dx
            }
        };
        let a = View::new(pass.values.at(adapter.a), cols, r).transposed();
        match pass.dropout {
            None => pass.add_product(dx, dz, a, 1.0),
            Some(dropout) => {
                let mut through = pass.work.buffers.get(t * cols);
                pass.multiply(&mut through, dz, a);
                dropout.back(pass, adapter.name, &through, cols, dx);
            }
        }
    }

    /// Takes the norms of DoRA anew, after its values have changed.
    pub(super) fn refresh(&mut self, work: &Work, values: &Numbers) {
        let norms = self.norms_now(work, values);
        if let Some(magnitude) = self.adapter.as_mut().and_then(|a| a.magnitude.as_mut()) {
            magnitude.norms = norms;
        }
    }

    /// The norms of DoRA for the values as they are; none where there is no DoRA.
    pub(super) fn norms_now(&self, work: &Work, values: &Numbers) -> Vec<f32> {
        let Some((adapter, magnitude)) = self.adapter.as_ref().and_then(|a| Some((a, a.magnitude.as_ref()?))) else {
            return Vec::new();
        };
        let (rows, cols, r) = (self.weight.rows(), self.weight.cols(), adapter.rank);
        let pass = Pass { work, values, table: values, dropout: None, router: (0.0, 0.0) };
        let (a, b, scale) = (values.at(adapter.a), values.at(adapter.b), f64::from(adapter.scale));
        // ||W + s (A B)^T||^2 by row = ||W||^2 + 2 s (W A) b + s^2 b (A^T A) b: no matrix of the layer's size.
        let a = View::new(a, cols, r);
        let mut wa = work.buffers.get(rows * r);
        self.weight.panels(work, values, |first, panel| {
            pass.multiply(&mut wa[first * r..][..panel.rows * r], panel, a);
        });
        let mut aa = work.buffers.get(r * r);
        pass.multiply(&mut aa, a.transposed(), a);
        let of_row = |(row, base): (usize, &f64)| {
            let b = |i: usize| f64::from(b[i * rows + row]);
            let (mut once, mut twice) = (0.0, 0.0);
            for i in 0..r {
                once += b(i) * f64::from(wa[row * r + i]);
                twice += (0..r).map(|j| b(i) * b(j) * f64::from(aa[i * r + j])).sum::<f64>();
            }
            norm(base + 2.0 * scale * once + scale * scale * twice)
        };
        magnitude.base.iter().enumerate().map(of_row).collect()
    }

    /// The squares of the norms of the rows of a frozen matrix.
    pub(super) fn base_squares(weight: &Weight, work: &Work) -> Vec<f64> {
        let mut squares = vec![0.0; weight.rows()];
        weight.panels(work, &Numbers::default(), |first, panel| {
            work.pool().split(&mut squares[first..first + panel.rows], 1, 16, |at, squares| {
                for (row, square) in (at..).zip(squares) {
                    *square = panel.row(row).iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
                }
            });
        });
        squares
    }

    /// Norms from their squares.
    pub(super) fn norms(squares: &[f64]) -> Vec<f32> {
        squares.iter().map(|square| norm(*square)).collect()
    }

    /// Bytes of what is frozen.
    pub(super) fn frozen_bytes(&self) -> usize {
        let magnitude = self.adapter.as_ref().and_then(|a| a.magnitude.as_ref());
        self.weight.frozen_bytes() + magnitude.map_or(0, |m| 12 * m.base.len())
    }
}

impl Adapter {
    /// drop(x), if anything is dropped.
    fn dropped(&self, pass: &Pass<'_>, x: &[f32], cols: usize) -> Option<Buffer> {
        let dropout = pass.dropout?;
        let mut out = pass.work.buffers.get(x.len());
        dropout.apply(pass, self.name, x, cols, &mut out);
        Some(out)
    }
}

impl Magnitude {
    /// m / n: what each output is multiplied by.
    pub(super) fn factors(&self, values: &Numbers) -> Vec<f32> {
        values.at(self.place).iter().zip(&self.norms).map(|(m, n)| m / n).collect()
    }

    fn scale(&self, pass: &Pass<'_>, rows: &mut [f32]) {
        let factors = self.factors(pass.values);
        pass.by_rows(rows, factors.len(), |_, rows| {
            for row in rows.chunks_exact_mut(factors.len()) {
                row.iter_mut().zip(&factors).for_each(|(v, factor)| *v *= factor);
            }
        });
    }

    /// `dm += sum over rows of dy * unscaled / n`
    fn backward(&self, pass: &Pass<'_>, gradients: &mut Numbers, unscaled: &[f32], dy: &[f32]) {
        let outputs = self.norms.len();
        pass.work.pool().split(gradients.at_mut(self.place), 1, 64, |first, dm| {
            let mut sums = [0.0f32; 64];
            let sums = &mut sums[..dm.len()];
            for (dy, v) in dy.chunks_exact(outputs).zip(unscaled.chunks_exact(outputs)) {
                let (dy, v) = (&dy[first..][..sums.len()], &v[first..][..sums.len()]);
                for ((sum, dy), v) in sums.iter_mut().zip(dy).zip(v) {
                    *sum += dy * v;
                }
            }
            for ((dm, sum), n) in dm.iter_mut().zip(sums.iter()).zip(&self.norms[first..]) {
                *dm += sum / n;
            }
        });
    }
}
