//! Each operator by itself: its output, and its gradients in its input and in every parameter.

use super::reference::{Read, Reference};
use super::*;
use crate::backend::cpu::learn::AdapterOptions;
use crate::backend::cpu::learn::layer::Mixer;
use crate::backend::cpu::learn::linear::Linear;
use crate::backend::cpu::learn::parameters::Numbers;
use crate::backend::cpu::learn::rows::Rows;
use crate::backend::cpu::learn::weight::To;
use crate::backend::cpu::learn::work::{Dropout, Pass};
use crate::backend::cpu::ops::Level;

/// Tokens: more than a stretch of the scan, and than a block of attention.
const T: usize = 75;
const ROUTER: (f32, f32) = (0.7, 0.3);

type Wide = Vec<Vec<f64>>;

/// Runs an operator forward and backward for the gradients `dy` of its output: gives its output, its loss
/// beside that, and the gradient of its input.
type Run<'a> = &'a dyn Fn(&Pass<'_>, &mut Numbers, &Rows<'_>, &[f32], &[f32]) -> (Vec<f32>, f64, Vec<f32>);
type Formula<'a> = &'a dyn Fn(&Reference, &Read, &Wide) -> (Wide, f64);

fn check(learner: &mut CpuLearner, rate: f32, (inputs, outputs): (usize, usize), run: Run<'_>, formula: Formula<'_>) {
    let sequence = sequence(T + 1, learner.spec.vocab, 3, &[30, 31, 66]);
    let sequence = Sequence { mask: vec![true; T + 1], ..sequence };
    let rows = Rows::new(&sequence, learner.spec.vocab).unwrap();
    let mut reference = reference(learner);
    reference.dropout = (rate, 8);
    let read = reference.read(&sequence);
    let (x, dy) = (numbers(T * inputs, 1), numbers(T * outputs, 2));
    let pass = Pass {
        work: &learner.work,
        values: &learner.parameters.values,
        table: &learner.parameters.values,
        dropout: Dropout::new(rate, 8, rows.tokens),
        router: ROUTER,
    };
    let mut gradients = learner.parameters.values.zeros_like();
    let (out, loss, dx) = run(&pass, &mut gradients, &rows, &x, &dy);

    let wide = |x: &[f64]| -> Wide { x.chunks_exact(inputs).map(<[f64]>::to_vec).collect() };
    let x: Vec<f64> = x.into_iter().map(f64::from).collect();
    let (want, want_loss) = formula(&reference, &read, &wide(&x));
    let largest = want.iter().flatten().fold(0.0f64, |m, v| m.max(v.abs()));
    for (found, want) in out.iter().zip(want.iter().flatten()) {
        assert!((f64::from(*found) - want).abs() < 1e-5 * largest, "{found}, should be {want} (of {largest})");
    }
    assert!((loss - want_loss).abs() <= 1e-5 * want_loss.abs(), "{loss} {want_loss}");

    let total = |reference: &Reference, x: &Wide| {
        let (out, loss) = formula(reference, &read, x);
        loss + out.iter().flatten().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum::<f64>()
    };
    assert_slope("the input", &x, &dx, |x| total(&reference, &wide(x)));
    let x = wide(&x);
    let mut compared = 0;
    for (parameter, gradient) in learner.parameters.list.iter().zip(&gradients.0) {
        if gradient.iter().all(|g| *g == 0.0) {
            continue;
        }
        compared += 1;
        let values = &reference.tensors[&parameter.name];
        let mut moved = reference.clone();
        assert_slope(&parameter.name, values, gradient, |values| {
            moved.tensors.insert(parameter.name.clone(), values.to_vec());
            total(&moved, &x)
        });
    }
    assert!(compared > 0, "no parameter has a gradient");
}

fn full(level: Level) -> CpuLearner {
    let (checkpoint, spec) = made(&odd_sizes(), Format::F32);
    let options = LearnOptions { threads: Some(2), level: Some(level), ..LearnOptions::new(Train::Full) };
    let mut learner = CpuLearner::new(checkpoint, spec, options).unwrap();
    stir(&mut learner);
    learner
}

#[test]
fn the_state_space() {
    for level in Level::available() {
        let mut learner = full(level);
        let network = std::mem::take(&mut learner.network.layers);
        let Mixer::Ssm(ssm) = &network[0].mixer else { panic!() };
        let run: Run<'_> = &|pass, gradients, rows, u, dy| {
            let mut out = vec![0.0; u.len()];
            let saved = ssm.forward(pass, rows, u, &mut out);
            let mut dx = vec![0.0; u.len()];
            ssm.backward(pass, gradients, rows, (u, &saved), dy, &mut dx);
            (out, 0.0, dx)
        };
        check(&mut learner, 0.0, (40, 40), run, &|r, read, u| (r.ssm(read, "layer_0.ssm", &ssm.spec, u), 0.0));
    }
}

#[test]
fn attention() {
    for level in Level::available() {
        let mut learner = full(level);
        let network = std::mem::take(&mut learner.network.layers);
        let Mixer::Attention(attention) = &network[1].mixer else { panic!() };
        let run: Run<'_> = &|pass, gradients, rows, u, dy| {
            let mut out = vec![0.0; u.len()];
            let saved = attention.forward(pass, rows, u, &mut out);
            let mut dx = vec![0.0; u.len()];
            attention.backward(pass, gradients, rows, (u, &saved), dy, &mut dx);
            (out, 0.0, dx)
        };
        let formula: Formula<'_> = &|r, read, u| (r.attention(read, "layer_1.attention", &attention.spec, u), 0.0);
        check(&mut learner, 0.0, (40, 40), run, formula);
    }
}

#[test]
fn experts_router_and_its_losses() {
    for level in Level::available() {
        let mut learner = full(level);
        let network = std::mem::take(&mut learner.network.layers);
        let (_, moe) = network[2].moe.as_ref().unwrap();
        let run: Run<'_> = &|pass, gradients, _, u, dy| {
            let mut out = vec![0.0; u.len()];
            let (saved, routed) = moe.forward(pass, u, &mut out);
            let mut dx = vec![0.0; u.len()];
            moe.backward(pass, gradients, (u, &saved), dy, &mut dx);
            assert_eq!(routed.counts.iter().sum::<u64>(), (T * moe.spec.top_k) as u64);
            (out, routed.loss, dx)
        };
        let router = (f64::from(ROUTER.0), f64::from(ROUTER.1));
        check(&mut learner, 0.0, (40, 40), run, &|r, read, u| r.moe(read, "layer_2.moe", &moe.spec, router, u));
    }
}

#[test]
fn norms() {
    for level in Level::available() {
        let mut learner = full(level);
        let network = std::mem::take(&mut learner.network.layers);
        let norm = &network[0].norm;
        let run: Run<'_> = &|pass, gradients, _, x, dy| {
            let mut out = vec![0.0; x.len()];
            norm.forward(pass, x, &mut out);
            let mut dx = vec![0.0; x.len()];
            norm.backward(pass, gradients, x, dy, &mut dx);
            (out, 0.0, dx)
        };
        check(&mut learner, 0.0, (40, 40), run, &|r, _, x| (r.norm("layer_0.input_norm.weight", x), 0.0));
    }
}

fn linear_and_back(
    linear: &Linear,
    pass: &Pass<'_>,
    gradients: &mut Numbers,
    x: &[f32],
    dy: &[f32],
) -> (Vec<f32>, f64, Vec<f32>) {
    let mut out = vec![0.0; dy.len()];
    let kept = linear.forward(pass, x, &mut out);
    let mut dx = vec![0.0; x.len()];
    // Half at a time, so that adding is tried as well as setting.
    let half: Vec<f32> = dy.iter().map(|v| 0.5 * v).collect();
    linear.backward(pass, gradients, x, kept.as_ref(), &half, To::Set(&mut dx));
    linear.backward(pass, gradients, x, kept.as_ref(), &half, To::Add(&mut dx));
    (out, 0.0, dx)
}

#[test]
fn linears_with_adapters_on_every_format() {
    let config = Config { hidden_dim: 64, num_heads: 2, moe_intermediate_dim: 96, ..odd_sizes() };
    for format in [Format::F32, Format::F16, Format::Affine4, Format::Nf4] {
        let model = made(&config, format);
        for (magnitudes, rate) in [(false, 0.0), (false, 0.4), (true, 0.0), (true, 0.4)] {
            let options = AdapterOptions { rank: 3, scale: 2.0, experts: true, ..AdapterOptions::default() };
            let train = if magnitudes { Train::Dora(options) } else { Train::Lora(options) };
            let mut learner = learner(&model, train);
            stir(&mut learner);
            let network = std::mem::take(&mut learner.network.layers);
            let Mixer::Attention(attention) = &network[1].mixer else { panic!() };
            let expert = &network[1].moe.as_ref().unwrap().1.experts[2];
            let cases = [
                ("layer_1.attention.q_proj", 0, &attention.q, (64, 64)),
                ("layer_1.moe.switch_mlp.down_proj", 2, &expert.down, (96, 64)),
            ];
            for (path, index, linear, shape) in cases {
                let run: Run<'_> = &|pass, gradients, _, x, dy| linear_and_back(linear, pass, gradients, x, dy);
                let formula: Formula<'_> = &|r, read, x| (r.linear(read, path, index, x, shape.1), 0.0);
                check(&mut learner, rate, shape, run, formula);
            }
        }
    }
}

#[test]
fn linears_that_are_trained_whole() {
    let mut learner = full(Level::Scalar);
    let network = std::mem::take(&mut learner.network.layers);
    let Mixer::Ssm(ssm) = &network[0].mixer else { panic!() };
    let run: Run<'_> = &|pass, gradients, _, x, dy| linear_and_back(&ssm.x_proj, pass, gradients, x, dy);
    check(&mut learner, 0.0, (80, 11), run, &|r, read, x| (r.linear(read, "layer_0.ssm.x_proj", 0, x, 11), 0.0));
}
