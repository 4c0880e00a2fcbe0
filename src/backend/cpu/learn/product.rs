//! Products of f32 matrices, split over the threads.
//!
//! Each number of the result is summed by one task, over the same stretches wherever it stands, so results depend
//! neither on which thread was first nor on how many there are.

use std::cell::Cell;

pub(super) use crate::backend::cpu::ops::View;
use crate::backend::cpu::ops::matmul;
use crate::backend::cpu::pool::Shareable;
use crate::backend::cpu::split::ColumnBlock;

use super::work::Work;
use crate::backend::cpu::ops::Level;

/// Operations below which telling the other threads takes longer.
const WORTH_SPLITTING: usize = 1 << 17;
/// Columns and rows of a task are multiples of these: whole tiles, whatever the instructions.
const COLUMNS: usize = 32;
const ROWS: usize = 12;

thread_local! {
    /// Packed panels, kept between products.
    static PACKED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// `out = factor * a b`, or `out += ...`; `out` has rows of `stride` numbers, of which the first are written.
pub(super) fn multiply(work: &Work, out: &mut [f32], stride: usize, a: View<'_>, b: View<'_>, add: bool, factor: f32) {
    let (m, n) = (a.rows, b.cols);
    check(out, stride, a, b);
    if m * n == 0 {
        return;
    }
    let tasks = if m * n * a.cols < WORTH_SPLITTING { 1 } else { work.pool().threads() };
    let by_cols = n >= m;
    let (all, step) = if by_cols { (n, COLUMNS) } else { (m, ROWS) };
    let per_task = all.div_ceil(tasks).next_multiple_of(step);
    let base = Shareable(out.as_mut_ptr());
    work.pool().run(all.div_ceil(per_task), |task| {
        let range = task * per_task..((task + 1) * per_task).min(all);
        // SAFETY: the whole was checked above; tasks write different rows or columns, and `out` is borrowed
        // until all are done.
        unsafe {
            if by_cols {
                here(work.level(), base.get().add(range.start), stride, a, b.cols(range), add, factor);
            } else {
                here(work.level(), base.get().add(range.start * stride), stride, a.rows(range), b, add, factor);
            }
        }
    });
}

/// The same on this thread alone: inside a task.
pub(super) fn multiply_here(level: Level, out: &mut [f32], a: View<'_>, b: View<'_>, add: bool) {
    check(out, b.cols, a, b);
    // SAFETY: checked.
    unsafe { here(level, out.as_mut_ptr(), b.cols, a, b, add, 1.0) }
}

fn check(out: &[f32], stride: usize, a: View<'_>, b: View<'_>) {
    assert_eq!(a.cols, b.rows);
    assert!(stride >= b.cols && (a.rows == 0 || out.len() >= (a.rows - 1) * stride + b.cols));
}

/// # Safety
/// `out` must be writable for `a.rows` rows of `b.cols` numbers, `stride` apart.
unsafe fn here(level: Level, out: *mut f32, stride: usize, a: View<'_>, b: View<'_>, add: bool, factor: f32) {
    // SAFETY: demanded above.
    let mut out = unsafe { ColumnBlock::from_raw(out, a.rows, stride, b.cols) };
    let mut packed = PACKED.take();
    matmul(level, &mut out, a, b, add, factor, &mut packed);
    PACKED.set(packed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        (0..n as u64).map(|i| crate::model::init::uniform(seed, i) - 0.5).collect()
    }

    #[test]
    fn products_in_every_direction_at_every_level() {
        for level in Level::available() {
            products(&Work::new(3, level));
        }
    }

    fn products(work: &Work) {
        for (m, k, n) in [
            (1, 1, 1),
            (5, 3, 70),
            (70, 9, 3),
            (64, 64, 96),
            (33, 100, 129),
            (4, 0, 4),
            (0, 3, 3),
            (250, 270, 40),
            (20, 3, 1100),
        ] {
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
                        multiply(work, &mut out, stride, a_view, b_view, add, 2.0);
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
