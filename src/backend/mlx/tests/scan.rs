//! The recurrence, as it is and compiled.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlx_rs::error::Exception;
use mlx_rs::transforms::value_and_grad_with_argnums;

use super::super::compiled::Function;
use super::super::ops::number;
use super::super::scan::{Inputs, Scan};
use super::*;

#[test]
fn the_scan_is_the_recurrence() {
    let scan = Scan::new(false);
    for count in [1, 2, 15, 16, 17, 40, 128, 129, 300] {
        scans_as_the_recurrence(&scan, count);
    }
}

#[test]
fn the_compiled_scan_is_the_recurrence_too() {
    needs_a_compiler();
    let scan = Scan::new(true);
    // The second time what was compiled is used again.
    for count in [1, 5, 16, 100, 128, 300, 1, 5, 300] {
        scans_as_the_recurrence(&scan, count);
    }
}

/// On its CPU device MLX calls this compiler by name.
fn needs_a_compiler() {
    let there = device().unwrap() == "gpu" || Command::new("g++").arg("--version").output().is_ok();
    assert!(there, "MLX compiles with g++, which is not here: install it");
}

fn scans_as_the_recurrence(scan: &Scan, count: usize) {
    let (n, e) = (3, 5);
    // Time steps at both ends of their range: nothing may overflow, and nothing may be lost.
    let value = |i: usize, scale: f32| ((i * 2_654_435_761 % 1000) as f32 / 500.0 - 1.0) * scale;
    let fill = |width: usize, f: &dyn Fn(usize) -> f32| (0..count * width).map(f).collect::<Vec<f32>>();
    let dt = fill(e, &|i| if i % 7 == 0 { 100.0 } else { 1e-4 + value(i, 0.5).abs() });
    let (x, b, c) = (fill(e, &|i| value(i + 1, 2.0)), fill(n, &|i| value(i + 2, 1.0)), fill(n, &|i| value(i, 1.0)));
    let decay: Vec<f32> = (0..n * e).map(|i| -(1.0 + (i % 16) as f32)).collect();
    let start: Vec<f32> = (0..n * e).map(|i| value(i + 3, 1.0)).collect();
    let mut h: Vec<f64> = start.iter().map(|v| f64::from(*v)).collect();
    let (mut want, mut states) = (Vec::new(), Vec::new());
    for t in 0..count {
        let mut row = vec![0.0f64; e];
        for s in 0..n {
            for ch in 0..e {
                let step = f64::from(dt[t * e + ch]);
                let at = s * e + ch;
                h[at] = (step * f64::from(decay[at])).exp() * h[at]
                    + step * f64::from(x[t * e + ch]) * f64::from(b[t * n + s]);
                row[ch] += h[at] * f64::from(c[t * n + s]);
            }
        }
        want.extend(row.iter().map(|v| *v as f32));
        states.push(h.iter().map(|v| *v as f32).collect::<Vec<f32>>());
    }
    let array = |values: &[f32], width: usize| ops::array(values, &[count, width]);
    let inputs = Inputs { dt: array(&dt, e), x: array(&x, e), b: array(&b, n), c: array(&c, n) };
    let (decay, start) = (ops::array(&decay, &[n, e]), ops::array(&start, &[n, e]));
    let (y, found) = scan.forward(&decay, &start, &inputs, count).unwrap();
    assert!(apart(&want, &ops::floats(&y).unwrap()) < 1e-5, "{count} tokens");
    for after in [1, count / 2 + 1, count] {
        let state = ops::floats(&found.after(after).unwrap()).unwrap();
        assert!(apart(&states[after - 1], &state) < 1e-5, "state after {after} of {count}");
    }
}

#[test]
fn a_model_says_the_same_with_its_scan_compiled() {
    needs_a_compiler();
    let (files, spec) = made(Format::Affine4);
    let open = |compiled| MlxBackend::with(&files, spec.clone(), &exact(), Ways { halves: false, compiled }).unwrap();
    let (mut plain, mut compiled) = (open(false), open(true));
    for count in [1, 5, 16, 100, 128, 300] {
        let both = [&mut plain, &mut compiled].map(|backend| {
            backend.rewind(0).unwrap();
            let (mut logits, _) = read(backend, &ids(count), CHUNK);
            // What it remembers: all states, then the tokens after them, and after a return.
            let states: Vec<f32> = backend.model.layers.iter().flat_map(LayerState::arrays).flat_map(floats).collect();
            logits.extend(read(backend, &[7, 8, 9], 1).0);
            let back = backend.rewind(count / 2).unwrap();
            logits.extend(read(backend, &ids(count)[back..], CHUNK).0);
            (logits, states)
        });
        let [(want, remembered), (found, states)] = both;
        assert!(apart(&want, &found) < 1e-4, "{count} tokens: {}", apart(&want, &found));
        assert!(apart(&remembered, &states) < 1e-4, "states after {count}: {}", apart(&remembered, &states));
    }
}

fn floats(a: &Array) -> Vec<f32> {
    ops::floats(a).unwrap()
}

#[test]
fn a_function_is_compiled_once_for_each_shape_and_nothing_is_left_of_it() {
    needs_a_compiler();
    static BODIES: AtomicUsize = AtomicUsize::new(0);
    fn body(inputs: &[Array]) -> Result<Vec<Array>> {
        BODIES.fetch_add(1, Ordering::Relaxed);
        let [a, b] = inputs else { anyhow::bail!("two arrays belong here") };
        Ok(vec![ops::multiply(&ops::exp(&ops::add(a, b)?)?, b)?])
    }
    let of = |rows: usize| ops::array(&vec![0.5; rows * 250_000], &[rows, 250_000]);
    let before = memory::active_memory().unwrap();
    let function = Function::new("a test", body, true);
    for round in 0..200 {
        let rows = 1 + round % 2;
        let out = function.call(&[of(rows), of(rows)]).unwrap();
        assert!((floats(&out[0])[0] - 0.5 * 1f32.exp()).abs() < 1e-6);
    }
    assert_eq!(BODIES.load(Ordering::Relaxed), 2);
    // Errors of what is compiled say as much as others, and leave it as it was.
    let said = function.call(&[of(2), ops::zeros(&[3, 7], Dtype::Float32).unwrap()]).unwrap_err().to_string();
    for part in ["a test", "float32 (2, 250000)", "float32 (3, 7)", "add"] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert_eq!(function.call(&[of(1), of(1)]).unwrap().len(), 1);
    // Slopes are taken through the body itself, each time.
    let last = BODIES.load(Ordering::Relaxed);
    for round in 1..=2 {
        let loss = |x: &[Array]| -> Result<Vec<Array>, Exception> {
            let out = function.call(&[x[0].clone(), number(2.0)]).and_then(|out| ops::sum(&out[0]));
            Ok(vec![out.unwrap()])
        };
        let (_, slopes) = value_and_grad_with_argnums(loss, &[0][..])(&[number(1.0)]).unwrap();
        assert!((floats(&slopes[0])[0] - 2.0 * 3f32.exp()).abs() < 1e-4);
        assert_eq!(BODIES.load(Ordering::Relaxed), last + round);
    }
    drop(function);
    // One array a call would be 300 MB; other tests run meanwhile.
    let more = memory::active_memory().unwrap().saturating_sub(before);
    assert!(more < 100 << 20, "{more} bytes are left");
    assert!(!compiles("cpu") && compiles("gpu"));
}
