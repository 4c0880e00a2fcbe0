//! What the machine can do, with the threads that run the model.

use std::time::Instant;

use crate::backend::cpu::linear::Compute;
use crate::backend::cpu::roofline;

/// Bytes that are read to measure the memory: far more than any cache holds.
const READ: usize = 1 << 30;
const SIDE: usize = 1024;

/// Buffers for measuring, made once.
pub(super) struct Machine {
    data: Vec<u8>,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let matrix = |seed: usize| (0..SIDE * SIDE).map(|i| ((i * seed) % 17) as f32 - 8.0).collect();
        // Written, so that every page is there and none is the shared page of zeros.
        Self { data: vec![1; READ], a: matrix(7), b: matrix(11), c: vec![0.0; SIDE * SIDE] }
    }

    /// Bytes read a second, all threads together.
    pub(super) fn read_rate(&self, cx: &Compute) -> f64 {
        let start = Instant::now();
        std::hint::black_box(roofline::read(cx, &self.data));
        self.data.len() as f64 / start.elapsed().as_secs_f64()
    }

    /// f32 operations a second in a product of matrices of 1024 by 1024.
    pub(super) fn float_rate(&mut self, cx: &Compute) -> f64 {
        let start = Instant::now();
        let done = roofline::matrix_product(&cx.pool, SIDE, &self.a, &self.b, &mut self.c);
        done as f64 / start.elapsed().as_secs_f64()
    }
}

/// int8 operations a second in dot products.
pub(super) fn byte_rate(cx: &Compute) -> f64 {
    let start = Instant::now();
    let done = roofline::byte_dots(cx, 4_000_000);
    done as f64 / start.elapsed().as_secs_f64()
}
