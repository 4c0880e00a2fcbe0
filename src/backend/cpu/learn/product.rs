//! Products of f32 matrices, split over the threads.
//!
//! Each task computes its own part of the result from beginning to end, so results depend on the number of
//! threads at most, and never on which of them was first.

use gemm::Parallelism;

use crate::backend::cpu::pool::{Pool, Shareable};

/// A matrix somewhere in memory, read in any direction.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// From one row to the next.
    down: usize,
    /// From one column to the next.
    along: usize,
}

impl<'a> View<'a> {
    /// Rows one after the other.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "{rows} x {cols}");
        Self { data, rows, cols, down: cols, along: 1 }
    }

    /// The same with rows for columns.
    pub(super) fn transposed(self) -> Self {
        Self { rows: self.cols, cols: self.rows, down: self.along, along: self.down, ..self }
    }

    /// Some of the rows.
    pub(super) fn rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        let start = (rows.start * self.down).min(self.data.len());
        Self { data: &self.data[start..], rows: rows.len(), ..self }
    }

    /// Some of the columns.
    pub(super) fn cols(self, cols: std::ops::Range<usize>) -> Self {
        self.transposed().rows(cols).transposed()
    }

    /// One row, where rows lie one after the other.
    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        assert!(self.along == 1 && row < self.rows);
        &self.data[row * self.down..][..self.cols]
    }

    fn check(&self) {
        let reach = (self.rows.max(1) - 1) * self.down + (self.cols.max(1) - 1) * self.along;
        assert!(self.rows * self.cols == 0 || reach < self.data.len());
    }
}

/// Operations below which telling the other threads takes longer.
const WORTH_SPLITTING: usize = 1 << 17;
/// Columns or rows of a task are a multiple of this: whole vectors and cache lines.
const STEP: usize = 16;

/// `out = factor * a b`, or `out += ...`; `out` has rows of `stride` numbers, of which the first are written.
pub(super) fn multiply(pool: &Pool, out: &mut [f32], stride: usize, a: View<'_>, b: View<'_>, add: bool, factor: f32) {
    let (m, n) = (a.rows, b.cols);
    check(out, stride, a, b);
    if m * n == 0 {
        return;
    }
    let tasks = if m * n * a.cols < WORTH_SPLITTING { 1 } else { pool.threads() };
    let by_cols = n >= m;
    let per_task = (if by_cols { n } else { m }).div_ceil(tasks).next_multiple_of(STEP);
    let tasks = (if by_cols { n } else { m }).div_ceil(per_task);
    let base = Shareable(out.as_mut_ptr());
    pool.run(tasks, |task| {
        let from = task * per_task;
        // SAFETY: the whole was checked above; tasks write different rows or columns, and `out` is borrowed
        // until all are done.
        unsafe {
            if by_cols {
                let b = b.cols(from..(from + per_task).min(n));
                gemm_here(base.get().add(from), stride, a, b, add, factor);
            } else {
                let a = a.rows(from..(from + per_task).min(m));
                gemm_here(base.get().add(from * stride), stride, a, b, add, factor);
            }
        }
    });
}

/// The same on this thread alone: inside a task.
pub(super) fn multiply_here(out: &mut [f32], stride: usize, a: View<'_>, b: View<'_>, add: bool, factor: f32) {
    check(out, stride, a, b);
    // SAFETY: checked.
    unsafe { gemm_here(out.as_mut_ptr(), stride, a, b, add, factor) }
}

fn check(out: &[f32], stride: usize, a: View<'_>, b: View<'_>) {
    assert_eq!(a.cols, b.rows);
    assert!(stride >= b.cols && (a.rows == 0 || out.len() >= (a.rows - 1) * stride + b.cols));
    a.check();
    b.check();
}

/// # Safety
/// `out` must be writable for `a.rows` rows of `b.cols` numbers, `stride` apart, and the views within bounds.
unsafe fn gemm_here(out: *mut f32, stride: usize, a: View<'_>, b: View<'_>, add: bool, factor: f32) {
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    // SAFETY: demanded above.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out,
            1,
            stride.cast_signed(),
            add,
            a.data.as_ptr(),
            a.along.cast_signed(),
            a.down.cast_signed(),
            b.data.as_ptr(),
            b.along.cast_signed(),
            b.down.cast_signed(),
            if add { 1.0 } else { 0.0 },
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        (0..n as u64).map(|i| crate::model::init::uniform(seed, i) - 0.5).collect()
    }

    #[test]
    fn products_in_every_direction() {
        let pool = Pool::new(3);
        for (m, k, n) in [(1, 1, 1), (5, 3, 70), (70, 9, 3), (64, 64, 96), (33, 100, 129), (4, 0, 4), (0, 3, 3)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let transpose = |v: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..cols).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| v[r * cols + c]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let views = [(View::new(&a, m, k), View::new(&at, k, m).transposed())];
            for a_view in [views[0].0, views[0].1] {
                for b_view in [View::new(&b, k, n), View::new(&bt, n, k).transposed()] {
                    for add in [false, true] {
                        let stride = n + 2;
                        let mut out = vec![1.0; m * stride];
                        multiply(&pool, &mut out, stride, a_view, b_view, add, 2.0);
                        for (i, row) in out.chunks(stride).enumerate() {
                            for (j, found) in row.iter().enumerate() {
                                let sum: f64 =
                                    (0..k).filter(|_| j < n).map(|l| f64::from(a[i * k + l] * b[l * n + j])).sum();
                                let start = if add || j >= n { 1.0 } else { 0.0 };
                                assert!((f64::from(*found) - start - 2.0 * sum).abs() < 1e-4, "{m} {k} {n} at {i} {j}");
                            }
                        }
                    }
                }
            }
        }
    }
}
