//! What every operator is given: threads and memory, the trained values, and how this pass is made.

use super::buffers::Buffers;
use super::parameters::Numbers;
use super::product::{View, multiply};
use crate::backend::cpu::linear::Compute;
use crate::backend::cpu::ops::Level;
use crate::backend::cpu::pool::Pool;
use crate::backend::cpu::split::{Pieces, for_each};
use crate::model::init::{mix, random};

/// Threads, instructions and memory.
pub(super) struct Work {
    pub(super) compute: Compute,
    pub(super) buffers: Buffers,
}

impl Work {
    pub(super) fn new(threads: usize, level: Level) -> Self {
        Self { compute: Compute::new(threads, level), buffers: Buffers::default() }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.compute.pool
    }

    pub(super) fn level(&self) -> Level {
        self.compute.level
    }
}

/// One sequence on its way through the model.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) work: &'a Work,
    pub(super) values: &'a Numbers,
    /// Where embeddings are read: `values`, unless those are rounded for 4 bits.
    pub(super) table: &'a Numbers,
    /// None where nothing is dropped.
    pub(super) dropout: Option<Dropout>,
    /// Weights of the router's losses for this sequence.
    pub(super) router: (f32, f32),
}

impl Pass<'_> {
    /// `out = a b`, on all threads.
    pub(super) fn multiply(&self, out: &mut [f32], a: View<'_>, b: View<'_>) {
        multiply(self.work, out, b.cols, a, b, false, 1.0);
    }

    /// `out += factor * a b`, on all threads.
    pub(super) fn add_product(&self, out: &mut [f32], a: View<'_>, b: View<'_>, factor: f32) {
        multiply(self.work, out, b.cols, a, b, true, factor);
    }

    /// Runs `f(first row, rows)` for pieces of `out`, some rows of `cols` numbers each.
    pub(super) fn by_rows(&self, out: &mut [f32], cols: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
        let rows = rows_per_task(cols);
        for_each(self.work.pool(), Pieces::new(out, rows * cols), |task, piece| f(task * rows, piece));
    }
}

/// Rows of `cols` numbers that are worth a task of their own.
pub(super) fn rows_per_task(cols: usize) -> usize {
    (4096 / cols.max(1)).max(1)
}

/// Which inputs of adapters are dropped: it follows from a key and from their places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    key: u64,
    /// Of 65536.
    dropped: u16,
}

impl Dropout {
    /// Drops a share of about `rate`; the key follows from the seed and from what is read, so that it does
    /// not matter in which order, or with what else, a sequence is read.
    pub(super) fn new(rate: f32, seed: u64, tokens: &[u32]) -> Option<Self> {
        let dropped = (rate * 65536.0).round().clamp(0.0, 65535.0) as u16;
        let key = tokens.iter().fold(mix(seed), |key, token| mix(key ^ u64::from(*token)));
        (dropped > 0).then_some(Self { key, dropped })
    }

    /// What the numbers that stay are multiplied by.
    fn scale(self) -> f32 {
        65536.0 / (65536.0 - f32::from(self.dropped))
    }

    /// `out = x` with some numbers dropped and the others scaled, for the adapter `name`.
    pub(super) fn apply(self, pass: &Pass<'_>, name: u64, x: &[f32], cols: usize, out: &mut [f32]) {
        pass.by_rows(out, cols, |row, out| {
            let x = &x[row * cols..][..out.len()];
            self.each(name, row * cols, out, |i, out, factor| *out = x[i] * factor);
        });
    }

    /// `out += d` where nothing was dropped, scaled: backward.
    pub(super) fn back(self, pass: &Pass<'_>, name: u64, d: &[f32], cols: usize, out: &mut [f32]) {
        pass.by_rows(out, cols, |row, out| {
            let d = &d[row * cols..][..out.len()];
            self.each(name, row * cols, out, |i, out, factor| *out += d[i] * factor);
        });
    }

    /// Gives each number its factor: 0, or the scale.
    fn each(self, name: u64, first: usize, out: &mut [f32], f: impl Fn(usize, &mut f32, f32)) {
        let (key, scale) = (mix(self.key ^ name), self.scale());
        let mut bits = random(key, (first / 4) as u64);
        for (i, out) in out.iter_mut().enumerate() {
            let at = first + i;
            if i > 0 && at.is_multiple_of(4) {
                bits = random(key, (at / 4) as u64);
            }
            let draw = (bits >> (16 * (at % 4))) as u16;
            f(i, out, if draw < self.dropped { 0.0 } else { scale });
        }
    }

    /// The factor of one number: for tests.
    #[cfg(test)]
    pub(super) fn factor(self, name: u64, index: usize) -> f64 {
        let mut out = [0.0];
        self.each(name, index, &mut out, |_, out, factor| *out = factor);
        f64::from(out[0])
    }
}
