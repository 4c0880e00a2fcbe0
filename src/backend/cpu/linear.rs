//! Linear layers: `out = x W^T`, several at once.

mod adapter;

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

pub use adapter::Adapter;
use gemm::Parallelism;
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::ops::Level;
use super::ops::exact;
use super::ops::int8::Int8;
use super::ops::q4::{self, Columns, Q4, Scratch};
use super::pool::{Pool, Shareable};
use super::quantised_rows::{GROUP, QuantRows};
use crate::model::matrix::{Bytes, Data, Float, Floats, Matrix};

/// Jobs that share one split of the threads.
const TOGETHER: usize = 16;
/// Rows that the matrix-matrix kernels take at a time.
const TILE_ROWS: usize = 32;

/// What does the arithmetic: threads, and the kernels they use.
pub struct Compute {
    /// The threads.
    pub pool: Pool,
    /// The instructions.
    pub level: Level,
    /// The kernels for int8 activations.
    pub int8: Int8,
    /// Activations in the order that the exact kernels want; kept between calls.
    packed: Mutex<Vec<f32>>,
}

impl Compute {
    /// `threads` threads, the caller among them, with the best kernels of `level`.
    pub fn new(threads: usize, level: Level) -> Self {
        let int8 = Int8::available(level).last().copied().unwrap_or(Int8::Scalar);
        Self::with_int8(threads, level, int8)
    }

    /// As `new`, with other int8 kernels: one of `Int8::available(level)`.
    pub fn with_int8(threads: usize, level: Level, int8: Int8) -> Self {
        assert!(Level::available().contains(&level) && Int8::available(level).contains(&int8));
        Self { pool: Pool::new(threads), level, int8, packed: Mutex::default() }
    }
}

/// A matrix ready for use. It shares the bytes of the checkpoint.
#[derive(Clone)]
pub struct PreparedMatrix {
    matrix: Matrix,
    /// Scales and biases in f16, where the int8 kernels can be used.
    fast: Option<(Floats, Floats)>,
    /// What is added to its outputs.
    adapter: Option<Arc<Adapter>>,
}

impl PreparedMatrix {
    /// A matrix for the exact path only.
    pub fn exact(matrix: Matrix) -> Self {
        Self { matrix, fast: None, adapter: None }
    }

    /// A matrix for int8 activations if its format allows it (affine 4-bit, groups of 64). Scales that
    /// are not stored in f16 are narrowed to it, into memory of their own.
    pub fn fast(matrix: Matrix) -> Self {
        let fast = match &matrix.data {
            Data::Affine4 { group: GROUP, scales, biases, .. } if matrix.cols.is_multiple_of(GROUP) => {
                narrow(scales).zip(narrow(biases))
            }
            _ => None,
        };
        Self { matrix, fast, adapter: None }
    }

    /// The same with an adapter, whose shape must be the matrix's.
    pub fn adapted(self, adapter: Arc<Adapter>) -> Self {
        assert_eq!(adapter.shape(), (self.cols(), self.rows()));
        Self { adapter: Some(adapter), ..self }
    }

    /// The stored matrix.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.matrix.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.matrix.cols
    }

    /// True if int8 activations are of use.
    pub fn takes_int8(&self) -> bool {
        self.fast.is_some()
    }

    /// Bytes that it holds besides the checkpoint's own.
    pub fn owned_bytes(&self) -> usize {
        let adapter = self.adapter.as_ref().map_or(0, |adapter| adapter.bytes());
        let Data::Affine4 { scales, biases, .. } = &self.matrix.data else { return adapter };
        let Some((s, b)) = &self.fast else { return adapter };
        let own = |fast: &Floats, stored: &Floats| if stored.format == Float::F16 { 0 } else { fast.bytes.len() };
        own(s, scales) + own(b, biases) + adapter
    }

    /// Bytes that are read to multiply it with a vector.
    pub fn bytes_read(&self) -> usize {
        match (&self.matrix.data, &self.fast) {
            (Data::Affine4 { codes, .. }, Some((s, b))) => codes.len() + s.bytes.len() + b.bytes.len(),
            _ => self.matrix.bytes(),
        }
    }

    fn q4(&self) -> Option<Q4<'_>> {
        let (Data::Affine4 { codes, .. }, Some((scales, biases))) = (&self.matrix.data, &self.fast) else {
            return None;
        };
        let groups = self.matrix.cols / GROUP;
        Some(Q4 {
            codes,
            scales: bytemuck::cast_slice(&scales.bytes),
            biases: bytemuck::cast_slice(&biases.bytes),
            groups,
        })
    }
}

/// Numbers in f16; none if one of them is too large for it.
fn narrow(values: &Floats) -> Option<Floats> {
    if values.format == Float::F16 {
        return Some(values.clone());
    }
    let mut words = vec![0u32; values.len().div_ceil(2)];
    let halves: &mut [f16] = &mut bytemuck::cast_slice_mut(&mut words)[..values.len()];
    let mut wide = [0.0; 1024];
    for (i, halves) in halves.chunks_mut(1024).enumerate() {
        let wide = &mut wide[..halves.len()];
        exact::floats_to_f32(values, i * 1024, wide);
        halves.convert_from_f32_slice(wide);
        if halves.iter().any(|v| v.is_infinite()) {
            return None;
        }
    }
    let bytes = Bytes::from_words(words).slice(0, values.len() * 2);
    Some(Floats { format: Float::F16, bytes })
}

/// Activations, `t` rows.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// t x cols
    pub x: &'a [f32],
    /// The same in int8, for the matrices that take it.
    pub q: Option<&'a QuantRows>,
}

/// One product: `out = x w^T`.
pub struct Job<'a> {
    /// rows x cols
    pub w: &'a PreparedMatrix,
    /// t x cols
    pub x: Input<'a>,
    /// t x rows
    pub out: &'a mut [f32],
}

thread_local! {
    /// Tiles of the kernels, kept between tasks.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take();
    let result = f(&mut scratch);
    SCRATCH.set(scratch);
    result
}

/// How a job is split.
#[derive(Clone, Copy)]
struct Part {
    out: Shareable<f32>,
    rows_per_task: usize,
    /// The first task after this job's.
    end: usize,
    /// Where its packed activations are.
    packed: (usize, usize),
}

/// Does all jobs, each for `t` tokens, in one split of the threads. For one token nothing is allocated
/// once every buffer has grown to its size.
pub fn linear(cx: &Compute, t: usize, jobs: &mut [Job<'_>]) {
    if t == 0 {
        return;
    }
    for jobs in jobs.chunks_mut(TOGETHER) {
        // Taken out rather than held, so that linear layers inside tasks do not wait for each other.
        let mut packed = std::mem::take(&mut *cx.packed.lock().unwrap_or_else(PoisonError::into_inner));
        let mut parts =
            [Part { out: Shareable(std::ptr::null_mut()), rows_per_task: 1, end: 0, packed: (0, 0) }; TOGETHER];
        let bytes: usize = jobs.iter().map(|job| job.w.bytes_read()).sum();
        let mut tasks = 0;
        for (i, job) in jobs.iter_mut().enumerate() {
            let (rows, cols) = (job.w.rows(), job.w.cols());
            assert!(
                job.x.x.len() == t * cols && job.out.len() == t * rows,
                "{} inputs and {} outputs for {t} tokens of {rows} x {cols}",
                job.x.x.len(),
                job.out.len()
            );
            if let Some(q) = job.x.q {
                assert!(q.rows() == t && q.cols() == cols, "{} x {} for {t} x {cols}", q.rows(), q.cols());
            }
            let rows_per_task = rows_per_task(cx, t, bytes, job.w);
            tasks += rows.div_ceil(rows_per_task);
            parts[i] = Part { out: Shareable(job.out.as_mut_ptr()), rows_per_task, end: tasks, packed: (0, 0) };
        }
        if t == 1 {
            pack(cx, jobs, &mut parts, &mut packed);
        }
        let (all, parts, x) = (&*jobs, &parts[..jobs.len()], &packed[..]);
        let task = |task: usize| {
            let i = parts.iter().position(|part| task < part.end).expect("tasks are counted by the parts");
            let (job, part) = (&all[i], &parts[i]);
            let before = if i == 0 { 0 } else { parts[i - 1].end };
            let first = (task - before) * part.rows_per_task;
            let rows = first..(first + part.rows_per_task).min(job.w.rows());
            with_scratch(|scratch| {
                if t == 1 {
                    // SAFETY: `out` has a place for each row, is borrowed until all tasks are done, and
                    // the rows of different tasks are different.
                    let out = unsafe { std::slice::from_raw_parts_mut(part.out.get().add(first), rows.len()) };
                    let (at, len) = part.packed;
                    vector(cx, job.w, first, job.x, &x[at..at + len], out, scratch);
                } else {
                    let out = Columns { base: part.out.get(), stride: job.w.rows() };
                    // SAFETY: as above, for every token.
                    unsafe { matrix(cx, t, job.w, rows, job.x, out, scratch) };
                }
            });
        };
        // Less than this takes less time than to tell the others of it.
        if t * bytes < 32 << 10 {
            (0..tasks).for_each(task);
        } else {
            cx.pool.run(tasks, task);
        }
        for job in jobs {
            if let Some(adapter) = &job.w.adapter {
                adapter.apply(cx, job.x.x, job.out);
            }
        }
        *cx.packed.lock().unwrap_or_else(PoisonError::into_inner) = packed;
    }
}

/// Rows of `w` for one task, if all jobs together read `bytes`.
fn rows_per_task(cx: &Compute, t: usize, bytes: usize, w: &PreparedMatrix) -> usize {
    if t > 1 {
        return TILE_ROWS;
    }
    if cx.pool.threads() == 1 {
        return w.rows().max(1);
    }
    // Enough tasks that the threads end together, but not so small that claiming them costs.
    let wanted = (bytes / (4 * cx.pool.threads())).clamp(8 << 10, 128 << 10);
    let row = (w.bytes_read() / w.rows().max(1)).max(1);
    (wanted / row).max(1).next_multiple_of(4)
}

/// Packs the activations of the jobs that want them so, once where neighbours share them.
fn pack(cx: &Compute, jobs: &[Job<'_>], parts: &mut [Part; TOGETHER], packed: &mut Vec<f32>) {
    let mut used = 0;
    for (i, job) in jobs.iter().enumerate() {
        if job.x.q.is_some() && job.w.takes_int8() {
            continue;
        }
        let m = job.w.matrix();
        let len = exact::packed_len(cx.level, m);
        let same = |before: &Job<'_>| std::ptr::eq(before.x.x, job.x.x) && exact::packs_alike(before.w.matrix(), m);
        if i > 0 && same(&jobs[i - 1]) && parts[i - 1].packed.1 == len {
            parts[i].packed = parts[i - 1].packed;
            continue;
        }
        if packed.len() < used + len {
            packed.resize(used + len, 0.0);
        }
        exact::pack(cx.level, m, job.x.x, &mut packed[used..used + len]);
        parts[i].packed = (used, len);
        used += len;
    }
}

/// Some rows for one token.
fn vector(
    cx: &Compute,
    w: &PreparedMatrix,
    first: usize,
    x: Input<'_>,
    packed: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) {
    match x.q.zip(w.q4()) {
        Some((q, w)) => q4::matvec(cx.int8, &w, first, q.row(0), out),
        None => exact::matvec(cx.level, w.matrix(), first, x.x, packed, out, scratch),
    }
}

/// Some rows for `t` tokens.
///
/// # Safety
/// `out` must be writable at those rows for every token, and nobody else may touch them.
unsafe fn matrix(
    cx: &Compute,
    t: usize,
    w: &PreparedMatrix,
    rows: std::ops::Range<usize>,
    x: Input<'_>,
    out: Columns,
    scratch: &mut Scratch,
) {
    if let Some((q, w)) = x.q.zip(w.q4()) {
        // SAFETY: demanded above.
        return unsafe { q4::matmul(cx.int8, &w, rows, q, out, scratch) };
    }
    let (m, k) = (w.matrix(), w.cols());
    // rows x cols
    let [tile] = scratch.pieces([rows.len() * k]);
    for (row, tile) in rows.clone().zip(tile.chunks_exact_mut(k.max(1))) {
        exact::row_to_f32(cx.level, m, row, tile);
    }
    if cx.level == Level::Scalar {
        for (row, tile) in rows.zip(tile.chunks_exact(k.max(1))) {
            for (i, x) in x.x.chunks_exact(k.max(1)).enumerate() {
                // SAFETY: demanded above.
                unsafe { out.base.add(i * out.stride + row).write(exact::dot(cx.level, tile, x)) };
            }
        }
        return;
    }
    // SAFETY: out[t, row] = sum_k x[t, k] tile[row, k], with these strides; the caller answers for `out`.
    unsafe {
        gemm::gemm(
            t,
            rows.len(),
            k,
            out.base.add(rows.start),
            1,
            out.stride.cast_signed(),
            false,
            x.x.as_ptr(),
            1,
            k.cast_signed(),
            tile.as_ptr(),
            k.cast_signed(),
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
pub(super) mod test_data;
#[cfg(test)]
mod tests;
