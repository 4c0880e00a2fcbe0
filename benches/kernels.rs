//! Times of the kernels. `cargo bench --bench kernels [FILTER]`; decode and prefill of a whole model are
//! measured by `bit-axon bench`.

use std::hint::black_box;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use bit_axon::backend::cpu::linear::{Compute, Input, Job, PreparedMatrix, linear};
use bit_axon::backend::cpu::ops::Level;
use bit_axon::backend::cpu::ops::int8::Int8;
use bit_axon::backend::cpu::quantised_rows::QuantRows;
use bit_axon::backend::cpu::roofline;
use bit_axon::model::matrix::{Bytes, Data, Float, Floats, Matrix};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use half::f16;

fn main() {
    divan::main();
}

/// The best kernels of this machine, on all of its cores. Other kinds are asked for by name.
static BEST: LazyLock<Mutex<Compute>> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let level = Level::available().last().copied().unwrap_or(Level::Scalar);
    Mutex::new(Compute::new(threads, level))
});

fn best() -> MutexGuard<'static, Compute> {
    BEST.lock().expect("a benchmark that panics ends the program")
}

fn affine4(rows: usize, cols: usize, seed: u32) -> PreparedMatrix {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let codes = Bytes::from_words((0..rows * cols / 8).map(|_| next()).collect());
    let halves = |v: f32| {
        let bytes: Vec<u8> = f16::from_f32(v).to_le_bytes().repeat(rows * cols / 64);
        let len = bytes.len();
        Floats { format: Float::F16, bytes: Bytes::new(Arc::new(bytes), 0, len).expect("all there") }
    };
    let data = Data::Affine4 { group: 64, codes, scales: halves(0.01), biases: halves(-0.075) };
    PreparedMatrix::fast(Matrix { rows, cols, data })
}

fn activations(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 500.0 - 1.0).collect()
}

/// Bytes read from memory: 60 matrices of 10240 rows, one after another; int8 of some kind, or f32. Rows of 2368 are
/// those of the experts of `3b`: an odd number of groups.
#[divan::bench(args = [
    (Some(Int8::Vnni), 2560), (Some(Int8::Vnni), 2368), (Some(Int8::Avx2), 2560), (Some(Int8::Avx2), 2368), (None, 2560),
], sample_count = 10)]
fn decode_from_memory(bencher: Bencher<'_, '_>, (int8, cols): (Option<Int8>, usize)) {
    let threads = best().pool.threads();
    let level = best().level;
    if int8.is_some_and(|kind| !Int8::available(level).contains(&kind)) {
        return;
    }
    let cx = int8.map_or_else(|| Compute::new(threads, level), |kind| Compute::with_int8(threads, level, kind));
    let matrices: Vec<_> = (0..60).map(|i| affine4(10240, cols, i + 1)).collect();
    let x = activations(cols);
    let mut q = QuantRows::default();
    q.quantise(&cx, &x, 1, cols);
    let mut out = vec![0.0; 10240];
    let bytes: usize = matrices.iter().map(PreparedMatrix::bytes_read).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        for w in &matrices {
            let x = Input { x: &x, q: int8.map(|_| &q) };
            linear(&cx, 1, &mut [Job { w, x, out: &mut out }]);
        }
        black_box(out[0])
    });
}

/// Bytes read from the caches by some threads: rows of 1024.
#[divan::bench(args = [(1, 64), (1, 1024), (2, 64), (2, 256), (2, 1024)], sample_size = 1000)]
fn decode_from_cache(bencher: Bencher<'_, '_>, (threads, rows): (usize, usize)) {
    let cx = Compute::new(threads, best().level);
    let w = affine4(rows, 1024, 1);
    let x = activations(1024);
    let mut q = QuantRows::default();
    q.quantise(&cx, &x, 1, 1024);
    let mut out = vec![0.0; rows];
    bencher.counter(BytesCount::new(w.bytes_read())).bench_local(|| {
        linear(&cx, 1, &mut [Job { w: &w, x: Input { x: &x, q: Some(&q) }, out: &mut out }]);
        black_box(out[0])
    });
}

/// Operations (two for each weight and token) of a prefill in int8.
#[divan::bench(args = [
    (Int8::Amx, 256, 5120, 2560), (Int8::Amx, 64, 5120, 2560), (Int8::Amx, 16, 5120, 2560),
    (Int8::Amx, 512, 9216, 2560), (Int8::Amx, 128, 2368, 2560), (Int8::Amx, 128, 2560, 2368),
    (Int8::Vnni, 256, 5120, 2560), (Int8::Vnni, 64, 5120, 2560), (Int8::Vnni, 16, 5120, 2560),
    (Int8::Vnni, 128, 2368, 2560), (Int8::Vnni, 128, 2560, 2368), (Int8::Avx2, 64, 5120, 2560),
], sample_count = 20)]
fn prefill(bencher: Bencher<'_, '_>, (int8, t, rows, cols): (Int8, usize, usize, usize)) {
    let threads = best().pool.threads();
    let level = best().level;
    if !Int8::available(level).contains(&int8) {
        return;
    }
    let cx = Compute::with_int8(threads, level, int8);
    let w = affine4(rows, cols, 1);
    let x = activations(t * cols);
    let mut q = QuantRows::default();
    let mut out = vec![0.0; t * rows];
    bencher.counter(ItemsCount::new(2 * t * rows * cols)).bench_local(|| {
        q.quantise(&cx, &x, t, cols);
        linear(&cx, t, &mut [Job { w: &w, x: Input { x: &x, q: Some(&q) }, out: &mut out }]);
        black_box(out[0])
    });
}

/// Operations of a prefill in f32.
#[divan::bench(args = [64, 256], sample_count = 10)]
fn prefill_exact(bencher: Bencher<'_, '_>, t: usize) {
    let cx = best();
    let w = affine4(5120, 2560, 1);
    let x = activations(t * 2560);
    let mut out = vec![0.0; t * 5120];
    bencher.counter(ItemsCount::new(2 * t * 5120 * 2560)).bench_local(|| {
        linear(&cx, t, &mut [Job { w: &w, x: Input { x: &x, q: None }, out: &mut out }]);
        black_box(out[0])
    });
}

#[divan::bench(args = [1, 512])]
fn quantise(bencher: Bencher<'_, '_>, t: usize) {
    let cx = best();
    let x = activations(t * 2560);
    let mut q = QuantRows::default();
    bencher.counter(ItemsCount::new(t * 2560)).bench_local(|| q.quantise(&cx, black_box(&x), t, 2560));
}

#[divan::bench(sample_count = 1000, sample_size = 100)]
fn fork_and_join(bencher: Bencher<'_, '_>) {
    let cx = best();
    bencher.bench_local(|| {
        cx.pool.run(2, |i| {
            black_box(i);
        })
    });
}

mod ceilings {
    use super::*;

    #[divan::bench(sample_count = 10)]
    fn read_from_memory(bencher: Bencher<'_, '_>) {
        let cx = best();
        let data = vec![1u8; 1 << 30];
        bencher.counter(BytesCount::new(data.len())).bench_local(|| roofline::read(&cx, &data));
    }

    #[divan::bench(sample_count = 20)]
    fn byte_dots(bencher: Bencher<'_, '_>) {
        let cx = best();
        bencher
            .counter(ItemsCount::new(roofline::byte_dots(&cx, 1 << 20)))
            .bench_local(|| roofline::byte_dots(&cx, 1 << 20));
    }

    #[divan::bench(sample_count = 20)]
    fn f32_matrix_product(bencher: Bencher<'_, '_>) {
        let cx = best();
        let (a, b) = (activations(1 << 20), activations(1 << 20));
        let mut c = vec![0.0; 1 << 20];
        bencher
            .counter(ItemsCount::new(2usize << 30))
            .bench_local(|| roofline::matrix_product(&cx.pool, 1024, &a, &b, &mut c));
    }
}

/// The model `small` on MLX, with the scan of its state spaces compiled and not.
#[cfg(any(
    all(feature = "mlx", target_os = "macos", target_arch = "aarch64"),
    all(feature = "mlx-linux", target_os = "linux")
))]
mod mlx {
    use bit_axon::backend::cpu::Options;
    use bit_axon::backend::mlx::{MlxBackend, Ways};
    use bit_axon::backend::{Backend, Logits};
    use bit_axon::model::checkpoint::{Checkpoint, Format, plan_new, write_tensors};
    use bit_axon::model::config::Config;
    use bit_axon::model::init::RandomWeights;

    use super::*;

    fn small(compiled: bool) -> MlxBackend {
        let spec = Config::preset("small").expect("a preset").spec();
        let jobs = plan_new(&spec, Format::Affine4, 64).expect("groups of 64 fit");
        let mut file = std::io::Cursor::new(Vec::new());
        let weights = RandomWeights::new(&spec, 3);
        write_tensors(&mut file, &weights, &jobs, 1, &mut |_, _, _| Ok(())).expect("memory takes them");
        let files = Checkpoint::from_bytes("small", file.into_inner()).expect("what was just written");
        let ways = Ways { halves: false, compiled };
        let mut small = MlxBackend::with(&files, spec, &Options::default(), ways).expect("MLX opens it");
        read(&mut small, 256, 256);
        small
    }

    /// From nothing, a prompt in pieces.
    fn read(model: &mut MlxBackend, tokens: u32, piece: usize) {
        model.rewind(0).expect("the beginning is always kept");
        let ids: Vec<u32> = (0..tokens).map(|i| i * 37 % 1024).collect();
        for ids in ids.chunks(piece) {
            black_box(model.forward(ids, Logits::Last, None).expect("it can be computed"));
        }
    }

    #[divan::bench(args = [false, true], sample_count = 10, sample_size = 1)]
    fn prompt(bencher: Bencher<'_, '_>, compiled: bool) {
        let mut model = small(compiled);
        bencher.counter(ItemsCount::new(512u32)).bench_local(|| read(&mut model, 512, 256));
    }

    #[divan::bench(args = [false, true], sample_count = 10, sample_size = 1)]
    fn decode(bencher: Bencher<'_, '_>, compiled: bool) {
        let mut model = small(compiled);
        bencher.counter(ItemsCount::new(100u32)).bench_local(|| read(&mut model, 100, 1));
    }
}
