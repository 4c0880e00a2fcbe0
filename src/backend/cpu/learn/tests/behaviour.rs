//! What a learner promises beside its gradients.

use super::*;
use crate::backend::cpu::learn::AdapterOptions;
use crate::backend::cpu::{CpuBackend, Options};
use crate::backend::learn::{Losses, Objective, RouterLosses, Update};
use crate::backend::{Backend, Logits};

const ROUTER: RouterLosses = RouterLosses { balance: 0.01, z: 0.001 };

pub(super) fn update(step: u64, units: f64) -> Update {
    Update {
        units,
        learning_rate: 3e-3,
        max_grad_norm: 1.0,
        weight_decay: 0.01,
        betas: (0.9, 0.999),
        epsilon: 1e-8,
        step,
    }
}

fn dora(dropout: f32) -> Train {
    Train::Dora(AdapterOptions { rank: 4, scale: 2.0, dropout, experts: true, ..AdapterOptions::default() })
}

fn some(vocab: usize) -> Vec<Sequence> {
    vec![sequence(40, vocab, 1, &[]), sequence(70, vocab, 2, &[9, 50]), sequence(5, vocab, 3, &[])]
}

pub(super) fn accumulate(learner: &mut CpuLearner, sequences: &[Sequence]) -> Losses {
    learner.accumulate(sequences, Objective::Tokens, ROUTER, 5, &|| false).unwrap().unwrap()
}

fn gradients(learner: &CpuLearner) -> Vec<u32> {
    learner.parameters.gradients.0.iter().flatten().map(|g| g.to_bits()).collect()
}

fn values(learner: &CpuLearner) -> Vec<u32> {
    learner.parameters.values.0.iter().flatten().map(|g| g.to_bits()).collect()
}

/// Cross-entropy of a backend's logits.
pub(super) fn loss_of(backend: &mut dyn Backend, sequences: &[Sequence]) -> f64 {
    let v = backend.spec().vocab;
    let mut loss = 0.0;
    for s in sequences {
        backend.rewind(0).unwrap();
        let logits = backend.forward(&s.tokens, Logits::All, None).unwrap();
        for (i, row) in logits.chunks_exact(v).enumerate().take(s.tokens.len() - 1).filter(|(i, _)| s.mask[i + 1]) {
            let sum: f64 = row.iter().map(|l| f64::from(*l).exp()).sum();
            loss += sum.ln() - f64::from(row[s.tokens[i + 1] as usize]);
        }
    }
    loss
}

pub(super) fn exact() -> Options {
    Options { exact: true, threads: Some(2), ..Options::default() }
}

#[test]
fn losses_are_those_of_the_exact_backend() {
    for name in ["tiny", "tiny_q", "odd", "untied"] {
        let (checkpoint, spec) = fixture(name);
        let sequences = [sequence(40, spec.vocab, 1, &[]), sequence(100, spec.vocab, 2, &[])];
        let mut backend = CpuBackend::new(&checkpoint, spec.clone(), &exact()).unwrap();
        let want = loss_of(&mut backend, &sequences);
        for train in [Train::Full, dora(0.0)] {
            let mut learner = learner(&(checkpoint.clone(), spec.clone()), train);
            let found = learner.evaluate(&sequences, Objective::Tokens).unwrap();
            assert!((found.loss / want - 1.0).abs() < 1e-5, "{name}: {} for {want}", found.loss);
            assert_eq!((found.units, found.tokens), (26.0 + 66.0, 140));
            assert_eq!(found.experts.len(), spec.moe_layers().count());
        }
    }
}

#[test]
fn the_live_model_is_the_trained_one() {
    for (name, train) in
        [("tiny", Train::Full), ("tiny_q", dora(0.0)), ("untied", Train::Lora(AdapterOptions::default()))]
    {
        let (checkpoint, spec) = fixture(name);
        let sequences = [sequence(40, spec.vocab, 1, &[])];
        let options = LearnOptions { threads: Some(2), inference: exact(), ..LearnOptions::new(train) };
        let mut learner = CpuLearner::new(checkpoint, spec, options).unwrap();
        let before = learner.evaluate(&sequences, Objective::Tokens).unwrap().loss;
        stir(&mut learner);
        let found = loss_of(&mut *learner.model().unwrap(), &sequences);
        let want = learner.evaluate(&sequences, Objective::Tokens).unwrap().loss;
        assert!(
            (found / want - 1.0).abs() < 1e-5 && (want / before - 1.0).abs() > 1e-4,
            "{name}: {found} {want} {before}"
        );
        // Also right after a step, when what follows from the values is still that of the ones before.
        accumulate(&mut learner, &sequences);
        learner.step(&update(1, 26.0)).unwrap();
        let found = loss_of(&mut *learner.model().unwrap(), &sequences);
        let want = learner.evaluate(&sequences, Objective::Tokens).unwrap().loss;
        assert!((found / want - 1.0).abs() < 1e-5, "{name} after a step: {found} {want}");
    }
}

#[test]
fn computing_again_cutting_and_repeating_change_no_bit() {
    let model = fixture("odd");
    let sequences = some(model.1.vocab);
    for train in [Train::Full, dora(0.2)] {
        let mut all = learner(&model, train.clone());
        stir(&mut all);
        let whole = accumulate(&mut all, &sequences);
        let want = gradients(&all);
        assert!(want.iter().any(|g| f32::from_bits(*g) != 0.0));

        let mut keeping = learner(&model, train.clone());
        keeping.options.recompute = false;
        stir(&mut keeping);
        assert_eq!(accumulate(&mut keeping, &sequences), whole);
        assert!(gradients(&keeping) == want, "kept activations give other gradients");
        assert!(keeping.memory().activations > all.memory().activations);

        let mut cut = learner(&model, train.clone());
        stir(&mut cut);
        let mut sum = accumulate(&mut cut, &sequences[..1]);
        sum.add(&accumulate(&mut cut, &sequences[1..]));
        assert_eq!((sum.units, sum.tokens, &sum.experts), (whole.units, whole.tokens, &whole.experts));
        assert!(gradients(&cut) == want, "pieces give other gradients");

        for learner in [&mut all, &mut keeping, &mut cut] {
            learner.step(&update(1, whole.units)).unwrap();
        }
        assert!(values(&all) == values(&keeping) && values(&all) == values(&cut));
        assert!(gradients(&all).iter().all(|g| *g == 0));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (checkpoint, spec) = fixture("odd");
    let sequences = some(spec.vocab);
    for train in [Train::Full, dora(0.1)] {
        let run = |threads: usize| {
            let options = LearnOptions { threads: Some(threads), ..LearnOptions::new(train.clone()) };
            let mut learner = CpuLearner::new(checkpoint.clone(), spec.clone(), options).unwrap();
            for step in 1..=2 {
                let losses = accumulate(&mut learner, &sequences);
                learner.step(&update(step, losses.units)).unwrap();
            }
            values(&learner)
        };
        assert!(run(1) == run(3));
    }
}

#[test]
fn a_cancelled_call_leaves_nothing() {
    let model = fixture("tiny");
    let sequences = some(model.1.vocab);
    let mut learner = learner(&model, Train::Full);
    for first in [false, true] {
        if first {
            accumulate(&mut learner, &sequences[..1]);
        }
        let before = gradients(&learner);
        for after in [0, 1, 7, 20, 30] {
            let asked = std::cell::Cell::new(0);
            let cancelled = || asked.replace(asked.get() + 1) >= after;
            let losses = learner.accumulate(&sequences, Objective::Tokens, ROUTER, 5, &cancelled).unwrap();
            assert!(losses.is_none() && gradients(&learner) == before, "after {after}");
        }
    }
    learner.discard();
    assert!(gradients(&learner).iter().all(|g| *g == 0));
}

#[test]
fn a_few_steps_learn_a_sequence_by_heart() {
    let model = made(&odd_sizes(), Format::F32);
    let quantised = made(&Config { hidden_dim: 64, moe_intermediate_dim: 64, ..odd_sizes() }, Format::Affine4);
    for (model, train) in [(&model, Train::Full), (&quantised, dora(0.0))] {
        let sequences = [sequence(30, 37, 1, &[])];
        let mut learner = learner(model, train);
        let before = learner.evaluate(&sequences, Objective::Tokens).unwrap();
        for step in 1..=25 {
            let losses = accumulate(&mut learner, &sequences);
            let norm = learner.step(&Update { learning_rate: 0.01, ..update(step, losses.units) }).unwrap();
            assert!(norm.is_finite() && norm > 0.0);
        }
        let after = learner.evaluate(&sequences, Objective::Tokens).unwrap();
        assert!(after.loss < 0.5 * before.loss, "{} then {}", before.loss, after.loss);
    }
}

#[test]
fn odds_move_to_the_chosen() {
    let model = made(&odd_sizes(), Format::F32);
    let pair = [sequence(12, 37, 1, &[]), sequence(12, 37, 2, &[])];
    let mut learner = learner(&model, Train::Lora(AdapterOptions::default()));
    let objective = Objective::Preference { beta: 0.1 };
    let margin = |l: &Losses| l.preference.chosen - l.preference.rejected;
    let before = learner.evaluate(&pair, objective).unwrap();
    for step in 1..=15 {
        learner.accumulate(&pair, objective, RouterLosses::default(), 0, &|| false).unwrap();
        learner.step(&update(step, 1.0)).unwrap();
    }
    let after = learner.evaluate(&pair, objective).unwrap();
    assert!(margin(&after) > margin(&before) + 0.5 && after.preference.wins == 1.0, "{before:?} {after:?}");
    assert!((after.loss - after.preference.nll - after.preference.odds).abs() < 1e-9);
}

#[test]
fn adapters_start_from_the_base_exactly() {
    let model = fixture("tiny_q");
    let sequences = some(model.1.vocab);
    let lora = learner(&model, Train::Lora(AdapterOptions::default())).evaluate(&sequences, Objective::Tokens).unwrap();
    let dora = learner(&model, dora(0.0)).evaluate(&sequences, Objective::Tokens).unwrap();
    assert_eq!(lora.loss, dora.loss);
    // Dropout plays no part in evaluation.
    let dropping = learner(&model, super::behaviour::dora(0.5)).evaluate(&sequences, Objective::Tokens).unwrap();
    assert_eq!(dropping.loss, dora.loss);
}

#[test]
fn parameters_have_the_names_and_shapes_of_files() {
    let model = fixture("tiny_q");
    let learner = learner(&model, Train::Dora(AdapterOptions { experts: true, ..AdapterOptions::default() }));
    let of = |name: &str| learner.parameters().iter().find(|p| p.name == name).map(|p| (p.shape.clone(), p.decays));
    assert_eq!(of("layer_0.ssm.in_proj.lora_a"), Some((vec![64, 8], true)));
    assert_eq!(of("layer_0.ssm.in_proj.lora_b"), Some((vec![8, 256], true)));
    assert_eq!(of("layer_0.ssm.in_proj.m"), Some((vec![256], false)));
    assert_eq!(of("layer_2.moe.switch_mlp.up_proj.lora_b"), Some((vec![4, 8, 64], true)));
    assert!(of("input_proj.lora_a").is_some() && of("output_proj.m").is_some());
    for never in ["moe.gate", "x_proj", "dt_proj", "shared_expert_gate", "lm_head", "embed_tokens"] {
        assert!(!learner.parameters().iter().any(|p| p.name.contains(&format!("{never}."))), "{never}");
    }
    let without = Train::Lora(AdapterOptions { targets: vec!["q_proj".into()], ..AdapterOptions::default() });
    let names: Vec<_> = super::learner(&model, without).parameters().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn bad_input_is_told() {
    let model = fixture("tiny");
    let said = |train: Train| {
        CpuLearner::new(model.0.clone(), model.1.clone(), LearnOptions::new(train)).err().unwrap().to_string()
    };
    let usual = AdapterOptions::default;
    assert!(said(Train::Lora(AdapterOptions { rank: 0, ..usual() })).contains("rank of 0"));
    assert!(said(Train::Lora(AdapterOptions { dropout: 1.0, ..usual() })).contains("dropout of 1"));
    assert!(said(Train::Dora(AdapterOptions { scale: f32::NAN, ..usual() })).contains("NaN"));
    assert!(said(Train::Dora(AdapterOptions { targets: vec!["x_proj".into()], ..usual() })).contains("x_proj"));

    let mut learner = learner(&model, Train::Full);
    let bad = |learner: &mut CpuLearner, s: &[Sequence], o: Objective| learner.evaluate(s, o).unwrap_err().to_string();
    let pair = Objective::Preference { beta: 0.1 };
    assert!(bad(&mut learner, &some(96)[..1], pair).contains("pairs"));
    let empty = Sequence { tokens: vec![1, 2], mask: vec![true, false], starts: vec![] };
    assert!(bad(&mut learner, &[some(96)[0].clone(), empty.clone()], pair).contains("rejected answer of pair 1"));
    let outside = Sequence { tokens: vec![1, 96], mask: vec![false, true], starts: vec![] };
    assert!(bad(&mut learner, &[outside], Objective::Tokens).contains("token 96"));
    // Nothing to learn from is no error: a batch may have such a sequence.
    let none = learner.evaluate(&[empty], Objective::Tokens).unwrap();
    assert_eq!((none.units, none.loss, none.tokens), (0.0, 0.0, 2));

    assert!(learner.write(0, Part::Value, &[1.0]).unwrap_err().to_string().contains("embed_tokens.weight"));
    let nan = vec![f32::NAN; 96 * 64];
    assert!(learner.write(0, Part::Value, &nan).unwrap_err().to_string().contains("not a number"));
    assert!(learner.read(9999, Part::Moment1).is_err() && learner.step(&update(0, 1.0)).is_err());
}

#[test]
fn gradients_that_are_not_finite_move_nothing() {
    let model = fixture("tiny");
    let mut learner = learner(&model, Train::Full);
    let before = values(&learner);
    learner.parameters.gradients.0[3][0] = f32::NAN;
    assert!(!learner.step(&update(1, 1.0)).unwrap().is_finite());
    assert!(values(&learner) == before && gradients(&learner).iter().all(|g| *g == 0));
}
