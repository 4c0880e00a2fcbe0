//! The whole model's gradients, parameter by parameter, against the slow reference.

use super::*;
use crate::backend::cpu::learn::AdapterOptions;
use crate::backend::learn::{Objective, RouterLosses};

const ROUTER: RouterLosses = RouterLosses { balance: 0.5, z: 0.05 };

fn check(learner: &mut CpuLearner, sequences: &[Sequence], objective: Objective, router: RouterLosses, seed: u64) {
    stir(learner);
    let mut reference = reference(learner);
    reference.dropout = (learner.adapters().map_or(0.0, |a| a.dropout), seed);
    let losses = learner.accumulate(sequences, objective, router, seed, &|| false).unwrap().unwrap();
    let want = reference.loss(sequences, objective, router);
    let found = losses.loss + losses.router;
    assert!((found - want).abs() < 1e-5 * want.abs(), "a loss of {found}, should be {want}");
    let mut moved = 0;
    for (i, parameter) in learner.parameters.list.iter().enumerate() {
        let gradient = &learner.parameters.gradients.0[i];
        moved += usize::from(gradient.iter().any(|g| *g != 0.0));
        let values = &reference.tensors[&parameter.name];
        let mut other = reference.clone();
        assert_slope(&parameter.name, values, gradient, |values| {
            other.tensors.insert(parameter.name.clone(), values.to_vec());
            other.loss(sequences, objective, router)
        });
    }
    assert!(moved * 10 >= learner.parameters.list.len() * 9, "only {moved} parameters have a gradient");
}

fn adapters(dropout: f32) -> AdapterOptions {
    AdapterOptions { rank: 2, scale: 3.0, dropout, experts: true, ..AdapterOptions::default() }
}

#[test]
fn everything_with_a_tied_head() {
    let model = fixture("tiny");
    let s = [sequence(11, 96, 1, &[])];
    check(&mut learner(&model, Train::Full), &s, Objective::Tokens, ROUTER, 0);
}

#[test]
fn everything_with_a_head_of_its_own() {
    let model = fixture("untied");
    let s = [sequence(9, 64, 2, &[]), sequence(6, 64, 3, &[2, 4])];
    check(&mut learner(&model, Train::Full), &s, Objective::Tokens, ROUTER, 0);
}

#[test]
fn everything_of_odd_sizes_in_isolated_examples() {
    let model = made(&odd_sizes(), Format::F32);
    let s = [sequence(12, 37, 4, &[0, 3, 4, 9])];
    check(&mut learner(&model, Train::Full), &s, Objective::Tokens, ROUTER, 0);
}

#[test]
fn adapters_on_four_bits() {
    let s = [sequence(9, 96, 5, &[])];
    check(
        &mut learner(&fixture("tiny_q"), Train::Lora(adapters(0.0))),
        &s,
        Objective::Tokens,
        RouterLosses::default(),
        0,
    );
    let model = made(&Config { hidden_dim: 64, moe_intermediate_dim: 32, ..odd_sizes() }, Format::Nf4);
    let s = [sequence(9, 37, 5, &[4])];
    let dora = Train::Dora(adapters(0.25));
    check(&mut learner(&model, dora), &s, Objective::Tokens, RouterLosses::default(), 6);
}

#[test]
fn preference_pairs() {
    let model = made(&odd_sizes(), Format::F32);
    let pair = [sequence(9, 37, 7, &[]), sequence(7, 37, 8, &[])];
    let objective = Objective::Preference { beta: 0.7 };
    check(&mut learner(&model, Train::Full), &pair, objective, ROUTER, 0);
    let two = [pair.clone(), pair].concat();
    check(&mut learner(&model, Train::Dora(adapters(0.0))), &two, objective, RouterLosses::default(), 0);
}
