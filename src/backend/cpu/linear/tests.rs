use super::test_data::{affine, computes, dense, nf4, random};
use super::*;

/// x W^T in f64, from the reference of each row.
fn reference(m: &Matrix, x: &[f32]) -> Vec<f64> {
    let mut row = vec![0.0; m.cols];
    let t = x.len() / m.cols;
    let mut out = vec![0.0; t * m.rows];
    for r in 0..m.rows {
        m.row_into(r, &mut row);
        for (i, x) in x.chunks(m.cols).enumerate() {
            out[i * m.rows + r] = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        }
    }
    out
}

fn run(cx: &Compute, w: &PreparedMatrix, x: &[f32], fast: bool) -> Vec<f32> {
    let t = x.len() / w.cols();
    let mut q = QuantRows::default();
    q.quantise(cx, x, t, w.cols());
    let mut out = vec![f32::NAN; t * w.rows()];
    let x = Input { x, q: fast.then_some(&q) };
    linear(cx, t, &mut [Job { w, x, out: &mut out }]);
    out
}

fn compare(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (f64::from(*got) - want).abs();
        assert!(off <= tolerance * largest, "{what}, {i}: {got}, wanted {want}");
    }
}

const FORMATS: [Float; 3] = [Float::F32, Float::F16, Float::Bf16];

#[test]
fn exact_products_of_every_format() {
    for cx in computes(2) {
        for (rows, cols) in [(1, 64), (5, 192), (37, 256), (70, 128), (33, 384)] {
            let mut matrices = Vec::new();
            for format in FORMATS {
                matrices.push((format!("dense {format:?}"), dense(format, rows, cols)));
                matrices.push((format!("dense odd {format:?}"), dense(format, rows, cols - 27)));
                for group in [32, 64, 128] {
                    if cols % group == 0 {
                        matrices.push((format!("affine {group} {format:?}"), affine(format, group, rows, cols)));
                        matrices.push((format!("nf4 {group} {format:?}"), nf4(format, group, rows, cols)));
                    }
                }
                let odd = cols - 32;
                matrices.push((format!("affine odd 32 {format:?}"), affine(format, 32, rows, odd)));
            }
            for (what, m) in matrices {
                let what = format!("{} {what} {rows} x {}", cx.level, m.cols);
                for t in [1, 2, 19] {
                    let x = random(t as u64, t * m.cols);
                    let got = run(&cx, &PreparedMatrix::exact(m.clone()), &x, true);
                    compare(&what, &got, &reference(&m, &x), 2e-6);
                }
            }
        }
    }
}

/// The activations that int8 stands for, so that only the arithmetic is compared.
fn as_quantised(cx: &Compute, x: &[f32], cols: usize) -> Vec<f32> {
    let mut q = QuantRows::default();
    q.quantise(cx, x, x.len() / cols, cols);
    let mut out = Vec::new();
    for r in 0..q.rows() {
        let row = q.row(r);
        out.extend((0..cols).map(|i| {
            let (g, k) = (i / 64, i % 64);
            f32::from(row.codes[g / 2 * 128 + k % 2 * 64 + g % 2 * 32 + k / 2]) * row.scales[g]
        }));
    }
    out
}

#[test]
fn int8_products_of_every_kernel() {
    for cx in computes(2) {
        for (rows, cols) in [(1, 64), (3, 128), (33, 192), (70, 576), (129, 1088), (8, 2624)] {
            for format in FORMATS {
                let m = affine(format, 64, rows, cols);
                let w = PreparedMatrix::fast(m.clone());
                assert!(w.takes_int8());
                assert_eq!(w.owned_bytes(), if format == Float::F16 { 0 } else { rows * cols / 64 * 4 });
                for t in [1, 2, 3, 5, 8, 15, 16, 17, 33, 70] {
                    let x = random(t as u64, t * cols);
                    let what = format!("{} {:?} {format:?} {rows} x {cols}, {t}", cx.level, cx.int8);
                    let got = run(&cx, &w, &x, true);
                    let want = reference(&m, &as_quantised(&cx, &x, cols));
                    // f32 scales were narrowed.
                    compare(&what, &got, &want, if format == Float::F32 { 2e-3 } else { 3e-6 });
                }
            }
        }
    }
}

#[test]
fn int8_is_near_the_exact_product() {
    for cx in computes(2) {
        let w = PreparedMatrix::fast(affine(Float::F16, 64, 64, 2560));
        let x = random(9, 2560);
        compare("int8", &run(&cx, &w, &x, true), &reference(w.matrix(), &x), 5e-3);
    }
}

#[test]
fn one_row_does_not_depend_on_the_others() {
    for cx in computes(2) {
        let w = PreparedMatrix::fast(affine(Float::F16, 64, 40, 320));
        for fast in [false, true] {
            let mut x = random(3, 21 * 320);
            let before = run(&cx, &w, &x, fast);
            x[20 * 320..].fill(1e30);
            let after = run(&cx, &w, &x, fast);
            assert_eq!(before[..20 * 40], after[..20 * 40]);
        }
    }
}

#[test]
fn many_jobs_with_different_inputs() {
    for cx in computes(3) {
        for t in [1, 6] {
            let matrices: Vec<PreparedMatrix> = (0..19)
                .map(|i| match i % 3 {
                    0 => PreparedMatrix::fast(affine(Float::F16, 64, 10 + i, 128)),
                    1 => PreparedMatrix::fast(nf4(Float::F32, 64, 200 + i, 128)),
                    _ => PreparedMatrix::fast(affine(Float::F32, 32, 7 + i, 128)),
                })
                .collect();
            let inputs: Vec<Vec<f32>> = (0..19).map(|i| random(i / 2, t * 128)).collect();
            let mut outs: Vec<Vec<f32>> = matrices.iter().map(|m| vec![f32::NAN; t * m.rows()]).collect();
            let job = |((w, x), out)| Job { w, x: Input { x, q: None }, out };
            let mut jobs: Vec<Job<'_>> = matrices
                .iter()
                .zip(inputs.iter().map(Vec::as_slice))
                .zip(outs.iter_mut().map(Vec::as_mut_slice))
                .map(job)
                .collect();
            linear(&cx, t, &mut jobs);
            for ((w, x), out) in matrices.iter().zip(&inputs).zip(&outs) {
                compare("jobs", out, &reference(w.matrix(), x), 2e-6);
            }
        }
    }
}

#[test]
fn nothing_to_do() {
    let cx = Compute::new(2, Level::Scalar);
    linear(&cx, 0, &mut []);
    linear(&cx, 3, &mut []);
    let w = PreparedMatrix::exact(Matrix::from_f32(0, 4, &[]));
    linear(&cx, 1, &mut [Job { w: &w, x: Input { x: &[0.0; 4], q: None }, out: &mut [] }]);
}

#[test]
fn scales_too_large_for_f16_stay_exact() {
    let mut m = affine(Float::F32, 64, 2, 64);
    if let Data::Affine4 { scales, .. } = &mut m.data {
        *scales = test_data::floats(Float::F32, &[1e6, 1.0]);
    }
    assert!(!PreparedMatrix::fast(m).takes_int8());
}
