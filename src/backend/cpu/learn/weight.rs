//! A matrix as training sees it: frozen in whatever format it is stored, or trained in f32.
//!
//! Frozen matrices that are not f32 are widened a panel of rows at a time, into memory that is used again.

use super::parameters::{Numbers, Place};
use super::product::{View, multiply};
use super::work::{Pass, Work};
use crate::backend::cpu::ops::exact::row_to_f32;
use crate::backend::cpu::split::{Pieces, for_each};
use crate::model::matrix::{Data, Float, Matrix};

/// Numbers of a panel: 4 MiB.
const PANEL: usize = 1 << 20;

/// A matrix of `rows` outputs by `cols` inputs.
pub(super) enum Weight {
    /// Never changes.
    Frozen(Matrix),
    /// A parameter, or a part of one.
    Trained { place: Place, rows: usize, cols: usize },
}

/// Where the gradient of an input goes.
pub(super) enum To<'a> {
    /// Nobody wants it.
    Nowhere,
    /// Replaces what is there.
    Set(&'a mut [f32]),
    /// Is added to what is there.
    Add(&'a mut [f32]),
}

impl Weight {
    pub(super) fn rows(&self) -> usize {
        match self {
            Weight::Frozen(m) => m.rows,
            Weight::Trained { rows, .. } => *rows,
        }
    }

    pub(super) fn cols(&self) -> usize {
        match self {
            Weight::Frozen(m) => m.cols,
            Weight::Trained { cols, .. } => *cols,
        }
    }

    /// Calls `f` with each panel of rows as f32, and the index of its first row.
    pub(super) fn panels(&self, work: &Work, values: &Numbers, mut f: impl FnMut(usize, View<'_>)) {
        let (rows, cols) = (self.rows(), self.cols());
        let matrix = match self {
            Weight::Trained { place, .. } => return f(0, View::new(values.at(*place), rows, cols)),
            Weight::Frozen(matrix) => matrix,
        };
        if let Data::Dense(floats) = &matrix.data
            && floats.format == Float::F32
        {
            return f(0, View::new(bytemuck::cast_slice(&floats.bytes), rows, cols));
        }
        let per_panel = (PANEL / cols.max(1)).clamp(1, rows.max(1));
        let mut panel = work.buffers.get(per_panel * cols);
        for first in (0..rows).step_by(per_panel) {
            let here = per_panel.min(rows - first);
            let panel = &mut panel[..here * cols];
            // At least some thousand numbers a task.
            let together = (8192 / cols.max(1)).max(1);
            for_each(work.pool(), Pieces::new(panel, together * cols), |task, piece| {
                for (i, out) in piece.chunks_exact_mut(cols).enumerate() {
                    row_to_f32(work.level(), matrix, first + task * together + i, out);
                }
            });
            f(first, View::new(panel, here, cols));
        }
    }

    /// `out = x W^T`, for rows of `x`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &[f32], out: &mut [f32]) {
        let (rows, cols) = (self.rows(), self.cols());
        let t = out.len() / rows;
        let x = View::new(x, t, cols);
        self.panels(pass.work, pass.values, |first, panel| {
            if t > 0 {
                multiply(pass.work, &mut out[first..], rows, x, panel.transposed(), false, 1.0);
            }
        });
    }

    /// `dx = dy W`
    pub(super) fn input_gradient(&self, pass: &Pass<'_>, dy: &[f32], dx: To<'_>) {
        let (rows, cols) = (self.rows(), self.cols());
        let (dx, mut add) = match dx {
            To::Nowhere => return,
            To::Set(dx) => (dx, false),
            To::Add(dx) => (dx, true),
        };
        let dy = View::new(dy, dy.len() / rows, rows);
        self.panels(pass.work, pass.values, |first, panel| {
            let some = dy.cols(first..first + panel.rows);
            multiply(pass.work, dx, cols, some, panel, add, 1.0);
            add = true;
        });
    }

    /// `dW += dy^T x`, where it is trained.
    pub(super) fn own_gradient(&self, pass: &Pass<'_>, gradients: &mut Numbers, x: &[f32], dy: &[f32]) {
        let Weight::Trained { place, rows, cols } = self else { return };
        let t = x.len() / cols;
        let (x, dy) = (View::new(x, t, *cols), View::new(dy, t, *rows));
        pass.add_product(gradients.at_mut(*place), dy.transposed(), x, 1.0);
    }

    /// One row as f32.
    pub(super) fn row(&self, values: &Numbers, row: usize, out: &mut [f32]) {
        match self {
            Weight::Frozen(matrix) => matrix.row_into(row, out),
            Weight::Trained { place, cols, .. } => out.copy_from_slice(&values.at(*place)[row * cols..][..*cols]),
        }
    }

    /// Bytes of it if it is frozen.
    pub(super) fn frozen_bytes(&self) -> usize {
        match self {
            Weight::Frozen(matrix) => matrix.bytes(),
            Weight::Trained { .. } => 0,
        }
    }
}

/// A few numbers, of which each is used by itself: of a norm, a convolution or a state space.
pub(super) enum Few {
    Frozen(Vec<f32>),
    Trained(Place),
}

impl Few {
    pub(super) fn of<'a>(&'a self, values: &'a Numbers) -> &'a [f32] {
        match self {
            Few::Frozen(numbers) => numbers,
            Few::Trained(place) => values.at(*place),
        }
    }

    /// Its gradient, if it is trained.
    pub(super) fn gradient<'a>(&self, gradients: &'a mut Numbers) -> Option<&'a mut [f32]> {
        match self {
            Few::Frozen(_) => None,
            Few::Trained(place) => Some(gradients.at_mut(*place)),
        }
    }

    pub(super) fn is_trained(&self) -> bool {
        matches!(self, Few::Trained(_))
    }

    pub(super) fn frozen_bytes(&self) -> usize {
        match self {
            Few::Frozen(numbers) => 4 * numbers.len(),
            Few::Trained(_) => 0,
        }
    }
}
